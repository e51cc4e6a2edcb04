//! All that a run is told. Flags and a job file go in as [`RawJobSpec`]s, are merged, validated
//! once, and come out as a [`JobSpec`] that holds nothing unchecked and never changes again.
//! Never here: opening the input or the weights. A spec may be valid and name a missing folder.
//!
//! ```
//! use filo::job::{JobSpec, RawJobSpec};
//!
//! let file = RawJobSpec::from_toml("input = 'images'\nstrict = true", "job.toml".as_ref())?;
//! let flags = RawJobSpec { output: Some("out".to_owned()), ..RawJobSpec::default() };
//! let spec = JobSpec::try_from(flags.over(file))?;
//! assert_eq!(spec.input.uri(), "images");
//! # Ok::<(), filo::error::JobError>(())
//! ```

mod allowed;
mod choices;
mod expand;
pub(crate) mod file;
mod partition;
mod raw;
mod reference;
mod text;
mod tile;
mod values;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::error::JobError;
use crate::image::{MAX_PIXELS, Preprocess};
use crate::source::{Category, Columns, FetchLimits, Filter, LayoutChoice, ListOptions, ShardSize};
use crate::store::Location;
use crate::tables::Table;
use crate::weights::WeightsPlace;

pub use choices::{
    GroundingChoice, LogFormat, MapsChoice, Precision, Progress, ReferenceFallback, RetryMode,
    RunMode, Sameness, Strictness, ThresholdRule,
};
pub use partition::Partition;
pub use raw::RawJobSpec;
pub use reference::ReferenceChoice;
pub use tile::{TileChoice, TileOverlap, TileScale, TileSpec};
pub use values::{
    BatchSize, DeviceChoice, FalseAlarmRate, MaskThreshold, RunDate, TopShare, UnitThreshold,
};

/// A validated job. Serialised, it holds no credentials.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobSpec {
    /// Where the images are.
    pub input: Location,
    /// Where the tables go.
    pub output: Location,
    /// Outputs of earlier runs, or folders of them: what these have scored is left out.
    pub skip_scored: Vec<Location>,
    /// What makes an image one of theirs.
    pub by_content: Sameness,
    /// Where the network's weights are; `None`: inside the program.
    #[serde(serialize_with = "shown_weights")]
    pub weights: Option<Location>,
    /// Where the detector's weights are; `None`: there is no detector.
    pub grounding_weights: Option<Location>,
    pub layout: LayoutChoice,
    /// For images that the layout gives no category; `None`: the name of the input folder.
    pub category: Option<Category>,
    /// Which columns or keys of the input count.
    pub columns: Columns,
    /// Which images of the input count.
    pub filter: Filter,
    /// Category → anomaly descriptions; `None`: the built-in set.
    pub descriptions: Option<PathBuf>,
    /// The day that the run counts for; `None`: the day on which it begins.
    pub run_date: Option<RunDate>,
    pub partition: Partition,
    pub shard_size: ShardSize,
    pub device: DeviceChoice,
    pub precision: Precision,
    /// Edge length of the images in the network; `None`: that of the weights.
    pub size: Option<NonZeroUsize>,
    pub batch_size: BatchSize,
    /// How much is read ahead.
    pub fetch: FetchLimits,
    /// How large images are tiled; `None`: they are not.
    pub tile: Option<TileSpec>,
    /// Most pixels of an image.
    pub max_pixels: NonZeroU64,
    pub grounding: GroundingChoice,
    /// Confidence from which a box is kept; the published value is 0.25.
    pub box_threshold: UnitThreshold,
    pub reference: ReferenceChoice,
    pub reference_fallback: ReferenceFallback,
    /// What is flagged.
    pub decision: Decision,
    pub mask_threshold: MaskThreshold,
    pub maps: MapsChoice,
    pub preprocess: Preprocess,
    pub strict: Strictness,
    pub retry_failed: RetryMode,
    pub dry_run: RunMode,
    pub progress: Progress,
    pub log_format: LogFormat,
}

/// What decides whether an image is flagged.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Few enough images that are like the references score as high. Without references: like the
    /// bulk of the run's own images.
    FalseAlarmRate(FalseAlarmRate),
    /// The score is above this, in every category.
    Threshold(UnitThreshold),
    /// The score is among the highest of its category.
    FlagTop(TopShare),
    /// The score is above the threshold that an earlier run over labelled images found, by a rule.
    EarlierRun(Location, ThresholdRule),
}

impl JobSpec {
    /// Validates `raw` and fills in the defaults. `env` answers for environment variables: those
    /// in `${VAR}`, and those of array jobs where `raw` has no partition.
    ///
    /// # Errors
    /// Names the key that is missing or wrong, what it holds, and what to do.
    pub fn validate(
        raw: RawJobSpec,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, JobError> {
        let partition = match raw.partition {
            Some(partition) => partition,
            None => Partition::from_environment(&env)?,
        };
        let input = location("input", raw.input.as_deref(), &env)?;
        let (output, run_date) = output(&raw, &env)?;
        let skip_scored = raw.skip_scored.iter().flatten();
        let skip_scored = skip_scored.map(|place| location("skip_scored", Some(place), &env));
        let skip_scored = skip_scored.collect::<Result<Vec<_>, _>>()?;
        if raw.by_content == Some(Sameness::ByContent) && skip_scored.is_empty() {
            return Err(JobError::ContentOfNothing);
        }
        let weights = match raw.weights.as_deref() {
            Some(text) => weights(text, &env)?,
            None => None,
        };
        let optional = |key, text: &Option<String>| match text {
            Some(text) => location(key, Some(text), &env).map(Some),
            None => Ok(None),
        };
        let grounding_weights = optional("grounding_weights", &raw.grounding_weights)?;
        let decision = decision(&raw, &env)?;
        let reference = match raw.reference.as_deref() {
            // What ships knows little of real products; published weights score as published.
            None if weights.is_none() => ReferenceChoice::Archive,
            None => ReferenceChoice::None,
            Some(text) => match ReferenceChoice::word(text) {
                Some(word) => word,
                None => ReferenceChoice::At(location("reference", Some(text), &env)?),
            },
        };
        let tile = match raw.tile {
            Some(TileChoice::Off) => None,
            // Published weights, and images by themselves, are scored as published.
            None if weights.is_some() || reference == ReferenceChoice::None => None,
            tile => Some(TileSpec {
                tile: tile.unwrap_or(TileChoice::Auto),
                overlap: raw.tile_overlap.unwrap_or_default(),
                scale: raw.tile_scale.unwrap_or_default(),
            }),
        };
        if tile.is_none() && (raw.tile_overlap.is_some() || raw.tile_scale.is_some()) {
            return Err(JobError::TilesOfNothing);
        }
        Ok(JobSpec {
            input,
            output,
            skip_scored,
            by_content: raw.by_content.unwrap_or_default(),
            weights,
            grounding_weights,
            layout: raw.layout.unwrap_or_default(),
            category: raw.category,
            columns: columns(raw.image_column, raw.keep.unwrap_or_default())?,
            filter: Filter {
                include: raw.include.unwrap_or_default(),
                exclude: raw.exclude.unwrap_or_default(),
                limit: raw.limit,
            },
            descriptions: raw.descriptions,
            run_date,
            partition,
            shard_size: raw.shard_size.unwrap_or_default(),
            device: raw.device.unwrap_or_default(),
            precision: raw.precision.unwrap_or_default(),
            size: raw.size,
            batch_size: raw.batch_size.unwrap_or_default(),
            fetch: FetchLimits { requests: raw.fetch_concurrency, memory_mib: raw.fetch_memory },
            tile,
            max_pixels: raw.max_pixels.unwrap_or(DEFAULT_MAX_PIXELS),
            grounding: raw.grounding.unwrap_or_default(),
            box_threshold: raw.box_threshold.unwrap_or(UnitThreshold::QUARTER),
            reference,
            reference_fallback: raw.reference_fallback.unwrap_or_default(),
            decision,
            mask_threshold: raw.mask_threshold.unwrap_or_default(),
            maps: raw.maps.unwrap_or_default(),
            preprocess: raw.preprocess.unwrap_or_default(),
            strict: raw.strict.unwrap_or_default(),
            retry_failed: raw.retry_failed.unwrap_or_default(),
            dry_run: raw.dry_run.unwrap_or_default(),
            progress: raw.progress.unwrap_or_default(),
            log_format: raw.log_format.unwrap_or_default(),
        })
    }

    /// How the input is listed.
    pub fn list_options(&self) -> ListOptions {
        ListOptions {
            layout: self.layout,
            category: self.category.clone(),
            shard_size: self.shard_size,
            columns: self.columns.clone(),
            filter: self.filter.clone(),
        }
    }

    /// What messages and records call the weights: `nano`, or where they are, without credentials.
    pub fn weights_name(&self) -> &str {
        name_of(&self.weights)
    }
}

/// Most pixels of an image where nobody says otherwise.
pub const DEFAULT_MAX_PIXELS: NonZeroU64 = NonZeroU64::new(MAX_PIXELS).unwrap();

fn name_of(weights: &Option<Location>) -> &str {
    weights.as_ref().map_or(WeightsPlace::EMBEDDED, Location::uri)
}

impl TryFrom<RawJobSpec> for JobSpec {
    type Error = JobError;

    /// [`JobSpec::validate`] with the environment of this process.
    fn try_from(raw: RawJobSpec) -> Result<Self, JobError> {
        JobSpec::validate(raw, |name| std::env::var(name).ok())
    }
}

fn location(
    key: &'static str,
    text: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Location, JobError> {
    let text = text.ok_or(JobError::Missing { key })?;
    let expanded = expand::expand(key, text, env)?;
    expanded.parse().map_err(|source| JobError::Location { key, source })
}

/// Where the tables go, and the day that the run counts for: said, or today where the place needs one.
fn output(
    raw: &RawJobSpec,
    env: impl Fn(&str) -> Option<String>,
) -> Result<(Location, Option<RunDate>), JobError> {
    let text = raw.output.as_deref();
    let today = || raw.run_date.unwrap_or_else(RunDate::today);
    let filled = text.map(|text| expand::fill("output", text, today)).transpose()?;
    match filled {
        Some((text, run_date)) => {
            Ok((location("output", Some(&text), env)?, run_date.or(raw.run_date)))
        }
        None => Ok((location("output", None, env)?, raw.run_date)),
    }
}

/// The columns that count: names that `scores` can have beside its own.
fn columns(image: Option<String>, keep: Vec<String>) -> Result<Columns, JobError> {
    let bad = |column: &str, why| Err(JobError::Keep { column: column.to_owned(), why });
    for (index, column) in keep.iter().enumerate() {
        let same = |other: &str| other.eq_ignore_ascii_case(column);
        if column.trim().is_empty() {
            return bad(column, "is no name of a column");
        }
        if Table::Scores.columns().iter().any(|own| same(own.name)) {
            return bad(column, "is a column that `scores` has of its own");
        }
        if keep[..index].iter().any(|other| same(other)) {
            return bad(column, "is named twice");
        }
    }
    Ok(Columns { image, keep })
}

/// The one rule that `raw` names, or the default.
fn decision(raw: &RawJobSpec, env: impl Fn(&str) -> Option<String>) -> Result<Decision, JobError> {
    let earlier = raw.thresholds_from.as_deref();
    if raw.threshold_rule.is_some() && earlier.is_none() {
        return Err(JobError::RuleWithoutRun);
    }
    let named = [
        ("false_alarm_rate", raw.false_alarm_rate.is_some()),
        ("threshold", raw.threshold.is_some()),
        ("flag_top", raw.flag_top.is_some()),
        ("thresholds_from", earlier.is_some()),
    ];
    let named = named.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect::<Vec<_>>();
    if let [first, second, ..] = named[..] {
        return Err(JobError::TwoDecisions { first, second });
    }
    Ok(match (raw.threshold, raw.flag_top, earlier) {
        (Some(threshold), ..) => Decision::Threshold(threshold),
        (_, Some(share), _) => Decision::FlagTop(share),
        (_, _, Some(run)) => {
            let run = location("thresholds_from", Some(run), env)?;
            Decision::EarlierRun(run, raw.threshold_rule.unwrap_or_default())
        }
        _ => Decision::FalseAlarmRate(raw.false_alarm_rate.unwrap_or_default()),
    })
}

/// `None` for the embedded weights.
fn weights(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Option<Location>, JobError> {
    let expanded = expand::expand("weights", text, env)?;
    match WeightsPlace::from(expanded.as_str()) {
        WeightsPlace::Embedded => Ok(None),
        WeightsPlace::Published(_) | WeightsPlace::Path(_) => {
            let location = expanded.parse::<Location>();
            location.map(Some).map_err(|source| JobError::Location { key: "weights", source })
        }
    }
}

fn shown_weights<S: Serializer>(
    weights: &Option<Location>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name_of(weights))
}
