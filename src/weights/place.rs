//! Where weights are, and opening them whatever they are. In: what a person writes: `nano`, the name
//! of published weights, or a path. Out: a bundle or a checkpoint. Nothing is downloaded here.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::bundle::Bundle;
use super::config::config_of;
use super::embedded;
use super::local_copy::{is_in_bucket, local_copy};
use super::published::Published;
use crate::device::give_back_freed;
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::store::Location;

/// Where weights are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WeightsPlace {
    /// Inside the program.
    #[default]
    Embedded,
    /// In the cache, once they were fetched.
    Published(Published),
    /// A file, or a folder with one or with a bundle.
    Path(PathBuf),
}

impl WeightsPlace {
    /// What a person calls the embedded weights.
    pub const EMBEDDED: &str = embedded::NAME;

    /// The weights at a location, copied to this machine if they are in a bucket; without one, the
    /// embedded weights. A job keeps the name of published weights as its location, so that its
    /// record has the name and not the cache of one machine.
    ///
    /// # Errors
    /// As [`local_copy`].
    pub fn here(location: Option<&Location>) -> Result<Self, WeightsError> {
        let Some(location) = location else { return Ok(WeightsPlace::Embedded) };
        match WeightsPlace::published(location) {
            Some(published) => Ok(published),
            None => local_copy(location).map(WeightsPlace::Path),
        }
    }

    /// The published weights that a location is the name of.
    fn published(location: &Location) -> Option<Self> {
        let name = location.disk()?.as_os_str();
        Published::named(name).map(WeightsPlace::Published)
    }

    /// The name of the weights, or the path, for messages.
    pub fn path(&self) -> &Path {
        match self {
            WeightsPlace::Embedded => Path::new(embedded::NAME),
            WeightsPlace::Published(weights) => Path::new(weights.name()),
            WeightsPlace::Path(path) => path,
        }
    }

    /// The file or folder on a disk; `None` for what is inside the program.
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            WeightsPlace::Embedded => None,
            WeightsPlace::Published(weights) => Some(weights.folder()),
            WeightsPlace::Path(path) => Some(path.clone()),
        }
    }

    /// Whether there is a bundle, or a folder that says it is one.
    pub fn is_bundle(&self) -> bool {
        match self {
            WeightsPlace::Embedded | WeightsPlace::Published(_) => true,
            WeightsPlace::Path(path) => Bundle::is_at(path),
        }
    }
}

/// `nano` are the embedded weights and `filo-visa` published ones; `./nano` is a path, as everything
/// else is.
impl From<OsString> for WeightsPlace {
    fn from(text: OsString) -> Self {
        if text == embedded::NAME {
            return WeightsPlace::Embedded;
        }
        match Published::named(&text) {
            Some(weights) => WeightsPlace::Published(weights),
            None => WeightsPlace::Path(text.into()),
        }
    }
}

impl From<&str> for WeightsPlace {
    fn from(text: &str) -> Self {
        OsString::from(text).into()
    }
}

impl fmt::Display for WeightsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

/// Looks at the weights of a location without reading their numbers or copying anything: a slip in
/// their name shows at once.
///
/// # Errors
/// If there are none, or they are of no kind that is read.
pub fn look_at(location: &Location) -> Result<(), WeightsError> {
    let Some(path) = location.disk() else { return is_in_bucket(location) };
    let named = WeightsPlace::published(location);
    let place = named.unwrap_or_else(|| WeightsPlace::Path(path.to_owned()));
    match place.is_bundle() {
        true => Bundle::open_unchecked(&place).map(drop),
        false => Checkpoint::open(path).map(drop),
    }
}

/// Opened weights.
pub enum Weights {
    Bundle(Box<Bundle>),
    Checkpoint(Checkpoint),
}

impl Weights {
    /// Opens what is at `place`.
    ///
    /// # Errors
    /// As [`Bundle::open`] and [`Checkpoint::open`].
    pub fn open(place: &WeightsPlace) -> Result<Self, WeightsError> {
        match place {
            WeightsPlace::Path(path) if !place.is_bundle() => {
                Checkpoint::open(path).map(Weights::Checkpoint)
            }
            _ => Bundle::open(place).map(|bundle| Weights::Bundle(Box::new(bundle))),
        }
    }

    /// Dimensions of FiLo.
    ///
    /// # Errors
    /// As [`config_of`].
    pub fn config(&self) -> Result<FiloConfig, WeightsError> {
        match self {
            Weights::Bundle(bundle) => Ok(bundle.manifest().filo.clone()),
            Weights::Checkpoint(checkpoint) => config_of(checkpoint),
        }
    }

    /// Gives back the memory that filling networks took and that they do not hold; see
    /// [`Bundle::release_pages`].
    pub fn release_pages(&self) {
        give_back_freed();
        match self {
            Weights::Bundle(bundle) => bundle.release_pages(),
            Weights::Checkpoint(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bare_name_is_that_of_weights() {
        assert_eq!(WeightsPlace::from("nano"), WeightsPlace::Embedded);
        assert_eq!(WeightsPlace::default().to_string(), "nano");
        let visa = WeightsPlace::Published(Published::FiloVisa);
        assert_eq!(WeightsPlace::from("filo-visa"), visa);
        assert_eq!(WeightsPlace::here(Some(&"filo-visa".parse().unwrap())).unwrap(), visa);
        for path in ["./filo-visa", "filo-visa/", "Filo-Visa"] {
            let here = WeightsPlace::here(Some(&path.parse().unwrap())).unwrap();
            assert_eq!(here, WeightsPlace::Path(path.into()));
            assert_eq!(WeightsPlace::from(path), here);
        }
        for path in ["./nano", "/nano", "nano/", "Nano", "nano.safetensors", ""] {
            assert_eq!(WeightsPlace::from(path), WeightsPlace::Path(path.into()));
        }
    }
}
