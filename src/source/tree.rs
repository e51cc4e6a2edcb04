//! All files below an input, as names: what layouts are told apart by. Files of a disk or keys of
//! a bucket go in; which folders and files there are comes out.
//! Never here: a disk, a store, and what a file means (that is the layout's).

use std::collections::{BTreeMap, BTreeSet};

use super::PICTURE_EXTENSIONS;
use crate::error::Failure;
use crate::store::{FileVersion, StoredFile};

/// Files and folders whose name starts with a dot.
pub(super) const HIDDEN: &str = "(hidden)";

/// One file below the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Path below the root, `/`-separated; unique unless a name is not UTF-8.
    pub id: Box<str>,
    pub bytes: u64,
    /// Tells this content from another one, where the place says so.
    pub version: Option<FileVersion>,
    /// Why it cannot be scored, if that is plain already.
    pub trouble: Option<Box<Trouble>>,
}

/// What is wrong with a file that has not been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub failure: Failure,
    /// Where the file is, if its id does not tell.
    pub uri: Option<String>,
}

impl Found {
    /// True for the extensions of [`PICTURE_EXTENSIONS`].
    pub fn is_picture(&self) -> bool {
        is_picture(&self.id)
    }

    /// What a file that is no picture is counted under.
    pub fn extension(&self) -> String {
        extension(&self.id).map_or("(no extension)".to_owned(), str::to_lowercase)
    }
}

/// What follows the last dot of the file's name; a dot at its beginning hides it and is none.
fn extension(id: &str) -> Option<&str> {
    let name = id.rsplit('/').next().unwrap_or_default();
    let parts = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty());
    parts.map(|(_, extension)| extension)
}

/// True if the name ends in one of [`PICTURE_EXTENSIONS`], in any case.
pub(super) fn is_picture(id: &str) -> bool {
    extension(id).is_some_and(|found| {
        PICTURE_EXTENSIONS.iter().any(|extension| extension.eq_ignore_ascii_case(found))
    })
}

/// Everything below an input that is not hidden.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Sorted by id.
    files: Vec<Found>,
    /// Paths below the root.
    folders: BTreeSet<Box<str>>,
    /// What was seen and left out, by reason.
    pub ignored: BTreeMap<String, usize>,
}

impl Tree {
    /// The tree of these files and folders; `folders` may have more than the files are in.
    pub fn new(mut files: Vec<Found>, folders: BTreeSet<Box<str>>, hidden: usize) -> Self {
        files.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let ignored = (hidden > 0).then(|| (HIDDEN.to_owned(), hidden)).into_iter().collect();
        Tree { files, folders, ignored }
    }

    /// The file `id`.
    pub fn file(&self, id: &str) -> Option<&Found> {
        let index = self.files.binary_search_by(|found| found.id.as_ref().cmp(id));
        index.ok().map(|index| &self.files[index])
    }

    /// All files by id.
    pub fn files(&self) -> &[Found] {
        &self.files
    }

    /// All files by id, taken out: folders stay known.
    pub fn take_files(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.files)
    }

    /// Whether `path` is a folder; "" is the root.
    pub fn has_folder(&self, path: &str) -> bool {
        path.is_empty() || self.folders.contains(path)
    }

    /// The names of the folders directly in the folder `path` ("" for the root), sorted.
    pub fn subfolders(&self, path: &str) -> Vec<&str> {
        let start = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.folders.range(Box::from(start.as_str())..);
        let below = below.map_while(|folder| folder.strip_prefix(start.as_str()));
        below.filter(|name| !name.is_empty() && !name.contains('/')).collect()
    }
}

/// A tree that grows key by key, as a bucket lists them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    files: Vec<Found>,
    folders: BTreeSet<Box<str>>,
    hidden: usize,
}

impl Keys {
    /// Adds an object. A key that ends in `/` stands for a folder without files.
    pub fn add(&mut self, object: StoredFile) {
        let StoredFile { path, bytes, etag } = object;
        if path.split('/').any(|part| part.starts_with('.')) {
            self.hidden += 1;
            return;
        }
        // Keys come sorted from most stores: the last folder is mostly this one's.
        for (end, _) in path.match_indices('/').rev() {
            if self.folders.contains(&path[..end]) {
                break;
            }
            self.folders.insert(path[..end].into());
        }
        if path.ends_with('/') {
            return;
        }
        let version = etag.map(|etag| FileVersion::Etag(etag.into()));
        self.files.push(Found { id: path.into(), bytes, version, trouble: None });
    }

    /// The tree of all keys.
    pub fn tree(self) -> Tree {
        Tree::new(self.files, self.folders, self.hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_keys(keys: &[&str]) -> Tree {
        let mut tree = Keys::default();
        for key in keys {
            tree.add(StoredFile { path: (*key).to_owned(), bytes: 1, etag: None });
        }
        tree.tree()
    }

    #[test]
    fn extensions_count_in_any_case_and_other_files_do_not() {
        for name in ["a.png", "a.JPG", "a.b.Jpeg", "a.TIF", "b/a.webp"] {
            assert!(is_picture(name), "{name}");
        }
        for name in ["a.txt", "png", "Thumbs.db", "a.png.json", ".png", "a.png/b", "a/.png"] {
            assert!(!is_picture(name), "{name}");
        }
    }

    #[test]
    fn folders_are_what_stands_before_a_slash() {
        let tree = of_keys(&["b/c/1.png", "b/d/2.png", "b-a/3.png", "e/", "b/.x/4.png", "5.png"]);
        assert_eq!(tree.subfolders(""), ["b", "b-a", "e"]);
        assert_eq!(tree.subfolders("b"), ["c", "d"]);
        assert!(tree.has_folder("b/c") && tree.has_folder("") && !tree.has_folder("b/.x"));
        assert!(!tree.has_folder("b/c/1.png"));
        assert!(tree.file("b/d/2.png").is_some() && tree.file("b/d").is_none());
        assert_eq!(tree.ignored, [(HIDDEN.to_owned(), 1)].into());
    }
}
