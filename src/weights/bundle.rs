//! A bundle: a folder with FiLo, and the detector if there is one, in a form that loads fast and
//! can be checked. `bundle.json` says what is in it; the numbers lie in safetensors files under the
//! paths and in the orientation of our networks. Nobody edits one: it is written whole or not at all.
//! One bundle lies inside the program instead of in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use burn_store::TensorSnapshot;
use bytes::Bytes as Shared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::embedded;
use super::mapped::MappedFile;
use super::place::WeightsPlace;
use super::safetensors::{Stored, entries_of};
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

impl StoredPrecision {
    /// What the command line calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            StoredPrecision::F32 => "f32",
            StoredPrecision::F16 => "f16",
            StoredPrecision::Bf16 => "bf16",
        }
    }
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
    /// Where `filo weights fetch` had it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a checkpoint was fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Address of the hub.
    pub hub: String,
    /// `owner/name`.
    pub repository: String,
    /// Of the repository, hexadecimal.
    pub commit: String,
    /// Of the file, hexadecimal, as the hub states it and as it was found.
    pub sha256: String,
}

/// An opened bundle whose files have the contents that it names.
pub struct Bundle {
    place: WeightsPlace,
    manifest: Manifest,
    /// Files whose tensors were handed out.
    mapped: Mutex<Vec<MappedFile>>,
}

impl Bundle {
    /// Whether `path` is a folder that says it is a bundle.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST_FILE).is_file()
    }

    /// Opens the bundle at `place` and compares every file with its hash, which is quick beside
    /// loading and has the pages of the files in memory for it.
    ///
    /// # Errors
    /// If `bundle.json` is not what this version writes, or a file is not what it names.
    pub fn open(place: &WeightsPlace) -> Result<Self, WeightsError> {
        let bundle = Bundle::open_unchecked(place)?;
        match bundle.manifest.files.iter().find_map(|file| bundle.file_problem(file)) {
            Some(what) => Err(bundle.broken(what)),
            None => Ok(bundle),
        }
    }

    /// As [`Bundle::open`], without comparing hashes.
    ///
    /// # Errors
    /// If `bundle.json` is not what this version writes.
    pub fn open_unchecked(place: &WeightsPlace) -> Result<Self, WeightsError> {
        let text = match place.folder() {
            None => embedded::MANIFEST.to_string(),
            Some(folder) => manifest_text(place, &folder)?,
        };
        let path = place.path();
        let broken = |what: String| WeightsError::BrokenBundle { path: path.into(), what };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format = serde_json::from_str::<Format>(&text)
            .map_err(|error| broken(format!("{MANIFEST_FILE}: {error}")))?
            .format;
        if format != FORMAT {
            let path = path.into();
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
            None => Ok(Bundle { place: place.clone(), manifest, mapped: Mutex::default() }),
        }
    }

    /// Where it is.
    pub fn place(&self) -> &WeightsPlace {
        &self.place
    }

    /// What `bundle.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// [`Manifest::model_id`] of what is in it.
    pub fn model_id(&self) -> String {
        self.manifest.model_id()
    }

    /// The content of a file, not copied, and the mapping behind it if it is not in the program.
    fn content_of(&self, file: &BundleFile) -> std::io::Result<(Shared, Option<MappedFile>)> {
        match self.place.folder() {
            Some(folder) => {
                let mapped = MappedFile::open(&folder.join(&file.name))?;
                Ok((mapped.bytes(), Some(mapped)))
            }
            None => {
                let bytes = embedded::file(&file.name).ok_or(std::io::ErrorKind::NotFound)?;
                Ok((bytes, None))
            }
        }
    }

    /// What is wrong with a file, if its size or its hash is not the one named.
    pub fn file_problem(&self, file: &BundleFile) -> Option<String> {
        let name = &file.name;
        let bytes = match self.content_of(file) {
            Ok((bytes, _)) => bytes,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        if bytes.len() as u64 != file.bytes {
            let found = bytes.len();
            return Some(format!("{name} has {found} bytes, {} are expected", file.bytes));
        }
        match *blake3::hash(&bytes).to_hex() == *file.blake3 {
            true => None,
            false => Some(format!("{name} is not the file that was written: its hash differs")),
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
            let (bytes, mapped) =
                self.content_of(file).map_err(|error| broken(error.to_string()))?;
            self.mapped.lock().unwrap_or_else(PoisonError::into_inner).extend(mapped);
            for (name, entry) in entries_of(&bytes).map_err(broken)? {
                let numbers = bytes.slice(entry.start..entry.end);
                let (dtype, shape) = (entry.dtype, entry.shape.clone());
                let tensor = lazy(&name, dtype, shape, move || Ok(in_place(&numbers, &entry)));
                tensors.insert(name, tensor);
            }
        }
        Ok(tensors)
    }

    /// Gives back the memory of what was read of the files. To be called once the networks are
    /// filled: what they have merged into kernels of their own is then not needed again, and the
    /// rest comes back as it is used.
    pub fn release_pages(&self) {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.iter().for_each(MappedFile::release_pages);
    }

    fn broken(&self, what: String) -> WeightsError {
        WeightsError::BrokenBundle { path: self.place.path().into(), what }
    }
}

/// The text of the `bundle.json` in `folder`, the one of `place`.
fn manifest_text(place: &WeightsPlace, folder: &Path) -> Result<String, WeightsError> {
    let path = folder.join(MANIFEST_FILE);
    std::fs::read_to_string(&path).map_err(|source| match (source.kind(), place) {
        (std::io::ErrorKind::NotFound, WeightsPlace::Published(weights)) => {
            WeightsError::NotFetched { name: weights.name(), size: weights.size() }
        }
        (std::io::ErrorKind::NotFound, _) => WeightsError::NotABundle { path: folder.into() },
        _ => WeightsError::Unreadable { path, source },
    })
}

/// The numbers of `entry` where they lie. Safetensors files have no gaps, so behind an odd number
/// of halves a float may begin between its boundaries; such numbers are copied.
pub(super) fn in_place(numbers: &Shared, entry: &Stored) -> TensorData {
    let Stored { dtype, shape, .. } = entry;
    if numbers.as_ptr().addr().is_multiple_of(dtype.size()) {
        let bytes = Bytes::from_shared(numbers.clone(), AllocationProperty::File);
        return TensorData::from_bytes(bytes, shape.clone(), *dtype);
    }
    TensorData::from_bytes_vec(numbers.to_vec(), shape.clone(), *dtype)
}

/// The tensor, read as f32. (burn would leave f16 numbers in f16, and an operation on mixed types
/// panics.)
pub(super) fn widened(path: &str, tensor: &TensorSnapshot) -> TensorSnapshot {
    let read = tensor.clone_data_fn();
    let shape = tensor.shape.to_vec();
    lazy(path, DType::F32, shape, move || Ok(read()?.convert::<f32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_wherever_they_begin() {
        let mut file = vec![0; 3 + 4 * 2];
        for start in 0..4 {
            file[start..start + 4].copy_from_slice(&1.5f32.to_le_bytes());
            file[start + 4..start + 8].copy_from_slice(&(-2f32).to_le_bytes());
            let numbers = Shared::from(file.clone()).slice(start..start + 8);
            let entry = Stored { dtype: DType::F32, shape: vec![2], start, end: start + 8 };
            assert_eq!(in_place(&numbers, &entry).as_slice::<f32>().unwrap(), [1.5, -2.0]);
        }
    }

    #[test]
    fn the_embedded_bundle_is_small_and_fits_the_tokenizer() {
        let bundle = Bundle::open(&WeightsPlace::Embedded).unwrap();
        let manifest = bundle.manifest();
        assert_eq!(manifest.filo.validate_for_tokenizer(), Ok(()));
        assert_eq!(manifest.precision, StoredPrecision::F16);
        assert!(manifest.files.iter().map(|file| file.bytes).sum::<u64>() <= 25 << 20);
    }
}
