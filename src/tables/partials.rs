//! Table `partials`: exact counts of the pixel scores of one shard and category.
//!
//! One row per distinct pair of score and region size, by descending score: sorted runs that
//! merge in constant memory, however many shards there are. Nothing is binned or rounded.

use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;

use super::ledger::PartEntry;
use super::part_reader::{PartRows, bad_part};
use super::row::row;
use super::{Row, Table};
use crate::error::TableError;
use crate::store::Store;

row! {
    /// Pixels of one shard and category that share a score and a region size.
    pub struct PartialRow {
        /// Value of the anomaly map, finite; rows descend in it.
        pub score: f32,
        /// Pixels of the ground-truth region they lie in; 0 for normal pixels.
        pub region_px: u32,
        /// Number of such pixels.
        pub n: u64,
    }
}

impl Row for PartialRow {
    const TABLE: Table = Table::Partials;

    /// Nearly all scores differ, so a dictionary only costs; sorted floats share their high
    /// bytes, which splitting the streams gives to zstd.
    fn tune(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let score = ColumnPath::from("score");
        properties
            .set_column_dictionary_enabled(score.clone(), false)
            .set_column_encoding(score, Encoding::BYTE_STREAM_SPLIT)
    }
}

/// The rows of one part, checked to be what a merge relies on: finite and descending. Ends
/// after the first error.
pub struct PartialRun {
    /// `None` after an error.
    rows: Option<PartRows<PartialRow>>,
    path: String,
    last_score: f32,
}

impl PartialRun {
    /// The rows of a committed part.
    ///
    /// # Errors
    /// If it is not what was committed.
    pub fn open(store: &Store, part: &PartEntry) -> Result<PartialRun, TableError> {
        let rows = Some(PartRows::open(store, part)?);
        Ok(PartialRun { rows, path: store.display(&part.path), last_score: f32::INFINITY })
    }

    fn checked(&mut self, row: PartialRow) -> Result<PartialRow, TableError> {
        if !row.score.is_finite() || row.score > self.last_score {
            let problem = format!("score {} after {}", row.score, self.last_score);
            return Err(bad_part(&self.path, &problem));
        }
        self.last_score = row.score;
        Ok(row)
    }
}

impl Iterator for PartialRun {
    type Item = Result<PartialRow, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.as_mut()?.next()?;
        let row = row.and_then(|row| self.checked(row));
        if row.is_err() {
            self.rows = None;
        }
        Some(row)
    }
}
