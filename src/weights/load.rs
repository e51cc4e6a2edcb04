//! Fills a network: from a checkpoint, whose names are mapped on the way, or from a bundle, which
//! holds the network's own names. Everything is computed in f32.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::DType;
use burn_store::{ModuleSnapshot, TensorSnapshot};

use super::bundle::{Bundle, Network};
use super::mapping::{LoadReport, fit_positions, map};
use super::parameters::parameters;
use super::{Checkpoint, Weights};
use crate::device::{Device, NetworkBackend};
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::model::filo::{Filo, FiloScorer};
use crate::model::grounding::{GroundingConfig, GroundingDino};

/// The network of `config` with the numbers of `checkpoint`.
///
/// # Errors
/// If a parameter is missing, has another shape, or its numbers cannot be read; names all of them.
pub fn load_filo<B: NetworkBackend>(
    checkpoint: &Checkpoint,
    config: &FiloConfig,
    device: &Device,
) -> Result<(Filo<B>, LoadReport), WeightsError> {
    from_checkpoint(Filo::new(config, &B::own(device)), checkpoint)
}

/// The detector of `config` with the numbers of `checkpoint`.
///
/// # Errors
/// As [`load_filo`]; also if two copies of the shared box head differ.
pub fn load_grounding<B: NetworkBackend>(
    checkpoint: &Checkpoint,
    config: &GroundingConfig,
    device: &Device,
) -> Result<(GroundingDino<B>, LoadReport), WeightsError> {
    from_checkpoint(config.init(&B::own(device)), checkpoint)
}

/// FiLo of a bundle, with the dimensions of `config`: those of the bundle, or others with which its
/// parameters have the same shapes. Image positions are resized to another image size.
///
/// # Errors
/// If a file cannot be read, or a parameter is missing or has another shape.
pub fn bundled_filo<B: NetworkBackend>(
    bundle: &Bundle,
    config: &FiloConfig,
    device: &Device,
) -> Result<Filo<B>, WeightsError> {
    let network = Filo::new(config, &B::own(device));
    let mut tensors = bundle.tensors(Network::Filo)?;
    fit_positions(&mut tensors, &parameters(&network)).map_err(|what| {
        let (missing, wrong) = (Vec::new(), vec![what]);
        WeightsError::Mismatch { path: bundle.place().path().into(), missing, wrong }
    })?;
    filled(network, tensors, bundle.place().path())
}

/// The detector of a bundle, if it has one.
///
/// # Errors
/// As [`bundled_filo`].
pub fn bundled_grounding<B: NetworkBackend>(
    bundle: &Bundle,
    device: &Device,
) -> Result<Option<GroundingDino<B>>, WeightsError> {
    let Some(config) = &bundle.manifest().grounding else { return Ok(None) };
    let tensors = bundle.tensors(Network::Grounding)?;
    filled(config.init(&B::own(device)), tensors, bundle.place().path()).map(Some)
}

/// What scores with `filo`, which `weights` have filled, with its large products in `format`; the memory
/// that this took is given back.
pub fn scorer<B: NetworkBackend>(filo: Filo<B>, weights: &Weights, format: DType) -> FiloScorer<B> {
    let scorer = filo.into_scorer();
    // Twice, so that the peak is not the sum of what both steps read.
    weights.release_pages();
    let scorer = scorer.with_products_in(format);
    weights.release_pages();
    scorer
}

fn from_checkpoint<B: NetworkBackend, M: ModuleSnapshot<B>>(
    network: M,
    checkpoint: &Checkpoint,
) -> Result<(M, LoadReport), WeightsError> {
    let mapped = map(&[checkpoint], &parameters(&network)).complete(checkpoint.path())?;
    Ok((filled(network, mapped.tensors, checkpoint.path())?, mapped.report))
}

/// `network` with the numbers of `tensors`, which have its own names.
///
/// # Errors
/// If a parameter is missing or has another shape, or a tensor has no place.
pub(super) fn filled<B: NetworkBackend, M: ModuleSnapshot<B>>(
    mut network: M,
    tensors: BTreeMap<String, TensorSnapshot>,
    path: &Path,
) -> Result<M, WeightsError> {
    let result = network.apply(tensors.into_values().collect(), None, None, false);
    let mut wrong = result.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    wrong.extend(result.unused.iter().map(|path| format!("{path} has no place in the network")));
    let missing = result.missing.into_iter().map(|(path, _)| path);
    // burn lists what it could not fill as missing too.
    let failed = |path: &String| wrong.iter().any(|what| what.contains(path.as_str()));
    let missing = missing.filter(|path| !failed(path)).collect::<Vec<_>>();
    if missing.is_empty() && wrong.is_empty() {
        return Ok(network);
    }
    Err(WeightsError::Mismatch { path: path.into(), missing, wrong })
}
