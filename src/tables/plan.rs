//! The plan of a run: every image of its listing, as the first worker saw it. Later starts and
//! other workers take it from here and list nothing, so that all have the same work.
//!
//! Rows come in and one Parquet file goes out, or the other way round. It lies in `_filo/` and is
//! named by its content; the manifest says which one counts.

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use super::part::{BATCH_ROWS, write_rows, writer_properties};
use super::part_reader::{PartRows, bad_part};
use super::row::{part_schema, row};
use crate::error::TableError;
use crate::store::{FileVersion, Store};

row! {
    /// One listed image.
    pub struct PlanRow {
        /// Index of its shard in the listing, from 0.
        pub shard: i32,
        /// Path below the input.
        pub image_id: String,
        /// Its file, a path below the input or a URI, where its id is neither.
        pub file: Option<String>,
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
        /// Path of the mask below the input; none where the whole image is normal.
        pub mask: Option<String>,
        /// Paths of more files that are part of the mask, as a JSON list.
        pub more_masks: Option<String>,
        /// What it is if it is no image but a file with images in it: `tar` or `parquet`.
        pub archive: Option<String>,
        /// How many images of such a file count at most.
        pub most: Option<i64>,
        /// Values of the columns that are kept, as a JSON list.
        pub kept: Option<String>,
        /// Why it cannot be scored, if that was plain from its name: a code of `failures`.
        pub failure: Option<String>,
        /// The same for a person.
        pub message: Option<String>,
    }
}

impl PlanRow {
    /// Paths of all files of the mask.
    pub fn masks(&self) -> Vec<String> {
        let more = self.more_masks.as_deref();
        let more = more.and_then(|list| serde_json::from_str::<Vec<String>>(list).ok());
        self.mask.iter().cloned().chain(more.unwrap_or_default()).collect()
    }

    /// Which content of the file was listed.
    pub fn version(&self) -> Option<FileVersion> {
        match (&self.etag, self.modified_ns.map(u64::try_from)) {
            (Some(etag), _) => Some(FileVersion::Etag(etag.as_str().into())),
            (None, Some(Ok(ns))) => Some(FileVersion::Modified(ns)),
            (None, _) => None,
        }
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
        Ok(PartRows::new(path, batches))
    }
}

/// The rows of a plan, a batch in memory at a time.
pub type PlanRows = PartRows<PlanRow>;

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

fn encode(rows: impl Iterator<Item = PlanRow>) -> Result<Bytes, ParquetError> {
    let properties = writer_properties()?.build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    Ok(write_rows(part_schema::<PlanRow>(&[], &[]), options, &[], &[], rows)?.bytes)
}
