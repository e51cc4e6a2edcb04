//! The input of a run: what its images are called outside, and their bytes. A name below the
//! input goes in, a URI or the content of that file comes out.
//! Never here: listing, and decoding.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::file_place::{FilePlace, unreadable};
use super::open_file::OpenFile;
use super::table::is_table;
use super::tree::is_readable;
use crate::error::{Failure, SourceError};
use crate::store::{FileVersion, Location, Store, StoredFile, redact};

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

/// Where the images are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Input {
    place: Place,
    /// What stands before the names of files in a URI, with its `/`.
    uri: Arc<str>,
    /// Buckets that a table's URIs name, once they were needed.
    others: Arc<Mutex<HashMap<String, Store>>>,
}

#[derive(Debug, Clone)]
enum Place {
    /// A folder, absolute so that a URI means the same in every working directory.
    Disk(Arc<Path>),
    Bucket(Store),
}

impl Input {
    /// The input at `location`, without a look at its files. That of a single image is the folder
    /// that it is in.
    ///
    /// # Errors
    /// If it is missing, or the variables of a bucket's store are wrong.
    pub fn open(location: &Location) -> Result<Self, SourceError> {
        let Some(given) = location.disk() else {
            let InBucket { location, store, .. } = InBucket::find(location)?;
            return Ok(Input::bucket(&location, store));
        };
        Ok(Input::disk(&OnDisk::find(location, given)?.folder))
    }

    /// The folder `root`, which is an absolute path.
    pub(super) fn disk(root: &Path) -> Self {
        let uri = format!("{}/", uri_of(root)).into();
        Input { uri, place: Place::Disk(root.into()), others: Arc::default() }
    }

    /// The prefix of a bucket at `location`, opened as `store`.
    pub(super) fn bucket(location: &Location, store: Store) -> Self {
        let uri = location.bucket().map_or(String::new(), |bucket| {
            let prefix = percent_encode(bucket.prefix.as_bytes(), PATH);
            format!("{}://{}/{prefix}", bucket.kind.scheme(), bucket.name)
        });
        let slash = if uri.ends_with('/') { "" } else { "/" };
        let uri = format!("{uri}{slash}").into();
        Input { uri, place: Place::Bucket(store), others: Arc::default() }
    }

    /// The folder of the input, if it is on a disk.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Disk(root) => Some(root),
            Place::Bucket(_) => None,
        }
    }

    /// The URI of the file `id`, percent-encoded.
    pub fn uri_of(&self, id: &str) -> String {
        match id.split_once("://") {
            None => format!("{}{}", self.uri, percent_encode(id.as_bytes(), PATH)),
            Some(("file", _)) => id.to_owned(),
            Some((scheme, rest)) => {
                format!("{scheme}://{}", percent_encode(rest.as_bytes(), PATH))
            }
        }
    }

    /// The file `id` as a person would look for it.
    pub fn display(&self, id: &str) -> String {
        match &self.place {
            _ if is_uri(id) => redact(id),
            Place::Disk(root) => root.join(id).display().to_string(),
            Place::Bucket(store) => store.display(id),
        }
    }

    /// Where the file `id` is: a path below the input, or a URI.
    pub(super) fn find(&self, id: &str) -> Result<FilePlace, Failure> {
        if !is_uri(id) {
            return Ok(match &self.place {
                Place::Disk(root) => FilePlace::Disk(root.join(id)),
                Place::Bucket(store) => FilePlace::Bucket(store.clone(), id.to_owned()),
            });
        }
        let location = id.parse::<Location>().map_err(|error| unreadable(error.to_string()))?;
        let Some(bucket) = location.bucket() else {
            return Ok(FilePlace::Disk(location.disk().unwrap_or(Path::new("")).to_owned()));
        };
        let whole = location.with_prefix("");
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let store = match others.get(whole.uri()) {
            Some(store) => store.clone(),
            None => {
                let store = Store::open(&whole).map_err(|error| unreadable(error.to_string()))?;
                others.insert(whole.uri().to_owned(), store.clone());
                store
            }
        };
        Ok(FilePlace::Bucket(store, bucket.prefix.clone()))
    }

    /// The content of the file `id`, if it has at most `max_bytes` and is still the `version` that
    /// was listed.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn read(
        &self,
        id: &str,
        version: Option<&FileVersion>,
        max_bytes: u64,
    ) -> Result<Bytes, Failure> {
        self.find(id)?.read(version, max_bytes)
    }

    /// The file `id`, to be read in pieces, for as long as it is the `version` that was listed with
    /// so many `bytes`.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn open_file(
        &self,
        id: &str,
        version: Option<&FileVersion>,
        bytes: Option<u64>,
    ) -> Result<OpenFile, Failure> {
        self.find(id)?.open(version, bytes)
    }

    /// The text of a small file that a layout reads while it is listed.
    pub(super) fn read_csv(&self, id: &str) -> Result<Bytes, SourceError> {
        self.read(id, None, MAX_CSV_BYTES).map_err(|failure| SourceError::BadCsv {
            path: self.display(id).into(),
            line: 1,
            why: failure.message,
        })
    }
}

/// Whether a name of a file is a URI: the names below an input have no empty parts.
pub(super) fn is_uri(id: &str) -> bool {
    id.contains("://")
}

/// Larger tables are none that a person made.
const MAX_CSV_BYTES: u64 = 256 << 20;

/// The `file://` URI of an absolute path; bytes that are no UTF-8 are percent-encoded.
pub(super) fn uri_of(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    format!("file://{}", percent_encode(bytes, PATH))
}

/// An input on a disk.
pub(super) struct OnDisk {
    /// Absolute.
    pub folder: PathBuf,
    /// The one file that is meant; `None`: all of the folder.
    pub file: Option<PathBuf>,
}

impl OnDisk {
    /// What `given`, the path of `location`, is.
    pub fn find(location: &Location, given: &Path) -> Result<Self, SourceError> {
        let path = absolute(location, given)?;
        match path.parent().filter(|_| path.is_file()) {
            Some(folder) => Ok(OnDisk { folder: folder.to_owned(), file: Some(path) }),
            None => Ok(OnDisk { folder: path, file: None }),
        }
    }
}

/// An input in a bucket.
pub(super) struct InBucket {
    /// Of the folder.
    pub location: Location,
    pub store: Store,
    /// The one file that is meant; `None`: all of the folder.
    pub file: Option<StoredFile>,
}

impl InBucket {
    /// What `location` is: an object that is called like an image or an archive is one file.
    pub fn find(location: &Location) -> Result<Self, SourceError> {
        let prefix = location.bucket().map_or("", |bucket| bucket.prefix.as_str());
        let (folder, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        if is_readable(name) || is_table(name) {
            let parent = location.with_prefix(folder);
            let store = Store::open(&parent)?;
            if let Some(file) = store.stat(name)? {
                return Ok(InBucket { location: parent, store, file: Some(file) });
            }
        }
        Ok(InBucket { location: location.clone(), store: Store::open(location)?, file: None })
    }
}

/// The location as an absolute path that exists. Links are kept as the user wrote them.
fn absolute(location: &Location, given: &Path) -> Result<PathBuf, SourceError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let at = |source: std::io::Error| match source.kind() {
        NotFound | NotADirectory => SourceError::NotFound { uri: location.uri().to_owned() },
        _ => SourceError::Unlistable { path: given.to_owned(), source },
    };
    std::fs::metadata(given).map_err(at)?;
    let path = std::path::absolute(given).map_err(at)?;
    // `absolute` keeps `..`, and `.` as the last part is dropped, so a name may be missing.
    if path.file_name().is_none() { path.canonicalize().map_err(at) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_escapes_what_a_path_may_hold_and_a_uri_may_not() {
        assert_eq!(uri_of(Path::new("/a b/50%#ü.png")), "file:///a%20b/50%25%23%C3%BC.png");
        let input = Input::disk(Path::new("/a b"));
        assert_eq!(input.uri_of("50%#ü.png"), "file:///a%20b/50%25%23%C3%BC.png");
        assert_eq!(Input::disk(Path::new("/")).uri_of("a"), "file:///a");
    }

    #[test]
    fn the_uri_of_an_object_has_its_bucket_and_prefix() {
        let store = Store::of(std::sync::Arc::new(object_store::memory::InMemory::new()), "m");
        let of = |uri: &str| Input::bucket(&uri.parse().unwrap(), store.clone()).uri_of("b c.png");
        assert_eq!(of("s3://box/a b/"), "s3://box/a%20b/b%20c.png");
        assert_eq!(of("gs://box"), "gs://box/b%20c.png");
    }
}
