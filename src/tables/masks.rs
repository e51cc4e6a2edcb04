//! Table `masks`: one row per image with pixels above the mask threshold.
//!
//! Masks are COCO run-length encoded, so that any COCO tool reads them. Encoding is not done
//! here: the text comes in ready.

use super::row::row;
use super::{Row, Table};

row! {
    /// The predicted defect mask of one image.
    pub struct MaskRow {
        /// Name of the image, as in `scores`.
        pub image_id: String,
        /// Height of the mask in pixels.
        pub height: i32,
        /// Width of the mask in pixels.
        pub width: i32,
        /// The mask as COCO compressed run lengths (column by column).
        pub counts: String,
        /// Pixels in the mask.
        pub area: i64,
        /// Left edge of the box around the mask, in pixels of the mask.
        pub bbox_x: i32,
        /// Upper edge of the box around the mask.
        pub bbox_y: i32,
        /// Width of the box around the mask.
        pub bbox_width: i32,
        /// Height of the box around the mask.
        pub bbox_height: i32,
        /// Map value above which a pixel is in the mask.
        pub threshold: f32,
        /// Number of 8-connected regions in the mask.
        pub regions: i32,
    }
}

impl Row for MaskRow {
    const TABLE: Table = Table::Masks;
}
