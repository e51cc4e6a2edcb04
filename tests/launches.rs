//! How many kernels the networks run on a GPU for one batch. In: networks of the published depth and
//! small widths, on wgpu or, built for it, on CUDA, whose runtimes log every kernel. Out: the counts,
//! printed by kernel, and held to bounds. A GPU that is launched too often waits for the host, however
//! fast its kernels are.

#![cfg(any(feature = "cuda-untuned", feature = "wgpu"))]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::cubecl::config::profiling::ProfilingLogLevel;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn::tensor::backend::BackendTypes;
use burn::tensor::{DType, Distribution, Tensor};
#[cfg(feature = "cuda-untuned")]
use filo::device::Cuda as B;
#[cfg(not(feature = "cuda-untuned"))]
use filo::device::Wgpu as B;
use filo::model::config::Activation;
use filo::model::grounding::{CaptionToken, GroundingConfig, ImageBatch, TextBatch};
use filo::model::layers::{ResidualBlock, ResidualBlockConfig, Stream};
use filo::model::precision::with_products_in;

/// What no network computes: where this stands in the log, one count ends and the next begins.
const MARK: &str = "Flip";

/// Until the log has what was asked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bounds: what is counted today. They only ever go down.
const BLOCK: usize = 8;
const DUAL_BLOCK: usize = 10;
const BLOCK_F16: usize = 12;
const DUAL_BLOCK_F16: usize = 12;
const DETECTOR: usize = 595;

/// A GPU and the log of its kernels.
struct Counted {
    device: <B as BackendTypes>::Device,
    log: PathBuf,
    marks: usize,
}

impl Counted {
    /// The runtime reads its settings once in a process: there is one of these per process.
    fn open(folder: &tempfile::TempDir) -> Self {
        let log = folder.path().join("kernels.log");
        let mut config = CubeClRuntimeConfig::default();
        config.profiling.logger.level = ProfilingLogLevel::Minimal;
        config.profiling.logger.file = Some(log.clone());
        CubeClRuntimeConfig::set(config);
        Counted { device: Default::default(), log, marks: 0 }
    }

    /// Runs a kernel that stands for itself in the log, and waits until it does.
    fn mark(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = Tensor::<B, 1>::from_floats([1.0, 2.0], &self.device).flip([0]);
        drop(mark.into_data());
        let asked = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines = text.lines().filter(|line| line.starts_with("Executing "));
            let lines = lines.map(str::to_owned).collect::<Vec<_>>();
            if lines.iter().filter(|line| line.contains(MARK)).count() == self.marks {
                return lines;
            }
            assert!(asked.elapsed() < PATIENCE, "no {MARK} in the log: {:?}", lines.last());
            std::thread::yield_now();
        }
    }

    /// Kernels of `work`, by name, when it runs for the second time: what is made once is there then.
    fn kernels(&mut self, work: impl Fn() -> Vec<Tensor<B, 3>>) -> BTreeMap<String, usize> {
        work().into_iter().for_each(|out| drop(out.into_data()));
        self.mark();
        let out = work();
        let lines = self.mark();
        drop(out);
        let from = lines.iter().rposition(|line| line.contains(MARK)).expect("the second mark");
        let lines = &lines[..from];
        let from = lines.iter().rposition(|line| line.contains(MARK)).expect("the first mark");
        let mut counts = BTreeMap::new();
        for line in &lines[from + 1..] {
            *counts.entry(line.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// What a tower of two blocks takes more than one of a single block.
    fn kernels_of_one_more(
        &mut self,
        tower: impl Fn(usize) -> Vec<Tensor<B, 3>>,
    ) -> BTreeMap<String, usize> {
        let one = self.kernels(|| tower(1));
        let mut two = self.kernels(|| tower(2));
        for (name, count) in &mut two {
            *count -= one.get(name).copied().unwrap_or_default();
        }
        two
    }
}

/// `blocks` times the same block.
fn plain_tower(
    block: &ResidualBlock<B>,
    tokens: &Tensor<B, 3>,
    blocks: usize,
) -> Vec<Tensor<B, 3>> {
    let x = Stream::from(tokens.clone());
    vec![(0..blocks).fold(x, |x, _| block.forward(x, None)).tokens()]
}

fn dual_tower(block: &ResidualBlock<B>, tokens: &Tensor<B, 3>, blocks: usize) -> Vec<Tensor<B, 3>> {
    let start = (Stream::from(tokens.clone()), tokens.clone());
    let (x, value_value) = (0..blocks).fold(start, |(x, value_value), _| {
        let step = block.forward_dual(x, value_value);
        (step.out, step.value_value)
    });
    vec![x.tokens(), value_value]
}

fn total(what: &str, counts: &BTreeMap<String, usize>) -> usize {
    let sum = counts.values().sum::<usize>();
    println!("{what}: {sum} kernels");
    for (name, count) in counts {
        println!("{count:6} {name}");
    }
    sum
}

/// The published depth; widths that keep shapes like those of the published size, at a fraction of its
/// time on a renderer that is a program.
fn small_detector() -> GroundingConfig {
    let mut config = GroundingConfig::swin_t_ogc();
    config.swin.embed_dim = 32;
    config.swin.num_heads = vec![1, 2, 4, 8];
    config.bert.hidden = 64;
    config.bert.heads = 4;
    config.bert.intermediate = 128;
    config.bert.layers = 1;
    config.bert.vocab = 100;
    (config.d_model, config.text_sine_features, config.queries) = (64, 64, 100);
    (config.ffn, config.text_layer_ffn, config.fusion_dim) = (128, 128, 128);
    config.validate().expect("the sizes fit together");
    config
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver: scripts/test runs it"]
fn a_batch_takes_no_more_kernels_than_it_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gpu = Counted::open(&folder);
    let device = gpu.device.clone();
    let normal =
        |shape: [usize; 3]| Tensor::<B, 3>::random(shape, Distribution::Normal(0.0, 1.0), &device);

    let block = ResidualBlockConfig {
        width: 128,
        heads: 2,
        mlp_width: 512,
        activation: Activation::GeluErf,
        layer_norm_eps: 1e-5,
    };
    let block = block.init::<B>(&device);
    let tokens = normal([2, 101, 128]);
    let plain = gpu.kernels_of_one_more(|blocks| plain_tower(&block, &tokens, blocks));
    let plain = total("block of the image tower", &plain);
    let dual = gpu.kernels_of_one_more(|blocks| dual_tower(&block, &tokens, blocks));
    let dual = total("dual block of the image tower", &dual);

    let half = with_products_in(block, DType::F16);
    let plain_half = gpu.kernels_of_one_more(|blocks| plain_tower(&half, &tokens, blocks));
    let plain_half = total("block of the image tower in f16", &plain_half);
    let dual_half = gpu.kernels_of_one_more(|blocks| dual_tower(&half, &tokens, blocks));
    let dual_half = total("dual block of the image tower in f16", &dual_half);

    let config = small_detector();
    let net = config.init::<B>(&device);
    let token = |id| CaptionToken { id, position: 0, sees: 0..3 };
    let caption = [token(1), token(2), token(3)];
    let text = TextBatch::new(&[&caption], &config, &device).expect("a caption");
    let caption = net.encode_caption(text);
    let images = || (0..2).map(|_| normal([3, 130, 130])).collect::<Vec<_>>();
    let images = ImageBatch::new(images()).expect("images");
    let detector = gpu.kernels(|| {
        let found = net.forward(images.clone(), &caption);
        vec![found.logits, found.boxes]
    });
    let detector = total("detector", &detector);

    assert!(plain <= BLOCK, "{plain} kernels in a block");
    assert!(dual <= DUAL_BLOCK, "{dual} kernels in a dual block");
    assert!(plain_half <= BLOCK_F16, "{plain_half} kernels in a block in f16");
    assert!(dual_half <= DUAL_BLOCK_F16, "{dual_half} kernels in a dual block in f16");
    assert!(detector <= DETECTOR, "{detector} kernels in the detector");
}
