//! Labels written where people write them, and read back through the program's own listing and
//! reading of archives: one image per label, in this order.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int32Array, Int64Array, LargeStringArray, StringArray,
};
use filo::source::{
    ArchiveKind, Entry, Label, LayoutChoice, ListOptions, Listing, list, read_archive,
};
use filo::store::Location;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// Whether an image is anomalous, and its defect type, unless that only repeats the label.
pub type Said = (Option<bool>, Option<String>);

/// How a column has its values.
#[derive(Debug, Clone, Copy)]
pub enum Typed {
    Text,
    LargeText,
    Bytes,
    Dictionary,
    /// Lists of one value each.
    List,
    Float32,
    Float64,
    Int8,
    Int32,
    Int64,
}

fn listed(folder: &Path, choice: LayoutChoice) -> Listing {
    list(&Location::local(folder), &ListOptions { layout: choice, ..ListOptions::default() })
        .unwrap()
}

fn is_anomalous(label: Option<Label>) -> Option<bool> {
    label.map(|label| label == Label::Anomalous)
}

/// What the archive with these bytes says of its images.
fn of_archive(bytes: &[u8], kind: ArchiveKind) -> Vec<Said> {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("a.{}", kind.as_str());
    std::fs::write(folder.path().join(&name), bytes).unwrap();
    let listing = listed(folder.path(), LayoutChoice::Auto);
    let file = listing.input.open_file(&name, None, None).unwrap();
    let mut said = Vec::new();
    read_archive(file, kind, &filo::source::Columns::default(), 1 << 20, |member| {
        assert!(member.picture.is_ok(), "{member:?}");
        let label = is_anomalous(member.known.label);
        // Words that say whether it is good are kept as they are; they name no type of defect.
        let kind = member.known.kind.filter(|kind| names_a_type(kind));
        said.push((label, kind));
        ControlFlow::Continue(())
    });
    said
}

/// True unless the table has the word as one that says no more than good or bad.
fn names_a_type(kind: &str) -> bool {
    use super::written::{MEANING, Meaning};
    let row = MEANING.iter().find(|(word, _)| word.to_lowercase() == kind.trim().to_lowercase());
    row.is_none_or(|(_, meaning)| !matches!(meaning, Meaning::Normal | Meaning::Anomalous))
}

fn tar(files: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Images with a sidecar each.
fn sidecars(ending: &str, texts: impl Iterator<Item = String>) -> Vec<Said> {
    let files = texts.enumerate().flat_map(|(n, text)| {
        [(format!("{n:03}.{ending}"), text.into_bytes()), (format!("{n:03}.png"), vec![1])]
    });
    of_archive(&tar(files), ArchiveKind::Tar)
}

/// Files `.cls`.
pub fn class_files(texts: &[&str]) -> Vec<Said> {
    sidecars("cls", texts.iter().map(|text| text.to_string()))
}

/// Files `.json` with a key `label`.
pub fn json_files(labels: impl Iterator<Item = serde_json::Value>) -> Vec<Said> {
    sidecars("json", labels.map(|label| serde_json::json!({"label": label}).to_string()))
}

/// A Parquet file whose column `label` has these values.
fn column(labels: ArrayRef, header: Option<String>) -> Vec<Said> {
    let images = BinaryArray::from_iter_values((0..labels.len()).map(|_| [1]));
    let columns: [(&str, ArrayRef); 2] = [("image", Arc::new(images)), ("label", labels)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let header = header.map(|header| vec![KeyValue::new("huggingface".to_owned(), header)]);
    let properties = WriterProperties::builder().set_key_value_metadata(header).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    of_archive(&writer.into_inner().unwrap(), ArchiveKind::Parquet)
}

pub fn column_of_words(texts: &[&str], typed: Typed) -> Vec<Said> {
    let texts = texts.iter().copied();
    let labels: ArrayRef = match typed {
        Typed::LargeText => Arc::new(LargeStringArray::from_iter_values(texts)),
        Typed::Bytes => Arc::new(BinaryArray::from_iter_values(texts)),
        Typed::Dictionary => Arc::new(texts.collect::<DictionaryArray<Int32Type>>()),
        Typed::List => lists(texts.map(|text| vec![text.to_owned()])),
        _ => Arc::new(StringArray::from_iter_values(texts)),
    };
    column(labels, None)
}

pub fn column_of_numbers(numbers: &[f64], typed: Typed) -> Vec<Said> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let numbers = numbers.iter().copied();
    let labels: ArrayRef = match typed {
        Typed::Float32 => Arc::new(Float32Array::from_iter_values(numbers.map(|n| n as f32))),
        Typed::Float64 => Arc::new(Float64Array::from_iter_values(numbers)),
        Typed::Int8 => Arc::new(Int8Array::from_iter_values(numbers.map(|n| n as i8))),
        Typed::Int32 => Arc::new(Int32Array::from_iter_values(numbers.map(|n| n as i32))),
        Typed::Int64 => Arc::new(Int64Array::from_iter_values(numbers.map(|n| n as i64))),
        Typed::List => lists(numbers.map(|n| vec![n.to_string()])),
        _ => Arc::new(StringArray::from_iter_values(numbers.map(|n| n.to_string()))),
    };
    column(labels, None)
}

pub fn column_of_truths(truths: &[bool]) -> Vec<Said> {
    column(Arc::new(BooleanArray::from(truths.to_vec())), None)
}

pub fn column_of_lists(texts: &[Vec<String>]) -> Vec<Said> {
    column(lists(texts.iter().cloned()), None)
}

fn lists(values: impl Iterator<Item = Vec<String>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        builder.append_value(list.into_iter().map(Some));
    }
    Arc::new(builder.finish())
}

/// Numbers that the file's own header has these names for, as Hugging Face writes it.
pub fn column_of_classes(names: &[&str]) -> Vec<Said> {
    let features = serde_json::json!({"label": {"names": names, "_type": "ClassLabel"}});
    let header = serde_json::json!({"info": {"features": features}}).to_string();
    let numbers = Int64Array::from_iter_values(0..names.len() as i64);
    column(Arc::new(numbers), Some(header))
}

/// What the listing of a folder says of its images.
fn of_listing(folder: &Path, choice: LayoutChoice) -> Vec<Said> {
    let listing = listed(folder, choice);
    let entries = listing.shards.into_iter().flat_map(|shard| shard.entries);
    let said = entries.map(|entry| match entry {
        Entry::Sample(sample) => {
            (is_anomalous(sample.label), sample.kind.map(|kind| kind.to_string()))
        }
        other => panic!("{other:?}"),
    });
    said.collect()
}

fn image(folder: &Path, name: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "image").unwrap();
}

/// A category of VisA and the rows of its images, each with the cells that `row` gives.
fn visa(texts: &[&str], place: &str, header: &[&str], delimiter: char, row: Row) -> Vec<Said> {
    let folder = tempfile::tempdir().unwrap();
    let mut table = header.join(&delimiter.to_string());
    for (n, text) in texts.iter().enumerate() {
        let name = format!("nut/Data/Images/Normal/{n:03}.JPG");
        image(folder.path(), &name);
        // Always between quotes, which a label may have inside.
        let cells = row(&name, text).map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        table.push('\n');
        table.push_str(&cells.join(&delimiter.to_string()));
    }
    let path = folder.path().join(place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, table).unwrap();
    of_listing(folder.path(), LayoutChoice::Visa)
}

type Row = fn(&str, &str) -> [String; 5];

/// `image_anno.csv`; columns of others are allowed.
pub fn annotations(texts: &[&str], delimiter: char) -> Vec<Said> {
    let row: Row = |name, text| [name, text, "", "x", "y"].map(str::to_owned);
    let header = ["image", "label", "mask", "more", "still more"];
    visa(texts, "nut/image_anno.csv", &header, delimiter, row)
}

/// `split_csv/1cls.csv`.
pub fn split(texts: &[&str], delimiter: char) -> Vec<Said> {
    let row: Row = |name, text| ["nut", "test", text, name, ""].map(str::to_owned);
    let header = ["object", "split", "label", "image", "mask"];
    visa(texts, "split_csv/1cls.csv", &header, delimiter, row)
}

/// A table that lists images: CSV, JSON Lines or Parquet by its extension.
pub fn listed_rows(texts: &[&str], extension: &str) -> Vec<Said> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("t.{extension}"));
    // In a bucket, so that no file is looked at.
    let images = (0..texts.len()).map(|n| format!("s3://box/{n:03}.png")).collect::<Vec<_>>();
    let rows = images.iter().zip(texts);
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let bytes = match extension {
        "jsonl" => rows
            .map(|(image, text)| {
                serde_json::json!({"image": image, "label": text}).to_string() + "\n"
            })
            .collect::<String>()
            .into_bytes(),
        "parquet" => {
            let labels = StringArray::from_iter_values(texts);
            let images = StringArray::from_iter_values(&images);
            let columns: [(&str, ArrayRef); 2] =
                [("image", Arc::new(images)), ("label", Arc::new(labels))];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.into_inner().unwrap()
        }
        _ => {
            let rows = rows.map(|(image, text)| format!("{image},{}\n", quoted(text)));
            ("image,label\n".to_owned() + &rows.collect::<String>()).into_bytes()
        }
    };
    std::fs::write(&path, bytes).unwrap();
    let mut said = of_listing(&path, LayoutChoice::Auto);
    for (_, kind) in &mut said {
        *kind = kind.take().filter(|kind| names_a_type(kind));
    }
    said
}

/// Folders of test images in MVTec's layout, each with its slash, without any masks.
pub fn folders(names: &[&str]) -> Vec<Said> {
    if names.is_empty() {
        return Vec::new();
    }
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        image(folder.path(), &format!("nut/test/{name}0.png"));
    }
    of_listing(folder.path(), LayoutChoice::Mvtec)
}
