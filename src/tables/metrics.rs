//! Table `metrics`: one row per category, one pooled, one mean.
//!
//! Written after the run by whoever merges the partials; a figure that is not defined (one
//! class only, no region) is null. No figure is computed here.

use super::row::row;
use super::{Row, Table};

/// Category of the row over all pictures pooled.
pub const ALL_CATEGORIES: &str = "__all__";

/// Category of the row with the plain mean over the categories.
pub const MEAN_OF_CATEGORIES: &str = "__mean__";

row! {
    /// The figures of one category.
    pub struct MetricsRow {
        /// Scored pictures with a label.
        pub n_images: i64,
        /// Those among them that are anomalous.
        pub n_anomalous: i64,
        /// Area under the ROC curve of the picture scores.
        pub image_auroc: Option<f64>,
        /// Average precision of the picture scores (step-wise).
        pub image_ap: Option<f64>,
        /// Best F1 of the picture scores over all thresholds.
        pub image_f1max: Option<f64>,
        /// Area under the ROC curve of the pixel scores.
        pub pixel_auroc: Option<f64>,
        /// Average precision of the pixel scores (step-wise).
        pub pixel_ap: Option<f64>,
        /// Best F1 of the pixel scores over all thresholds.
        pub pixel_f1max: Option<f64>,
        /// Area under the per-region overlap curve up to a false positive rate of 0.3.
        pub aupro: Option<f64>,
        /// How `aupro` was computed: "exact" or "published".
        pub protocol: String,
    }
}

impl Row for MetricsRow {
    const TABLE: Table = Table::Metrics;
}

/// The metrics row of `category`, or of [`ALL_CATEGORIES`] or [`MEAN_OF_CATEGORIES`].
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryMetrics {
    pub category: String,
    pub row: MetricsRow,
}
