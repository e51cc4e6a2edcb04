//! Checkpoints: files of named tensors, from strangers. A [`Checkpoint`] lists what is inside
//! without reading the numbers; [`load`] fills a network and reports what was used.
//! Nothing in a file is ever executed: pickles are parsed for tensors and nothing else.

pub mod config;
pub mod keymap;
pub mod load;
mod pickle;
pub mod positions;
mod pytorch;
pub mod save;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn_store::{ModuleStore, SafetensorsStore, TensorSnapshot};

use crate::error::WeightsError;

/// A file of named tensors; the numbers are read when a network asks for them.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, TensorSnapshot>,
}

impl Checkpoint {
    /// Opens `path`: a weights file, or a folder that holds exactly one. What a file is, is
    /// recognised by its first bytes, never by its name.
    ///
    /// # Errors
    /// If there is no such file, it is of no kind we read, or its index is broken.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let path = the_file(path)?;
        let tensors = match Format::of(&path)? {
            Format::Safetensors => safetensors(&path)?,
            Format::Pytorch => pytorch::read(&path)
                .map_err(|what| WeightsError::Broken { path: path.clone(), what })?,
        };
        Ok(Checkpoint { path, tensors })
    }

    /// The file itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names and, still unread, numbers.
    pub fn tensors(&self) -> &BTreeMap<String, TensorSnapshot> {
        &self.tensors
    }

    /// Shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.to_vec())
    }

    /// blake3 of the file, hexadecimal: what `scores.model_id` is made of.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn fingerprint(&self) -> Result<String, WeightsError> {
        let unreadable = |source| WeightsError::Unreadable { path: self.path.clone(), source };
        let mut hasher = blake3::Hasher::new();
        let mut file = File::open(&self.path).map_err(unreadable)?;
        hasher.update_reader(&mut file).map_err(unreadable)?;
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Kinds of files that are read.
enum Format {
    Safetensors,
    /// A zip archive, as `torch.save` writes it since version 1.6.
    Pytorch,
}

impl Format {
    fn of(path: &Path) -> Result<Self, WeightsError> {
        let mut start = [0u8; 9];
        let read = File::open(path)
            .and_then(|mut file| file.read(&mut start))
            .map_err(|source| WeightsError::Unreadable { path: path.into(), source })?;
        match &start[..read] {
            [b'P', b'K', ..] => Ok(Format::Pytorch),
            [0x80, ..] => Err(WeightsError::OldFormat { path: path.into() }),
            [_, _, _, _, _, _, 0, 0, b'{'] => Ok(Format::Safetensors),
            _ => Err(WeightsError::UnknownFormat { path: path.into() }),
        }
    }
}

/// `path` itself, or the one weights file in the folder `path`.
fn the_file(path: &Path) -> Result<PathBuf, WeightsError> {
    if !path.is_dir() {
        return if path.exists() {
            Ok(path.into())
        } else {
            Err(WeightsError::NotFound { path: path.into() })
        };
    }
    let unreadable = |source| WeightsError::Unreadable { path: path.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if matches!(extension, "safetensors" | "pth" | "pt") {
            files.push(file);
        }
    }
    files.sort();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(WeightsError::NotOneFile { path: path.into(), found: files.len() }),
    }
}

fn safetensors(path: &Path) -> Result<BTreeMap<String, TensorSnapshot>, WeightsError> {
    let mut store = SafetensorsStore::from_file(path);
    match store.get_all_snapshots() {
        Ok(tensors) => Ok(tensors.clone()),
        Err(error) => Err(WeightsError::Broken { path: path.into(), what: error.to_string() }),
    }
}
