//! The backbone inside the program. In: `config.json` and the numbers, where the program lies in
//! memory. Out: the network, filled, and an id that names it in files. Numbers that are stored in f16
//! are computed with in f32. Made by `scripts/convert_backbone.py`; see `assets/lite0/README.md`.

use std::path::Path;

use bytes::Bytes;

use super::bundle::{in_place, widened};
use super::embedded;
use super::load::filled;
use super::safetensors::entries_of;
use super::stored::lazy;
use burn::tensor::backend::Backend as AnyBackend;

use crate::device::{Device, NetworkBackend};
use crate::error::WeightsError;
use crate::model::backbone::{Backbone, BackboneConfig};

/// A backbone with its weights.
#[derive(Debug)]
pub struct LoadedBackbone<B: AnyBackend> {
    pub network: Backbone<B>,
    /// Its name, and 16 hexadecimal digits of blake3 over its configuration and weights: features
    /// carry it, so that those of different backbones are never compared.
    pub id: String,
}

/// The backbone inside the program, on `device`.
///
/// # Errors
/// If what was built in is no backbone, which the tests of a build exclude.
pub fn embedded_backbone<B: NetworkBackend>(
    device: &Device,
) -> Result<LoadedBackbone<B>, WeightsError> {
    backbone(embedded::BACKBONE_CONFIG, &embedded::backbone(), device)
}

/// The id of the backbone inside the program, without loading it.
///
/// # Errors
/// As [`embedded_backbone`].
pub fn embedded_backbone_id() -> Result<String, WeightsError> {
    let config = config(embedded::BACKBONE_CONFIG)?;
    id(&config, &embedded::backbone())
}

fn backbone<B: NetworkBackend>(
    text: &str,
    file: &Bytes,
    device: &Device,
) -> Result<LoadedBackbone<B>, WeightsError> {
    let config = config(text)?;
    let entries = entries_of(file).map_err(broken)?;
    let tensors = entries.into_iter().map(|(name, entry)| {
        let numbers = file.slice(entry.start..entry.end);
        let (dtype, shape) = (entry.dtype, entry.shape.clone());
        let stored = lazy(&name, dtype, shape, move || Ok(in_place(&numbers, &entry)));
        let tensor = widened(&name, &stored);
        (name, tensor)
    });
    let network = Backbone::new(&config, &B::own(device));
    let network = filled(network, tensors.collect(), Path::new(embedded::BACKBONE_NAME))?;
    Ok(LoadedBackbone { network, id: id(&config, file)? })
}

fn config(text: &str) -> Result<BackboneConfig, WeightsError> {
    let config: BackboneConfig =
        serde_json::from_str(text).map_err(|error| broken(format!("config.json: {error}")))?;
    config.validate().map_err(|error| broken(error.what))?;
    Ok(config)
}

/// Of the parsed configuration, so that line breaks do not count.
fn id(config: &BackboneConfig, file: &[u8]) -> Result<String, WeightsError> {
    let config_text = serde_json::to_vec(config).map_err(|error| broken(error.to_string()))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&config_text);
    hasher.update(file);
    Ok(format!("{}-{}", config.name, &hasher.finalize().to_hex()[..16]))
}

fn broken(what: String) -> WeightsError {
    WeightsError::BrokenBundle { path: embedded::BACKBONE_NAME.into(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as Own, cpu};
    use burn::module::Module;

    #[test]
    fn the_embedded_backbone_is_filled_and_its_id_follows_from_what_is_in_it() {
        let loaded = embedded_backbone::<Own>(&cpu()).unwrap();
        assert_eq!(loaded.network.num_params(), 692_688);
        assert_eq!(loaded.network.config().tap_channels(), [24, 40, 112]);
        assert_eq!(loaded.network.config().tap_strides(), [4, 8, 16]);
        assert_eq!(loaded.id, embedded_backbone_id().unwrap());
        assert_eq!(loaded.id, "lite0-290cb1d60d67c596");

        let mut other = config(embedded::BACKBONE_CONFIG).unwrap();
        other.normalisation.mean[0] += 1.0;
        let changed = id(&other, &embedded::backbone()).unwrap();
        assert_ne!(changed, loaded.id);
        assert_ne!(changed, id(&other, b"other weights").unwrap());
    }

    #[test]
    fn what_does_not_belong_together_is_an_error() {
        let file = embedded::backbone();
        let refused = |config: &str, file: &Bytes| {
            backbone::<Own>(config, file, &cpu()).unwrap_err().to_string()
        };
        let config = embedded::BACKBONE_CONFIG;
        assert!(refused("{", &file).contains("config.json"));
        assert!(refused(config, &file.slice(..100)).contains("broken bundle"));
        let other = config.replacen("\"channels\": 24", "\"channels\": 25", 1);
        assert!(refused(&other, &file).contains("blocks.1.project.weight"));
        let shorter = config.replace("[2, 4, 10]", "[2, 4]");
        assert!(refused(&shorter, &file).contains("taps must rise"));
    }
}
