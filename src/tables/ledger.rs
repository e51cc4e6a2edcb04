//! The ledger: one entry per committed shard.
//!
//! A part counts only if an entry names it, and only as long as its digest is that of the entry.
//! Files on the disk without an entry are what a killed worker left; the next overwrites them.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, Manifest, parse, to_json};
use super::part::EncodedPart;
use super::part_reader::PartRows;
use super::{Row, Table};
use crate::error::TableError;
use crate::store::{Put, Store, try_at_once};

const LEDGER_FOLDER: &str = "_filo/ledger";

/// A table that is written after all shards, and may be written again.
#[derive(Debug, Clone, Copy)]
pub(super) enum LateTable {
    Thresholds,
    Metrics,
}

impl LateTable {
    /// Where the entry that names its parts lies.
    fn path(self) -> &'static str {
        match self {
            LateTable::Thresholds => "_filo/thresholds.json",
            LateTable::Metrics => "_filo/metrics.json",
        }
    }

    /// The entry that names its parts, or `None` before it is written.
    pub fn read(self, store: &Store) -> Result<Option<LedgerEntry>, TableError> {
        match store.get_if_there(self.path())? {
            Some(bytes) => parse(&store.display(self.path()), &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Names its parts, all at once.
    pub fn write(self, store: &Store, entry: &LedgerEntry) -> Result<(), TableError> {
        Ok(store.put(self.path(), to_json(&store.display(self.path()), entry)?)?)
    }

    /// Forgets it: it no longer fits the rows.
    pub fn remove(self, store: &Store) -> Result<(), TableError> {
        let parts = self.read(store)?.map_or_else(Vec::new, |entry| entry.parts);
        store.delete_if_there(self.path())?;
        Ok(parts.iter().try_for_each(|part| store.delete_if_there(&part.path))?)
    }
}

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
    /// Of a part of `scores`: how many of its images are flagged. Absent where that shows only when
    /// the run is finished, and in entries of versions that did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flagged: Option<u64>,
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
            flagged: None,
        }
    }
}

impl LedgerEntry {
    /// An entry without parts.
    pub(super) fn new(run_id: &str, shard_id: &str) -> LedgerEntry {
        let (run_id, shard_id) = (run_id.to_string(), shard_id.to_string());
        LedgerEntry { format: FORMAT, run_id, shard_id, parts: Vec::new() }
    }

    /// Images of this shard: each has a score or a failure.
    pub fn images(&self) -> u64 {
        self.rows_of(Table::Scores) + self.rows_of(Table::Failures)
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
                let flagged = part.flagged;
                *part = PartEntry::seal(part.table, &part.category, part.path.clone(), &file);
                part.flagged = flagged;
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

/// The entry of a shard, if it has one.
pub(super) fn read_entry(store: &Store, shard_id: &str) -> Result<Option<LedgerEntry>, TableError> {
    let path = entry_path(shard_id);
    match store.get_if_there(&path)? {
        Some(bytes) => parse(&store.display(&path), &bytes).map(Some),
        None => Ok(None),
    }
}

/// Ids of all shards that have an entry.
pub(super) fn list_ledger(store: &Store) -> Result<HashSet<String>, TableError> {
    let files = store.list(LEDGER_FOLDER)?;
    let names = files.iter().filter_map(|file| file.path.rsplit('/').next());
    Ok(names.filter_map(|name| name.strip_suffix(".json")).map(str::to_string).collect())
}

/// All entries by shard id. An entry that belongs to another run is an error.
pub(super) fn read_ledger(
    store: &Store,
    manifest: &Manifest,
) -> Result<BTreeMap<String, LedgerEntry>, TableError> {
    let mut entries = BTreeMap::new();
    let files = store.list(LEDGER_FOLDER)?;
    // One after the other, a bucket would let wait for each.
    let contents = try_at_once(&files, |file| store.get(&file.path))?;
    for (file, content) in files.iter().zip(contents) {
        let shown = store.display(&file.path);
        let entry: LedgerEntry = parse(&shown, &content)?;
        if entry.run_id != manifest.run_id || entry_path(&entry.shard_id) != file.path {
            let source = "it names another run or shard".into();
            return Err(TableError::BadJson { path: shown, source });
        }
        entries.insert(entry.shard_id.clone(), entry);
    }
    Ok(entries)
}
