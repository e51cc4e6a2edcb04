//! Files of the input that were replaced after a run had listed them, and that it took over. In: what
//! the plan has of a file and what is there now. Out: `_filo/replaced/<shard id>.json`, which is laid
//! over the plan. Written before the shard is scored again, so that whoever scores it reads the new
//! file; its ledger entry still decides which rows count.

use serde::{Deserialize, Serialize};

use super::PlanRow;
use super::manifest::{FORMAT, parse, to_json};
use crate::error::TableError;
use crate::store::Store;

const REPLACED_FOLDER: &str = "_filo/replaced";

/// The content of `_filo/replaced/<shard id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedFiles {
    pub format: u32,
    pub shard_id: String,
    pub files: Vec<ReplacedFile>,
}

/// One file, as it was planned and as it was found later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedFile {
    pub image_id: String,
    pub category: String,
    /// As the plan has it.
    pub old: FileState,
    /// As it was found last.
    pub new: FileState,
    pub label: Option<bool>,
    pub kind: Option<String>,
    pub mask_known: Option<bool>,
    pub mask: Option<String>,
    #[serde(default)]
    pub more_masks: Option<String>,
    pub archive: Option<String>,
    #[serde(default)]
    pub most: Option<i64>,
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default)]
    pub kept: Option<String>,
}

/// Which content of a file was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    pub bytes: i64,
    pub etag: Option<String>,
    pub modified_ns: Option<i64>,
}

impl FileState {
    fn of(row: &PlanRow) -> Self {
        FileState { bytes: row.bytes, etag: row.etag.clone(), modified_ns: row.modified_ns }
    }
}

impl std::fmt::Display for FileState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        match (&self.etag, self.modified_ns) {
            (Some(etag), _) => write!(f, ", etag {etag}"),
            (None, Some(ns)) => {
                write!(f, ", of {}", chrono::DateTime::from_timestamp_nanos(ns).format("%F %T%.3f"))
            }
            (None, None) => Ok(()),
        }
    }
}

impl ReplacedFile {
    /// The file of the row `old` of the plan, which is now as `new` says.
    pub fn new(old: &PlanRow, new: PlanRow) -> Self {
        ReplacedFile {
            old: FileState::of(old),
            new: FileState::of(&new),
            image_id: new.image_id,
            category: new.category,
            label: new.label,
            kind: new.kind,
            mask_known: new.mask_known,
            mask: new.mask,
            more_masks: new.more_masks,
            file: new.file,
            kept: new.kept,
            most: new.most,
            archive: new.archive,
        }
    }

    /// What the plan would have of it, had it been listed as it is now.
    pub fn row(&self) -> PlanRow {
        PlanRow {
            image_id: self.image_id.clone(),
            category: self.category.clone(),
            bytes: self.new.bytes,
            etag: self.new.etag.clone(),
            modified_ns: self.new.modified_ns,
            label: self.label,
            kind: self.kind.clone(),
            mask_known: self.mask_known,
            mask: self.mask.clone(),
            more_masks: self.more_masks.clone(),
            file: self.file.clone(),
            kept: self.kept.clone(),
            most: self.most,
            archive: self.archive.clone(),
            ..PlanRow::default()
        }
    }
}

impl ReplacedFiles {
    /// Adds files to those that were replaced earlier. Of one that was replaced twice, the state in
    /// the plan and the newest are kept.
    ///
    /// # Errors
    /// If the output cannot be read or written.
    pub fn add(store: &Store, shard_id: &str, files: Vec<ReplacedFile>) -> Result<(), TableError> {
        let path = format!("{REPLACED_FOLDER}/{shard_id}.json");
        let shown = store.display(&path);
        let mut all = match store.get_if_there(&path)? {
            Some(bytes) => parse::<ReplacedFiles>(&shown, &bytes)?.files,
            None => Vec::new(),
        };
        for file in files {
            match all.iter_mut().find(|known| known.image_id == file.image_id) {
                Some(known) => *known = ReplacedFile { old: known.old.clone(), ..file },
                None => all.push(file),
            }
        }
        let all = ReplacedFiles { format: FORMAT, shard_id: shard_id.to_string(), files: all };
        Ok(store.put(&path, to_json(&shown, &all)?)?)
    }

    /// Those of all shards.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_all(store: &Store) -> Result<Vec<ReplacedFiles>, TableError> {
        let files = store.list(REPLACED_FOLDER)?;
        let read = |path: &str| parse(&store.display(path), &store.get(path)?);
        files.iter().map(|file| read(&file.path)).collect()
    }
}
