//! What a user may rely on when a folder is listed: each layout is understood, every image ends
//! as one entry or as a counted exception, and what is wrong with the input is said, not skipped.
//! A bucket with the same files has the same listing: every folder that a bucket can have is
//! listed from a disk and from a store.
//! Files here are no real images: listing reads names and sizes only.

use std::fs;
use std::path::Path;

use filo::error::{FailureCode, SourceError};
use filo::source::{
    Category, Entry, Label, Layout, LayoutChoice, ListOptions, Listing, MaskSource, Sample,
    ShardSize, list,
};
use filo::store::Location;
use tempfile::TempDir;

#[path = "layouts/bad_inputs.rs"]
mod bad_inputs;
#[cfg(unix)]
#[path = "layouts/bad_pictures.rs"]
mod bad_pictures;
#[path = "layouts/both_ways.rs"]
mod both_ways;
#[path = "layouts/folder.rs"]
mod folder;
#[path = "layouts/mvtec.rs"]
mod mvtec;
#[path = "layouts/selection.rs"]
mod selection;
#[path = "layouts/shards.rs"]
mod shards;
#[path = "layouts/visa.rs"]
mod visa;

/// A folder with these files, each holding its own name.
fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        write(dir.path(), file, file);
    }
    dir
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The listing of the folder `path`, which is also that of a bucket with the same files.
fn try_list(path: &Path, choice: LayoutChoice) -> Result<Listing, SourceError> {
    both_ways::list(path, &ListOptions { layout: choice, ..ListOptions::default() })
}

fn auto(path: &Path) -> Listing {
    try_list(path, LayoutChoice::Auto).unwrap()
}

/// The listing of what no bucket can have: a link, a socket, a name that is no UTF-8; or a file.
fn on_disk(path: &Path) -> Result<Listing, SourceError> {
    list(&Location::local(path), &ListOptions::default())
}

fn entry<'a>(listing: &'a Listing, id: &str) -> &'a Entry {
    let mut entries = listing.shards.iter().flat_map(|shard| &shard.entries);
    entries.find(|entry| entry.image_id() == id).unwrap_or_else(|| panic!("no entry {id}"))
}

fn sample<'a>(listing: &'a Listing, id: &str) -> &'a Sample {
    match entry(listing, id) {
        Entry::Sample(sample) => sample,
        Entry::Rejected(rejected) => panic!("{id} is rejected: {:?}", rejected.failure),
        Entry::Archive(_) => panic!("{id} is an archive"),
    }
}

fn rejection(listing: &Listing, id: &str) -> (FailureCode, String) {
    match entry(listing, id) {
        Entry::Sample(_) | Entry::Archive(_) => panic!("{id} is not rejected"),
        Entry::Rejected(rejected) => (rejected.failure.code, rejected.failure.message.clone()),
    }
}

fn ids(listing: &Listing) -> Vec<&str> {
    listing.shards.iter().flat_map(|shard| &shard.entries).map(Entry::image_id).collect()
}

fn category_names(listing: &Listing) -> Vec<&str> {
    listing.categories.keys().map(Category::as_str).collect()
}

fn mask_name(sample: &Sample) -> &str {
    match &sample.mask {
        MaskSource::Files(ids) if ids.len() == 1 => &ids[0],
        other => panic!("{} has {other:?}", sample.image_id),
    }
}
