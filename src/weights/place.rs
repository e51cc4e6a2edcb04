//! Where weights are, and opening them whatever they are. In: what a person writes: `nano`, or a
//! path. Out: a bundle or a checkpoint.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::bundle::Bundle;
use super::config::config_of;
use super::embedded;
use super::local_copy::{is_in_bucket, local_copy};
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
    /// A file, or a folder with one or with a bundle.
    Path(PathBuf),
}

impl WeightsPlace {
    /// What a person calls the embedded weights.
    pub const EMBEDDED: &str = embedded::NAME;

    /// The weights at a location, copied to this machine if they are in a bucket; without one, the
    /// embedded weights.
    ///
    /// # Errors
    /// As [`local_copy`].
    pub fn here(location: Option<&Location>) -> Result<Self, WeightsError> {
        location.map_or(Ok(WeightsPlace::Embedded), |at| local_copy(at).map(WeightsPlace::Path))
    }

    /// The name of the embedded weights, or the path, for messages.
    pub fn path(&self) -> &Path {
        match self {
            WeightsPlace::Embedded => Path::new(embedded::NAME),
            WeightsPlace::Path(path) => path,
        }
    }

    /// Whether there is a bundle, or a folder that says it is one.
    pub fn is_bundle(&self) -> bool {
        match self {
            WeightsPlace::Embedded => true,
            WeightsPlace::Path(path) => Bundle::is_at(path),
        }
    }
}

/// `nano` are the embedded weights; `./nano` is a path, as everything else is.
impl From<OsString> for WeightsPlace {
    fn from(text: OsString) -> Self {
        if text == embedded::NAME {
            WeightsPlace::Embedded
        } else {
            WeightsPlace::Path(text.into())
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
    let place = WeightsPlace::Path(path.to_owned());
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
    fn only_the_bare_name_is_the_embedded_weights() {
        assert_eq!(WeightsPlace::from("nano"), WeightsPlace::Embedded);
        assert_eq!(WeightsPlace::default().to_string(), "nano");
        for path in ["./nano", "/nano", "nano/", "Nano", "nano.safetensors", ""] {
            assert_eq!(WeightsPlace::from(path), WeightsPlace::Path(path.into()));
        }
    }
}
