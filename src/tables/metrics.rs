//! Table `metrics`: one row per category, more where its defects have kinds, one pooled, one mean.
//!
//! Written after the run by whoever merges the partials; a figure that is not defined (one
//! class only, no region) is null. No figure is computed here.
//!
//! Beside a metric, `_min` and `_max` are certain: the metric of the very scores lies between them.
//! `_ci_low` and `_ci_high` are a 95 % interval: where the metric of another set of such images
//! would be expected.

use super::row::row;
use super::{Row, Table};

/// Category of the row over all images pooled.
pub const ALL_CATEGORIES: &str = "__all__";

/// Category of the row with the plain mean over the categories.
pub const MEAN_OF_CATEGORIES: &str = "__mean__";

/// Whether a row of this category is of no single one: of all images pooled, or the mean.
pub fn is_of_all(category: &str) -> bool {
    category == ALL_CATEGORIES || category == MEAN_OF_CATEGORIES
}

row! {
    /// The figures of one category, or of one kind of defect against its good images.
    pub struct MetricsRow {
        /// Null for the whole category; else the images are those of this kind and the normal ones.
        pub kind: Option<String>,
        /// Scored images with a label.
        pub n_images: i64,
        /// Those among them that are anomalous.
        pub n_anomalous: i64,
        /// Those of `n_images` that are flagged. Null while a run is unfinished that decides at its
        /// end, for a mean, and in rows of versions that did not count.
        pub n_flagged: Option<i64>,
        /// Share of the flagged images that are anomalous. Null where none is flagged, or `n_flagged`
        /// is null.
        pub precision: Option<f64>,
        /// Share of the anomalous images that are flagged. Null without anomalous images, or where
        /// `n_flagged` is null.
        pub recall: Option<f64>,
        /// Area under the ROC curve of the image scores.
        pub image_auroc: Option<f64>,
        /// Lower end of the 95 % interval of `image_auroc`.
        pub image_auroc_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `image_auroc`.
        pub image_auroc_ci_high: Option<f64>,
        /// Average precision of the image scores (step-wise).
        pub image_ap: Option<f64>,
        /// Lower end of the 95 % interval of `image_ap`.
        pub image_ap_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `image_ap`.
        pub image_ap_ci_high: Option<f64>,
        /// Best F1 of the image scores over all thresholds.
        pub image_f1max: Option<f64>,
        /// Lower end of the 95 % interval of `image_f1max`.
        pub image_f1max_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `image_f1max`.
        pub image_f1max_ci_high: Option<f64>,
        /// Area under the ROC curve of the pixel scores.
        pub pixel_auroc: Option<f64>,
        /// Certain lower bound of `pixel_auroc`.
        pub pixel_auroc_min: Option<f64>,
        /// Certain upper bound of `pixel_auroc`.
        pub pixel_auroc_max: Option<f64>,
        /// Lower end of the 95 % interval of `pixel_auroc`.
        pub pixel_auroc_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `pixel_auroc`.
        pub pixel_auroc_ci_high: Option<f64>,
        /// Average precision of the pixel scores (step-wise).
        pub pixel_ap: Option<f64>,
        /// Certain lower bound of `pixel_ap`.
        pub pixel_ap_min: Option<f64>,
        /// Certain upper bound of `pixel_ap`.
        pub pixel_ap_max: Option<f64>,
        /// Lower end of the 95 % interval of `pixel_ap`.
        pub pixel_ap_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `pixel_ap`.
        pub pixel_ap_ci_high: Option<f64>,
        /// Best F1 of the pixel scores over all thresholds.
        pub pixel_f1max: Option<f64>,
        /// Certain lower bound of `pixel_f1max`.
        pub pixel_f1max_min: Option<f64>,
        /// Certain upper bound of `pixel_f1max`.
        pub pixel_f1max_max: Option<f64>,
        /// Lower end of the 95 % interval of `pixel_f1max`.
        pub pixel_f1max_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `pixel_f1max`.
        pub pixel_f1max_ci_high: Option<f64>,
        /// Area under the per-region overlap curve up to a false positive rate of 0.3.
        pub aupro: Option<f64>,
        /// Certain lower bound of `aupro`; null with protocol "published".
        pub aupro_min: Option<f64>,
        /// Certain upper bound of `aupro`; null with protocol "published".
        pub aupro_max: Option<f64>,
        /// Lower end of the 95 % interval of `aupro`.
        pub aupro_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `aupro`.
        pub aupro_ci_high: Option<f64>,
        /// Area under the per-region overlap curve up to a false positive rate of 0.05.
        pub aupro_05: Option<f64>,
        /// Certain lower bound of `aupro_05`; null with protocol "published".
        pub aupro_05_min: Option<f64>,
        /// Certain upper bound of `aupro_05`; null with protocol "published".
        pub aupro_05_max: Option<f64>,
        /// Lower end of the 95 % interval of `aupro_05`.
        pub aupro_05_ci_low: Option<f64>,
        /// Upper end of the 95 % interval of `aupro_05`.
        pub aupro_05_ci_high: Option<f64>,
        /// Mean over the anomalous images of the area under the recalled share of their defects over the
        /// logarithm of the false positive rate, from 1e-5 to 1e-4 (AUPIMO); false positives are pixels of
        /// images without defects. Null with fewer than 100,000 of them, and of runs of versions that did
        /// not count them.
        pub aupimo: Option<f64>,
        /// Certain lower bound of `aupimo`.
        pub aupimo_min: Option<f64>,
        /// Certain upper bound of `aupimo`.
        pub aupimo_max: Option<f64>,
        /// Threshold of the score that maximises F1 over images.
        pub image_threshold_f1max: Option<f32>,
        /// No more than 0.1 % of the normal images are above this score.
        pub image_threshold_fpr_0_1pct: Option<f32>,
        /// No more than 1 % of the normal images are above this score.
        pub image_threshold_fpr_1pct: Option<f32>,
        /// No more than 5 % of the normal images are above this score.
        pub image_threshold_fpr_5pct: Option<f32>,
        /// Threshold of the map that maximises F1 over pixels.
        pub pixel_threshold_f1max: Option<f32>,
        /// No more than 0.1 % of the normal pixels are above this value.
        pub pixel_threshold_fpr_0_1pct: Option<f32>,
        /// No more than 1 % of the normal pixels are above this value.
        pub pixel_threshold_fpr_1pct: Option<f32>,
        /// No more than 5 % of the normal pixels are above this value.
        pub pixel_threshold_fpr_5pct: Option<f32>,
        /// How `aupro` and `aupro_05` were computed: "exact" or "published".
        pub protocol: String,
        /// True: a run was unfinished, and the figures are of the images that were committed by then.
        /// Null in rows of versions that did not tell.
        pub unfinished: Option<bool>,
    }
}

impl Row for MetricsRow {
    const TABLE: Table = Table::Metrics;
}

impl MetricsRow {
    /// The names and values of the columns with thresholds.
    pub fn thresholds(&self) -> [(&'static str, Option<f32>); 8] {
        [
            ("image_threshold_f1max", self.image_threshold_f1max),
            ("image_threshold_fpr_0_1pct", self.image_threshold_fpr_0_1pct),
            ("image_threshold_fpr_1pct", self.image_threshold_fpr_1pct),
            ("image_threshold_fpr_5pct", self.image_threshold_fpr_5pct),
            ("pixel_threshold_f1max", self.pixel_threshold_f1max),
            ("pixel_threshold_fpr_0_1pct", self.pixel_threshold_fpr_0_1pct),
            ("pixel_threshold_fpr_1pct", self.pixel_threshold_fpr_1pct),
            ("pixel_threshold_fpr_5pct", self.pixel_threshold_fpr_5pct),
        ]
    }
}

/// A metric as the table has it; each in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MetricCells {
    pub value: Option<f64>,
    /// `_min` and `_max`; none of image metrics, which are exact.
    pub bounds: [Option<f64>; 2],
    /// `_ci_low` and `_ci_high`.
    pub interval: [Option<f64>; 2],
}

/// Reads and writes the columns of one metric by its name.
macro_rules! metric_cells {
    ($($metric:ident $(($ci_low:ident, $ci_high:ident))? $([$min:ident, $max:ident])?;)+) => {
        impl MetricsRow {
            /// The columns of a metric; empty for a name that is none.
            pub fn metric(&self, name: &str) -> MetricCells {
                match name {
                    $(stringify!($metric) => MetricCells {
                        value: self.$metric,
                        bounds: [None $(.or(self.$min))?, None $(.or(self.$max))?],
                        interval: [None $(.or(self.$ci_low))?, None $(.or(self.$ci_high))?],
                    },)+
                    _ => MetricCells::default(),
                }
            }

            /// Fills the columns of a metric, those that there are.
            pub fn set_metric(&mut self, name: &str, cells: MetricCells) {
                match name {
                    $(stringify!($metric) => {
                        self.$metric = cells.value;
                        $([self.$min, self.$max] = cells.bounds;)?
                        $([self.$ci_low, self.$ci_high] = cells.interval;)?
                    })+
                    _ => {}
                }
            }
        }
    };
}

metric_cells! {
    image_auroc (image_auroc_ci_low, image_auroc_ci_high);
    image_ap (image_ap_ci_low, image_ap_ci_high);
    image_f1max (image_f1max_ci_low, image_f1max_ci_high);
    pixel_auroc (pixel_auroc_ci_low, pixel_auroc_ci_high) [pixel_auroc_min, pixel_auroc_max];
    pixel_ap (pixel_ap_ci_low, pixel_ap_ci_high) [pixel_ap_min, pixel_ap_max];
    pixel_f1max (pixel_f1max_ci_low, pixel_f1max_ci_high) [pixel_f1max_min, pixel_f1max_max];
    aupro (aupro_ci_low, aupro_ci_high) [aupro_min, aupro_max];
    aupro_05 (aupro_05_ci_low, aupro_05_ci_high) [aupro_05_min, aupro_05_max];
    aupimo [aupimo_min, aupimo_max];
}

/// The metrics rows of `category`, or of [`ALL_CATEGORIES`] or [`MEAN_OF_CATEGORIES`]: first the
/// whole, then its kinds by name.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryMetrics {
    pub category: String,
    pub rows: Vec<MetricsRow>,
}
