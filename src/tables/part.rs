//! Rows of one table, shard and category into the bytes of one Parquet file.
//!
//! The same rows give the same bytes: nothing of the time, the machine or the order of workers
//! goes in. Rows are taken from an iterator and leave in row groups, so a part of any length
//! costs its compressed size.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use super::row::{Columns, Row, collect_columns, part_schema};
use super::{ColumnInfo, ColumnType, Stored};
use crate::error::TableError;

/// Written into each file; the form that readers parse as application and version.
const CREATED_BY: &str = concat!("filo version ", env!("CARGO_PKG_VERSION"));

/// Rows per row group.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// Rows that are turned into arrays, or read back, at a time.
pub(super) const BATCH_ROWS: usize = 8 * 1024;

/// The two ids that every row of a part shares, and what the run keeps of its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartIds<'a> {
    pub run_id: &'a str,
    pub shard_id: &'a str,
    /// Columns of `scores` beside its own.
    pub keep: &'a [String],
}

/// A part, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct EncodedPart {
    pub rows: u64,
    pub bytes: Bytes,
}

/// The columns that hold [`PartIds`], first in every table.
pub(super) fn id_columns() -> [ColumnInfo; 2] {
    let id = |name, about| ColumnInfo {
        name,
        column_type: ColumnType::Text,
        nullable: false,
        about,
        stored: Stored::InFile,
    };
    [
        id("run_id", "Digest of job spec, listing and weights."),
        id("shard_id", "Digest of the shard's content; \"all\" where a row spans shards."),
    ]
}

/// Encodes `rows`; `category` is for the message of an error only.
pub(super) fn encode_part<R: Row>(
    ids: PartIds<'_>,
    category: &str,
    rows: impl Iterator<Item = R>,
) -> Result<EncodedPart, TableError> {
    encode(ids, rows).map_err(|e| TableError::Unwritable {
        table: R::TABLE.as_str(),
        category: category.to_string(),
        source: e.into(),
    })
}

fn encode<R: Row>(
    ids: PartIds<'_>,
    rows: impl Iterator<Item = R>,
) -> Result<EncodedPart, ParquetError> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties::<R>()?)
        // The Parquet types say it all; Arrow's copy of the schema would only add bytes.
        .with_skip_arrow_metadata(true);
    let schema = part_schema::<R>(&id_columns(), ids.keep);
    write_rows(schema, options, &[ids.run_id, ids.shard_id], ids.keep, rows)
}

/// Writes a file of `schema`: in each row `leading`, which all share, its own columns, those of `keep`.
pub(super) fn write_rows<R: Columns>(
    schema: SchemaRef,
    options: ArrowWriterOptions,
    leading: &[&str],
    keep: &[String],
    mut rows: impl Iterator<Item = R>,
) -> Result<EncodedPart, ParquetError> {
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
    let mut written = 0u64;
    loop {
        let batch: Vec<R> = rows.by_ref().take(BATCH_ROWS).collect();
        if batch.is_empty() {
            break;
        }
        written += batch.len() as u64;
        writer.write(&record_batch(&schema, leading, keep, &batch)?)?;
    }
    Ok(EncodedPart { rows: written, bytes: writer.into_inner()?.into() })
}

/// What all files of ours have in common.
pub(super) fn writer_properties() -> Result<WriterPropertiesBuilder, ParquetError> {
    Ok(WriterProperties::builder()
        .set_created_by(CREATED_BY.to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)))
}

fn properties<R: Row>() -> Result<WriterProperties, ParquetError> {
    let properties = writer_properties()?
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page);
    Ok(R::tune(properties).build())
}

fn record_batch<R: Columns>(
    schema: &SchemaRef,
    leading: &[&str],
    keep: &[String],
    rows: &[R],
) -> Result<RecordBatch, ParquetError> {
    let same = |id: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(id, rows.len())))
    };
    let mut columns = leading.iter().map(|id| same(id)).collect::<Vec<_>>();
    columns.extend(collect_columns(rows, keep)?);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
