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

    /// Repetitions; the fastest counts.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    repeat: u32,

    /// Weights of stages `generated`, `picture` and `training`: a file, a folder that holds one or a bundle, or
    /// a name of `filo weights list` [default: nano; of stage `picture`, random ones at the
    /// published size].
    #[arg(long, value_name = "NAME|PATH")]
    weights: Option<WeightsPlace>,

    /// Folder of photographs of materials, used as surfaces of generated images.
    #[arg(long, value_name = "DIR")]
    textures: Option<PathBuf>,

    /// Images of stage `generated`.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u64).range(1..))]
    pictures: u64,

    /// Folder with the maps of stage `metrics`: `maps.npy`, float32, and `masks.npy`, uint8, both
    /// [n, height, width].
    #[arg(long, value_name = "DIR", required_if_eq("stage", "metrics"))]
    maps: Option<PathBuf>,

    /// Device of the network's stages.
    #[arg(long, value_name = "auto|cpu|cuda[:N]|wgpu[:N]", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,

    /// Number format of the network's matmuls.
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// Part of stage `picture` to measure.
    #[arg(long, value_enum)]
    part: Option<PicturePart>,

    /// Images per forward pass, in stages `picture`, `detector` and `backbone`.
    #[arg(long = "batch-size", value_name = "N", default_value = "1")]
    pictures_at_once: NonZeroUsize,

    /// Instead of measuring, predict from counted operations and bytes how fast the published
    /// network is on --device, or on a machine with the limits below.
    #[arg(long, conflicts_with = "stage")]
    plan: bool,

    /// Matmul speed in --precision that --plan assumes, in TFLOP/s; without it all limits are
    /// measured on --device. In f32 on NVIDIA GPUs a third of what their tensor cores do.
    #[arg(long, value_name = "F", requires_all = ["plan", "bandwidth_gbs"], value_parser = positive)]
    peak_tflops: Option<f64>,

    /// The same in f32, in which the detector always runs.
    #[arg(long, value_name = "F", requires_all = ["plan", "peak_tflops"], value_parser = positive)]
    peak_tflops_f32: Option<f64>,

    /// Memory bandwidth that --plan assumes, in GB/s.
    #[arg(long, value_name = "F", requires_all = ["plan", "peak_tflops"], value_parser = positive)]
    bandwidth_gbs: Option<f64>,

    /// Share of the limits that --plan assumes to be reached, up to 1. With limits that were
    /// measured with filo's own matmuls 1 is close; with those of a data sheet it is not: on an
    /// H200, 0.037 was reached in bf16.
    #[arg(long, value_name = "F", requires = "plan", default_value_t = 1.0, value_parser = share)]
    efficiency: f64,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum BenchStage {
    /// The text tower over the prompts of one image: as a tree, and as padded sequences.
    #[default]
    Text,
    /// The whole network for one image.
    Picture,
    /// The detector: a batch of square images, and one of wider images.
    Detector,
    /// The embedded backbone on images of 256 × 256 pixels, and the device's limit; always in f32.
    Backbone,
    /// The limits of the device: one large matmul and one large copy.
    Peak,
    /// Detection quality of --weights on generated images, and whether words matter to them.
    Generated,
    /// A training step from --weights with the recipe of the embedded network, in f32.
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
            "| {stage}, {}, {device}, {precision} | tokens | images | seconds | per image |",
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
