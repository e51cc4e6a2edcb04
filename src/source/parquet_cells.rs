//! Cells of a table: files, lists and texts, whatever type the column has. In: a column and a row. Out:
//! the value, or `None` where the cell is empty or of another kind.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

/// Whether a column of this type holds files.
pub(super) fn is_file(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary => true,
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| field.name() == "bytes" && *field.data_type() == DataType::Binary),
        _ => false,
    }
}

/// The bytes in a row of a column of files.
pub(super) fn bytes_of(column: &ArrayRef, row: usize) -> Option<&[u8]> {
    let bytes = match column.as_struct_opt() {
        Some(group) if group.is_valid(row) => group.column_by_name("bytes")?,
        Some(_) => return None,
        None => column,
    };
    let bytes = bytes.as_binary_opt::<i32>()?;
    bytes.is_valid(row).then(|| bytes.value(row))
}

/// The name beside the bytes.
pub(super) fn path_of(column: &ArrayRef, row: usize) -> Option<String> {
    let group = column.as_struct_opt().filter(|group| group.is_valid(row))?;
    text_of(group.column_by_name("path")?, row)
}

/// The list in a row of a column of lists.
pub(super) fn list_of(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::List(_) => column.as_list_opt::<i32>().map(|lists| lists.value(row)),
        DataType::LargeList(_) => column.as_list_opt::<i64>().map(|lists| lists.value(row)),
        DataType::FixedSizeList(..) => {
            column.as_fixed_size_list_opt().map(|lists| lists.value(row))
        }
        _ => None,
    }
}

/// The value of a row as text, whatever numbers, dates or words the column has; bytes are text in UTF-8.
///
/// `arrow-cast` would do it too, at a cost: with `arrow-ord`, which it needs, it is a tenth of the
/// time that the whole program takes to build.
pub(super) fn text_of(column: &ArrayRef, row: usize) -> Option<String> {
    if !column.is_valid(row) {
        return None;
    }
    let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string_opt::<i32>()?.value(row).to_owned()),
        DataType::LargeUtf8 => Some(column.as_string_opt::<i64>()?.value(row).to_owned()),
        DataType::Utf8View => Some(column.as_string_view_opt()?.value(row).to_owned()),
        DataType::Binary => utf8(column.as_binary_opt::<i32>()?.value(row)),
        DataType::LargeBinary => utf8(column.as_binary_opt::<i64>()?.value(row)),
        DataType::BinaryView => utf8(column.as_binary_view_opt()?.value(row)),
        DataType::FixedSizeBinary(_) => utf8(column.as_fixed_size_binary_opt()?.value(row)),
        DataType::Boolean => Some(column.as_boolean_opt()?.value(row).to_string()),
        DataType::Int8 => number::<Int8Type>(column, row),
        DataType::Int16 => number::<Int16Type>(column, row),
        DataType::Int32 => number::<Int32Type>(column, row),
        DataType::Int64 => number::<Int64Type>(column, row),
        DataType::UInt8 => number::<UInt8Type>(column, row),
        DataType::UInt16 => number::<UInt16Type>(column, row),
        DataType::UInt32 => number::<UInt32Type>(column, row),
        DataType::UInt64 => number::<UInt64Type>(column, row),
        DataType::Float16 => number::<Float16Type>(column, row),
        DataType::Float32 => number::<Float32Type>(column, row),
        DataType::Float64 => number::<Float64Type>(column, row),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(column, row),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(column, row),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(column, row),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(column, row),
        DataType::Date32 => time::<Date32Type>(column, row, "%F"),
        DataType::Date64 => time::<Date64Type>(column, row, "%F"),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(column, row, "%T%.f"),
        DataType::Time32(_) => time::<Time32MillisecondType>(column, row, "%T%.f"),
        DataType::Time64(TimeUnit::Microsecond) => {
            time::<Time64MicrosecondType>(column, row, "%T%.f")
        }
        DataType::Time64(_) => time::<Time64NanosecondType>(column, row, "%T%.f"),
        DataType::Timestamp(unit, zone) => {
            // With a zone it is a point in time, which is stored as UTC whatever the zone.
            let format = if zone.is_some() { "%FT%T%.fZ" } else { "%FT%T%.f" };
            match unit {
                TimeUnit::Second => time::<TimestampSecondType>(column, row, format),
                TimeUnit::Millisecond => time::<TimestampMillisecondType>(column, row, format),
                TimeUnit::Microsecond => time::<TimestampMicrosecondType>(column, row, format),
                TimeUnit::Nanosecond => time::<TimestampNanosecondType>(column, row, format),
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary_opt()?;
            let values = dictionary.values();
            let keys = dictionary.keys().slice(row, 1);
            let key = text_of(&keys, 0)?.parse().ok().filter(|key| *key < values.len())?;
            text_of(values, key)
        }
        _ => None,
    }
}

/// A number as it is read back: 1 is an integer, 1.0 none.
fn number<T: ArrowPrimitiveType>(column: &dyn Array, row: usize) -> Option<String> {
    Some(format!("{:?}", column.as_primitive_opt::<T>()?.value(row)))
}

fn decimal<T: DecimalType>(column: &dyn Array, row: usize) -> Option<String> {
    Some(column.as_primitive_opt::<T>()?.value_as_string(row))
}

fn time<T>(column: &dyn Array, row: usize, format: &str) -> Option<String>
where
    T: ArrowTemporalType,
    i64: From<T::Native>,
{
    let time = column.as_primitive_opt::<T>()?.value_as_datetime(row)?;
    Some(time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
        Int8Array, LargeStringArray, StringArray, StringViewArray, Time32MillisecondArray,
        TimestampMicrosecondArray, UInt64Array,
    };

    use super::*;

    fn texts(column: impl Array + 'static) -> Vec<Option<String>> {
        let column: ArrayRef = Arc::new(column);
        (0..column.len()).map(|row| text_of(&column, row)).collect()
    }

    #[track_caller]
    fn check(column: impl Array + 'static, expected: &[Option<&str>]) {
        let texts = texts(column);
        assert_eq!(texts.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_cell_of_any_type_is_text() {
        check(Int8Array::from(vec![Some(-1), None]), &[Some("-1"), None]);
        check(UInt64Array::from(vec![u64::MAX]), &[Some("18446744073709551615")]);
        check(Float32Array::from(vec![0.7, 1.0]), &[Some("0.7"), Some("1.0")]);
        check(Float64Array::from(vec![f64::NAN, -0.5]), &[Some("NaN"), Some("-0.5")]);
        check(LargeStringArray::from(vec!["ok"]), &[Some("ok")]);
        check(
            StringViewArray::from(vec![Some("a view of a long text"), None]),
            &[Some("a view of a long text"), None],
        );
        check(BinaryArray::from_vec(vec![b"good", &[0xff]]), &[Some("good"), None]);
        check(
            vec![Some("b"), None, Some("a")].into_iter().collect::<DictionaryArray<Int8Type>>(),
            &[Some("b"), None, Some("a")],
        );
        let amounts =
            Decimal128Array::from(vec![12_345, -5]).with_precision_and_scale(9, 2).unwrap();
        check(amounts, &[Some("123.45"), Some("-0.05")]);
    }

    #[test]
    fn days_and_times_are_as_in_iso_8601() {
        check(Date32Array::from(vec![0, 20_786]), &[Some("1970-01-01"), Some("2026-11-29")]);
        check(Time32MillisecondArray::from(vec![45_296_789]), &[Some("12:34:56.789")]);
        let moments = || TimestampMicrosecondArray::from(vec![1_795_953_600_000_000]);
        check(moments(), &[Some("2026-11-29T12:00:00")]);
        check(moments().with_timezone("+02:00"), &[Some("2026-11-29T12:00:00Z")]);
        check(Date32Array::from(vec![i32::MAX]), &[None]);
    }

    #[test]
    fn a_group_or_a_list_is_no_text() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let group = arrow_array::StructArray::try_from(vec![("bytes", texts)]).unwrap();
        check(group, &[None]);
    }
}
