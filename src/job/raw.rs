//! All that can be said about a job, each thing once: a field is a flag of `filo score`, a key of a
//! job file and a line of the schema. What is not said stays `None`; defaults come with validation.
//! Never here: looking at the environment or at the disk.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};

use super::choices::{
    GroundingChoice, LogFormat, MapsChoice, Precision, Progress, ReferenceFallback, RetryMode,
    RunMode, Sameness, Strictness, ThresholdRule,
};
use super::partition::Partition;
use super::tile::{TileChoice, TileOverlap, TileScale};
use super::values::{
    BatchSize, DeviceChoice, FalseAlarmRate, MaskThreshold, RunDate, TopShare, UnitThreshold,
};
use crate::error::ValueError;
use crate::image::Preprocess;
use crate::source::{Category, Glob, LayoutChoice, ShardSize};

/// A job as it is written down, in a job file or as flags. Paths are relative to the working
/// directory. `${VAR}` is expanded in `input`, `output`, `weights`,
/// `grounding_weights`, `thresholds_from`, `reference` and `skip_scored`, and `{run_date}` in `output`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, Args)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobSpec")]
pub struct RawJobSpec {
    /// Folder of images, tar or Parquet files, a single one of them, or a table that lists images:
    /// a path, s3://, gs:// or az://.
    #[arg(long, value_name = "URI")]
    pub input: Option<String>,

    /// Folder for the tables: a path, s3://, gs:// or az://. `{run_date}` in it stands for the date of
    /// --run-date.
    #[arg(long, value_name = "URI")]
    pub output: Option<String>,

    /// Leave out images that an earlier finished run has scored in the same way and that have not
    /// changed since: the output of a run, or a folder below which there are outputs; may be given more
    /// than once.
    #[arg(long, value_name = "URI")]
    pub skip_scored: Option<Vec<String>>,

    /// With --skip-scored: leave out images with the bytes of one that was scored, too, whatever they are
    /// called now and whenever they were written. Reads every image that would be scored.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub by_content: Option<Sameness>,

    /// Weights of the network: a folder or file, from a bucket copied once into the cache; or a name:
    /// `nano` for the embedded ones, `filo-visa` or `filo-mvtec` after `filo weights fetch`
    /// [default: nano].
    #[arg(long, value_name = "NAME|URI")]
    pub weights: Option<String>,

    /// Weights of the detector: a folder or file [default: those in --weights, if any].
    #[arg(long, value_name = "URI")]
    pub grounding_weights: Option<String>,

    /// How the input is laid out [default: auto].
    #[arg(long)]
    pub layout: Option<LayoutChoice>,

    /// Column with the images, or with their paths in a table [default: image or uri, else another
    /// usual name].
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,

    /// Columns of the input, or keys of its JSON sidecars, to copy into `scores` as text.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub keep: Option<Vec<String>>,

    /// Score only images and archives whose path below the input matches, for example `*.png` or
    /// `line3/**`; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    pub include: Option<Vec<Glob>>,

    /// Leave out images, archives and folders whose path matches, for example `old` or
    /// `*_mask.png`; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Option<Vec<Glob>>,

    /// Score at most N images, spread evenly over the listing; of archives, the first images of
    /// each.
    #[arg(long, value_name = "N", value_parser = from_one)]
    pub limit: Option<NonZeroU64>,

    /// Category of images for which the layout gives none [default: the input's name].
    #[arg(long, value_name = "NAME")]
    pub category: Option<Category>,

    /// JSON or TOML file of category → list of anomaly descriptions [default: the built-in set].
    #[arg(long, value_name = "FILE")]
    pub descriptions: Option<PathBuf>,

    /// Date under which the tables are stored [default: today, UTC].
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub run_date: Option<RunDate>,

    /// Part of the shards to score, counted from 0 [default: from the array job's environment, else
    /// 0/1].
    #[arg(long, value_name = "I/N")]
    pub partition: Option<Partition>,

    /// Images per shard, for inputs that are not archives [default: 64].
    #[arg(long, value_name = "N")]
    pub shard_size: Option<ShardSize>,

    /// Device that the networks run on [default: auto].
    #[arg(long, value_name = "auto|cpu|cuda[:N]|wgpu[:N]")]
    pub device: Option<DeviceChoice>,

    /// Number format of the network's matmuls [default: f32].
    #[arg(long)]
    pub precision: Option<Precision>,

    /// Edge length of the network's input in pixels, a multiple of its patch size [default: that of
    /// the weights]. Any other is an approximation: smaller is faster and sees less.
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<NonZeroUsize>,

    /// Images per forward pass [default: auto, from the free memory].
    #[arg(long, value_name = "auto|N")]
    pub batch_size: Option<BatchSize>,

    /// Requests for files that are in flight at a time [default: from the measured latency and rate, at
    /// most 256].
    #[arg(long, value_name = "N")]
    pub fetch_concurrency: Option<NonZeroUsize>,

    /// MiB of files that are read ahead of their use [default: 256]. An image that is larger than this
    /// is read by itself.
    #[arg(long, value_name = "MIB")]
    pub fetch_memory: Option<NonZeroUsize>,

    /// Score large images in tiles as well: `auto`, images more than twice as large on a side as what
    /// the networks see; `N` or `NxM`, tiles of so many pixels [default: auto with nano and references,
    /// else off].
    #[arg(long, value_name = "auto|off|N[xM]")]
    pub tile: Option<TileChoice>,

    /// Share of a tile's side that it has in common with the next, 0 to 0.5 [default: 0.125].
    #[arg(long, value_name = "F")]
    pub tile_overlap: Option<TileOverlap>,

    /// Scale at which tiles are cut, 0.01 to 1: at 0.5 a tile covers twice as many pixels on a side
    /// [default: 1].
    #[arg(long, value_name = "F")]
    pub tile_scale: Option<TileScale>,

    /// Most pixels of an image, width times height; what is larger is a failure [default:
    /// 178956970].
    #[arg(long, value_name = "N", value_parser = from_one)]
    pub max_pixels: Option<NonZeroU64>,

    /// Use the detector to find boxes [default: auto, on if the weights have one].
    #[arg(long)]
    pub grounding: Option<GroundingChoice>,

    /// Minimum confidence of a box, 0 to 1 [default: 0.25].
    #[arg(long, value_name = "F")]
    pub box_threshold: Option<UnitThreshold>,

    /// Images that define what is normal: `archive` takes images of the input itself, `train` the
    /// layout's training images, a URI known-good images or the references of an earlier run;
    /// `none` scores each image by itself, as published [default: archive with nano, else none].
    #[arg(long, value_name = "archive|none|train|URI")]
    pub reference: Option<String>,

    /// What to do with a category for which --reference has too few images [default: error].
    #[arg(long)]
    pub reference_fallback: Option<ReferenceFallback>,

    /// Share of images like the references that may be flagged, above 0 to 0.5 [default: 0.01].
    #[arg(long, value_name = "F")]
    pub false_alarm_rate: Option<FalseAlarmRate>,

    /// Flag images whose score is above F, in every category; instead of --false-alarm-rate.
    #[arg(long, value_name = "F")]
    pub threshold: Option<UnitThreshold>,

    /// Flag the highest scores of each category, N % of its images, once all are scored; instead of
    /// --false-alarm-rate.
    #[arg(long, value_name = "N%")]
    pub flag_top: Option<TopShare>,

    /// Map value above which a pixel belongs to the mask, 0 to 1 [default: auto, from the
    /// references or --thresholds-from, else 0.5].
    #[arg(long, value_name = "auto|F")]
    pub mask_threshold: Option<MaskThreshold>,

    /// Flag by the thresholds of an earlier run over labelled images, after `filo metrics`,
    /// category by category; instead of --false-alarm-rate.
    #[arg(long, value_name = "URI")]
    pub thresholds_from: Option<String>,

    /// Which thresholds --thresholds-from takes: those that maximise F1, or those for 0.1, 1 or 5 %
    /// false positives [default: f1max].
    #[arg(long)]
    pub threshold_rule: Option<ThresholdRule>,

    /// Which raw anomaly maps are saved, as .npy [default: flagged].
    #[arg(long)]
    pub maps: Option<MapsChoice>,

    /// How images are decoded and resized [default: sensible]: `published` repeats the published
    /// code bit for bit, including its defects.
    #[arg(long, value_name = "sensible|published", value_parser = preprocess)]
    #[schemars(with = "Option<PreprocessWord>")]
    pub preprocess: Option<Preprocess>,

    /// Exit with code 3 if an image could not be scored.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub strict: Option<Strictness>,

    /// Score images in `failures` again: those whose cause may be gone, and those whose file was
    /// replaced since they failed.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub retry_failed: Option<RetryMode>,

    /// Check everything and report what would be done, without scoring.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub dry_run: Option<RunMode>,

    /// When to draw a progress bar [default: auto, on a terminal].
    #[arg(long)]
    pub progress: Option<Progress>,

    /// Format of the log [default: text].
    #[arg(long)]
    pub log_format: Option<LogFormat>,
}

impl RawJobSpec {
    /// `self` where it says something, else `file`: flags over a job file.
    pub fn over(self, file: RawJobSpec) -> RawJobSpec {
        RawJobSpec {
            input: self.input.or(file.input),
            output: self.output.or(file.output),
            skip_scored: self.skip_scored.or(file.skip_scored),
            by_content: self.by_content.or(file.by_content),
            weights: self.weights.or(file.weights),
            grounding_weights: self.grounding_weights.or(file.grounding_weights),
            layout: self.layout.or(file.layout),
            image_column: self.image_column.or(file.image_column),
            keep: self.keep.or(file.keep),
            include: self.include.or(file.include),
            exclude: self.exclude.or(file.exclude),
            limit: self.limit.or(file.limit),
            category: self.category.or(file.category),
            descriptions: self.descriptions.or(file.descriptions),
            run_date: self.run_date.or(file.run_date),
            partition: self.partition.or(file.partition),
            shard_size: self.shard_size.or(file.shard_size),
            device: self.device.or(file.device),
            precision: self.precision.or(file.precision),
            size: self.size.or(file.size),
            batch_size: self.batch_size.or(file.batch_size),
            fetch_concurrency: self.fetch_concurrency.or(file.fetch_concurrency),
            fetch_memory: self.fetch_memory.or(file.fetch_memory),
            tile: self.tile.or(file.tile),
            tile_overlap: self.tile_overlap.or(file.tile_overlap),
            tile_scale: self.tile_scale.or(file.tile_scale),
            max_pixels: self.max_pixels.or(file.max_pixels),
            grounding: self.grounding.or(file.grounding),
            box_threshold: self.box_threshold.or(file.box_threshold),
            reference: self.reference.or(file.reference),
            reference_fallback: self.reference_fallback.or(file.reference_fallback),
            false_alarm_rate: self.false_alarm_rate.or(file.false_alarm_rate),
            threshold: self.threshold.or(file.threshold),
            flag_top: self.flag_top.or(file.flag_top),
            mask_threshold: self.mask_threshold.or(file.mask_threshold),
            thresholds_from: self.thresholds_from.or(file.thresholds_from),
            threshold_rule: self.threshold_rule.or(file.threshold_rule),
            maps: self.maps.or(file.maps),
            preprocess: self.preprocess.or(file.preprocess),
            strict: self.strict.or(file.strict),
            retry_failed: self.retry_failed.or(file.retry_failed),
            dry_run: self.dry_run.or(file.dry_run),
            progress: self.progress.or(file.progress),
            log_format: self.log_format.or(file.log_format),
        }
    }
}

// `Preprocess` has no schema of its own; this one has the same words.
/// How images become pixels.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Preprocess")]
#[expect(dead_code, reason = "describes another type to the schema, is never made")]
enum PreprocessWord {
    Sensible,
    Published,
}

/// The number's own answer to 0 speaks of its type.
fn from_one(text: &str) -> Result<NonZeroU64, ValueError> {
    text.parse().map_err(|_| ValueError::new("a whole number from 1"))
}

/// `Preprocess` knows serde only, so the flag is read through it.
fn preprocess(word: &str) -> Result<Preprocess, serde::de::value::Error> {
    Preprocess::deserialize(word.into_deserializer())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_silence_over_nothing() {
        let file = RawJobSpec {
            input: Some("file".to_owned()),
            strict: Some(Strictness::Strict),
            ..RawJobSpec::default()
        };
        let flags = RawJobSpec { input: Some("flag".to_owned()), ..RawJobSpec::default() };
        let merged = flags.over(file);
        assert_eq!(merged.input.as_deref(), Some("flag"));
        assert_eq!(merged.strict, Some(Strictness::Strict));
    }
}
