//! Times forward + backward of the parts of a nano-like network on the CPU backend.
use std::time::Instant;

use burn::DispatchDevice;
use burn::module::{AutodiffModule, Module};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{gelu, relu, softmax};
use burn::tensor::{Distribution, Tensor, TensorData};
use filo::device::{Backend as B, cpu};
use filo::model::clip::text::TextEncoder;
use filo::model::clip::vision::ImageEncoder;
use filo::model::config::*;
use filo::model::filo::mmci::*;
use filo::model::filo::*;

fn config() -> FiloConfig {
    let mut c = FiloConfig::published();
    c.vision = VisionConfig {
        image_size: 128,
        patch_size: 8,
        width: 128,
        layers: 4,
        head_width: 32,
        mlp_width: Some(256),
    };
    c.text = TextConfig { context_length: 77, vocab_size: 49408, width: 64, heads: 2, layers: 2 };
    c.embed_dim = 64;
    c.features_list = vec![2, 3, 4];
    c.first_dual_block_index = 2;
    c.n_ctx = 4;
    c.meta_net_hidden = 8;
    c.adapter_hidden = 32;
    c
}

fn time(name: &str, batch: usize, mut f: impl FnMut()) {
    f();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("{name:40} {:8.2} ms/picture", best * 1e3 / batch as f64);
}

fn main() {
    let dev = DispatchDevice::autodiff(cpu());
    let batch = 16usize;
    let rnd4 = |s: [usize; 4]| Tensor::<B, 4>::random(s, Distribution::Normal(0.0, 1.0), &dev);
    let rnd3 = |s: [usize; 3]| Tensor::<B, 3>::random(s, Distribution::Normal(0.0, 1.0), &dev);
    let stem: Vec<Conv2d<B>> = [(3, 32), (32, 64), (64, 128)]
        .map(|(i, o)| {
            Conv2dConfig::new([i, o], [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(&dev)
        })
        .into();
    let x = rnd4([batch, 3, 128, 128]);
    time("stem fwd (relu)", batch, || {
        let mut y = x.clone();
        for c in &stem {
            y = relu(c.forward(y));
        }
        y.into_data();
    });
    time("stem fwd+bwd (relu)", batch, || {
        let mut y = x.clone();
        for c in &stem {
            y = relu(c.forward(y));
        }
        let _ = y.sum().backward();
    });
    for (i, c) in stem.iter().enumerate() {
        let s = [(3, 128), (32, 64), (64, 32)][i];
        let x = rnd4([batch, s.0, s.1, s.1]);
        time(&format!("  conv{i} fwd"), batch, || {
            c.forward(x.clone()).into_data();
        });
        time(&format!("  conv{i} fwd+bwd weights"), batch, || {
            let _ = c.forward(x.clone()).sum().backward();
        });
        let x = x.require_grad();
        time(&format!("  conv{i} fwd+bwd weights+input"), batch, || {
            let _ = c.forward(x.clone()).sum().backward();
        });
    }
    let h = rnd3([batch, 257, 256]).require_grad();
    time("gelu 257x256 fwd", batch, || {
        gelu(h.clone()).into_data();
    });
    time("gelu 257x256 fwd+bwd", batch, || {
        let _ = gelu(h.clone()).sum().backward();
    });
    time("relu 257x256 fwd+bwd", batch, || {
        let _ = relu(h.clone()).sum().backward();
    });
    let a = rnd4([batch, 4, 257, 257]).require_grad();
    time("softmax 4x257x257 fwd", batch, || {
        softmax(a.clone(), 3).into_data();
    });
    time("softmax 4x257x257 fwd+bwd", batch, || {
        let _ = softmax(a.clone(), 3).sum().backward();
    });
    let v = rnd4([batch, 4, 257, 32]).require_grad();
    time("qk matmul fwd+bwd", batch, || {
        let _ = v.clone().matmul(v.clone().swap_dims(2, 3)).sum().backward();
    });

    let c = config();
    let enc = ImageEncoder::<B>::new(&c, &dev);
    let t = rnd3([batch, 257, 128]).require_grad();
    time("linear 128->256 fwd+bwd", batch, || {
        let _ = enc.blocks[0].mlp.c_fc.forward(t.clone()).sum().backward();
    });
    time("layer norm fwd+bwd", batch, || {
        let _ = enc.ln_pre.forward(t.clone()).sum().backward();
    });
    time("attention fwd+bwd", batch, || {
        let _ = enc.blocks[0].attn.forward(t.clone(), None).sum().backward();
    });
    time("dual attention fwd+bwd", batch, || {
        let d = enc.blocks[0].attn.forward_dual(t.clone());
        let _ = (d.ordinary + d.value_value).sum().backward();
    });
    time("block fwd", batch, || {
        enc.blocks[0].forward(t.clone(), None).into_data();
    });
    time("block fwd+bwd", batch, || {
        let _ = enc.blocks[0].forward(t.clone(), None).sum().backward();
    });
    time("dual block fwd+bwd", batch, || {
        let d = enc.blocks[0].forward_dual(t.clone());
        let _ = (d.out + d.value_value).sum().backward();
    });
    let mmci = Mmci::<B>::new(&c, &dev);
    time("mmci merged fwd", batch, || {
        mmci.clone().merge().forward(t.clone())[0].clone().into_data();
    });
    time("mmci merged fwd+bwd", batch, || {
        let y = mmci.clone().merge().forward(t.clone());
        let _ = Tensor::cat(y, 1).sum().backward();
    });
    let txt = TextEncoder::<B>::new(&c, &dev);
    let nodes = 100;
    let e = rnd3([batch, nodes, 64]).require_grad();
    time("text tower 100 nodes fwd+bwd", batch, || {
        let y = txt.blocks.iter().fold(e.clone(), |x, b| b.forward(x, None));
        let _ = y.sum().backward();
    });
    let sim = rnd4([batch, 5, 2, 256]).require_grad();
    time("maps at 128 px, 5 heads: upsample+loss", batch, || {
        let s = sim.clone();
        let d = (s.clone().narrow(2, 1, 1) - s.narrow(2, 0, 1)).reshape([batch, 5, 16, 16]);
        let u = Tensor::<B, 2>::random([128, 16], Distribution::Default, &dev);
        let up = u.clone().unsqueeze::<4>().matmul(d).matmul(u.transpose().unsqueeze::<4>());
        let p = burn::tensor::activation::sigmoid(up);
        let q = p.clone() + 1e-5;
        let focal = (q.clone() - 1.0).powi_scalar(2) * q.log();
        let dice = p.sum_dim(3);
        let _ = (focal.mean() + dice.mean()).backward();
    });
    // The embedding table and AdamW on it: dense, though a step touches few rows.
    let filo = Filo::<B>::new(&c, &dev);
    println!("parameters {}", filo.num_params());
    let mut opt = AdamWConfig::new().init::<B, Filo<B>>();
    let mut net = filo;
    let ids = (0..1000i64).collect::<Vec<_>>();
    let _ = TensorData::new(ids, [1000]);
    time("adamw, whole net (per batch/16)", batch, || {
        let all = net.text_encoder.embed(&(0..100u32).collect::<Vec<_>>()).sum()
            + net.image_encoder.ln_pre.forward(t.clone()).sum()
            + net
                .image_encoder
                .blocks
                .iter()
                .fold(t.clone().narrow(1, 0, 2), |x, b| b.forward(x, None))
                .sum();
        let g = GradientsParams::from_grads(all.backward(), &net);
        net = opt.step(1e-3, net.clone(), g);
    });
    let _ = net.valid();
}
