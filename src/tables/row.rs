//! Row structs as schemas: the `row!` macro and what it gives each table.
//!
//! A field of a row struct is a column: its name, its type, its nullability and its doc comment
//! are taken from there. Adding a column to a table is adding one field to one struct.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::cell::Cell;
use super::{ColumnInfo, ColumnType, Stored, Table};

/// One column of the rows `R`.
pub struct Column<R> {
    pub name: &'static str,
    /// The field's doc comment.
    pub about: &'static str,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// The field of each row as one array.
    pub collect: fn(&[R]) -> Result<ArrayRef, ArrowError>,
    /// The values of an array into the field of each row; both have the same length.
    pub fill: fn(&dyn Array, &mut [R]) -> Result<(), ArrowError>,
}

/// The columns of a row struct, in the order of its fields. Implemented by `row!` only.
pub trait Columns: Sized + 'static {
    const COLUMNS: &'static [Column<Self>];

    /// Whether the rows have [`KeptValue`] values as well.
    const KEEPS: bool = false;

    /// The values of columns that are none of the struct's.
    fn kept(&self) -> &[KeptValue] {
        &[]
    }

    /// Adds such a value.
    fn keep(&mut self, _: KeptValue) {}
}

/// The value that the input has of an image in a column that the run was told to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptValue {
    pub column: Arc<str>,
    pub value: Option<String>,
}

/// A row of a table.
pub trait Row: Columns + Clone + Default + Send {
    const TABLE: Table;

    /// Changes the Parquet encodings of single columns, where the defaults do badly.
    fn tune(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        properties
    }
}

/// Writes a column of bytes without dictionary and statistics: no two values are alike, and they
/// have no order.
pub(super) fn opaque(properties: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(column);
    properties
        .set_column_dictionary_enabled(column.clone(), false)
        .set_column_statistics_enabled(column, EnabledStatistics::None)
}

/// Defines a row struct and its [`Columns`].
macro_rules! row {
    (
        $(#[doc = $doc:literal])+
        pub struct $row:ident {
            $($(#[doc = $about:literal])+ pub $name:ident: $kind:ty,)+
            $(; $(#[doc = $more:literal])+ pub $kept:ident: Vec<KeptValue>)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $row {
            $($(#[doc = $about])+ pub $name: $kind,)+
            $($(#[doc = $more])+ pub $kept: Vec<$crate::tables::row::KeptValue>,)?
        }

        impl $crate::tables::row::Columns for $row {
            const COLUMNS: &'static [$crate::tables::row::Column<Self>] = &[$(
                $crate::tables::row::Column {
                    name: stringify!($name),
                    about: concat!($($about),+),
                    column_type: <$kind as $crate::tables::cell::Cell>::TYPE,
                    nullable: <$kind as $crate::tables::cell::Cell>::NULLABLE,
                    collect: |rows| {
                        <$kind as $crate::tables::cell::Cell>::to_array(
                            rows.iter().map(|row| &row.$name),
                        )
                    },
                    fill: |array, rows| {
                        let values = <$kind as $crate::tables::cell::Cell>::from_array(array)?;
                        for (row, value) in rows.iter_mut().zip(values) {
                            row.$name = value;
                        }
                        Ok(())
                    },
                },
            )+];
            $(
            const KEEPS: bool = true;

            fn kept(&self) -> &[$crate::tables::row::KeptValue] {
                &self.$kept
            }

            fn keep(&mut self, kept: $crate::tables::row::KeptValue) {
                self.$kept.push(kept);
            }
            )?
        }
    };
}
pub(super) use row;

/// The columns of `R` for documentation.
pub(super) fn describe<R: Row>() -> Vec<ColumnInfo> {
    let info = |column: &Column<R>| ColumnInfo {
        name: column.name,
        column_type: column.column_type,
        nullable: column.nullable,
        about: column.about.trim(),
        stored: Stored::InFile,
    };
    R::COLUMNS.iter().map(info).collect()
}

/// The Arrow schema of a part: `ids` (never null), the columns of `R`, and those of `keep` if such rows
/// keep any.
pub(super) fn part_schema<R: Columns>(ids: &[ColumnInfo], keep: &[String]) -> SchemaRef {
    let ids = ids.iter().map(|id| Field::new(id.name, id.column_type.arrow(), id.nullable));
    let own = R::COLUMNS.iter().map(|c| Field::new(c.name, c.column_type.arrow(), c.nullable));
    let keep = keep.iter().filter(|_| R::KEEPS);
    let keep = keep.map(|name| Field::new(name, ColumnType::Text.arrow(), true));
    Arc::new(Schema::new(ids.chain(own).chain(keep).collect::<Vec<_>>()))
}

/// The fields of `rows` as arrays, in the order of the columns, then what they keep.
pub(super) fn collect_columns<R: Columns>(
    rows: &[R],
    keep: &[String],
) -> Result<Vec<ArrayRef>, ArrowError> {
    let own = R::COLUMNS.iter().map(|column| (column.collect)(rows));
    let kept = keep.iter().filter(|_| R::KEEPS).map(|name| {
        let of = |row: &R| {
            let kept = row.kept().iter().find(|kept| *kept.column == **name);
            kept.and_then(|kept| kept.value.clone())
        };
        let values = rows.iter().map(of).collect::<Vec<_>>();
        <Option<String> as Cell>::to_array(values.iter())
    });
    own.chain(kept).collect()
}

/// The rows of a batch; its columns are found by name. One that may be null and is not there was not
/// yet thought of when the rows were written.
pub(super) fn rows_of_batch<R: Columns + Clone + Default>(
    batch: &RecordBatch,
) -> Result<Vec<R>, ArrowError> {
    let mut rows = vec![R::default(); batch.num_rows()];
    for column in R::COLUMNS {
        let array = match batch.column_by_name(column.name) {
            Some(array) => array,
            None if column.nullable => continue,
            None => {
                let what = format!("column {} is missing", column.name);
                return Err(ArrowError::SchemaError(what));
            }
        };
        (column.fill)(array, &mut rows)
            .map_err(|e| ArrowError::SchemaError(format!("column {}: {e}", column.name)))?;
    }
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !R::KEEPS || is_own::<R>(field.name()) {
            continue;
        }
        let column: Arc<str> = field.name().as_str().into();
        let values = <Option<String> as Cell>::from_array(array)
            .map_err(|e| ArrowError::SchemaError(format!("column {column}: {e}")))?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.keep(KeptValue { column: column.clone(), value });
        }
    }
    Ok(rows)
}

/// Whether a column of a part is a field of `R`, or one of the ids before them.
pub(super) fn is_own<R: Columns>(name: &str) -> bool {
    R::COLUMNS.iter().any(|column| column.name == name)
        || super::part::id_columns().iter().any(|column| column.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::ScoreRow;

    fn without(column: &str) -> Result<Vec<ScoreRow>, ArrowError> {
        let rows = [ScoreRow { score: 0.5, top_similarity: Some(0.25), ..ScoreRow::default() }];
        let schema = part_schema::<ScoreRow>(&[], &[]);
        let batch = RecordBatch::try_new(schema.clone(), collect_columns(&rows, &[])?)?;
        let kept = (0..schema.fields().len()).filter(|&i| schema.field(i).name() != column);
        rows_of_batch(&batch.project(&kept.collect::<Vec<_>>())?)
    }

    #[test]
    fn rows_of_earlier_versions_lack_only_what_may_be_null() {
        let rows = without("top_similarity").unwrap();
        assert_eq!((rows[0].score, rows[0].top_similarity), (0.5, None));
        assert_eq!(without("kind").unwrap()[0].top_similarity, Some(0.25));
        let error = without("score").unwrap_err().to_string();
        assert!(error.contains("column score is missing"), "{error}");
    }
}
