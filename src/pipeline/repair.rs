//! What `--retry-failed` tries again. In: the failures that a run committed, and its input as it is
//! now. Out: which images are scored again and from which version of their file, and what to say of
//! those that are not.
//!
//! A reason like "unreadable" may be gone by itself. One that lies in the file, like "corrupt", can be
//! gone only if the file was replaced since; so the input is listed again, once, if there are any. A
//! tar or Parquet file that was replaced is scored again as a whole: nothing tells which of its images
//! are the same.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::plan::row_of;
use super::retry::Task;
use crate::error::{Error, FailureCode, Stage, TableError};
use crate::source::{Entry, Listing, Shard};
use crate::store::Store;
use crate::tables::{FailureRow, LedgerEntry, ReplacedFile, ReplacedFiles};

/// What is known of the failures of a run before they are tried again.
#[derive(Debug, Default)]
pub struct Repair {
    /// All that the run has committed.
    pub failures: u64,
    /// Tried again as their file is.
    pub again: u64,
    /// Tried again from another version of their file.
    pub replaced: u64,
    /// Not tried again: their file is as it was when they failed, by code.
    pub unchanged: BTreeMap<String, u64>,
    /// Not tried again: their file is gone from the input.
    pub gone: u64,
    /// Not tried again: nothing that is done to the file mends them, by code.
    pub lasting: BTreeMap<String, u64>,
}

/// The input as it is now: the entries of files that were lost, by name.
#[derive(Debug)]
pub struct SeenNow(HashMap<Box<str>, (Entry, u64)>);

impl From<Listing> for SeenNow {
    fn from(listing: Listing) -> Self {
        let shards = listing.shards.into_iter();
        let entries = shards.flat_map(|shard| shard.entries.into_iter().zip(shard.sizes));
        SeenNow(entries.map(|(entry, size)| (entry.image_id().into(), (entry, size))).collect())
    }
}

/// What becomes of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hope {
    /// It may do better as it is.
    Again,
    /// It may do better if the file is another one.
    OfAnotherFile,
    /// Not within this run.
    None,
}

fn hope(row: &FailureRow) -> Hope {
    match FailureCode::named(&row.code) {
        // What is plain from the listing is in the plan, until there is another one.
        Some(FailureCode::NonUtf8Name | FailureCode::DuplicateName) => Hope::None,
        _ if row.stage == Stage::List.as_str() => Hope::OfAnotherFile,
        // Another device, or a smaller batch, may have the memory.
        Some(FailureCode::DeviceMemory) => Hope::Again,
        Some(code) if code.may_be_gone() => Hope::Again,
        // The version of a mask is in no plan.
        _ if row.stage == Stage::Mask.as_str() => Hope::Again,
        Some(FailureCode::Words | FailureCode::NonFinite) | None => Hope::None,
        Some(_) => Hope::OfAnotherFile,
    }
}

impl Repair {
    /// The shard as a task, if some of what it committed as failures is tried again. `now` lists the
    /// input when it is needed.
    ///
    /// # Errors
    /// If its failures cannot be read, or the input not be listed.
    pub fn task(
        &mut self,
        mut shard: Shard,
        entry: &LedgerEntry,
        output: &Store,
        now: &mut impl FnMut() -> Result<std::rc::Rc<SeenNow>, Error>,
    ) -> Result<Option<Task>, Error> {
        let rows = entry.rows::<FailureRow>(output).map(|row| row.map(|(_, row)| row));
        let rows = rows.collect::<Result<Vec<_>, TableError>>()?;
        self.failures += rows.len() as u64;
        if rows.is_empty() {
            return Ok(None);
        }
        if let [Entry::Archive(_)] = shard.entries[..] {
            let hopeful = rows.iter().any(|row| hope(row) != Hope::None);
            if hopeful && let Some(file) = replaced(&mut shard, 0, &*now()?) {
                tell(&file);
                self.replaced += rows.len() as u64;
                ReplacedFiles::add(output, &shard.id, vec![file])?;
                return Ok(Some(Task::anew(shard, entry)));
            }
            let mut again = HashSet::new();
            for row in rows {
                match hope(&row) {
                    Hope::Again => drop(again.insert(row.image_id.into())),
                    hope => self.leave(&row, hope),
                }
            }
            self.again += again.len() as u64;
            return Ok(Task::again(shard, entry, again));
        }
        let mut at = HashMap::new();
        for (index, entry) in shard.entries.iter().enumerate() {
            at.insert(Box::<str>::from(entry.image_id()), index);
        }
        let (mut again, mut files) = (HashSet::new(), Vec::new());
        for row in rows {
            let hope = hope(&row);
            let index = at.get(row.image_id.as_str()).copied();
            let (Some(index), true) = (index, hope != Hope::None) else {
                self.leave(&row, hope);
                continue;
            };
            let seen = now()?;
            let there = seen.0.contains_key(row.image_id.as_str());
            match (replaced(&mut shard, index, &seen), hope) {
                (Some(file), _) => {
                    tell(&file);
                    self.replaced += 1;
                    files.push(file);
                }
                (None, Hope::Again) => self.again += 1,
                // Nothing tells whether it is another file.
                (None, _) if there && is_unversioned(&shard.entries[index]) => self.again += 1,
                (None, _) if !there => {
                    self.gone += 1;
                    continue;
                }
                (None, _) => {
                    self.leave(&row, hope);
                    continue;
                }
            }
            again.insert(row.image_id.into());
        }
        if !files.is_empty() {
            ReplacedFiles::add(output, &shard.id, files)?;
        }
        Ok(Task::again(shard, entry, again))
    }

    fn leave(&mut self, row: &FailureRow, hope: Hope) {
        let of = if hope == Hope::None { &mut self.lasting } else { &mut self.unchanged };
        *of.entry(row.code.clone()).or_default() += 1;
    }

    /// What was done, once `failures` are left: one line for each thing that a person may want to
    /// know.
    pub fn lines(&self, failures: u64) -> Vec<String> {
        let retried = self.again + self.replaced;
        let mut lines = Vec::new();
        let many = |n: u64| format!("{n} {}", if n == 1 { "image" } else { "images" });
        lines.push(match (retried, self.failures) {
            (_, 0) => "nothing to try again: no image had failed".to_string(),
            (0, all) => format!("nothing was tried again of {} that had failed", many(all)),
            (n, all) => format!(
                "tried {} of {all} again ({} from a replaced file) · {} mended · {failures} still fail",
                many(n),
                self.replaced,
                all.saturating_sub(failures)
            ),
        });
        for (code, n) in &self.unchanged {
            lines.push(format!(
                "not tried again: {} with {code}: the file is as it was; replace it and run this again",
                many(*n)
            ));
        }
        if self.gone > 0 {
            lines.push(format!(
                "not tried again: {}, gone from the input: restore the file and run this again",
                many(self.gone)
            ));
        }
        for (code, n) in &self.lasting {
            lines.push(format!(
                "not tried again: {} with {code}: see the message in failures, it takes another run",
                many(*n)
            ));
        }
        lines
    }
}

/// Puts the entry at `index` as it is now in its place, if that is another one than was planned.
fn replaced(shard: &mut Shard, index: usize, now: &SeenNow) -> Option<ReplacedFile> {
    let planned = &shard.entries[index];
    let (seen, size) = now.0.get(planned.image_id())?;
    if seen == planned || matches!(seen, Entry::Rejected(_)) {
        return None;
    }
    let row = |entry: &Entry, bytes: u64| row_of(shard, entry, bytes);
    let file = ReplacedFile::new(&row(planned, shard.sizes[index]), row(seen, *size));
    shard.entries[index] = seen.clone();
    Some(file)
}

/// Whether the listing does not say which content of the file it saw: an object that a table names.
fn is_unversioned(entry: &Entry) -> bool {
    matches!(entry, Entry::Sample(sample) if sample.version.is_none())
}

fn tell(file: &ReplacedFile) {
    tracing::info!(
        "{}: was replaced ({} → {}): trying it again",
        file.image_id,
        file.old,
        file.new
    );
}
