//! `filo bench`: times a stage at the published size with random weights, side by side with the
//! way the published code does it, in one process, in turn.

use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use clap::{Args, ValueEnum};

use super::say::say;
use crate::device::{Backend, Device, cpu};
use crate::error::Error;
use crate::model::clip::text::TextEncoder;
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::config::FiloConfig;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::filo::prompts::PreparedPrompts;

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

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum BenchStage {
    /// The text tower over one picture's prompts: tree against padded sequences.
    #[default]
    Text,
}

/// One way to encode the prompts.
struct Measured {
    name: &'static str,
    tokens: usize,
    seconds: f64,
}

impl BenchArgs {
    pub fn run(self) -> Result<u8, Error> {
        let rows = match self.stage {
            BenchStage::Text => self.text()?,
        };
        let slowest = rows[0].seconds;
        if self.json {
            let rows = rows.iter().map(|row| {
                serde_json::json!({
                    "way": row.name,
                    "tokens": row.tokens,
                    "seconds": row.seconds,
                    "times_faster": slowest / row.seconds,
                })
            });
            let document = serde_json::json!({
                "stage": "text", "category": self.category, "ways": rows.collect::<Vec<_>>(),
            });
            say(format_args!("{document:#}"))?;
            return Ok(0);
        }
        say(format_args!(
            "| text tower, {}, one picture | tokens | seconds | ratio |",
            self.category
        ))?;
        say("|---|---|---|---|")?;
        for row in &rows {
            let ratio = slowest / row.seconds;
            let Measured { name, tokens, seconds } = row;
            say(format_args!("| {name} | {tokens} | {seconds:.2} | {ratio:.1}× |"))?;
        }
        Ok(0)
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
            let tree = texts.tree(&tokenizer, n_ctx, positions);
            let prepared = PreparedPrompts::new(&tree, START_ID, &encoder);
            let context = random([1, n_ctx, config.text.width], &device);
            rows.push(Measured {
                name,
                tokens: tree.len(),
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
