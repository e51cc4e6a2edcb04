//! A file of the input that is read in pieces: for archives, which are too large to be held. In: a
//! place in the file. Out: its bytes, or a [`Failure`] that says why there are none.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use crate::error::{Failure, FailureCode, Stage};
use crate::store::{Content, Store};

/// Bytes that are fetched at a time.
const PIECE: u64 = 8 << 20;

/// A file that stays what it was when it was opened: one that changes in a bucket ends in a failure.
#[derive(Debug)]
pub struct OpenFile {
    bytes: OpenBytes,
    size: u64,
    /// Where the piece begins that was fetched last, and that piece.
    ahead: Mutex<(u64, Bytes)>,
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
        OpenFile { bytes, size, ahead: Mutex::default() }
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
    /// A [`Failure`] of [`Stage::Fetch`].
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        match &self.bytes {
            #[cfg(test)]
            OpenBytes::Memory(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
                Ok(bytes.slice(at(range.start)..at(range.end)))
            }
            OpenBytes::Disk { file, shown } => read_range(file, range).map_err(|error| {
                let what = format!("{shown}: {error}: check the file and its disk");
                Failure::new(Stage::Fetch, FailureCode::Unreadable, what)
            }),
            OpenBytes::Bucket { store, id, etag } => {
                match store.get_part(id, etag.as_deref(), range) {
                    Ok(Content::Whole(bytes)) => Ok(bytes),
                    Ok(Content::Changed | Content::TooLong) => {
                        Err(super::input::changed(&store.display(id)))
                    }
                    Err(error) => {
                        let what = error.to_string();
                        Err(Failure::new(Stage::Fetch, FailureCode::Unreadable, what))
                    }
                }
            }
        }
    }

    /// As [`OpenFile::read`], for readers that know errors of the system only: the first failure is
    /// noted in `broke`.
    pub(super) fn read_or_note(
        &self,
        range: Range<u64>,
        broke: &OnceLock<Failure>,
    ) -> std::io::Result<Bytes> {
        self.read(range).map_err(|failure| noted(failure, broke))
    }

    /// As [`OpenFile::read`], for ranges that follow each other closely: a bucket is asked for a
    /// large piece at a time.
    ///
    /// # Errors
    /// A [`Failure`] of [`Stage::Fetch`].
    pub(super) fn read_ahead(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        let OpenBytes::Bucket { .. } = &self.bytes else { return self.read(range) };
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, piece) = &*ahead;
        let held = *start..*start + piece.len() as u64;
        if !(held.contains(&range.start) && range.end <= held.end) {
            let end = range.end.max(self.size.min(range.start + PIECE));
            *ahead = (range.start, self.read(range.start..end)?);
        }
        let at = |place: u64| usize::try_from(place - ahead.0).unwrap_or(usize::MAX);
        Ok(ahead.1.slice(at(range.start)..at(range.end)))
    }

    /// The file as one that is read and sought in. What breaks it off is noted in `broke`.
    pub(super) fn seekable<'a>(&'a self, broke: &'a OnceLock<Failure>) -> impl Read + Seek + 'a {
        Seekable { file: self, broke, next: 0 }
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
