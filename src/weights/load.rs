//! Fills a network from a checkpoint. Everything is widened to f32; positions are resized where
//! the checkpoint has another grid. A missing or misshapen tensor is an error that names it.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{DType, Shape, TensorData};
use burn_store::{
    ApplyError, ModuleSnapshot, PyTorchToBurnAdapter, TensorSnapshot, TensorSnapshotError,
};

use super::Checkpoint;
use super::keymap::{Key, filo_key, grounding_key};
use super::positions::resize_positions;
use crate::device::{Backend, Device};
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::model::filo::Filo;
use crate::model::grounding::{GroundingConfig, GroundingDino};

const POSITIONS: &str = "image_encoder.positional_embedding";

/// What became of the tensors of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that were filled, by path in the network.
    pub used: Vec<String>,
    /// Tensors that repeat others or are never read, left out on purpose.
    pub aliases: Vec<String>,
    /// Tensors that the network has no place for.
    pub unexpected: Vec<String>,
    /// Parameters that were resized on the way.
    pub resized: Vec<String>,
}

/// The network of `config` with the numbers of `checkpoint`.
///
/// # Errors
/// If a parameter is missing, has another shape, or its numbers cannot be read; names all of them.
pub fn load_filo(
    checkpoint: &Checkpoint,
    config: &FiloConfig,
    device: &Device,
) -> Result<(Filo<Backend>, LoadReport), WeightsError> {
    let mut report = LoadReport::default();
    let mut tensors = by_path(checkpoint, filo_key, &mut report)?;
    if let Some(positions) = tensors.get_mut(POSITIONS)
        && let Some(resized) = resized_positions(positions, config)
    {
        *positions = resized;
        report.resized.push(POSITIONS.to_string());
    }
    fill(Filo::new(config, device), checkpoint, tensors, report)
}

/// The detector of `config` with the numbers of `checkpoint`.
///
/// # Errors
/// As [`load_filo`]; also if two copies of the shared box head differ.
pub fn load_grounding(
    checkpoint: &Checkpoint,
    config: &GroundingConfig,
    device: &Device,
) -> Result<(GroundingDino<Backend>, LoadReport), WeightsError> {
    let mut report = LoadReport::default();
    let tensors = by_path(checkpoint, grounding_key, &mut report)?;
    fill(config.init(device), checkpoint, tensors, report)
}

/// The tensors under the paths of the network. A path that several names lead to must get the
/// same numbers from all of them.
fn by_path(
    checkpoint: &Checkpoint,
    key: impl Fn(&str) -> Key,
    report: &mut LoadReport,
) -> Result<BTreeMap<String, TensorSnapshot>, WeightsError> {
    let mut tensors = BTreeMap::<String, TensorSnapshot>::new();
    for (name, tensor) in checkpoint.tensors() {
        match key(name) {
            Key::Alias => report.aliases.push(name.clone()),
            Key::Unknown => report.unexpected.push(name.clone()),
            Key::Parameter(path) => {
                let tensor = widened(tensor, &path);
                let Some(first) = tensors.get(&path) else {
                    tensors.insert(path, tensor);
                    continue;
                };
                if !same_numbers(first, &tensor) {
                    let wrong = vec![format!("'{name}' differs from its copies")];
                    let path = checkpoint.path().into();
                    return Err(WeightsError::Mismatch { path, missing: Vec::new(), wrong });
                }
                report.aliases.push(name.clone());
            }
        }
    }
    Ok(tensors)
}

fn same_numbers(a: &TensorSnapshot, b: &TensorSnapshot) -> bool {
    match (a.to_data(), b.to_data()) {
        (Ok(a), Ok(b)) => a.shape == b.shape && a.as_bytes() == b.as_bytes(),
        // What cannot be read is found, and named, when the network asks for it.
        _ => true,
    }
}

fn fill<M: ModuleSnapshot<Backend>>(
    mut network: M,
    checkpoint: &Checkpoint,
    tensors: BTreeMap<String, TensorSnapshot>,
    mut report: LoadReport,
) -> Result<(M, LoadReport), WeightsError> {
    let snapshots = tensors.into_values().collect();
    let result = network.apply(snapshots, None, Some(Box::new(PyTorchToBurnAdapter)), false);
    if !result.missing.is_empty() || !result.errors.is_empty() {
        let failed = result.errors.iter().map(path_of).collect::<Vec<_>>();
        let missing = result.missing.into_iter().map(|(path, _)| path);
        return Err(WeightsError::Mismatch {
            path: checkpoint.path().into(),
            missing: missing.filter(|path| !failed.contains(&path.as_str())).collect(),
            wrong: result.errors.iter().map(ToString::to_string).collect(),
        });
    }
    report.used = result.applied;
    // Named by our path: a rule knew the name, the network has no such parameter.
    report.unexpected.extend(result.unused);
    Ok((network, report))
}

fn path_of(error: &ApplyError) -> &str {
    match error {
        ApplyError::ShapeMismatch { path, .. }
        | ApplyError::DTypeMismatch { path, .. }
        | ApplyError::AdapterError { path, .. }
        | ApplyError::LoadError { path, .. } => path,
    }
}

/// The tensor under its new name, read as f32 when it is asked for. (burn would leave f16 numbers
/// in f16, and an operation on mixed types panics.)
fn widened(tensor: &TensorSnapshot, path: &str) -> TensorSnapshot {
    let read = tensor.clone_data_fn();
    lazy(path, tensor.shape.clone(), move || Ok(read()?.convert::<f32>()))
}

fn lazy(
    path: &str,
    shape: Shape,
    read: impl Fn() -> Result<TensorData, TensorSnapshotError> + 'static,
) -> TensorSnapshot {
    let path = path.split('.').map(str::to_string).collect();
    TensorSnapshot::from_closure(Rc::new(read), DType::F32, shape, path, vec![], ParamId::new())
}

/// The image positions on the grid of `config`; `None` where they are on it already. Only a square
/// grid of another size is resized; anything else is left for the shape check to name.
fn resized_positions(tensor: &TensorSnapshot, config: &FiloConfig) -> Option<TensorSnapshot> {
    let [rows, width] = *tensor.shape.as_slice() else { return None };
    let from = rows.saturating_sub(1).isqrt();
    let to = config.vision.grid();
    if from == to || from == 0 || 1 + from * from != rows {
        return None;
    }
    let read = tensor.clone_data_fn();
    Some(lazy(POSITIONS, Shape::new([1 + to * to, width]), move || {
        let positions = read()?;
        let positions = positions
            .as_slice::<f32>()
            .map_err(|error| TensorSnapshotError::DataError(format!("{error:?}")))?;
        let resized = resize_positions(positions, from, to, width);
        Ok(TensorData::new(resized, [1 + to * to, width]))
    }))
}
