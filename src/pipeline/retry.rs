//! A committed shard that has pictures to try again. In: what the shard committed. Out: which of
//! its pictures stay as they are, and their rows, which come back into the shard's new parts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{FailureCode, Stage, TableError};
use crate::source::Shard;
use crate::store::Store;
use crate::tables::{BoxRow, FailureRow, LedgerEntry, MaskRow, PartialRow, RunWriter, ScoreRow};

/// One shard of work.
#[derive(Debug, Clone)]
pub struct Task {
    pub shard: Arc<Shard>,
    /// What it committed, if it did and some of its failures are tried again.
    pub retry: Option<Retry>,
}

/// A shard's earlier commit.
#[derive(Debug, Clone)]
pub struct Retry {
    entry: Arc<LedgerEntry>,
    /// Failures that are tried again.
    again: u64,
}

impl Task {
    /// A shard that has not been scored.
    pub fn new(shard: Shard) -> Self {
        Task { shard: Arc::new(shard), retry: None }
    }

    /// The shard, if it committed failures that may be gone.
    ///
    /// # Errors
    /// If its failures cannot be read.
    pub fn again(
        shard: Shard,
        entry: &LedgerEntry,
        store: &Store,
    ) -> Result<Option<Self>, TableError> {
        let mut again = 0;
        for row in entry.rows::<FailureRow>(store) {
            again += u64::from(may_be_gone(&row?.1));
        }
        let retry = (again > 0).then(|| Retry { entry: Arc::new(entry.clone()), again });
        Ok(retry.map(|retry| Task { shard: Arc::new(shard), retry: Some(retry) }))
    }

    /// What is left of it to do when `committed` is what the shard has committed by now, if anything:
    /// another worker may have been at it since this one looked.
    pub fn left(self, committed: Option<&LedgerEntry>) -> Option<Self> {
        match (&self.retry, committed) {
            (None, None) => Some(self),
            // It was taken back, and whoever did has ended: all of it is to be scored.
            (Some(_), None) => Some(Task { retry: None, ..self }),
            (Some(retry), Some(now)) if *retry.entry == *now => Some(self),
            (_, Some(_)) => None,
        }
    }

    /// Pictures that have yet to be scored; `None` for an archive that has not been read.
    pub fn pictures(&self) -> Option<u64> {
        match &self.retry {
            Some(retry) => Some(retry.again),
            None => self.shard.pictures(),
        }
    }
}

/// Whether a picture that failed so may do better without a change of the input.
fn may_be_gone(row: &FailureRow) -> bool {
    // What is plain from the listing is in the plan.
    row.stage != Stage::List.as_str()
        && FailureCode::named(&row.code).is_some_and(FailureCode::may_be_gone)
}

/// The rows of a shard's earlier commit, by picture, without pixel counts.
#[derive(Debug, Default)]
pub struct Earlier {
    scores: HashMap<Box<str>, (String, ScoreRow)>,
    masks: HashMap<Box<str>, MaskRow>,
    boxes: HashMap<Box<str>, Vec<BoxRow>>,
    failures: HashMap<Box<str>, (String, FailureRow)>,
}

/// What stays of one picture.
#[derive(Debug)]
pub enum Kept {
    Scored { category: String, score: Box<ScoreRow>, mask: Option<MaskRow>, boxes: Vec<BoxRow> },
    Failed { category: String, failure: FailureRow },
}

impl Retry {
    /// The rows that stay.
    ///
    /// # Errors
    /// If one of the parts is not what was committed.
    pub fn earlier(&self, store: &Store) -> Result<Earlier, TableError> {
        let mut earlier = Earlier::default();
        for row in self.entry.rows::<ScoreRow>(store) {
            let (category, row) = row?;
            earlier.scores.insert(row.image_id.as_str().into(), (category.to_owned(), row));
        }
        for row in self.entry.rows::<MaskRow>(store) {
            let (_, row) = row?;
            earlier.masks.insert(row.image_id.as_str().into(), row);
        }
        for row in self.entry.rows::<BoxRow>(store) {
            let (_, row) = row?;
            earlier.boxes.entry(row.image_id.as_str().into()).or_default().push(row);
        }
        for row in self.entry.rows::<FailureRow>(store) {
            let (category, row) = row?;
            if !may_be_gone(&row) {
                let id = row.image_id.as_str().into();
                earlier.failures.insert(id, (category.to_owned(), row));
            }
        }
        Ok(earlier)
    }

    /// The pixel counts of all pictures that were scored, by category.
    ///
    /// # Errors
    /// If one of the parts is not what was committed.
    pub fn partials(&self, store: &Store) -> Result<Vec<(String, PartialRow)>, TableError> {
        let rows = self.entry.rows::<PartialRow>(store);
        rows.map(|row| row.map(|(category, row)| (category.to_owned(), row))).collect()
    }

    /// Takes the shard's earlier commit back, so that it can be committed again.
    ///
    /// # Errors
    /// If the output cannot be changed.
    pub fn withdraw(&self, writer: &RunWriter) -> Result<(), TableError> {
        writer.withdraw(&self.entry)
    }
}

impl Earlier {
    /// The pictures that are not tried again.
    pub fn kept(&self) -> HashSet<Box<str>> {
        self.scores.keys().chain(self.failures.keys()).cloned().collect()
    }

    /// Takes the rows of a picture out.
    pub fn take(&mut self, image_id: &str) -> Option<Kept> {
        if let Some((category, failure)) = self.failures.remove(image_id) {
            return Some(Kept::Failed { category, failure });
        }
        let (category, score) = self.scores.remove(image_id)?;
        let mask = self.masks.remove(image_id);
        let boxes = self.boxes.remove(image_id).unwrap_or_default();
        Some(Kept::Scored { category, score: Box::new(score), mask, boxes })
    }
}
