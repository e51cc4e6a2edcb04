//! Numbers that lie in a file until somebody asks for them. In: an open file and a range of bytes.
//! Out: lazy tensors. Ranges are read one at a time and never mapped, so that going through a
//! large checkpoint needs the memory of its largest tensor only.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{DType, Shape, TensorData};
use burn_store::{TensorSnapshot, TensorSnapshotError};

/// A file that many lazy tensors read from.
#[derive(Clone)]
pub struct SharedFile(Rc<RefCell<File>>);

impl SharedFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(SharedFile(Rc::new(RefCell::new(File::open(path)?))))
    }

    /// `length` bytes from `start`.
    ///
    /// # Errors
    /// If they cannot be read, or the file ends before.
    pub fn bytes(&self, start: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.each_block(start, &mut bytes, |_| ())?;
        Ok(bytes)
    }

    /// Reads `length` bytes from `start` through a small buffer and shows each block.
    ///
    /// # Errors
    /// As [`SharedFile::bytes`].
    pub fn scan(
        &self,
        start: u64,
        length: u64,
        mut show: impl FnMut(&[u8]),
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; (1 << 20).min(length as usize)];
        let mut at = 0;
        while at < length {
            let block = buffer.len().min((length - at) as usize);
            self.each_block(start + at, &mut buffer[..block], &mut show)?;
            at += block as u64;
        }
        Ok(())
    }

    fn each_block(
        &self,
        start: u64,
        into: &mut [u8],
        show: impl FnOnce(&[u8]),
    ) -> std::io::Result<()> {
        let mut file = self.0.borrow_mut();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(into)?;
        show(into);
        Ok(())
    }
}

/// A tensor of this name whose numbers `read` fetches.
pub fn lazy(
    name: &str,
    dtype: DType,
    shape: Vec<usize>,
    read: impl Fn() -> Result<TensorData, TensorSnapshotError> + 'static,
) -> TensorSnapshot {
    let path = name.split('.').map(str::to_string).collect();
    let shape = Shape::from(shape);
    TensorSnapshot::from_closure(Rc::new(read), dtype, shape, path, Vec::new(), ParamId::new())
}

/// Why numbers could not be had.
pub fn unreadable(what: impl std::fmt::Display) -> TensorSnapshotError {
    TensorSnapshotError::DataError(what.to_string())
}

/// blake3 of a file, hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn blake3_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}
