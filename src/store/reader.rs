//! A file of a store, read from its beginning to its end in large pieces: for archives, which are
//! too large to be held.

use std::io::{Read, Result};

use bytes::{Buf, Bytes};

use super::{Content, Store};

/// Bytes of one request.
const PIECE: u64 = 8 << 20;

/// Reads a file of a store; an error if it changes meanwhile.
pub struct StoreReader {
    store: Store,
    path: String,
    etag: Option<String>,
    size: u64,
    next: u64,
    ahead: Bytes,
}

impl StoreReader {
    /// The file at `path`, which has `size` bytes and is called `etag` by the store.
    pub fn new(store: Store, path: String, etag: Option<String>, size: u64) -> Self {
        StoreReader { store, path, etag, size, next: 0, ahead: Bytes::new() }
    }
}

impl Read for StoreReader {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if !self.ahead.has_remaining() && self.next < self.size {
            let range = self.next..self.size.min(self.next + PIECE);
            let end = range.end;
            let etag = self.etag.as_deref();
            let piece = self.store.get_part(&self.path, etag, range);
            match piece.map_err(std::io::Error::other)? {
                Content::Whole(bytes) => self.ahead = bytes,
                Content::Changed | Content::TooLong => {
                    return Err(std::io::Error::other("the file changed while it was read"));
                }
            }
            self.next = end;
        }
        self.ahead.as_ref().read(out).inspect(|&n| self.ahead.advance(n))
    }
}
