//! A file of the input that is read in pieces: for archives, which are too large to be held. In: a
//! place in the file. Out: its bytes, or a [`Failure`] that says why there are none.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::{Buf, Bytes};

use crate::error::{Failure, FailureCode, Stage};
use crate::store::{Content, Store};

/// Bytes that are fetched at a time.
const PIECE: u64 = 8 << 20;

/// A file that stays what it was when it was opened: one that changes in a bucket ends in a failure.
#[derive(Debug)]
pub struct OpenFile {
    bytes: OpenBytes,
    size: u64,
}

#[derive(Debug)]
pub(super) enum OpenBytes {
    Disk { file: Mutex<File>, shown: String },
    Bucket { store: Store, id: String, etag: Option<String> },
}

impl OpenFile {
    pub(super) fn new(bytes: OpenBytes, size: u64) -> Self {
        OpenFile { bytes, size }
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
        self.read(range).map_err(|failure| {
            let what = failure.message.clone();
            broke.get_or_init(|| failure);
            std::io::Error::other(what)
        })
    }

    /// The file from its beginning to its end. What breaks it off is noted in `broke`.
    pub fn stream<'a>(&'a self, broke: &'a OnceLock<Failure>) -> impl Read + Send + 'a {
        Stream { file: self, broke, next: 0, ahead: Bytes::new() }
    }
}

fn read_range(file: &Mutex<File>, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

struct Stream<'a> {
    file: &'a OpenFile,
    broke: &'a OnceLock<Failure>,
    next: u64,
    ahead: Bytes,
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if !self.ahead.has_remaining() && self.next < self.file.size {
            let end = self.file.size.min(self.next + PIECE);
            self.ahead = self.file.read_or_note(self.next..end, self.broke)?;
            self.next = end;
        }
        self.ahead.as_ref().read(out).inspect(|&n| self.ahead.advance(n))
    }
}
