//! The metrics of several runs, or of a run that is not finished, at a place of their own. In: runs and
//! rows. Out: a table `metrics` and a manifest that names the runs, which `--thresholds-from` reads.
//! Never here: the output of a run, which has the metrics of that run and no others.

use serde_json::{Value, json};

use super::commit::foreign_files;
use super::ledger::LateTable;
use super::manifest::{FORMAT, MANIFEST_PATH, to_json};
use super::{CategoryMetrics, Manifest, RunReader, RunSet};
use crate::error::{RunsError, TableError};
use crate::store::{Location, Store};

/// The key of a manifest that names the runs whose metrics are there.
const RUNS_KEY: &str = "metrics_of_runs";

impl Manifest {
    /// Whether it is of metrics alone, which no run wrote.
    pub fn is_of_metrics(&self) -> bool {
        self.spec.get(RUNS_KEY).is_some()
    }
}

/// Writes `metrics` of the runs of `set` to `place`, in place of metrics that were written there so.
///
/// # Errors
/// [`RunsError::IsRun`] or [`TableError::ForeignFiles`] if there is something else, or if the place
/// cannot be written.
pub fn write_set_metrics(
    place: &Location,
    set: &RunSet,
    metrics: &[CategoryMetrics],
) -> Result<(), TableError> {
    let store = Store::create(place)?;
    store.check()?;
    match Manifest::read(&store)? {
        Some(there) if there.is_of_metrics() => LateTable::Metrics.remove(&store)?,
        Some(_) => {
            let what = if set.only().is_some() { "another run" } else { "several runs" };
            return Err(RunsError::IsRun { uri: place.uri().to_string(), what }.into());
        }
        None => {
            let examples = foreign_files(&store)?;
            if !examples.is_empty() {
                return Err(TableError::ForeignFiles { uri: place.uri().to_string(), examples });
            }
        }
    }
    let manifest = manifest(set);
    let bytes = to_json(&store.display(MANIFEST_PATH), &manifest)?;
    store.put(MANIFEST_PATH, bytes)?;
    RunReader::of(store, manifest)?.write_metrics(metrics)
}

/// What the metrics are of: the runs by their ids and places, their settings as the newest has them.
fn manifest(set: &RunSet) -> Manifest {
    let newest = set.newest().manifest();
    let run = |run: &RunReader| {
        let Manifest { run_id, run_date, totals, .. } = run.manifest();
        json!({
            "run_id": run_id,
            "run_date": run_date,
            "uri": run.store().uri(),
            "finished": totals.is_some(),
        })
    };
    let runs = Value::Array(set.runs().iter().map(run).collect());
    let id = blake3::hash(runs.to_string().as_bytes()).to_hex()[..16].to_string();
    Manifest {
        format: FORMAT,
        run_id: id,
        run_date: newest.run_date,
        spec: json!({ RUNS_KEY: runs, "settings": newest.spec }),
        shards: Vec::new(),
        plan: None,
        totals: None,
    }
}
