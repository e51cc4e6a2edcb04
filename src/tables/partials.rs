//! Table `partials`: what the pixels of one shard and category come to, a row per kind of defect.
//!
//! The sketch is what pixel metrics are merged from; the other columns say what is in it, for
//! readers that cannot open it. Nothing is merged here.

use parquet::file::properties::WriterPropertiesBuilder;

use super::row::{opaque, row};
use super::{Row, Table};

row! {
    /// Pixels of the images of one shard and category whose true defects are known.
    pub struct PartialRow {
        /// The kind of the defects that the pixels lie in. Null for the pixels outside of defects,
        /// and those in defects whose kind is not known.
        pub kind: Option<String>,
        /// Whether the pixels are of images with a defect: false of images without any, true of the others.
        /// Null in rows of versions that counted the normal pixels of both together.
        pub of_anomalous: Option<bool>,
        /// Scored images whose pixels are counted here; in the rows where `kind` is null, each image once.
        pub n_images: u64,
        /// Pixels outside every defect region.
        pub n_normal: u64,
        /// Pixels in a defect region.
        pub n_anomalous: u64,
        /// 8-connected defect regions.
        pub n_regions: u64,
        /// Smallest value of the maps at these pixels.
        pub score_min: f32,
        /// Largest value of the maps at these pixels.
        pub score_max: f32,
        /// Counts per bin of a fixed grid of scores, in a format of the program, versioned.
        pub sketch: Vec<u8>,
        /// The same of the defects alone, those of an image as one region. Null without defects.
        pub image_sketch: Option<Vec<u8>>,
    }
}

impl Row for PartialRow {
    const TABLE: Table = Table::Partials;

    fn tune(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        opaque(opaque(properties, "sketch"), "image_sketch")
    }
}
