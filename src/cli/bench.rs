//! `filo bench`: times a stage at the published size with random weights, side by side with the
//! way the published code does it, in one process, in turn; or, with stage `generated`, measures
//! how well a network detects. In: a stage. Out: a table, or one JSON document.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use clap::{Args, ValueEnum};

use super::say::say;
use super::{bench_generated, bench_metrics};
use crate::device::{Backend, Device, cpu};
use crate::error::{Error, ModelError};
use crate::model::clip::text::TextEncoder;
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::config::FiloConfig;
use crate::model::filo::anomaly_map::AnomalyMapper;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::filo::prompt_tree::PromptTree;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, Filo, ImageEncoding};
use crate::model::grounding::caption::CaptionTokenizer;
use crate::model::grounding::{GroundingConfig, ImageBatch, TextBatch};
use crate::pipeline::localise::{DETECTOR_SIDE, floats};
use crate::weights::WeightsPlace;

#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(long, value_enum, default_value_t)]
    stage: BenchStage,

    /// Category whose prompts are encoded.
    #[arg(long, default_value = "bottle")]
    category: String,

    /// Times each way is measured; the fastest counts.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    repeat: u32,

    /// Weights of stage `generated`: a file, a folder that holds one or a bundle, or `nano`, those
    /// inside the program.
    #[arg(long, value_name = "nano|PATH", default_value = "nano")]
    weights: WeightsPlace,

    /// Folder of photographs of materials that generated pictures may show.
    #[arg(long, value_name = "DIR")]
    textures: Option<PathBuf>,

    /// Pictures of stage `generated`.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u64).range(1..))]
    pictures: u64,

    /// Folder with the maps of stage `metrics`: `maps.npy`, float32, and `masks.npy`, uint8, both
    /// [n, height, width].
    #[arg(long, value_name = "DIR", required_if_eq("stage", "metrics"))]
    maps: Option<PathBuf>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum BenchStage {
    /// The text tower over one picture's prompts: tree against padded sequences.
    #[default]
    Text,
    /// Everything that one picture costs, without the detector.
    Picture,
    /// The detector: one picture, and two of different shape in one padded batch.
    Detector,
    /// How well --weights do on pictures of the generator, and whether they listen to words.
    Generated,
    /// The pixel metrics of --maps.
    Metrics,
}

/// One row of the table.
struct Measured {
    name: &'static str,
    tokens: usize,
    seconds: f64,
}

impl BenchArgs {
    pub fn run(self) -> Result<u8, Error> {
        let (stage, rows) = match self.stage {
            BenchStage::Generated => {
                let (textures, pictures) = (self.textures.as_deref(), self.pictures);
                bench_generated::run(self.weights, textures, pictures, self.json)?;
                return Ok(0);
            }
            BenchStage::Metrics => {
                bench_metrics::run(&self.maps.unwrap_or_default(), self.json)?;
                return Ok(0);
            }
            BenchStage::Text => ("text", self.text()?),
            BenchStage::Picture => ("picture", self.picture()?),
            BenchStage::Detector => ("detector", self.detector()?),
        };
        let first = rows[0].seconds;
        if self.json {
            let rows = rows.iter().map(|row| {
                serde_json::json!({
                    "name": row.name, "tokens": row.tokens, "seconds": row.seconds,
                })
            });
            let rows = rows.collect::<Vec<_>>();
            let category = &self.category;
            let document =
                serde_json::json!({ "stage": stage, "category": category, "rows": rows });
            say(format_args!("{document:#}"))?;
            return Ok(0);
        }
        say(format_args!(
            "| {stage}, {}, one picture | tokens | seconds | ratio |",
            self.category
        ))?;
        say("|---|---|---|---|")?;
        for row in &rows {
            let ratio = first / row.seconds;
            say(format_args!(
                "| {} | {} | {:.2} | {ratio:.1}× |",
                row.name, row.tokens, row.seconds
            ))?;
        }
        Ok(0)
    }

    /// The whole picture, then its parts.
    fn picture(&self) -> Result<Vec<Measured>, Error> {
        let config = FiloConfig::published();
        let device = cpu();
        let scorer = Filo::<Backend>::new(&config, &device).into_scorer();
        let texts = Descriptions::built_in()?.prompts(&self.category);
        let trees = texts.trees(&ClipTokenizer::embedded()?, config.n_ctx, &Position::ALL);
        let prompts = PreparedPrompts::new(&trees, START_ID, &scorer.text_encoder);
        let nodes = trees.iter().map(PromptTree::len).sum();
        let side = config.vision.image_size;
        let noise = Distribution::Normal(0.0, 1.0);
        let image = Tensor::<Backend, 4>::random([1, 3, side, side], noise, &device);
        let mapper = AnomalyMapper::new(config.vision.grid(), side);

        let encode = || scorer.encode_images(image.clone(), AdapterUse::Applied);
        let encoding = encode();
        let score = |encoding: &ImageEncoding<Backend>| {
            floats(scorer.score(encoding, &prompts).similarities)
        };
        let similarities = score(&encoding);
        let patches = 1 + config.vision.grid() * config.vision.grid();
        let row = |name, tokens, seconds| Measured { name, tokens, seconds };
        Ok(vec![
            row(
                "all",
                patches,
                fastest(self.repeat, || {
                    mapper.map(&score(&encode()));
                }),
            ),
            row(
                "image tower",
                patches,
                fastest(self.repeat, || {
                    floats(encode().features);
                }),
            ),
            row(
                "map heads",
                patches,
                fastest(self.repeat, || {
                    scorer.decode(&encoding.tokens).into_iter().for_each(|head| drop(floats(head)));
                }),
            ),
            row(
                "text tower, all positions",
                nodes,
                fastest(self.repeat, || {
                    floats(scorer.encode_prompts(&encoding.features, &prompts).abnormal);
                }),
            ),
            row(
                "map",
                patches,
                fastest(self.repeat, || {
                    mapper.map(&similarities);
                }),
            ),
        ])
    }

    fn detector(&self) -> Result<Vec<Measured>, Error> {
        let config = GroundingConfig::swin_t_ogc();
        let device = cpu();
        let net = config.init::<Backend>(&device);
        let words = Descriptions::built_in()?.caption_words(&self.category);
        let tokens = CaptionTokenizer::embedded()?.encode(&words.caption(), config.max_text_len);
        let text = TextBatch::new(&[&tokens], &config, &device).map_err(|error| {
            ModelError::Caption { category: self.category.clone(), reason: error.to_string() }
        })?;
        let caption = net.encode_caption(text);
        let noise = |width| {
            let shape = [3, DETECTOR_SIDE.shorter, width];
            Tensor::<Backend, 3>::random(shape, Distribution::Normal(0.0, 1.0), &device)
        };
        let square = DETECTOR_SIDE.shorter;
        let batches = [("518×518", vec![square]), ("518×700 and 518×518", vec![700, square])];
        let rows = batches.into_iter().filter_map(|(name, widths)| {
            let batch = ImageBatch::new(widths.into_iter().map(noise).collect())?;
            let seconds = fastest(self.repeat, || {
                floats(net.forward(batch.clone(), &caption).boxes);
            });
            Some(Measured { name, tokens: tokens.len(), seconds })
        });
        Ok(rows.collect())
    }

    /// The published way first, then ours.
    fn text(&self) -> Result<Vec<Measured>, Error> {
        let config = FiloConfig::published();
        let device = cpu();
        let encoder = TextEncoder::<Backend>::new(&config, &device);
        let texts = Descriptions::built_in()?.prompts(&self.category);
        let tokenizer = ClipTokenizer::embedded()?;
        let n_ctx = config.n_ctx;
        let encode = |texts: Vec<String>| {
            texts.into_iter().map(|text| tokenizer.encode(&text)).collect::<Vec<_>>()
        };
        let mut prompts = encode(texts.normal_texts(n_ctx));
        prompts.extend(encode(texts.abnormal_texts(n_ctx, &Position::ALL)));

        let mut rows = vec![Measured {
            name: "padded sequences, as published",
            tokens: prompts.len() * config.text.context_length,
            seconds: fastest(self.repeat, || plain(&encoder, &config, &prompts, &device)),
        }];
        let trees = [
            ("tree, all positions", &Position::ALL[..]),
            ("tree, one position", &[Position::Center]),
        ];
        for (name, positions) in trees {
            let trees = texts.trees(&tokenizer, n_ctx, positions);
            let prepared = PreparedPrompts::new(&trees, START_ID, &encoder);
            let context = random([1, n_ctx, config.text.width], &device);
            rows.push(Measured {
                name,
                tokens: trees.iter().map(PromptTree::len).sum(),
                seconds: fastest(self.repeat, || {
                    let features = prepared.encode(&encoder, context.clone(), context.clone());
                    // Asking for the numbers ends work that a device may have put off.
                    features.abnormal.into_data();
                }),
            });
        }
        Ok(rows)
    }
}

fn plain(
    encoder: &TextEncoder<Backend>,
    config: &FiloConfig,
    prompts: &[Vec<u32>],
    device: &Device,
) {
    let text = &config.text;
    let embeddings = random([prompts.len(), text.context_length, text.width], device);
    let ends = prompts.iter().map(|ids| ids.len() - 1).collect::<Vec<_>>();
    encoder.encode_sequences(embeddings, &ends).into_data();
}

fn random(shape: [usize; 3], device: &Device) -> Tensor<Backend, 3> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.02), device)
}

/// Seconds of the fastest of `repeat` runs, after one that is not counted.
fn fastest(repeat: u32, mut work: impl FnMut()) -> f64 {
    work();
    let runs = (0..repeat).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}
