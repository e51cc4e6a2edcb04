//! The manifest: which run an output belongs to and, once it is finished, what it holds.
//!
//! Written first, so that a second run with other settings is refused; completed last. It holds
//! no time and no machine, so every worker that finishes a run writes the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::NaiveDate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Table;
use super::plan::PlanEntry;
use super::skipped::{SKIPPED_KEY, SKIPPED_PLACES_KEY};
use crate::error::{SpecDifference, TableError};
use crate::store::Store;

/// Where the manifest lies in an output.
pub(super) const MANIFEST_PATH: &str = "_filo/manifest.json";

/// Version of the layout of an output. A program refuses any other.
pub(super) const FORMAT: u32 = 2;

/// The key of a run's spec that names the columns of its input that are kept.
pub const KEEP_KEY: &str = "keep";

/// The key of a run's spec that names the folder of its input as a URI: what the user wrote may mean
/// something else in another working directory.
pub const ROOT_KEY: &str = "input_root";

/// What makes a run this run and no other.
#[derive(Debug, Clone, PartialEq)]
pub struct RunIdentity {
    /// Digest of job spec, listing and weights; plain letters and digits.
    pub run_id: String,
    /// The partition of all tables. A resumed run keeps the day on which it was begun.
    pub run_date: NaiveDate,
    /// The job spec as far as it decides the result, for messages and the record. Never a
    /// credential.
    pub spec: Value,
    /// Ids of all shards of the listing, in its order.
    pub shards: Vec<String>,
    /// The file of the plan, see [`encode_plan`](super::encode_plan); `None` if it is there.
    pub plan: Option<Bytes>,
}

/// The content of `_filo/manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub run_id: String,
    pub run_date: NaiveDate,
    pub spec: Value,
    /// Ids of all shards of the listing. Outputs that were begun before this was kept have none.
    #[serde(default)]
    pub shards: Vec<String>,
    /// All images of the listing. Outputs that were begun before this was kept have none.
    #[serde(default)]
    pub plan: Option<PlanEntry>,
    /// `None` until all shards are committed.
    pub totals: Option<RunTotals>,
}

/// An image that was chosen as a reference and could not be made one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub image_id: String,
    /// A code of the table `failures`.
    pub code: String,
    pub message: String,
}

/// What a finished run holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotals {
    /// Shards of the listing.
    pub shards: u64,
    /// Images of the listing: each is in `scores` or in `failures`.
    pub entries: u64,
    /// Images that are flagged. Absent in manifests of versions that did not count.
    #[serde(default)]
    pub flagged: Option<u64>,
    /// Chosen references that could not be read, by category.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out_references: BTreeMap<String, Vec<LeftOut>>,
    /// Rows per table and category. Without `thresholds` and `metrics`, which span shards.
    pub rows: BTreeMap<Table, BTreeMap<String, u64>>,
}

impl RunTotals {
    /// Rows of `table` over all categories.
    pub fn rows_of(&self, table: Table) -> u64 {
        self.rows.get(&table).map_or(0, |categories| categories.values().sum())
    }
}

impl Manifest {
    /// The manifest of a run that begins.
    pub(super) fn begin(identity: RunIdentity) -> Manifest {
        let RunIdentity { run_id, run_date, spec, shards, plan } = identity;
        let plan = plan.map(|plan| PlanEntry::of(&plan));
        Manifest { format: FORMAT, run_id, run_date, spec, shards, plan, totals: None }
    }

    /// Columns of the input that `scores` has beside its own.
    pub fn keep(&self) -> Vec<String> {
        let names = self.spec[KEEP_KEY].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_string)).collect()
    }

    /// The manifest of the output, or `None` if it has none.
    pub fn read(store: &Store) -> Result<Option<Manifest>, TableError> {
        match store.get_if_there(MANIFEST_PATH)? {
            Some(bytes) => parse(&store.display(MANIFEST_PATH), &bytes).map(Some),
            None => Ok(None),
        }
    }
}

/// The only field that is read before the format is known.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// Parses a JSON file of ours, whose format must be the one known here.
pub(super) fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, TableError> {
    let bad =
        |e: serde_json::Error| TableError::BadJson { path: path.to_string(), source: e.into() };
    let Versioned { format } = serde_json::from_slice(bytes).map_err(bad)?;
    if format != FORMAT {
        let path = path.to_string();
        return Err(TableError::OtherFormat { path, found: format, known: FORMAT });
    }
    serde_json::from_slice(bytes).map_err(bad)
}

/// Serializes a JSON file of ours: keys in a fixed order, readable, a line end last.
pub(super) fn to_json<T: Serialize>(path: &str, value: &T) -> Result<Vec<u8>, TableError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| TableError::BadJson { path: path.to_string(), source: e.into() })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The keys whose values differ between two job specs, sorted, with dots between levels.
pub fn spec_differences(old: &Value, new: &Value) -> Vec<SpecDifference> {
    let (mut old_keys, mut new_keys) = (BTreeMap::new(), BTreeMap::new());
    flatten("", old, &mut old_keys);
    flatten("", new, &mut new_keys);
    let shown = |keys: &BTreeMap<String, &Value>, key: &str| {
        keys.get(key).map_or_else(|| "not set".to_string(), |value| value.to_string())
    };
    let all: BTreeSet<&String> = old_keys.keys().chain(new_keys.keys()).collect();
    all.into_iter()
        .filter(|&key| is_told(key))
        .filter(|&key| old_keys.get(key) != new_keys.get(key))
        .map(|key| SpecDifference {
            key: key.clone(),
            old: shown(&old_keys, key),
            new: shown(&new_keys, key),
        })
        .collect()
}

/// Whether a key says more than another one: what the user wrote, `input`, says where the input is, and
/// a count says enough of earlier runs, which may be hundreds.
fn is_told(key: &str) -> bool {
    let of_runs = key.strip_prefix(SKIPPED_KEY).is_some_and(|rest| {
        rest.starts_with(".runs") || rest.strip_prefix('.') == Some(SKIPPED_PLACES_KEY)
    });
    key != ROOT_KEY && !of_runs
}

/// The leaves of a JSON value under their dotted paths; a list is a leaf.
fn flatten<'a>(path: &str, value: &'a Value, leaves: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
            for (key, field) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, field, leaves);
            }
        }
        _ => {
            leaves.insert(path.to_string(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_the_key_and_both_values() {
        let old = json!({"layout": "mvtec", "score": {"threshold": 0.5, "maps": "none"}});
        let new = json!({"layout": "mvtec", "score": {"threshold": 0.6}, "strict": true});
        let lines: Vec<String> =
            spec_differences(&old, &new).iter().map(SpecDifference::to_string).collect();
        assert_eq!(
            lines,
            [
                "score.maps: \"none\" → not set",
                "score.threshold: 0.5 → 0.6",
                "strict: not set → true",
            ]
        );
        assert!(spec_differences(&old, &old).is_empty());
    }

    #[test]
    fn a_manifest_of_another_format_is_refused_before_it_is_read() {
        let error = parse::<Manifest>("m", br#"{"format": 1, "old": 1}"#).unwrap_err();
        assert!(matches!(error, TableError::OtherFormat { found: 1, known: FORMAT, .. }));
        assert!(matches!(parse::<Manifest>("m", b"{"), Err(TableError::BadJson { .. })));
    }
}
