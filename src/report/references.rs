//! The references of a run as its page shows them. In: the output of the run and its job. Out: the
//! references' own scores by category, and where the images are that they were made of. Never here: an
//! error. What cannot be read is a warning, and the page lacks it.

use serde_json::Value;

use crate::reference::{Origin, Reference};
use crate::store::{Location, Store};
use crate::tables::{Manifest, RunReader, reference_path};

/// Runs that took their references from one another are followed so far.
const MAX_EARLIER_RUNS: usize = 8;

/// What the reference file of a category says.
#[derive(Debug, Clone)]
pub struct OwnScores {
    pub origin: Origin,
    /// Each reference compared with the others.
    pub scores: Vec<f32>,
}

impl OwnScores {
    /// Those of a category; `None` if it has no references, or their file cannot be read.
    pub fn read(run: &RunReader, category: &str) -> Option<Self> {
        let (store, path) = (run.store(), reference_path(category));
        let reference = match store.get_if_there(&path) {
            Ok(None) => return None,
            Ok(Some(bytes)) => Reference::decode(&bytes),
            Err(error) => Err(error.to_string()),
        };
        match reference {
            Ok(of) => Some(OwnScores { origin: of.origin(), scores: of.scores().to_vec() }),
            Err(why) => {
                let file = store.display(&path);
                tracing::warn!(category, "scores of the references are not shown: {file}: {why}");
                None
            }
        }
    }
}

/// Where an image is read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The input of a run of the set, by its index.
    Input(usize),
    /// Somewhere else.
    At(String),
}

/// Where the references of a run came from.
#[derive(Debug)]
pub enum ReferenceSource {
    /// Its own input.
    Input,
    /// Images at another place.
    Images { uri: String },
    /// An earlier run, which had this input and this source.
    EarlierRun { store: Store, input: String, source: Box<ReferenceSource> },
}

impl ReferenceSource {
    /// That of a run with this job.
    pub fn of(spec: &Value) -> Self {
        ReferenceSource::followed(spec, MAX_EARLIER_RUNS)
    }

    fn followed(spec: &Value, left: usize) -> Self {
        let uri = match spec["reference"].as_str() {
            None | Some("archive" | "none" | "train") => return ReferenceSource::Input,
            Some(uri) => uri.to_string(),
        };
        let earlier = earlier_run(&uri).filter(|_| left > 0);
        let earlier = earlier.and_then(|(store, manifest)| {
            let input = manifest.spec["input"].as_str()?.to_string();
            let source = Box::new(ReferenceSource::followed(&manifest.spec, left - 1));
            Some(ReferenceSource::EarlierRun { store, input, source })
        });
        earlier.unwrap_or(ReferenceSource::Images { uri })
    }

    /// Where the references of a category of the run with the index `run` are. Categories that the named
    /// place had too few images of may have theirs from the input.
    pub fn place(&self, run: usize, category: &str, origin: Option<Origin>) -> Place {
        let own = Place::Input(run);
        match self {
            ReferenceSource::Input => own,
            ReferenceSource::Images { .. } if origin == Some(Origin::Archive) => own,
            ReferenceSource::Images { uri } => Place::At(uri.clone()),
            ReferenceSource::EarlierRun { store, input, source } => {
                match store.exists(&reference_path(category)) {
                    Ok(false) => own,
                    Ok(true) | Err(_) => match source.place(run, category, origin) {
                        Place::Input(_) => Place::At(input.clone()),
                        elsewhere => elsewhere,
                    },
                }
            }
        }
    }
}

/// The run at a place, if it holds one.
fn earlier_run(uri: &str) -> Option<(Store, Manifest)> {
    let place = uri.parse::<Location>().ok()?;
    if place.disk().is_some_and(|path| !path.is_dir()) {
        return None;
    }
    let store = Store::open(&place).ok()?;
    let manifest = Manifest::read(&store).ok()??;
    Some((store, manifest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_in_the_input_or_where_the_job_says() {
        let place = |reference: &str, origin| {
            ReferenceSource::of(&json!({ "reference": reference })).place(3, "nut", Some(origin))
        };
        let own = Place::Input(3);
        assert_eq!(place("archive", Origin::Archive), own);
        assert_eq!(place("train", Origin::Normal), own);
        assert_eq!(place("normals", Origin::Normal), Place::At("normals".into()));
        assert_eq!(place("normals", Origin::Archive), own);
        assert_eq!(ReferenceSource::of(&json!({})).place(3, "nut", None), own);
    }

    #[test]
    fn references_of_an_earlier_run_are_where_it_had_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, spec: Value| {
            let out = folder.path().join(name);
            std::fs::create_dir_all(out.join("_filo/reference")).unwrap();
            let manifest = json!({
                "format": 2, "run_id": "0", "run_date": "2026-11-25",
                "spec": spec, "totals": null,
            });
            std::fs::write(out.join("_filo/manifest.json"), manifest.to_string()).unwrap();
            std::fs::write(out.join("_filo/reference/nut.safetensors"), "").unwrap();
            out.display().to_string()
        };
        let first = write("first", json!({ "input": "nights/1", "reference": "archive" }));
        let second = write("second", json!({ "input": "nights/2", "reference": first }));
        let source = ReferenceSource::of(&json!({ "reference": second }));
        let at = |category| source.place(0, category, Some(Origin::Archive));
        assert_eq!(at("nut"), Place::At("nights/1".into()));
        // One that the earlier runs did not have.
        assert_eq!(at("bolt"), Place::Input(0));
    }
}
