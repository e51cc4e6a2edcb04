//! Places of files as one small object store: whole files or ranges in, whole files out. A [`Location`]
//! goes in, a [`Store`] comes out, on a disk or in a bucket.
//!
//! A file appears complete and durable or not at all (on disks staged, synced, renamed). Errors name the
//! file and what to do; none shows a credential. What fails for a while is tried again.

mod advice;
mod answer;
mod at_once;
mod cache;
mod connect;
mod credential_process;
mod durable;
mod file;
mod folders;
mod html;
mod keys;
mod location;
mod problem;
mod profile;
mod put;
mod redact;
mod server;
mod settings;
mod space;
mod stale;
mod stream;
mod transport;
mod trial;
mod wait;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::error::{StoreAction, StoreError};

pub(crate) use advice::why_unwritable;
pub(crate) use at_once::{at_once, both, try_at_once};
pub use cache::cache_folder;
pub(crate) use connect::{RETRY_FOR, pause, runtime, runtime_for};
pub use durable::{sync_folder_of, write_whole};
pub use file::{Content, FileVersion, Put, StoredFile};
pub use keys::{Listed, UnnamableKey};
pub use location::{Bucket, BucketKind, Location, redact};
use problem::{BoxError, failed};
pub(crate) use redact::keep_secret;
pub use redact::{RedactedWriter, redacted};
pub(crate) use server::{endpoint, retry_after, why_no_answer};
pub(crate) use space::{free_bytes, same_disk};
pub use stream::{GrowingFile, Upload};
use transport::Contact;
pub(crate) use transport::{FIRST_CONTACT, FIRST_PAUSE, is_final};

/// A folder, or a prefix in a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    /// On a disk.
    folder: Option<PathBuf>,
    /// What the requests of a bucket run on.
    runtime: Option<&'static Runtime>,
    /// What the requests of a bucket meet.
    contact: Arc<Contact>,
    uri: String,
}

impl Store {
    /// Opens a place; a folder must exist.
    ///
    /// # Errors
    /// If a folder is not there, or the variables of a bucket's store are wrong.
    pub fn open(location: &Location) -> Result<Store, StoreError> {
        let uri = location.uri().to_owned();
        let cannot = |source: BoxError| failed(&uri, StoreAction::Open, source);
        if let Some(bucket) = location.bucket() {
            let runtime = runtime().map_err(|e| cannot(e.into()))?;
            // Not by `into`, which escapes what a prefix may hold.
            let prefix = Path::parse(&bucket.prefix).map_err(|e| cannot(e.into()))?;
            let (inner, contact) = connect::bucket(bucket).map_err(cannot)?;
            let inner = Arc::new(PrefixStore::new(inner, prefix));
            return Ok(Store { inner, folder: None, runtime: Some(runtime), contact, uri });
        }
        let folder = location.disk().unwrap_or(std::path::Path::new("")).to_path_buf();
        // By itself the client says of a missing folder only that it has no canonical path.
        let found = std::fs::metadata(&folder).map_err(|e| cannot(e.into()))?;
        if !found.is_dir() {
            return Err(cannot(std::io::Error::from(std::io::ErrorKind::NotADirectory).into()));
        }
        let inner = LocalFileSystem::new_with_prefix(&folder).map_err(|e| cannot(e.into()))?;
        let inner = Arc::new(inner.with_fsync(true));
        let contact = Arc::default();
        Ok(Store { inner, folder: Some(folder), runtime: None, contact, uri })
    }

    /// Opens a place; a folder is made if it does not exist.
    ///
    /// # Errors
    /// As [`Store::open`], and if the folder cannot be made.
    pub fn create(location: &Location) -> Result<Store, StoreError> {
        if let Some(folder) = location.disk() {
            std::fs::create_dir_all(folder)
                .map_err(|e| failed(location.uri(), StoreAction::Open, e.into()))?;
        }
        Store::open(location)
    }

    /// Asks whether the place answers: what is wrong with a bucket's name or with credentials shows
    /// now, not after the first hour of work.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self) -> Result<(), StoreError> {
        let found = self.list_at_most("", 1);
        found.map(drop).map_err(|error| StoreError { action: StoreAction::Open, ..error })
    }

    /// A store of any kind, called `uri` in messages.
    pub fn of(inner: Arc<dyn ObjectStore>, uri: &str) -> Store {
        let (contact, uri) = (Arc::default(), uri.to_owned());
        Store { inner, folder: None, runtime: None, contact, uri }
    }

    /// What requests run on; `None` on a disk.
    pub(crate) fn runtime(&self) -> Option<&'static Runtime> {
        self.runtime
    }

    /// The place, for messages.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// `path` with the place before it, for messages.
    pub fn display(&self, path: &str) -> String {
        match path {
            "" => self.uri.clone(),
            path => format!("{}/{path}", self.uri.trim_end_matches('/')),
        }
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let location = self.location(path, StoreAction::Read)?;
        self.wait(self.tried(|| async { self.inner.get(&location).await?.bytes().await }))
            .map_err(|e| self.failed(path, StoreAction::Read, e))
    }

    /// The content of a file, or `None` if there is none.
    pub fn get_if_there(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let location = self.location(path, StoreAction::Read)?;
        let get = || async { self.inner.get(&location).await?.bytes().await };
        let bytes = self.wait(self.tried(get));
        self.if_there(path, StoreAction::Read, bytes)
    }

    /// The bytes of a file in `range`.
    pub fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let location = self.location(path, StoreAction::Read)?;
        self.wait(self.tried(|| self.inner.get_range(&location, range.clone())))
            .map_err(|e| self.failed(path, StoreAction::Read, e))
    }

    /// The content of a file, if it has `at_most` bytes and the store still calls it `etag`.
    pub fn get_unchanged(
        &self,
        path: &str,
        etag: Option<&str>,
        at_most: u64,
    ) -> Result<Content, StoreError> {
        self.wait(self.fetch(path, etag, at_most))
    }

    /// As [`Store::get_unchanged`], to be waited for on the runtime of stores.
    pub async fn fetch(
        &self,
        path: &str,
        etag: Option<&str>,
        at_most: u64,
    ) -> Result<Content, StoreError> {
        let options = GetOptions { if_match: etag.map(str::to_owned), ..GetOptions::default() };
        self.content(path, options, at_most).await
    }

    /// The bytes of a file in `range`, if the store still calls it `etag`.
    pub fn get_part(
        &self,
        path: &str,
        etag: Option<&str>,
        range: Range<u64>,
    ) -> Result<Content, StoreError> {
        self.wait(self.fetch_part(path, etag, range))
    }

    /// As [`Store::get_part`], to be waited for on the runtime of stores.
    pub async fn fetch_part(
        &self,
        path: &str,
        etag: Option<&str>,
        range: Range<u64>,
    ) -> Result<Content, StoreError> {
        let (if_match, range) = (etag.map(str::to_owned), Some(range.into()));
        // The size is that of the whole file, which may have any.
        let options = GetOptions { if_match, range, ..GetOptions::default() };
        self.content(path, options, u64::MAX).await
    }

    async fn content(
        &self,
        path: &str,
        options: GetOptions,
        at_most: u64,
    ) -> Result<Content, StoreError> {
        let location = self.location(path, StoreAction::Read)?;
        let get = || async {
            let found = self.inner.get_opts(&location, options.clone()).await?;
            match found.meta.size > at_most {
                true => Ok(Content::TooLong),
                false => found.bytes().await.map(Content::Whole),
            }
        };
        match self.tried(get).await {
            Err(object_store::Error::Precondition { .. }) => Ok(Content::Changed),
            content => content.map_err(|e| self.failed(path, StoreAction::Read, e)),
        }
    }

    /// The size of a file in bytes, or `None` if there is none.
    pub fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(path)?.map(|file| file.bytes))
    }

    /// What the store says of a file, or `None` if there is none.
    pub fn stat(&self, path: &str) -> Result<Option<StoredFile>, StoreError> {
        let location = self.location(path, StoreAction::Read)?;
        let meta = self.wait(self.tried(|| self.inner.head(&location)));
        let found = self.if_there(path, StoreAction::Read, meta)?;
        Ok(found.map(|ObjectMeta { size, e_tag, .. }| StoredFile {
            path: path.to_owned(),
            bytes: size,
            etag: e_tag,
        }))
    }

    /// Whether there is a file at `path`.
    pub fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.size(path)?.is_some())
    }

    /// Deletes a file, if there is one.
    pub fn delete_if_there(&self, path: &str) -> Result<(), StoreError> {
        self.wait(self.delete_one(path))
    }

    async fn delete_one(&self, path: &str) -> Result<(), StoreError> {
        let location = self.location(path, StoreAction::Delete)?;
        let deleted = self.tried(|| self.inner.delete(&location)).await;
        self.if_there(path, StoreAction::Delete, deleted).map(drop)
    }

    /// The files below the folder `prefix` ("" for all), sorted by path. Staged uploads are not
    /// among them.
    pub fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, StoreError> {
        self.list_at_most(prefix, usize::MAX)
    }

    /// Like [`Store::list`], but stops after `limit` files, in no particular choice.
    pub fn list_at_most(&self, prefix: &str, limit: usize) -> Result<Vec<StoredFile>, StoreError> {
        let mut files = Vec::new();
        self.list_each(prefix, limit, |file| files.push(file))?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Hands over `limit` files below the folder `prefix`, or all, in no particular order, as the
    /// pages of the listing come in.
    pub fn list_each(
        &self,
        prefix: &str,
        limit: usize,
        mut take: impl FnMut(StoredFile),
    ) -> Result<(), StoreError> {
        // Nothing of ours has a name that is none.
        self.list_all(prefix, limit, |listed| match listed {
            Listed::File(file) => take(file),
            Listed::Unnamable(_) => {}
        })
    }

    /// As [`Store::list_each`], with the keys of a bucket that cannot be asked for.
    pub fn list_all(
        &self,
        prefix: &str,
        limit: usize,
        mut take: impl FnMut(Listed),
    ) -> Result<(), StoreError> {
        let location = self.location(prefix, StoreAction::List)?;
        let mut found = self.inner.list(Some(&location)).take(limit);
        let all = async {
            while let Some(meta) = self.patiently(wait::whole(found.try_next())).await? {
                let ObjectMeta { location, size, e_tag, .. } = meta;
                let path = location.to_string();
                take(keys::listed(StoredFile { path, bytes: size, etag: e_tag }));
            }
            Ok(())
        };
        self.wait(all).map_err(|e| self.failed(prefix, StoreAction::List, e))
    }

    /// Removes what crashed writers left in the named folders of a disk: staged uploads that are
    /// older than an hour. Elsewhere a name like `notes#1` may be somebody's file. A bucket has
    /// none of these.
    pub fn remove_stale_uploads(&self, owned: &[&str]) -> Result<(), StoreError> {
        match &self.folder {
            Some(folder) => stale::remove(owned.iter().map(|name| folder.join(name)).collect()),
            None => Ok(()),
        }
    }

    fn location(&self, path: &str, action: StoreAction) -> Result<Path, StoreError> {
        Path::parse(path).map_err(|e| failed(&self.display(path), action, e.into()))
    }

    /// `answer`, or `None` if it is that there is no such file.
    fn if_there<T>(
        &self,
        path: &str,
        action: StoreAction,
        answer: object_store::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        match answer {
            // Without its bucket nothing is there, and nobody asked for that.
            Err(e @ object_store::Error::NotFound { .. }) if !advice::is_of_bucket(&e) => Ok(None),
            answer => answer.map(Some).map_err(|e| self.failed(path, action, e)),
        }
    }

    fn failed(&self, path: &str, action: StoreAction, e: object_store::Error) -> StoreError {
        failed(&self.display(path), action, e.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::local(folder.path())).unwrap();
        (folder, store)
    }

    #[test]
    fn escaped_names_are_written_and_listed_as_they_are() {
        let (folder, store) = store();
        let path = "t/category=a%2Fb süß 100%25/x.parquet";
        store.put(path, "1").unwrap();
        assert!(folder.path().join(path).is_file());
        let listed = store.list("t").unwrap();
        let [StoredFile { path: found, bytes: 1, etag: Some(_) }] = listed.as_slice() else {
            panic!("{listed:?}");
        };
        assert_eq!(found, path);
    }

    #[test]
    fn a_missing_file_is_named() {
        let (_folder, store) = store();
        let message = store.get("nope").unwrap_err().to_string();
        assert!(
            message.ends_with("/nope: cannot be read: no such file or folder: check the path"),
            "{message}"
        );
        assert_eq!(store.get_if_there("nope").unwrap(), None);
    }
}
