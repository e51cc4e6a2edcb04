//! Stages of `filo bench` that run the networks, at the published size with random weights unless
//! others are named: what one batch costs, whole and in parts. In: a device, a precision, a batch
//! size. Out: seconds.

use std::time::Instant;

use burn::tensor::backend::Backend as AnyBackend;
use burn::tensor::{Distribution, Tensor};
use clap::ValueEnum;

use crate::device::{Backend, Device, NetworkBackend, OnBackend, cpu, on_backend, products_in};
use crate::error::{Error, ModelError};
use crate::job::Precision;
use crate::model::clip::text::TextEncoder;
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::clip::vision::ImageTokens;
use crate::model::config::FiloConfig;
use crate::model::filo::anomaly_map::AnomalyMapper;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::filo::prompt_tree::PromptTree;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, Filo, FiloScorer};
use crate::model::grounding::caption::CaptionTokenizer;
use crate::model::grounding::{
    EncodedCaption, GroundingConfig, GroundingDino, ImageBatch, TextBatch,
};
use crate::model::precision::{product, same_format, with_products_in};
use crate::pipeline::localise::{DETECTOR_SIDE, floats};
use crate::weights::load::{bundled_filo, bundled_grounding, load_filo, scorer};
use crate::weights::{Weights, WeightsPlace};

/// Edge length of the matrices whose product is the device's limit.
pub const PEAK_SIDE: usize = 4096;

/// Operations of a product of two squares of [`PEAK_SIDE`].
const PEAK_FLOPS: f64 = 2.0 * (PEAK_SIDE * PEAK_SIDE * PEAK_SIDE) as f64;

/// What the stages have in common.
pub struct NetworkBench {
    /// Category whose prompts are encoded.
    pub category: String,
    /// Repetitions; the fastest counts.
    pub repeat: u32,
    /// Images per batch.
    pub pictures: usize,
    pub device: Device,
    pub precision: Precision,
    /// Weights of stage `picture`; else random ones at the published size.
    pub weights: Option<WeightsPlace>,
}

/// The networks that stage `picture` runs.
struct Networks<B: NetworkBackend> {
    config: FiloConfig,
    scorer: FiloScorer<B>,
    detector: Option<(GroundingConfig, GroundingDino<B>)>,
}

/// The detector, and the caption of the category as it has read it.
struct Detection<B: NetworkBackend> {
    net: GroundingDino<B>,
    caption: EncodedCaption<B>,
    /// Of the caption.
    tokens: usize,
}

/// What stage `picture` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PicturePart {
    /// Everything without a detector, with the prompts of all nine positions.
    All,
    /// The same with the prompts of one position, as if the detector had chosen it.
    AllOnePosition,
    /// Everything: the detector, and the prompts of one position.
    AllWithDetector,
    Detector,
    ImageTower,
    MapHeads,
    TextAllPositions,
    TextOnePosition,
    Map,
}

/// One row of the table.
pub struct Measured {
    pub name: &'static str,
    /// Tokens of one image.
    pub tokens: usize,
    pub pictures: usize,
    /// Of the whole batch.
    pub seconds: f64,
}

/// A stage that runs networks.
enum Stage {
    Picture(Option<PicturePart>),
    Detector,
    Text,
}

/// A stage and its settings.
struct Of<'a> {
    bench: &'a NetworkBench,
    stage: Stage,
}

impl OnBackend for Of<'_> {
    type Output = Result<Vec<Measured>, Error>;

    fn on<B: NetworkBackend>(self) -> Self::Output {
        match self.stage {
            Stage::Picture(part) => self.bench.picture_on::<B>(part),
            Stage::Detector => self.bench.detector_on::<B>(),
            Stage::Text => self.bench.text_on::<B>(),
        }
    }
}

impl NetworkBench {
    fn measured(&self, name: &'static str, tokens: usize, work: impl FnMut()) -> Measured {
        let seconds = fastest(self.repeat, work);
        Measured { name, tokens, pictures: self.pictures, seconds }
    }

    fn networks<B: NetworkBackend>(&self, with_detector: bool) -> Result<Networks<B>, Error> {
        let device = &self.device;
        let own = &B::own(device);
        let products = products_in(self.precision);
        let Some(place) = &self.weights else {
            let config = FiloConfig::published();
            let scorer = Filo::new(&config, own).into_scorer().with_products_in(products);
            let grounding = with_detector.then(GroundingConfig::swin_t_ogc);
            let detector = grounding.map(|config| (config.clone(), config.init(own)));
            return Ok(Networks { config, scorer, detector });
        };
        let weights = Weights::open(place)?;
        let config = weights.config()?;
        let (filo, detector) = match &weights {
            Weights::Checkpoint(checkpoint) => (load_filo(checkpoint, &config, device)?.0, None),
            Weights::Bundle(bundle) => {
                let net = if with_detector { bundled_grounding(bundle, device)? } else { None };
                let grounding = bundle.manifest().grounding.clone();
                (bundled_filo(bundle, &config, device)?, grounding.zip(net))
            }
        };
        Ok(Networks { config, scorer: scorer(filo, &weights, products), detector })
    }

    fn detection<B: NetworkBackend>(
        &self,
        (config, net): (GroundingConfig, GroundingDino<B>),
    ) -> Result<Detection<B>, Error> {
        let words = Descriptions::built_in()?.caption_words(&self.category);
        let tokens = CaptionTokenizer::embedded()?.encode(&words.caption(), config.max_text_len);
        let text = TextBatch::new(&[&tokens], &config, &B::own(&self.device)).map_err(|error| {
            ModelError::Caption { category: self.category.clone(), reason: error.to_string() }
        })?;
        let caption = net.encode_caption(text);
        Ok(Detection { net, caption, tokens: tokens.len() })
    }

    /// A batch for the detector, of images of its shorter side and `width`.
    fn detector_batch<B: NetworkBackend>(&self, width: usize) -> Option<ImageBatch<B>> {
        let noise = || self.noise([3, DETECTOR_SIDE.shorter, width]);
        ImageBatch::new((0..self.pictures).map(|_| noise()).collect())
    }

    /// The whole batch and its parts, or the one part that is wanted.
    pub fn picture(&self, part: Option<PicturePart>) -> Result<Vec<Measured>, Error> {
        on_backend(&self.device, Of { bench: self, stage: Stage::Picture(part) })
    }

    fn picture_on<B: NetworkBackend>(
        &self,
        part: Option<PicturePart>,
    ) -> Result<Vec<Measured>, Error> {
        let detects = |part| matches!(part, PicturePart::AllWithDetector | PicturePart::Detector);
        let Networks { config, scorer, detector } = self.networks::<B>(part.is_none_or(detects))?;
        let detection = detector.map(|detector| self.detection(detector)).transpose()?;
        let detection = detection.zip(self.detector_batch(DETECTOR_SIDE.shorter));
        let texts = Descriptions::built_in()?.prompts(&self.category);
        let tokenizer = ClipTokenizer::embedded()?;
        let prepared = |positions: &[Position]| {
            let trees = texts.trees(&tokenizer, config.n_ctx, positions);
            let nodes = trees.iter().map(PromptTree::len).sum::<usize>();
            (PreparedPrompts::new(&trees, START_ID, &scorer.text_encoder), nodes)
        };
        let (all, all_nodes) = prepared(&Position::ALL);
        let (one, one_nodes) = prepared(&[Position::Center]);
        let (side, grid) = (config.vision.image_size, config.vision.grid());
        let (n, patches) = (self.pictures, 1 + grid * grid);
        let images = self.noise([n, 3, side, side]);
        // Parts run on numbers of the right shape, without what comes before them.
        let tokens = || self.noise([n, patches, config.vision.width]);
        let heads = config.linear_heads() + config.mmci_heads();
        let similarities = floats(self.noise::<B, 3>([heads, 2, grid * grid]));
        let mapper = AnomalyMapper::new(grid, side);

        let encode = || scorer.encode_images(images.clone(), AdapterUse::Applied);
        let whole = |prompts: &PreparedPrompts<B>| {
            let similarities = floats(scorer.score(&encode(), prompts).similarities);
            let of_one = similarities.len() / n;
            similarities.chunks_exact(of_one).for_each(|picture| drop(mapper.map(picture)));
        };
        let text = |name, nodes, prompts: &PreparedPrompts<B>| {
            let features = self.noise([n, config.embed_dim]);
            let encode = || finish(scorer.encode_prompts(&features, prompts).abnormal);
            self.measured(name, nodes, encode)
        };
        let detect = |(detection, batch): &(Detection<B>, ImageBatch<B>)| {
            finish(detection.net.forward(batch.clone(), &detection.caption).boxes);
        };
        let parts = PicturePart::value_variants().iter();
        let wanted = parts.filter(|&&this| part.is_none_or(|part| part == this));
        let wanted = wanted.filter(|&&part| detection.is_some() || !detects(part));
        let rows = wanted.map(|part| match part {
            PicturePart::All => self.measured("all", patches, || whole(&all)),
            PicturePart::AllOnePosition => {
                self.measured("all, one position", patches, || whole(&one))
            }
            PicturePart::AllWithDetector => self.measured("all, with detector", patches, || {
                detection.iter().for_each(detect);
                whole(&one);
            }),
            PicturePart::Detector => {
                let tokens = detection.as_ref().map_or(0, |(detection, _)| detection.tokens);
                self.measured("detector", tokens, || detection.iter().for_each(detect))
            }
            PicturePart::ImageTower => {
                self.measured("image tower", patches, || finish(encode().features))
            }
            PicturePart::MapHeads => {
                let tokens = ImageTokens {
                    value_value: tokens(),
                    ordinary: (1..config.linear_heads()).map(|_| tokens()).collect(),
                };
                self.measured("map heads", patches, || {
                    // The last in the queue ends all.
                    let heads = scorer.decode(&tokens);
                    heads.into_iter().next_back().into_iter().for_each(finish);
                })
            }
            PicturePart::TextAllPositions => text("text tower, all positions", all_nodes, &all),
            PicturePart::TextOnePosition => text("text tower, one position", one_nodes, &one),
            PicturePart::Map => self.measured("map", patches, || {
                (0..n).for_each(|_| drop(mapper.map(&similarities)));
            }),
        });
        Ok(rows.collect())
    }

    pub fn noise<B: NetworkBackend, const D: usize>(&self, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &B::own(&self.device))
    }

    pub fn detector(&self) -> Result<Vec<Measured>, Error> {
        on_backend(&self.device, Of { bench: self, stage: Stage::Detector })
    }

    fn detector_on<B: NetworkBackend>(&self) -> Result<Vec<Measured>, Error> {
        let config = GroundingConfig::swin_t_ogc();
        let net: GroundingDino<B> = config.init(&B::own(&self.device));
        let Detection { net, caption, tokens } = self.detection((config, net))?;
        let widths = [("518×518", DETECTOR_SIDE.shorter), ("518×700", 700)];
        let rows = widths.into_iter().filter_map(|(name, width)| {
            let batch = self.detector_batch(width)?;
            Some(self.measured(name, tokens, || {
                finish(net.forward(batch.clone(), &caption).boxes);
            }))
        });
        Ok(rows.collect())
    }

    /// The published way first, then ours; of one image.
    pub fn text(&self) -> Result<Vec<Measured>, Error> {
        on_backend(&self.device, Of { bench: self, stage: Stage::Text })
    }

    fn text_on<B: NetworkBackend>(&self) -> Result<Vec<Measured>, Error> {
        let config = FiloConfig::published();
        let device = &B::own(&self.device);
        let encoder = TextEncoder::<B>::new(&config, device);
        let encoder = with_products_in(encoder, products_in(self.precision));
        let texts = Descriptions::built_in()?.prompts(&self.category);
        let tokenizer = ClipTokenizer::embedded()?;
        let n_ctx = config.n_ctx;
        let encode = |texts: Vec<String>| {
            texts.into_iter().map(|text| tokenizer.encode(&text)).collect::<Vec<_>>()
        };
        let mut prompts = encode(texts.normal_texts(n_ctx));
        prompts.extend(encode(texts.abnormal_texts(n_ctx, &Position::ALL)));

        let row = |name, tokens, seconds| Measured { name, tokens, pictures: 1, seconds };
        let mut rows = vec![row(
            "padded sequences, as published",
            prompts.len() * config.text.context_length,
            fastest(self.repeat, || plain(&encoder, &config, &prompts, device)),
        )];
        let trees = [
            ("tree, all positions", &Position::ALL[..]),
            ("tree, one position", &[Position::Center]),
        ];
        for (name, positions) in trees {
            let trees = texts.trees(&tokenizer, n_ctx, positions);
            let prepared = PreparedPrompts::new(&trees, START_ID, &encoder);
            let context = random([1, n_ctx, config.text.width], device);
            let nodes = trees.iter().map(PromptTree::len).sum();
            let seconds = fastest(self.repeat, || {
                finish(prepared.encode(&encoder, context.clone(), context.clone()).abnormal);
            });
            rows.push(row(name, nodes, seconds));
        }
        Ok(rows)
    }

    /// A product of two square matrices, and a copy of one.
    pub fn peak(&self) -> Vec<Measured> {
        let row = |name, seconds| Measured { name, tokens: PEAK_SIDE, pictures: 1, seconds };
        vec![
            row("product of two squares", self.product_seconds(self.precision)),
            row("one square read, one written", self.copy_seconds()),
        ]
    }

    /// Operations per second of a product of two squares of [`PEAK_SIDE`], as scoring multiplies.
    pub fn peak_flops(&self, precision: Precision) -> f64 {
        PEAK_FLOPS / self.product_seconds(precision)
    }

    /// The same as training multiplies: in f32, whose operands a GPU may round.
    pub fn training_peak_flops(&self) -> f64 {
        let [a, b] = [0, 1].map(|_| self.square());
        PEAK_FLOPS / self.alone(&a, || a.clone().matmul(b.clone()))
    }

    /// Seconds of a product of two squares of [`PEAK_SIDE`].
    fn product_seconds(&self, precision: Precision) -> f64 {
        let [a, b] = [0, 1].map(|_| same_format(self.square(), products_in(precision)));
        self.alone(&a, || product(a.clone(), b.clone()))
    }

    /// Seconds in which a square of [`PEAK_SIDE`] numbers of 4 bytes is read and another written.
    pub fn copy_seconds(&self) -> f64 {
        let a = self.square();
        self.alone(&a, || a.clone() + 1.0)
    }

    fn square(&self) -> Tensor<Backend, 2> {
        self.noise([PEAK_SIDE, PEAK_SIDE])
    }

    /// Seconds of `work` without those of starting it and of asking for a number: many are started
    /// before one is asked for.
    fn alone(&self, a: &Tensor<Backend, 2>, work: impl Fn() -> Tensor<Backend, 2>) -> f64 {
        let corner = |x: Tensor<Backend, 2>| finish(x.slice([0..1, 0..1]));
        let asking = fastest(self.repeat, || corner(a.clone()));
        let times = if self.device == cpu() { 1 } else { 20 };
        let all = fastest(self.repeat, || {
            (1..times).for_each(|_| drop(work()));
            corner(work());
        });
        (all - asking).max(f64::MIN_POSITIVE) / f64::from(times)
    }
}

fn plain<B: AnyBackend>(
    encoder: &TextEncoder<B>,
    config: &FiloConfig,
    prompts: &[Vec<u32>],
    device: &B::Device,
) {
    let text = &config.text;
    let embeddings = random([prompts.len(), text.context_length, text.width], device);
    let ends = prompts.iter().map(|ids| ids.len() - 1).collect::<Vec<_>>();
    finish(encoder.encode_sequences(embeddings, &ends));
}

fn random<B: AnyBackend>(shape: [usize; 3], device: &B::Device) -> Tensor<B, 3> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.02), device)
}

/// Asking for the numbers ends work that a device may have put off.
pub fn finish<B: AnyBackend, const D: usize>(tensor: Tensor<B, D>) {
    tensor.into_data();
}

/// Seconds of the fastest of `repeat` runs, after one that is not counted.
pub fn fastest(repeat: u32, mut work: impl FnMut()) -> f64 {
    work();
    let runs = (0..repeat).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}
