//! What is in a checkpoint or a bundle, and whether a bundle is sound. Nothing is loaded: names and
//! shapes answer the first question, one pass over the numbers the second.

use std::collections::BTreeMap;

use burn_store::TensorSnapshot;
use schemars::JsonSchema;
use serde::Serialize;

use super::bundle::{Bundle, Manifest, Network};
use super::config::{config_of, grounding_config_of};
use super::keymap::{Key, Kind};
use super::parameters::{Parameter, filo_parameters, grounding_parameters};
use super::{Checkpoint, WeightsPlace, mapping};
use crate::error::WeightsError;

/// Everything that `filo weights inspect` says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Inspection {
    pub path: String,
    /// `bundle`, `safetensors`, `pytorch` or `torchscript`.
    pub format: String,
    pub parts: Vec<Contents>,
    /// What scores will carry as `model_id`; of a bundle only.
    pub model_id: Option<String>,
    /// `bundle.json`, of a bundle only.
    pub bundle: Option<Manifest>,
}

/// One network, or a part of one, in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Contents {
    /// What it was recognised as; `unknown` where no rule knows it.
    pub role: String,
    pub tensors: usize,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Type of numbers → tensors of that type.
    pub precisions: BTreeMap<String, usize>,
    /// Tensors that repeat others or are never read.
    pub aliases: usize,
    /// Parameters that the network needs and the file does not have.
    pub missing: Vec<String>,
    /// Tensors that the network has no place for.
    pub unexpected: Vec<String>,
    /// Tensors of another shape than the network needs.
    pub wrong_shapes: Vec<String>,
}

/// What is in the file or folder at `place`.
///
/// # Errors
/// If it cannot be opened as a checkpoint or a bundle.
pub fn inspect(place: &WeightsPlace) -> Result<Inspection, WeightsError> {
    let checkpoint = match place {
        WeightsPlace::Path(path) if !place.is_bundle() => Checkpoint::open(path)?,
        _ => return inspect_bundle(place),
    };
    Ok(Inspection {
        path: checkpoint.path().display().to_string(),
        format: checkpoint.format().to_string(),
        parts: vec![contents_of(&checkpoint)?],
        model_id: None,
        bundle: None,
    })
}

fn inspect_bundle(place: &WeightsPlace) -> Result<Inspection, WeightsError> {
    let bundle = Bundle::open_unchecked(place)?;
    let part = |network, wanted| -> Result<Contents, WeightsError> {
        let stored = bundle.stored_tensors(network)?;
        let mut contents = counted(network_role(network), &stored);
        compare(&mut contents, stored, &wanted);
        Ok(contents)
    };
    let mut parts = vec![part(Network::Filo, filo_parameters(&bundle.manifest().filo))?];
    if let Some(config) = &bundle.manifest().grounding {
        parts.push(part(Network::Grounding, grounding_parameters(config))?);
    }
    Ok(Inspection {
        path: place.to_string(),
        format: "bundle".to_string(),
        parts,
        model_id: Some(bundle.model_id()),
        bundle: Some(bundle.manifest().clone()),
    })
}

fn network_role(network: Network) -> &'static str {
    match network {
        Network::Filo => Kind::Filo.as_str(),
        Network::Grounding => Kind::GroundingDino.as_str(),
    }
}

/// Numbers of tensors, whatever they are.
fn counted(role: &str, tensors: &BTreeMap<String, TensorSnapshot>) -> Contents {
    let mut precisions = BTreeMap::new();
    for tensor in tensors.values() {
        *precisions.entry(format!("{:?}", tensor.dtype).to_lowercase()).or_default() += 1;
    }
    let numbers = tensors.values().map(|tensor| tensor.shape.iter().product::<usize>() as u64);
    Contents {
        role: role.to_string(),
        tensors: tensors.len(),
        parameters: numbers.sum(),
        precisions,
        aliases: 0,
        missing: Vec::new(),
        unexpected: Vec::new(),
        wrong_shapes: Vec::new(),
    }
}

/// Tensors under a network's own names against what it wants.
fn compare(
    contents: &mut Contents,
    tensors: BTreeMap<String, TensorSnapshot>,
    wanted: &BTreeMap<String, Parameter>,
) {
    let mapped = mapping::of_own(tensors, wanted);
    (contents.missing, contents.wrong_shapes) = (mapped.missing, mapped.wrong);
    contents.unexpected = mapped.report.unexpected;
}

fn contents_of(checkpoint: &Checkpoint) -> Result<Contents, WeightsError> {
    let Some(kind) = checkpoint.kind() else {
        return Ok(counted("unknown", checkpoint.tensors()));
    };
    let mut contents = counted(kind.as_str(), checkpoint.tensors());
    let wanted = match kind {
        Kind::GroundingDino => grounding_parameters(&grounding_config_of(checkpoint)?),
        // A lone CLIP is a part of FiLo; whether it is whole shows when it is converted.
        Kind::OpenAiClip | Kind::TransformersClip => {
            let key = |name: &String| kind.key(name);
            let keys = checkpoint.tensors().keys();
            contents.aliases = keys.clone().filter(|name| key(name) == Key::Alias).count();
            contents.unexpected = keys.filter(|name| key(name) == Key::Unknown).cloned().collect();
            return Ok(contents);
        }
        Kind::Filo => filo_parameters(&config_of(checkpoint)?),
    };
    let mapped = mapping::map(&[checkpoint], &wanted);
    contents.aliases = mapped.report.aliases.len();
    contents.unexpected = mapped.report.unexpected;
    (contents.missing, contents.wrong_shapes) = (mapped.missing, mapped.wrong);
    Ok(contents)
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub files: usize,
    pub tensors: usize,
    pub model_id: String,
    /// All that is wrong; empty for a sound bundle.
    pub problems: Vec<String>,
}

/// Compares the files of a bundle with their hashes and the shapes with its configuration, and
/// looks at every number.
///
/// # Errors
/// If there is no bundle at `place`; what is wrong with one is in the result.
pub fn verify(place: &WeightsPlace) -> Result<Verified, WeightsError> {
    let bundle = Bundle::open_unchecked(place)?;
    let manifest = bundle.manifest();
    let files = manifest.files.iter();
    let mut problems = files.filter_map(|file| bundle.file_problem(file)).collect::<Vec<_>>();
    let mut tensors = 0;
    let mut networks = vec![(Network::Filo, filo_parameters(&manifest.filo))];
    let detector = manifest.grounding.as_ref().map(grounding_parameters);
    networks.extend(detector.map(|wanted| (Network::Grounding, wanted)));
    for (network, wanted) in networks {
        let stored = match bundle.stored_tensors(network) {
            Ok(stored) => stored,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let mut contents = counted(network_role(network), &stored);
        problems.extend(stored.iter().filter_map(|(path, tensor)| not_finite(path, tensor)));
        compare(&mut contents, stored, &wanted);
        tensors += contents.tensors;
        problems.extend(contents.wrong_shapes);
        problems.extend(contents.missing.iter().map(|path| format!("{path} is missing")));
        problems.extend(contents.unexpected.iter().map(|path| format!("{path} has no place")));
    }
    Ok(Verified { files: manifest.files.len(), tensors, model_id: bundle.model_id(), problems })
}

/// What is wrong with the numbers of a tensor.
fn not_finite(path: &str, tensor: &TensorSnapshot) -> Option<String> {
    let numbers = match tensor.to_data() {
        Ok(data) => data.convert::<f32>(),
        Err(error) => return Some(format!("{path}: {error:?}")),
    };
    let numbers = numbers.as_slice::<f32>().ok()?;
    let count = numbers.iter().filter(|number| !number.is_finite()).count();
    (count > 0).then(|| format!("{path}: {count} of {} numbers are not finite", numbers.len()))
}
