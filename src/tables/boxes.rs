//! Table `boxes`: one row per box that the detector kept.
//!
//! Corners are in pixels of the original image and inside it: whoever makes the rows cuts
//! boxes at its edges. Nothing is cut here.

use super::row::row;
use super::{Row, Table};

row! {
    /// One box of one image.
    pub struct BoxRow {
        /// Name of the image, as in `scores`.
        pub image_id: String,
        /// Left edge, in pixels of the original image.
        pub x0: f32,
        /// Upper edge, in pixels of the original image.
        pub y0: f32,
        /// Right edge, in pixels of the original image.
        pub x1: f32,
        /// Lower edge, in pixels of the original image.
        pub y1: f32,
        /// Confidence of the detector, 0 to 1: its best token probability.
        pub logit: f32,
        /// Words of the caption that the box answers to.
        pub phrase: String,
    }
}

impl Row for BoxRow {
    const TABLE: Table = Table::Boxes;
}
