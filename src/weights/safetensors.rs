//! Safetensors files, read tensor by tensor and written tensor by tensor. The header is parsed
//! by the `safetensors` crate; here is what keeps one tensor in memory at a time.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use burn_store::TensorSnapshot;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};

use super::stored::{SharedFile, lazy, unreadable};

/// A header larger than this is none of a checkpoint.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// Names and, still unread, numbers of the file at `path`.
///
/// # Errors
/// Says what is wrong with the file; the caller knows its path.
pub fn read(path: &Path) -> Result<BTreeMap<String, TensorSnapshot>, String> {
    let file = SharedFile::open(path).map_err(|error| error.to_string())?;
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len() as usize;
    let prefix = file.bytes(0, PREFIX).map_err(|error| error.to_string())?;
    let header = file.bytes(0, header_end(&prefix, size)?).map_err(|error| error.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, stored) in parsed(&header, size)? {
        let (file, shape) = (file.clone(), stored.shape.clone());
        let read = move || {
            let length = stored.end - stored.start;
            let bytes = file.bytes(stored.start as u64, length).map_err(unreadable)?;
            Ok(TensorData::from_bytes_vec(bytes, stored.shape.clone(), stored.dtype))
        };
        let tensor = lazy(&name, stored.dtype, shape, read);
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Where a tensor's numbers lie in its file.
pub struct Stored {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// First byte, and the one behind the last.
    pub start: usize,
    pub end: usize,
}

/// What is in a whole file in memory.
///
/// # Errors
/// Says what is wrong with the file; the caller knows its path.
pub fn entries_of(file: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let end = header_end(file.get(..PREFIX).ok_or("it has no header")?, file.len())?;
    parsed(&file[..end], file.len())
}

/// Bytes before the header, which say how long it is.
const PREFIX: usize = 8;

/// Where the header ends in a file of `size` bytes that begins with `prefix`.
fn header_end(prefix: &[u8], size: usize) -> Result<usize, String> {
    let length = prefix.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    if length > MAX_HEADER_BYTES || PREFIX + length as usize > size {
        return Err(format!("its header is said to have {length} bytes"));
    }
    Ok(PREFIX + length as usize)
}

/// What `header`, prefix included, says of a file of `size` bytes.
fn parsed(header: &[u8], size: usize) -> Result<BTreeMap<String, Stored>, String> {
    let metadata =
        serde_json::from_slice::<Metadata>(&header[PREFIX..]).map_err(|error| error.to_string())?;
    let mut infos = metadata.tensors().into_iter().collect::<Vec<_>>();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut stored = BTreeMap::new();
    let mut end = header.len();
    for (name, info) in infos {
        let dtype = dtype_of(info.dtype)
            .ok_or_else(|| format!("{name}: numbers of type {:?}, refused", info.dtype))?;
        let misplaced = || format!("{name}: its numbers are not where its shape says");
        // As the format has it: one tensor behind the other, without gaps.
        let (start, bytes) = (end, bytes_of(&info.shape, dtype).ok_or_else(misplaced)?);
        end = start.checked_add(bytes).ok_or_else(misplaced)?;
        let (from, to) = info.data_offsets;
        if start - header.len() != from || end - header.len() != to {
            return Err(misplaced());
        }
        stored.insert(name, Stored { dtype, shape: info.shape.clone(), start, end });
    }
    match end == size {
        true => Ok(stored),
        false => Err(format!("it has {size} bytes, its header says {end}")),
    }
}

fn bytes_of(shape: &[usize], dtype: DType) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |bytes, &size| bytes.checked_mul(size))
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 | Dtype::BOOL => DType::U8,
        _ => return None,
    })
}

/// What the header says of one tensor that is about to be written.
pub struct Entry {
    pub name: String,
    /// F32, F16 or BF16.
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl Entry {
    /// Bytes that the numbers take.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.dtype.size() as u64
    }
}

/// Writes the header for `entries`, whose numbers must then be written in that order, little-endian,
/// one behind the other. Returns the bytes written.
///
/// # Errors
/// As the writer says.
pub fn write_header(out: &mut impl Write, entries: &[Entry]) -> io::Result<u64> {
    let mut header = Map::new();
    let mut at = 0;
    for entry in entries {
        let end = at + entry.bytes();
        let dtype = match entry.dtype {
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            _ => "F32",
        };
        let about = json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [at, end] });
        header.insert(entry.name.clone(), about);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // Numbers start at a multiple of eight.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    Ok(8 + header.len() as u64)
}
