//! A bundle: a folder with FiLo, and the detector if there is one, in a form that loads fast and
//! can be checked. `bundle.json` says what is in it; the numbers lie in safetensors files under the
//! paths and in the orientation of our networks. Nobody edits one: it is written whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use burn_store::TensorSnapshot;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mapped;
use super::safetensors::entries_of;
use super::stored::lazy;
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::model::grounding::GroundingConfig;

/// What makes a folder a bundle.
pub const MANIFEST_FILE: &str = "bundle.json";

/// The form that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Precision of the matrices and kernels in a bundle. Vectors (norms, biases) always stay in f32:
/// they are a thousandth of the numbers, and the ones that rounding hurts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum StoredPrecision {
    #[default]
    F32,
    F16,
    Bf16,
}

/// A network of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Filo,
    Grounding,
}

impl Network {
    /// What its files are called.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::Filo => "filo",
            Network::Grounding => "grounding",
        }
    }
}

/// The content of `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Name and version of the program that wrote it.
    pub written_by: String,
    pub precision: StoredPrecision,
    /// Dimensions of FiLo.
    pub filo: FiloConfig,
    /// Dimensions of the detector, if there is one.
    pub grounding: Option<GroundingConfig>,
    pub files: Vec<BundleFile>,
    /// What it was made from.
    pub sources: Vec<Source>,
    /// What may be done with the weights, as far as it was said.
    pub licence: String,
}

impl Manifest {
    /// `scores.model_id`: 16 hexadecimal digits of blake3 over all that decides numbers (dimensions,
    /// precision, the hash of each file). The sources do not count: the same tensors from another file
    /// are the same model.
    pub fn model_id(&self) -> String {
        let Manifest { format, precision, filo, grounding, files, .. } = self;
        let decides = serde_json::json!([format, precision, filo, grounding, files]);
        blake3::hash(decides.to_string().as_bytes()).to_hex()[..16].to_string()
    }
}

/// A safetensors file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleFile {
    /// Without a folder.
    pub name: String,
    pub network: Network,
    pub bytes: u64,
    /// Hexadecimal.
    pub blake3: String,
    pub tensors: usize,
}

/// A checkpoint that a bundle was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Without its folder.
    pub file: String,
    /// What was recognised in it.
    pub kind: String,
    pub bytes: u64,
    /// Hexadecimal.
    pub blake3: String,
    pub tensors: usize,
}

/// An opened bundle whose files have the contents that it names.
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Whether `path` is a folder that says it is a bundle.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST_FILE).is_file()
    }

    /// Opens the bundle in `folder` and compares every file with its hash, which is quick beside
    /// loading and has the pages of the files in memory for it.
    ///
    /// # Errors
    /// If `bundle.json` is not what this version writes, or a file is not what it names.
    pub fn open(folder: &Path) -> Result<Self, WeightsError> {
        let bundle = Bundle::open_unchecked(folder)?;
        match bundle.manifest.files.iter().find_map(|file| bundle.file_problem(file)) {
            Some(what) => Err(bundle.broken(what)),
            None => Ok(bundle),
        }
    }

    /// As [`Bundle::open`], without comparing hashes.
    ///
    /// # Errors
    /// If `bundle.json` is not what this version writes.
    pub fn open_unchecked(folder: &Path) -> Result<Self, WeightsError> {
        let path = folder.join(MANIFEST_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(WeightsError::NotABundle { path: folder.into() });
            }
            Err(source) => return Err(WeightsError::Unreadable { path, source }),
        };
        let broken = |what: String| WeightsError::BrokenBundle { path: folder.into(), what };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format = serde_json::from_str::<Format>(&text)
            .map_err(|error| broken(format!("{MANIFEST_FILE}: {error}")))?
            .format;
        if format != FORMAT {
            let path = folder.into();
            return Err(WeightsError::OtherBundle { path, found: format, known: FORMAT });
        }
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|error| broken(format!("{MANIFEST_FILE}: {error}")))?;
        manifest.filo.validate().map_err(|error| broken(error.what))?;
        if let Some(config) = &manifest.grounding {
            config.validate().map_err(|error| broken(error.what))?;
        }
        let plain = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
        match manifest.files.iter().find(|file| !plain(&file.name)) {
            Some(file) => Err(broken(format!("{:?} is no file name", file.name))),
            None => Ok(Bundle { folder: folder.into(), manifest }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What `bundle.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// [`Manifest::model_id`] of what is in it.
    pub fn model_id(&self) -> String {
        self.manifest.model_id()
    }

    /// Where a file of the bundle is.
    pub fn file(&self, file: &BundleFile) -> PathBuf {
        self.folder.join(&file.name)
    }

    /// What is wrong with a file, if its size or its hash is not the one named.
    pub fn file_problem(&self, file: &BundleFile) -> Option<String> {
        let name = &file.name;
        let found = match std::fs::metadata(self.file(file)) {
            Ok(metadata) => metadata.len(),
            Err(error) => return Some(format!("{name}: {error}")),
        };
        if found != file.bytes {
            return Some(format!("{name} has {found} bytes, {} are expected", file.bytes));
        }
        let hash = mapped::map(&self.file(file)).map(|bytes| blake3::hash(&bytes).to_hex());
        match hash {
            Ok(hash) if *hash == *file.blake3 => None,
            Ok(_) => Some(format!("{name} is not the file that was written: its hash differs")),
            Err(error) => Some(format!("{name}: {error}")),
        }
    }

    /// The tensors of a network under its own paths, memory-mapped, as f32 when they are read.
    ///
    /// # Errors
    /// If a file cannot be read as safetensors.
    pub fn tensors(
        &self,
        network: Network,
    ) -> Result<BTreeMap<String, TensorSnapshot>, WeightsError> {
        let stored = self.stored_tensors(network)?;
        Ok(stored.iter().map(|(path, tensor)| (path.clone(), widened(path, tensor))).collect())
    }

    /// As [`Bundle::tensors`], in the precision in which they are stored.
    ///
    /// # Errors
    /// If a file cannot be read as safetensors.
    pub fn stored_tensors(
        &self,
        network: Network,
    ) -> Result<BTreeMap<String, TensorSnapshot>, WeightsError> {
        let mut tensors = BTreeMap::new();
        for file in self.manifest.files.iter().filter(|file| file.network == network) {
            let broken = |what: String| self.broken(format!("{}: {what}", file.name));
            let bytes = mapped::map(&self.file(file)).map_err(|error| broken(error.to_string()))?;
            for (name, entry) in entries_of(&bytes).map_err(broken)? {
                let numbers = bytes.slice(entry.start..entry.end);
                let shape = entry.shape.clone();
                let read = move || {
                    let bytes = Bytes::from_shared(numbers.clone(), AllocationProperty::File);
                    Ok(TensorData::from_bytes(bytes, entry.shape.clone(), entry.dtype))
                };
                let tensor = lazy(&name, entry.dtype, shape, read);
                tensors.insert(name, tensor);
            }
        }
        Ok(tensors)
    }

    fn broken(&self, what: String) -> WeightsError {
        WeightsError::BrokenBundle { path: self.folder.clone(), what }
    }
}

/// The tensor, read as f32. (burn would leave f16 numbers in f16, and an operation on mixed types
/// panics.)
fn widened(path: &str, tensor: &TensorSnapshot) -> TensorSnapshot {
    let read = tensor.clone_data_fn();
    let shape = tensor.shape.to_vec();
    lazy(path, DType::F32, shape, move || Ok(read()?.convert::<f32>()))
}
