//! Table `scores`: one row per scored image.
//!
//! What the pipeline decided about an image and the numbers behind it. An image that could
//! not be scored is in `failures` instead, never in both.

use parquet::file::properties::WriterPropertiesBuilder;

use super::row::{opaque, row};
use super::{Row, Table};

row! {
    /// One scored image.
    pub struct ScoreRow {
        /// Name of the image inside the input, unique in the run.
        pub image_id: String,
        /// Where the image was read from.
        pub uri: String,
        /// Width of the image in pixels.
        pub width: i32,
        /// Height of the image in pixels.
        pub height: i32,
        /// Anomaly score, comparable inside a category only. With references 0 to 1: text map and
        /// distances to the references, fused. 0.5 is a map that is nowhere above what is usual; the
        /// highest cells of good images lie somewhat above it. Without references `text_score`.
        pub score: f32,
        /// FiLo's own score: mean of `global_score` and the peak of the undamped text map: its highest
        /// pixel, or the mean of the share of highest pixels that the weights' `peak_share` says.
        /// Null in rows of versions that had no other.
        pub text_score: Option<f32>,
        /// What the distances to the references alone say, on the scale of `score`. Null without
        /// references.
        pub reference_score: Option<f32>,
        /// Share of images like the references that score at least as high, estimated from the
        /// references' own scores, above 0 to 1. Null without references.
        pub p_value: Option<f32>,
        /// The reference most like the image: its image id, below the input or below --reference. Null
        /// without references.
        pub reference_id: Option<String>,
        /// The whole image against the abnormal text: their cosine over √2, may be negative.
        pub global_score: f32,
        /// Maximum of the anomaly map after box damping.
        pub map_max: f32,
        /// Mean of the anomaly map after box damping.
        pub map_mean: f32,
        /// Ground truth: true is anomalous. Null where the input has none.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or the word for normal as the input has it. Null where the input has none.
        pub kind: Option<String>,
        /// Whether the image is flagged: `score` is above `threshold`. Null where that shows only when
        /// all of the category is scored: then `score` above the `threshold` of the table `thresholds`.
        pub is_anomalous: Option<bool>,
        /// The score above which an image is flagged. Null where `is_anomalous` is.
        pub threshold: Option<f32>,
        /// Where in the image the best box lies, in words. Null without a box.
        pub position: Option<String>,
        /// Number of rows in `boxes` for this image.
        pub n_boxes: i32,
        /// Of the descriptions of defects whose prompts were encoded, the one most like the image:
        /// "abnormal bottle with cracked rim". Null in rows of versions that did not tell.
        pub top_description: Option<String>,
        /// Cosine of the image with that prompt, -1 to 1.
        pub top_similarity: Option<f32>,
        /// File of the raw anomaly map, relative to the output. Null if the map is not kept.
        pub map_path: Option<String>,
        /// The true defects at the size of the raw map, as COCO's compressed run lengths. Null
        /// unless all maps are kept, where the true defects are not known, and where there are none.
        pub true_mask: Option<String>,
        /// Pixel scores at fixed ranks, in a format of the program, versioned: what intervals are
        /// computed from. Null where the true defects are not known.
        pub pixel_summary: Option<Vec<u8>>,
        /// BLAKE3 of the image's file, the first 16 bytes in hexadecimal. Null in rows of versions that did
        /// not tell.
        pub digest: Option<String>,
        /// Time from the first request for the image's files to the last answer, in milliseconds. Null for
        /// images of archives, which come with others.
        pub ms_fetch: Option<f32>,
        /// Time of one core to decode the image and make it ready, in milliseconds.
        pub ms_decode: Option<f32>,
        /// Time of the network for this image: its share of the batch, in milliseconds.
        pub ms_infer: f32,
        /// Tiles that were scored beside the image as a whole. Null where it was not tiled.
        pub n_tiles: Option<i32>,
        /// Columns and rows of the tiles: "18x12". Null where the image was not tiled.
        pub tile_grid: Option<String>,
        /// Name or digest of the weights.
        pub model_id: String,
        ;
        /// Columns of the input that the run was told to keep.
        pub kept: Vec<KeptValue>
    }
}

impl ScoreRow {
    /// Columns in formats of the program's own, which say nothing to other programs.
    pub const OPAQUE: [&str; 2] = ["pixel_summary", "true_mask"];
}

impl Row for ScoreRow {
    const TABLE: Table = Table::Scores;

    fn tune(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        opaque(properties, "pixel_summary")
    }
}
