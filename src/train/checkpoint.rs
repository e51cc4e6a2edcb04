//! The state of a training: everything from which it goes on to the same numbers. In: weights that
//! learn, the optimiser, where the training stands. Out: one file, replaced in one step, so a kill
//! at any moment leaves the last state or the one before.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::network::NamedValues;
use super::optimizer::Moments;
use crate::error::TrainError;
use crate::store::write_whole;

const FORMAT: u32 = 1;
const HEADER: &str = "filo_training";

/// Where a training stands, and what it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Digest of each thing that decides numbers: `job`, `network`, `data`.
    pub made_of: BTreeMap<String, String>,
    /// 1 or 2; 3 when the training is done.
    pub stage: u8,
    /// Steps of the stage that are done.
    pub step: u64,
    /// Best validation result of the stage.
    pub best: Option<f64>,
    /// Validations since then.
    pub stale: u64,
    /// Steps in the mean of weights.
    pub averaged: u64,
}

/// All that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub standing: Standing,
    pub weights: NamedValues,
    pub moments: BTreeMap<String, Moments>,
    pub average: NamedValues,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    standing: Standing,
    /// Steps that each parameter has seen.
    steps: BTreeMap<String, u64>,
}

/// The kinds of tensors in the file; a name is its kind, `/`, and the path of the parameter.
const KINDS: [&str; 4] = ["weight", "first", "second", "average"];

/// The file that a training in `out` keeps its state in.
pub fn state_file(out: &Path) -> PathBuf {
    out.join("state").join("training.safetensors")
}

impl State {
    /// Writes the state to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let failed = |why: String| TrainError::File { path: path.into(), action: "written", why };
        let steps = self.moments.iter().map(|(name, moments)| (name.clone(), moments.steps));
        let standing = self.standing.clone();
        let header = Header { format: FORMAT, standing, steps: steps.collect() };
        let header = serde_json::to_string(&header).map_err(|error| failed(error.to_string()))?;
        let moments = self.moments.iter().flat_map(|(name, moments)| {
            [("first", name, &moments.first), ("second", name, &moments.second)]
        });
        let values = self.weights.iter().map(|(name, values)| ("weight", name, values));
        let average = self.average.iter().map(|(name, values)| ("average", name, values));
        let mut tensors = Vec::new();
        for (kind, name, values) in values.chain(moments).chain(average) {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
            tensors.push((format!("{kind}/{name}"), values.len(), bytes));
        }
        let views = tensors.iter().map(|(name, length, bytes)| {
            let view = TensorView::new(Dtype::F32, vec![*length], bytes);
            Ok((name.as_str(), view.map_err(|error| failed(error.to_string()))?))
        });
        let views = views.collect::<Result<Vec<_>, TrainError>>()?;
        let metadata = HashMap::from([(HEADER.to_string(), header)]);
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|error| failed(error.to_string()))?;
        write_whole(path, &bytes).map_err(|error| failed(error.to_string()))
    }

    /// Reads the state at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what [`State::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(|error| TrainError::File {
            path: path.into(),
            action: "read",
            why: error.to_string(),
        })?;
        State::from_bytes(&bytes).map_err(|what| TrainError::BadState { path: path.into(), what })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let words = |error: safetensors::SafeTensorError| error.to_string();
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(words)?;
        let header = metadata.metadata().as_ref().and_then(|words| words.get(HEADER));
        let header = header.ok_or("it is no state of a training")?;
        let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
        if header.format != FORMAT {
            return Err(format!("format {}, this program knows {FORMAT}", header.format));
        }
        let file = SafeTensors::deserialize(bytes).map_err(words)?;
        let mut kinds = KINDS.map(|_| NamedValues::new());
        for (name, view) in file.iter() {
            let (kind, path) = name.split_once('/').ok_or("a tensor has no kind")?;
            let kind = KINDS.iter().position(|known| *known == kind).ok_or("a strange tensor")?;
            let (values, rest) = view.data().as_chunks::<4>();
            if view.dtype() != Dtype::F32 || !rest.is_empty() {
                return Err(format!("'{name}' is not f32"));
            }
            let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            kinds[kind].insert(path.to_string(), values);
        }
        let [weights, first, mut second, average] = kinds;
        let mut moments = BTreeMap::new();
        for (name, first) in first {
            let second = second.remove(&name).ok_or("half of the optimiser is missing")?;
            let steps = *header.steps.get(&name).ok_or("the optimiser's steps are missing")?;
            moments.insert(name, Moments { first, second, steps });
        }
        Ok(State { standing: header.standing, weights, moments, average })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let named = |value: f32| NamedValues::from([("a.b".to_string(), vec![value, -0.0])]);
        let moments = Moments { first: vec![1.0, 2.0], second: vec![3.0, 4.0], steps: 7 };
        let state = State {
            standing: Standing {
                made_of: BTreeMap::from([("job".to_string(), "x".to_string())]),
                stage: 1,
                step: 12,
                best: Some(0.1 + 0.2),
                stale: 3,
                averaged: 12,
            },
            weights: named(f32::MIN_POSITIVE),
            moments: BTreeMap::from([("a.b".to_string(), moments)]),
            average: named(0.1),
        };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), state);
        std::fs::write(&path, b"not a state").unwrap();
        let error = State::read(&path).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
