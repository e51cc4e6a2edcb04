//! Generated archives, each with the images that must come out of it, in their order.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::{ArrayRef, BinaryArray, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use tar::{EntryType, Header};

/// An archive.
#[derive(Debug, Clone)]
pub struct Packed {
    pub bytes: Vec<u8>,
    /// Their bytes; `None`: the image is there and cannot be read.
    pub images: Vec<Option<Vec<u8>>>,
}

/// A member of a tar.
#[derive(Debug, Clone)]
enum Part {
    /// Folder, key, ending.
    Image(&'static str, &'static str, &'static str),
    /// Folder and key of `<key>_mask.png`: a mask if there is an image that it is named after.
    NamedMask(&'static str, &'static str),
    /// A link to the image before it, or to nothing.
    Link(&'static str, &'static str, EntryType, bool),
    /// What is beside the images: sidecars, notes, what systems leave behind, folders.
    Beside(String, EntryType),
}

const FOLDERS: [&str; 5] = ["", "nut/", "v1.0/line 4/", "./b/", "süß/"];
/// More than the 100 bytes that the header of a member has for a name.
const LONG: &str = "long0long1long2long3long4long5long6long7long8long9long0long1long2long3long4long5long6long7long8long9/";
const KEYS: [&str; 7] =
    ["0", "1", "cam1.2024-01-01", "cam1.2024-01-02", "cam1", "x_y", "0001.left.v2"];
const IMAGES: [&str; 8] =
    [".png", ".JPG", ".Jpeg", ".tif", ".left.png", ".right.PNG", ".jfif", ".WebP"];
const BESIDE: [&str; 12] = [
    ".cls",
    ".CLS",
    ".json",
    ".Json",
    ".mask.png",
    ".Seg.PNG",
    ".0.mask.jpg",
    ".txt",
    "",
    ".npy",
    ".png.bak",
    ".tar",
];

fn any_part() -> impl Strategy<Value = Part> {
    let folder = || prop::sample::select([&FOLDERS[..], &[LONG]].concat());
    let key = || prop::sample::select(&KEYS[..]);
    let image = (folder(), key(), prop::sample::select(&IMAGES[..]))
        .prop_map(|(folder, key, ending)| Part::Image(folder, key, ending));
    let kind = prop::sample::select(vec![EntryType::Link, EntryType::Symlink]);
    let link = (prop::sample::select(&FOLDERS[..3]), key(), kind, any::<bool>())
        .prop_map(|(folder, key, kind, dangles)| Part::Link(folder, key, kind, dangles));
    let beside = (folder(), key(), prop::sample::select(&BESIDE[..]))
        .prop_map(|(folder, key, ending)| (format!("{folder}{key}{ending}"), EntryType::Regular));
    // The other fork of a file, and thumbnails.
    let junk = (folder(), key(), prop::sample::select(&IMAGES[..]), any::<bool>()).prop_map(
        |(folder, key, ending, fork)| {
            let name =
                if fork { format!("._{key}{ending}") } else { format!("@eaDir/{key}{ending}") };
            (format!("{folder}{name}"), EntryType::Regular)
        },
    );
    // A folder is none of the images, even if it is called like one.
    let directory = (folder(), key(), any::<bool>()).prop_map(|(folder, key, image)| {
        let ending = if image { ".png/" } else { "/" };
        (format!("{folder}{key}{ending}"), EntryType::Directory)
    });
    let beside = prop_oneof![3 => beside, 1 => junk, 1 => directory];
    let beside = beside.prop_map(|(name, kind)| Part::Beside(name, kind));
    let mask = (folder(), key()).prop_map(|(folder, key)| Part::NamedMask(folder, key));
    prop_oneof![4 => image, 1 => link, 3 => beside, 1 => mask]
}

/// Images, links to them, sidecars and junk in any order; a key may have several images, and a name
/// may come twice.
pub fn any_tar() -> impl Strategy<Value = Packed> {
    prop::collection::vec(any_part(), 0..20).prop_map(|parts| tar_of(&parts))
}

/// A tar of one image.
pub fn one_image(bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "good.png", EntryType::Regular, bytes);
    tar.into_inner().unwrap()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: EntryType, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// A path as its name in the tar.
fn plain(folder: &str, rest: &str) -> String {
    format!("{folder}{rest}").trim_start_matches("./").to_owned()
}

fn tar_of(parts: &[Part]) -> Packed {
    let mut tar = tar::Builder::new(Vec::new());
    let mut images = Vec::new();
    let keys = parts.iter().filter_map(|part| match part {
        Part::Image(folder, key, _) | Part::Link(folder, key, ..) => Some(plain(folder, key)),
        Part::NamedMask(folder, key) => Some(plain(folder, key) + "_mask"),
        _ => None,
    });
    let keys = keys.collect::<Vec<_>>();
    // Where a link may lead: names of images that no other file has.
    let mut named = HashMap::new();
    for (n, part) in parts.iter().enumerate() {
        // Every image has bytes of its own, so that none stands for another one.
        let bytes = format!("image {n}").into_bytes();
        match part {
            Part::Image(folder, key, ending) => {
                append(&mut tar, &format!("{folder}{key}{ending}"), EntryType::Regular, &bytes);
                named.entry(plain(folder, &format!("{key}{ending}"))).or_insert(bytes.clone());
                images.push(Some(bytes));
            }
            Part::Link(folder, key, kind, dangles) => {
                let target = named.iter().filter(|(name, _)| name.len() < 80).min();
                let (target, bytes) = match target {
                    Some((name, bytes)) if !dangles => (name.clone(), Some(bytes.clone())),
                    _ => ("gone/for/good.png".to_owned(), None),
                };
                let up = "../".repeat(folder.matches('/').count());
                let shown = match kind {
                    EntryType::Symlink => format!("{up}{target}"),
                    _ => target,
                };
                let mut header = Header::new_gnu();
                header.set_entry_type(*kind);
                header.set_size(0);
                // Called like no other image.
                let name = format!("{folder}{key}.link{n}.png");
                tar.append_link(&mut header, name, shown).unwrap();
                images.push(bytes);
            }
            Part::NamedMask(folder, key) => {
                append(&mut tar, &format!("{folder}{key}_mask.png"), EntryType::Regular, &bytes);
                let key = plain(folder, key);
                let is_of = |of: &String| *of == key || of.starts_with(&format!("{key}."));
                if !keys.iter().any(is_of) {
                    images.push(Some(bytes));
                }
            }
            Part::Beside(name, EntryType::Directory) => {
                append(&mut tar, name, EntryType::Directory, b"");
            }
            Part::Beside(name, kind) => append(&mut tar, name, *kind, b"0"),
        }
    }
    Packed { bytes: tar.into_inner().unwrap(), images }
}

/// A cell of the column of images.
fn any_image() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::weighted(0.85, prop::collection::vec(any::<u8>(), 1..40))
}

/// Rows with and without an image, plain or as Hugging Face has them, whose names may be equal.
pub fn any_parquet() -> impl Strategy<Value = Packed> {
    let names = prop::sample::select(vec![
        None,
        Some(""),
        Some("a.png"),
        Some("b/c.png"),
        Some("a.png (2)"),
    ]);
    let rows = prop::collection::vec((any_image(), names), 1..40);
    let column = prop::sample::select(vec!["image", "Img", "photo", "front camera"]);
    let compression = prop::sample::select(vec![
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ]);
    (rows, column, any::<bool>(), 1..9usize, any::<bool>(), compression).prop_map(
        |(rows, column, is_group, group_rows, dictionary, compression)| {
            let images = rows.iter().map(|(image, _)| image.clone()).collect::<Vec<_>>();
            let files: ArrayRef = Arc::new(BinaryArray::from_iter(images.iter()));
            let names: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)));
            let group = || {
                let field = |name, kind| Arc::new(Field::new(name, kind, true));
                let fields = vec![field("bytes", DataType::Binary), field("path", DataType::Utf8)];
                // A row without an image has no group at all.
                let there = NullBuffer::from_iter(images.iter().map(Option::is_some));
                let columns = vec![files.clone(), names.clone()];
                StructArray::new(fields.into(), columns, Some(there))
            };
            let column_of_images = if is_group { Arc::new(group()) } else { files.clone() };
            let columns = [("somebody's", names.clone()), (column, column_of_images)];
            let columns = columns.map(|(name, values)| (name, values, true));
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let properties = WriterProperties::builder()
                .set_max_row_group_row_count(Some(group_rows))
                .set_dictionary_enabled(dictionary)
                .set_compression(compression)
                .build();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            Packed { bytes: writer.into_inner().unwrap(), images }
        },
    )
}
