//! Finished and unfinished runs below a place. In: a folder or a prefix in a bucket. Out: the outputs
//! below it with their manifests. A folder is looked into level by level and an output is not, so that
//! the files of its tables are never listed.

use std::path::Path;

use crate::error::{Error, SourceError, TableError};
use crate::store::{Location, Store, at_once};
use crate::tables::{Manifest, ROOT_KEY};

/// Levels of folders below a place that are looked at.
const DEPTH: usize = 8;

/// Folders that are looked at: more are no folder of runs, but one of images.
const FOLDERS: usize = 20_000;

/// The output of a run.
pub(super) struct Found {
    pub store: Store,
    pub manifest: Manifest,
}

impl Found {
    /// The folder of its input, as a URI; `None` for a run of a version that did not tell.
    pub fn root(&self) -> Option<&str> {
        self.manifest.spec[ROOT_KEY].as_str()
    }
}

/// What a folder is.
enum Looked {
    Run(Box<Manifest>),
    /// Of a version that is not understood, or damaged, or closed to this user.
    Foreign(TableError),
    Folders(Vec<String>),
}

/// The runs below `place`, without the one that is about to begin in `own`.
///
/// # Errors
/// If the place cannot be listed, or has far too many folders.
pub(super) fn runs_below(place: &Location, own: &Location) -> Result<Vec<Found>, Error> {
    let (mut runs, mut foreign) = (Vec::new(), Vec::new());
    let mut level = root(place)?.into_iter().collect::<Vec<_>>();
    let own = root(own)?;
    let is_own = |store: &Store| own.as_ref().is_some_and(|own| own.uri() == store.uri());
    let mut seen = 0;
    for depth in 0..=DEPTH {
        level.retain(|store| !is_own(store));
        let looked = at_once(&level, look);
        let mut next = Vec::new();
        for (store, looked) in level.into_iter().zip(looked) {
            match looked {
                Ok(Looked::Run(manifest)) => runs.push(Found { store, manifest: *manifest }),
                Ok(Looked::Foreign(error)) => foreign.push(error),
                Ok(Looked::Folders(folders)) => {
                    seen += folders.len();
                    if seen > FOLDERS {
                        let uri = place.uri().to_string();
                        return Err(SourceError::TooManyFolders { uri, most: FOLDERS }.into());
                    }
                    next.extend(folders.into_iter().map(|name| (store.clone(), name)));
                }
                // Such as `lost+found`; in a bucket all is open, or nothing.
                Err(error) if depth > 0 && place.disk().is_some() => foreign.push(error),
                Err(error) => return Err(error.into()),
            }
        }
        level = Vec::with_capacity(next.len());
        for (store, name) in next {
            match store.below(&name) {
                Ok(store) => level.push(store),
                Err(error) => foreign.push(error.into()),
            }
        }
    }
    if let Some(first) = foreign.first() {
        tracing::warn!(
            "--skip-scored: {} of the folders below {place} cannot be read, which may be runs; of the \
             first: {first}",
            foreign.len()
        );
    }
    if let Some(deep) = level.first() {
        tracing::warn!(
            "--skip-scored: folders more than {DEPTH} levels below {place} are not looked into, \
             such as {}",
            deep.uri()
        );
    }
    if runs.is_empty() {
        tracing::warn!("--skip-scored: there is no earlier run below {place}");
    }
    Ok(runs)
}

/// The place, under one name whoever wrote it; `None` for a folder that does not exist yet.
fn root(place: &Location) -> Result<Option<Store>, Error> {
    let Some(folder) = place.disk() else {
        // The same with a `/` at its end, or without.
        let prefix = place.bucket().map_or("", |bucket| bucket.prefix.as_str());
        let store = Store::open(&place.with_prefix(prefix))?;
        store.check()?;
        return Ok(Some(store));
    };
    match std::fs::canonicalize(folder) {
        Ok(folder) => Ok(Some(Store::open(&Location::local(folder))?)),
        Err(_) if !is_there(folder) => Ok(None),
        // Says what is wrong with it.
        Err(_) => Ok(Some(Store::open(place)?)),
    }
}

fn is_there(folder: &Path) -> bool {
    folder.try_exists().unwrap_or(true)
}

fn look(store: &Store) -> Result<Looked, TableError> {
    match Manifest::read(store) {
        Ok(Some(manifest)) => Ok(Looked::Run(Box::new(manifest))),
        Err(error @ (TableError::OtherFormat { .. } | TableError::BadJson { .. })) => {
            Ok(Looked::Foreign(error))
        }
        Err(error) => Err(error),
        Ok(None) => Ok(Looked::Folders(store.folders("")?)),
    }
}
