//! One error enum per boundary. A variant says where it happened and what to do next.
//!
//! Errors of a single image never travel as errors through the pipeline: they become a
//! [`Failure`] with a stable [`FailureCode`] and end as a row of the `failures` table.

mod describe;
mod differences;
mod export;
mod failure;
mod hub;
mod one_line;
mod report;
mod runs;
mod train;
mod weights;

use std::any::Any;
use std::path::PathBuf;

use crate::image::Size;

pub use describe::DescribeError;
pub use differences::{ListingChanges, SpecDifference};
pub use export::ExportError;
pub use failure::{Failure, FailureCode, Stage};
pub use hub::HubError;
use one_line::first_names;
pub(crate) use one_line::one_line;
pub use report::ReportError;
pub use runs::RunsError;
pub use train::TrainError;
pub use weights::WeightsError;

/// Listing the input: nothing has been scored yet, the run stops with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{uri}: no such file or folder: check --input")]
    NotFound { uri: String },
    #[error("{path}: cannot be listed ({source}): fix its permissions", path = path.display())]
    Unlistable { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{uri}: {why}: use a path, file:///path, s3://bucket/prefix, gs:// or az://", uri = one_line(uri, 200))]
    BadUri { uri: String, why: &'static str },
    #[error(
        "--reference train: {uri} (layout {layout}) has no images for training: name known-good images by --reference URI, or use --reference archive"
    )]
    NoTrainingImages { uri: String, layout: &'static str },
    #[error("--reference {uri}: no such file or folder: check the path")]
    NoReferences { uri: String },
    #[error("--skip-scored {uri}: more than {most} folders: name the one that the outputs are in")]
    TooManyFolders { uri: String, most: usize },
    #[error("{uri}: a file, but no image: give a folder, or one file that ends in {extensions}")]
    NotAPicture { uri: String, extensions: String },
    #[error(
        "{uri}: no image found: looked for {looked_for}; ignored {ignored}: check --input and --layout"
    )]
    NoPictures { uri: String, looked_for: &'static str, ignored: String },
    #[error(
        "{name:?} is no category name ({rule}): rename the folder, or name it with --category if images lie directly in --input"
    )]
    BadCategory { name: String, rule: String },
    #[error(
        "--{flag}: an input of layout {layout} has no columns: leave it out, or list the images in a table (--layout table)"
    )]
    NoColumns { flag: &'static str, layout: &'static str },
    #[error("{place}: {why}; nothing was scored")]
    BadTable { place: String, why: String },
    #[error("{path}:{line}: {why}: correct this row, nothing was scored", path = path.display())]
    BadCsv { path: PathBuf, line: u64, why: String },
}

/// What a caught panic says of itself.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// A text that is no value of its type. The text itself is known to whoever parsed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {allowed}")]
pub struct ValueError {
    /// What would be accepted, to be read after "must be".
    pub allowed: String,
}

impl ValueError {
    /// `allowed` is read after "must be": "a whole number from 1".
    pub fn new(allowed: impl Into<String>) -> Self {
        ValueError { allowed: allowed.into() }
    }
}

/// Reading and checking the job spec and the flags: the run stops with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("{path}: cannot be read ({source}): check the path", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: not valid TOML ({why}): correct this line", path = path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    #[error("{path}:{line}: unknown key `{key}`: the nearest known key is `{nearest}`", path = path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: String },
    #[error("{path}:{line}: `{key} = {value}` is not allowed: {why}", path = path.display())]
    BadValue { path: PathBuf, line: usize, key: String, value: String, why: String },
    #[error("--peak-tflops-f32 is missing: the detector runs in f32 whatever --precision is")]
    PlanWithoutF32,
    #[error("--peak-tflops and --peak-tflops-f32 differ, and both are of f32: leave one out")]
    PlanWithTwoF32,
    #[error(
        "`threshold_rule` says which threshold of an earlier run counts: name that run with `thresholds_from`, or leave the rule out"
    )]
    RuleWithoutRun,
    #[error("--by-content compares with earlier runs: name them with --skip-scored URI")]
    ContentOfNothing,
    #[error(
        "`tile_overlap` and `tile_scale` are of tiles, and nothing is tiled: say which with `tile`, or leave them out"
    )]
    TilesOfNothing,
    #[error("`{first}` and `{second}` both decide what is flagged: leave one out")]
    TwoDecisions { first: &'static str, second: &'static str },
    #[error("`{key}` is missing: pass --{key} URI, or set it in the job file")]
    Missing { key: &'static str },
    #[error("`keep`: {column:?} {why}: leave it out, or rename it where the input is made")]
    Keep { column: String, why: &'static str },
    #[error("`{key}` has {variable}, which {why}")]
    Variable { key: &'static str, variable: String, why: &'static str },
    #[error("`{key}`: {source}")]
    Location { key: &'static str, source: SourceError },
    #[error(
        "{variable} = {value:?} in the environment does not say which part of the work is ours ({why}): pass --partition I/N"
    )]
    Engine { variable: &'static str, value: String, why: String },
}

/// Reducing scores to metrics. Inputs of a merge are named by their place; the caller knows the part.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error(
        "score number {index} is {value}: only finite scores can be ranked, score its image again"
    )]
    NonFinite { index: usize, value: f64 },
    #[error(
        "the {what} has {found} values for {width}x{height} pixels: pass map and mask at the same size"
    )]
    SizeMismatch { what: &'static str, found: usize, width: usize, height: usize },
    #[error(
        "the {what} is said to be {width}x{height} pixels, more than 4294967295: pass it in smaller tiles"
    )]
    TooManyPixels { what: &'static str, width: usize, height: usize },
    #[error("pixel counts add up to more than 2^64: a part is damaged, score its shard again")]
    CountOverflow,
    #[error(
        "a sketch of pixel scores cannot be read: use the version of the program that wrote it, or score its shard again"
    )]
    DamagedSketch,
    #[error("FPR limit {value}: must be above 0 and at most 1, 0.3 is usual")]
    FprLimit { value: f64 },
}

/// Words for the network: tokenizers and descriptions. The run stops with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "the built-in {what} cannot be read ({reason}): this program is damaged, install it again"
    )]
    Embedded { what: &'static str, reason: String },
    #[error("category {category:?}: the prompt {text:?} has no room in 77 tokens: shorten it")]
    Prompt { category: String, text: String },
    #[error("category {category:?}: {reason}")]
    Caption { category: String, reason: String },
    #[error("{path}: no known ending: name a file of descriptions .json or .toml, by what it holds", path = path.display())]
    DescriptionsExtension { path: PathBuf },
    #[error("{path}: no list of descriptions ({reason}): write one key per category, with a list of texts", path = path.display())]
    DescriptionsSyntax { path: PathBuf, reason: String },
    #[error("{path}: category {category:?} {what}", path = path.display())]
    DescriptionsCategory { path: PathBuf, category: String, what: String },
    /// `entry` counts from 1.
    #[error("{path}: category {category:?}, detail {entry}: {what}: correct or remove it", path = path.display())]
    DescriptionsEntry { path: PathBuf, category: String, entry: usize, what: String },
}

/// What was being done to a place when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    Open,
    Read,
    Write,
    List,
    Delete,
}

impl StoreAction {
    /// The participle for a message: "cannot be …".
    pub fn as_str(self) -> &'static str {
        match self {
            StoreAction::Open => "opened",
            StoreAction::Read => "read",
            StoreAction::Write => "written",
            StoreAction::List => "listed",
            StoreAction::Delete => "deleted",
        }
    }
}

/// Reading a run-length encoded mask: the text comes from a table, so the table is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RleError {
    #[error(
        "run-length text: byte {position} is no character of the code: the table is damaged, score the image again"
    )]
    BadCharacter { position: usize },
    #[error(
        "run-length text: run {run} is cut off, negative or too long: the table is damaged, score the image again"
    )]
    BadRun { run: usize },
    #[error(
        "run-length text: a mask of {width} × {height} is beyond the format (2³² − 1 pixels): the table is damaged, score the image again"
    )]
    TooLarge { width: usize, height: usize },
    #[error(
        "run-length text: the runs make {found} pixels, the mask has {expected}: the table is damaged, score the image again"
    )]
    WrongLength { found: u64, expected: u64 },
}

/// Reading or writing a place: a file of it could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be {action}: {problem}", action = action.as_str())]
pub struct StoreError {
    pub path: String,
    pub action: StoreAction,
    /// The cause and what to do about it, for a person.
    pub problem: String,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Writing and reading an output folder: tables, maps, ledger, manifest.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{uri}: category {category:?}{} fewer than {least} references: add images, or say with --reference-fallback archive (or none) what takes their place",
        match more { 0 => " has".to_string(), more => format!(" and {more} more have") }
    )]
    TooFewReferences { uri: String, category: String, more: usize, least: usize },
    #[error("{uri}: holds files that no run of this program wrote ({examples}): choose an empty folder as --output", examples = examples.join(", "))]
    ForeignFiles { uri: String, examples: Vec<String> },
    #[error("{uri}: holds another run ({differences}): choose another --output, or set these back to resume it", differences = list_differences(differences))]
    OtherRun { uri: String, differences: Vec<SpecDifference> },
    #[error("{uri}: holds a finished run of other files: {changes}{}: choose another --output for what is there now{}", list_others(differences), changes.advice())]
    OtherListing { uri: String, changes: Box<ListingChanges>, differences: Vec<SpecDifference> },
    #[error(transparent)]
    Runs(#[from] RunsError),
    #[error("{uri}: holds no run: check the path, it must be the --output of `filo score`")]
    NoRun { uri: String },
    #[error(
        "{path}: was written by another version (format {found}, this program knows {known}): use the program that wrote it"
    )]
    OtherFormat { path: String, found: u32, known: u32 },
    #[error(
        "{path}: is not what this program wrote ({source}): restore it; a ledger entry can also be deleted, the same command then writes its shard again"
    )]
    BadJson { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{uri}: {why}")]
    NoThresholds { uri: String, why: &'static str },
    #[error("shard {shard_id}, table partials: {source}")]
    Partials { shard_id: String, source: MetricsError },
    #[error("{what} {name:?} cannot be used in a file name: {rule}")]
    BadName { what: &'static str, name: String, rule: &'static str },
    #[error(
        "{table}, category {category:?}: rows cannot be written as Parquet ({source}): please report this"
    )]
    Unwritable {
        table: &'static str,
        category: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "{path}: {problem}: the file is damaged or not ours; delete the entry in _filo/ that names it and run the same command again"
    )]
    BadPart { path: String, problem: String },
    #[error(
        "{path}: {problem}: these references cannot be used; delete the file, and the next start makes them anew"
    )]
    BadReference { path: String, problem: String },
    #[error("{missing} of {expected} shards are not committed ({names}): run the same `filo score` again, it resumes", missing = shards.len(), names = first_names(shards, ", "))]
    MissingShards { shards: Vec<String>, expected: usize },
    #[error(
        "shard {shard_id}: {listed} images listed, but {scores} scores and {failures} failures were written: delete _filo/ledger/{shard_id}.json and run the same command again"
    )]
    CountMismatch { shard_id: String, listed: u64, scores: u64, failures: u64 },
    #[error(
        "{path}: named by the ledger entry of shard {shard_id}, but gone: delete _filo/ledger/{shard_id}.json and run the same command again"
    )]
    PartGone { path: String, shard_id: String },
    #[error(
        "map {n} of shard {shard_id}: {len} values do not fill {} × {}: please report this", size.width, size.height
    )]
    BadMap { shard_id: String, n: u64, len: usize, size: Size },
    #[error(
        "{path}: is no map that this program wrote: score again with --maps into another --output"
    )]
    BadMapFile { path: String },
}

/// The differing keys behind what was said of the files.
fn list_others(differences: &[SpecDifference]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    format!("; also {}", list_differences(differences))
}

/// The differing keys in one line; without any, the spec is equal and its inputs are not.
fn list_differences(differences: &[SpecDifference]) -> String {
    if differences.is_empty() {
        return "same job spec, but the input listing or the weights changed".to_string();
    }
    differences.iter().map(SpecDifference::to_string).collect::<Vec<_>>().join("; ")
}

/// Choosing where the network runs. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("--device {device}: {why}; `filo devices` lists what there is")]
    Unusable { device: String, why: String },
    #[error("the device broke while it took the weights ({why}): is its memory used by others?")]
    Loading { why: String },
    #[error("--precision {precision}: {device} computes in {known} only")]
    Precision { device: String, precision: String, known: String },
    #[error("--grounding on: there is no detector: name its weights with --grounding-weights")]
    NoDetector,
}

/// What a command ends with when it does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error("{path}: holds files that no demo made: choose another --out, or remove them", path = path.display())]
    NotADemo { path: PathBuf },
    #[error("{path}: is there and no report of this program: choose another --out, or remove it", path = path.display())]
    NotAPage { path: PathBuf },
    #[error("filo man {asked}: there is no such page: {hint}")]
    NoPage { asked: String, hint: String },
    #[error("{path}: {why}: write maps.npy and masks.npy with numpy.save, float32 and uint8 of one shape [n, height, width]", path = path.display())]
    UnfitArray { path: PathBuf, why: String },
    /// `why` says what to do, too.
    #[error("{path}: cannot be written: {why}", path = path.display())]
    Unwritable { path: PathBuf, why: String },
}

impl Error {
    /// 2 where the spec, the arguments or what they name is wrong; 1 where the run failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Job(_)
            | Error::Source(_)
            | Error::Weights(_)
            | Error::Model(_)
            | Error::Device(_)
            | Error::Store(StoreError { action: StoreAction::Open, .. })
            | Error::NotADemo { .. }
            | Error::NotAPage { .. }
            | Error::NoPage { .. }
            | Error::UnfitArray { .. } => 2,
            Error::Table(error) => match error {
                TableError::Runs(error) => error.exit_code(),
                TableError::Store(StoreError { action: StoreAction::Open, .. })
                | TableError::ForeignFiles { .. }
                | TableError::OtherRun { .. }
                | TableError::OtherListing { .. }
                | TableError::NoRun { .. }
                | TableError::TooFewReferences { .. }
                | TableError::NoThresholds { .. }
                | TableError::OtherFormat { .. }
                | TableError::BadName { .. } => 2,
                _ => 1,
            },
            Error::Hub(error) => error.exit_code(),
            Error::Train(error) => error.exit_code(),
            Error::Describe(error) => error.exit_code(),
            Error::Export(error) => error.exit_code(),
            Error::Report(
                ReportError::NoCategory { .. } | ReportError::TooManyCategories { .. },
            ) => 2,
            Error::Store(_) | Error::Metrics(_) | Error::Report(_) | Error::Unwritable { .. } => 1,
        }
    }
}
