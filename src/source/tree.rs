//! All files below an input, as names: what layouts are told apart by. Files of a disk or keys of
//! a bucket go in; which folders and files there are comes out.
//! Never here: a disk, a store, and what a file means (that is the layout's).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::options::{EXCLUDED, Filter};
use super::{ArchiveKind, Ignored, PICTURE_EXTENSIONS};
use crate::error::{Failure, FailureCode, Stage};
use crate::store::{FileVersion, StoredFile, UnnamableKey};

/// Files and folders whose name starts with a dot.
pub(super) const HIDDEN: &str = "(hidden)";

/// Folders and files that systems leave behind: thumbnails, recycle bins, resource forks.
const JUNK: [&str; 14] = [
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "@tmp",
    "__macosx",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__pycache__",
];

/// What counts a file or folder of this name is left out under, if it is.
pub(super) const SYSTEM: &str = "(system files)";

/// Under which reason a file or folder is left out by its name alone.
pub(super) fn hidden_reason(name: &str) -> Option<&'static str> {
    match name {
        _ if name.starts_with('.') => Some(HIDDEN),
        _ if JUNK.contains(&name.to_lowercase().as_str()) => Some(SYSTEM),
        _ => None,
    }
}

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

    /// What it is if its extension is that of a file with images in it.
    pub fn archive(&self) -> Option<ArchiveKind> {
        archive(&self.id)
    }

    /// What a file that is no image is counted under.
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

/// True if the name is that of an image or of a file with images in it.
pub(super) fn is_readable(id: &str) -> bool {
    is_picture(id) || archive(id).is_some()
}

fn archive(id: &str) -> Option<ArchiveKind> {
    extension(id).and_then(ArchiveKind::named)
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
    pub fn new(mut files: Vec<Found>, folders: BTreeSet<Box<str>>, ignored: Ignored) -> Self {
        files.sort_unstable_by(|a, b| a.id.cmp(&b.id));
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
#[derive(Debug)]
pub(super) struct Keys<'a> {
    /// Folders that it excludes are as good as hidden.
    filter: &'a Filter,
    files: Vec<Found>,
    folders: BTreeSet<Box<str>>,
    ignored: Ignored,
    hidden_folders: HashSet<Box<str>>,
}

impl<'a> Keys<'a> {
    /// No keys yet.
    pub fn of(filter: &'a Filter) -> Self {
        Keys {
            filter,
            files: Vec::new(),
            folders: BTreeSet::new(),
            ignored: Ignored::new(),
            hidden_folders: HashSet::new(),
        }
    }

    /// Adds an object. A key that ends in `/` stands for a folder without files.
    pub fn add(&mut self, object: StoredFile) {
        let StoredFile { path, bytes, etag } = object;
        let hidden = self.hidden_part(&path);
        let visible = &path[..hidden.map_or(path.len(), |(start, _)| start)];
        // Keys come sorted from most stores: the last folder is mostly this one's.
        for (end, _) in visible.match_indices('/').rev() {
            if self.folders.contains(&path[..end]) {
                break;
            }
            self.folders.insert(path[..end].into());
        }
        if let Some((start, reason)) = hidden {
            self.hide(&path, start, reason);
            return;
        }
        if path.ends_with('/') {
            return;
        }
        let version = etag.map(|etag| FileVersion::Etag(etag.into()));
        self.files.push(Found { id: path.into(), bytes, version, trouble: None });
    }

    /// Adds an object that cannot be asked for: a failure if it is called like an image, whatever the
    /// layout. Its folders are none that a layout knows.
    pub fn add_unnamable(&mut self, key: &UnnamableKey, uri: String) {
        let id = key.escaped();
        // `a//` is the marker of a folder without a name.
        if key.bytes == 0 && key.key.ends_with('/') {
            return;
        }
        if let Some((start, reason)) = self.hidden_part(&id) {
            self.hide(&id, start, reason);
            return;
        }
        let why = format!("{}: copy the object to a key without it", key.why());
        let failure = Failure::new(Stage::List, FailureCode::Unreadable, why);
        let trouble = Some(Box::new(Trouble { failure, uri: Some(uri) }));
        self.files.push(Found { id: id.into(), bytes: key.bytes, version: None, trouble });
    }

    /// Counts what begins at `start` of `path`; as on a disk, a hidden folder counts once, whatever
    /// is in it.
    fn hide(&mut self, path: &str, start: usize, reason: &str) {
        if let Some(length) = path[start..].find('/') {
            let folder = &path[..start + length];
            if self.hidden_folders.contains(folder) {
                return;
            }
            self.hidden_folders.insert(folder.into());
        }
        *self.ignored.entry(reason.to_owned()).or_default() += 1;
    }

    /// Where the first part of `path` begins that is hidden, or a folder that is excluded, and under
    /// which reason it is counted.
    fn hidden_part(&self, path: &str) -> Option<(usize, &'static str)> {
        let mut start = 0;
        path.split('/').find_map(|part| {
            let (at, end) = (start, start + part.len());
            start = end + 1;
            let excluded =
                || (end < path.len() && self.filter.excludes(&path[..end])).then_some(EXCLUDED);
            hidden_reason(part).or_else(excluded).map(|reason| (at, reason))
        })
    }

    /// The tree of all keys.
    ///
    /// The client drops the last `/` of a key: an empty object that is called like a folder, or like
    /// the root, was that folder's marker.
    pub fn tree(self) -> Tree {
        let Keys { mut files, folders, ignored, .. } = self;
        let is_marker = |found: &Found| found.id.is_empty() || folders.contains(&found.id);
        files.retain(|found| found.bytes > 0 || !is_marker(found));
        Tree::new(files, folders, ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILTER: Filter = Filter { include: Vec::new(), exclude: Vec::new(), limit: None };

    fn of_keys(keys: &[&str]) -> Tree {
        let mut tree = Keys::of(&FILTER);
        for key in keys {
            tree.add(object(key, 1));
        }
        tree.tree()
    }

    fn object(key: &str, bytes: u64) -> StoredFile {
        StoredFile { path: key.to_owned(), bytes, etag: None }
    }

    #[test]
    fn extensions_count_in_any_case_and_other_files_do_not() {
        for name in ["a.png", "a.JPG", "a.b.Jpeg", "a.TIF", "b/a.webp", "a.JFIF", "a.jpe", "a.dib"]
        {
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

    #[test]
    fn a_hidden_folder_counts_once_and_a_hidden_file_for_itself() {
        let tree = of_keys(&[".x/1.png", "b/.x/2", ".x/y/.z/3", ".4.png", "b/.5", ".x/6", "b.7"]);
        assert_eq!(tree.ignored, [(HIDDEN.to_owned(), 4)].into());
        assert!(tree.file("b.7").is_some() && tree.has_folder("b"));
        assert!(!tree.has_folder(".x") && !tree.has_folder("b/.x"));
    }

    #[test]
    fn a_key_that_cannot_be_asked_for_is_a_failure_of_its_own() {
        let mut keys = Keys::of(&FILTER);
        keys.add(object("nut/1.png", 1));
        for (key, bytes) in [("nut//2.png", 5), ("nut/../3.png", 5), ("nut//", 0), ("a\n.txt", 5)] {
            let key = UnnamableKey { key: key.to_owned(), bytes };
            keys.add_unnamable(&key, format!("s3://b/{}", key.key.len()));
        }
        let mut tree = keys.tree();
        assert_eq!(tree.subfolders(""), ["nut"]);
        let found = tree.take_files();
        let ids: Vec<&str> = found.iter().map(|found| found.id.as_ref()).collect();
        assert_eq!(ids, ["a\\x0A.txt", "nut/1.png", "nut/\\x2E\\x2E/3.png", "nut/\\x2F2.png"]);
        let Trouble { failure, uri } = found[3].trouble.as_deref().unwrap();
        assert_eq!(
            failure.message,
            "the key has an empty part: copy the object to a key without it"
        );
        assert_eq!((failure.stage, uri.as_deref()), (Stage::List, Some("s3://b/10")));
    }

    #[test]
    fn the_marker_of_a_folder_is_no_file_even_without_its_slash() {
        let mut keys = Keys::of(&FILTER);
        for (key, bytes) in [("", 0), ("nut", 0), ("nut/1.png", 0), ("bolt", 3), ("bolt/2.png", 1)]
        {
            keys.add(object(key, bytes));
        }
        let mut tree = keys.tree();
        let files = tree.take_files();
        let ids: Vec<&str> = files.iter().map(|found| found.id.as_ref()).collect();
        assert_eq!(ids, ["bolt", "bolt/2.png", "nut/1.png"]);
    }
}
