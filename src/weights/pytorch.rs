//! PyTorch archives: a zip file with a pickle that describes tensors and one entry per storage.
//! `torch.save` and TorchScript write the same kind. Offsets and strides are honoured, each
//! storage's checksum is compared before its first numbers are used, and nothing is believed before
//! it is compared with what is there.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use burn::tensor::TensorData;
use burn_store::{TensorSnapshot, TensorSnapshotError};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Root, StoredTensor, tensors_of};
use super::stored::{SharedFile, lazy, unreadable};

/// The keys under which files keep their tensors: FiLo's, the detector's, and open_clip's training.
const TOP_LEVEL_KEYS: [&str; 3] = ["filo", "model", "state_dict"];

/// The pickle of the largest published file has less than a hundredth of this.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// One storage of an archive.
#[derive(Clone)]
struct Storage {
    name: Rc<str>,
    start: u64,
    bytes: u64,
    crc32: u32,
}

/// Where the numbers are, and which storages were compared with their checksums.
#[derive(Clone)]
struct Numbers {
    file: SharedFile,
    checked: Rc<RefCell<HashSet<Rc<str>>>>,
}

/// Names and, still unread, numbers of the archive at `path`.
///
/// # Errors
/// Says what is wrong with the archive; the caller knows its path.
pub fn read(path: &Path) -> Result<(Root, BTreeMap<String, TensorSnapshot>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let root = archive
        .file_names()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .find(|root| root.is_empty() || root.ends_with('/'))
        .map(str::to_string)
        .ok_or("there is no data.pkl in it")?;
    if let Some(order) = entry(&mut archive, &format!("{root}byteorder"), 16)?
        && order != b"little"
    {
        return Err("its numbers are big-endian".to_string());
    }
    let pickle = entry(&mut archive, &format!("{root}data.pkl"), MAX_PICKLE_BYTES)?;
    let (kind, tensors) =
        tensors_of(&pickle.ok_or("there is no data.pkl in it")?, &TOP_LEVEL_KEYS)?;
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    let file = SharedFile::open(path).map_err(|error| error.to_string())?;
    let numbers = Numbers { file, checked: Rc::default() };
    let mut storages = BTreeMap::<Rc<str>, Storage>::new();
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors {
        let storage = match storages.get(&tensor.storage) {
            Some(storage) => storage.clone(),
            None => {
                let storage = storage(&mut archive, &root, &tensor.storage)
                    .map_err(|what| format!("{name}: {what}"))?;
                storages.insert(tensor.storage.clone(), storage.clone());
                storage
            }
        };
        check(&storage, &tensor, size).map_err(|what| format!("{name}: {what}"))?;
        let (numbers, dtype, shape) = (numbers.clone(), tensor.dtype, tensor.shape.clone());
        let snapshot = lazy(&name, dtype, shape, move || numbers.of(&storage, &tensor));
        named.insert(name, snapshot);
    }
    Ok((kind, named))
}

/// The bytes of a small entry, if there is one of that name.
fn entry(archive: &mut Archive, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let Ok(entry) = archive.by_name(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} has more than {limit} bytes"));
    }
    Ok(Some(bytes))
}

/// Where the storage of this name lies.
fn storage(archive: &mut Archive, root: &str, name: &str) -> Result<Storage, String> {
    let name = format!("{root}data/{name}");
    let entry = archive.by_name(&name).map_err(|error| format!("{name}: {error}"))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("{name} is compressed, which PyTorch never does"));
    }
    let start = entry.data_start().ok_or_else(|| format!("{name} has no place in the file"))?;
    let bytes = entry.size();
    if bytes != entry.compressed_size() {
        return Err(format!("{name} has two sizes"));
    }
    Ok(Storage { start, bytes, crc32: entry.crc32(), name: name.into() })
}

/// Whether the storage holds every element that the tensor asks for, each asked for about once: a
/// repeated element could make a small file a large tensor.
fn check(storage: &Storage, tensor: &StoredTensor, file_bytes: u64) -> Result<(), String> {
    if storage.start.checked_add(storage.bytes).is_none_or(|end| end > file_bytes) {
        return Err(format!("{} lies beyond the end of the file", storage.name));
    }
    let elements = (storage.bytes / tensor.dtype.size() as u64) as usize;
    let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let last =
        tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |at, (&n, &step)| {
            at.checked_add(n.saturating_sub(1).checked_mul(step)?)
        });
    match (count, last) {
        (Some(0), _) => Ok(()),
        (Some(count), Some(last)) if last < elements && count <= elements => Ok(()),
        _ => Err(format!("{} has {elements} elements, fewer than the tensor needs", storage.name)),
    }
}

impl Numbers {
    /// The numbers of a tensor, row-major.
    fn of(
        &self,
        storage: &Storage,
        tensor: &StoredTensor,
    ) -> Result<TensorData, TensorSnapshotError> {
        let broken = |what: String| unreadable(format_args!("{}: {what}", storage.name));
        self.compare_checksum(storage).map_err(broken)?;
        let size = tensor.dtype.size();
        let count = tensor.shape.iter().product::<usize>();
        if count == 0 {
            return Ok(TensorData::from_bytes_vec(Vec::new(), tensor.shape.clone(), tensor.dtype));
        }
        let start = storage.start + (tensor.offset * size) as u64;
        let span = 1 + last_element(tensor);
        let bytes = self.file.bytes(start, span * size).map_err(|e| broken(e.to_string()))?;
        let bytes = if is_row_major(tensor) { bytes } else { gathered(&bytes, tensor, count) };
        Ok(TensorData::from_bytes_vec(bytes, tensor.shape.clone(), tensor.dtype))
    }

    fn compare_checksum(&self, storage: &Storage) -> Result<(), String> {
        if self.checked.borrow().contains(&storage.name) {
            return Ok(());
        }
        let mut hasher = crc32fast::Hasher::new();
        self.file
            .scan(storage.start, storage.bytes, |block| hasher.update(block))
            .map_err(|error| error.to_string())?;
        if hasher.finalize() != storage.crc32 {
            return Err("the checksum of its numbers is wrong".to_string());
        }
        self.checked.borrow_mut().insert(storage.name.clone());
        Ok(())
    }
}

/// Index of the tensor's last element, counted from its first one in the storage. [`check`] saw
/// that it lies in the storage.
fn last_element(tensor: &StoredTensor) -> usize {
    let steps = tensor.shape.iter().zip(&tensor.strides);
    steps.map(|(&length, &step)| (length - 1) * step).sum()
}

/// Elements that do not lie one behind the other, put in row-major order.
fn gathered(bytes: &[u8], tensor: &StoredTensor, count: usize) -> Vec<u8> {
    let size = tensor.dtype.size();
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..count {
        let at = index.iter().zip(&tensor.strides).map(|(i, step)| i * step).sum::<usize>();
        out.extend_from_slice(&bytes[at * size..][..size]);
        for (position, &length) in index.iter_mut().zip(&tensor.shape).rev() {
            *position += 1;
            if *position < length {
                break;
            }
            *position = 0;
        }
    }
    out
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
