//! From which score on a picture, and from which value on a pixel, counts as anomalous. In: a job
//! spec, and the metrics of an earlier run where it names one. Out: thresholds per category.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, TableError};
use crate::job::{JobSpec, MaskThreshold, ThresholdRule};
use crate::store::Store;
use crate::tables::{ALL_CATEGORIES, MEAN_OF_CATEGORIES, MetricsRow, RunReader};

/// Without an earlier run: one half. Nothing is known of the product, so this is a convention, not
/// a calibrated value.
const UNCALIBRATED: f32 = 0.5;

/// What is above is anomalous.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CategoryThresholds {
    /// Of the score of a picture.
    pub score: f32,
    /// Of the map.
    pub mask: f32,
}

/// The thresholds of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunThresholds {
    of_categories: BTreeMap<String, CategoryThresholds>,
    /// Of categories that the earlier run does not have.
    of_others: CategoryThresholds,
    /// Whether they are from an earlier run.
    calibrated: bool,
}

impl RunThresholds {
    /// The thresholds that `spec` asks for.
    ///
    /// # Errors
    /// If the earlier run cannot be read, has no metrics, or no labelled pictures.
    pub fn open(spec: &JobSpec) -> Result<Self, Error> {
        let at = match spec.mask_threshold {
            MaskThreshold::At(threshold) => Some(threshold.get() as f32),
            MaskThreshold::Auto => None,
        };
        let uncalibrated =
            CategoryThresholds { score: UNCALIBRATED, mask: at.unwrap_or(UNCALIBRATED) };
        let Some(place) = &spec.thresholds_from else {
            return Ok(RunThresholds {
                of_categories: BTreeMap::new(),
                of_others: uncalibrated,
                calibrated: false,
            });
        };
        let run = RunReader::open(Store::open(place)?)?;
        let missing = |why| TableError::NoThresholds { uri: place.uri().to_string(), why };
        let metrics = run.metrics()?;
        if metrics.is_empty() {
            return Err(missing("has no metrics: run `filo metrics` on it first").into());
        }
        let whole = metrics.iter().filter_map(|of| Some((&of.category, of.rows.first()?)));
        let mut of_categories = BTreeMap::new();
        for (category, row) in whole.filter(|(category, _)| *category != MEAN_OF_CATEGORIES) {
            let (score, mask) = named(row, spec.threshold_rule);
            // Labels without masks tell nothing of pixels.
            let mask = at.or(mask).unwrap_or(UNCALIBRATED);
            of_categories
                .extend(score.map(|score| (category.clone(), CategoryThresholds { score, mask })));
        }
        let of_others = of_categories.remove(ALL_CATEGORIES).ok_or_else(|| {
            missing("has no labelled pictures of both kinds: name a run over a labelled set")
        })?;
        Ok(RunThresholds { of_categories, of_others, calibrated: true })
    }

    /// The thresholds of one category.
    pub fn of(&self, category: &str) -> CategoryThresholds {
        self.of_categories.get(category).copied().unwrap_or(self.of_others)
    }

    /// Tells which categories get the thresholds of the earlier run as a whole.
    pub fn warn_of_unknown<'a>(&self, categories: impl Iterator<Item = &'a str>) {
        if !self.calibrated {
            return;
        }
        for category in categories.filter(|category| !self.of_categories.contains_key(*category)) {
            tracing::warn!(
                "category {category:?}: the earlier run has no thresholds for it, those of all its \
                 pictures are used"
            );
        }
    }

    /// What makes a run with thresholds from elsewhere another run; null without an earlier run.
    pub fn identity(&self) -> Value {
        if !self.calibrated {
            return Value::Null;
        }
        let pair = |of: &CategoryThresholds| json!([of.score, of.mask]);
        let categories = self.of_categories.iter().map(|(name, of)| (name.clone(), pair(of)));
        json!({ "others": pair(&self.of_others), "categories": Value::Object(categories.collect()) })
    }
}

/// Thresholds of pictures and of pixels by one rule.
fn named(row: &MetricsRow, rule: ThresholdRule) -> (Option<f32>, Option<f32>) {
    match rule {
        ThresholdRule::F1max => (row.image_threshold_f1max, row.pixel_threshold_f1max),
        ThresholdRule::Fpr0_1 => (row.image_threshold_fpr_0_1pct, row.pixel_threshold_fpr_0_1pct),
        ThresholdRule::Fpr1 => (row.image_threshold_fpr_1pct, row.pixel_threshold_fpr_1pct),
        ThresholdRule::Fpr5 => (row.image_threshold_fpr_5pct, row.pixel_threshold_fpr_5pct),
    }
}
