//! The whole listing: decide on the layout, let it collect its entries, sort them, count them and
//! cut them into shards. A listing that would miss pictures is an error, never a shorter listing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::category::Categories;
use super::shard::{Draft, cut};
use super::walk::{Found, is_picture, look_at, uri_of};
use super::{Category, Entry, Label, Layout, LayoutChoice, Location, MaskSource};
use super::{PICTURE_EXTENSIONS, Sample, Shard, ShardSize};
use super::{folder, layout, mvtec, visa};
use crate::error::{Failure, SourceError};

/// All entries of an input, and what a log line says about them.
#[derive(Debug)]
pub struct Listing {
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

/// The input folder, made absolute so that a URI means the same in every working directory.
pub(super) struct Root {
    pub dir: PathBuf,
}

/// What a layout knows about a picture beside its file.
pub(super) struct Known {
    pub category: Category,
    pub label: Option<Label>,
    pub kind: Option<String>,
}

/// The entries of a listing while it grows.
#[derive(Default)]
pub(super) struct Drafts {
    entries: Vec<Draft>,
    ignored: BTreeMap<String, usize>,
}

impl Drafts {
    /// Counts a file that is no entry under its extension or reason.
    pub(super) fn ignore(&mut self, reason: &str) {
        self.ignore_many(reason, 1);
    }

    /// Counts `n` files that are no entries for one reason.
    pub(super) fn ignore_many(&mut self, reason: &str, n: usize) {
        match self.ignored.get_mut(reason) {
            Some(count) => *count += n,
            None if n > 0 => drop(self.ignored.insert(reason.to_owned(), n)),
            None => {}
        }
    }

    /// Adds a picture; it is rejected if its file, or its mask, already shows trouble.
    pub(super) fn push(&mut self, found: Found, known: Known, mask: Result<MaskSource, Failure>) {
        let Found { id: image_id, path, size_bytes, trouble } = found;
        let Known { category, label, kind } = known;
        let uri = uri_of(&path);
        let entry = match (trouble, mask) {
            (Some(failure), _) => Entry::Rejected { image_id, uri, category, failure: *failure },
            (None, Err(failure)) => Entry::Rejected { image_id, uri, category, failure },
            (None, Ok(mask)) => {
                Entry::Sample(Sample { image_id, uri, path, category, label, kind, mask })
            }
        };
        self.entries.push(Draft { entry, size_bytes });
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.entry.image_id().cmp(b.entry.image_id()));
    }

    /// A name with escaped bytes may equal the name of another file. A final `/`, which no file
    /// name has, tells them apart.
    fn make_ids_unique(&mut self) {
        self.sort();
        let mut changed = false;
        for index in 1..self.entries.len() {
            let (before, rest) = self.entries.split_at_mut(index);
            let (last, this) = (&mut before[index - 1].entry, &mut rest[0].entry);
            if last.image_id() != this.image_id() {
                continue;
            }
            changed = true;
            match (last, this) {
                (_, Entry::Rejected { image_id, .. }) => image_id.push('/'),
                (Entry::Rejected { image_id, .. }, _) => image_id.push('/'),
                // Two samples have UTF-8 names, which are their paths, and paths are unique.
                (Entry::Sample(_), Entry::Sample(_)) => {}
            }
        }
        if changed {
            self.sort();
        }
    }
}

/// Lists the input at `location`.
///
/// `category` names pictures that the layout gives no category. Nothing is opened but the CSV
/// files of the layout `visa`.
///
/// # Errors
/// If the input is missing, is a file but no picture, has no pictures, cannot be listed to its
/// end, has a CSV that cannot be parsed, or names a category that is none.
pub fn list(
    location: &Location,
    choice: LayoutChoice,
    category: Option<&Category>,
    shard_size: ShardSize,
) -> Result<Listing, SourceError> {
    let input = absolute(location)?;
    let single = input.is_file();
    let dir = input.parent().filter(|_| single).unwrap_or(&input).to_owned();
    let root_name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut categories = Categories::new(category, root_name.as_deref().unwrap_or_default());
    let root = Root { dir };
    let (layout, mut why) = match (single, choice) {
        (true, LayoutChoice::Auto) => {
            (Layout::Folder, "layout folder: the input is one file".to_owned())
        }
        _ => layout::decide(&root.dir, choice)?,
    };
    let mut drafts = match (single, layout) {
        (true, Layout::Folder) => one_picture(location, &root, &input, &mut categories)?,
        (true, Layout::Mvtec | Layout::Visa) => Drafts::default(),
        (false, Layout::Folder) => folder::list(&root, &mut categories)?,
        (false, Layout::Mvtec) => mvtec::list(&root, &mut categories)?,
        (false, Layout::Visa) => visa::list(&root, &mut categories)?,
    };
    if drafts.entries.is_empty() {
        return Err(no_pictures(location, layout, &drafts.ignored));
    }
    if let Some(unused) = categories.unused_choice() {
        why.push_str(&format!("; --category {unused} is not used, the layout names them"));
    }
    drafts.make_ids_unique();
    Ok(summary(layout, why, drafts, shard_size, &root.dir))
}

fn summary(layout: Layout, why: String, drafts: Drafts, size: ShardSize, root: &Path) -> Listing {
    let mut listing = Listing {
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
        match listing.categories.get_mut(entry.category()) {
            Some(count) => *count += 1,
            None => drop(listing.categories.insert(entry.category().clone(), 1)),
        }
        if let Entry::Sample(sample) = entry {
            listing.n_labelled += usize::from(sample.label.is_some());
            listing.n_masks += usize::from(matches!(sample.mask, MaskSource::File(_)));
        }
    }
    listing.shards = cut(drafts.entries, size, root);
    listing
}

/// The location as an absolute path that exists. Links are kept as the user wrote them.
fn absolute(location: &Location) -> Result<PathBuf, SourceError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let given = location.disk().ok_or_else(|| SourceError::NotBuiltIn {
        uri: location.uri().to_owned(),
        what: "pictures",
    })?;
    let at = |source: std::io::Error| match source.kind() {
        NotFound | NotADirectory => SourceError::NotFound { uri: location.uri().to_owned() },
        _ => SourceError::Unlistable { path: given.to_owned(), source },
    };
    std::fs::metadata(given).map_err(at)?;
    let path = std::path::absolute(given).map_err(at)?;
    // `absolute` keeps `..`, and `.` as the last part is dropped, so a name may be missing.
    if path.file_name().is_none() { path.canonicalize().map_err(at) } else { Ok(path) }
}

fn one_picture(
    location: &Location,
    root: &Root,
    picture: &Path,
    categories: &mut Categories,
) -> Result<Drafts, SourceError> {
    if !is_picture(picture) {
        let (uri, extensions) = (location.uri().to_owned(), PICTURE_EXTENSIONS.join(", "));
        return Err(SourceError::NotAPicture { uri, extensions });
    }
    let mut drafts = Drafts::default();
    let known = Known { category: categories.of(None)?, label: None, kind: None };
    drafts.push(look_at(&root.dir, picture), known, Ok(MaskSource::Unknown));
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
