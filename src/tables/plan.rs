//! The plan of a run: every picture of its listing, as the first worker saw it. Later starts and
//! other workers take it from here and list nothing, so that all have the same work.
//!
//! Rows come in and one Parquet file goes out, or the other way round. It lies in `_filo/` and is
//! named by its content; the manifest says which one counts.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::part_reader::bad_part;
use super::row::{collect_columns, part_schema, row, rows_of_batch};
use crate::error::TableError;
use crate::store::Store;

/// Rows that are turned into arrays, or read, at a time.
const BATCH_ROWS: usize = 8 * 1024;

row! {
    /// One listed picture.
    pub struct PlanRow {
        /// Index of its shard in the listing, from 0.
        pub shard: i32,
        /// Path below the input.
        pub image_id: String,
        /// Where it is, if its id does not tell.
        pub uri: Option<String>,
        /// Category that it counts for.
        pub category: String,
        /// Size in bytes.
        pub bytes: i64,
        /// What its bucket called this content.
        pub etag: Option<String>,
        /// When it was changed last on its disk, nanoseconds since 1970.
        pub modified_ns: Option<i64>,
        /// True is anomalous.
        pub label: Option<bool>,
        /// What is wrong with it, in the words of the data set.
        pub kind: Option<String>,
        /// Whether it is known where the defect is.
        pub mask_known: Option<bool>,
        /// Path of the mask below the input; none where the whole picture is normal.
        pub mask: Option<String>,
        /// What it is if it is no picture but a file with pictures in it: `tar`.
        pub archive: Option<String>,
        /// Why it cannot be scored, if that was plain from its name: a code of `failures`.
        pub failure: Option<String>,
        /// The same for a person.
        pub message: Option<String>,
    }
}

/// Which plan counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// Relative to the output.
    pub path: String,
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: String,
}

impl PlanEntry {
    /// The entry of a plan with this content.
    pub(super) fn of(plan: &[u8]) -> Self {
        let blake3 = blake3::hash(plan).to_hex().to_string();
        PlanEntry { path: format!("_filo/plan-{}.parquet", &blake3[..16]), blake3 }
    }

    /// The rows of the plan, in the order in which they were listed.
    ///
    /// # Errors
    /// If it is not the file that was written.
    pub fn read(&self, store: &Store) -> Result<PlanRows, TableError> {
        let path = store.display(&self.path);
        let bytes = store.get(&self.path)?;
        // The decoder is given only what this program wrote.
        if blake3::hash(&bytes).to_hex().as_str() != self.blake3 {
            return Err(bad_part(&path, &"was changed after the run began"));
        }
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|e| bad_part(&path, &e))?;
        Ok(PlanRows { path, batches, rows: Vec::new().into_iter() })
    }
}

/// The rows of a plan, a batch in memory at a time.
pub struct PlanRows {
    path: String,
    batches: ParquetRecordBatchReader,
    rows: std::vec::IntoIter<PlanRow>,
}

impl Iterator for PlanRows {
    type Item = Result<PlanRow, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let batch = self.batches.next()?;
            match batch.and_then(|batch| rows_of_batch::<PlanRow>(&batch)) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(e) => return Some(Err(bad_part(&self.path, &e))),
            }
        }
    }
}

/// The file of a plan. The same rows give the same bytes.
///
/// # Errors
/// If the rows cannot be written as Parquet.
pub fn encode_plan(rows: impl Iterator<Item = PlanRow>) -> Result<Bytes, TableError> {
    encode(rows).map_err(|e| TableError::Unwritable {
        table: "plan",
        category: String::new(),
        source: e.into(),
    })
}

fn encode(mut rows: impl Iterator<Item = PlanRow>) -> Result<Bytes, ParquetError> {
    let schema = part_schema::<PlanRow>(&[]);
    let properties = WriterProperties::builder()
        .set_created_by(concat!("filo version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
    loop {
        let batch: Vec<PlanRow> = rows.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            return Ok(writer.into_inner()?.into());
        }
        let columns = collect_columns(&batch)?;
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
}
