//! Where a file is that a table names: a path relative to the table, an absolute one, or a URI. A cell
//! and the table's input go in; a path below the input, or a URI, comes out. Never here: looking
//! whether the file exists.

use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::input::{Input, is_uri, uri_of};
use crate::store::Location;

/// The place that `written` names, as [`Input`] reads it.
///
/// # Errors
/// If it names none that can be read; says why, without credentials.
pub(super) fn resolve(written: &str, input: &Input) -> Result<String, String> {
    if is_uri(written) {
        let location = written.parse::<Location>().map_err(|error| error.to_string())?;
        return match (location.disk(), location.bucket()) {
            (Some(path), _) => Ok(uri_of(path)),
            (None, Some(bucket)) if bucket.prefix.is_empty() => {
                Err(format!("{}: a bucket, and no object in it", location.uri()))
            }
            (None, Some(bucket)) => {
                Ok(format!("{}://{}/{}", bucket.kind.scheme(), bucket.name, bucket.prefix))
            }
            (None, None) => Err("a place that cannot be read".to_owned()),
        };
    }
    let is_drive = written.as_bytes().get(1) == Some(&b':') && written.is_char_boundary(2);
    if written.starts_with("\\\\") || (is_drive && written[2..].starts_with(['\\', '/'])) {
        return Err(
            "a path of Windows: write one that this machine has, or one relative to the table"
                .to_owned(),
        );
    }
    // A table that was made or edited on Windows.
    let path = written.replace('\\', "/");
    if path.starts_with('/') {
        return Ok(uri_of(&plain(Path::new(&path))));
    }
    let mut parts = Vec::new();
    let mut above = 0;
    for part in Path::new(&path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy()),
            Component::ParentDir if parts.pop().is_none() => above += 1,
            _ => {}
        }
    }
    if parts.is_empty() {
        return Err("no name of a file".to_owned());
    }
    let below = parts.join("/");
    match (above, input.folder()) {
        (0, _) => Ok(below),
        (_, Some(folder)) => Ok(uri_of(&plain(&folder.join(&path)))),
        (_, None) => {
            let uri = input.uri_of("");
            let uri = percent_decode_str(uri.trim_end_matches('/')).decode_utf8_lossy();
            let folder = (0..above).try_fold(&*uri, |folder, _| Some(folder.rsplit_once('/')?.0));
            // What is left must at least name the bucket.
            let folder = folder.filter(|folder| {
                folder.split_once("://").is_some_and(|(_, rest)| !rest.is_empty())
            });
            let why = "a path that leads out of the bucket of the table: correct it";
            folder.map(|folder| format!("{folder}/{below}")).ok_or_else(|| why.to_owned())
        }
    }
}

/// The path without `.` and `..`, by its names alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;

    #[test]
    fn paths_are_relative_to_the_table_and_uris_are_what_they_are() {
        let disk = Input::disk(Path::new("/data/lists"));
        let on_disk = |written| resolve(written, &disk).unwrap();
        assert_eq!(on_disk("a/./b.png"), "a/b.png");
        assert_eq!(on_disk("a\\b c.png"), "a/b c.png");
        assert_eq!(on_disk("a/../b.png"), "b.png");
        assert_eq!(on_disk("../img/b c.png"), "file:///data/img/b%20c.png");
        assert_eq!(on_disk("/x/../y.png"), "file:///y.png");
        assert_eq!(on_disk("file:///x/a%20b.png"), "file:///x/a%20b.png");
        assert_eq!(on_disk("S3://box/a b#1.png"), "s3://box/a b#1.png");

        let store = Store::of(Arc::new(object_store::memory::InMemory::new()), "m");
        let bucket = Input::bucket(&"s3://box/l 1/lists".parse().unwrap(), store);
        let in_bucket = |written| resolve(written, &bucket);
        assert_eq!(in_bucket("a/b.png").unwrap(), "a/b.png");
        assert_eq!(in_bucket("../b.png").unwrap(), "s3://box/l 1/b.png");
        assert_eq!(in_bucket("../../b.png").unwrap(), "s3://box/b.png");
        assert!(in_bucket("../../../b.png").unwrap_err().contains("leads out of the bucket"));
        assert_eq!(in_bucket("/b.png").unwrap(), "file:///b.png");
    }

    #[test]
    fn what_names_no_file_says_why_and_shows_no_secret() {
        let input = Input::disk(Path::new("/data"));
        for written in [
            "C:\\img\\1.png",
            "C:/img/1.png",
            "\\\\server\\share\\1.png",
            ".",
            "a/..",
            "s3://box",
            "s3://box/a//b.png",
            "https://host/1.png?sig=sesame",
            "s3://key:sesame@box/1.png",
            "ftp://host/1.png",
        ] {
            let why = resolve(written, &input).unwrap_err();
            assert!(!why.contains("sesame"), "{why}");
        }
        // A drive is one letter; this is a name.
        assert_eq!(resolve("é:x.png", &input).unwrap(), "é:x.png");
    }
}
