//! Times a training step of a small network and of its parts: `cargo run --release --example
//! train_speed`. In: nothing. Out: milliseconds per picture, forward and backward.

use std::time::Instant;

use burn::tensor::{Distribution, Tensor, backend::Backend as _};
use filo::device::{TrainBackend as B, cpu};
use filo::model::clip::stem::ConvStem;
use filo::model::clip::tokenizer::ClipTokenizer;
use filo::model::config::{FiloConfig, StemLayer, TextConfig, VisionConfig};
use filo::model::filo::Filo;
use filo::model::filo::descriptions::Descriptions;
use filo::train::map_loss::{MapWeights, Truth, map_loss};
use filo::train::objective::{Extras, StepBatch, stage_1};
use filo::train::optimizer::{AdamW, Gradients};
use filo::train::parts::Rates;
use filo::train::prompts::{PicturePrompts, PromptEncoder, Vocabulary};

const STEM: [StemLayer; 3] = [
    StemLayer { channels: 32, stride: 2 },
    StemLayer { channels: 64, stride: 2 },
    StemLayer { channels: 128, stride: 2 },
];

/// As in the program: with the system's allocator page faults double the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 16;

fn config(side: usize) -> FiloConfig {
    FiloConfig {
        vision: VisionConfig {
            image_size: side,
            patch_size: 8,
            width: 128,
            layers: 4,
            head_width: 32,
            mlp_width: Some(256),
            stem: Some(STEM.to_vec()),
        },
        text: TextConfig { context_length: 77, vocab_size: 1000, width: 64, heads: 2, layers: 2 },
        embed_dim: 64,
        features_list: vec![2, 3, 4],
        first_dual_block_index: 2,
        n_ctx: 4,
        meta_net_hidden: 8,
        adapter_hidden: 32,
        ..FiloConfig::published()
    }
}

fn time(name: &str, mut work: impl FnMut()) {
    work();
    let runs = (0..5).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    let best = runs.fold(f64::MAX, f64::min);
    println!("{name:44} {:8.2} ms/picture", best * 1e3 / BATCH as f64);
}

fn backward<const D: usize>(output: Tensor<B, D>) {
    drop(output.sum().backward());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu();
    B::seed(&device, 1);
    for side in [128, 64] {
        println!("{side} px, batch {BATCH}");
        let config = config(side);
        config.validate()?;
        let rates = Rates { backbone: Some(1e-3), text: Some(1e-3), ..Rates::STAGE_1 };
        let mut network = rates.freeze(Filo::<B>::new(&config, &device));
        let tokens = 1 + config.vision.grid() * config.vision.grid();
        let normal = Distribution::Normal(0.0, 1.0);
        let images = Tensor::<B, 4>::random([BATCH, 3, side, side], normal, &device);
        let x = Tensor::<B, 3>::random([BATCH, tokens, 128], normal, &device).require_grad();
        let stem = ConvStem::<B>::new(&STEM, 1e-5, &device);
        time("stem forward", || drop(stem.forward(images.clone()).into_data()));
        time("stem", || backward(stem.forward(images.clone())));
        let block = &network.image_encoder.blocks[0];
        time("MLP up", || backward(block.mlp.c_fc.forward(x.clone())));
        time("norm", || backward(block.ln_1.forward(x.clone())));
        time("attention", || backward(block.attn.forward(x.clone(), None)));
        time("dual attention", || {
            let both = block.attn.forward_dual(x.clone());
            backward(both.ordinary + both.value_value);
        });
        time("block", || backward(block.forward(x.clone(), None)));
        time("dual block", || {
            let step = block.forward_dual(x.clone());
            backward(step.out + step.value_value);
        });
        let mmci = &network.decoder_cov;
        time("MMCI", || backward(Tensor::cat(mmci.clone().merge().forward(x.clone()), 1)));
        let similarities =
            Tensor::<B, 4>::random([BATCH, 5, 2, tokens - 1], normal, &device).require_grad();
        let masks = vec![0.0; BATCH * side * side];
        let truth = Truth { masks: &masks, labels: &[0; BATCH], size: side };
        time("map losses", || {
            backward(map_loss(similarities.clone(), truth, MapWeights::default()).loss);
        });

        let tokenizer = ClipTokenizer::embedded()?;
        let texts = Descriptions::built_in()?.prompts("tile");
        let prompts = PicturePrompts {
            normal: texts.normal_texts(config.n_ctx),
            abnormal: texts
                .abnormal_texts(config.n_ctx, &filo::model::filo::position::Position::ALL[..1]),
            details: 0,
            right: None,
        };
        let all = prompts.normal.iter().chain(&prompts.abnormal).map(String::as_str);
        let vocabulary = Vocabulary::of(&tokenizer, all);
        let encoder = PromptEncoder::new(tokenizer, vocabulary, config.n_ctx);
        let mut batch = None;
        time("prompts laid out", || {
            batch = Some(encoder.batch(vec![prompts.clone(); BATCH], &device));
        });
        let prompts = batch.ok_or("it was just made")?;
        let features = Tensor::<B, 2>::random([BATCH, 64], normal, &device).require_grad();
        time("text tower", || {
            backward(prompts.encode(
                &network.text_encoder,
                &network.normal_prompt_learner,
                &network.abnormal_prompt_learner,
                features.clone(),
            ));
        });
        let batch = StepBatch { images, masks, labels: vec![0; BATCH], prompts };
        time("forward of a step", || drop(stage_1(&network, &batch, Extras::default())));
        time("forward and backward of a step", || {
            let loss = stage_1(&network, &batch, Extras::default());
            drop(Gradients::of(&loss.loss, &network));
        });
        let mut optimizer = AdamW::published();
        let loss = stage_1(&network, &batch, Extras::default());
        let gradients = Gradients::of(&loss.loss, &network);
        drop(loss);
        time("AdamW", || {
            network = optimizer.step(network.clone(), &gradients, &rates, 1.0);
        });
        time("whole step", || {
            let loss = stage_1(&network, &batch, Extras::default());
            let gradients = Gradients::of(&loss.loss, &network);
            network = optimizer.step(network.clone(), &gradients, &rates, 1.0);
        });
    }
    Ok(())
}
