//! The output folder as a small object store: whole files in, whole files out.
//!
//! A file appears complete and durable or not at all (staged, synced, renamed). Errors name the
//! file and, where the cause is known, what to do. No file format is known here.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::error::{StoreAction, TableError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Age from which a staged upload is a leftover of a crash. Another worker on the same output
/// may be writing its own, which takes seconds.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// What [`OutputStore::put_if_absent`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    /// Another writer was first; its file is untouched.
    AlreadyThere,
}

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the output, `/` between folders.
    pub path: String,
    pub bytes: u64,
}

/// One output folder. Cheap to clone; clones share nothing that changes.
#[derive(Debug, Clone)]
pub struct OutputStore {
    inner: Arc<dyn ObjectStore>,
    folder: PathBuf,
    uri: String,
}

impl OutputStore {
    /// Opens a folder, which must exist.
    pub fn open(folder: impl AsRef<std::path::Path>) -> Result<OutputStore, TableError> {
        let folder = folder.as_ref().to_path_buf();
        let uri = folder.display().to_string();
        let inner = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|e| failed(&uri, StoreAction::Open, e.into()))?
            .with_fsync(true);
        Ok(OutputStore { inner: Arc::new(inner), folder, uri })
    }

    /// Opens a folder, made if it does not exist.
    pub fn create(folder: impl AsRef<std::path::Path>) -> Result<OutputStore, TableError> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder)
            .map_err(|e| failed(&folder.display().to_string(), StoreAction::Open, e.into()))?;
        OutputStore::open(folder)
    }

    /// The folder, for messages.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// `path` with the output before it, for messages.
    pub fn display(&self, path: &str) -> String {
        format!("{}/{path}", self.uri.trim_end_matches('/'))
    }

    /// Writes a file, replacing the one that is there.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<(), TableError> {
        let payload = PutPayload::from(bytes.into());
        let location = self.location(path, StoreAction::Write)?;
        block_on(self.inner.put(&location, payload))
            .map_err(|e| self.failed(path, StoreAction::Write, e))?;
        Ok(())
    }

    /// Writes a file unless there is one; among racing writers exactly one creates it.
    pub fn put_if_absent(&self, path: &str, bytes: impl Into<Bytes>) -> Result<Put, TableError> {
        let payload = PutPayload::from(bytes.into());
        let location = self.location(path, StoreAction::Write)?;
        match block_on(self.inner.put_opts(&location, payload, PutMode::Create.into())) {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::AlreadyThere),
            Err(e) => Err(self.failed(path, StoreAction::Write, e)),
        }
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Result<Bytes, TableError> {
        let location = self.location(path, StoreAction::Read)?;
        block_on(async { self.inner.get(&location).await?.bytes().await })
            .map_err(|e| self.failed(path, StoreAction::Read, e))
    }

    /// The content of a file, or `None` if there is none.
    pub fn get_if_there(&self, path: &str) -> Result<Option<Bytes>, TableError> {
        let location = self.location(path, StoreAction::Read)?;
        match block_on(async { self.inner.get(&location).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed(path, StoreAction::Read, e)),
        }
    }

    /// The bytes of a file in `range`.
    pub fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, TableError> {
        let location = self.location(path, StoreAction::Read)?;
        block_on(self.inner.get_range(&location, range))
            .map_err(|e| self.failed(path, StoreAction::Read, e))
    }

    /// The size of a file in bytes, or `None` if there is none.
    pub fn size(&self, path: &str) -> Result<Option<u64>, TableError> {
        let location = self.location(path, StoreAction::Read)?;
        match block_on(self.inner.head(&location)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed(path, StoreAction::Read, e)),
        }
    }

    /// Whether there is a file at `path`.
    pub fn exists(&self, path: &str) -> Result<bool, TableError> {
        Ok(self.size(path)?.is_some())
    }

    /// Deletes a file, if there is one.
    pub fn delete_if_there(&self, path: &str) -> Result<(), TableError> {
        let location = self.location(path, StoreAction::Delete)?;
        match block_on(self.inner.delete(&location)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(path, StoreAction::Delete, e)),
        }
    }

    /// The files below the folder `prefix` ("" for all), sorted by path. Staged uploads are not
    /// among them.
    pub fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, TableError> {
        self.list_at_most(prefix, usize::MAX)
    }

    /// Like [`OutputStore::list`], but stops after `limit` files, in no particular choice.
    pub(super) fn list_at_most(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<StoredFile>, TableError> {
        let location = self.location(prefix, StoreAction::List)?;
        let found = self.inner.list(Some(&location)).take(limit).try_collect::<Vec<_>>();
        let found = block_on(found).map_err(|e| self.failed(prefix, StoreAction::List, e))?;
        let mut files: Vec<StoredFile> = found
            .into_iter()
            .map(|meta| StoredFile { path: meta.location.to_string(), bytes: meta.size })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Removes what crashed writers left in the named folders: staged uploads that are older
    /// than an hour. Elsewhere a name like `notes#1` may be somebody's file.
    pub(super) fn remove_stale_uploads(&self, owned: &[&str]) -> Result<(), TableError> {
        let owned = owned.iter().map(|name| self.folder.join(name));
        let mut folders: Vec<PathBuf> = owned.filter(|folder| folder.is_dir()).collect();
        while let Some(folder) = folders.pop() {
            let shown = folder.display().to_string();
            let fail = |e: std::io::Error| failed(&shown, StoreAction::List, e.into());
            for entry in std::fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                // A symbolic link is nothing of ours: not followed, not removed.
                let kind = entry.file_type().map_err(fail)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && is_staged(&entry.path()) {
                    remove_if_stale(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn location(&self, path: &str, action: StoreAction) -> Result<Path, TableError> {
        Path::parse(path).map_err(|e| failed(&self.display(path), action, e.into()))
    }

    fn failed(&self, path: &str, action: StoreAction, e: object_store::Error) -> TableError {
        failed(&self.display(path), action, e.into())
    }
}

/// Whether the store made this file on the way to another: `name#1`.
fn is_staged(path: &std::path::Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let suffix = name.and_then(|name| name.rsplit_once('#')).map_or("", |(_, suffix)| suffix);
    !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit())
}

fn remove_if_stale(path: &std::path::Path) -> Result<(), TableError> {
    let modified = match path.metadata().and_then(|meta| meta.modified()) {
        Ok(modified) => modified,
        // Its writer finished in between.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(&path.display().to_string(), StoreAction::Read, e.into())),
    };
    // A time in the future is no age: another clock, another writer.
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if age < STALE_AFTER {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(failed(&path.display().to_string(), StoreAction::Delete, e.into()))
        }
        _ => Ok(()),
    }
}

fn failed(path: &str, action: StoreAction, source: BoxError) -> TableError {
    let problem = problem_of(source.as_ref());
    TableError::Store { path: path.to_string(), action, problem, source }
}

/// The cause in a few words, with advice where the system said clearly what is wrong.
fn problem_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    return "no space left: free space or choose another --output".to_string();
                }
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    return "not permitted: make it writable or choose another folder".to_string();
                }
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                    return "a file is where a folder must be: choose another path".to_string();
                }
                ErrorKind::NotFound => return "no such file or folder".to_string(),
                _ => {}
            }
        }
        last = error;
        cause = error.source();
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, OutputStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = OutputStore::open(folder.path().to_str().unwrap()).unwrap();
        (folder, store)
    }

    #[test]
    fn the_first_of_two_writers_wins() {
        let (_folder, store) = store();
        assert_eq!(store.put_if_absent("a/b", "one").unwrap(), Put::Created);
        assert_eq!(store.put_if_absent("a/b", "two").unwrap(), Put::AlreadyThere);
        assert_eq!(store.get("a/b").unwrap(), "one");
        store.put("a/b", "three").unwrap();
        assert_eq!(store.get("a/b").unwrap(), "three");
    }

    #[test]
    fn escaped_names_are_written_and_listed_as_they_are() {
        let (folder, store) = store();
        let path = "t/category=a%2Fb süß 100%25/x.parquet";
        store.put(path, "1").unwrap();
        assert!(folder.path().join(path).is_file());
        let listed = StoredFile { path: path.to_string(), bytes: 1 };
        assert_eq!(store.list("t").unwrap(), [listed]);
    }

    #[test]
    fn a_full_disk_is_said_plainly() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "local", source: full.into() };
        let message = failed("out/x", StoreAction::Write, wrapped.into()).to_string();
        assert_eq!(
            message,
            "out/x: cannot be written: no space left: free space or choose another --output"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let (_folder, store) = store();
        let message = store.get("nope").unwrap_err().to_string();
        assert!(message.ends_with("/nope: cannot be read: no such file or folder"), "{message}");
        assert_eq!(store.get_if_there("nope").unwrap(), None);
    }

    #[test]
    fn only_old_uploads_are_leftovers() {
        let (folder, store) = store();
        std::fs::create_dir_all(folder.path().join("maps/s")).unwrap();
        let old = ["maps/s/old#1", "maps/s/old", "maps/s/old#x", "notes#1"];
        for name in old.into_iter().chain(["maps/s/new#1"]) {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * STALE_AFTER;
        for name in old {
            let file = std::fs::File::options().write(true).open(folder.path().join(name));
            file.unwrap().set_modified(long_ago).unwrap();
        }
        store.remove_stale_uploads(&["maps", "scores"]).unwrap();
        assert!(!folder.path().join("maps/s/old#1").exists());
        for name in ["maps/s/old", "maps/s/old#x", "maps/s/new#1", "notes#1"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }
}
