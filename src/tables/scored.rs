//! Which files of its input a finished run has scored. In: the run's output. Out: the rows of its plan,
//! in order, as the files were when they were scored, each with whether it has a score. Never here:
//! scores. Only tables of shards that had failures are opened.

use std::collections::{HashMap, HashSet};

use super::commit::SUCCESS_PATH;
use super::ledger::read_entry;
use super::part_reader::bad_part;
use super::row::row;
use super::{FailureRow, Manifest, PlanRow, ReplacedFiles, Row, RunReader, Table, fold_parts};
use crate::error::{Error, TableError};
use crate::store::{Store, try_at_once};

/// Whether the run of `manifest` in `store` is finished, and nobody is about to repair it.
///
/// # Errors
/// If the output does not answer.
pub fn is_finished(store: &Store, manifest: &Manifest) -> Result<bool, TableError> {
    Ok(manifest.totals.is_some() && store.exists(SUCCESS_PATH)?)
}

/// Hands over the rows of the plan of a finished run, each with whether all of it was scored: an archive
/// is not if one of its images failed.
///
/// # Errors
/// If the run has no plan, or what it wrote cannot be read as it was written.
pub fn each_scored(
    store: &Store,
    manifest: &Manifest,
    mut take: impl FnMut(PlanRow, bool),
) -> Result<(), TableError> {
    let no_plan = || bad_part(store.uri(), &"the run has no list of its images");
    let plan = manifest.plan.as_ref().ok_or_else(no_plan)?;
    if !store.exists(&plan.path)? {
        return Err(bad_part(&store.display(&plan.path), &"is gone"));
    }
    let failed = Failed::of(store, manifest)?;
    let replaced = ReplacedFiles::read_all(store)?.into_iter().flat_map(|of| of.files);
    let replaced = replaced.map(|file| (file.image_id.clone(), file)).collect::<HashMap<_, _>>();
    for row in plan.read(store)? {
        let row = row?;
        let shard = row.shard;
        let row = match replaced.get(&row.image_id) {
            Some(file) => PlanRow { shard, ..file.row() },
            None => row,
        };
        let scored = row.failure.is_none() && !failed.has(manifest, &row);
        take(row, scored);
    }
    Ok(())
}

row! {
    /// What tells the content of a scored image from another.
    pub struct ContentScore {
        /// Digest of its file.
        pub digest: Option<String>,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
    }
}

impl Row for ContentScore {
    const TABLE: Table = Table::Scores;
}

/// Hands over the categories and contents of the images that a finished run has scored, in no order. Runs
/// of versions that kept no digests have none.
///
/// # Errors
/// If a part of `scores` cannot be read.
pub fn each_digest(
    store: &Store,
    manifest: &Manifest,
    mut take: impl FnMut(&str, &str, Option<bool>),
) -> Result<(), Error> {
    let run = RunReader::of(store.clone(), manifest.clone())?;
    let scores = manifest.totals.as_ref().and_then(|totals| totals.rows.get(&Table::Scores));
    for category in scores.into_iter().flat_map(|categories| categories.keys()) {
        let add = |contents: &mut Vec<_>, rows: Vec<ContentScore>| {
            contents.extend(rows.into_iter().filter_map(|row| Some((row.digest?, row.label))));
            Ok(())
        };
        let merge = |all: &mut Vec<_>, mut more: Vec<_>| {
            all.append(&mut more);
            Ok(())
        };
        for (digest, label) in fold_parts(&run, category, add, merge)? {
            take(category, &digest, label);
        }
    }
    Ok(())
}

/// The failures of a run.
#[derive(Default)]
struct Failed {
    /// Shards that have some.
    shards: HashSet<String>,
    /// What is left of the names of the images: there may be many.
    images: HashSet<[u8; 16]>,
}

impl Failed {
    fn of(store: &Store, manifest: &Manifest) -> Result<Self, TableError> {
        let rows = manifest.totals.as_ref().map_or(0, |of| of.rows_of(Table::Failures));
        if rows == 0 {
            return Ok(Failed::default());
        }
        // Parts of a finished run are those of its ledger; their names say of which shard they are.
        let start = format!("part-{}-", manifest.run_id);
        let shard = |path: &str| {
            let name = path.rsplit('/').next()?.strip_prefix(&start)?;
            name.strip_suffix(".parquet").map(str::to_string)
        };
        let parts = store.list(Table::Failures.as_str())?;
        let shards = parts.iter().filter_map(|file| shard(&file.path)).collect::<HashSet<_>>();
        let listed = shards.into_iter().collect::<Vec<_>>();
        let images = try_at_once(&listed, |shard| failures_of(store, shard))?;
        let mut failed = Failed { shards: listed.into_iter().collect(), ..Failed::default() };
        for of_shard in images {
            failed.images.extend(of_shard);
        }
        if (failed.images.len() as u64) < rows {
            let problem = "has fewer rows than the run had failures";
            return Err(bad_part(&store.display(Table::Failures.as_str()), &problem));
        }
        Ok(failed)
    }

    fn has(&self, manifest: &Manifest, row: &PlanRow) -> bool {
        if row.archive.is_none() {
            return self.images.contains(&rest(&row.image_id));
        }
        let shard = usize::try_from(row.shard).ok().and_then(|index| manifest.shards.get(index));
        shard.is_none_or(|shard| self.shards.contains(shard))
    }
}

fn failures_of(store: &Store, shard: &str) -> Result<Vec<[u8; 16]>, TableError> {
    let entry = read_entry(store, shard)?;
    let rows = entry.iter().flat_map(|entry| entry.rows::<FailureRow>(store));
    rows.map(|row| row.map(|(_, row)| rest(&row.image_id))).collect()
}

/// Half of a digest.
fn rest(image_id: &str) -> [u8; 16] {
    let digest = blake3::hash(image_id.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    half
}
