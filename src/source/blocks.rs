//! A file of the input as readers of Parquet want it: any place of it, in small and large pieces.
//! In: ranges. Out: their bytes, out of the large pieces in which the file is read.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::open_file::OpenFile;
use crate::error::Failure;

/// The file. Clones share its pieces.
#[derive(Clone)]
pub(super) struct Blocks {
    file: Arc<OpenFile>,
    broke: Arc<OnceLock<Failure>>,
}

impl Blocks {
    /// Nothing read yet. What breaks the file off is noted in `broke`.
    pub fn new(file: Arc<OpenFile>, broke: Arc<OnceLock<Failure>>) -> Self {
        Blocks { file, broke }
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.file.size()
    }
}

impl ChunkReader for Blocks {
    type T = From;

    fn get_read(&self, start: u64) -> ParquetResult<From> {
        Ok(From { blocks: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.file.size()) {
            return Err(ParquetError::EOF("a column lies outside of the file".to_owned()));
        }
        let mut bytes = Vec::new();
        From { blocks: self.clone(), at: start }.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The file from a place on.
pub(super) struct From {
    blocks: Blocks,
    at: u64,
}

impl Read for From {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let Blocks { file, broke } = &self.blocks;
        if self.at >= file.size() {
            return Ok(0);
        }
        let (begins, piece) = file.piece_at(self.at, broke)?;
        // A piece that holds a byte of the file has so many before it.
        let from = usize::try_from(self.at - begins).unwrap_or(piece.len()).min(piece.len());
        let n = piece.slice(from..).reader().read(out)?;
        self.at += n as u64;
        Ok(n)
    }
}
