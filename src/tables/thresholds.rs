//! Table `thresholds`: one row per category, written when the run is finished.
//!
//! What decided which images are flagged. Rows of `scores` hold their own decision where it was
//! known when they were written; where it was not, readers take it from here.

use super::row::row;
use super::{LeftOut, Row, Table};

row! {
    /// How images of a category are flagged.
    pub struct ThresholdRow {
        /// What the threshold was made from: `references` (their own scores), `run` (the scores of the
        /// category in this run), `top_share`, `fixed` (--threshold), `earlier_run`, or `none`: too
        /// few images to tell, nothing is flagged.
        pub rule: String,
        /// The score above which an image is flagged. Null where nothing is.
        pub threshold: Option<f32>,
        /// The share of images like the references, or like the bulk of the run, that may be flagged.
        /// Null for other rules.
        pub false_alarm_rate: Option<f64>,
        /// Images that were references. 0 without references.
        pub n_references: i64,
        /// Images of the category with a score.
        pub n_images: i64,
        /// Those that are flagged.
        pub n_flagged: i64,
    }
}

/// The row of a category.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryThreshold {
    pub category: String,
    pub row: ThresholdRow,
    /// Chosen references that could not be read.
    pub left_out: Vec<LeftOut>,
}

impl Row for ThresholdRow {
    const TABLE: Table = Table::Thresholds;
}
