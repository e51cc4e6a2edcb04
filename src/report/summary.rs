//! One pass over the scores of a category. In: committed rows. Out: counts, scores, what is shown,
//! what other thresholds would give, and which descriptions won. Memory grows by some ten bytes an image
//! of a category that is shown.

use std::collections::BTreeMap;

use super::candidates::Candidates;
use super::picks::{Picks, SeenScore, without_repeats};
use super::trend::Night;
use super::what_if::WhatIf;
use crate::draw::HeatScale;
use crate::error::Error;
use crate::metrics::{Curve, ImageScore, image_roc};
use crate::tables::{FailureRow, RunSet, SetThresholds, ShownScore, fold_set};

/// Scored images by label and by what the run decided: `[normal, anomalous, unlabelled]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub flagged: [u64; 3],
    pub not_flagged: [u64; 3],
    /// A run that is not finished may decide when it ends.
    pub undecided: [u64; 3],
}

/// Index of the normal images in [`Counts`], and so on.
pub const NORMAL: usize = 0;
pub const ANOMALOUS: usize = 1;
pub const UNLABELLED: usize = 2;

/// Which of the three a label is.
pub fn class(label: Option<bool>) -> usize {
    match label {
        Some(false) => NORMAL,
        Some(true) => ANOMALOUS,
        None => UNLABELLED,
    }
}

impl Counts {
    /// Images of one class.
    pub fn of(&self, class: usize) -> u64 {
        self.flagged[class] + self.not_flagged[class] + self.undecided[class]
    }

    /// All scored images.
    pub fn scored(&self) -> u64 {
        [NORMAL, ANOMALOUS, UNLABELLED].map(|class| self.of(class)).iter().sum()
    }

    fn add(&mut self, row: &ShownScore) {
        let counts = match row.is_anomalous {
            Some(true) => &mut self.flagged,
            Some(false) => &mut self.not_flagged,
            None => &mut self.undecided,
        };
        counts[class(row.label)] += 1;
    }

    /// Adds the images of another part.
    pub fn merge(&mut self, other: &Counts) {
        for class in [NORMAL, ANOMALOUS, UNLABELLED] {
            self.flagged[class] += other.flagged[class];
            self.not_flagged[class] += other.not_flagged[class];
            self.undecided[class] += other.undecided[class];
        }
    }
}

/// How often a description was the one most like an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wins {
    pub all: u64,
    pub anomalous: u64,
}

/// The scored images of a category.
#[derive(Debug)]
pub struct CategorySummary {
    pub counts: Counts,
    /// Scores by class, see [`Counts`].
    pub scores: [Vec<f32>; 3],
    /// From the lowest to the highest; a run has one per category, rarely several.
    pub thresholds: Option<(f32, f32)>,
    /// Means of the maps.
    means: Vec<f32>,
    /// The highest value of any map.
    hottest: f32,
    pub picks: Vec<Picks>,
    pub wins: BTreeMap<String, Wins>,
    pub what_if: WhatIf,
    /// By run of the set.
    pub nights: Vec<Night>,
    /// First rows of the table of flagged images.
    pub rows: Vec<SeenScore>,
    candidates: Candidates,
}

/// How much is kept of a category.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Images of a gallery; `None`: of the category only counts are shown.
    pub most: Option<usize>,
    /// Rows of the table of flagged images.
    pub rows: usize,
}

impl Default for CategorySummary {
    fn default() -> Self {
        CategorySummary {
            counts: Counts::default(),
            scores: Default::default(),
            thresholds: None,
            means: Vec::new(),
            hottest: f32::NEG_INFINITY,
            picks: Vec::new(),
            wins: BTreeMap::new(),
            what_if: WhatIf::default(),
            nights: Vec::new(),
            rows: Vec::new(),
            candidates: Candidates::default(),
        }
    }
}

impl CategorySummary {
    /// Reads the scores of `category`. Where it is not shown in detail, its scores are not kept.
    ///
    /// # Errors
    /// If a part cannot be read.
    pub fn read(
        set: &RunSet,
        category: &str,
        thresholds: &SetThresholds,
        extent: Extent,
    ) -> Result<Self, Error> {
        let add = |summary: &mut CategorySummary, run, mut rows: Vec<ShownScore>| {
            let limit = thresholds.limit(run, category);
            for row in &mut rows {
                row.decide(limit);
                summary.add(run, row, extent);
            }
            Ok(())
        };
        let merge = |summary: &mut CategorySummary, other| {
            summary.merge(other);
            Ok(())
        };
        let mut summary: CategorySummary = fold_set(set, category, add, merge)?;
        summary.finish(set.runs().len(), extent);
        Ok(summary)
    }

    fn add(&mut self, run: usize, row: &ShownScore, extent: Extent) {
        let class = class(row.label);
        self.counts.add(row);
        self.scores[class].push(row.score);
        self.what_if.add(class, row);
        Night::of(&mut self.nights, run).add(row);
        self.candidates.add(run, row, extent.rows, extent.most.is_some());
        let Some(most) = extent.most else { return };
        self.widen(row.threshold.map(|threshold| (threshold, threshold)));
        self.means.push(row.map_mean);
        self.hottest = self.hottest.max(row.map_max);
        if self.picks.is_empty() {
            self.picks = Picks::all(most);
        }
        self.picks.iter_mut().for_each(|picks| picks.add(run, row));
        if let Some(description) = &row.top_description {
            let wins = match self.wins.get_mut(description) {
                Some(wins) => wins,
                None => self.wins.entry(description.clone()).or_default(),
            };
            wins.all += 1;
            wins.anomalous += u64::from(class == ANOMALOUS);
        }
    }

    /// What follows from all rows together; `runs` is their number.
    fn finish(&mut self, runs: usize, extent: Extent) {
        self.what_if.finish(&self.scores, &self.counts);
        self.rows = std::mem::take(&mut self.candidates).finish();
        self.nights.resize_with(runs, Night::default);
        if extent.most.is_none() {
            self.scores = Default::default();
            self.nights.iter_mut().for_each(Night::forget_scores);
        }
        without_repeats(&mut self.picks);
    }

    fn widen(&mut self, other: Option<(f32, f32)>) {
        self.thresholds = match (self.thresholds, other) {
            (Some((low, high)), Some((a, b))) => Some((low.min(a), high.max(b))),
            (one, other) => one.or(other),
        };
    }

    fn merge(&mut self, other: CategorySummary) {
        self.counts.merge(&other.counts);
        self.what_if.merge(&other.what_if);
        self.candidates.merge(other.candidates);
        for (run, night) in other.nights.into_iter().enumerate() {
            Night::of(&mut self.nights, run).merge(night);
        }
        for (ours, theirs) in self.scores.iter_mut().zip(other.scores) {
            ours.extend(theirs);
        }
        self.widen(other.thresholds);
        self.means.extend(other.means);
        self.hottest = self.hottest.max(other.hottest);
        if self.picks.is_empty() {
            self.picks = other.picks;
        } else {
            self.picks.iter_mut().zip(other.picks).for_each(|(ours, theirs)| ours.merge(theirs));
        }
        for (description, wins) in other.wins {
            let ours = self.wins.entry(description).or_default();
            ours.all += wins.all;
            ours.anomalous += wins.anomalous;
        }
    }

    /// Which colours the maps have.
    pub fn heat(&self) -> HeatScale {
        HeatScale::of_maps(self.means.clone(), self.hottest)
    }

    /// The ROC curve of the images' scores, where there are both classes.
    pub fn roc(&self) -> Option<Curve> {
        let of = |class: usize| {
            self.scores[class].iter().map(move |score| ImageScore::new(*score, class == ANOMALOUS))
        };
        image_roc(&of(NORMAL).chain(of(ANOMALOUS)).collect::<Vec<_>>())
    }
}

/// Images without a score, by stage and code.
pub type Failures = BTreeMap<(String, String), FailureGroup>;

/// Images that were lost for one reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FailureGroup {
    pub n: u64,
    /// A few of them, by name.
    pub examples: Vec<FailureRow>,
}

/// Examples of a reason.
const EXAMPLES: usize = 5;

/// Reads the failures of a category.
///
/// # Errors
/// If a part cannot be read.
pub fn failures_of(set: &RunSet, category: &str) -> Result<Failures, Error> {
    let add = |failures: &mut Failures, _, rows: Vec<FailureRow>| {
        for row in rows {
            let group = failures.entry((row.stage.clone(), row.code.clone())).or_default();
            group.n += 1;
            group.keep([row]);
        }
        Ok(())
    };
    let merge = |failures: &mut Failures, other| {
        merge_failures(failures, other);
        Ok(())
    };
    fold_set(set, category, add, merge)
}

/// Adds the failures of another category.
pub fn merge_failures(failures: &mut Failures, other: Failures) {
    for (reason, group) in other {
        let ours = failures.entry(reason).or_default();
        ours.n += group.n;
        ours.keep(group.examples);
    }
}

impl FailureGroup {
    fn keep(&mut self, rows: impl IntoIterator<Item = FailureRow>) {
        for row in rows {
            let at = self.examples.partition_point(|other| other.image_id < row.image_id);
            if at < EXAMPLES {
                self.examples.insert(at, row);
                self.examples.truncate(EXAMPLES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f32, label: Option<bool>) -> ShownScore {
        ShownScore {
            image_id: format!("{score}"),
            score,
            label,
            is_anomalous: Some(score > 0.5),
            threshold: Some(0.5),
            map_mean: score / 2.0,
            map_max: score,
            top_description: Some("cracked".into()),
            ..ShownScore::default()
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let rows = [
            row(0.9, Some(true)),
            row(0.2, Some(true)),
            row(0.7, Some(false)),
            row(0.1, Some(false)),
            row(0.3, None),
        ];
        let mut whole = CategorySummary::default();
        for row in &rows {
            let mut part = CategorySummary::default();
            part.add(0, row, Extent { most: Some(1), rows: 3 });
            whole.merge(part);
        }
        assert_eq!(
            whole.counts,
            Counts { flagged: [1, 1, 0], not_flagged: [1, 1, 1], undecided: [0; 3] }
        );
        assert_eq!((whole.counts.scored(), whole.counts.of(NORMAL)), (5, 2));
        assert_eq!(whole.scores, [vec![0.7, 0.1], vec![0.9, 0.2], vec![0.3]]);
        assert_eq!(whole.heat(), HeatScale { coldest: 0.15, hottest: 0.9 });
        assert_eq!(whole.wins["cracked"], Wins { all: 5, anomalous: 2 });
        whole.finish(1, Extent { most: Some(1), rows: 3 });
        let shown = |at: usize| whole.picks[at].rows().first().map(|of| of.row.image_id.as_str());
        assert_eq!([0, 1, 2, 4].map(shown), [Some("0.2"), Some("0.7"), Some("0.9"), Some("0.3")]);
        let listed = whole.rows.iter().map(|of| of.row.image_id.as_str()).collect::<Vec<_>>();
        assert_eq!(listed, ["0.9", "0.7", "0.3"]);
        assert_eq!((whole.nights.len(), whole.nights[0].flagged), (1, 2));
        assert_eq!(whole.roc().unwrap().points().last(), Some(&(1.0, 1.0)));
        assert_eq!(whole.thresholds, Some((0.5, 0.5)));
    }

    #[test]
    fn a_reason_keeps_a_few_examples_and_counts_all() {
        let mut group = FailureGroup::default();
        let named = |n: u32| FailureRow { image_id: format!("{n:02}"), ..FailureRow::default() };
        group.keep((0..20).rev().map(named));
        let names = group.examples.iter().map(|row| row.image_id.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["00", "01", "02", "03", "04"]);
    }
}
