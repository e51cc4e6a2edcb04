//! What makes runs one set, and two rows those of one image. In: manifests and names. Out: digests,
//! or which settings differ.

use std::path::PathBuf;

use serde_json::Value;

use super::ledger::PartEntry;
use super::manifest::spec_differences;
use super::row::row;
use super::{Manifest, Row, RunReader, Table};
use crate::error::{RunsError, TableError};
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
    "reference",
    "reference_fallback",
    "size",
];

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

/// Where the images of a run are from; a folder is the same however it was written.
pub(super) fn place(run: &RunReader) -> String {
    let input = run.manifest().spec["input"].as_str().unwrap_or_default();
    match input.parse::<Location>() {
        Ok(location) => match (location.disk(), location.bucket()) {
            (Some(path), _) => path.components().collect::<PathBuf>().display().to_string(),
            (_, Some(bucket)) => location.with_prefix(&bucket.prefix).uri().to_string(),
            _ => input.to_string(),
        },
        Err(_) => input.to_string(),
    }
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

/// Checks that the scores of two runs mean the same.
pub(super) fn check_alike(first: &RunReader, other: &RunReader) -> Result<(), TableError> {
    let of = |manifest: &Manifest| {
        let value = |key: &&str| manifest.spec.get(*key).filter(|value| !value.is_null());
        let pairs = ALIKE.iter().filter_map(|key| Some((key.to_string(), value(key)?.clone())));
        Value::Object(pairs.collect())
    };
    let differences = spec_differences(&of(first.manifest()), &of(other.manifest()));
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
