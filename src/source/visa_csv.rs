//! The two CSV files of VisA: `<category>/image_anno.csv` (image, label, mask) and
//! `split_csv/1cls.csv` (object, split, label, image, mask). Rows come out with their line numbers.
//! A row that cannot be understood is an error. Never here: looking whether a named file exists.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::input::Input;
use super::label::{Label, LabelValue, shortened};
use crate::error::{SourceError, one_line};

/// One row: an image and what is known about it.
pub(super) struct Row {
    pub line: u64,
    /// Paths as written.
    pub image: String,
    /// `None` where the cell is empty.
    pub mask: Option<String>,
    /// `None` where the cell is empty, or says that nobody knows.
    pub label: Option<Label>,
    /// The words of the label, unless they only say whether it is normal.
    pub kind: Option<String>,
}

/// A row of the split file.
pub(super) struct SplitRow {
    /// The category.
    pub object: String,
    /// `train` or `test`.
    pub split: String,
    pub row: Row,
}

/// A CSV file with its header read.
struct Table {
    /// Where it is, for messages.
    path: PathBuf,
    columns: csv::StringRecord,
    reader: csv::Reader<std::io::Cursor<Bytes>>,
}

/// All rows of an `image_anno.csv`.
pub(super) fn read_annotations(input: &Input, id: &str) -> Result<Vec<Row>, SourceError> {
    let mut table = Table::open(input, id)?;
    let columns = RowColumns::of(&table)?;
    table.rows(|table, record, line| columns.row(table, record, line))
}

/// All rows of a `1cls.csv`, of every split.
pub(super) fn read_split(input: &Input, id: &str) -> Result<Vec<SplitRow>, SourceError> {
    let mut table = Table::open(input, id)?;
    let columns = RowColumns::of(&table)?;
    let (object, split) = (table.column("object")?, table.column("split")?);
    table.rows(|table, record, line| {
        Ok(SplitRow {
            object: table.filled(record, object, line)?,
            split: table.filled(record, split, line)?,
            row: columns.row(table, record, line)?,
        })
    })
}

/// `path` with `/` between its parts, or `None` if it leads out of the folder it is relative to.
pub(super) fn below(path: &str) -> Option<String> {
    // A table that was made or edited on Windows.
    let path = path.replace('\\', "/");
    if path.as_bytes().get(1) == Some(&b':') {
        return None;
    }
    let mut parts = Vec::new();
    for part in Path::new(&path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Where the columns are that both files have.
struct RowColumns {
    image: Column,
    label: Column,
    mask: Column,
}

#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    index: usize,
}

impl RowColumns {
    fn of(table: &Table) -> Result<Self, SourceError> {
        let column = |name| table.column(name);
        Ok(RowColumns { image: column("image")?, label: column("label")?, mask: column("mask")? })
    }

    fn row(
        &self,
        table: &Table,
        record: &csv::StringRecord,
        line: u64,
    ) -> Result<Row, SourceError> {
        let value = LabelValue::of_class(record.get(self.label.index).unwrap_or_default());
        let (label, kind) = (value.label, value.defect_type());
        let mask = record.get(self.mask.index).filter(|mask| !mask.is_empty());
        Ok(Row {
            line,
            image: table.filled(record, self.image, line)?,
            mask: mask.map(str::to_owned),
            label,
            kind,
        })
    }
}

impl Table {
    fn open(input: &Input, id: &str) -> Result<Self, SourceError> {
        let path = PathBuf::from(input.display(id));
        let text = input.read_csv(id)?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .delimiter(delimiter(&text))
            .from_reader(std::io::Cursor::new(text));
        let columns = reader.headers().map_err(|error| broken(&path, &error))?.clone();
        Ok(Table { path, columns, reader })
    }

    fn column(&self, name: &'static str) -> Result<Column, SourceError> {
        let index = self.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        index.map(|index| Column { name, index }).ok_or_else(|| {
            let found = self.columns.iter().map(shortened).collect::<Vec<_>>().join(", ");
            let found = one_line(&found, 200);
            self.error(1, format!("no column {name}, found {found}"))
        })
    }

    fn filled(
        &self,
        record: &csv::StringRecord,
        column: Column,
        line: u64,
    ) -> Result<String, SourceError> {
        let cell = record.get(column.index).filter(|cell| !cell.is_empty());
        let empty = || self.error(line, format!("the cell of column {} is empty", column.name));
        cell.map(str::to_owned).ok_or_else(empty)
    }

    fn rows<T>(
        &mut self,
        read: impl Fn(&Self, &csv::StringRecord, u64) -> Result<T, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        let mut record = csv::StringRecord::new();
        let mut rows = Vec::new();
        loop {
            match self.reader.read_record(&mut record) {
                Err(error) => return Err(broken(&self.path, &error)),
                Ok(false) => return Ok(rows),
                Ok(true) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    rows.push(read(self, &record, line)?);
                }
            }
        }
    }

    fn error(&self, line: u64, why: String) -> SourceError {
        SourceError::BadCsv { path: self.path.clone(), line, why }
    }
}

/// What separates the cells: where commas are decimal, spreadsheets write semicolons.
pub(super) fn delimiter(text: &[u8]) -> u8 {
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |byte: u8| header.iter().filter(|found| **found == byte).count();
    // The first of equals: a comma.
    b",;\t".iter().rev().copied().max_by_key(|byte| count(*byte)).unwrap_or(b',')
}

fn broken(path: &Path, error: &csv::Error) -> SourceError {
    let why = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "text that is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    let line = error.position().map_or(1, csv::Position::line);
    SourceError::BadCsv { path: path.to_owned(), line, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_one_that_the_header_has() {
        let found = ["image,label,mask", "image;label;mask\na,b,c,d;e", "image\tlabel", "image"];
        assert_eq!(found.map(|text| delimiter(text.as_bytes())), [b',', b';', b'\t', b',']);
    }

    #[test]
    fn a_path_that_climbs_out_is_none() {
        assert_eq!(below("a\\b\\c.png").as_deref(), Some("a/b/c.png"));
        for path in ["C:\\a.png", "..\\a.png", "../a.png", "a/../../b.png", "/etc/a.png", "", "."] {
            assert_eq!(below(path), None, "{path:?}");
        }
        assert_eq!(below("./a//b/c.png").as_deref(), Some("a/b/c.png"));
    }
}
