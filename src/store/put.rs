//! How a file comes to be. A path and bytes in; whenever the program ends, the file is there whole and
//! durable, or it is not there and nothing lies beside it.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutPayload, RenameOptions, RenameTargetMode};

use super::{Put, Store, runtime_for};
use crate::error::{StoreAction, StoreError};

/// Files of a disk on their way to where they belong.
pub(super) const STAGING: &str = "_filo/staging";

/// Files that are written at the same time.
const AT_ONCE: usize = 16;

impl Store {
    /// Writes a file, replacing the one that is there.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        self.wait(self.put_one(path, bytes.into()))
    }

    /// Writes files as [`Store::put`] does, and deletes those of `gone` that are there: many at a time,
    /// as a bucket and a disk let wait for each. After an error some of it may be done.
    pub fn put_all(
        &self,
        files: Vec<(String, Bytes)>,
        gone: Vec<String>,
    ) -> Result<(), StoreError> {
        let puts = files.into_iter().map(|(path, bytes)| (path, Some(bytes)));
        let all = puts.chain(gone.into_iter().map(|path| (path, None)));
        let all = futures::stream::iter(all.map(Ok));
        let done = all.try_for_each_concurrent(AT_ONCE, |(path, bytes)| async move {
            match bytes {
                Some(bytes) => self.put_one(&path, bytes).await,
                None => self.delete_one(&path).await,
            }
        });
        // On the runtime even a disk does several things at a time.
        runtime_for(self.uri())?.block_on(done)
    }

    async fn put_one(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let payload = PutPayload::from(bytes);
        let location = self.location(path, StoreAction::Write)?;
        let written = match self.folder {
            None => self.tried(|| self.inner.put(&location, payload.clone())).await.map(drop),
            Some(_) => self.put_on_disk(&location, payload, RenameTargetMode::Overwrite).await,
        };
        written.map_err(|e| self.failed(path, StoreAction::Write, e))
    }

    /// A killed writer leaves what it had begun. Beside the file, it would be rows to a reader of
    /// the folder; all readers of tables leave out folders whose name begins with `_`.
    async fn put_on_disk(
        &self,
        to: &Path,
        payload: PutPayload,
        mode: RenameTargetMode,
    ) -> object_store::Result<()> {
        let name = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let staged = Path::from(STAGING).join(name);
        self.inner.put(&staged, payload).await?;
        let options = RenameOptions::new().with_target_mode(mode);
        let renamed = self.inner.rename_opts(&staged, to, options).await;
        if renamed.is_err() {
            // The error is what counts; what is left here goes with the next stale files.
            let _ = self.inner.delete(&staged).await;
        }
        renamed
    }

    /// Writes a file unless there is one; among racing writers exactly one creates it.
    pub fn put_if_absent(&self, path: &str, bytes: impl Into<Bytes>) -> Result<Put, StoreError> {
        let payload = PutPayload::from(bytes.into());
        let location = self.location(path, StoreAction::Write)?;
        // A try whose answer was lost may have been the one that made the file.
        let put = || self.inner.put_opts(&location, payload.clone(), PutMode::Create.into());
        let written = match self.folder {
            None => self.wait(self.tried(put)).map(drop),
            Some(_) => self.wait(self.put_on_disk(&location, payload, RenameTargetMode::Create)),
        };
        match written {
            Ok(()) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::AlreadyThere),
            Err(e) => Err(self.failed(path, StoreAction::Write, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

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
    fn what_a_killed_writer_leaves_is_never_among_the_rows() {
        let (folder, store) = store();
        assert_eq!(store.put_if_absent("a/b", "one").unwrap(), Put::Created);
        assert_eq!(store.put_if_absent("a/b", "two").unwrap(), Put::AlreadyThere);
        store.put("a/c", "three").unwrap();
        let staged = std::fs::read_dir(folder.path().join(STAGING)).unwrap();
        assert_eq!(staged.count(), 0);
        // Nothing can be begun anywhere else: with no place for what is begun, no file is.
        std::fs::remove_dir_all(folder.path().join("_filo")).unwrap();
        std::fs::write(folder.path().join("_filo"), "no folder").unwrap();
        assert!(store.put("a/d", "four").is_err());
        assert!(store.put_if_absent("a/e", "five").is_err());
        let names = store.list("a").unwrap().into_iter().map(|file| file.path);
        assert_eq!(names.collect::<Vec<_>>(), ["a/b", "a/c"]);
    }
}
