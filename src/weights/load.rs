//! Fills a network from a checkpoint. Everything is widened to f32; positions are resized where
//! the checkpoint has another grid. A missing or misshapen tensor is an error that names it.

use std::rc::Rc;

use burn::module::ParamId;
use burn::tensor::{DType, Shape, TensorData};
use burn_store::{ApplyError, ModuleSnapshot, PyTorchToBurnAdapter, TensorSnapshot};

use super::Checkpoint;
use super::keymap::{Key, filo_key};
use super::positions::resize_positions;
use crate::device::{Backend, Device};
use crate::error::WeightsError;
use crate::model::config::FiloConfig;
use crate::model::filo::Filo;

const POSITIONS: &str = "image_encoder.positional_embedding";

/// What became of the tensors of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that were filled, by path in the network.
    pub used: Vec<String>,
    /// Tensors that repeat others, left out on purpose.
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
    let mut snapshots = Vec::new();
    for (name, tensor) in checkpoint.tensors() {
        match filo_key(name) {
            Key::Alias => report.aliases.push(name.clone()),
            Key::Unknown => report.unexpected.push(name.clone()),
            Key::Parameter(path) => {
                let tensor = if path == POSITIONS {
                    resized_positions(tensor, config, &mut report)
                } else {
                    tensor.clone()
                };
                snapshots.push(widened(&tensor, &path));
            }
        }
    }
    let mut filo = Filo::<Backend>::new(config, device);
    let result = filo.apply(snapshots, None, Some(Box::new(PyTorchToBurnAdapter)), false);
    if !result.missing.is_empty() || !result.errors.is_empty() {
        let failed = result.errors.iter().map(path_of).collect::<Vec<_>>();
        return Err(WeightsError::Mismatch {
            path: checkpoint.path().into(),
            missing: result
                .missing
                .into_iter()
                .map(|(path, _)| path)
                .filter(|path| !failed.contains(&path.as_str()))
                .collect(),
            wrong: result.errors.iter().map(ToString::to_string).collect(),
        });
    }
    report.used = result.applied;
    // Paths that burn found no parameter for: names in our form, which the reader can place.
    report.unexpected.extend(result.unused);
    Ok((filo, report))
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
    read: impl Fn() -> Result<TensorData, burn_store::TensorSnapshotError> + 'static,
) -> TensorSnapshot {
    let path = path.split('.').map(str::to_string).collect();
    TensorSnapshot::from_closure(Rc::new(read), DType::F32, shape, path, vec![], ParamId::new())
}

/// The image positions on the grid of `config`. Only a square grid of another size is resized;
/// anything else is left for the shape check to name.
fn resized_positions(
    tensor: &TensorSnapshot,
    config: &FiloConfig,
    report: &mut LoadReport,
) -> TensorSnapshot {
    let (rows, width) = match tensor.shape.as_slice() {
        [rows, width] => (*rows, *width),
        _ => return tensor.clone(),
    };
    let from = rows.saturating_sub(1).isqrt();
    let to = config.vision.grid();
    if from == to || from == 0 || 1 + from * from != rows {
        return tensor.clone();
    }
    report.resized.push(POSITIONS.to_string());
    let read = tensor.clone_data_fn();
    lazy(POSITIONS, Shape::new([1 + to * to, width]), move || {
        let positions = read()?.convert::<f32>();
        let positions = positions
            .as_slice::<f32>()
            .map_err(|error| burn_store::TensorSnapshotError::DataError(format!("{error:?}")))?;
        let resized = resize_positions(positions, from, to, width);
        Ok(TensorData::new(resized, [1 + to * to, width]))
    })
}
