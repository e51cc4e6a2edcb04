//! Names of the files of an output: Hive folders, part names, ids.
//!
//! A category may hold any character; it is escaped as Hive and Spark do it, which every reader
//! undoes. Ids must be plain, since they are part of file names as they are.

use chrono::NaiveDate;

use super::{ColumnInfo, ColumnType, Stored, Table};
use crate::error::TableError;

/// ASCII characters that Hive escapes in folder names, beside the control characters. Others,
/// spaces and non-ASCII among them, stay: Hive and Spark unescape byte by byte, so an escaped
/// "ü" would come back as two characters.
const HIVE_ESCAPED: &str = "\"#%'*/:=?\\{[]^";

/// The partition columns, which the folder names hold.
pub(super) fn partition_columns() -> [ColumnInfo; 2] {
    let column = |name, column_type, about| ColumnInfo {
        name,
        column_type,
        nullable: false,
        about,
        stored: Stored::InFolderName,
    };
    [
        column("run_date", ColumnType::Date, "Day of the run, as given or UTC."),
        column("category", ColumnType::Text, "Category of the images."),
    ]
}

/// `value` as part of a Hive folder name.
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_ascii_control() || HIVE_ESCAPED.contains(c) {
            // Only ASCII comes here: a code of two hexadecimal digits.
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The file of `table` for one category and shard, relative to the output.
pub(super) fn part_path(
    table: Table,
    run_date: NaiveDate,
    category: &str,
    run_id: &str,
    shard_id: &str,
) -> String {
    let table = table.as_str();
    let category = escape(category);
    format!("{table}/run_date={run_date}/category={category}/{}", part_name(run_id, shard_id))
}

/// Where the files of references lie.
pub const REFERENCE_FOLDER: &str = "_filo/reference";

/// The file of a category's references, relative to the output.
pub fn reference_path(category: &str) -> String {
    format!("{REFERENCE_FOLDER}/{}.safetensors", escape(category))
}

/// The file's name alone, which a shard's parts of all tables and categories share.
pub(super) fn part_name(run_id: &str, shard_id: &str) -> String {
    format!("part-{run_id}-{shard_id}.parquet")
}

/// Checks that `id` can be part of a file name as it is.
pub(super) fn check_id(what: &'static str, id: &str) -> Result<(), TableError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&id.len()) && id.chars().all(plain) {
        return Ok(());
    }
    let rule = "use 1 to 64 ASCII letters, digits, - and _";
    Err(TableError::BadName { what, name: id.to_string(), rule })
}

/// Checks that `category` names a folder and is none of the two summary rows of `metrics`.
pub(super) fn check_category(category: &str) -> Result<(), TableError> {
    let rule = match category {
        "" => "it is empty, Hive would read it as null",
        super::ALL_CATEGORIES | super::MEAN_OF_CATEGORIES => {
            "the metrics table uses that name for its summary rows"
        }
        _ => return Ok(()),
    };
    Err(TableError::BadName { what: "category", name: category.to_string(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_escaped_as_hive_does_it() {
        assert_eq!(escape("metal nut"), "metal nut");
        assert_eq!(escape("a/b=c%20"), "a%2Fb%3Dc%2520");
        assert_eq!(escape("Mutter M3 süß"), "Mutter M3 süß");
        assert_eq!(escape("tab\tquote\""), "tab%09quote%22");
    }

    #[test]
    fn ids_that_would_leave_the_folder_are_refused() {
        assert!(check_id("run id", "0f-a_Z").is_ok());
        for id in ["", "..", "a/b", "a b", "ü", &"a".repeat(65)] {
            assert!(check_id("run id", id).is_err(), "{id}");
        }
    }
}
