//! PyTorch archives: a zip file with a pickle that describes tensors and one entry per storage.
//! Offsets and strides are honoured, checksums are checked when numbers are read, and nothing is
//! believed before it is compared with what is there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{Shape, TensorData};
use burn_store::{TensorSnapshot, TensorSnapshotError};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{StoredTensor, tensors_of};

/// The keys under which the published files keep their tensors: FiLo's, and the detector's.
const TOP_LEVEL_KEYS: [&str; 2] = ["filo", "model"];

/// The pickle of the largest published file has less than a hundredth of this.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

type Archive = Rc<RefCell<ZipArchive<BufReader<File>>>>;

/// Names and, still unread, numbers of the archive at `path`.
///
/// # Errors
/// Says what is wrong with the archive; the caller knows its path.
pub fn read(path: &Path) -> Result<BTreeMap<String, TensorSnapshot>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let root = archive
        .file_names()
        .find_map(|name| name.strip_suffix("data.pkl").map(str::to_string))
        .ok_or("there is no data.pkl in it")?;
    if let Some(order) = entry(&mut archive, &format!("{root}byteorder"), 16)?
        && order != b"little"
    {
        return Err("its numbers are big-endian".to_string());
    }
    let pickle = entry(&mut archive, &format!("{root}data.pkl"), MAX_PICKLE_BYTES)?;
    let tensors = tensors_of(&pickle.ok_or("there is no data.pkl in it")?, &TOP_LEVEL_KEYS)?;
    let archive = Rc::new(RefCell::new(archive));
    let snapshot = |(name, tensor): (String, StoredTensor)| {
        let storage = format!("{root}data/{}", tensor.storage);
        check(&archive, &storage, &tensor).map_err(|what| format!("{name}: {what}"))?;
        let (dtype, shape) = (tensor.dtype, Shape::from(tensor.shape.clone()));
        let archive = archive.clone();
        let path = name.split('.').map(str::to_string).collect();
        let read = move || numbers(&archive, &storage, &tensor);
        let snapshot = TensorSnapshot::from_closure(
            Rc::new(read),
            dtype,
            shape,
            path,
            Vec::new(),
            ParamId::new(),
        );
        Ok((name, snapshot))
    };
    tensors.into_iter().map(snapshot).collect()
}

/// The bytes of a small entry, if there is one of that name.
fn entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, String> {
    let Ok(entry) = archive.by_name(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} has more than {limit} bytes"));
    }
    Ok(Some(bytes))
}

/// Whether the storage is there and holds every element that the tensor asks for, each asked for
/// about once: a repeated element could make a small file a large tensor.
fn check(archive: &Archive, storage: &str, tensor: &StoredTensor) -> Result<(), String> {
    let mut archive = archive.borrow_mut();
    let entry = archive.by_name(storage).map_err(|error| format!("{storage}: {error}"))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("{storage} is compressed, which PyTorch never does"));
    }
    let elements = (entry.size() / tensor.dtype.size() as u64) as usize;
    let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let last =
        tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |at, (&n, &step)| {
            at.checked_add(n.saturating_sub(1).checked_mul(step)?)
        });
    match (count, last) {
        (Some(0), _) => Ok(()),
        (Some(count), Some(last)) if last < elements && count <= elements => Ok(()),
        _ => Err(format!("{storage} has {elements} elements, fewer than the tensor needs")),
    }
}

/// The numbers of a tensor, row-major.
fn numbers(
    archive: &Archive,
    storage: &str,
    tensor: &StoredTensor,
) -> Result<TensorData, TensorSnapshotError> {
    let mut archive = archive.borrow_mut();
    let broken = |what: String| TensorSnapshotError::DataError(format!("{storage}: {what}"));
    let mut entry = archive.by_name(storage).map_err(|error| broken(error.to_string()))?;
    let mut bytes = Vec::new();
    // To the very end, where the checksum is compared.
    entry.read_to_end(&mut bytes).map_err(|error| broken(error.to_string()))?;
    let size = tensor.dtype.size();
    let count = tensor.shape.iter().product::<usize>();
    if is_row_major(tensor) {
        let start = tensor.offset * size;
        let all =
            bytes.get(start..start + count * size).ok_or_else(|| broken("cut short".into()))?;
        return Ok(TensorData::from_bytes_vec(all.to_vec(), tensor.shape.clone(), tensor.dtype));
    }
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..count {
        let at = index.iter().zip(&tensor.strides).map(|(i, step)| i * step).sum::<usize>();
        let start = (tensor.offset + at) * size;
        let element = bytes.get(start..start + size).ok_or_else(|| broken("cut short".into()))?;
        out.extend_from_slice(element);
        for (position, &length) in index.iter_mut().zip(&tensor.shape).rev() {
            *position += 1;
            if *position < length {
                break;
            }
            *position = 0;
        }
    }
    Ok(TensorData::from_bytes_vec(out, tensor.shape.clone(), tensor.dtype))
}

/// Whether the elements lie one behind the other. The step along a dimension of one is never taken.
fn is_row_major(tensor: &StoredTensor) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(&length, &step)| {
        let fits = length == 1 || step == expected;
        expected *= length;
        fits
    })
}
