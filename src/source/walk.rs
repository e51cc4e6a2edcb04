//! A folder goes in, every file below it comes out: a picture by its extension, or a reason why it
//! is none. A folder that cannot be listed to its end is an error, since pictures would be lost.
//! Never here: opening a file, and deciding what a picture means (that is the layout's).

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Failure, FailureCode, SourceError, Stage};

/// The extensions that make a file a picture, in any case.
pub const PICTURE_EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// Files and folders whose name starts with a dot.
const HIDDEN: &str = "(hidden)";

/// What must be escaped in the path of a URI.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One picture file of the input.
pub(super) struct Found {
    /// Path below the root, `/`-separated; unique unless a name is not UTF-8.
    pub id: String,
    pub path: PathBuf,
    pub size_bytes: u64,
    /// Why it cannot be scored, if that is plain already.
    pub trouble: Option<Box<Failure>>,
}

/// One thing that the walk came by.
pub(super) enum Seen {
    Picture(Found),
    /// Not a picture: its extension, or the reason in parentheses.
    Ignored(String),
}

/// Everything below `root`, links followed, in no order. Hidden folders are not entered.
pub(super) fn walk(root: &Path) -> impl Iterator<Item = Result<Seen, SourceError>> {
    let mut files = WalkDir::new(root).min_depth(1).follow_links(true).into_iter();
    std::iter::from_fn(move || {
        loop {
            match files.next()? {
                Err(error) => return Some(without_entry(root, error)),
                Ok(entry) if is_hidden(entry.path()) => {
                    if entry.file_type().is_dir() {
                        files.skip_current_dir();
                    }
                    return Some(Ok(Seen::Ignored(HIDDEN.to_owned())));
                }
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => return Some(Ok(seen(root, &entry))),
            }
        }
    })
}

/// The sub-folders of `folder` that are not hidden, sorted by name.
pub(super) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let unlistable = |source| SourceError::Unlistable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unlistable)? {
        let entry = entry.map_err(unlistable)?;
        let kind = entry.file_type().map_err(unlistable)?;
        let path = entry.path();
        if !is_hidden(&path) && (kind.is_dir() || (kind.is_symlink() && path.is_dir())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// True for the extensions of [`PICTURE_EXTENSIONS`].
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| PICTURE_EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(found)))
}

/// A file that the walk or the user named, with what the disk says about it now.
pub(super) fn look_at(root: &Path, path: &Path) -> Found {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string());
    found(root, path.to_owned(), metadata)
}

/// The `file://` URI of an absolute path; bytes that are no UTF-8 are percent-encoded.
pub(super) fn uri_of(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_encoded_bytes(), PATH))
}

fn seen(root: &Path, entry: &DirEntry) -> Seen {
    if is_picture(entry.path()) {
        let metadata = entry.metadata().map_err(|error| error.to_string());
        return Seen::Picture(found(root, entry.path().to_owned(), metadata));
    }
    let extension = entry.path().extension();
    Seen::Ignored(match extension {
        Some(extension) => extension.to_string_lossy().to_lowercase(),
        None => "(no extension)".to_owned(),
    })
}

fn found(root: &Path, path: PathBuf, metadata: Result<std::fs::Metadata, String>) -> Found {
    let below = path.strip_prefix(root).unwrap_or(&path);
    let unreadable =
        |why: String| Some(Box::new(Failure::new(Stage::List, FailureCode::Unreadable, why)));
    let (size_bytes, mut trouble) = match metadata {
        Ok(metadata) if metadata.is_file() => (metadata.len(), None),
        Ok(_) => (0, unreadable("not a regular file: replace it by one".to_owned())),
        Err(why) => (0, unreadable(format!("cannot be read ({why}): restore it"))),
    };
    let id = match below.to_str() {
        Some(name) => name.replace(std::path::MAIN_SEPARATOR, "/"),
        None => {
            let why = "the file name is not UTF-8: rename it";
            trouble = Some(Box::new(Failure::new(Stage::List, FailureCode::NonUtf8Name, why)));
            escaped(below)
        }
    };
    Found { id, path, size_bytes, trouble }
}

/// A link that leads nowhere but is called a picture is a lost picture. Any other error may hide
/// a whole folder.
fn without_entry(root: &Path, error: walkdir::Error) -> Result<Seen, SourceError> {
    let path = error.path().unwrap_or(root).to_owned();
    if path != root && is_hidden(&path) {
        return Ok(Seen::Ignored(HIDDEN.to_owned()));
    }
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    let vanished = error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    if error.loop_ancestor().is_none() && (is_link || vanished) && is_picture(&path) {
        return Ok(Seen::Picture(look_at(root, &path)));
    }
    Err(SourceError::Unlistable { path, source: error.into() })
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
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
    use super::*;

    #[test]
    fn extensions_count_in_any_case_and_other_files_do_not() {
        for name in ["a.png", "a.JPG", "a.b.Jpeg", "a.TIF", "a.webp"] {
            assert!(is_picture(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "png", "Thumbs.db", "a.png.json", ".png"] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn a_uri_escapes_what_a_path_may_hold_and_a_uri_may_not() {
        assert_eq!(uri_of(Path::new("/a b/50%#ü.png")), "file:///a%20b/50%25%23%C3%BC.png");
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
