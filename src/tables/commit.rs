//! The commit protocol: how the rows of a run become durable, once.
//!
//! Manifest first, then per shard its parts and last its ledger entry, then totals and
//! `_SUCCESS`. Every step may be killed and repeated: names are deterministic, and an entry is
//! only ever created. No worker talks to another; the folder is all they share.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;

use super::lease::Leases;
use super::ledger::{
    LateTable, LedgerEntry, PartEntry, entry_path, list_ledger, read_entry, read_ledger,
};
use super::manifest::{MANIFEST_PATH, Manifest, RunIdentity, RunTotals, spec_differences, to_json};
use super::part::{PartIds, encode_part};
use super::partition::{check_category, check_id, part_name, part_path};
use super::row::Row;
use super::{
    BoxRow, CategoryThreshold, FailureRow, MaskRow, PartialRow, RunReader, ScoreRow, Table,
};
use crate::error::TableError;
use crate::store::{Put, Store, both, try_at_once};

/// Made last: its presence says that the run is finished.
pub(super) const SUCCESS_PATH: &str = "_SUCCESS";

/// The shard part of the names of files that no single shard wrote.
pub(super) const NO_SHARD: &str = "all";

/// Hive's folder for "no category": holds the empty parts of a run without images.
const NO_CATEGORY: &str = "__HIVE_DEFAULT_PARTITION__";

/// Foreign files that an error names.
const FOREIGN_EXAMPLES: usize = 3;

/// Where everything is that is no row.
const OWN_FOLDER: &str = "_filo/";

/// More files than early starts leave that were killed before there was a manifest.
const OWN_LEFTOVERS: usize = 64;

/// All rows of one shard.
#[derive(Default)]
pub struct ShardRows {
    pub shard_id: String,
    pub categories: BTreeMap<String, CategoryRows>,
}

impl ShardRows {
    /// Checks that each of `pictures` is a row of scores or of failures.
    ///
    /// # Errors
    /// [`TableError::CountMismatch`] if not.
    pub fn check_counts(&self, pictures: u64) -> Result<(), TableError> {
        let rows = |count: fn(&CategoryRows) -> usize| {
            self.categories.values().map(count).sum::<usize>() as u64
        };
        let (scores, failures) = (rows(|rows| rows.scores.len()), rows(|rows| rows.failures.len()));
        check_sum(&self.shard_id, pictures, scores, failures)
    }
}

/// The rows of one shard and category, each table in listing order.
#[derive(Default)]
pub struct CategoryRows {
    pub scores: Vec<ScoreRow>,
    pub masks: Vec<MaskRow>,
    pub boxes: Vec<BoxRow>,
    pub failures: Vec<FailureRow>,
    /// By kind; none if no image's defects are known.
    pub partials: Vec<PartialRow>,
}

/// What [`RunWriter::commit_shard`] did. The first two are success: the shard is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// By this call, which wrote so many bytes.
    Now { bytes: u64 },
    /// Another worker, or an earlier start, committed the shard.
    AlreadyByAnother,
    /// Nothing: another worker took the shard over, and has yet to commit it.
    NotOurs,
}

/// A shard of the listing, as [`RunWriter::finish`] checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedShard {
    pub shard_id: String,
    /// Images that the listing has in the shard; `None` where that showed only when it was read.
    pub entries: Option<u64>,
}

/// The writing side of one run in one output. Several threads and machines may have one.
#[derive(Debug)]
pub struct RunWriter {
    store: Store,
    manifest: Manifest,
    committed: BTreeMap<String, LedgerEntry>,
}

impl RunWriter {
    /// Begins the run in an empty output, or resumes it.
    ///
    /// # Errors
    /// [`TableError::OtherRun`] if the output holds a run with another id,
    /// [`TableError::ForeignFiles`] if it holds files and no run.
    pub fn open(store: Store, identity: RunIdentity) -> Result<RunWriter, TableError> {
        check_id("run id", &identity.run_id)?;
        let (there, foreign) = both(|| Manifest::read(&store), || foreign_files(&store));
        let (manifest, is_new) = match there? {
            Some(manifest) => (manifest, false),
            None => begin(&store, identity.clone(), foreign?)?,
        };
        if manifest.run_id != identity.run_id {
            let differences = spec_differences(&manifest.spec, &identity.spec);
            return Err(TableError::OtherRun { uri: store.uri().to_string(), differences });
        }
        let tables = Table::ALL.map(Table::as_str);
        store.remove_stale_uploads(&[&tables[..], &["maps", "_filo"]].concat())?;
        let committed = match is_new {
            true => BTreeMap::new(),
            false => read_ledger(&store, &manifest)?,
        };
        Ok(RunWriter { store, manifest, committed })
    }

    /// The output that this run is written to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The manifest as it was when the run was opened; its `run_date` names the partition.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the shard had committed when the run was opened, if it had.
    pub fn committed(&self, shard_id: &str) -> Option<&LedgerEntry> {
        self.committed.get(shard_id)
    }

    /// What the shard has committed now, by whichever worker.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn committed_now(&self, shard_id: &str) -> Result<Option<LedgerEntry>, TableError> {
        read_entry(&self.store, shard_id)
    }

    /// Ids of all shards that are committed now.
    ///
    /// # Errors
    /// If the ledger cannot be listed.
    pub fn all_committed_now(&self) -> Result<HashSet<String>, TableError> {
        list_ledger(&self.store)
    }

    /// Takes a commit back: the run is unfinished and without metrics, and the shard has yet to be
    /// scored. Nothing happens if `entry` is no longer the one that counts.
    ///
    /// # Errors
    /// If the output cannot be changed.
    pub fn withdraw(&self, entry: &LedgerEntry) -> Result<(), TableError> {
        let path = entry_path(&entry.shard_id);
        let bytes = to_json(&self.store.display(&path), entry)?;
        if self.store.get_if_there(&path)?.is_none_or(|now| now != bytes) {
            return Ok(());
        }
        // In this order, so that a stop in between leaves a run that says it is not finished.
        self.store.delete_if_there(SUCCESS_PATH)?;
        LateTable::Metrics.remove(&self.store)?;
        LateTable::Thresholds.remove(&self.store)?;
        let unfinished = Manifest { totals: None, ..self.manifest.clone() };
        let manifest = to_json(&self.store.display(MANIFEST_PATH), &unfinished)?;
        self.store.put(MANIFEST_PATH, manifest)?;
        Ok(self.store.delete_if_there(&path)?)
    }

    /// Writes all parts of a shard and then its ledger entry.
    ///
    /// A part that is there without an entry is replaced, or removed where the shard now has no
    /// such rows: it is what a killed worker left. Before the first of them, `is_ours` is asked whether
    /// nobody has taken the shard over.
    pub fn commit_shard(
        &self,
        shard: ShardRows,
        is_ours: impl FnOnce() -> Result<bool, TableError> + Send,
    ) -> Result<Committed, TableError> {
        check_id("shard id", &shard.shard_id)?;
        shard.categories.keys().try_for_each(|category| check_category(category))?;
        let (is_ours, is_there) = both(is_ours, || self.store.exists(&entry_path(&shard.shard_id)));
        if !is_ours? {
            return Ok(Committed::NotOurs);
        }
        if is_there? {
            return Ok(Committed::AlreadyByAnother);
        }
        let mut parts = Parts {
            writer: self,
            shard_id: &shard.shard_id,
            entry: LedgerEntry::new(&self.manifest.run_id, &shard.shard_id),
            files: Vec::new(),
            gone: Vec::new(),
        };
        for (category, rows) in shard.categories {
            let flagged = flagged(&rows.scores);
            if let Some(part) = parts.add(&category, rows.scores)? {
                part.flagged = flagged;
            }
            parts.add(&category, rows.masks)?;
            parts.add(&category, rows.boxes)?;
            parts.add(&category, rows.partials)?;
            parts.add(&category, rows.failures)?;
        }
        let Parts { entry, files, gone, .. } = parts;
        let bytes = files.iter().map(|(_, part)| part.len() as u64).sum();
        self.store.put_all(files, gone)?;
        Ok(match entry.create(&self.store)? {
            Put::Created => Committed::Now { bytes },
            Put::AlreadyThere => {
                entry.reseal(&self.store)?;
                Committed::AlreadyByAnother
            }
        })
    }

    /// Checks that all shards are committed and whole, writes the table `thresholds` that `decide`
    /// makes of all rows, then completes the manifest and says so with `_SUCCESS`. Calling it again,
    /// here or elsewhere, changes nothing.
    ///
    /// # Errors
    /// [`TableError::MissingShards`] while other workers are not done;
    /// [`TableError::CountMismatch`] if an image of the listing is in neither or both of scores
    /// and failures; [`TableError::PartGone`] if a committed part was deleted.
    pub fn finish(
        &self,
        expected: &[ExpectedShard],
        decide: impl FnOnce(&RunReader) -> Result<Vec<CategoryThreshold>, TableError>,
    ) -> Result<Manifest, TableError> {
        let (there, reader) =
            both(|| self.parts(), || RunReader::of(self.store.clone(), self.manifest.clone()));
        let reader = reader?;
        let entries = expected_entries(reader.ledger(), expected)?;
        match self.check_parts(&entries, there?) {
            // Another worker may have committed a shard after the parts were listed.
            Err(TableError::PartGone { .. }) => self.check_parts(&entries, self.parts()?)?,
            checked => checked?,
        }
        let thresholds = decide(&reader)?;
        let totals = RunTotals {
            flagged: Some(thresholds.iter().map(|of| of.row.n_flagged.unsigned_abs()).sum()),
            left_out_references: thresholds
                .iter()
                .filter(|of| !of.left_out.is_empty())
                .map(|of| (of.category.clone(), of.left_out.clone()))
                .collect(),
            shards: expected.len() as u64,
            entries: entries.iter().map(|entry| entry.images()).sum(),
            rows: rows_by_table(&entries),
        };
        let (written, filled) = both(
            || reader.write_thresholds(&thresholds),
            || {
                let fill = || self.fill_empty_tables(&totals, thresholds.is_empty());
                // All shards are committed: there is nothing left to share.
                let (filled, cleared) = both(fill, || Leases::clear(&self.store));
                filled.and(cleared)
            },
        );
        written.and(filled)?;
        let manifest = Manifest { totals: Some(totals), ..self.manifest.clone() };
        let bytes = to_json(&self.store.display(MANIFEST_PATH), &manifest)?;
        self.store.put(MANIFEST_PATH, bytes)?;
        self.store.put(SUCCESS_PATH, "")?;
        Ok(manifest)
    }

    /// All parts of all tables.
    fn parts(&self) -> Result<BTreeSet<String>, TableError> {
        let listed = try_at_once(&Table::ALL, |table| self.store.list(table.as_str()))?;
        Ok(listed.into_iter().flatten().map(|file| file.path).collect())
    }

    /// All committed parts are `there`. Others of these shards, which a shard had before it was
    /// scored again, are removed.
    fn check_parts(
        &self,
        entries: &[&LedgerEntry],
        mut there: BTreeSet<String>,
    ) -> Result<(), TableError> {
        for entry in entries {
            if let Some(part) = entry.parts.iter().find(|part| !there.remove(&part.path)) {
                let (path, shard_id) = (self.store.display(&part.path), entry.shard_id.clone());
                return Err(TableError::PartGone { path, shard_id });
            }
        }
        let run_id = &self.manifest.run_id;
        let ours = entries.iter().map(|entry| part_name(run_id, &entry.shard_id));
        let ours = ours.collect::<BTreeSet<_>>();
        let is_ours = |path: &&String| path.rsplit('/').next().is_some_and(|n| ours.contains(n));
        let mut left = there.iter().filter(is_ours);
        Ok(left.try_for_each(|path| self.store.delete_if_there(path))?)
    }

    /// Gives each table without rows one part, so that it opens in every reader. Created only:
    /// metrics that were written meanwhile stay. `thresholds` are not among the rows of the shards.
    fn fill_empty_tables(&self, totals: &RunTotals, no_thresholds: bool) -> Result<(), TableError> {
        let first = totals.rows.values().flat_map(|categories| categories.keys()).min();
        let category = first.map_or(NO_CATEGORY, String::as_str);
        let keep = &self.manifest.keep();
        let ids = PartIds { run_id: &self.manifest.run_id, shard_id: NO_SHARD, keep };
        let is_empty = |table: &Table| match table {
            Table::Thresholds => no_thresholds,
            table => totals.rows_of(*table) == 0,
        };
        let empty = Table::ALL.into_iter().filter(is_empty);
        let fill = |table: &Table| -> Result<(), TableError> {
            let path = self.part_path(*table, category, NO_SHARD);
            Ok(self.store.put_if_absent(&path, table.empty_part(ids)?.bytes).map(drop)?)
        };
        try_at_once(&empty.collect::<Vec<_>>(), fill).map(drop)
    }

    fn part_path(&self, table: Table, category: &str, shard_id: &str) -> String {
        part_path(table, self.manifest.run_date, category, &self.manifest.run_id, shard_id)
    }
}

/// The parts of a shard, to be written.
struct Parts<'a> {
    writer: &'a RunWriter,
    shard_id: &'a str,
    entry: LedgerEntry,
    files: Vec<(String, Bytes)>,
    /// Where there must be none.
    gone: Vec<String>,
}

impl Parts<'_> {
    /// Adds the rows as one part; without rows there is no part.
    fn add<R: Row>(
        &mut self,
        category: &str,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Option<&mut PartEntry>, TableError> {
        let Parts { writer, shard_id, entry, files, gone } = self;
        let keep = &writer.manifest.keep();
        let ids = PartIds { run_id: &writer.manifest.run_id, shard_id, keep };
        let part = encode_part(ids, category, rows.into_iter())?;
        let path = writer.part_path(R::TABLE, category, shard_id);
        if part.rows == 0 {
            gone.push(path);
            return Ok(None);
        }
        files.push((path.clone(), part.bytes.clone()));
        entry.parts.push(PartEntry::seal(R::TABLE, category, path, &part));
        Ok(entry.parts.last_mut())
    }
}

/// How many of the rows are flagged; `None` if that does not show yet for some.
fn flagged(rows: &[ScoreRow]) -> Option<u64> {
    rows.iter().map(|row| row.is_anomalous.map(u64::from)).sum()
}

/// Creates the manifest, unless another worker is first; then that one is returned. With it comes
/// whether it is ours. `files` are those of the output that are not ours.
fn begin(
    store: &Store,
    identity: RunIdentity,
    files: Vec<String>,
) -> Result<(Manifest, bool), TableError> {
    let plan = identity.plan.clone();
    let manifest = Manifest::begin(identity);
    if files.is_empty() {
        if let (Some(plan), Some(entry)) = (plan, &manifest.plan) {
            store.put(&entry.path, plan)?;
        }
        let bytes = to_json(&store.display(MANIFEST_PATH), &manifest)?;
        if store.put_if_absent(MANIFEST_PATH, bytes)? == Put::Created {
            return Ok((manifest, true));
        }
    }
    // Either the files are foreign, or another worker began the run a moment ago.
    match Manifest::read(store)? {
        Some(manifest) => Ok((manifest, false)),
        None => Err(TableError::ForeignFiles { uri: store.uri().to_string(), examples: files }),
    }
}

/// A few files of an output that no run of ours wrote.
pub(super) fn foreign_files(store: &Store) -> Result<Vec<String>, TableError> {
    // A start that was killed early leaves a plan that nothing names.
    let mut files = store.list_at_most("", FOREIGN_EXAMPLES + OWN_LEFTOVERS)?;
    files.retain(|file| !file.path.starts_with(OWN_FOLDER));
    files.truncate(FOREIGN_EXAMPLES);
    Ok(files.into_iter().map(|file| file.path).collect())
}

/// The entries of the expected shards, in their order, all there and complete.
fn expected_entries<'a>(
    ledger: &'a BTreeMap<String, LedgerEntry>,
    expected: &[ExpectedShard],
) -> Result<Vec<&'a LedgerEntry>, TableError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for shard in expected {
        match ledger.get(&shard.shard_id) {
            Some(entry) => found.push((shard, entry)),
            None => missing.push(shard.shard_id.clone()),
        }
    }
    if !missing.is_empty() {
        return Err(TableError::MissingShards { shards: missing, expected: expected.len() });
    }
    found.into_iter().map(|(shard, entry)| check_counts(shard, entry).map(|()| entry)).collect()
}

/// Every image of the listing is a row of scores or of failures.
fn check_counts(shard: &ExpectedShard, entry: &LedgerEntry) -> Result<(), TableError> {
    let (scores, failures) = (entry.rows_of(Table::Scores), entry.rows_of(Table::Failures));
    match shard.entries {
        Some(listed) => check_sum(&shard.shard_id, listed, scores, failures),
        None => Ok(()),
    }
}

fn check_sum(shard_id: &str, listed: u64, scores: u64, failures: u64) -> Result<(), TableError> {
    if scores + failures == listed {
        return Ok(());
    }
    let shard_id = shard_id.to_string();
    Err(TableError::CountMismatch { shard_id, listed, scores, failures })
}

fn rows_by_table(entries: &[&LedgerEntry]) -> BTreeMap<Table, BTreeMap<String, u64>> {
    let mut rows: BTreeMap<Table, BTreeMap<String, u64>> = BTreeMap::new();
    for part in entries.iter().flat_map(|entry| &entry.parts) {
        *rows.entry(part.table).or_default().entry(part.category.clone()).or_default() += part.rows;
    }
    rows
}
