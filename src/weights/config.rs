//! Which configuration a checkpoint belongs to: the `config.json` beside it, or, where there is
//! none, the published one if the shapes say so.

use std::path::Path;

use super::Checkpoint;
use crate::error::WeightsError;
use crate::model::config::FiloConfig;

const CONFIG_FILE: &str = "config.json";
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

/// Reads and validates a configuration file.
///
/// # Errors
/// If it cannot be read, is no JSON of the right form, or describes no network.
pub fn read_config(path: &Path) -> Result<FiloConfig, WeightsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| WeightsError::Unreadable { path: path.into(), source })?;
    let bad = |what: String| WeightsError::BadConfig { path: path.into(), what };
    let config: FiloConfig = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    config.validate().map_err(|error| bad(error.what))?;
    Ok(config)
}
