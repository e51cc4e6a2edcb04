//! The thresholds of the runs of a set. In: their tables `thresholds`. Out: how the rows of a run and
//! category are decided on that do not say so themselves. A run decides when it ends: before, such rows
//! are not decided on.

use std::collections::BTreeMap;

use super::{RunSet, ThresholdRow};
use crate::error::TableError;

/// How rows are decided on that do not say so themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Flagged are those above this score.
    Above(f32),
    /// Nothing is flagged.
    Nothing,
    /// That shows when the run is finished.
    NotYet,
}

impl Limit {
    /// Whether an image is flagged; `said` is what its row says itself. `None` if it is not decided.
    pub fn flags(self, said: Option<bool>, score: f32) -> Option<bool> {
        said.or(match self {
            Limit::Above(threshold) => Some(score > threshold),
            Limit::Nothing => Some(false),
            Limit::NotYet => None,
        })
    }

    /// Fills in what was not known when a row was written, if it is known by now.
    pub fn decide(self, flagged: &mut Option<bool>, threshold: &mut Option<f32>, score: f32) {
        *threshold = threshold.or(self.threshold());
        let limit = threshold.map_or(self, Limit::Above);
        *flagged = limit.flags(*flagged, score);
    }

    /// The score above which images are flagged.
    pub fn threshold(self) -> Option<f32> {
        match self {
            Limit::Above(threshold) => Some(threshold),
            Limit::Nothing | Limit::NotYet => None,
        }
    }
}

/// The thresholds of all runs of a set.
#[derive(Debug)]
pub struct SetThresholds {
    /// By run: whether it is finished, and its table.
    runs: Vec<(bool, BTreeMap<String, ThresholdRow>)>,
}

impl SetThresholds {
    /// Those of the runs of `set`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(set: &RunSet) -> Result<Self, TableError> {
        let of = |run: &super::RunReader| Ok((run.manifest().totals.is_some(), run.thresholds()?));
        Ok(SetThresholds { runs: set.runs().iter().map(of).collect::<Result<_, TableError>>()? })
    }

    /// How rows of a run, an index into [`RunSet::runs`], are decided on.
    pub fn limit(&self, run: usize, category: &str) -> Limit {
        let Some((finished, rows)) = self.runs.get(run) else { return Limit::NotYet };
        match (rows.get(category), finished) {
            (Some(row), _) => row.threshold.map_or(Limit::Nothing, Limit::Above),
            (None, true) => Limit::Nothing,
            (None, false) => Limit::NotYet,
        }
    }

    /// By category the row of the newest run that has one.
    pub fn newest(&self) -> BTreeMap<String, ThresholdRow> {
        let rows = self.runs.iter().flat_map(|(_, rows)| rows);
        rows.map(|(category, row)| (category.clone(), row.clone())).collect()
    }
}
