//! `filo bench`: times a stage at the published size with random weights, side by side with the
//! way the published code does it, in one process, in turn; or, with stage `generated`, measures
//! how well a network detects. In: a stage. Out: a table, or one JSON document.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::bench_network::{Measured, NetworkBench, PicturePart};
use super::bench_plan::Limits;
use super::say::say;
use super::{bench_backbone, bench_generated, bench_metrics, bench_plan, bench_training};
use crate::device::device;
use crate::error::{Error, JobError};
use crate::job::{DeviceChoice, Precision};
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

    /// Weights of stages `generated`, `picture` and `training`: a file, a folder that holds one or a bundle, or
    /// a name of `filo weights list` [default: nano; of stage `picture`, random ones at the
    /// published size].
    #[arg(long, value_name = "NAME|PATH")]
    weights: Option<WeightsPlace>,

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

    /// Where stages of the network run.
    #[arg(long, value_name = "auto|cpu|cuda[:N]|wgpu[:N]", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,

    /// Number format of the network's products.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// The one part of stage `picture` to measure.
    #[arg(long, value_enum)]
    part: Option<PicturePart>,

    /// Pictures that go through the network together, in stages `picture`, `detector` and `backbone`.
    #[arg(long = "batch-size", value_name = "N", default_value = "1")]
    pictures_at_once: NonZeroUsize,

    /// Instead of measuring, tell from counted operations and bytes how fast the published network
    /// should be on --device, or on a machine of the limits below.
    #[arg(long, conflicts_with = "stage")]
    plan: bool,

    /// Products per second in --precision that --plan reckons with, in TFLOP/s; else all limits are
    /// measured on --device. In f32 on NVIDIA GPUs a third of what their matrix units do.
    #[arg(long, value_name = "F", requires_all = ["plan", "bandwidth_gbs"], value_parser = positive)]
    peak_tflops: Option<f64>,

    /// The same in f32, in which the detector always runs.
    #[arg(long, value_name = "F", requires_all = ["plan", "peak_tflops"], value_parser = positive)]
    peak_tflops_f32: Option<f64>,

    /// Bytes per second through the device's memory that --plan reckons with, in GB/s.
    #[arg(long, value_name = "F", requires_all = ["plan", "peak_tflops"], value_parser = positive)]
    bandwidth_gbs: Option<f64>,

    /// The share of the limits that --plan reckons with, up to 1. Of limits that were measured with
    /// filo's own products 1 is near the truth, of a data sheet's far from it: an H200 came to 0.05 of
    /// them in bf16 and in f32.
    #[arg(long, value_name = "F", requires = "plan", default_value_t = 1.0, value_parser = share)]
    efficiency: f64,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum BenchStage {
    /// The text tower over one picture's prompts: tree against padded sequences.
    #[default]
    Text,
    /// Everything that one picture costs.
    Picture,
    /// The detector: a batch of square pictures, and one of wider pictures.
    Detector,
    /// The embedded backbone on images of 256 pixels, beside the device's limit; always in f32.
    Backbone,
    /// The device's limit: one large product, and one large copy.
    Peak,
    /// How well --weights do on pictures of the generator, and whether they listen to words.
    Generated,
    /// A step of training from --weights by the embedded network's own recipe, in f32.
    Training,
    /// The pixel metrics of --maps.
    Metrics,
}

fn positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or("a number above 0")
}

fn share(text: &str) -> Result<f64, &'static str> {
    positive(text).ok().filter(|share| *share <= 1.0).ok_or("a number above 0, at most 1")
}

impl BenchArgs {
    pub fn run(self) -> Result<u8, Error> {
        if self.plan {
            let limits = match self.told_limits()? {
                Some(told) => told,
                None => Limits::measured(&self.bench()?),
            };
            bench_plan::run(&self.category, self.precision, limits, self.efficiency, self.json)?;
            if self.peak_tflops.is_some() && self.efficiency == 1.0 && !self.json {
                say(
                    "that is what the limits allow, no forecast: see --efficiency, and measure with \
                     --stage picture where there is such a machine",
                )?;
            }
            return Ok(0);
        }
        let (stage, rows) = match self.stage {
            BenchStage::Generated => {
                let (textures, pictures) = (self.textures.as_deref(), self.pictures);
                let weights = self.weights.unwrap_or_default();
                bench_generated::run(weights, textures, pictures, self.json)?;
                return Ok(0);
            }
            BenchStage::Metrics => {
                bench_metrics::run(&self.maps.unwrap_or_default(), self.json)?;
                return Ok(0);
            }
            BenchStage::Backbone => {
                bench_backbone::run(&self.bench()?, self.json)?;
                return Ok(0);
            }
            BenchStage::Text => ("text", self.bench()?.text()?),
            BenchStage::Picture => ("picture", self.bench()?.picture(self.part)?),
            BenchStage::Detector => ("detector", self.bench()?.detector()?),
            BenchStage::Peak => ("peak", self.bench()?.peak()),
            BenchStage::Training => {
                ("training", bench_training::run(&self.bench()?, self.textures.as_deref())?)
            }
        };
        let (device, precision) = (self.device.to_string(), self.precision.to_string());
        if self.json {
            let rows = rows.iter().map(|row| {
                serde_json::json!({
                    "name": row.name, "tokens": row.tokens, "seconds": row.seconds,
                    "pictures": row.pictures,
                })
            });
            let rows = rows.collect::<Vec<_>>();
            let document = serde_json::json!({
                "stage": stage, "category": self.category, "device": device,
                "precision": precision, "rows": rows,
            });
            say(format_args!("{document:#}"))?;
            return Ok(0);
        }
        say(format_args!(
            "| {stage}, {}, {device}, {precision} | tokens | pictures | seconds | per picture |",
            self.category
        ))?;
        say("|---|---|---|---|---|")?;
        for row in &rows {
            let Measured { name, tokens, pictures, seconds } = row;
            let each = seconds / *pictures as f64;
            say(format_args!("| {name} | {tokens} | {pictures} | {seconds:.4} | {each:.5} |"))?;
        }
        Ok(0)
    }

    /// Limits of a machine that need not be this one.
    fn told_limits(&self) -> Result<Option<Limits>, JobError> {
        let (Some(peak), Some(bandwidth)) = (self.peak_tflops, self.bandwidth_gbs) else {
            return Ok(None);
        };
        let in_f32 = match (self.precision, self.peak_tflops_f32) {
            (Precision::F32, Some(other)) if other != peak => return Err(JobError::PlanWithTwoF32),
            (Precision::F32, _) => peak,
            (_, Some(in_f32)) => in_f32,
            (_, None) => return Err(JobError::PlanWithoutF32),
        };
        let [flops, flops_f32] = [peak, in_f32].map(|peak| peak * 1e12);
        Ok(Some(Limits { flops, flops_f32, bytes: bandwidth * 1e9 }))
    }

    fn bench(&self) -> Result<NetworkBench, Error> {
        Ok(NetworkBench {
            category: self.category.clone(),
            repeat: self.repeat,
            pictures: self.pictures_at_once.get(),
            device: device(self.device, self.precision)?,
            precision: self.precision,
            weights: self.weights.clone(),
        })
    }
}
