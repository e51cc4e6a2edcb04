//! A folder of a disk goes in, the [`Tree`] of all files below it comes out. A folder that cannot
//! be listed to its end is an error, since pictures would be lost.
//! Never here: opening a file, and deciding what a picture means (that is the layout's).

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{MAIN_SEPARATOR, Path};
use std::time::UNIX_EPOCH;

use walkdir::WalkDir;

use super::Ignored;
use super::input::uri_of;
use super::tree::{Found, HIDDEN, Tree, Trouble, hidden_reason, is_picture};
use crate::error::{Failure, FailureCode, SourceError, Stage};
use crate::store::FileVersion;

/// Everything below `root`, links followed. Hidden folders are not entered.
pub(super) fn walk(root: &Path) -> Result<Tree, SourceError> {
    let (mut files, mut folders, mut left_out) = (Vec::new(), BTreeSet::new(), Ignored::new());
    let mut entries = WalkDir::new(root).min_depth(1).follow_links(true).into_iter();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                match without_entry(root, error)? {
                    Some(found) => files.push(found),
                    None => *left_out.entry(HIDDEN.to_owned()).or_default() += 1,
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
            folders.insert(name_below(root, entry.path()).0.into());
        } else {
            let metadata = entry.metadata().map_err(|error| error.to_string());
            files.push(found(root, entry.path(), metadata));
        }
    }
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

fn look_at(root: &Path, path: &Path) -> Found {
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

/// A link that leads nowhere but is called a picture is a lost picture; `None` if it is hidden. Any
/// other error may hide a whole folder.
fn without_entry(root: &Path, error: walkdir::Error) -> Result<Option<Found>, SourceError> {
    let path = error.path().unwrap_or(root).to_owned();
    if path != root && hidden(&path).is_some() {
        return Ok(None);
    }
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    let vanished = error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    let called_a_picture = is_picture(&name_below(root, &path).0);
    if error.loop_ancestor().is_none() && (is_link || vanished) && called_a_picture {
        return Ok(Some(look_at(root, &path)));
    }
    Err(SourceError::Unlistable { path, source: error.into() })
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
        let mut keys = Keys::default();
        for name in names.iter().chain(&[".z/1.png", "b/.2.png"]) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
            let bytes = name.len() as u64;
            keys.add(StoredFile { path: name.to_string(), bytes, etag: None });
        }
        let (mut disk, mut bucket) = (walk(dir.path()).unwrap(), keys.tree());
        let files = disk.take_files().into_iter().map(|found| Found { version: None, ..found });
        assert_eq!(files.collect::<Vec<_>>(), bucket.take_files());
        assert_eq!(disk, bucket);
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
