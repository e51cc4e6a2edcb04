//! The tree of an input goes in; which [`Layout`] it has, and why, comes out.
//! Detection looks at folder names only, two levels deep, and prefers a wrong `folder` (images
//! without labels) to a wrong `mvtec` or `visa` (images that are not scored).

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tree::Tree;
use super::{ArchiveKind, mvtec, visa};
use crate::error::ValueError;

/// What the user says about the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LayoutChoice {
    /// Detect the layout, and log the reason.
    #[default]
    Auto,
    /// Any tree of images; the first sub-folder is the category; no labels.
    Folder,
    /// `<category>/test/<kind>/*` with masks in `<category>/ground_truth/<kind>/`.
    Mvtec,
    /// `<category>/Data/Images/*` with `image_anno.csv`, or the test rows of `split_csv/1cls.csv`.
    Visa,
    /// Tar files, each image with its `.cls`, `.json` and `.mask.png`.
    Webdataset,
    /// Parquet files with a column `image`, and optionally `mask`, `label`, `kind`, `category`.
    Parquet,
    /// A CSV, JSON Lines or Parquet file that lists images by `image` or `uri`, and optionally
    /// their `category`, `label`, `kind`, `mask` and `id`.
    Table,
}

impl FromStr for LayoutChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| {
            ValueError::new("one of auto, folder, mvtec, visa, webdataset, parquet, table")
        })
    }
}

impl<'de> Deserialize<'de> for LayoutChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayoutChoice::Auto => "auto",
            LayoutChoice::Folder => "folder",
            LayoutChoice::Mvtec => "mvtec",
            LayoutChoice::Visa => "visa",
            LayoutChoice::Webdataset => "webdataset",
            LayoutChoice::Parquet => "parquet",
            LayoutChoice::Table => "table",
        })
    }
}

/// How an input is laid out, as chosen or as detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Folder,
    Mvtec,
    Visa,
    Webdataset,
    Parquet,
    Table,
}

impl Layout {
    /// The text form: `folder`, `mvtec`, `visa`, `webdataset`, `parquet` or `table`.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Folder => "folder",
            Layout::Mvtec => "mvtec",
            Layout::Visa => "visa",
            Layout::Webdataset => "webdataset",
            Layout::Parquet => "parquet",
            Layout::Table => "table",
        }
    }

    /// What images the layout expects, for the message when there are none.
    pub(super) fn looked_for(self) -> &'static str {
        match self {
            Layout::Folder => "png, jpg, jpeg, bmp, tif, tiff and webp files in any folder",
            Layout::Mvtec => "images in <category>/test/<kind>/ (layout mvtec)",
            Layout::Visa => "images in <category>/Data/Images/ or in split_csv/1cls.csv (visa)",
            Layout::Webdataset => "tar files in any folder (layout webdataset)",
            Layout::Parquet => "Parquet files in any folder (layout parquet)",
            Layout::Table => "rows that name an image (layout table)",
        }
    }
}

/// Which images of a data set are listed, where its layout tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// Those that are scored.
    Test,
    /// Those that a network would be trained on: normal ones.
    Train,
}

/// Whether the input is one category, or a folder of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nesting {
    OneCategory,
    ManyCategories,
}

impl Nesting {
    /// One category if `marker` (such as `test`) lies directly in the input.
    pub(super) fn of(tree: &Tree, marker: &str) -> Self {
        if tree.has_folder(marker) { Nesting::OneCategory } else { Nesting::ManyCategories }
    }

    /// Splits an image id into the category's folder, if it has one, and the path inside it.
    pub(super) fn split(self, id: &str) -> Option<(Option<&str>, &str)> {
        match self {
            Nesting::OneCategory => Some((None, id)),
            Nesting::ManyCategories => {
                id.split_once('/').map(|(category, inside)| (Some(category), inside))
            }
        }
    }
}

/// The path of `inside` in `folder`, which may be the root ("").
pub(super) fn below(folder: &str, inside: &str) -> String {
    if folder.is_empty() { inside.to_owned() } else { format!("{folder}/{inside}") }
}

/// The layout of `tree`, with one line that says why.
pub(super) fn decide(tree: &Tree, choice: LayoutChoice) -> (Layout, String) {
    let layout = match choice {
        LayoutChoice::Auto => return detect(tree),
        LayoutChoice::Folder => Layout::Folder,
        LayoutChoice::Mvtec => Layout::Mvtec,
        LayoutChoice::Visa => Layout::Visa,
        LayoutChoice::Webdataset => Layout::Webdataset,
        LayoutChoice::Parquet => Layout::Parquet,
        LayoutChoice::Table => Layout::Table,
    };
    (layout, format!("layout {choice}: chosen by --layout"))
}

fn detect(tree: &Tree) -> (Layout, String) {
    if let Some(found) = marked(tree, mvtec::looks_like_a_category) {
        return (Layout::Mvtec, format!("layout mvtec: {found} test images by kind"));
    }
    if let Some(csv) = visa::split_csv(tree) {
        return (Layout::Visa, format!("layout visa: found {csv}"));
    }
    if let Some(found) = marked(tree, visa::looks_like_a_category) {
        return (Layout::Visa, format!("layout visa: {found} Data/Images"));
    }
    let Files { tars, parquets, images, image_bytes, archive_bytes, .. } = Files::of(tree);
    // A preview beside shards, or a backup beside images: the larger part is what the input is.
    if tars + parquets > 0 && (images == 0 || archive_bytes > image_bytes) {
        let beside = if images == 0 { "no image" } else { "less in images" };
        return match tars {
            0 => (Layout::Parquet, format!("layout parquet: {parquets} Parquet files, {beside}")),
            _ => (Layout::Webdataset, format!("layout webdataset: {tars} tar files, {beside}")),
        };
    }
    let why = "layout folder: neither <category>/test/<kind> nor <category>/Data/Images found";
    (Layout::Folder, why.to_owned())
}

/// What an input has, by the endings of its files.
#[derive(Default)]
struct Files {
    tars: usize,
    parquets: usize,
    images: usize,
    packed: usize,
    archive_bytes: u64,
    image_bytes: u64,
}

impl Files {
    fn of(tree: &Tree) -> Self {
        let mut files = Files::default();
        for found in tree.files() {
            if let Some(kind) = found.archive() {
                files.archive_bytes += found.bytes;
                *match kind {
                    ArchiveKind::Tar => &mut files.tars,
                    ArchiveKind::Parquet => &mut files.parquets,
                } += 1;
            } else if found.is_picture() {
                files.image_bytes += found.bytes;
                files.images += 1;
            } else {
                files.packed += usize::from(PACKED.contains(&found.extension().as_str()));
            }
        }
        files
    }
}

/// Says which files that could be scored are not, since the layout is another one's.
pub(super) fn warn_of_left_out(tree: &Tree, layout: Layout, single: bool) {
    let Files { tars, parquets, images, packed, .. } = Files::of(tree);
    let (tars, parquets, images) = match layout {
        _ if single => (0, 0, 0),
        Layout::Table => (0, 0, 0),
        Layout::Webdataset => (0, parquets, images),
        Layout::Parquet => (tars, 0, images),
        Layout::Folder | Layout::Mvtec | Layout::Visa => (tars, parquets, 0),
    };
    let others = [
        (tars, "tar files", "webdataset"),
        (parquets, "Parquet files", "parquet"),
        (images, "images", "folder"),
    ];
    for (n, what, other) in others.into_iter().filter(|(n, ..)| *n > 0) {
        let layout = layout.as_str();
        tracing::warn!(
            "left out: {n} {what}, since the layout is {layout}; --layout {other} reads them"
        );
    }
    if packed > 0 {
        tracing::warn!("left out: {packed} compressed archives, which are not read: unpack them");
    }
}

/// Extensions of compressed archives.
const PACKED: [&str; 11] =
    ["gz", "tgz", "zst", "tzst", "xz", "txz", "bz2", "tbz", "tbz2", "zip", "7z"];

/// Which folders pass `is_category`: the root itself, or how many of its sub-folders.
fn marked(tree: &Tree, is_category: impl Fn(&Tree, &str) -> bool) -> Option<String> {
    if is_category(tree, "") {
        return Some("the input is one category with".to_owned());
    }
    let folders = tree.subfolders("");
    let n_categories = folders.iter().filter(|folder| is_category(tree, folder)).count();
    let found = format!("{n_categories} of {} sub-folders have", folders.len());
    (n_categories > 0).then_some(found)
}
