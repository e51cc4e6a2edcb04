//! The rows of one Parquet part, read from the store: a small one at once, others page by page.
//!
//! What is on the disk is not trusted: a part is decoded only if its digest is that of the
//! ledger, because the decoder panics on some damaged files and reads others without a word.
//! Another schema or an impossible value ends the rows with an error.

use std::io::{Read, Result as IoResult};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};

use super::ledger::PartEntry;
use super::part::BATCH_ROWS;
use super::row::{Columns, Row, is_own, rows_of_batch};
use crate::error::TableError;
use crate::store::{Content, Store};

/// Parts up to this size are fetched whole.
const SMALL: u64 = 8 * 1024 * 1024;

/// Bytes that are hashed at a time.
const HASH_BLOCK: u64 = 1024 * 1024;

/// Bytes that are fetched at a time where the reader does not say how many it wants.
const READ_AHEAD: u64 = 16 * 1024;

/// The rows of a part, in the order in which they were written. Ends after the first error.
pub struct PartRows<R> {
    path: String,
    batches: Option<ParquetRecordBatchReader>,
    rows: std::vec::IntoIter<R>,
}

impl<R> PartRows<R> {
    /// The rows of `batches`; `path` is for messages.
    pub(super) fn new(path: String, batches: ParquetRecordBatchReader) -> Self {
        PartRows { path, batches: Some(batches), rows: Vec::new().into_iter() }
    }
}

impl<R: Row> PartRows<R> {
    /// Opens a part after checking that it is as it was committed, and reads its footer.
    pub(super) fn open(store: &Store, part: &PartEntry) -> Result<PartRows<R>, TableError> {
        let shown = store.display(&part.path);
        let batches = if part.bytes <= SMALL {
            open_batches::<R, _>(small_part(store, part)?)
        } else {
            check_digest(store, part)?;
            let (store, path, bytes) = (store.clone(), part.path.clone(), part.bytes);
            open_batches::<R, _>(StoredPart { store, path, bytes })
        };
        Ok(PartRows::new(shown.clone(), batches.map_err(|e| bad_part(&shown, &e))?))
    }
}

impl<R: Columns + Clone + Default> PartRows<R> {
    /// The next batch of rows, or `None` at the end.
    fn next_batch(&mut self) -> Option<Result<Vec<R>, TableError>> {
        let batch: Result<RecordBatch, ArrowError> = self.batches.as_mut()?.next()?;
        let rows = batch.and_then(|batch| rows_of_batch(&batch));
        Some(rows.map_err(|e| bad_part(&self.path, &e)))
    }
}

impl<R: Columns + Clone + Default> Iterator for PartRows<R> {
    type Item = Result<R, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            match self.next_batch()? {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(e) => {
                    self.batches = None;
                    return Some(Err(e));
                }
            }
        }
    }
}

pub(super) fn bad_part(path: &str, problem: &dyn std::fmt::Display) -> TableError {
    TableError::BadPart { path: path.to_string(), problem: problem.to_string() }
}

/// The content of a small part, by one request.
fn small_part(store: &Store, part: &PartEntry) -> Result<Bytes, TableError> {
    let bad = |problem: &str| bad_part(&store.display(&part.path), &problem);
    let content = match store.get_unchanged(&part.path, None, part.bytes) {
        Ok(content) => content,
        Err(_) if !store.exists(&part.path)? => return Err(bad("is missing")),
        Err(error) => return Err(error.into()),
    };
    match content {
        Content::Whole(bytes) if blake3::hash(&bytes).to_hex().as_str() == part.blake3 => Ok(bytes),
        _ => Err(bad("was changed after its commit")),
    }
}

/// Checks that a part has the size and the digest of its entry.
fn check_digest(store: &Store, part: &PartEntry) -> Result<(), TableError> {
    let bad = |problem: &str| Err(bad_part(&store.display(&part.path), &problem));
    match store.size(&part.path)? {
        None => return bad("is missing"),
        Some(bytes) if bytes != part.bytes => return bad("was changed after its commit"),
        Some(_) => {}
    }
    let mut hasher = blake3::Hasher::new();
    for start in (0..part.bytes).step_by(HASH_BLOCK as usize) {
        let end = part.bytes.min(start + HASH_BLOCK);
        hasher.update(&store.get_range(&part.path, start..end)?);
    }
    if hasher.finalize().to_hex().as_str() == part.blake3 {
        return Ok(());
    }
    bad("was changed after its commit")
}

fn open_batches<R: Row, F: ChunkReader + 'static>(
    file: F,
) -> ParquetResult<ParquetRecordBatchReader> {
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        // With the offsets of the pages at hand, each is fetched by itself and by one request.
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    // A column that may be null was not yet thought of when the rows were written.
    for column in R::COLUMNS.iter().filter(|column| !column.nullable) {
        builder.schema().field_with_name(column.name)?;
    }
    let names = R::COLUMNS.iter().map(|column| column.name);
    let fields = builder.schema().fields().iter().map(|field| field.name().as_str());
    let kept = fields.filter(|name| R::KEEPS && !is_own::<R>(name));
    let wanted = names.chain(kept).collect::<Vec<_>>();
    let own = ProjectionMask::columns(builder.parquet_schema(), wanted);
    builder.with_projection(own).with_batch_size(BATCH_ROWS).build()
}

/// A file of the store, as the Parquet reader wants it.
struct StoredPart {
    store: Store,
    path: String,
    bytes: u64,
}

impl StoredPart {
    fn range(&self, start: u64, length: u64) -> ParquetResult<Bytes> {
        let end = start.checked_add(length).filter(|&end| end <= self.bytes);
        let Some(end) = end else {
            let problem = format!("bytes {start} and {length} on are beyond its end");
            return Err(ParquetError::EOF(problem));
        };
        if start == end {
            return Ok(Bytes::new());
        }
        self.store
            .get_range(&self.path, start..end)
            .map_err(|e| ParquetError::External(Box::new(e)))
    }
}

impl Length for StoredPart {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for StoredPart {
    type T = SequentialRead;

    fn get_read(&self, start: u64) -> ParquetResult<SequentialRead> {
        let part =
            StoredPart { store: self.store.clone(), path: self.path.clone(), bytes: self.bytes };
        Ok(SequentialRead { part, next: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.range(start, length as u64)
    }
}

/// Reads a stored part from some position to its end.
struct SequentialRead {
    part: StoredPart,
    next: u64,
    ahead: Bytes,
}

impl Read for SequentialRead {
    fn read(&mut self, out: &mut [u8]) -> IoResult<usize> {
        if !self.ahead.has_remaining() {
            let length = READ_AHEAD.min(self.part.bytes.saturating_sub(self.next));
            self.ahead = self.part.range(self.next, length).map_err(std::io::Error::other)?;
            self.next += length;
        }
        self.ahead.as_ref().read(out).inspect(|&n| self.ahead.advance(n))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::part::{PartIds, encode_part};
    use super::super::row::row;
    use super::*;

    row! {
        /// Rows as an earlier version wrote them.
        pub struct EarlierRow {
            /// A name.
            pub image_id: String,
        }
    }

    row! {
        /// The same rows as they are read.
        pub struct LaterRow {
            /// A name.
            pub image_id: String,
            /// What the earlier version did not write.
            pub score: Option<f32>,
        }
    }

    row! {
        /// Rows of which the part lacks a value that there must be.
        pub struct StrictRow {
            /// A name.
            pub image_id: String,
            /// What must be there.
            pub score: f32,
        }
    }

    impl Row for EarlierRow {
        const TABLE: Table = Table::Scores;
    }

    impl Row for LaterRow {
        const TABLE: Table = Table::Scores;
    }

    impl Row for StrictRow {
        const TABLE: Table = Table::Scores;
    }

    #[test]
    fn parts_of_earlier_versions_lack_only_what_may_be_null() {
        let ids = PartIds { run_id: "r", shard_id: "s", keep: &[] };
        let rows = [EarlierRow { image_id: "a".into() }];
        let bytes = encode_part(ids, "nut", rows.into_iter()).unwrap().bytes;
        let batches = open_batches::<LaterRow, _>(bytes.clone()).unwrap();
        let rows = PartRows::<LaterRow>::new("p".into(), batches);
        let rows = rows.collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(rows, [LaterRow { image_id: "a".into(), score: None }]);
        assert!(open_batches::<StrictRow, _>(bytes).is_err());
    }
}
