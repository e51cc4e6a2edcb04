//! Published weights onto this machine. In: their name. Out: a bundle in the cache or in a folder, made
//! of the checkpoints that the authors' repository has. What is cut off goes on where it was; nothing
//! is converted that is not, digit by digit, what the hub states.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::WeightsPlace;
use super::bundle::{Bundle, Manifest, Origin, StoredPrecision};
use super::config::{CONFIG_FILE, read_config};
use super::convert::{Conversion, Converted, Observer, name_of_new};
use super::hub::{
    Digest, Download, Ending, Hub, HubFile, Patience, Repository, is_offline, unwritable,
};
use super::mapping::LoadReport;
use super::published::Published;
use crate::error::{HubError, WeightsError};
use crate::store::{free_bytes, same_disk};

/// More than any such file has.
const MAX_CONFIG: u64 = 1 << 20;

/// Between two looks at whether another process is done.
const LOOK: Duration = Duration::from_millis(200);

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    pub weights: Published,
    /// Where the bundle goes: a folder that is empty or does not exist yet; otherwise the cache.
    pub to: Option<PathBuf>,
    /// Without one, f32; or, in the cache, what is there.
    pub precision: Option<StoredPrecision>,
    pub checkpoints: Checkpoints,
}

/// What becomes of the downloaded files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    Remove,
    Keep,
}

/// What came of it.
#[derive(Debug)]
pub struct Fetched {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub what: Done,
}

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// Nothing: the bundle is in the cache already.
    WasThere,
    /// It was made of the one in the cache.
    OfCache,
    /// It was downloaded and converted.
    Downloaded { reports: Vec<LoadReport> },
}

/// What is about to be downloaded.
#[derive(Debug)]
pub struct Offer<'a> {
    pub weights: Published,
    pub repository: &'a Repository,
    pub hub: String,
    pub files: usize,
    /// In all, and of them already here.
    pub bytes: u64,
    pub here: u64,
}

/// Is told how far it is, and says whether to go on.
pub trait FetchObserver: Observer {
    /// What is about to be downloaded, under which licence.
    fn offered(&self, offer: &Offer<'_>);
    /// Another process fetches the same; it is waited for.
    fn waits(&self);
    /// What the progress from now on is that of.
    fn begins(&self, what: &str);
}

impl Fetch {
    /// Fetches. `None`: the observer stopped it, and what was downloaded is kept for the next time.
    ///
    /// # Errors
    /// If the hub does not give the files, gives others than it states, or the bundle cannot be made.
    pub fn run(&self, observer: &dyn FetchObserver) -> Result<Option<Fetched>, HubError> {
        match self.fetched(observer) {
            Ok(fetched) => Ok(Some(fetched)),
            Err(Ending::Stopped) => Ok(None),
            Err(Ending::Failed(error)) => Err(error),
        }
    }

    fn fetched(&self, observer: &dyn FetchObserver) -> Result<Fetched, Ending> {
        if let Some(to) = &self.to {
            // Shows before the download and not after it.
            name_of_new(to).map_err(HubError::Weights)?;
        }
        if let Some(fetched) = self.of_cache(observer)? {
            return Ok(fetched);
        }
        if is_offline() {
            let (name, folder) = (self.weights.name(), self.weights.folder());
            return Err(HubError::Offline { name, folder }.into());
        }
        // Settings show what is wrong with them before anything is waited for.
        let hub = Hub::from_environment(Patience::FULL)?;
        let downloads = self.weights.downloads();
        let _lock = locked(&downloads, observer)?;
        match self.of_cache(observer)? {
            Some(fetched) => Ok(fetched),
            None => self.download(&hub, &downloads, observer),
        }
    }

    /// Where the bundle goes.
    fn folder(&self) -> PathBuf {
        self.to.clone().unwrap_or_else(|| self.weights.folder())
    }

    /// What the cache has, if that is what is wanted.
    fn of_cache(&self, observer: &dyn FetchObserver) -> Result<Option<Fetched>, Ending> {
        if !self.weights.is_here() {
            return Ok(None);
        }
        let (name, folder) = (self.weights.name(), self.weights.folder());
        let bundle = match Bundle::open(&WeightsPlace::Published(self.weights)) {
            Ok(bundle) => bundle,
            Err(error @ WeightsError::BrokenBundle { .. }) => {
                // What is in the cache can be made again.
                tracing::warn!("{error}: it is fetched again");
                let unwritable = |error| unwritable(&folder, &error);
                fs::remove_dir_all(&folder).map_err(unwritable)?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let found = bundle.manifest().precision;
        let wanted = self.precision;
        let Some(to) = &self.to else {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
                let (found, wanted) = (found.as_str(), wanted.as_str());
                return Err(HubError::OtherPrecision { name, found, wanted, folder }.into());
            }
            let manifest = bundle.manifest().clone();
            return Ok(Some(Fetched { folder, manifest, what: Done::WasThere }));
        };
        let wanted = wanted.unwrap_or_default();
        if found != StoredPrecision::F32 && found != wanted {
            // What was rounded off is gone.
            return Ok(None);
        }
        observer.begins("converting");
        let conversion = Conversion {
            from: vec![folder],
            to: to.clone(),
            precision: wanted,
            licence: None,
            origins: BTreeMap::new(),
        };
        let converted = conversion.run(observer).map_err(HubError::Weights)?;
        let manifest = converted.ok_or(Ending::Stopped)?.manifest;
        Ok(Some(Fetched { folder: to.clone(), manifest, what: Done::OfCache }))
    }

    fn download(
        &self,
        hub: &Hub,
        downloads: &Path,
        observer: &dyn FetchObserver,
    ) -> Result<Fetched, Ending> {
        let repository = Repository::of(hub, self.weights.repository(), observer)?;
        let checkpoints = checkpoints(self.weights, &repository)?;
        let download = |file| Download { hub, repository: &repository, file, folder: downloads };
        let bytes = checkpoints.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
        let here = checkpoints.iter().map(|&file| download(file).here()).sum::<u64>();
        let (weights, files) = (self.weights, checkpoints.len());
        let offer =
            Offer { weights, repository: &repository, hub: hub.address(), files, bytes, here };
        observer.offered(&offer);
        self.check_space(downloads, bytes, here)?;

        let (mut before, mut from, mut origins) = (0, Vec::new(), BTreeMap::new());
        for &file in &checkpoints {
            observer.begins(&file.path);
            let path = download(file).run(before, bytes, observer)?;
            before += file.bytes;
            let origin = Origin {
                hub: hub.address(),
                repository: repository.name.clone(),
                commit: repository.commit.clone(),
                sha256: file.digest.as_str().to_owned(),
            };
            origins.insert(path.clone(), origin);
            from.push(path);
        }
        let config = downloads.join(CONFIG_FILE);
        let _ = fs::remove_file(&config);
        if let Some(file) = repository.file(CONFIG_FILE).filter(|file| file.bytes <= MAX_CONFIG) {
            observer.begins(CONFIG_FILE);
            let path = download(file).run(0, file.bytes, observer)?;
            // A page may have one for other programs; then the shapes say what the network is.
            if read_config(&path).is_err() {
                fs::remove_file(&path).map_err(|error| unwritable(&path, &error))?;
            }
        }

        let folder = self.folder();
        observer.begins("converting");
        let conversion = Conversion {
            from: from.clone(),
            to: folder.clone(),
            precision: self.precision.unwrap_or_default(),
            licence: repository.licence.clone(),
            origins,
        };
        let converted = conversion.run(observer).map_err(HubError::Weights)?;
        let converted = converted.ok_or(Ending::Stopped)?;
        if self.checkpoints == Checkpoints::Remove {
            // The bundle is there; what cannot be removed only takes space.
            for path in from.iter().chain([&config]) {
                let _ = fs::remove_file(path);
            }
            let _ = fs::remove_dir(downloads);
        }
        let Converted { manifest, reports } = converted;
        Ok(Fetched { folder, manifest, what: Done::Downloaded { reports } })
    }

    /// Whether files and bundle will fit. A bundle has what its checkpoints have, in its precision.
    fn check_space(&self, downloads: &Path, bytes: u64, here: u64) -> Result<(), HubError> {
        let half = self.precision.is_some_and(|precision| precision != StoredPrecision::F32);
        let (missing, bundle) = (bytes - here, if half { bytes / 2 } else { bytes });
        let folder = self.folder();
        let both = same_disk(downloads, &folder);
        let needs = match both {
            true => vec![(downloads, missing.saturating_add(bundle))],
            false => vec![(downloads, missing), (folder.as_path(), bundle)],
        };
        for (folder, needed) in needs {
            if let Some(free) = free_bytes(folder).filter(|&free| free < needed) {
                let hint = if half { "" } else { " (--precision f16 halves the bundle)" };
                return Err(HubError::NoSpace { folder: folder.into(), needed, free, hint });
            }
        }
        Ok(())
    }
}

/// The checkpoints of `weights` in their repository, each with a SHA-256.
fn checkpoints(weights: Published, repository: &Repository) -> Result<Vec<&HubFile>, HubError> {
    let file = |file| {
        let found = repository.file(file);
        let missing = || HubError::NoFile { repository: repository.name.clone(), file };
        match found.ok_or_else(missing)? {
            found @ HubFile { digest: Digest::Sha256(_), .. } => Ok(found),
            _ => {
                let what = format!("{}/{file}", repository.name);
                Err(HubError::Odd { what, why: "it states no SHA-256".to_owned() })
            }
        }
    };
    weights.files().into_iter().map(file).collect()
}

/// Makes the folder, and holds it against other processes until the file goes.
fn locked(folder: &Path, observer: &dyn FetchObserver) -> Result<File, Ending> {
    // Beside the folder and never removed: whoever waits for it would hold a file that is gone.
    let path = folder.with_extension("lock");
    let file = fs::create_dir_all(folder).and_then(|()| File::create(&path));
    let file = file.map_err(|error| unwritable(&path, &error))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if observer.stopped() => return Err(Ending::Stopped),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut said, true) {
                    observer.waits();
                }
                std::thread::sleep(LOOK);
            }
            Err(TryLockError::Error(error)) => {
                let why = format!("no lock ({error}): set FILO_CACHE to a folder on another disk");
                return Err(HubError::Unwritable { path, why }.into());
            }
        }
    }
    // The one that was waited for may have removed it.
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    Ok(file)
}

impl From<WeightsError> for Ending {
    fn from(error: WeightsError) -> Self {
        Ending::Failed(error.into())
    }
}
