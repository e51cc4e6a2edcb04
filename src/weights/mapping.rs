//! From checkpoints to the parameters of a network. In: one or more checkpoints and what the
//! network asks for. Out: lazy f32 tensors under the network's paths, in its own orientation, and a
//! report of what became of every name. Loading and converting both use exactly this.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use burn_store::{TensorSnapshot, TensorSnapshotError};

use super::Checkpoint;
use super::keymap::{Key, Part};
use super::parameters::{Orientation, Parameter};
use super::positions::resize_positions;
use super::stored::{lazy, unreadable};
use crate::error::WeightsError;

/// The parameter that holds the image positions.
const POSITIONS: &str = "image_encoder.positional_embedding";

/// What became of the tensors of some checkpoints.
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
    /// Parameters whose numbers differ between two checkpoints; the first one's were taken.
    pub differing: Vec<String>,
}

/// The parameters of a network, still unread, by path, and what stands in the way of filling all.
pub struct Mapped {
    pub tensors: BTreeMap<String, TensorSnapshot>,
    pub report: LoadReport,
    /// Parameters that no tensor fills.
    pub missing: Vec<String>,
    /// Tensors of another shape than is needed, and copies in one checkpoint that differ.
    pub wrong: Vec<String>,
}

impl Mapped {
    /// Itself, if every parameter is filled.
    ///
    /// # Errors
    /// Names all that is missing and all that is wrong; `path` is what the error is about.
    pub fn complete(self, path: &Path) -> Result<Self, WeightsError> {
        if self.missing.is_empty() && self.wrong.is_empty() {
            return Ok(self);
        }
        let Mapped { missing, wrong, .. } = self;
        Err(WeightsError::Mismatch { path: path.into(), missing, wrong })
    }
}

/// A tensor of a checkpoint that fills a parameter, or three that do together.
struct Found {
    /// Which checkpoint it is from.
    source: usize,
    pieces: Vec<Piece>,
}

struct Piece {
    name: String,
    part: Part,
    tensor: TensorSnapshot,
}

/// Fills `wanted` from `sources`, of which earlier ones go first.
pub fn map(sources: &[&Checkpoint], wanted: &BTreeMap<String, Parameter>) -> Mapped {
    let mut mapped = Mapped {
        tensors: BTreeMap::new(),
        report: LoadReport::default(),
        missing: Vec::new(),
        wrong: Vec::new(),
    };
    let mut found = gather(sources, wanted, &mut mapped);
    for (path, parameter) in wanted {
        let Some(found) = found.remove(path) else {
            mapped.missing.push(path.clone());
            continue;
        };
        match fitted(path, parameter, &found.pieces) {
            Ok((tensor, fit)) => {
                if fit == Fit::Resized {
                    mapped.report.resized.push(path.clone());
                }
                mapped.tensors.insert(path.clone(), tensor);
            }
            Err(what) => mapped.wrong.push(what),
        }
    }
    mapped.report.used = mapped.tensors.keys().cloned().collect();
    mapped
}

/// Fills `wanted` from tensors under the network's own names, as a bundle has them.
pub fn of_own(
    tensors: BTreeMap<String, TensorSnapshot>,
    wanted: &BTreeMap<String, Parameter>,
) -> Mapped {
    let missing = wanted.keys().filter(|path| !tensors.contains_key(*path)).cloned().collect();
    let mut mapped =
        Mapped { tensors: BTreeMap::new(), report: LoadReport::default(), missing, wrong: vec![] };
    for (path, tensor) in tensors {
        let shape = tensor.shape.to_vec();
        match wanted.get(&path).map(|parameter| &parameter.shape) {
            None => mapped.report.unexpected.push(path),
            Some(needed) if *needed != shape => {
                mapped.wrong.push(format!("{path}: {shape:?}, {needed:?} is needed"));
            }
            Some(_) => {
                mapped.tensors.insert(path, tensor);
            }
        }
    }
    mapped.report.used = mapped.tensors.keys().cloned().collect();
    mapped
}

/// Which tensors fill which parameter. A parameter that several names of one checkpoint lead to
/// must get the same numbers from all of them.
fn gather(
    sources: &[&Checkpoint],
    wanted: &BTreeMap<String, Parameter>,
    mapped: &mut Mapped,
) -> BTreeMap<String, Found> {
    let Mapped { report, wrong, .. } = mapped;
    let mut all = BTreeMap::<String, Found>::new();
    for (source, checkpoint) in sources.iter().enumerate() {
        for (name, tensor) in checkpoint.tensors() {
            let key = checkpoint.kind().map_or(Key::Unknown, |kind| kind.key(name));
            let (path, part) = match key {
                Key::Alias => {
                    report.aliases.push(name.clone());
                    continue;
                }
                Key::Parameter { path, part } if wanted.contains_key(&path) => (path, part),
                Key::Parameter { .. } | Key::Unknown => {
                    report.unexpected.push(name.clone());
                    continue;
                }
            };
            let piece = Piece { name: name.clone(), part, tensor: tensor.clone() };
            let Some(found) = all.get_mut(&path) else {
                all.insert(path, Found { source, pieces: vec![piece] });
                continue;
            };
            if found.source == source && found.pieces.iter().all(|other| other.part != part) {
                found.pieces.push(piece);
                continue;
            }
            let first = &found.pieces[0];
            let same = found.pieces.len() > 1 || same_numbers(&path, first, &piece);
            if found.source == source && !same {
                wrong.push(format!("{name} and {} stand for one parameter and differ", first.name));
                continue;
            }
            if !same {
                report.differing.push(path);
            }
            report.aliases.push(name.clone());
        }
    }
    all
}

/// Whether two whole tensors hold the same numbers, in whatever precision. Positions may be on
/// another grid, and what is only a part is not compared.
fn same_numbers(path: &str, a: &Piece, b: &Piece) -> bool {
    if (a.part, b.part) != (Part::Whole, Part::Whole) {
        return true;
    }
    if a.tensor.shape != b.tensor.shape {
        return path == POSITIONS;
    }
    match (a.tensor.to_data(), b.tensor.to_data()) {
        (Ok(a), Ok(b)) => a.convert::<f32>().as_bytes() == b.convert::<f32>().as_bytes(),
        // What cannot be read is found, and named, when the network asks for it.
        _ => true,
    }
}

/// What had to be done to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    AsItIs,
    Resized,
}

/// The tensor for the parameter at `path`, made of `pieces`; or what is wrong with them.
fn fitted(
    path: &str,
    parameter: &Parameter,
    pieces: &[Piece],
) -> Result<(TensorSnapshot, Fit), String> {
    let published = parameter.published_shape();
    let thirds = pieces.iter().all(|piece| matches!(piece.part, Part::Third(_)));
    if thirds && pieces.len() == 3 {
        return Ok((joined(path, parameter, pieces, &published)?, Fit::AsItIs));
    }
    let [piece] = pieces else {
        let names = pieces.iter().map(|piece| piece.name.as_str()).collect::<Vec<_>>();
        return Err(format!("{} do not make up {path}", names.join(", ")));
    };
    let shape = piece.tensor.shape.to_vec();
    let (expected, turned) = match piece.part {
        Part::Whole => (published, parameter.orientation == Orientation::Transposed),
        Part::Transposed => (published.into_iter().rev().collect(), true),
        Part::Third(_) => return Err(format!("{}: query, key or value is missing", piece.name)),
    };
    let read = piece.tensor.clone_data_fn();
    if path == POSITIONS && shape != expected {
        return resized(path, &piece.name, &shape, &expected, read).map(|fit| (fit, Fit::Resized));
    }
    if shape != expected {
        return Err(format!("{}: {shape:?}, {expected:?} is needed", piece.name));
    }
    let tensor = lazy(path, DType::F32, parameter.shape.clone(), move || {
        let data = read()?.convert::<f32>();
        if turned { transposed(data) } else { Ok(data) }
    });
    Ok((tensor, Fit::AsItIs))
}

/// Resizes the image positions among `tensors`, which have a network's own names, to the grid that
/// it `wanted`.
pub(super) fn fit_positions(
    tensors: &mut BTreeMap<String, TensorSnapshot>,
    wanted: &BTreeMap<String, Parameter>,
) -> Result<(), String> {
    let (Some(tensor), Some(parameter)) = (tensors.get_mut(POSITIONS), wanted.get(POSITIONS))
    else {
        return Ok(());
    };
    let shape = tensor.shape.to_vec();
    if shape != parameter.shape {
        let read = tensor.clone_data_fn();
        *tensor = resized(POSITIONS, POSITIONS, &shape, &parameter.shape, read)?;
    }
    Ok(())
}

type Read = std::rc::Rc<dyn Fn() -> Result<TensorData, TensorSnapshotError>>;

/// Query, key and value one below the other, as the published files store them.
fn joined(
    path: &str,
    parameter: &Parameter,
    pieces: &[Piece],
    published: &[usize],
) -> Result<TensorSnapshot, String> {
    let mut third = published.to_vec();
    third[0] /= 3;
    let mut ordered = pieces.iter().collect::<Vec<_>>();
    ordered.sort_by_key(|piece| match piece.part {
        Part::Third(index) => index,
        Part::Whole | Part::Transposed => 0,
    });
    if let Some(piece) = ordered.iter().find(|piece| piece.tensor.shape.to_vec() != third) {
        let shape = piece.tensor.shape.to_vec();
        return Err(format!("{}: {shape:?}, {third:?} is needed", piece.name));
    }
    let turned = parameter.orientation == Orientation::Transposed;
    let reads = ordered.iter().map(|piece| piece.tensor.clone_data_fn()).collect::<Vec<_>>();
    let published = published.to_vec();
    Ok(lazy(path, DType::F32, parameter.shape.clone(), move || {
        let mut all = Vec::new();
        for read in &reads {
            let data = read()?.convert::<f32>();
            all.extend_from_slice(
                data.as_slice::<f32>().map_err(|e| unreadable(format!("{e:?}")))?,
            );
        }
        let data = TensorData::new(all, published.clone());
        if turned { transposed(data) } else { Ok(data) }
    }))
}

/// The image positions on another grid. Only a square grid is resized; anything else is wrong.
fn resized(
    path: &str,
    name: &str,
    shape: &[usize],
    expected: &[usize],
    read: Read,
) -> Result<TensorSnapshot, String> {
    let (&[rows, width], &[to_rows, to_width]) = (shape, expected) else {
        return Err(format!("{name}: {shape:?}, {expected:?} is needed"));
    };
    let (from, to) = (rows.saturating_sub(1).isqrt(), (to_rows - 1).isqrt());
    if from == 0 || 1 + from * from != rows || width != to_width {
        return Err(format!("{name}: {shape:?}, {expected:?} or another square grid is needed"));
    }
    Ok(lazy(path, DType::F32, expected.to_vec(), move || {
        let positions = read()?.convert::<f32>();
        let positions = positions.as_slice::<f32>().map_err(|e| unreadable(format!("{e:?}")))?;
        let resized = resize_positions(positions, from, to, width);
        Ok(TensorData::new(resized, [1 + to * to, width]))
    }))
}

/// `[rows, columns]` → `[columns, rows]`, in squares that stay in the cache.
fn transposed(data: TensorData) -> Result<TensorData, TensorSnapshotError> {
    const SQUARE: usize = 32;
    let &[rows, columns] = data.shape.as_slice() else {
        return Err(unreadable(format_args!("{:?} cannot be transposed", data.shape)));
    };
    let from = data.as_slice::<f32>().map_err(|error| unreadable(format!("{error:?}")))?;
    let mut to = vec![0f32; from.len()];
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..columns).step_by(SQUARE) {
            for row in top..rows.min(top + SQUARE) {
                for column in left..columns.min(left + SQUARE) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
    Ok(TensorData::new(to, [columns, rows]))
}
