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
use super::partition::part_path;
use super::row::{Row, row};
use super::{CategoryMetrics, MetricsRow, Table};
use crate::error::TableError;
use crate::store::Store;

row! {
    /// What metrics need of a row of `scores`.
    pub struct LabelledScore {
        /// Anomaly score.
        pub score: f32,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or "good".
        pub kind: Option<String>,
        /// Pixel scores at fixed ranks.
        pub pixel_summary: Option<Vec<u8>>,
    }
}

row! {
    /// What the comparison of two runs needs of a row of `scores`.
    pub struct ComparedScore {
        /// Name of the picture inside the input.
        pub image_id: String,
        /// Anomaly score.
        pub score: f32,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// Pixel scores at fixed ranks.
        pub pixel_summary: Option<Vec<u8>>,
    }
}

row! {
    /// Which description was most like a picture.
    pub struct TopScore {
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// The abnormal state most like the picture.
        pub top_description: Option<String>,
        /// Cosine of the picture with its prompt.
        pub top_similarity: Option<f32>,
    }
}

row! {
    /// What the report shows of a row of `scores`.
    pub struct ShownScore {
        /// Name of the picture inside the input.
        pub image_id: String,
        /// Width of the picture in pixels.
        pub width: i32,
        /// Height of the picture in pixels.
        pub height: i32,
        /// Anomaly score.
        pub score: f32,
        /// Maximum of the anomaly map.
        pub map_max: f32,
        /// Mean of the anomaly map.
        pub map_mean: f32,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or "good".
        pub kind: Option<String>,
        /// Whether `score` is above `threshold`.
        pub is_anomalous: bool,
        /// The score from which a picture counts as anomalous.
        pub threshold: f32,
        /// Where in the picture the best box lies, in words.
        pub position: Option<String>,
        /// The abnormal state most like the picture.
        pub top_description: Option<String>,
        /// Cosine of the picture with its prompt.
        pub top_similarity: Option<f32>,
        /// File of the raw anomaly map, relative to the output.
        pub map_path: Option<String>,
    }
}

impl Row for ShownScore {
    const TABLE: Table = Table::Scores;
}

impl Row for TopScore {
    const TABLE: Table = Table::Scores;
}

impl Row for ComparedScore {
    const TABLE: Table = Table::Scores;
}

impl Row for LabelledScore {
    const TABLE: Table = Table::Scores;
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

    /// Rows of `scores` by category, as the ledger has them.
    pub fn scored_rows(&self) -> BTreeMap<&str, u64> {
        let mut rows = BTreeMap::new();
        let parts = self.ledger.values().flat_map(|entry| &entry.parts);
        for part in parts.filter(|part| part.table == Table::Scores) {
            *rows.entry(part.category.as_str()).or_default() += part.rows;
        }
        rows
    }

    /// All rows of one table and category; for `metrics` use [`RunReader::metrics`].
    pub fn rows<R: Row>(&self, category: &str) -> Result<Vec<R>, TableError> {
        let mut rows = Vec::new();
        for part in self.parts(R::TABLE, category) {
            rows.extend(self.rows_of(part)?);
        }
        Ok(rows)
    }

    /// The committed parts of one table and category.
    pub fn parts(&self, table: Table, category: &str) -> impl Iterator<Item = &PartEntry> {
        let parts = self.ledger.values().flat_map(|entry| &entry.parts);
        parts.filter(move |part| part.table == table && part.category == category)
    }

    /// All rows of one part.
    pub fn rows_of<R: Row>(&self, part: &PartEntry) -> Result<Vec<R>, TableError> {
        PartRows::open(&self.store, part)?.collect()
    }

    /// Writes the metrics table, in place of the one that is there.
    pub fn write_metrics(&self, metrics: &[CategoryMetrics]) -> Result<(), TableError> {
        let Manifest { run_id, run_date, .. } = &self.manifest;
        let mut entry = LedgerEntry::new(run_id, NO_SHARD);
        for CategoryMetrics { category, rows } in metrics {
            let ids = PartIds { run_id, shard_id: NO_SHARD };
            let part = encode_part(ids, category, rows.iter().cloned())?;
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
            let rows = self.rows_of::<MetricsRow>(&part)?;
            metrics.push(CategoryMetrics { category: part.category, rows });
        }
        Ok(metrics)
    }
}
