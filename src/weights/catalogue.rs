//! The weights that have names. In: the cache, and the hub where something is not in it. Out: what each
//! was trained on, its size and licence as far as they are known, and whether it is here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::WeightsPlace;
use super::bundle::{Bundle, Manifest, StoredPrecision};
use super::convert::{NO_LICENCE, Observer};
use super::hub::{Ending, Hub, Patience, Repository, is_offline};
use super::published::Published;
use crate::error::HubError;

/// All that `filo weights list` says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Catalogue {
    pub weights: Vec<Entry>,
}

/// Weights that have a name.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Entry {
    /// What `--weights` calls them.
    pub name: String,
    /// The data they have learnt from.
    pub trained_on: String,
    /// What they are for.
    pub meant_for: String,
    /// Where they are published, `owner/name`; of the embedded ones nothing.
    pub repository: Option<String>,
    /// What is downloaded.
    pub files: Vec<String>,
    /// Size of what is downloaded, or of what is in the program; nothing where the hub was not asked.
    pub bytes: Option<u64>,
    /// What may be done with them; nothing where it is not stated, or the hub was not asked.
    pub licence: Option<String>,
    pub here: Presence,
}

/// Whether weights are on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "where", rename_all = "lowercase")]
pub enum Presence {
    /// Inside the program.
    Embedded,
    /// A bundle in the cache.
    Cached {
        path: PathBuf,
        precision: StoredPrecision,
        /// What scores will carry as `model_id`.
        model_id: String,
    },
    /// Yet to be fetched.
    Absent,
}

impl Catalogue {
    /// What there is, and why the hub did not say what it was asked.
    pub fn here(observer: &dyn Observer) -> (Self, Option<HubError>) {
        let mut weights = embedded().into_iter().collect::<Vec<_>>();
        let published = Published::ALL.map(|weights| (weights, cached(weights)));
        let known = |found: &(Published, Option<Entry>)| found.1.is_some();
        let asked = match published.iter().all(known) || is_offline() {
            true => Ok(None),
            // All of them are in one repository.
            false => ask(Published::FiloVisa.repository(), observer),
        };
        let (repository, trouble) = match asked {
            Ok(repository) => (repository, None),
            Err(error) => (None, Some(error)),
        };
        weights.extend(published.into_iter().map(|(weights, cached)| {
            cached.unwrap_or_else(|| absent(weights, repository.as_ref()))
        }));
        (Catalogue { weights }, trouble)
    }
}

/// What the hub says of a repository; nothing if the observer did not want to wait.
fn ask(repository: &str, observer: &dyn Observer) -> Result<Option<Repository>, HubError> {
    let hub = Hub::from_environment(Patience::SHORT)?;
    match Repository::of(&hub, repository, observer) {
        Ok(repository) => Ok(Some(repository)),
        Err(Ending::Stopped) => Ok(None),
        Err(Ending::Failed(error)) => Err(error),
    }
}

fn embedded() -> Option<Entry> {
    let bundle = Bundle::open_unchecked(&WeightsPlace::Embedded).ok()?;
    let Manifest { files, licence, .. } = bundle.manifest();
    Some(Entry {
        name: WeightsPlace::EMBEDDED.to_owned(),
        trained_on: "generated images".to_owned(),
        meant_for: "a first look".to_owned(),
        repository: None,
        files: Vec::new(),
        bytes: Some(files.iter().map(|file| file.bytes).sum()),
        licence: Some(licence.clone()),
        here: Presence::Embedded,
    })
}

fn absent(weights: Published, repository: Option<&Repository>) -> Entry {
    let sizes = repository.and_then(|found| {
        weights.files().into_iter().map(|file| Some(found.file(file)?.bytes)).collect()
    });
    Entry {
        name: weights.name().to_owned(),
        trained_on: weights.trained_on().to_owned(),
        meant_for: weights.meant_for().to_owned(),
        repository: Some(weights.repository().to_owned()),
        files: weights.files().map(str::to_owned).to_vec(),
        bytes: sizes.map(|sizes: Vec<u64>| sizes.into_iter().fold(0, u64::saturating_add)),
        licence: repository.and_then(|found| found.licence.clone()),
        here: Presence::Absent,
    }
}

/// What the bundle in the cache says, if there is one.
fn cached(weights: Published) -> Option<Entry> {
    let bundle = Bundle::open_unchecked(&WeightsPlace::Published(weights)).ok()?;
    let manifest = bundle.manifest();
    let Manifest { sources, licence, precision, .. } = manifest;
    Some(Entry {
        bytes: Some(sources.iter().map(|source| source.bytes).sum()),
        licence: (licence != NO_LICENCE).then(|| licence.clone()),
        here: Presence::Cached {
            path: weights.folder(),
            precision: *precision,
            model_id: manifest.model_id(),
        },
        ..absent(weights, None)
    })
}
