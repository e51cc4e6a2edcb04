//! What a run committed, read back: for `filo metrics` and the report.
//!
//! Only parts that a ledger entry names are read, shard by shard in the order of their ids.
//! The one thing written here is the metrics table, which is made from these rows.

use std::collections::{BTreeMap, BTreeSet};

use super::commit::NO_SHARD;
use super::ledger::{LateTable, LedgerEntry, PartEntry, read_ledger};
use super::manifest::Manifest;
use super::part::{PartIds, encode_part};
use super::part_reader::PartRows;
use super::partition::part_path;
use super::row::{Row, row};
use super::{CategoryMetrics, CategoryThreshold, Limit, MetricsRow, Table, ThresholdRow};
use crate::error::TableError;
use crate::store::Store;

row! {
    /// What metrics need of a row of `scores`.
    pub struct LabelledScore {
        /// Anomaly score.
        pub score: f32,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or the word for normal as the input has it.
        pub kind: Option<String>,
        /// Pixel scores at fixed ranks.
        pub pixel_summary: Option<Vec<u8>>,
        /// Whether the image is flagged, if that was known when the row was written.
        pub is_anomalous: Option<bool>,
    }
}

row! {
    /// What the pixels of an image are counted from again.
    pub struct MappedScore {
        /// Ground truth: name of the defect, or the word for normal as the input has it.
        pub kind: Option<String>,
        /// Pixel scores at fixed ranks.
        pub pixel_summary: Option<Vec<u8>>,
        /// File of the raw anomaly map, relative to the output.
        pub map_path: Option<String>,
        /// The true defects at the size of the raw map.
        pub true_mask: Option<String>,
    }
}

row! {
    /// A score and what it was decided to mean.
    pub struct DecidedScore {
        /// Anomaly score.
        pub score: f32,
        /// Whether the image is flagged, if that was known when the row was written.
        pub is_anomalous: Option<bool>,
    }
}

row! {
    /// What the comparison of two runs needs of a row of `scores`.
    pub struct ComparedScore {
        /// Name of the image inside the input.
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
    /// What decides which images are exported, and with what colours they are drawn.
    pub struct RankedScore {
        /// Name of the image inside the input.
        pub image_id: String,
        /// Anomaly score.
        pub score: f32,
        /// Maximum of the anomaly map.
        pub map_max: f32,
        /// Mean of the anomaly map.
        pub map_mean: f32,
        /// Whether the image is flagged.
        pub is_anomalous: Option<bool>,
        /// The score above which it is.
        pub threshold: Option<f32>,
    }
}

row! {
    /// Which description was most like an image.
    pub struct TopScore {
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// The abnormal state most like the image.
        pub top_description: Option<String>,
        /// Cosine of the image with its prompt.
        pub top_similarity: Option<f32>,
    }
}

row! {
    /// What the report shows of a row of `scores`.
    pub struct ShownScore {
        /// Name of the image inside the input.
        pub image_id: String,
        /// Where the image was read from.
        pub uri: String,
        /// Width of the image in pixels.
        pub width: i32,
        /// Height of the image in pixels.
        pub height: i32,
        /// Anomaly score.
        pub score: f32,
        /// Maximum of the anomaly map.
        pub map_max: f32,
        /// Mean of the anomaly map.
        pub map_mean: f32,
        /// Ground truth: true is anomalous.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or the word for normal as the input has it.
        pub kind: Option<String>,
        /// FiLo's own score.
        pub text_score: Option<f32>,
        /// What the distances to the references alone say.
        pub reference_score: Option<f32>,
        /// Share of images like the references that score at least as high.
        pub p_value: Option<f32>,
        /// The reference most like the image.
        pub reference_id: Option<String>,
        /// Whether the image is flagged.
        pub is_anomalous: Option<bool>,
        /// The score above which it is.
        pub threshold: Option<f32>,
        /// Where in the image the best box lies, in words.
        pub position: Option<String>,
        /// The abnormal state most like the image.
        pub top_description: Option<String>,
        /// Cosine of the image with its prompt.
        pub top_similarity: Option<f32>,
        /// File of the raw anomaly map, relative to the output.
        pub map_path: Option<String>,
        /// Columns and rows of the tiles: "18x12". Null where the image was not tiled.
        pub tile_grid: Option<String>,
    }
}

impl ShownScore {
    /// Fills in what was not known when the row was written, if it is known by now.
    pub fn decide(&mut self, limit: Limit) {
        limit.decide(&mut self.is_anomalous, &mut self.threshold, self.score);
    }

    /// Whether the image is flagged, once [decided](Self::decide).
    pub fn is_flagged(&self) -> bool {
        self.is_anomalous == Some(true)
    }
}

impl Row for ShownScore {
    const TABLE: Table = Table::Scores;
}

impl DecidedScore {
    /// Whether the image is flagged, where rows that do not say so themselves go by `threshold`; without
    /// one nothing is flagged.
    pub fn flagged(&self, threshold: Option<f32>) -> bool {
        let limit = threshold.map_or(Limit::Nothing, Limit::Above);
        limit.flags(self.is_anomalous, self.score) == Some(true)
    }
}

row! {
    /// How large a predicted mask is.
    pub struct MaskArea {
        /// Name of the image, as in `scores`.
        pub image_id: String,
        /// Pixels in the mask.
        pub area: i64,
    }
}

impl Row for MaskArea {
    const TABLE: Table = Table::Masks;
}

impl Row for MappedScore {
    const TABLE: Table = Table::Scores;
}

impl Row for DecidedScore {
    const TABLE: Table = Table::Scores;
}

impl Row for RankedScore {
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
        RunReader::of(store, manifest)
    }

    /// The run of `manifest`, which lies in `store`.
    pub(super) fn of(store: Store, manifest: Manifest) -> Result<RunReader, TableError> {
        let ledger = read_ledger(&store, &manifest)?;
        Ok(RunReader { store, manifest, ledger })
    }

    /// All entries by shard id.
    pub(super) fn ledger(&self) -> &BTreeMap<String, LedgerEntry> {
        &self.ledger
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
        let rows = metrics.iter().map(|of| (of.category.as_str(), of.rows.as_slice()));
        self.write_late(LateTable::Metrics, rows)
    }

    /// The metrics table in the order in which it was written; empty if it was not yet.
    pub fn metrics(&self) -> Result<Vec<CategoryMetrics>, TableError> {
        let parts = self.late_rows::<MetricsRow>(LateTable::Metrics)?;
        Ok(parts.into_iter().map(|(category, rows)| CategoryMetrics { category, rows }).collect())
    }

    /// Writes the thresholds table, in place of the one that is there.
    pub(super) fn write_thresholds(
        &self,
        thresholds: &[CategoryThreshold],
    ) -> Result<(), TableError> {
        let row = |of: &'_ CategoryThreshold| of.row.clone();
        let rows = thresholds.iter().map(|of| (of.category.as_str(), [row(of)]));
        let rows = rows.collect::<Vec<_>>();
        let rows = rows.iter().map(|(category, rows)| (*category, &rows[..]));
        self.write_late(LateTable::Thresholds, rows)
    }

    /// The thresholds of all categories; empty while the run is unfinished, and in runs of versions
    /// that had no such table.
    pub fn thresholds(&self) -> Result<BTreeMap<String, ThresholdRow>, TableError> {
        let parts = self.late_rows::<ThresholdRow>(LateTable::Thresholds)?;
        let first = |(category, rows): (String, Vec<ThresholdRow>)| {
            rows.into_iter().next().map(|row| (category, row))
        };
        Ok(parts.into_iter().filter_map(first).collect())
    }

    /// Writes one part per category of a table that spans shards, then the entry that names them.
    fn write_late<'a, R: Row>(
        &self,
        table: LateTable,
        categories: impl Iterator<Item = (&'a str, &'a [R])>,
    ) -> Result<(), TableError> {
        let Manifest { run_id, run_date, .. } = &self.manifest;
        let mut entry = LedgerEntry::new(run_id, NO_SHARD);
        let mut files = Vec::new();
        for (category, rows) in categories {
            let ids = PartIds { run_id, shard_id: NO_SHARD, keep: &[] };
            let part = encode_part(ids, category, rows.iter().cloned())?;
            let path = part_path(R::TABLE, *run_date, category, run_id, NO_SHARD);
            files.push((path.clone(), part.bytes.clone()));
            entry.parts.push(PartEntry::seal(R::TABLE, category, path, &part));
        }
        self.store.put_all(files, Vec::new())?;
        table.write(&self.store, &entry)
    }

    fn late_rows<R: Row>(&self, table: LateTable) -> Result<Vec<(String, Vec<R>)>, TableError> {
        let parts = table.read(&self.store)?.map_or_else(Vec::new, |entry| entry.parts);
        let rows = |part: PartEntry| self.rows_of(&part).map(|rows| (part.category, rows));
        parts.into_iter().map(rows).collect()
    }
}
