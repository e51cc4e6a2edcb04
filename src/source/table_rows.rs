//! The rows of a table of images: CSV, JSON Lines or Parquet. A file goes in, rows of JSON values come
//! out, with the number of the line that each is in (in Parquet, of the row). A row that cannot be read
//! costs that row; a table that breaks off is an error. Never here: what a column means.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};

use super::blocks::{Blocks, From};
use super::member::{lenient_json, text_of};
use super::open_file::OpenFile;
use super::parquet::caught;
use super::parquet_cells::{is_file, list_of, text_of as text_in};
use super::parquet_schema::metadata_of;
use super::visa_csv::delimiter;

/// The longest row. A quote that is never closed would make one of the rest of the file.
const MAX_ROW_BYTES: u64 = 1 << 20;

/// Rows that are expected at most, whatever a file looks like.
const MOST_EXPECTED: usize = 16 << 20;

/// Rows of Parquet that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKind {
    /// Separated by commas, semicolons or tabs; the first line has the names.
    Csv,
    /// One object a line.
    JsonLines,
    Parquet,
}

/// The cells of a row.
pub(super) enum Row {
    /// In the order of the header.
    Aligned(Vec<Value>),
    /// By name.
    Keyed(Map<String, Value>),
}

/// A table whose header has been read.
pub(super) enum Table {
    Csv(CsvTable),
    JsonLines(JsonTable),
    Parquet(ParquetTable),
}

pub(super) struct JsonTable {
    reader: BufReader<From>,
    expected: usize,
}

pub(super) struct CsvTable {
    expected: usize,
    header: Vec<String>,
    reader: csv::Reader<Bounded<Chain<From, Cursor<Vec<u8>>>>>,
    left: Rc<Cell<u64>>,
}

pub(super) struct ParquetTable {
    blocks: Blocks,
    metadata: ArrowReaderMetadata,
    header: Vec<String>,
    /// Columns that hold files.
    files: Vec<String>,
}

impl Table {
    /// Opens a table and reads its header.
    pub fn open(file: OpenFile, kind: TableKind) -> Result<Self, String> {
        let size = file.size();
        let blocks = Blocks::new(Arc::new(file), Arc::new(OnceLock::new()));
        let from_start = || blocks.get_read(0).map_err(|error| error.to_string());
        let start = || {
            let mut start = Vec::new();
            let read = from_start()?.take(MAX_ROW_BYTES).read_to_end(&mut start);
            read.map_err(|error| error.to_string()).map(|_| start)
        };
        match kind {
            TableKind::Csv => CsvTable::open(&start()?, from_start()?, size).map(Table::Csv),
            TableKind::JsonLines => {
                let (expected, reader) = (lines(&start()?, size), BufReader::new(from_start()?));
                Ok(Table::JsonLines(JsonTable { reader, expected }))
            }
            TableKind::Parquet => {
                let opened = caught(|| ParquetTable::open(blocks.clone()));
                Ok(Table::Parquet(opened.map_err(|why| format!("no Parquet file: {why}"))?))
            }
        }
    }

    /// The names of the columns; `None` where each row has its own.
    pub fn header(&self) -> Option<&[String]> {
        match self {
            Table::Csv(table) => Some(&table.header),
            Table::JsonLines(_) => None,
            Table::Parquet(table) => Some(&table.header),
        }
    }

    /// About how many rows it has: what is held of a million is not to be moved while it grows.
    pub fn expected_rows(&self) -> usize {
        match self {
            Table::Csv(table) => table.expected,
            Table::JsonLines(table) => table.expected,
            Table::Parquet(table) => {
                let rows = table.metadata.metadata().file_metadata().num_rows();
                // A header may say anything.
                usize::try_from(rows).unwrap_or_default().min(MOST_EXPECTED)
            }
        }
    }

    /// Columns that hold files, not their paths.
    pub fn files(&self) -> &[String] {
        match self {
            Table::Csv(_) | Table::JsonLines(_) => &[],
            Table::Parquet(table) => &table.files,
        }
    }

    /// Hands every row to `take`, with its line, or why it cannot be read; cells of other columns than
    /// those at `wanted` may be null.
    ///
    /// # Errors
    /// If the table breaks off.
    pub fn each(
        self,
        wanted: &[usize],
        take: &mut dyn FnMut(u64, Result<Row, String>),
    ) -> Result<(), String> {
        match self {
            Table::Csv(table) => table.each(wanted, take),
            Table::JsonLines(table) => each_object(table.reader, take),
            Table::Parquet(table) => caught(|| table.each(wanted, take)),
        }
    }
}

/// About how many lines a file of `size` bytes has that begins with `start`.
fn lines(start: &[u8], size: u64) -> usize {
    let found = start.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let all = found.saturating_mul(size.max(1)) / (start.len() as u64).max(1);
    usize::try_from(all + all / 32).unwrap_or_default().min(MOST_EXPECTED)
}

/// Bytes of which only so many are read until more are allowed.
pub(super) struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            let why = "a row of more than 1 MiB: is a quote not closed?";
            return Err(std::io::Error::other(why));
        }
        let n = self.inner.read(out)?;
        self.left.set(self.left.get().saturating_sub(n as u64));
        Ok(n)
    }
}

/// A line behind the last one of a CSV. If it does not come out as a row, a quote was open there.
const END: &str = "\u{1}end of the table\u{1}";

const NOT_CLOSED: &str =
    "a quote that is opened there is not closed: the lines below it are no rows";

/// Rows with cells of several lines: meant, or the lines between a stray quote and the next one.
#[derive(Default)]
struct Several {
    rows: u64,
    first: u64,
}

impl Several {
    fn note(&mut self, line: u64, record: &csv::ByteRecord) {
        if record.iter().any(|cell| cell.contains(&b'\n')) {
            if self.rows == 0 {
                self.first = line;
            }
            self.rows += 1;
        }
    }

    fn report(&self) {
        if self.rows > 0 {
            let Several { rows, first } = self;
            tracing::warn!(
                rows,
                "rows of the table have a cell of several lines, the first in line {first}: if that is \
                 not meant, a quote is missing there"
            );
        }
    }
}

impl CsvTable {
    /// `start` is the beginning of `all`, whose length is `size`.
    fn open(start: &[u8], all: From, size: u64) -> Result<Self, String> {
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err("text in UTF-16: save the table as UTF-8".to_owned());
        }
        let left = Rc::new(Cell::new(MAX_ROW_BYTES));
        let all = all.chain(Cursor::new(format!("\n{END}\n").into_bytes()));
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .flexible(true)
            .delimiter(delimiter(start))
            .from_reader(Bounded { inner: all, left: left.clone() });
        let header = reader.headers().map_err(|error| format!("the first line: {error}"))?;
        let header = match header.iter().any(|name| name.contains(END)) {
            // There is no line.
            true if header.len() == 1 && &header[0] == END => Vec::new(),
            true => return Err(format!("the first line: {NOT_CLOSED}")),
            false => header.iter().map(str::to_owned).collect(),
        };
        Ok(CsvTable { expected: lines(start, size), header, reader, left })
    }

    fn each(
        mut self,
        wanted: &[usize],
        take: &mut dyn FnMut(u64, Result<Row, String>),
    ) -> Result<(), String> {
        let mut record = csv::ByteRecord::new();
        let (mut last, mut several) = (1, Several::default());
        loop {
            self.left.set(MAX_ROW_BYTES);
            let line = self.reader.position().line();
            let more = self.reader.read_byte_record(&mut record);
            if !more.map_err(|error| format!("line {line}: {error}"))? {
                return Err(format!("line {last}: {NOT_CLOSED}"));
            }
            if record.len() == 1 && &record[0] == END.as_bytes() {
                several.report();
                return Ok(());
            }
            last = record.position().map_or(line, csv::Position::line);
            several.note(last, &record);
            take(last, self.row(&record, wanted));
        }
    }

    fn row(&self, record: &csv::ByteRecord, wanted: &[usize]) -> Result<Row, String> {
        let (cells, columns) = (record.len(), self.header.len());
        let empty = |at: usize| record.get(at).is_none_or(<[u8]>::is_empty);
        if cells < columns || !(columns..cells).all(empty) {
            return Err(format!("{cells} cells where the header has {columns}: correct it"));
        }
        let mut row = vec![Value::Null; columns];
        for &at in wanted {
            let cell = std::str::from_utf8(record.get(at).unwrap_or_default());
            let text = cell.map_err(|_| "text that is not UTF-8: save the table as UTF-8")?;
            if !text.is_empty() {
                row[at] = Value::String(text.to_owned());
            }
        }
        Ok(Row::Aligned(row))
    }
}

fn each_object(
    mut reader: BufReader<From>,
    take: &mut dyn FnMut(u64, Result<Row, String>),
) -> Result<(), String> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(MAX_ROW_BYTES).read_until(b'\n', &mut bytes);
        if read.map_err(|error| format!("line {line}: {error}"))? == 0 {
            break;
        }
        if !bytes.ends_with(b"\n") && bytes.len() as u64 == MAX_ROW_BYTES {
            let end = reader.skip_until(b'\n').map_err(|error| format!("line {line}: {error}"))?;
            if end > 0 {
                take(line, Err("a row of more than 1 MiB: shorten it".to_owned()));
                continue;
            }
        }
        let text = text_of(&bytes);
        if text.trim().is_empty() {
            continue;
        }
        let row = match lenient_json(text.trim()) {
            Ok(Value::Object(cells)) => Ok(Row::Keyed(cells)),
            _ => Err("no JSON object: write one a line".to_owned()),
        };
        take(line, row);
    }
    Ok(())
}

impl ParquetTable {
    fn open(blocks: Blocks) -> ParquetResult<Self> {
        let metadata = metadata_of(&blocks)?;
        let fields = metadata.schema().fields();
        let header = fields.iter().map(|field| field.name().to_owned()).collect();
        let files = fields.iter().filter(|field| is_file(field.data_type()));
        let files = files.map(|field| field.name().to_owned()).collect();
        Ok(ParquetTable { blocks, metadata, header, files })
    }

    fn each(
        &self,
        wanted: &[usize],
        take: &mut dyn FnMut(u64, Result<Row, String>),
    ) -> ParquetResult<()> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.blocks.clone(),
            self.metadata.clone(),
        );
        let columns = ProjectionMask::roots(self.metadata.parquet_schema(), wanted.iter().copied());
        let mut row = 0;
        for batch in builder.with_projection(columns).with_batch_size(BATCH_ROWS).build()? {
            let batch = batch?;
            let columns = self.header.iter().map(|name| batch.column_by_name(name));
            let columns = columns.collect::<Vec<_>>();
            for at in 0..batch.num_rows() {
                let value = |column: &Option<&ArrayRef>| value_in((*column)?, at);
                let of_row = columns.iter().map(value).map(Option::unwrap_or_default);
                take(row, Ok(Row::Aligned(of_row.collect())));
                row += 1;
            }
        }
        match u64::try_from(self.metadata.metadata().file_metadata().num_rows()) {
            Ok(rows) if rows == row => Ok(()),
            _ => Err(ParquetError::EOF("its columns end too early".to_owned())),
        }
    }
}

/// The text, or the list of texts, in a row of a column.
fn value_in(column: &ArrayRef, row: usize) -> Option<Value> {
    if !column.is_valid(row) {
        return None;
    }
    match list_of(column, row) {
        None => text_in(column, row).map(Value::String),
        Some(list) => {
            let values = (0..list.len()).map(|at| text_in(&list, at).map(Value::String));
            Some(Value::Array(values.map(Option::unwrap_or_default).collect()))
        }
    }
}
