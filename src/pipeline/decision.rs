//! What decides whether an image is flagged, and where its mask begins. In: a job spec, references,
//! the metrics of an earlier run where the spec names one, and at the end the scores of the run. Out:
//! limits per category, and the rows of the table `thresholds`. One place for all rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::references::References;
use crate::error::{Error, TableError};
use crate::job::{Decision, JobSpec, MaskThreshold, ThresholdRule};
use crate::reference::{MIN_REFERENCES, NullScores, QUARTILE, Reference, quantile};
use crate::store::{Location, Store};
use crate::tables::{
    ALL_CATEGORIES, CategoryThreshold, DecidedScore, MEAN_OF_CATEGORIES, MetricsRow, RunReader,
    Table, ThresholdRow,
};

/// A mask without references or an earlier run begins at one half: a convention of the published
/// network's maps, not a calibrated value.
const MASK_BY_CONVENTION: f32 = 0.5;

/// The least deviation of scores that are measured in it.
const LEAST_DEVIATION: f64 = 1e-6;

/// What is above is flagged, or belongs to the mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of the score of an image; `None`: known only when all of the category is scored.
    pub score: Option<f32>,
    /// Of the map.
    pub mask: f32,
}

/// How the images of a run are decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Decider {
    rule: Rule,
    /// Where masks begin, if the spec says.
    mask: Option<f32>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    FalseAlarmRate(f64),
    Threshold(f32),
    FlagTop(f64),
    EarlierRun(EarlierRun),
}

/// The thresholds of an earlier run over labelled images.
#[derive(Debug, Clone, PartialEq)]
struct EarlierRun {
    categories: BTreeMap<String, (f32, Option<f32>)>,
    /// Of categories that it does not have.
    others: (f32, Option<f32>),
}

impl Decider {
    /// The rule that `spec` asks for.
    ///
    /// # Errors
    /// If the earlier run cannot be read, has no metrics, no labelled images, or scores of another
    /// kind.
    pub fn open(spec: &JobSpec) -> Result<Self, Error> {
        let mask = match spec.mask_threshold {
            MaskThreshold::At(threshold) => Some(threshold.get() as f32),
            MaskThreshold::Auto => None,
        };
        let rule = match &spec.decision {
            Decision::FalseAlarmRate(rate) => Rule::FalseAlarmRate(rate.get()),
            Decision::Threshold(threshold) => Rule::Threshold(threshold.get() as f32),
            Decision::FlagTop(share) => Rule::FlagTop(share.get()),
            Decision::EarlierRun(place, rule) => Rule::EarlierRun(EarlierRun::open(place, *rule)?),
        };
        Ok(Decider { rule, mask })
    }

    /// The limits of a category with these references.
    pub fn limits(&self, category: &str, reference: Option<&Reference>) -> Limits {
        let (score, mask) = match (&self.rule, reference) {
            (Rule::EarlierRun(run), _) => {
                let (score, mask) = run.of(category);
                (Some(score), mask)
            }
            (Rule::Threshold(threshold), _) => (Some(*threshold), None),
            (Rule::FalseAlarmRate(rate), Some(reference)) => {
                (Some(reference.score_threshold(*rate)), None)
            }
            (Rule::FalseAlarmRate(_), None) | (Rule::FlagTop(_), _) => (None, None),
        };
        let of_references = || reference.map(Reference::mask_threshold);
        let mask = self.mask.or(mask).or_else(of_references).unwrap_or(MASK_BY_CONVENTION);
        Limits { score, mask }
    }

    /// Warns of categories that get the thresholds of the earlier run as a whole.
    pub fn warn_of_unknown<'a>(&self, mut categories: impl Iterator<Item = &'a str>) {
        let Rule::EarlierRun(run) = &self.rule else { return };
        let unknown = |category: &&str| !run.categories.contains_key(*category);
        if let Some(category) = categories.find(unknown) {
            let more = categories.filter(unknown).count();
            tracing::warn!(
                "category {category:?} and {more} more: the earlier run has no thresholds for \
                 them, those of all its images are used"
            );
        }
    }

    /// What makes a run with another rule another run; null for thresholds that follow from the rest.
    pub fn identity(&self) -> Value {
        match &self.rule {
            Rule::FalseAlarmRate(rate) => json!({ "false_alarm_rate": rate }),
            Rule::Threshold(threshold) => json!({ "threshold": threshold }),
            Rule::FlagTop(share) => json!({ "flag_top": share }),
            Rule::EarlierRun(run) => {
                let pair = |(score, mask): (f32, Option<f32>)| json!([score, mask]);
                let categories = run.categories.iter().map(|(name, of)| (name.clone(), pair(*of)));
                json!({
                    "others": pair(run.others),
                    "categories": Value::Object(categories.collect()),
                })
            }
        }
    }

    /// The rows of the table `thresholds`, of all categories with scores.
    ///
    /// # Errors
    /// If rows or references cannot be read.
    pub fn table(
        &self,
        run: &RunReader,
        references: &References,
    ) -> Result<Vec<CategoryThreshold>, TableError> {
        let scored = run.scored_rows();
        let row = |(category, n_images): (&str, u64)| {
            let reference = references.of(category)?;
            let row = self.row(run, category, n_images, reference.as_deref())?;
            let left_out = reference.map_or_else(Vec::new, |of| of.left_out().to_vec());
            Ok(CategoryThreshold { category: category.to_string(), row, left_out })
        };
        scored.into_iter().map(row).collect()
    }

    fn row(
        &self,
        run: &RunReader,
        category: &str,
        n_images: u64,
        reference: Option<&Reference>,
    ) -> Result<ThresholdRow, TableError> {
        let known = self.limits(category, reference).score;
        let counted =
            run.parts(Table::Scores, category).map(|part| part.flagged).sum::<Option<u64>>();
        let counted = counted.filter(|_| known.is_some());
        // Rows are read only where the parts do not say it all.
        let rows = match counted {
            Some(_) => Vec::new(),
            None => run.rows::<DecidedScore>(category)?,
        };
        let scores = || rows.iter().map(|row| row.score).collect::<Vec<_>>();
        let (rule, threshold, false_alarm_rate) = match &self.rule {
            Rule::Threshold(_) => ("fixed", known, None),
            Rule::EarlierRun(_) => ("earlier_run", known, None),
            Rule::FlagTop(share) => ("top_share", top_threshold(scores(), *share), None),
            Rule::FalseAlarmRate(rate) if known.is_some() => ("references", known, Some(*rate)),
            Rule::FalseAlarmRate(rate) if rows.len() < MIN_REFERENCES => {
                ("none", None, Some(*rate))
            }
            Rule::FalseAlarmRate(rate) => {
                ("run", Some(own_threshold(&scores(), *rate)), Some(*rate))
            }
        };
        let above = || rows.iter().filter(|row| row.flagged(threshold)).count() as u64;
        Ok(ThresholdRow {
            rule: rule.to_string(),
            threshold,
            false_alarm_rate,
            n_references: reference.map_or(0, |reference| reference.count() as i64),
            n_images: n_images as i64,
            n_flagged: counted.unwrap_or_else(above) as i64,
        })
    }
}

impl EarlierRun {
    fn open(place: &Location, rule: ThresholdRule) -> Result<Self, Error> {
        let run = RunReader::open(Store::open(place)?)?;
        let missing = |why| TableError::NoThresholds { uri: place.uri().to_string(), why };
        let metrics = run.metrics()?;
        if metrics.is_empty() {
            return Err(missing("has no metrics: run `filo metrics` on it first").into());
        }
        let whole = metrics.iter().filter_map(|of| Some((&of.category, of.rows.first()?)));
        let mut categories = BTreeMap::new();
        for (category, row) in whole.filter(|(category, _)| *category != MEAN_OF_CATEGORIES) {
            // Labels without masks tell nothing of pixels.
            let (score, mask) = named(row, rule);
            categories.extend(score.map(|score| (category.clone(), (score, mask))));
        }
        let others = categories.remove(ALL_CATEGORIES).ok_or_else(|| {
            missing("has no labelled images of both kinds: name a run over a labelled set")
        })?;
        Ok(EarlierRun { categories, others })
    }

    fn of(&self, category: &str) -> (f32, Option<f32>) {
        self.categories.get(category).copied().unwrap_or(self.others)
    }
}

/// Thresholds of images and of pixels by one rule.
fn named(row: &MetricsRow, rule: ThresholdRule) -> (Option<f32>, Option<f32>) {
    match rule {
        ThresholdRule::F1max => (row.image_threshold_f1max, row.pixel_threshold_f1max),
        ThresholdRule::Fpr0_1 => (row.image_threshold_fpr_0_1pct, row.pixel_threshold_fpr_0_1pct),
        ThresholdRule::Fpr1 => (row.image_threshold_fpr_1pct, row.pixel_threshold_fpr_1pct),
        ThresholdRule::Fpr5 => (row.image_threshold_fpr_5pct, row.pixel_threshold_fpr_5pct),
    }
}

/// The score that few images like the bulk of a run exceed. Scores without references have no scale of
/// their own, so they are measured in deviations of their lower half.
fn own_threshold(scores: &[f32], rate: f64) -> f32 {
    let mut sorted = scores.iter().map(|score| f64::from(*score)).collect::<Vec<_>>();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = quantile(&sorted, 0.5);
    let deviation = ((middle - quantile(&sorted, 0.25)) / QUARTILE).max(LEAST_DEVIATION);
    let standard = sorted.iter().map(|score| (score - middle) / deviation).collect::<Vec<_>>();
    (middle + deviation * NullScores::contaminated(&standard).threshold(rate)) as f32
}

/// The score above which `share` of the scores lie, rounded to the nearest number of images, one at
/// least; `None` if nothing can lie above it.
pub(crate) fn top_threshold(mut scores: Vec<f32>, share: f64) -> Option<f32> {
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let wanted = ((share * scores.len() as f64).round() as usize).max(1);
    match scores.get(wanted) {
        Some(next) => Some(*next),
        None => scores.last().map(|lowest| lowest.next_down()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_share_is_the_nearest_number_of_images_and_one_at_least() {
        let scores = [0.1, 0.9, 0.5, 0.7, 0.3];
        let above = |share| {
            let threshold = top_threshold(scores.to_vec(), share).unwrap();
            scores.iter().filter(|score| **score > threshold).count()
        };
        assert_eq!(above(0.01), 1);
        assert_eq!(above(0.4), 2);
        assert_eq!(above(0.99), 5);
        assert_eq!(top_threshold(Vec::new(), 0.1), None);
    }
}
