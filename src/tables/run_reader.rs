//! What a run committed, read back: for `filo metrics` and the report.
//!
//! Only parts that a ledger entry names are read, shard by shard in the order of their ids.
//! The one thing written here is the metrics table, which is made from these rows.

use std::collections::{BTreeMap, BTreeSet};

use super::commit::NO_SHARD;
use super::ledger::{LedgerEntry, PartEntry, read_ledger, read_metrics_entry, write_metrics_entry};
use super::manifest::Manifest;
use super::part::{PartIds, encode_part};
use super::part_reader::PartRows;
use super::partials::PartialRun;
use super::partition::part_path;
use super::row::Row;
use super::{CategoryMetrics, MetricsRow, ScoreRow, Table};
use crate::error::TableError;
use crate::store::Store;

/// The score of one picture and its ground truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledScore {
    pub score: f32,
    /// True is anomalous; `None` where the input has no ground truth.
    pub label: Option<bool>,
}

/// The scores of one category.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryScores {
    pub category: String,
    pub scores: Vec<LabelledScore>,
}

/// The reading side of one run in one output.
#[derive(Debug)]
pub struct RunReader {
    store: Store,
    manifest: Manifest,
    ledger: BTreeMap<String, LedgerEntry>,
}

impl RunReader {
    /// Opens the run in an output, finished or not ([`Manifest::totals`] tells).
    ///
    /// # Errors
    /// [`TableError::NoRun`] if there is none.
    pub fn open(store: Store) -> Result<RunReader, TableError> {
        let uri = store.uri().to_string();
        let manifest = Manifest::read(&store)?.ok_or(TableError::NoRun { uri })?;
        let ledger = read_ledger(&store, &manifest)?;
        Ok(RunReader { store, manifest, ledger })
    }

    /// The output that this run is read from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The manifest as it was when the run was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Checks that every shard of the listing is committed.
    ///
    /// # Errors
    /// [`TableError::MissingShards`] if not.
    pub fn check_shards_are_there(&self) -> Result<(), TableError> {
        let listed = &self.manifest.shards;
        let missing = listed.iter().filter(|shard| !self.ledger.contains_key(*shard));
        let shards = missing.cloned().collect::<Vec<_>>();
        if shards.is_empty() {
            return Ok(());
        }
        Err(TableError::MissingShards { shards, expected: listed.len() })
    }

    /// What a shard committed, if it did.
    pub fn committed(&self, shard_id: &str) -> Option<&LedgerEntry> {
        self.ledger.get(shard_id)
    }

    /// The categories of all committed rows, sorted.
    pub fn categories(&self) -> Vec<&str> {
        let parts = self.ledger.values().flat_map(|entry| &entry.parts);
        let names: BTreeSet<&str> = parts.map(|part| part.category.as_str()).collect();
        names.into_iter().collect()
    }

    /// All rows of one table and category; for `metrics` use [`RunReader::metrics`].
    pub fn rows<R: Row>(&self, category: &str) -> Result<Vec<R>, TableError> {
        let mut rows = Vec::new();
        for part in self.parts(R::TABLE, category) {
            for row in PartRows::<R>::open(&self.store, part)? {
                rows.push(row?);
            }
        }
        Ok(rows)
    }

    /// Scores and labels of each category, categories sorted.
    pub fn read_scores(&self) -> Result<Vec<CategoryScores>, TableError> {
        let of_category = |category: &str| {
            let mut scores = Vec::new();
            for part in self.parts(Table::Scores, category) {
                for row in PartRows::<ScoreRow>::open(&self.store, part)? {
                    let row = row?;
                    scores.push(LabelledScore { score: row.score, label: row.label });
                }
            }
            Ok(CategoryScores { category: category.to_string(), scores })
        };
        self.categories().into_iter().map(of_category).collect()
    }

    /// The pixel counts of a category, one run per part, each by descending score. A run holds a
    /// few pages of its file, never the file.
    pub fn partial_runs(&self, category: &str) -> Result<Vec<PartialRun>, TableError> {
        let open = |part: &PartEntry| PartialRun::open(&self.store, part);
        self.parts(Table::Partials, category).map(open).collect()
    }

    /// Writes the metrics table, in place of the one that is there.
    pub fn write_metrics(&self, metrics: &[CategoryMetrics]) -> Result<(), TableError> {
        let Manifest { run_id, run_date, .. } = &self.manifest;
        let mut entry = LedgerEntry::new(run_id, NO_SHARD);
        for CategoryMetrics { category, row } in metrics {
            let ids = PartIds { run_id, shard_id: NO_SHARD };
            let part = encode_part(ids, category, std::iter::once(row.clone()))?;
            let path = part_path(Table::Metrics, *run_date, category, run_id, NO_SHARD);
            self.store.put(&path, part.bytes.clone())?;
            entry.parts.push(PartEntry::seal(Table::Metrics, category, path, &part));
        }
        write_metrics_entry(&self.store, &entry)
    }

    /// The metrics table in the order in which it was written; empty if it was not yet.
    pub fn metrics(&self) -> Result<Vec<CategoryMetrics>, TableError> {
        let mut metrics = Vec::new();
        for part in read_metrics_entry(&self.store)?.map_or_else(Vec::new, |entry| entry.parts) {
            for row in PartRows::<MetricsRow>::open(&self.store, &part)? {
                metrics.push(CategoryMetrics { category: part.category.clone(), row: row? });
            }
        }
        Ok(metrics)
    }

    fn parts(&self, table: Table, category: &str) -> impl Iterator<Item = &PartEntry> {
        let parts = self.ledger.values().flat_map(|entry| &entry.parts);
        parts.filter(move |part| part.table == table && part.category == category)
    }
}
