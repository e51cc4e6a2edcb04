//! The scored images of a set, one after the other: each row of `scores` that counts, with its mask and
//! its boxes. Runs the oldest first, shards and images in the order of the listing. A part is read in
//! batches, so memory does not grow with the length of a run.

use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;

use super::ledger::{LedgerEntry, PartEntry};
use super::part_reader::{PartRows, bad_part};
use super::{BoxRow, MaskRow, Row, RunReader, RunSet, ScoreRow, Table};
use crate::error::TableError;
use crate::store::both;

/// The scored images of one category of a shard.
pub struct ShardImages<'a> {
    /// Index of the run in [`RunSet::runs`].
    pub run: usize,
    /// Index of the shard in the listing of the run; of a run whose listing is not known, of the ledger.
    pub shard: usize,
    pub shard_id: &'a str,
    pub category: &'a str,
    reader: &'a RunReader,
    scores: &'a PartEntry,
    masks: Option<&'a PartEntry>,
    boxes: Option<&'a PartEntry>,
    left_out: &'a [u32],
}

/// What a run found in an image.
#[derive(Debug, Clone, Default)]
pub struct ImageRows {
    pub score: ScoreRow,
    pub mask: Option<MaskRow>,
    pub boxes: Vec<BoxRow>,
}

impl RunSet {
    /// The scored images that count, by shard and category.
    pub fn images(&self) -> impl Iterator<Item = ShardImages<'_>> {
        let runs = self.runs().iter().enumerate();
        runs.flat_map(move |(run, reader)| {
            in_order(reader).into_iter().flat_map(move |(shard, entry)| {
                let parts = |table| {
                    let parts = entry.parts.iter().filter(move |part| part.table == table);
                    parts.map(|part| (part.category.as_str(), part))
                };
                let masks = parts(Table::Masks).collect::<BTreeMap<_, _>>();
                let boxes = parts(Table::Boxes).collect::<BTreeMap<_, _>>();
                let scores = parts(Table::Scores).collect::<Vec<_>>();
                scores.into_iter().map(move |(category, scores)| ShardImages {
                    run,
                    shard,
                    shard_id: &entry.shard_id,
                    category,
                    reader,
                    scores,
                    masks: masks.get(category).copied(),
                    boxes: boxes.get(category).copied(),
                    left_out: self.left_out(run, &scores.path),
                })
            })
        })
    }
}

/// The committed shards of a run in the order of its listing.
fn in_order(run: &RunReader) -> Vec<(usize, &LedgerEntry)> {
    let listed = run.manifest().shards.iter().enumerate();
    let listed = listed.map(|(index, id)| (id.as_str(), index)).collect::<HashMap<_, _>>();
    let entries = run.ledger().values().enumerate();
    let mut entries = entries
        .map(|(at, entry)| (listed.get(entry.shard_id.as_str()).copied().unwrap_or(at), entry))
        .collect::<Vec<_>>();
    entries.sort_by_key(|(index, _)| *index);
    entries
}

impl<'a> ShardImages<'a> {
    /// The rows of `scores` that count, and which of the part each is.
    ///
    /// # Errors
    /// If the part cannot be read.
    pub fn scores<R: Row>(
        &self,
    ) -> Result<impl Iterator<Item = Result<(u32, R), TableError>> + use<'a, R>, TableError> {
        let rows = PartRows::<R>::open(self.reader.store(), self.scores)?;
        let left_out = self.left_out;
        let rows = (0..).zip(rows).filter(move |(at, _)| left_out.binary_search(at).is_err());
        Ok(rows.map(|(at, row)| Ok((at, row?))))
    }

    /// The images that count, and which of the part each is.
    ///
    /// # Errors
    /// If a part cannot be read.
    pub fn rows(&self) -> Result<Images<'a>, TableError> {
        let store = self.reader.store();
        let (scores, found) = both(
            || PartRows::open(store, self.scores),
            || {
                let masks = self.masks.map(|part| PartRows::open(store, part)).transpose()?;
                let boxes = self.boxes.map(|part| PartRows::open(store, part)).transpose()?;
                Ok::<_, TableError>((masks, boxes))
            },
        );
        let (masks, boxes) = found?;
        Ok(Images {
            at: 0,
            left_out: self.left_out,
            scores: scores?,
            masks: Beside::of(masks),
            boxes: Beside::of(boxes),
            path: store.display(&self.scores.path),
        })
    }
}

/// The images of a part, see [`ShardImages::rows`]. Ends after the first error.
pub struct Images<'a> {
    at: u32,
    left_out: &'a [u32],
    scores: PartRows<ScoreRow>,
    masks: Beside<MaskRow>,
    boxes: Beside<BoxRow>,
    /// For messages.
    path: String,
}

impl Iterator for Images<'_> {
    type Item = Result<(u32, ImageRows), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let score = match self.scores.next() {
                Some(Ok(score)) => score,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.check_end().map(Err),
            };
            let at = self.at;
            self.at += 1;
            // Rows of images that do not count are gone past as well.
            let found = self.of(score);
            if self.left_out.binary_search(&at).is_err() {
                return Some(found.map(|found| (at, found)));
            }
        }
    }
}

impl Images<'_> {
    fn of(&mut self, score: ScoreRow) -> Result<ImageRows, TableError> {
        let mask = self.masks.take(|row| row.image_id == score.image_id)?.pop();
        let boxes = self.boxes.take(|row| row.image_id == score.image_id)?;
        Ok(ImageRows { score, mask, boxes })
    }

    /// All tables of a shard have its images in one order; otherwise masks would be lost here.
    fn check_end(&mut self) -> Option<TableError> {
        let left = [self.masks.is_left(), self.boxes.is_left()];
        left.contains(&true).then(|| {
            self.masks = Beside::of(None);
            self.boxes = Beside::of(None);
            bad_part(&self.path, &"its images are not those of the masks and boxes beside it")
        })
    }
}

/// Rows of a table beside `scores`, in the same order.
struct Beside<R: Row>(Option<Peekable<PartRows<R>>>);

impl<R: Row> Beside<R> {
    fn of(rows: Option<PartRows<R>>) -> Self {
        Beside(rows.map(Iterator::peekable))
    }

    /// The next rows as long as they are `wanted`.
    fn take(&mut self, wanted: impl Fn(&R) -> bool) -> Result<Vec<R>, TableError> {
        let mut found = Vec::new();
        let Some(rows) = &mut self.0 else { return Ok(found) };
        while let Some(row) = rows.next_if(|row| row.as_ref().map_or(true, &wanted)) {
            found.push(row?);
        }
        Ok(found)
    }

    fn is_left(&mut self) -> bool {
        self.0.as_mut().is_some_and(|rows| rows.peek().is_some())
    }
}
