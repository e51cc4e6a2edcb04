//! The ledger: one entry per committed shard.
//!
//! A part counts only if an entry names it, and only as long as its digest is that of the entry.
//! Files on the disk without an entry are what a killed worker left; the next overwrites them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, Manifest, parse, to_json};
use super::part::EncodedPart;
use super::part_reader::PartRows;
use super::{Row, Table};
use crate::error::TableError;
use crate::store::{Put, Store};

const LEDGER_FOLDER: &str = "_filo/ledger";

/// The entry of the metrics table, which is written after the run and may be written again.
const METRICS_PATH: &str = "_filo/metrics.json";

/// The content of `_filo/ledger/<shard id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub format: u32,
    pub run_id: String,
    pub shard_id: String,
    /// One per table and category with rows in this shard.
    pub parts: Vec<PartEntry>,
}

/// One committed Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    pub table: Table,
    pub category: String,
    pub rows: u64,
    /// Relative to the output.
    pub path: String,
    pub bytes: u64,
    /// BLAKE3 of the file, in hexadecimal.
    pub blake3: String,
}

impl PartEntry {
    /// The entry of a part with this content.
    pub(super) fn seal(
        table: Table,
        category: &str,
        path: String,
        part: &EncodedPart,
    ) -> PartEntry {
        PartEntry {
            table,
            category: category.to_string(),
            rows: part.rows,
            path,
            bytes: part.bytes.len() as u64,
            blake3: blake3::hash(&part.bytes).to_hex().to_string(),
        }
    }
}

impl LedgerEntry {
    /// An entry without parts.
    pub(super) fn new(run_id: &str, shard_id: &str) -> LedgerEntry {
        let (run_id, shard_id) = (run_id.to_string(), shard_id.to_string());
        LedgerEntry { format: FORMAT, run_id, shard_id, parts: Vec::new() }
    }

    /// Rows of `table` in this shard.
    pub fn rows_of(&self, table: Table) -> u64 {
        self.parts.iter().filter(|part| part.table == table).map(|part| part.rows).sum()
    }

    /// The rows of one table in this shard with their categories, part by part.
    pub fn rows<R: Row>(
        &self,
        store: &Store,
    ) -> impl Iterator<Item = Result<(&str, R), TableError>> {
        let parts = self.parts.iter().filter(|part| part.table == R::TABLE);
        parts.flat_map(|part| {
            let (rows, error) = match PartRows::<R>::open(store, part) {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(error))),
            };
            let rows = rows.into_iter().flatten();
            rows.map(|row| row.map(|row| (part.category.as_str(), row))).chain(error)
        })
    }

    /// Makes the entry, unless another worker made one for the shard.
    pub(super) fn create(&self, store: &Store) -> Result<Put, TableError> {
        let path = entry_path(&self.shard_id);
        Ok(store.put_if_absent(&path, to_json(&store.display(&path), self)?)?)
    }

    /// Makes the shard's entry fit its files, after another worker committed the shard while
    /// this one wrote its parts.
    ///
    /// The two wrote the same rows but for measured times (`ms_infer`), in turns, so that any
    /// file may be of either. Each worker that comes too late does this after its last write;
    /// the entry is compared again after each change, so the last one leaves it right.
    pub(super) fn reseal(&self, store: &Store) -> Result<(), TableError> {
        let path = entry_path(&self.shard_id);
        loop {
            let mut sealed = self.clone();
            for part in &mut sealed.parts {
                let file = EncodedPart { rows: part.rows, bytes: store.get(&part.path)? };
                *part = PartEntry::seal(part.table, &part.category, part.path.clone(), &file);
            }
            let bytes = to_json(&store.display(&path), &sealed)?;
            if store.get(&path)? == bytes {
                return Ok(());
            }
            store.put(&path, bytes)?;
        }
    }
}

/// Where the entry of a shard lies.
pub(super) fn entry_path(shard_id: &str) -> String {
    format!("{LEDGER_FOLDER}/{shard_id}.json")
}

/// The entry that names the metrics table, or `None` before that is written.
pub(super) fn read_metrics_entry(store: &Store) -> Result<Option<LedgerEntry>, TableError> {
    match store.get_if_there(METRICS_PATH)? {
        Some(bytes) => parse(&store.display(METRICS_PATH), &bytes).map(Some),
        None => Ok(None),
    }
}

/// Names the parts of the metrics table, all at once.
pub(super) fn write_metrics_entry(store: &Store, entry: &LedgerEntry) -> Result<(), TableError> {
    Ok(store.put(METRICS_PATH, to_json(&store.display(METRICS_PATH), entry)?)?)
}

/// Forgets the metrics table, which no longer fits the rows.
pub(super) fn remove_metrics(store: &Store) -> Result<(), TableError> {
    let parts = read_metrics_entry(store)?.map_or_else(Vec::new, |entry| entry.parts);
    store.delete_if_there(METRICS_PATH)?;
    Ok(parts.iter().try_for_each(|part| store.delete_if_there(&part.path))?)
}

/// All entries by shard id. An entry that belongs to another run is an error.
pub(super) fn read_ledger(
    store: &Store,
    manifest: &Manifest,
) -> Result<BTreeMap<String, LedgerEntry>, TableError> {
    let mut entries = BTreeMap::new();
    for file in store.list(LEDGER_FOLDER)? {
        let shown = store.display(&file.path);
        let entry: LedgerEntry = parse(&shown, &store.get(&file.path)?)?;
        if entry.run_id != manifest.run_id || entry_path(&entry.shard_id) != file.path {
            let source = "it names another run or shard".into();
            return Err(TableError::BadJson { path: shown, source });
        }
        entries.insert(entry.shard_id.clone(), entry);
    }
    Ok(entries)
}
