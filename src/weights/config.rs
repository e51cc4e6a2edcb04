//! Which configuration a checkpoint belongs to: the `config.json` beside it, or, where there is
//! none, the published one if the shapes say so.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Checkpoint;
use crate::error::WeightsError;
use crate::model::config::{ConfigError, FiloConfig};
use crate::model::grounding::GroundingConfig;

/// Says how a network is built where it is not the published one.
pub(super) const CONFIG_FILE: &str = "config.json";
const PATCH_EMBEDDING: &str = "clip_model.visual.conv1.weight";

/// The configuration of `checkpoint`.
///
/// # Errors
/// If `config.json` cannot be read or describes no network, or if there is none and the shapes
/// are not the published ones.
pub fn config_of(checkpoint: &Checkpoint) -> Result<FiloConfig, WeightsError> {
    let path = checkpoint.path().with_file_name(CONFIG_FILE);
    if path.exists() {
        return read_config(&path);
    }
    let published = FiloConfig::published();
    let vision = &published.vision;
    let expected = vec![vision.width, 3, vision.patch_size, vision.patch_size];
    if checkpoint.shape(PATCH_EMBEDDING) == Some(expected) {
        Ok(published)
    } else {
        Err(WeightsError::NoConfig { path: checkpoint.path().into() })
    }
}

/// The configuration of a detector's `checkpoint`: the `config.json` beside it, which may hold it
/// under the key `config`, or the published one.
///
/// # Errors
/// If `config.json` cannot be read or describes no network.
pub fn grounding_config_of(checkpoint: &Checkpoint) -> Result<GroundingConfig, WeightsError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum File {
        Nested { config: GroundingConfig },
        Plain(GroundingConfig),
    }
    let path = checkpoint.path().with_file_name(CONFIG_FILE);
    if !path.exists() {
        return Ok(GroundingConfig::swin_t_ogc());
    }
    let (File::Nested { config } | File::Plain(config)) = parse(&path)?;
    checked(&path, config.validate())?;
    Ok(config)
}

/// Reads and validates a configuration file of FiLo.
///
/// # Errors
/// If it cannot be read, is no JSON of the right form, or describes no network.
pub fn read_config(path: &Path) -> Result<FiloConfig, WeightsError> {
    let config: FiloConfig = parse(path)?;
    checked(path, config.validate())?;
    Ok(config)
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, WeightsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| WeightsError::Unreadable { path: path.into(), source })?;
    serde_json::from_str(&text)
        .map_err(|error| WeightsError::BadConfig { path: path.into(), what: error.to_string() })
}

fn checked(path: &Path, result: Result<(), ConfigError>) -> Result<(), WeightsError> {
    result.map_err(|error| WeightsError::BadConfig { path: path.into(), what: error.what })
}
