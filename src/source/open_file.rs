//! A file of the input that is read in pieces: for archives, which are too large to be held. In: a
//! place in the file. Out: its bytes, or a [`Failure`] that says why there are none.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::file_place::{changed, unreadable};
use super::pieces::Pieces;
use crate::error::{Failure, StoreError};
use crate::store::{Content, Store};

/// Bytes on their way.
pub(super) type Begun = tokio::task::JoinHandle<Result<Bytes, Failure>>;

/// A file that stays what it was when it was opened: one that changes in a bucket ends in a failure.
#[derive(Debug)]
pub struct OpenFile {
    bytes: OpenBytes,
    size: u64,
    pieces: Pieces,
}

#[derive(Debug)]
pub(super) enum OpenBytes {
    Disk {
        file: Mutex<File>,
        shown: String,
    },
    Bucket {
        store: Store,
        id: String,
        etag: Option<String>,
    },
    #[cfg(test)]
    Memory(Bytes),
}

impl OpenFile {
    pub(super) fn new(bytes: OpenBytes, size: u64) -> Self {
        OpenFile { bytes, size, pieces: Pieces::default() }
    }

    /// A file of these bytes.
    #[cfg(test)]
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        OpenFile::new(OpenBytes::Memory(bytes.into()), size)
    }

    /// Length, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, all of them.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        match &self.bytes {
            #[cfg(test)]
            OpenBytes::Memory(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
                Ok(bytes.slice(at(range.start)..at(range.end)))
            }
            OpenBytes::Disk { file, shown } => read_range(file, range).map_err(|error| {
                unreadable(format!("{shown}: {error}: check the file and its disk"))
            }),
            OpenBytes::Bucket { store, id, etag } => {
                of_bucket(store, id, store.get_part(id, etag.as_deref(), range))
            }
        }
    }

    /// As [`OpenFile::read`], for ranges that follow each other closely: a bucket is asked for large
    /// pieces, some of them before they are needed.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub(super) fn read_ahead(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        match &self.bytes {
            OpenBytes::Bucket { .. } => self.pieces.read(self, range),
            _ => self.read(range),
        }
    }

    /// A part of the file that holds `at`, and where it begins: as [`OpenFile::read_ahead`], from a
    /// disk as well.
    ///
    /// # Errors
    /// As [`OpenFile::read`]; the first failure is noted in `broke`.
    pub(super) fn piece_at(
        &self,
        at: u64,
        broke: &OnceLock<Failure>,
    ) -> std::io::Result<(u64, Bytes)> {
        self.pieces.piece_at(self, at).map_err(|failure| noted(failure, broke))
    }

    /// Begins to read `range` from a bucket, elsewhere there is nothing to gain.
    pub(super) fn begin(&self, range: Range<u64>) -> Option<Begun> {
        let OpenBytes::Bucket { store, id, etag } = &self.bytes else { return None };
        let (store, id, etag) = (store.clone(), id.clone(), etag.clone());
        let runtime = store.runtime()?;
        Some(runtime.spawn(async move {
            let part = store.fetch_part(&id, etag.as_deref(), range).await;
            of_bucket(&store, &id, part)
        }))
    }

    /// The file as one that is read and sought in. What breaks it off is noted in `broke`.
    pub(super) fn seekable<'a>(&'a self, broke: &'a OnceLock<Failure>) -> impl Read + Seek + 'a {
        Seekable { file: self, broke, next: 0 }
    }
}

fn of_bucket(store: &Store, id: &str, part: Result<Content, StoreError>) -> Result<Bytes, Failure> {
    match part {
        Ok(Content::Whole(bytes)) => Ok(bytes),
        Ok(Content::Changed | Content::TooLong) => Err(changed(&store.display(id))),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// The failure as an error of the system; the first one is noted in `broke`.
fn noted(failure: Failure, broke: &OnceLock<Failure>) -> std::io::Error {
    let what = failure.message.clone();
    broke.get_or_init(|| failure);
    std::io::Error::other(what)
}

struct Seekable<'a> {
    file: &'a OpenFile,
    broke: &'a OnceLock<Failure>,
    next: u64,
}

impl Read for Seekable<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let end = self.file.size.min(self.next.saturating_add(out.len() as u64));
        if self.next >= end {
            return Ok(0);
        }
        let bytes = self.file.read_ahead(self.next..end);
        let bytes = bytes.map_err(|failure| noted(failure, self.broke))?;
        out[..bytes.len()].copy_from_slice(&bytes);
        self.next = end;
        Ok(bytes.len())
    }
}

impl Seek for Seekable<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.next.checked_add_signed(by),
            SeekFrom::End(by) => self.file.size.checked_add_signed(by),
        };
        self.next = target.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.next)
    }
}

fn read_range(file: &Mutex<File>, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}
