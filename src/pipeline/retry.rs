//! A committed shard that has images to try again. In: what the shard committed. Out: which of
//! its images stay as they are, and their rows, which come back into the shard's new parts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::TableError;
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
    again: Again,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Again {
    /// Failures with these names.
    These(Arc<HashSet<Box<str>>>),
    /// Everything: the file that held the images is another one.
    All,
}

impl Task {
    /// A shard that has not been scored.
    pub fn new(shard: Shard) -> Self {
        Task { shard: Arc::new(shard), retry: None }
    }

    /// The shard, of whose failures those named `again` are tried again, if there are any.
    pub fn again(shard: Shard, entry: &LedgerEntry, again: HashSet<Box<str>>) -> Option<Self> {
        let retry = Retry { entry: Arc::new(entry.clone()), again: Again::These(Arc::new(again)) };
        let some = retry.again != Again::These(Arc::default());
        some.then(|| Task { shard: Arc::new(shard), retry: Some(retry) })
    }

    /// The shard, of which nothing that it committed stays.
    pub fn anew(shard: Shard, entry: &LedgerEntry) -> Self {
        let retry = Retry { entry: Arc::new(entry.clone()), again: Again::All };
        Task { shard: Arc::new(shard), retry: Some(retry) }
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

    /// Images that have yet to be scored; `None` for an archive that has not been read.
    pub fn pictures(&self) -> Option<u64> {
        match &self.retry {
            Some(Retry { again: Again::These(these), .. }) => Some(these.len() as u64),
            Some(Retry { again: Again::All, .. }) | None => self.shard.pictures(),
        }
    }
}

/// The rows of a shard's earlier commit, by image, without pixel counts.
#[derive(Debug, Default)]
pub struct Earlier {
    scores: HashMap<Box<str>, (String, ScoreRow)>,
    masks: HashMap<Box<str>, MaskRow>,
    boxes: HashMap<Box<str>, Vec<BoxRow>>,
    failures: HashMap<Box<str>, (String, FailureRow)>,
}

/// What stays of one image.
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
        let Again::These(again) = &self.again else { return Ok(earlier) };
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
            if !again.contains(row.image_id.as_str()) {
                let id = row.image_id.as_str().into();
                earlier.failures.insert(id, (category.to_owned(), row));
            }
        }
        Ok(earlier)
    }

    /// The pixel counts of all images that were scored and stay, by category.
    ///
    /// # Errors
    /// If one of the parts is not what was committed.
    pub fn partials(&self, store: &Store) -> Result<Vec<(String, PartialRow)>, TableError> {
        if self.again == Again::All {
            return Ok(Vec::new());
        }
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
    /// The images that are not tried again.
    pub fn kept(&self) -> HashSet<Box<str>> {
        self.scores.keys().chain(self.failures.keys()).cloned().collect()
    }

    /// Takes the rows of an image out.
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
