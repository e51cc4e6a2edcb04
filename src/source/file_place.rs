//! Where one file of the input is, on a disk or in a bucket. In: the version that was listed, and how
//! large it may be. Out: its bytes, now or later, or a [`Failure`] that says why there are none.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::open_file::{OpenBytes, OpenFile};
use super::walk::modified;
use crate::error::{Failure, FailureCode, Stage, StoreError};
use crate::store::{Content, FileVersion, Store};

/// Where one file is.
pub(super) enum FilePlace {
    Disk(PathBuf),
    /// A store, and the file's path in it.
    Bucket(Store, String),
}

impl FilePlace {
    /// The content, if it has at most `max_bytes` and is still the `version` that was listed.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn read(&self, version: Option<&FileVersion>, max_bytes: u64) -> Result<Bytes, Failure> {
        match self {
            FilePlace::Disk(path) => read_file(path, version, max_bytes),
            FilePlace::Bucket(store, id) => {
                content(store, id, max_bytes, store.get_unchanged(id, etag_of(version), max_bytes))
            }
        }
    }

    /// As [`FilePlace::read`], without a thread that waits for a bucket. To be called on the runtime of
    /// stores.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub async fn fetch(
        self,
        version: Option<FileVersion>,
        max_bytes: u64,
    ) -> Result<Bytes, Failure> {
        match self {
            FilePlace::Bucket(store, id) => {
                let fetched = store.fetch(&id, etag_of(version.as_ref()), max_bytes).await;
                content(&store, &id, max_bytes, fetched)
            }
            FilePlace::Disk(path) => {
                let read = move || read_file(&path, version.as_ref(), max_bytes);
                let broke = |error: tokio::task::JoinError| {
                    Failure::new(Stage::Fetch, FailureCode::Internal, error.to_string())
                };
                tokio::task::spawn_blocking(read).await.map_err(broke)?
            }
        }
    }

    /// The file, to be read in pieces, for as long as it is the `version` that was listed with so many
    /// `bytes`: what a bucket said of both is not asked for again.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn open(
        self,
        version: Option<&FileVersion>,
        bytes: Option<u64>,
    ) -> Result<OpenFile, Failure> {
        match self {
            FilePlace::Disk(path) => {
                let (file, size) = open_unchanged(&path, version)?;
                let shown = path.display().to_string();
                Ok(OpenFile::new(OpenBytes::Disk { file: file.into(), shown }, size))
            }
            FilePlace::Bucket(store, id) => {
                let etag = etag_of(version).map(str::to_owned);
                let size = match bytes.filter(|_| etag.is_some()) {
                    Some(size) => size,
                    None => {
                        let size =
                            store.size(&id).map_err(|error| unreadable(error.to_string()))?;
                        let gone =
                            || unreadable(format!("{}: is gone: restore it", store.display(&id)));
                        size.ok_or_else(gone)?
                    }
                };
                Ok(OpenFile::new(OpenBytes::Bucket { store, id, etag }, size))
            }
        }
    }
}

/// A file that cannot be read, for this reason.
pub(super) fn unreadable(what: String) -> Failure {
    Failure::new(Stage::Fetch, FailureCode::Unreadable, what)
}

/// A file that is another one than was listed.
pub(super) fn changed(place: &dyn std::fmt::Display) -> Failure {
    let what = format!(
        "{place}: changed after it was listed: the same command with --retry-failed scores it as it is now"
    );
    Failure::new(Stage::Fetch, FailureCode::InputChanged, what)
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    unreadable(format!("{}: {error}: check the file and its permissions", path.display()))
}

/// A regular file that is still the one that was listed, and its size.
fn open_unchanged(path: &Path, version: Option<&FileVersion>) -> Result<(File, u64), Failure> {
    // A pipe would be waited for without end.
    let metadata = std::fs::metadata(path).map_err(|error| at(path, &error))?;
    if !metadata.is_file() {
        let what = format!("{}: not a regular file: replace it by one", path.display());
        return Err(unreadable(what));
    }
    if version.is_some_and(|listed| modified(&metadata).as_ref() != Some(listed)) {
        return Err(changed(&path.display()));
    }
    let file = File::open(path).map_err(|error| at(path, &error))?;
    Ok((file, metadata.len()))
}

fn read_file(path: &Path, version: Option<&FileVersion>, max_bytes: u64) -> Result<Bytes, Failure> {
    let (file, size) = open_unchanged(path, version)?;
    if size > max_bytes {
        return Err(too_large(max_bytes));
    }
    // It may grow while it is read.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| at(path, &error))?;
    match bytes.len() as u64 > max_bytes {
        true => Err(too_large(max_bytes)),
        false => Ok(bytes.into()),
    }
}

/// What a store said of the content of a file.
fn content(
    store: &Store,
    id: &str,
    max_bytes: u64,
    found: Result<Content, StoreError>,
) -> Result<Bytes, Failure> {
    match found.map_err(|error| unreadable(error.to_string()))? {
        Content::Whole(bytes) => Ok(bytes),
        Content::Changed => Err(changed(&store.display(id))),
        Content::TooLong => Err(too_large(max_bytes)),
    }
}

fn etag_of(version: Option<&FileVersion>) -> Option<&str> {
    match version {
        Some(FileVersion::Etag(etag)) => Some(etag),
        Some(FileVersion::Modified(_)) | None => None,
    }
}

fn too_large(limit: u64) -> Failure {
    let what = format!("the file has more than {limit} bytes: cut it into smaller images");
    Failure::new(Stage::Fetch, FailureCode::TooLarge, what)
}
