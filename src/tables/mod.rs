//! The output of a run: Parquet tables, raw maps, and the protocol that commits them.
//!
//! Rows of one shard come in ([`ShardRows`]), durable files and a ledger entry go out
//! ([`RunWriter`]); what was committed is read back by [`RunReader`]. Each table is one row
//! struct in one file, and that struct is the schema. No score is computed here.
//!
//! ```text
//! scores|masks|boxes|partials|failures|thresholds|metrics/
//!     run_date=YYYY-MM-DD/category=<escaped>/part-<run id>-<shard id>.parquet
//! maps/<shard id>/<n>.npy
//! _filo/manifest.json   _filo/ledger/<shard id>.json   _filo/reference/<category>.safetensors
//! _filo/workers/<name>.json   _filo/leases/<name>.<n>.json   _filo/replaced/<shard id>.json
//! _filo/thresholds.json   _filo/metrics.json   _SUCCESS
//! ```

mod boxes;
mod cell;
mod commit;
mod failures;
mod fold;
mod images;
mod lease;
mod ledger;
mod look;
mod manifest;
mod maps;
mod masks;
mod metrics;
mod part;
mod part_reader;
mod partials;
mod partition;
mod plan;
mod replaced;
mod row;
mod run_reader;
mod run_set;
mod scored;
mod scores;
mod set_keys;
mod set_metrics;
mod set_thresholds;
mod skipped;
mod thresholds;
mod worker;

use std::iter;

use serde::{Deserialize, Serialize};

pub use boxes::BoxRow;
pub use cell::ColumnType;
pub use commit::{CategoryRows, Committed, ExpectedShard, RunWriter, ShardRows};
pub use failures::FailureRow;
pub use fold::{fold_parts, fold_set};
pub use images::{ImageRows, Images, ShardImages};
pub use lease::{Claim, Lease, Leases};
pub use ledger::{LedgerEntry, PartEntry};
pub use look::OutputState;
pub use manifest::{
    KEEP_KEY, LeftOut, Manifest, ROOT_KEY, RunIdentity, RunTotals, spec_differences,
};
pub use maps::{MapsFormat, RawMap, map_npy, read_map_npy};
pub use masks::MaskRow;
pub use metrics::{
    ALL_CATEGORIES, CategoryMetrics, MEAN_OF_CATEGORIES, MetricCells, MetricsRow, is_of_all,
};
pub use partials::PartialRow;
pub use partition::{REFERENCE_FOLDER, escape, reference_path};
pub use plan::{PlanEntry, PlanRow, PlanRows, encode_plan};
pub use replaced::{FileState, ReplacedFile, ReplacedFiles};
pub use row::{Column, Columns, KeptValue, Row};
pub use run_reader::{
    ComparedScore, DecidedScore, LabelledScore, MappedScore, MaskArea, RankedScore, RunReader,
    ShownScore, TopScore,
};
pub use run_set::{MixedPixels, RunSet, SetCounts, SetPart};
pub use scored::{each_digest, each_scored, is_finished};
pub use scores::ScoreRow;
pub use set_metrics::write_set_metrics;
pub use set_thresholds::{Limit, SetThresholds};
pub use skipped::{SKIPPED_KEY, SKIPPED_PLACES_KEY, Skipped};
pub use thresholds::{CategoryThreshold, ThresholdRow};
pub use worker::{HEARTBEAT, Worker, WorkerState, read_workers};

use crate::error::TableError;
use part::{EncodedPart, PartIds, encode_part};

/// The tables of an output. The text form is the folder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    Scores,
    Masks,
    Boxes,
    Partials,
    Failures,
    Thresholds,
    Metrics,
}

/// One column of a table as a reader sees it, for schemas and documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    pub name: &'static str,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// One line or more of plain text: meaning, unit, range.
    pub about: &'static str,
    pub stored: Stored,
}

/// Where the value of a column is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Inside the Parquet file.
    InFile,
    /// In the folder names only, as Hive does it.
    InFolderName,
}

impl Table {
    /// All tables, in the order of this enum.
    pub const ALL: [Table; 7] = [
        Table::Scores,
        Table::Masks,
        Table::Boxes,
        Table::Partials,
        Table::Failures,
        Table::Thresholds,
        Table::Metrics,
    ];

    /// The folder's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Table::Scores => "scores",
            Table::Masks => "masks",
            Table::Boxes => "boxes",
            Table::Partials => "partials",
            Table::Failures => "failures",
            Table::Thresholds => "thresholds",
            Table::Metrics => "metrics",
        }
    }

    /// All columns: the ids of the part, those of the row, then the two partition columns.
    pub fn columns(self) -> Vec<ColumnInfo> {
        let of_row = match self {
            Table::Scores => row::describe::<ScoreRow>(),
            Table::Masks => row::describe::<MaskRow>(),
            Table::Boxes => row::describe::<BoxRow>(),
            Table::Partials => row::describe::<PartialRow>(),
            Table::Failures => row::describe::<FailureRow>(),
            Table::Thresholds => row::describe::<ThresholdRow>(),
            Table::Metrics => row::describe::<MetricsRow>(),
        };
        part::id_columns().into_iter().chain(of_row).chain(partition::partition_columns()).collect()
    }

    /// A part without rows, so that a table that nothing fell into still opens in every reader.
    fn empty_part(self, ids: PartIds<'_>) -> Result<EncodedPart, TableError> {
        match self {
            Table::Scores => encode_part(ids, "", iter::empty::<ScoreRow>()),
            Table::Masks => encode_part(ids, "", iter::empty::<MaskRow>()),
            Table::Boxes => encode_part(ids, "", iter::empty::<BoxRow>()),
            Table::Partials => encode_part(ids, "", iter::empty::<PartialRow>()),
            Table::Failures => encode_part(ids, "", iter::empty::<FailureRow>()),
            Table::Thresholds => encode_part(ids, "", iter::empty::<ThresholdRow>()),
            Table::Metrics => encode_part(ids, "", iter::empty::<MetricsRow>()),
        }
    }
}
