//! The layout `parquet`: files with one image per row. Column `image` is the image's file, or a
//! group of `bytes` and `path` as Hugging Face writes it; so is `mask`. `label` (a number, a truth
//! value or a word), `kind` and `category` mean what they mean in a tar's JSON; numbers that the
//! file's own Hugging Face header has names for are those names. Parts of a file go in, images
//! with what is known of them come out.
//!
//! The file is a stranger's: a row that cannot be used costs that row, a row group that cannot be
//! decoded costs its rest. Never here: decoding images.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};

use super::blocks::Blocks;
use super::label::LabelValue;
use super::member::{Known, Member, kept, unique};
use super::open_file::OpenFile;
use super::options::Columns;
use super::parquet_cells::{bytes_of, list_of, path_of, text_of};
use super::parquet_schema::{
    IMAGE, chosen_column, classes, column_named, image_column, metadata_of,
};
use crate::error::{Failure, FailureCode, Stage};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 16;

/// Columns that mean something.
const COLUMNS: [&str; 4] = ["mask", "label", "kind", "category"];

/// Hands the images of a file to `take`, one after the other, until it wants no more. An image of
/// more than `max_bytes` is left out with a reason, as is what cannot be decoded.
pub fn read_parquet(
    file: Arc<OpenFile>,
    columns: &Columns,
    max_bytes: u64,
    mut take: impl FnMut(Member) -> ControlFlow<()>,
) {
    let broke = Arc::new(OnceLock::new());
    let blocks = Blocks::new(file, broke.clone());
    let mut names = HashSet::new();
    let lost = |id: String, what: String| {
        let failure = Failure::new(Stage::Fetch, FailureCode::CorruptArchive, what);
        let picture = Err(broke.get().cloned().unwrap_or(failure));
        Member { id, picture, mask: None, known: Known::default() }
    };
    let opened = caught(|| Table::open(blocks, columns));
    let table = match opened {
        Ok(table) => table,
        Err(what) => {
            let _ = take(lost("(all)".to_owned(), what));
            return;
        }
    };
    let mut first = 0;
    for (group, rows) in table.groups() {
        let mut row = first;
        let read = caught(|| {
            table.each_batch(group, &mut |batch| {
                for member in table.members(batch, row, max_bytes, &mut names) {
                    row += 1;
                    if take(member).is_break() {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })
        });
        let missing = match read {
            Ok(ControlFlow::Break(())) => return,
            Ok(ControlFlow::Continue(())) if row == first + rows => None,
            Ok(ControlFlow::Continue(())) => Some("the columns end too early".to_owned()),
            Err(what) => Some(what),
        };
        if let Some(what) = missing {
            let last = (first + rows).saturating_sub(1);
            let what = format!("rows {row} to {last} cannot be decoded ({what}): write them again");
            // Groups of no rows have the same numbers.
            let id = unique(format!("(rows {row}-{last})"), &mut names);
            if take(lost(id, what)).is_break() {
                return;
            }
        }
        first += rows;
    }
}

/// What `work` returns; a panic of a decoder, which strangers' bytes may cause, is an error.
pub(super) fn caught<T>(work: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its bytes are damaged".to_owned()),
    }
}

/// An opened file.
struct Table {
    blocks: Blocks,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    /// Names of the columns, as the file writes them.
    image: String,
    mask: Option<String>,
    label: Option<String>,
    kind: Option<String>,
    category: Option<String>,
    /// Names of the columns that are kept.
    keep: Vec<String>,
    /// Names of the numbers in `label`; none where they have no names.
    classes: Vec<String>,
    /// Whether these names tell defects from good images.
    are_classes: bool,
}

impl Table {
    fn open(blocks: Blocks, asked: &Columns) -> ParquetResult<Self> {
        let metadata = metadata_of(&blocks)?;
        let schema = metadata.schema();
        let chosen = asked.image.as_deref();
        let image = match chosen {
            Some(chosen) => chosen_column(schema, chosen),
            None => image_column(schema),
        };
        let image = image.map_err(ParquetError::General)?;
        if image != IMAGE && chosen.is_none() {
            tracing::info!(column = image, "no column `image`: images are taken from this one");
        }
        let [mask, label, kind, category] = COLUMNS.map(|name| column_named(schema, name));
        let known = [&mask, &label, &kind, &category].into_iter().flatten().map(String::as_str);
        let wanted = known.chain([image]).chain(asked.keep.iter().map(String::as_str));
        let roots = wanted.filter_map(|name| schema.index_of(name).ok());
        let columns = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let classes = classes(metadata.metadata()).unwrap_or_default();
        let there = |name: &&String| schema.field_with_name(name).is_ok();
        let missing = asked.keep.iter().filter(|name| !there(name)).collect::<Vec<_>>();
        if !missing.is_empty() {
            tracing::warn!(?missing, "columns to keep that this file does not have: null");
        }
        let (image, keep) = (image.to_owned(), asked.keep.clone());
        let are_classes = LabelValue::are_classes(classes.iter().map(String::as_str));
        Ok(Table {
            blocks,
            metadata,
            columns,
            image,
            mask,
            label,
            kind,
            category,
            keep,
            classes,
            are_classes,
        })
    }

    /// The row groups with their numbers of rows.
    fn groups(&self) -> Vec<(usize, u64)> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups
            .map(|group| u64::try_from(group.num_rows()).unwrap_or_default())
            .enumerate()
            .collect()
    }

    fn each_batch(
        &self,
        group: usize,
        take: &mut dyn FnMut(&RecordBatch) -> ControlFlow<()>,
    ) -> ParquetResult<ControlFlow<()>> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.blocks.clone(),
            self.metadata.clone(),
        );
        let builder = builder.with_projection(self.columns.clone()).with_row_groups(vec![group]);
        for batch in builder.with_batch_size(BATCH_ROWS).build()? {
            if take(&batch?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The images of a batch whose first row is row `first` of the file.
    fn members(
        &self,
        batch: &RecordBatch,
        first: u64,
        max_bytes: u64,
        names: &mut HashSet<String>,
    ) -> Vec<Member> {
        let column = |name: &Option<String>| batch.column_by_name(name.as_ref()?);
        let (image, mask) = (batch.column_by_name(&self.image), column(&self.mask));
        let (labels, kinds, categories) =
            (column(&self.label), column(&self.kind), column(&self.category));
        let keep = self.keep.iter().map(|name| batch.column_by_name(name)).collect::<Vec<_>>();
        let of_row = |row: usize| {
            let number = first + row as u64;
            let name = image.and_then(|image| path_of(image, row)).filter(|name| !name.is_empty());
            let id = unique(name.unwrap_or_else(|| format!("{number:07}")), names);
            let picture = match image.and_then(|image| bytes_of(image, row)) {
                None => {
                    let what = format!("row {number} has no bytes of an image: put them there");
                    Err(Failure::new(Stage::Fetch, FailureCode::CorruptArchive, what))
                }
                Some(bytes) => sized(bytes, number, max_bytes),
            };
            let mask = mask.and_then(|mask| bytes_of(mask, row));
            let (picture, mask) = match mask.map(|mask| sized(mask, number, max_bytes)) {
                None => (picture, None),
                Some(Ok(mask)) => (picture, Some(mask)),
                Some(Err(failure)) => (picture.and(Err(failure)), None),
            };
            let label = labels.map(|labels| self.label_of(labels, row)).unwrap_or_default();
            let said = Known {
                kind: kinds.and_then(|kinds| text_of(kinds, row)),
                category: categories.and_then(|categories| text_of(categories, row)),
                kept: kept(&keep.iter().map(|of| text_of((*of)?, row)).collect::<Vec<_>>()),
                ..Known::default()
            };
            let of_label = Known::of_label(label);
            Member { id, picture, mask, known: said.or(of_label) }
        };
        (0..batch.num_rows()).map(of_row).collect()
    }

    /// What the label of a row means.
    fn label_of(&self, labels: &ArrayRef, row: usize) -> LabelValue {
        if !labels.is_valid(row) {
            return LabelValue::default();
        }
        if let Some(list) = list_of(labels, row) {
            return LabelValue::all((0..list.len()).map(|at| self.label_of(&list, at)));
        }
        match labels.data_type() {
            DataType::Boolean => labels
                .as_boolean_opt()
                .map(|labels| LabelValue::of_truth(labels.value(row)))
                .unwrap_or_default(),
            data_type if data_type.is_integer() && !self.classes.is_empty() => {
                let number = text_of(labels, row).unwrap_or_default();
                let class = number.parse().ok().and_then(|n: usize| self.classes.get(n));
                match class {
                    None => LabelValue::of_text(&number),
                    Some(name) if self.are_classes => LabelValue::of_class(name),
                    Some(name) => LabelValue::unclear(name),
                }
            }
            _ => match text_of(labels, row) {
                Some(text) => LabelValue::of_text(&text),
                None => LabelValue::unclear(&format!("a {}", labels.data_type())),
            },
        }
    }
}

fn sized(bytes: &[u8], row: u64, max_bytes: u64) -> Result<Bytes, Failure> {
    if bytes.len() as u64 <= max_bytes {
        return Ok(Bytes::copy_from_slice(bytes));
    }
    let size = bytes.len();
    let what =
        format!("row {row} has {size} bytes, more than {max_bytes}: cut it into smaller ones");
    Err(Failure::new(Stage::Fetch, FailureCode::TooLarge, what))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Mutex;

    use arrow_array::{BinaryArray, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::super::open_file::OpenBytes;
    use super::*;

    /// Two row groups of two rows.
    fn small() -> Vec<u8> {
        let image = BinaryArray::from_iter_values([b"one", b"two"]);
        let kind = StringArray::from_iter_values(["good", "crack"]);
        let columns: [(&str, ArrayRef); 2] = [("image", Arc::new(image)), ("kind", Arc::new(kind))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        for _ in 0..2 {
            writer.write(&batch).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn members(bytes: &[u8], max_bytes: u64, most: usize) -> Vec<Member> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, bytes).unwrap();
        let bytes_of =
            OpenBytes::Disk { file: Mutex::new(File::open(&path).unwrap()), shown: "t".to_owned() };
        let file = Arc::new(OpenFile::new(bytes_of, bytes.len() as u64));
        let mut members = Vec::new();
        read_parquet(file, &Columns::default(), max_bytes, |member| {
            members.push(member);
            if members.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        members
    }

    #[test]
    fn rows_are_pictures_and_whoever_wants_no_more_gets_no_more() {
        let found = members(&small(), 100, 9);
        let ids = found.iter().map(|member| member.id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids, ["0000000", "0000001", "0000002", "0000003"]);
        assert_eq!(
            (&found[1].picture, found[1].known.kind.as_deref()),
            (&Ok(Bytes::from("two")), Some("crack"))
        );
        assert_eq!(members(&small(), 100, 3).len(), 3);
        let codes = members(&small(), 2, 9).into_iter().map(|m| m.picture.unwrap_err().code);
        assert_eq!(codes.collect::<Vec<_>>(), [FailureCode::TooLarge; 4]);
    }

    #[test]
    fn damage_anywhere_gives_no_picture_too_many() {
        let whole = small();
        for at in 0..whole.len() {
            assert!(members(&whole[..at], 100, 99).len() <= 6);
            let mut flipped = whole.clone();
            for bit in [1, 0x80] {
                flipped[at] ^= bit;
                let found = members(&flipped, 100, 99);
                assert!(!found.is_empty() && found.len() <= 6, "byte {at}: {}", found.len());
            }
        }
    }
}
