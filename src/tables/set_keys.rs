//! What makes runs one set, and two rows those of one image. In: manifests and names. Out: digests,
//! or which settings differ.

use std::path::{Component, PathBuf};

use serde_json::Value;

use super::ledger::PartEntry;
use super::manifest::spec_differences;
use super::row::row;
use super::{Manifest, ROOT_KEY, Row, RunReader, Table};
use crate::error::{RunsError, SpecDifference, TableError};
use crate::store::Location;

/// What scores are of one scale by: keys of the job that all runs of a set have alike. Who flags what
/// may differ, each row goes by its own run.
const ALIKE: [&str; 10] = [
    "box_threshold",
    "descriptions",
    "features",
    "grounding",
    "model_id",
    "precision",
    "preprocess",
    "reference_fallback",
    "size",
    "tile",
];

/// References that a run takes from its own input.
const OWN_REFERENCES: [&str; 2] = ["archive", "train"];

/// Which image: a digest of its place and its name.
pub(super) type ImageKey = [u8; 16];

row! {
    /// Which image a row of `scores` is about.
    pub struct ScoredName {
        /// Name of the image inside the input.
        pub image_id: String,
    }
}

row! {
    /// Which image a row of `failures` is about.
    pub struct FailedName {
        /// Name of the image inside the input.
        pub image_id: String,
    }
}

impl Row for ScoredName {
    const TABLE: Table = Table::Scores;
}

impl Row for FailedName {
    const TABLE: Table = Table::Failures;
}

/// Where the images of a run are from: the folder in full, however the job named it. Versions before
/// 0.2 recorded only that name.
pub(super) fn place(run: &RunReader) -> String {
    let spec = &run.manifest().spec;
    let root = spec[ROOT_KEY].as_str().or_else(|| spec["input"].as_str());
    normal(root.unwrap_or_default())
}

/// A place, which is the same however it was written.
fn normal(uri: &str) -> String {
    let Ok(location) = uri.parse::<Location>() else { return uri.to_string() };
    match (location.disk(), location.bucket()) {
        (Some(path), _) => {
            let parts = path.components().filter(|part| *part != Component::CurDir);
            parts.collect::<PathBuf>().display().to_string()
        }
        (_, Some(bucket)) => location.with_prefix(&bucket.prefix).uri().to_string(),
        _ => uri.to_string(),
    }
}

/// What the images of a run are compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum References {
    /// Nothing, or images at a place that the job names.
    Named(String),
    /// Images of the input of a run, this one or an earlier one of the set, that the job chose so.
    Chosen { rule: String, by: String },
}

/// The references of a run of `runs`: those of an earlier run are what that run chose.
pub(super) fn references(run: &RunReader, runs: &[RunReader]) -> References {
    let at = |run: &RunReader| normal(run.store().uri());
    let mut run = run;
    // Runs that name one another in a circle name nothing.
    for _ in 0..=runs.len() {
        let named = run.manifest().spec["reference"].as_str().unwrap_or("none");
        if OWN_REFERENCES.contains(&named) {
            return References::Chosen { rule: named.to_string(), by: at(run) };
        }
        match runs.iter().find(|other| at(other) == normal(named)) {
            Some(earlier) => run = earlier,
            None => return References::Named(normal(named)),
        }
    }
    References::Named(String::new())
}

pub(super) fn keys_of(
    run: &RunReader,
    part: &PartEntry,
    place: &str,
) -> Result<Vec<ImageKey>, TableError> {
    let key = |id: &str| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(place.as_bytes()).update(&[0]).update(id.as_bytes());
        let mut key = ImageKey::default();
        hasher.finalize_xof().fill(&mut key);
        key
    };
    Ok(match part.table {
        Table::Failures => {
            run.rows_of::<FailedName>(part)?.iter().map(|row| key(&row.image_id)).collect()
        }
        _ => run.rows_of::<ScoredName>(part)?.iter().map(|row| key(&row.image_id)).collect(),
    })
}

/// Checks that the scores of two of `runs` mean the same. Each may have chosen references of its own by
/// the same rule: that is told, see [`RunSet::has_own_references`](super::RunSet::has_own_references).
pub(super) fn check_alike(
    first: &RunReader,
    other: &RunReader,
    runs: &[RunReader],
) -> Result<(), TableError> {
    let of = |manifest: &Manifest| {
        let value = |key: &&str| manifest.spec.get(*key).filter(|value| !value.is_null());
        let pairs = ALIKE.iter().filter_map(|key| Some((key.to_string(), value(key)?.clone())));
        Value::Object(pairs.collect())
    };
    let mut differences = spec_differences(&of(first.manifest()), &of(other.manifest()));
    let alike = match (references(first, runs), references(other, runs)) {
        (References::Chosen { rule: a, .. }, References::Chosen { rule: b, .. }) => a == b,
        (a, b) => a == b,
    };
    if !alike {
        let raw = |run: &RunReader| run.manifest().spec["reference"].to_string();
        let (key, old, new) = ("reference".to_string(), raw(first), raw(other));
        differences.push(SpecDifference { key, old, new });
    }
    match differences.is_empty() {
        true => Ok(()),
        false => Err(RunsError::NotOneSet {
            first: first.store().uri().to_string(),
            other: other.store().uri().to_string(),
            differences,
        }
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::tables::RunSet;
    use serde_json::json;

    /// Runs with these references, in folders that are called by their number.
    fn runs(folder: &std::path::Path, references: &[&str]) -> Vec<RunReader> {
        let spec = |reference| json!({ "input": "in/", "reference": reference, "size": null });
        runs_of(folder, references.iter().map(spec))
    }

    fn runs_of(folder: &std::path::Path, specs: impl Iterator<Item = Value>) -> Vec<RunReader> {
        let run = |(n, spec): (usize, Value)| {
            let out = folder.join(n.to_string());
            std::fs::create_dir_all(out.join("_filo")).unwrap();
            let manifest = json!({
                "format": 2, "run_id": n.to_string(), "run_date": format!("2026-11-{:02}", n + 1),
                "spec": spec, "totals": null,
            });
            std::fs::write(out.join("_filo/manifest.json"), manifest.to_string()).unwrap();
            RunReader::open(Store::open(&Location::local(out)).unwrap()).unwrap()
        };
        specs.enumerate().map(run).collect()
    }

    #[test]
    fn one_folder_is_one_place_however_each_job_named_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = |input: &str, root: &str| json!({ "input": input, ROOT_KEY: root });
        let specs = [
            of("in", "file:///data/in/"),
            of("/data/in/", "file:///data/in/"),
            of("in", "file:///elsewhere/in/"),
            // As versions before 0.2 recorded it.
            json!({ "input": "/data/in" }),
        ];
        let runs = runs_of(folder.path(), specs.into_iter());
        let places = runs.iter().map(place).collect::<Vec<_>>();
        assert_eq!(places[0], places[1]);
        assert_ne!(places[0], places[2]);
        assert_eq!(places[0], places[3]);
    }

    #[test]
    fn references_of_an_earlier_run_are_those_that_it_chose() {
        let folder = tempfile::tempdir().unwrap();
        let first = format!("{}/", folder.path().join("0").display());
        let set = |references: &[&str]| RunSet::of(runs(folder.path(), references));
        let own = |references: &[&str]| set(references).unwrap().has_own_references();
        assert!(!own(&["archive", &first, &first]));
        assert!(own(&["archive", "archive"]) && own(&["train", &first, "train"]));
        assert!(!own(&["none", "none"]) && !own(&["normals/", "./normals"]) && !own(&["archive"]));
        for others in [["archive", "none"], ["archive", "train"], ["normals", "others"]] {
            let error = set(&others).unwrap_err().to_string();
            assert!(error.contains("not scored alike (reference: "), "{error}");
        }
    }

    /// Maps and scores of tiles are others than those of whole images; a run without the key has none.
    #[test]
    fn runs_that_cut_tiles_otherwise_are_no_set() {
        let set = |tiles: [Option<&str>; 2]| {
            let folder = tempfile::tempdir().unwrap();
            let spec = |tile: Option<&str>| json!({ "input": "in/", "tile": tile });
            let runs = runs_of(folder.path(), tiles.into_iter().map(spec));
            RunSet::of(runs).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(set([Some("256"), Some("256")]), Ok(()));
        assert_eq!(set([None, None]), Ok(()));
        for others in [[Some("256"), None], [Some("256"), Some("128")]] {
            let error = set(others).unwrap_err();
            assert!(error.contains("not scored alike (tile: "), "{error}");
        }
    }

    #[test]
    fn a_place_is_the_same_however_it_was_written() {
        for (one, other) in [
            ("images/", "./images"),
            ("file:///data/a", "/data/a/"),
            ("s3://archive/line-4/", "S3://archive/line-4"),
        ] {
            assert_eq!(normal(one), normal(other));
        }
        assert_ne!(normal("s3://archive/a"), normal("gs://archive/a"));
    }
}
