//! A folder of a disk goes in, the [`Tree`] of all files below it comes out. What cannot be entered
//! below it (a link to a folder above, a link to nothing, a folder without permission) is left out,
//! counted, and named in a warning: one of them in an archive of years must not stop it.
//! Never here: opening a file, and deciding what an image means (that is the layout's).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::time::UNIX_EPOCH;

use walkdir::WalkDir;

use super::Ignored;
use super::input::uri_of;
use super::options::{EXCLUDED, Filter};
use super::tree::{Found, HIDDEN, Tree, Trouble, hidden_reason, is_picture};
use crate::error::{Failure, FailureCode, SourceError, Stage};
use crate::store::FileVersion;

/// Links to a folder that they are in.
const LOOP: &str = "(link loop)";
/// Links to nothing, and files that went while they were listed.
const BROKEN_LINK: &str = "(broken link)";
/// Folders that this user may not list, or that the disk does not give.
const UNREADABLE: &str = "(unreadable)";

/// How many of them a warning names.
const EXAMPLES: usize = 5;

/// Everything below `root`, links followed. Hidden folders are not entered, nor are those that `filter`
/// excludes.
///
/// # Errors
/// If `root` itself cannot be listed.
pub(super) fn walk(root: &Path, filter: &Filter) -> Result<Tree, SourceError> {
    let (mut files, mut folders, mut left_out) = (Vec::new(), BTreeSet::new(), Ignored::new());
    let mut skipped = Skipped::default();
    let mut entries = WalkDir::new(root).min_depth(1).follow_links(true).into_iter();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let below = error.path().map(|path| name_below(root, path).0);
                if below.is_some_and(|below| filter.excludes(&below)) {
                    *left_out.entry(EXCLUDED.to_owned()).or_default() += 1;
                    continue;
                }
                match without_entry(root, error)? {
                    Without::Image(found) => files.push(found),
                    Without::Hidden => *left_out.entry(HIDDEN.to_owned()).or_default() += 1,
                    Without::Skipped(reason, path, why) => skipped.add(reason, &path, why),
                }
                continue;
            }
        };
        let is_folder = entry.file_type().is_dir();
        if let Some(reason) = hidden(entry.path()) {
            if is_folder {
                entries.skip_current_dir();
            }
            *left_out.entry(reason.to_owned()).or_default() += 1;
        } else if is_folder {
            let name = name_below(root, entry.path()).0;
            if filter.excludes(&name) {
                entries.skip_current_dir();
                *left_out.entry(EXCLUDED.to_owned()).or_default() += 1;
                continue;
            }
            folders.insert(name.into());
        } else {
            let metadata = entry.metadata().map_err(|error| error.to_string());
            files.push(found(root, entry.path(), metadata));
        }
    }
    skipped.say();
    left_out.extend(skipped.counts());
    Ok(Tree::new(files, folders, left_out))
}

/// The tree that has only the file at `path`, with what the disk says about it now.
pub(super) fn one(root: &Path, path: &Path) -> Tree {
    Tree::new(vec![look_at(root, path)], BTreeSet::new(), Ignored::new())
}

/// When a file was changed last, if the disk knows.
pub(super) fn modified(metadata: &Metadata) -> Option<FileVersion> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok().map(FileVersion::Modified)
}

pub(super) fn look_at(root: &Path, path: &Path) -> Found {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string());
    found(root, path, metadata)
}

fn found(root: &Path, path: &Path, metadata: Result<Metadata, String>) -> Found {
    let unreadable = |why: String| Some(Failure::new(Stage::List, FailureCode::Unreadable, why));
    let (bytes, version, mut trouble) = match metadata {
        Ok(metadata) if metadata.is_file() => (metadata.len(), modified(&metadata), None),
        Ok(_) => (0, None, unreadable("not a regular file: replace it by one".to_owned())),
        Err(why) => (0, None, unreadable(format!("cannot be read ({why}): restore it"))),
    };
    let (id, utf_8) = name_below(root, path);
    if !utf_8 {
        let why = "the file name is not UTF-8: rename it";
        trouble = Some(Failure::new(Stage::List, FailureCode::NonUtf8Name, why));
    }
    let uri = (!utf_8).then(|| uri_of(path));
    let trouble = trouble.map(|failure| Box::new(Trouble { failure, uri }));
    Found { id: id.into(), bytes, version, trouble }
}

/// The name of `path` below `root`, `/`-separated, and whether it is UTF-8 as it is.
fn name_below(root: &Path, path: &Path) -> (String, bool) {
    let below = path.strip_prefix(root).unwrap_or(path);
    match below.to_str() {
        Some(name) => (name.replace(MAIN_SEPARATOR, "/"), true),
        None => (escaped(below), false),
    }
}

/// What there is instead of an entry.
enum Without {
    /// Called an image, and lost: a failure of its own.
    Image(Found),
    Hidden,
    /// The reason that it is counted under, where it is, and what the system says.
    Skipped(&'static str, PathBuf, String),
}

fn without_entry(root: &Path, error: walkdir::Error) -> Result<Without, SourceError> {
    let path = error.path().unwrap_or(root).to_owned();
    if path == root {
        return Err(SourceError::Unlistable { path, source: error.into() });
    }
    if hidden(&path).is_some() {
        return Ok(Without::Hidden);
    }
    if let Some(above) = error.loop_ancestor() {
        let why = format!("leads to {}, which it is in", above.display());
        return Ok(Without::Skipped(LOOP, path, why));
    }
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    let vanished = error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    if (is_link || vanished) && is_picture(&name_below(root, &path).0) {
        return Ok(Without::Image(look_at(root, &path)));
    }
    let why = error.io_error().map_or(error.to_string(), ToString::to_string);
    let reason = if is_link || vanished { BROKEN_LINK } else { UNREADABLE };
    Ok(Without::Skipped(reason, path, why))
}

/// What was left out of a walk.
#[derive(Default)]
struct Skipped {
    counts: BTreeMap<&'static str, usize>,
    examples: Vec<String>,
}

impl Skipped {
    fn add(&mut self, reason: &'static str, path: &Path, why: String) {
        *self.counts.entry(reason).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{} ({why})", path.display()));
        }
    }

    fn say(&self) {
        let all: usize = self.counts.values().sum();
        if all == 0 {
            return;
        }
        let counts = self.counts.iter().map(|(reason, n)| format!("{n} {reason}"));
        let more = match all - self.examples.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        tracing::warn!(
            "left out, images in there are not scored: {}: {}{more}",
            counts.collect::<Vec<_>>().join(", "),
            self.examples.join(", ")
        );
    }

    fn counts(self) -> impl Iterator<Item = (String, usize)> {
        self.counts.into_iter().map(|(reason, n)| (reason.to_owned(), n))
    }
}

fn hidden(path: &Path) -> Option<&'static str> {
    path.file_name().and_then(|name| hidden_reason(&name.to_string_lossy()))
}

/// The name with bytes that are no UTF-8 as `\xNN`, and `\` as `\x5C`, so that no two names become
/// one.
fn escaped(name: &Path) -> String {
    let mut text = String::new();
    for chunk in name.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\x5C"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tree::Keys;
    use super::*;
    use crate::store::StoredFile;

    #[test]
    fn a_disk_and_a_bucket_with_the_same_files_are_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["b/test/good/1.png", "b/test/c-d/2.png", "b/ground_truth/c-d/2.png", "b-a/x.csv", "y"];
        let filter = Filter::default();
        let mut keys = Keys::of(&filter);
        for name in names.iter().chain(&[".z/1.png", "b/.2.png"]) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
            let bytes = name.len() as u64;
            keys.add(StoredFile { path: name.to_string(), bytes, etag: None });
        }
        let (mut disk, mut bucket) = (walk(dir.path(), &Filter::default()).unwrap(), keys.tree());
        let files = disk.take_files().into_iter().map(|found| Found { version: None, ..found });
        assert_eq!(files.collect::<Vec<_>>(), bucket.take_files());
        assert_eq!(disk, bucket);
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_a_broken_link_and_a_closed_folder_cost_themselves_only() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["nut", "shut"] {
            std::fs::create_dir(path(folder)).unwrap();
            std::fs::write(path(folder).join("1.png"), "x").unwrap();
        }
        symlink("..", path("nut/up")).unwrap();
        symlink("nowhere", path("nut/notes")).unwrap();
        symlink("nowhere.png", path("nut/2.png")).unwrap();
        symlink("self", path("self")).unwrap();
        std::fs::set_permissions(path("shut"), std::fs::Permissions::from_mode(0o000)).unwrap();
        // An administrator may list everything.
        let shut = std::fs::read_dir(path("shut")).is_err();
        let mut tree = walk(dir.path(), &Filter::default()).unwrap();
        std::fs::set_permissions(path("shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut left_out = vec![(BROKEN_LINK.to_owned(), 2), (LOOP.to_owned(), 1)];
        left_out.extend(shut.then(|| (UNREADABLE.to_owned(), 1)));
        assert_eq!(tree.ignored, left_out.into_iter().collect());
        let files = tree.take_files();
        let seen = files.iter().map(|found| (found.id.as_ref(), found.trouble.is_some()));
        let mut expected = vec![("nut/1.png", false), ("nut/2.png", true)];
        expected.extend((!shut).then_some(("shut/1.png", false)));
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_utf8_become_readable_and_stay_distinct() {
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes| escaped(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(name(b"a\xFF.png"), "a\\xFF.png");
        assert_eq!(name(b"\\xFF\xFE.png"), "\\x5CxFF\\xFE.png");
    }
}
