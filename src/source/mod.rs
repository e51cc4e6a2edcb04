//! Where images come from. A [`Location`](crate::store::Location) goes in, a [`Listing`] of
//! [`Shard`]s comes out, in which every image of the input is one [`Entry`]: a [`Sample`] to
//! score, or rejected with its reason; or a file of images is one, an [`Archive`]. A new layout is
//! one more file here, a function of the names below the input; a new kind of store is one more
//! [`Input`]. Never here: opening an image. Listing reads names, sizes and, for `visa`, the CSV
//! files.

mod archive;
mod blocks;
mod budget;
mod category;
mod drafts;
mod fetch;
mod file_place;
mod folder;
mod input;
mod label;
mod label_words;
mod layout;
mod left;
mod listing;
mod masks;
mod member;
mod mvtec;
mod open_file;
mod options;
mod parquet;
mod parquet_cells;
mod parquet_schema;
mod pieces;
mod shard;
mod table;
mod table_columns;
mod table_paths;
mod table_rows;
mod tar;
mod tar_index;
mod tar_names;
mod tree;
mod unclear;
mod visa;
mod visa_csv;
mod visa_rows;
mod walk;

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::error::Failure;
use crate::store::FileVersion;

pub use archive::{ArchiveKind, read_archive};
pub use budget::FetchLimits;
pub use category::Category;
pub use fetch::{Fetched, Fetcher, Fetching, FileNames};
pub use input::Input;
pub use label::Label;
pub use layout::{Layout, LayoutChoice};
pub use left::left_of;
pub use listing::{Listing, list, list_bucket, list_train};
pub use member::{Known, Member};
pub use open_file::OpenFile;
pub use options::{Columns, Filter, Glob, ListOptions};
pub use shard::{Shard, ShardSize, Shards};
pub use tar::Ignored;
pub use unclear::Unclear;

/// The extensions that make a file an image, in any case; its content decides how it is read.
pub const PICTURE_EXTENSIONS: [&str; 16] = [
    "png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "jpe", "jfif", "jif", "jfi", "pjpeg",
    "pjp", "dib", "tf8", "btf",
];

/// Extensions of images that are not read: each is a row in `failures` that names its format.
pub(crate) const UNREAD_EXTENSIONS: [&str; 17] = [
    "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "jpx", "jls", "gif", "dng", "cr2", "cr3",
    "nef", "arw", "exr", "psd",
];

/// Where the true mask of an image is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MaskSource {
    /// The layout says nothing: the image has no part in pixel metrics.
    Unknown,
    /// The image is normal, so its mask is empty.
    AllNormal,
    /// Mask files, paths below the input or URIs, not opened yet: together they are the mask. They may
    /// be broken or of another size than the image.
    Files(Box<[Box<str>]>),
}

/// One image to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path below the input, `/`-separated, or what a table calls it; unique in a listing.
    pub image_id: Box<str>,
    /// Its file, where that is not the id: a path below the input, or a URI.
    pub file: Option<Box<str>>,
    /// Tells this content from another one, where the place says so.
    pub version: Option<FileVersion>,
    pub category: Category,
    /// `None` where the layout has no label for it.
    pub label: Option<Label>,
    /// What is wrong with it, in the words of the data set: `crack`.
    pub kind: Option<Arc<str>>,
    pub mask: MaskSource,
    /// Values of the columns that are kept, as a JSON list of texts and nulls.
    pub kept: Option<Box<str>>,
}

impl Sample {
    /// Where its file is: a path below the input, or a URI.
    pub fn file(&self) -> &str {
        self.file.as_ref().unwrap_or(&self.image_id)
    }
}

/// One image of the input, whatever becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// To be scored.
    Sample(Sample),
    /// Cannot be scored, and this is why: a row of `failures`.
    Rejected(Box<Rejected>),
    /// A file with images in it, a shard by itself. Which ones shows when it is read.
    Archive(Archive),
}

/// A file with images in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Path below the input; the names of its images follow it.
    pub image_id: Box<str>,
    pub kind: ArchiveKind,
    /// Tells this content from another one, where the place says so.
    pub version: Option<FileVersion>,
    /// Its size as it was listed, if that is known.
    pub bytes: Option<u64>,
    /// Of the images that the archive gives no category.
    pub category: Category,
    /// How many of its images count at most, its first ones.
    pub most: Option<NonZeroU64>,
}

impl Archive {
    /// Whether an image counts that has so many before it.
    pub fn counts(&self, before: usize) -> bool {
        self.most.is_none_or(|most| (before as u64) < most.get())
    }
}

/// An image that cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub image_id: Box<str>,
    /// Where it is, if its id does not tell.
    pub uri: Option<String>,
    pub category: Category,
    pub failure: Failure,
}

impl Entry {
    /// Path below the input, `/`-separated; unique in a listing.
    pub fn image_id(&self) -> &str {
        match self {
            Entry::Sample(sample) => &sample.image_id,
            Entry::Rejected(rejected) => &rejected.image_id,
            Entry::Archive(archive) => &archive.image_id,
        }
    }

    /// The category that the entry counts for.
    pub fn category(&self) -> &Category {
        match self {
            Entry::Sample(sample) => &sample.category,
            Entry::Rejected(rejected) => &rejected.category,
            Entry::Archive(archive) => &archive.category,
        }
    }
}
