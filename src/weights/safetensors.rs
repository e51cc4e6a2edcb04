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
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    let prefix = file.bytes(0, 8).map_err(|error| error.to_string())?;
    let header = prefix.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    if header > MAX_HEADER_BYTES || 8 + header > size {
        return Err(format!("its header is said to have {header} bytes"));
    }
    let text = file.bytes(8, header as usize).map_err(|error| error.to_string())?;
    let metadata = serde_json::from_slice::<Metadata>(&text).map_err(|error| error.to_string())?;
    let mut infos = metadata.tensors().into_iter().collect::<Vec<_>>();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let (start, mut end) = (8 + header, 0);
    let mut tensors = BTreeMap::new();
    for (name, info) in infos {
        let dtype = dtype_of(info.dtype)
            .ok_or_else(|| format!("{name}: numbers of type {:?}, refused", info.dtype))?;
        let bytes = bytes_of(&info.shape, dtype);
        let (from, to) = info.data_offsets;
        // As the format has it: one tensor behind the other, without gaps.
        if from != end || bytes.and_then(|bytes| from.checked_add(bytes)) != Some(to) {
            return Err(format!("{name}: its numbers are not where its shape says"));
        }
        end = to;
        if start + to as u64 > size {
            return Err(format!("{name}: its numbers lie beyond the end of the file"));
        }
        let (file, shape) = (file.clone(), info.shape.clone());
        let of = shape.clone();
        let read = move || {
            let bytes = file.bytes(start + from as u64, to - from).map_err(unreadable)?;
            Ok(TensorData::from_bytes_vec(bytes, of.clone(), dtype))
        };
        tensors.insert(name.clone(), lazy(&name, dtype, shape, read));
    }
    match start + end as u64 == size {
        true => Ok(tensors),
        false => Err("it is longer than its header says".to_string()),
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
