//! The whole listing: decide on the layout, let it collect its entries, sort them, count them and
//! cut them into shards. A listing that breaks off is an error, never a shorter listing; what a disk
//! does not show is left out, counted and said.

use std::collections::BTreeMap;
use std::path::Path;

use super::category::Categories;
use super::drafts::{Drafts, Known};
use super::input::{InBucket, OnDisk};
use super::layout::Split;
use super::shard::{Draft, cut};
use super::table::{self, TABLE_EXTENSIONS};
use super::tree::{Found, Keys, Tree, is_readable};
use super::{
    ArchiveKind, Category, Entry, Filter, Input, Layout, LayoutChoice, ListOptions, MaskSource,
    PICTURE_EXTENSIONS, Shard, ShardSize,
};
use super::{archive, folder, layout, mvtec, visa, walk};
use crate::error::SourceError;
use crate::store::{Listed, Location, Store, StoredFile};

/// All entries of an input, and what a log line says about them.
#[derive(Debug)]
pub struct Listing {
    /// Where the files of the entries are.
    pub input: Input,
    pub layout: Layout,
    /// One line: what was detected, and why.
    pub why: String,
    /// In the order of the image ids of their entries.
    pub shards: Vec<Shard>,
    pub n_entries: usize,
    /// Entries that are samples with a label.
    pub n_labelled: usize,
    /// Samples with a mask file.
    pub n_masks: usize,
    /// How many entries each category has.
    pub categories: BTreeMap<Category, usize>,
    /// Files that are no entry, counted by extension (`txt`) or reason (`(hidden)`, `(train)`).
    pub ignored: BTreeMap<String, usize>,
}

/// Lists the input at `location`.
///
/// Nothing is opened but the CSV files of the layout `visa` and the table of the layout `table`.
///
/// # Errors
/// If the input is missing, is a file but no image, has no images, cannot be listed to its
/// end, has a CSV that cannot be parsed, or names a category that is none.
pub fn list(location: &Location, options: &ListOptions) -> Result<Listing, SourceError> {
    let opened = opened(location, options)?;
    list_opened(location, opened, options, Split::Test)
}

/// Lists the images that the layout of the input sets aside for training: in `mvtec` those of
/// `train/good`, in `visa` those of the split `train`.
///
/// Which images of a set are scored, the filter of `options`, says nothing of these.
///
/// # Errors
/// As [`list`]; also if the layout has none.
pub fn list_train(location: &Location, options: &ListOptions) -> Result<Listing, SourceError> {
    let options = ListOptions { filter: Filter::default(), ..options.clone() };
    list_opened(location, opened(location, &options)?, &options, Split::Train)
}

fn opened(location: &Location, options: &ListOptions) -> Result<Opened, SourceError> {
    match location.disk() {
        Some(given) => open_disk(location, given, options),
        None => match InBucket::find(location)? {
            InBucket { location, store, file: None } => {
                open_bucket(&location, store, &options.filter)
            }
            InBucket { location, store, file: Some(file) } => {
                Ok(open_object(&location, store, file))
            }
        },
    }
}

/// Lists the bucket at `location`, which is open already as `store`, as [`list`] does.
///
/// # Errors
/// As [`list`].
pub fn list_bucket(
    location: &Location,
    store: Store,
    options: &ListOptions,
) -> Result<Listing, SourceError> {
    let opened = open_bucket(location, store, &options.filter)?;
    list_opened(location, opened, options, Split::Test)
}

fn list_opened(
    location: &Location,
    opened: Opened,
    options: &ListOptions,
    split: Split,
) -> Result<Listing, SourceError> {
    let Opened { input, mut tree, single, name } = opened;
    let mut categories = Categories::new(options.category.as_ref(), &name);
    let (layout, mut why) = match (single, options.layout) {
        (true, LayoutChoice::Auto) if table::is_one(&tree, &input, &options.columns) => {
            (Layout::Table, "layout table: the input is a file that lists images".to_owned())
        }
        (true, LayoutChoice::Auto)
            if !tree.files().iter().any(|found| found.archive().is_some()) =>
        {
            (Layout::Folder, "layout folder: the input is one file".to_owned())
        }
        _ => layout::decide(&tree, options.layout),
    };
    let has_columns = matches!(layout, Layout::Webdataset | Layout::Parquet | Layout::Table);
    if !options.columns.is_empty() && !has_columns {
        let flag = if options.columns.image.is_some() { "image-column" } else { "keep" };
        return Err(SourceError::NoColumns { flag, layout: layout.as_str() });
    }
    if split == Split::Train && (single || !matches!(layout, Layout::Mvtec | Layout::Visa)) {
        let (uri, layout) = (location.uri().to_owned(), layout.as_str());
        return Err(SourceError::NoTrainingImages { uri, layout });
    }
    layout::warn_of_left_out(&tree, layout, single);
    let mut drafts = match (single, layout) {
        (true, Layout::Folder) => one_picture(&mut tree, &mut categories)?,
        (true, Layout::Mvtec | Layout::Visa) => Drafts::default(),
        (_, Layout::Webdataset) => archive::list(&mut tree, ArchiveKind::Tar, &mut categories)?,
        (_, Layout::Parquet) => archive::list(&mut tree, ArchiveKind::Parquet, &mut categories)?,
        (_, Layout::Table) => table::list(&tree, &input, &options.columns, &mut categories)?,
        (false, Layout::Folder) => folder::list(&mut tree, &mut categories)?,
        (false, Layout::Mvtec) => mvtec::list(&mut tree, &input, &mut categories, split)?,
        (false, Layout::Visa) => visa::list(&mut tree, &input, &mut categories, split)?,
    };
    for (reason, n) in &tree.ignored {
        drafts.ignore_many(reason, *n);
    }
    drafts.choose(&options.filter);
    if drafts.entries.is_empty() && split == Split::Train {
        let (uri, layout) = (location.uri().to_owned(), layout.as_str());
        return Err(SourceError::NoTrainingImages { uri, layout });
    }
    if drafts.entries.is_empty() {
        return Err(no_pictures(location, layout, &drafts.ignored));
    }
    if let Some(unused) = categories.unused_choice() {
        why.push_str(&format!("; --category {unused} is not used, the layout names them"));
    }
    drafts.make_ids_unique();
    Ok(summary(input, layout, why, drafts, options.shard_size))
}

/// An input with the names of all its files.
struct Opened {
    input: Input,
    tree: Tree,
    /// The input is one image.
    single: bool,
    /// Of the folder that the images are in.
    name: String,
}

fn open_disk(
    location: &Location,
    given: &Path,
    options: &ListOptions,
) -> Result<Opened, SourceError> {
    let OnDisk { folder, file } = OnDisk::find(location, given)?;
    let tree = match &file {
        Some(file) => walk::one(&folder, file),
        None => walk::walk(&folder, &options.filter)?,
    };
    let is_read = |found: &Found| {
        is_readable(&found.id)
            || table::is_table(&found.id)
            || options.layout == LayoutChoice::Table
    };
    if file.is_some() && !tree.files().iter().all(is_read) {
        let uri = location.uri().to_owned();
        let extensions = [&PICTURE_EXTENSIONS[..], &TABLE_EXTENSIONS].concat().join(", ");
        return Err(SourceError::NotAPicture { uri, extensions });
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let (input, single) = (Input::disk(&folder), file.is_some());
    Ok(Opened { input, tree, single, name: name.unwrap_or_default() })
}

/// One object of the folder at `location`.
fn open_object(location: &Location, store: Store, file: StoredFile) -> Opened {
    let filter = Filter::default();
    let mut keys = Keys::of(&filter);
    keys.add(file);
    let (tree, input) = (keys.tree(), Input::bucket(location, store));
    Opened { input, tree, single: true, name: folder_name(location) }
}

/// The last part of a prefix, or the bucket's name.
fn folder_name(location: &Location) -> String {
    let name = location.bucket().map_or("", |bucket| match bucket.prefix.rsplit_once('/') {
        Some((_, name)) => name,
        None if bucket.prefix.is_empty() => bucket.name.as_str(),
        None => bucket.prefix.as_str(),
    });
    name.to_owned()
}

fn open_bucket(location: &Location, store: Store, filter: &Filter) -> Result<Opened, SourceError> {
    let mut keys = Keys::of(filter);
    let input = Input::bucket(location, store.clone());
    store.list_all("", usize::MAX, |listed| match listed {
        Listed::File(object) => keys.add(object),
        Listed::Unnamable(key) => {
            let uri = input.uri_of(&key.key);
            keys.add_unnamable(&key, uri);
        }
    })?;
    let tree = keys.tree();
    Ok(Opened { input, tree, single: false, name: folder_name(location) })
}

fn summary(input: Input, layout: Layout, why: String, drafts: Drafts, size: ShardSize) -> Listing {
    let mut listing = Listing {
        input,
        layout,
        why,
        shards: Vec::new(),
        n_entries: drafts.entries.len(),
        n_labelled: 0,
        n_masks: 0,
        categories: BTreeMap::new(),
        ignored: drafts.ignored,
    };
    for Draft { entry, .. } in &drafts.entries {
        entry.category().count_in(&mut listing.categories);
        if let Entry::Sample(sample) = entry {
            listing.n_labelled += usize::from(sample.label.is_some());
            listing.n_masks += usize::from(matches!(sample.mask, MaskSource::Files(_)));
        }
    }
    listing.shards = cut(drafts.entries, size);
    listing
}

fn one_picture(tree: &mut Tree, categories: &mut Categories) -> Result<Drafts, SourceError> {
    let mut drafts = Drafts::default();
    for found in tree.take_files() {
        let known = Known::of(categories.of(None)?);
        drafts.push(found, known, Ok(MaskSource::Unknown));
    }
    Ok(drafts)
}

fn no_pictures(
    location: &Location,
    layout: Layout,
    ignored: &BTreeMap<String, usize>,
) -> SourceError {
    let counts: Vec<String> =
        ignored.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    SourceError::NoPictures {
        uri: location.uri().to_owned(),
        looked_for: layout.looked_for(),
        ignored: if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") },
    }
}
