//! Weights. A [`Checkpoint`] is a file of named tensors from a stranger: it lists what is inside
//! without reading the numbers, and nothing in it is ever executed. A [`bundle`](bundle::Bundle) is
//! the form of ours that [`convert`] makes of checkpoints; one lies inside the program. [`Weights`]
//! opens either, [`load`] fills a network from it. [`backbone`] fills the backbone inside the program.
//! [`published`] names the weights of FiLo's authors, [`fetch`] makes a bundle of them, through [`hub`].

pub mod backbone;
pub mod bundle;
pub mod catalogue;
pub mod config;
pub mod convert;
mod embedded;
pub mod fetch;
pub mod hub;
pub mod inspect;
pub mod keymap;
pub mod load;
mod local_copy;
mod mapped;
pub mod mapping;
pub mod parameters;
mod pickle;
mod place;
pub mod positions;
pub mod published;
mod pytorch;
mod safetensors;
pub mod save;
mod stored;
mod transformers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn_store::TensorSnapshot;

use self::keymap::Kind;
use self::pickle::Root;
use crate::error::WeightsError;

pub use self::local_copy::local_copy;
pub use self::place::{Weights, WeightsPlace, look_at};

/// A file of named tensors; the numbers are read when a network asks for them.
pub struct Checkpoint {
    path: PathBuf,
    format: &'static str,
    kind: Option<Kind>,
    tensors: BTreeMap<String, TensorSnapshot>,
}

impl Checkpoint {
    /// Opens `path`: a weights file, or a folder that holds exactly one. What a file is, is
    /// recognised by its first bytes, and what is in it by the names there; never by its own name.
    ///
    /// # Errors
    /// If there is no such file, it is of no kind we read, or its index is broken.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let path = the_file(path)?;
        let broken = |what| WeightsError::Broken { path: path.clone(), what };
        let (format, tensors) = match Format::of(&path)? {
            Format::Safetensors => ("safetensors", safetensors::read(&path).map_err(broken)?),
            Format::Pytorch => match pytorch::read(&path).map_err(broken)? {
                (Root::Dictionary, tensors) => ("pytorch", tensors),
                (Root::Module, tensors) => ("torchscript", tensors),
            },
        };
        let kind = Kind::of(tensors.keys().map(String::as_str));
        Ok(Checkpoint { path, format, kind, tensors })
    }

    /// The file itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `safetensors`, `pytorch` or `torchscript`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// What the file holds, if it is any of what we read.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
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
        stored::blake3_of(&self.path)
            .map_err(|source| WeightsError::Unreadable { path: self.path.clone(), source })
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
