//! A file of the input as readers of Parquet want it: any place of it, in small and large pieces.
//! In: ranges. Out: their bytes, fetched in large blocks, of which the last few are kept.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::open_file::OpenFile;
use crate::error::Failure;

/// Bytes that are fetched at a time, and how many such blocks are kept: columns are read in turns.
const BLOCK: u64 = 4 << 20;
const BLOCKS: usize = 8;

/// The file, a few blocks in memory at a time. Clones share them.
#[derive(Clone)]
pub(super) struct Blocks {
    file: Arc<OpenFile>,
    /// Blocks that were read last, by their number.
    kept: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
    broke: Arc<OnceLock<Failure>>,
}

impl Blocks {
    /// Nothing read yet. What breaks the file off is noted in `broke`.
    pub fn new(file: Arc<OpenFile>, broke: Arc<OnceLock<Failure>>) -> Self {
        Blocks { file, kept: Arc::default(), broke }
    }

    fn block(&self, number: u64) -> std::io::Result<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(block.clone());
        }
        let start = number * BLOCK;
        let end = self.file.size().min(start + BLOCK);
        let block = self.file.read_or_note(start..end, &self.broke)?;
        if kept.len() == BLOCKS {
            kept.pop_front();
        }
        kept.push_back((number, block.clone()));
        Ok(block)
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
        if self.at >= self.blocks.file.size() {
            return Ok(0);
        }
        let mut block = self.blocks.block(self.at / BLOCK)?;
        block.advance((self.at % BLOCK) as usize);
        let n = block.as_ref().read(out)?;
        self.at += n as u64;
        Ok(n)
    }
}
