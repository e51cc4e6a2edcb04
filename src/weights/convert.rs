//! Checkpoints, or a bundle of another precision, in; one bundle out. Tensor by tensor: memory holds
//! the largest one, whatever the files hold. The bundle is made in a hidden folder beside its place and
//! moved there when it is complete and durable, so that an interrupted conversion leaves nothing that
//! loads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use burn_store::TensorSnapshot;

use super::bundle::{
    Bundle, BundleFile, FORMAT, MANIFEST_FILE, Manifest, Network, Origin, Source, StoredPrecision,
};
use super::config::{config_of, grounding_config_of};
use super::keymap::Kind;
use super::mapping::{LoadReport, Mapped, map, of_own};
use super::parameters::{filo_parameters, grounding_parameters};
use super::safetensors::{Entry, write_header};
use super::stored::blake3_of;
use super::{Checkpoint, WeightsPlace};
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::model::grounding::GroundingConfig;
use crate::store::{sync_folder_of, write_whole};

/// Bytes of numbers after which another file begins.
const SHARD_BYTES: u64 = 512 << 20;

/// What is said of the licence where nobody said anything.
pub(super) const NO_LICENCE: &str =
    "not stated; weights are under the terms of the files they were converted from, see sources";

/// What to convert.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Checkpoints, of which earlier ones go first where two hold the same parameter; or one bundle.
    pub from: Vec<PathBuf>,
    /// Where the bundle goes: a folder that is empty or does not exist yet.
    pub to: PathBuf,
    pub precision: StoredPrecision,
    /// What may be done with the weights; of a bundle it is kept where nothing else is said.
    pub licence: Option<String>,
    /// Where files of `from` were fetched from.
    pub origins: BTreeMap<PathBuf, Origin>,
}

/// What a bundle is made of.
struct Parts {
    filo: FiloConfig,
    grounding: Option<GroundingConfig>,
    networks: Vec<(Network, Mapped)>,
    sources: Vec<Source>,
    licence: String,
}

/// What came out.
#[derive(Debug)]
pub struct Converted {
    pub manifest: Manifest,
    /// Of FiLo, then of the detector if there is one.
    pub reports: Vec<LoadReport>,
}

/// Tells how far a conversion is, and is told whether to go on.
pub trait Observer {
    /// `done` of `all` bytes of numbers are written.
    fn progress(&self, done: u64, all: u64);
    /// Whether to give up.
    fn stopped(&self) -> bool;
}

impl Conversion {
    /// Converts. `None`: the observer stopped it, and nothing is left.
    ///
    /// # Errors
    /// If a checkpoint is not recognised, does not fit its configuration or cannot be read, if a
    /// number is not finite or does not fit the precision, or if the bundle cannot be written.
    pub fn run(&self, observer: &dyn Observer) -> Result<Option<Converted>, WeightsError> {
        let target = Target::new(&self.to)?;
        let Parts { filo, grounding, networks, sources, licence } =
            match self.from.iter().find(|path| Bundle::is_at(path)) {
                None => self.of_checkpoints()?,
                Some(path) if self.from.len() > 1 => {
                    return Err(WeightsError::BundleNotAlone { path: path.clone() });
                }
                Some(path) => of_bundle(path)?,
            };
        let Some(files) = self.write(&target, &networks, observer)? else { return Ok(None) };
        let manifest = Manifest {
            format: FORMAT,
            written_by: concat!("filo ", env!("CARGO_PKG_VERSION")).to_string(),
            precision: self.precision,
            filo,
            grounding,
            files,
            sources,
            licence: self.licence.clone().unwrap_or(licence),
        };
        if observer.stopped() {
            return Ok(None);
        }
        target.publish(&manifest)?;
        let reports = networks.into_iter().map(|(_, mapped)| mapped.report).collect();
        Ok(Some(Converted { manifest, reports }))
    }

    /// The networks of checkpoints from elsewhere.
    fn of_checkpoints(&self) -> Result<Parts, WeightsError> {
        let checkpoints = self.checkpoints()?;
        let (filo, others): (Vec<_>, Vec<_>) =
            checkpoints.iter().partition(|checkpoint| checkpoint.kind() == Some(Kind::Filo));
        let (detector, clip): (Vec<&Checkpoint>, Vec<_>) = others
            .into_iter()
            .partition(|checkpoint| checkpoint.kind() == Some(Kind::GroundingDino));
        let Some(first) = filo.first() else {
            return Err(WeightsError::NoFilo { paths: self.from.clone() });
        };
        let filo_config = config_of(first)?;
        let sources = filo.iter().chain(&clip).copied().collect::<Vec<_>>();
        let wanted = filo_parameters(&filo_config);
        let mut networks = vec![(Network::Filo, map(&sources, &wanted).complete(first.path())?)];
        let grounding = match detector.first() {
            None => None,
            Some(checkpoint) => {
                let config = grounding_config_of(checkpoint)?;
                let wanted = grounding_parameters(&config);
                let mapped = map(&detector, &wanted).complete(checkpoint.path())?;
                networks.push((Network::Grounding, mapped));
                Some(config)
            }
        };
        Ok(Parts {
            filo: filo_config,
            grounding,
            networks,
            sources: checkpoints
                .iter()
                .map(|found| self.source(found))
                .collect::<Result<_, _>>()?,
            licence: NO_LICENCE.to_string(),
        })
    }

    /// All checkpoints, each recognised, no two of the same kind.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>, WeightsError> {
        let mut seen = BTreeMap::<Kind, PathBuf>::new();
        let mut checkpoints = Vec::new();
        for path in &self.from {
            let checkpoint = Checkpoint::open(path)?;
            let Some(kind) = checkpoint.kind() else {
                let examples = checkpoint.tensors().keys().take(3).cloned().collect();
                return Err(WeightsError::Unrecognised { path: path.clone(), examples });
            };
            if let Some(first) = seen.insert(kind, path.clone()) {
                let kind = kind.as_str();
                return Err(WeightsError::TwoOfAKind { kind, first, second: path.clone() });
            }
            checkpoints.push(checkpoint);
        }
        Ok(checkpoints)
    }

    /// What a bundle says of a checkpoint it is made of.
    fn source(&self, checkpoint: &Checkpoint) -> Result<Source, WeightsError> {
        let path = checkpoint.path();
        let unreadable = |source| WeightsError::Unreadable { path: path.into(), source };
        Ok(Source {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            kind: checkpoint.kind().map_or("unknown", Kind::as_str).to_string(),
            bytes: fs::metadata(path).map_err(unreadable)?.len(),
            blake3: blake3_of(path).map_err(unreadable)?,
            tensors: checkpoint.tensors().len(),
            origin: self.origins.get(path).cloned(),
        })
    }

    /// Writes the files of all networks; `None` if it was stopped.
    fn write(
        &self,
        target: &Target,
        networks: &[(Network, Mapped)],
        observer: &dyn Observer,
    ) -> Result<Option<Vec<BundleFile>>, WeightsError> {
        let shards = networks
            .iter()
            .flat_map(|(network, mapped)| shards(*network, mapped, self.precision))
            .collect::<Vec<_>>();
        let all = shards.iter().flat_map(|shard| &shard.entries).map(Entry::bytes).sum();
        let (mut done, mut files) = (0, Vec::new());
        for shard in &shards {
            let path = target.partial.join(&shard.name);
            let failed = |source| WeightsError::Unwritable { path: path.clone(), source };
            let mut out = Hashing::new(File::create(&path).map_err(failed)?);
            let mut bytes = write_header(&mut out, &shard.entries).map_err(failed)?;
            for (entry, tensor) in shard.entries.iter().zip(&shard.tensors) {
                if observer.stopped() {
                    return Ok(None);
                }
                let numbers = narrowed(&entry.name, read(&shard.name, tensor)?, entry.dtype)?;
                out.write_all(numbers.as_bytes()).map_err(failed)?;
                bytes += entry.bytes();
                done += entry.bytes();
                observer.progress(done, all);
            }
            files.push(BundleFile {
                name: shard.name.clone(),
                network: shard.network,
                bytes,
                blake3: out.finish().map_err(failed)?,
                tensors: shard.entries.len(),
            });
        }
        Ok(Some(files))
    }
}

/// The networks of the bundle at `path`, whose sources and licence stay.
fn of_bundle(path: &Path) -> Result<Parts, WeightsError> {
    let bundle = Bundle::open(&WeightsPlace::Path(path.into()))?;
    let Manifest { filo, grounding, sources, licence, .. } = bundle.manifest().clone();
    let network = |network, wanted| -> Result<(Network, Mapped), WeightsError> {
        let mapped = of_own(bundle.tensors(network)?, &wanted);
        match mapped.missing.iter().chain(&mapped.wrong).next() {
            None => Ok((network, mapped)),
            Some(first) => Err(WeightsError::BrokenBundle {
                path: path.into(),
                what: format!("its tensors are not those of its dimensions, {first} to begin with"),
            }),
        }
    };
    let mut networks = vec![network(Network::Filo, filo_parameters(&filo))?];
    if let Some(config) = &grounding {
        networks.push(network(Network::Grounding, grounding_parameters(config))?);
    }
    Ok(Parts { filo, grounding, networks, sources, licence })
}

/// What one file will hold.
struct Shard<'a> {
    name: String,
    network: Network,
    entries: Vec<Entry>,
    tensors: Vec<&'a TensorSnapshot>,
}

/// A network cut into files, in the order of its paths.
fn shards(network: Network, mapped: &Mapped, precision: StoredPrecision) -> Vec<Shard<'_>> {
    let mut shards = Vec::<Shard>::new();
    let mut bytes = u64::MAX;
    for (path, tensor) in &mapped.tensors {
        let shape = tensor.shape.to_vec();
        let dtype = match precision {
            StoredPrecision::F16 if shape.len() > 1 => DType::F16,
            StoredPrecision::Bf16 if shape.len() > 1 => DType::BF16,
            _ => DType::F32,
        };
        let entry = Entry { name: path.clone(), dtype, shape };
        if bytes.saturating_add(entry.bytes()) > SHARD_BYTES {
            let (entries, tensors) = (Vec::new(), Vec::new());
            shards.push(Shard { name: String::new(), network, entries, tensors });
            bytes = 0;
        }
        bytes += entry.bytes();
        if let Some(shard) = shards.last_mut() {
            shard.entries.push(entry);
            shard.tensors.push(tensor);
        }
    }
    let count = shards.len();
    for (index, shard) in shards.iter_mut().enumerate() {
        shard.name = format!("{}-{:05}-of-{count:05}.safetensors", network.as_str(), index + 1);
    }
    shards
}

fn read(file: &str, tensor: &TensorSnapshot) -> Result<TensorData, WeightsError> {
    tensor.to_data().map_err(|error| WeightsError::BrokenTensor {
        name: format!("{} (for {file})", tensor.full_path()),
        what: format!("{error:?}"),
    })
}

/// The numbers in the precision of the bundle, if all are finite there.
fn narrowed(name: &str, numbers: TensorData, dtype: DType) -> Result<TensorData, WeightsError> {
    let broken = |what: String| WeightsError::BrokenTensor { name: name.to_string(), what };
    let values = numbers.as_slice::<f32>().map_err(|error| broken(format!("{error:?}")))?;
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(broken(format!("holds {value}")));
    }
    let limit = match dtype {
        DType::F16 => f32::from(half::f16::MAX),
        DType::BF16 => f32::from(half::bf16::MAX),
        _ => f32::MAX,
    };
    if let Some(value) = values.iter().find(|value| value.abs() > limit) {
        return Err(broken(format!("holds {value}, which the precision cannot hold: take f32")));
    }
    Ok(numbers.convert_dtype(dtype))
}

/// Writes through to a file and hashes on the way.
struct Hashing {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Hashing {
    fn new(file: File) -> Self {
        Hashing { out: BufWriter::new(file), hasher: blake3::Hasher::new() }
    }

    /// Makes the file durable; its hash, hexadecimal.
    fn finish(self) -> std::io::Result<String> {
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(self.hasher.finalize().to_hex().to_string())
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// The name of a folder that is empty or does not exist yet, as that of a bundle must be.
///
/// # Errors
/// If it holds something, or is none.
pub fn name_of_new(folder: &Path) -> Result<String, WeightsError> {
    let occupied = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() == std::io::ErrorKind::NotADirectory,
    };
    match folder.file_name() {
        Some(name) if !occupied => Ok(name.to_string_lossy().into_owned()),
        _ => Err(WeightsError::Occupied { path: folder.into() }),
    }
}

/// The place of a bundle, and the hidden folder beside it in which it is made. The hidden folder
/// is removed when this goes, unless it was published.
struct Target {
    folder: PathBuf,
    partial: PathBuf,
}

impl Target {
    fn new(folder: &Path) -> Result<Self, WeightsError> {
        let name = name_of_new(folder)?;
        let partial = folder.with_file_name(format!(".{name}.partial"));
        let failed = |source| WeightsError::Unwritable { path: partial.clone(), source };
        if partial.exists() {
            // Left by a conversion that was killed.
            fs::remove_dir_all(&partial).map_err(failed)?;
        }
        fs::create_dir_all(&partial).map_err(failed)?;
        Ok(Target { folder: folder.into(), partial })
    }

    /// Completes the bundle and moves it to its place.
    fn publish(&self, manifest: &Manifest) -> Result<(), WeightsError> {
        let path = self.partial.join(MANIFEST_FILE);
        let failed = |source| WeightsError::Unwritable { path: path.clone(), source };
        let text = serde_json::to_string_pretty(manifest).map_err(|e| failed(e.into()))?;
        write_whole(&path, text.as_bytes()).map_err(failed)?;
        fs::rename(&self.partial, &self.folder)
            .and_then(|()| sync_folder_of(&self.folder))
            .map_err(|source| WeightsError::Unwritable { path: self.folder.clone(), source })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already where it was published; where it cannot be removed the next start does it.
        let _ = fs::remove_dir_all(&self.partial);
    }
}
