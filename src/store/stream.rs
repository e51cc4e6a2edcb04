//! A file that is too long for memory. In: bytes, piece by piece. Out: a file that is there whole or not
//! at all: on a disk it grows beside its place and is renamed, in a bucket it is uploaded in parts. What
//! is dropped before its end leaves nothing.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::{Store, sync_folder_of};
use crate::error::{StoreAction, StoreError};

/// Bytes of a part. A bucket takes 10 000 parts, so a file may have 78 GiB.
const PART: usize = 8 << 20;

/// A file of a disk that is being written.
#[derive(Debug)]
pub struct GrowingFile {
    path: PathBuf,
    beside: PathBuf,
    /// `None` once it is where it belongs.
    file: Option<BufWriter<File>>,
}

impl GrowingFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(path: &Path) -> std::io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".tmp");
        let beside = path.with_file_name(name);
        let file = Some(BufWriter::new(File::create(&beside)?));
        Ok(GrowingFile { path: path.to_owned(), beside, file })
    }

    /// Adds `bytes`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Puts the file where it belongs, in the place of one that is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush()?;
            file.get_ref().sync_all()?;
            std::fs::rename(&self.beside, &self.path)?;
        }
        self.file = None;
        sync_folder_of(&self.path)
    }
}

impl Drop for GrowingFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody is left to be told that it cannot be removed.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// A file of a store that is being written; one that stays short is put at once.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    path: String,
    waiting: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Store {
    /// Begins a file, which replaces the one that is there when it is finished.
    pub fn upload(&self, path: &str) -> Upload {
        Upload { store: self.clone(), path: path.to_owned(), waiting: Vec::new(), parts: None }
    }
}

impl Upload {
    /// Adds `bytes`.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
            if self.waiting.len() == PART {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Makes the file appear.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub fn finish(mut self) -> Result<(), StoreError> {
        if self.parts.is_none() {
            return self.store.put(&self.path, std::mem::take(&mut self.waiting));
        }
        if !self.waiting.is_empty() {
            self.send()?;
        }
        if let Some(parts) = &mut self.parts {
            let done = self.store.wait(parts.complete());
            done.map_err(|e| self.store.failed(&self.path, StoreAction::Write, e))?;
        }
        // There is nothing to take back any more.
        self.parts = None;
        Ok(())
    }

    /// Uploads what waits. The client itself tries a part again.
    fn send(&mut self) -> Result<(), StoreError> {
        let Upload { store, path, waiting, parts } = self;
        let payload = PutPayload::from(std::mem::take(waiting));
        let failed = |e| store.failed(path, StoreAction::Write, e);
        let parts = match parts {
            Some(parts) => parts,
            None => {
                let location = store.location(path, StoreAction::Write)?;
                let begun = store.tried(|| store.inner.put_multipart(&location));
                parts.insert(store.wait(begun).map_err(failed)?)
            }
        };
        store.wait(parts.put_part(payload)).map_err(failed)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // A bucket keeps parts of what never ends, and wants money for them.
            let _ = self.store.wait(parts.abort());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_long_file_is_there_whole_and_one_that_is_dropped_is_not() {
        let store = Store::of(Arc::new(object_store::memory::InMemory::new()), "m");
        for bytes in [0, 10, PART, 2 * PART + 5] {
            let text = (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>();
            let mut upload = store.upload("a/b");
            text.chunks(1_000_003).try_for_each(|piece| upload.write(piece)).unwrap();
            assert!(!store.exists("a/b").unwrap());
            upload.finish().unwrap();
            assert!(store.get("a/b").unwrap() == text, "{bytes}");
            store.delete_if_there("a/b").unwrap();
        }
        let mut upload = store.upload("a/b");
        upload.write(&vec![1; PART + 1]).unwrap();
        drop(upload);
        assert!(!store.exists("a/b").unwrap());
    }

    #[test]
    fn a_file_of_a_disk_grows_beside_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "old").unwrap();
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut file = GrowingFile::begin(&path).unwrap();
        file.write(b"new").unwrap();
        assert_eq!((names(), std::fs::read_to_string(&path).unwrap()), (2, "old".into()));
        drop(file);
        assert_eq!((names(), std::fs::read_to_string(&path).unwrap()), (1, "old".into()));
        let mut file = GrowingFile::begin(&path).unwrap();
        file.write(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!((names(), std::fs::read_to_string(&path).unwrap()), (1, "new".into()));
    }
}
