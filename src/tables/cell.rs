//! One value of a column, between its Rust type and its Arrow array.
//!
//! The Rust type of a row's field decides the column's type and whether it may be null. Reading
//! trusts nothing: another type, an unexpected null or a number out of range is an error.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow_schema::{ArrowError, DataType};

/// The column types that every reader of Parquet handles alike: no unsigned, no 16-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// A calendar day; a partition column only.
    Date,
    Bool,
    Int32,
    Int64,
    Float32,
    Float64,
    /// Bytes in a format of our own.
    Binary,
}

impl ColumnType {
    /// The name in documentation and schemas.
    pub fn as_str(self) -> &'static str {
        match self {
            ColumnType::Text => "utf8",
            ColumnType::Date => "date",
            ColumnType::Bool => "bool",
            ColumnType::Int32 => "int32",
            ColumnType::Int64 => "int64",
            ColumnType::Float32 => "float32",
            ColumnType::Float64 => "float64",
            ColumnType::Binary => "binary",
        }
    }

    pub(super) fn arrow(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Date => DataType::Date32,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float32 => DataType::Float32,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Binary => DataType::Binary,
        }
    }
}

/// A Rust type that can be a field of a row.
pub trait Cell: Sized {
    const TYPE: ColumnType;
    const NULLABLE: bool;

    /// The values as one array.
    fn to_array<'a>(values: impl Iterator<Item = &'a Self>) -> Result<ArrayRef, ArrowError>
    where
        Self: 'a;

    /// The values of one array, in order.
    fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError>;
}

/// Bytes of text, or of anything, that one array can hold: its offsets are 32-bit.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

fn wrong_type(expected: ColumnType, array: &dyn Array) -> ArrowError {
    let expected = expected.as_str();
    ArrowError::SchemaError(format!("expected {expected}, found {}", array.data_type()))
}

fn no_null<T>(value: Option<T>) -> Result<T, ArrowError> {
    value.ok_or_else(|| ArrowError::SchemaError("null in a column that has none".to_string()))
}

fn out_of_range<T: std::fmt::Display>(value: T) -> ArrowError {
    ArrowError::CastError(format!("{value} is out of range"))
}

/// Text of an array, checked for the size that its offsets can address.
fn text_array<'a>(
    values: impl Iterator<Item = Option<&'a str>>,
) -> Result<StringArray, ArrowError> {
    let values: Vec<Option<&str>> = values.collect();
    check_offsets(values.iter().flatten().map(|text| text.len()))?;
    Ok(values.into_iter().collect())
}

fn check_offsets(lengths: impl Iterator<Item = usize>) -> Result<(), ArrowError> {
    let bytes: usize = lengths.sum();
    if bytes > MAX_ARRAY_BYTES { Err(out_of_range(bytes)) } else { Ok(()) }
}

impl Cell for Option<Vec<u8>> {
    const TYPE: ColumnType = ColumnType::Binary;
    const NULLABLE: bool = true;

    fn to_array<'a>(values: impl Iterator<Item = &'a Self>) -> Result<ArrayRef, ArrowError> {
        let values: Vec<Option<&[u8]>> = values.map(Option::as_deref).collect();
        check_offsets(values.iter().flatten().map(|bytes| bytes.len()))?;
        Ok(Arc::new(values.into_iter().collect::<BinaryArray>()))
    }

    fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
        let values = array.as_binary_opt::<i32>().ok_or_else(|| wrong_type(Self::TYPE, array))?;
        Ok(values.iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect())
    }
}

impl Cell for Option<String> {
    const TYPE: ColumnType = ColumnType::Text;
    const NULLABLE: bool = true;

    fn to_array<'a>(values: impl Iterator<Item = &'a Self>) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(text_array(values.map(Option::as_deref))?))
    }

    fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
        let texts = array.as_string_opt::<i32>().ok_or_else(|| wrong_type(Self::TYPE, array))?;
        Ok(texts.iter().map(|text| text.map(str::to_string)).collect())
    }
}

impl Cell for Option<bool> {
    const TYPE: ColumnType = ColumnType::Bool;
    const NULLABLE: bool = true;

    fn to_array<'a>(values: impl Iterator<Item = &'a Self>) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(values.copied().collect::<BooleanArray>()))
    }

    fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
        let flags = array.as_boolean_opt().ok_or_else(|| wrong_type(Self::TYPE, array))?;
        Ok(flags.iter().collect())
    }
}

fn number_array<'a, T: ArrowPrimitiveType>(
    values: impl Iterator<Item = &'a Option<T::Native>>,
) -> ArrayRef {
    Arc::new(values.copied().collect::<PrimitiveArray<T>>())
}

fn numbers<T: ArrowPrimitiveType>(
    array: &dyn Array,
    expected: ColumnType,
) -> Result<Vec<Option<T::Native>>, ArrowError> {
    let numbers = array.as_primitive_opt::<T>().ok_or_else(|| wrong_type(expected, array))?;
    Ok(numbers.iter().collect())
}

/// Nullable numbers are their arrays.
macro_rules! nullable_number {
    ($native:ty, $arrow:ty, $column:expr) => {
        impl Cell for Option<$native> {
            const TYPE: ColumnType = $column;
            const NULLABLE: bool = true;

            fn to_array<'a>(
                values: impl Iterator<Item = &'a Self>,
            ) -> Result<ArrayRef, ArrowError> {
                Ok(number_array::<$arrow>(values))
            }

            fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
                numbers::<$arrow>(array, Self::TYPE)
            }
        }
    };
}

nullable_number!(i32, Int32Type, ColumnType::Int32);
nullable_number!(i64, Int64Type, ColumnType::Int64);
nullable_number!(f32, Float32Type, ColumnType::Float32);
nullable_number!(f64, Float64Type, ColumnType::Float64);

/// A value that is always there is a nullable one without nulls.
macro_rules! required {
    ($native:ty) => {
        impl Cell for $native {
            const TYPE: ColumnType = <Option<$native> as Cell>::TYPE;
            const NULLABLE: bool = false;

            fn to_array<'a>(
                values: impl Iterator<Item = &'a Self>,
            ) -> Result<ArrayRef, ArrowError> {
                let values: Vec<_> = values.cloned().map(Some).collect();
                <Option<$native> as Cell>::to_array(values.iter())
            }

            fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
                <Option<$native> as Cell>::from_array(array)?.into_iter().map(no_null).collect()
            }
        }
    };
}

required!(String);
required!(Vec<u8>);
required!(bool);
required!(i32);
required!(i64);
required!(f32);
required!(f64);

/// Counts are unsigned here and 64-bit signed in the files, for readers that make unsigned
/// columns decimals.
macro_rules! count {
    ($native:ty) => {
        impl Cell for $native {
            const TYPE: ColumnType = ColumnType::Int64;
            const NULLABLE: bool = false;

            fn to_array<'a>(
                values: impl Iterator<Item = &'a Self>,
            ) -> Result<ArrayRef, ArrowError> {
                let signed = values.map(|&n| i64::try_from(n).map_err(|_| out_of_range(n)));
                i64::to_array(signed.collect::<Result<Vec<_>, _>>()?.iter())
            }

            fn from_array(array: &dyn Array) -> Result<Vec<Self>, ArrowError> {
                let signed = i64::from_array(array)?.into_iter();
                signed.map(|n| <$native>::try_from(n).map_err(|_| out_of_range(n))).collect()
            }
        }
    };
}

count!(u32);
count!(u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_where_none_may_be_is_an_error() {
        let array = Option::<f32>::to_array([Some(1.0), None].iter()).unwrap();
        assert_eq!(Option::<f32>::from_array(&array).unwrap(), [Some(1.0), None]);
        assert!(f32::from_array(&array).unwrap_err().to_string().contains("null"));
    }

    #[test]
    fn a_column_of_another_type_is_an_error() {
        let array = i32::to_array([1, 2].iter()).unwrap();
        let problem = i64::from_array(&array).unwrap_err().to_string();
        assert!(problem.contains("expected int64, found Int32"), "{problem}");
    }

    #[test]
    fn counts_out_of_range_are_errors_both_ways() {
        assert!(u64::to_array([u64::MAX].iter()).is_err());
        let array = i64::to_array([-1].iter()).unwrap();
        assert!(u64::from_array(&array).is_err());
        let array = i64::to_array([1 << 32].iter()).unwrap();
        assert!(u32::from_array(&array).is_err());
    }
}
