//! Which images are exported. In: a set of runs, and a choice. Out: the images one after the other, each
//! decided on, with what was found in it. The same choice gives the same images in the same order.

use super::survey::Survey;
use crate::error::TableError;
use crate::tables::{BoxRow, ImageRows, MaskRow, RunSet, ScoreRow, SetThresholds, ShardImages};

/// Which images are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Only those that are flagged.
    pub flagged: bool,
    /// Of each category only so many, those with the highest scores.
    pub top: Option<usize>,
}

impl Choice {
    /// Whether an image counts that is flagged, or is not, or is not decided on.
    pub fn is_wanted(&self, flagged: Option<bool>) -> bool {
        !self.flagged || flagged == Some(true)
    }
}

/// An image that is exported.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Index of the run that its rows are of.
    pub run: usize,
    pub shard_id: String,
    pub category: String,
    /// Decided, if it is known by now; without what only the program reads.
    pub score: ScoreRow,
    pub mask: Option<MaskRow>,
    pub boxes: Vec<BoxRow>,
}

impl Image {
    /// Whether it is flagged.
    pub fn is_flagged(&self) -> bool {
        self.score.is_anomalous == Some(true)
    }
}

/// What says which images are exported.
pub struct Selection<'a> {
    pub set: &'a RunSet,
    /// Sorted.
    pub categories: Vec<&'a str>,
    pub thresholds: SetThresholds,
    pub choice: Choice,
    pub survey: Survey,
}

impl<'a> Selection<'a> {
    /// The parts with images that may be wanted, in their order.
    pub fn parts(&self) -> impl Iterator<Item = ShardImages<'a>> + use<'a, '_> {
        let set: &'a RunSet = self.set;
        set.images().filter(|part| self.categories.binary_search(&part.category).is_ok())
    }

    /// The wanted images of a part.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn images<'b>(
        &'b self,
        part: &'b ShardImages<'a>,
    ) -> Result<impl Iterator<Item = Result<Image, TableError>> + use<'a, 'b>, TableError> {
        let limit = self.thresholds.limit(part.run, part.category);
        let wanted = move |found: Result<(u32, ImageRows), TableError>| {
            let (at, ImageRows { mut score, mask, boxes }) = match found {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            limit.decide(&mut score.is_anomalous, &mut score.threshold, score.score);
            let is_top = || self.survey.is_top(part, &self.categories, at);
            if !self.choice.is_wanted(score.is_anomalous)
                || (self.choice.top.is_some() && !is_top())
            {
                return None;
            }
            (score.pixel_summary, score.true_mask) = (None, None);
            let (shard_id, category) = (part.shard_id.to_string(), part.category.to_string());
            Some(Ok(Image { run: part.run, shard_id, category, score, mask, boxes }))
        };
        Ok(part.rows()?.filter_map(wanted))
    }
}
