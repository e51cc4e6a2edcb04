//! The log of a training: one row per few steps, and one per validation. In: rows. Out: one Parquet
//! file, replaced whole, that a table reader can open while the training goes on.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::workers::Losses;
use crate::error::TrainError;
use crate::store::write_whole;

/// Its name in the folder of a training.
pub const LOG_FILE: &str = "log.parquet";

/// One row; what a row is not about is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LogRow {
    pub stage: i64,
    /// Steps of the stage that are done.
    pub step: i64,
    /// Images seen in the stage.
    pub pictures: i64,
    /// Means since the row before.
    pub loss: Option<f64>,
    pub maps_loss: Option<f64>,
    pub image_loss: Option<f64>,
    pub rank_loss: Option<f64>,
    pub word_loss: Option<f64>,
    /// Longest gradient since the row before, before it was clipped.
    pub gradient_norm: Option<f64>,
    /// What the rates of the job are multiplied by.
    pub rate_factor: Option<f64>,
    pub ms_per_step: Option<f64>,
    /// Of the validation at this step.
    pub image_auroc: Option<f64>,
    pub pixel_auroc: Option<f64>,
}

impl LogRow {
    /// Whether it tells of a validation at the step of `other`.
    pub fn is_validation_at(&self, other: &LogRow) -> bool {
        (self.stage, self.step) == (other.stage, other.step) && self.loss.is_none()
    }
}

type Column = (&'static str, fn(&LogRow) -> Option<f64>, fn(&mut LogRow, Option<f64>));

const COUNTS: [&str; 3] = ["stage", "step", "pictures"];

const NUMBERS: [Column; 10] = [
    ("loss", |row| row.loss, |row, value| row.loss = value),
    ("maps_loss", |row| row.maps_loss, |row, value| row.maps_loss = value),
    ("image_loss", |row| row.image_loss, |row, value| row.image_loss = value),
    ("rank_loss", |row| row.rank_loss, |row, value| row.rank_loss = value),
    ("word_loss", |row| row.word_loss, |row, value| row.word_loss = value),
    ("gradient_norm", |row| row.gradient_norm, |row, value| row.gradient_norm = value),
    ("rate_factor", |row| row.rate_factor, |row, value| row.rate_factor = value),
    ("ms_per_step", |row| row.ms_per_step, |row, value| row.ms_per_step = value),
    ("image_auroc", |row| row.image_auroc, |row, value| row.image_auroc = value),
    ("pixel_auroc", |row| row.pixel_auroc, |row, value| row.pixel_auroc = value),
];

/// Sums since the last row of the log.
#[derive(Default)]
pub(super) struct SinceRow {
    losses: Losses,
    steps: u64,
    longest: f64,
    seconds: f64,
}

impl SinceRow {
    /// Takes in a step.
    pub(super) fn add(&mut self, losses: &Losses, norm: f64, seconds: f64) {
        self.steps += 1;
        self.losses.loss += losses.loss;
        self.losses.maps += losses.maps;
        self.losses.image += losses.image;
        self.losses.rank += losses.rank;
        self.losses.words += losses.words;
        self.longest = self.longest.max(norm);
        self.seconds += seconds;
    }

    /// The row that `row` is to be, with means over the steps.
    pub(super) fn row(&self, row: LogRow, factor: f64) -> LogRow {
        let mean = |sum: f64| Some(sum / self.steps.max(1) as f64);
        LogRow {
            loss: mean(self.losses.loss),
            maps_loss: mean(self.losses.maps),
            image_loss: mean(self.losses.image),
            rank_loss: mean(self.losses.rank),
            word_loss: mean(self.losses.words),
            gradient_norm: Some(self.longest),
            rate_factor: Some(factor),
            ms_per_step: mean(1e3 * self.seconds),
            ..row
        }
    }
}

/// Writes `rows` to `path`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_log(path: &Path, rows: &[LogRow]) -> Result<(), TrainError> {
    let failed = |why: String| TrainError::File { path: path.into(), action: "written", why };
    let bytes = encode(rows).map_err(|error| failed(error.to_string()))?;
    write_whole(path, &bytes).map_err(|error| failed(error.to_string()))
}

fn encode(rows: &[LogRow]) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let counts = COUNTS.map(|name| Field::new(name, DataType::Int64, false));
    let numbers = NUMBERS.map(|(name, ..)| Field::new(name, DataType::Float64, true));
    let schema = Arc::new(Schema::new(counts.into_iter().chain(numbers).collect::<Vec<_>>()));
    let count = |of: fn(&LogRow) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
    };
    let mut columns =
        vec![count(|row| row.stage), count(|row| row.step), count(|row| row.pictures)];
    for (_, of, _) in NUMBERS {
        columns.push(Arc::new(rows.iter().map(of).collect::<Float64Array>()));
    }
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.into_inner()
}

/// Reads the log at `path`.
///
/// # Errors
/// If it cannot be read, or is no log of a training.
pub fn read_log(path: &Path) -> Result<Vec<LogRow>, TrainError> {
    let bad = |what: String| TrainError::BadState { path: path.into(), what };
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| bad(error.to_string()))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| bad(error.to_string()))?;
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| bad(format!("it has no column {name}")))
        };
        let strange = |name: &str| bad(format!("column {name} is of another type"));
        let first = rows.len();
        rows.resize(first + batch.num_rows(), LogRow::default());
        for (index, name) in COUNTS.into_iter().enumerate() {
            let values = column(name)?.as_primitive_opt::<Int64Type>();
            let values = values.ok_or_else(|| strange(name))?;
            for (row, value) in rows[first..].iter_mut().zip(values.values()) {
                *[&mut row.stage, &mut row.step, &mut row.pictures][index] = *value;
            }
        }
        for (name, _, set) in NUMBERS {
            let values = column(name)?.as_primitive_opt::<Float64Type>();
            let values = values.ok_or_else(|| strange(name))?;
            rows[first..].iter_mut().zip(values).for_each(|(row, value)| set(row, value));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOG_FILE);
        let step = LogRow { stage: 1, step: 50, loss: Some(0.5), ..LogRow::default() };
        let validation = LogRow { stage: 2, pixel_auroc: Some(0.9), ..LogRow::default() };
        write_log(&path, &[step, validation]).unwrap();
        assert_eq!(read_log(&path).unwrap(), [step, validation]);
    }
}
