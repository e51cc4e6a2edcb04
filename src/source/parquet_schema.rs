//! What the footer of a Parquet file says: which column holds the images, how others are written, and
//! the names that Hugging Face's header has for numbers. Never here: reading rows.

use arrow_schema::Schema;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

use super::blocks::Blocks;
use super::parquet_cells::is_file;

/// The column of images.
pub(super) const IMAGE: &str = "image";

/// What it is called in sets of others.
const USUAL: [&str; 9] =
    ["image", "img", "images", "picture", "photo", "jpg", "png", "image_bytes", "pixels"];

/// What a file's footer says; types are those that are stored, whatever somebody's Arrow header says.
pub(super) fn metadata_of(blocks: &Blocks) -> ParquetResult<ArrowReaderMetadata> {
    ArrowReaderMetadata::load(blocks, ArrowReaderOptions::new().with_skip_arrow_metadata(true))
}

/// The column of this name, in any case as in other tables; the exact name comes first.
pub(super) fn column_named(schema: &Schema, name: &str) -> Option<String> {
    let mut fields = schema.fields().iter().map(|field| field.name());
    let exact = schema.field_with_name(name).ok().map(|field| field.name());
    exact.or_else(|| fields.find(|found| found.eq_ignore_ascii_case(name))).cloned()
}

/// The column `chosen`, if it has images.
pub(super) fn chosen_column<'a>(schema: &'a Schema, chosen: &str) -> Result<&'a str, String> {
    match schema.field_with_name(chosen) {
        Ok(field) if is_file(field.data_type()) => Ok(field.name()),
        Ok(_) => Err(format!(
            "column `{chosen}` has neither the bytes of images nor groups of `bytes` and `path`; if \
             it has their paths, --layout table reads them"
        )),
        Err(_) => Err(format!("no column `{chosen}`: its columns are {}", names(schema))),
    }
}

fn names(schema: &Schema) -> String {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The column that has the images: `image`, else one of its usual names in any case, else the only one
/// that holds files and is not the mask.
pub(super) fn image_column(schema: &Schema) -> Result<&str, String> {
    let files = schema.fields().iter().filter(|field| is_file(field.data_type()));
    let files = files.map(|field| field.name().as_str()).collect::<Vec<_>>();
    let named = |wanted: &str| files.iter().find(|name| name.eq_ignore_ascii_case(wanted));
    if let Some(name) = files
        .iter()
        .find(|name| **name == IMAGE)
        .or_else(|| USUAL.iter().find_map(|name| named(name)))
    {
        return Ok(name);
    }
    let others = files.iter().filter(|name| !name.to_lowercase().contains("mask"));
    if let [only] = others.collect::<Vec<_>>().as_slice() {
        return Ok(only);
    }
    Err(format!(
        "no column `image` with the bytes of images, or with a group of `bytes` and `path`: its \
         columns are {}; --image-column names one",
        names(schema)
    ))
}

/// The names of the numbers in `label`, as Hugging Face's header has them.
pub(super) fn classes(metadata: &ParquetMetaData) -> Option<Vec<String>> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let header = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
    let header: Value = serde_json::from_str(header).ok()?;
    match &header["info"]["features"]["label"]["names"] {
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        // By number, as older versions write it.
        Value::Object(names) => {
            let name = |at: usize| names.get(&at.to_string())?.as_str().map(str::to_owned);
            (0..names.len()).map(name).collect()
        }
        _ => None,
    }
}
