//! Cells of a table: files, lists and texts, whatever type the column has. In: a column and a row. Out:
//! the value, or `None` where the cell is empty or of another kind.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

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

/// A column as text, whatever numbers or words it has; bytes are text in UTF-8.
pub(super) fn texts_of(column: &ArrayRef) -> Option<ArrayRef> {
    let lossless = match column.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            &cast(column, &DataType::Binary).ok()?
        }
        _ => column,
    };
    cast(lossless, &DataType::Utf8).ok()
}

/// The value of a row as text.
pub(super) fn text_at(column: &ArrayRef, row: usize) -> Option<String> {
    let texts = texts_of(&column.slice(row, 1))?;
    text_of(&texts, 0)
}

pub(super) fn text_of(column: &ArrayRef, row: usize) -> Option<String> {
    let texts = column.as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}
