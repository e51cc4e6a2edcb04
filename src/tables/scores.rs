//! Table `scores`: one row per scored picture.
//!
//! What the pipeline decided about a picture and the numbers behind it. A picture that could
//! not be scored is in `failures` instead, never in both.

use parquet::file::properties::WriterPropertiesBuilder;

use super::row::{opaque, row};
use super::{Row, Table};

row! {
    /// One scored picture.
    pub struct ScoreRow {
        /// Name of the picture inside the input, unique in the run.
        pub image_id: String,
        /// Where the picture was read from.
        pub uri: String,
        /// Width of the picture in pixels.
        pub width: i32,
        /// Height of the picture in pixels.
        pub height: i32,
        /// Anomaly score: mean of `global_score` and the peak of the undamped map: its highest pixel,
        /// or the mean of the share of highest pixels that the weights' `peak_share` says.
        pub score: f32,
        /// The whole picture against the abnormal text: their cosine over √2, may be negative.
        pub global_score: f32,
        /// Maximum of the anomaly map after box damping.
        pub map_max: f32,
        /// Mean of the anomaly map after box damping.
        pub map_mean: f32,
        /// Ground truth: true is anomalous. Null where the input has none.
        pub label: Option<bool>,
        /// Ground truth: name of the defect, or "good". Null where the input has none.
        pub kind: Option<String>,
        /// Whether `score` is above `threshold`.
        pub is_anomalous: bool,
        /// The score from which a picture counts as anomalous.
        pub threshold: f32,
        /// Where in the picture the best box lies, in words. Null without a box.
        pub position: Option<String>,
        /// Number of rows in `boxes` for this picture.
        pub n_boxes: i32,
        /// Of the descriptions of defects whose prompts were encoded, the one most like the picture:
        /// "abnormal bottle with cracked rim". Null in rows of versions that did not tell.
        pub top_description: Option<String>,
        /// Cosine of the picture with that prompt, -1 to 1.
        pub top_similarity: Option<f32>,
        /// File of the raw anomaly map, relative to the output. Null if maps are not kept.
        pub map_path: Option<String>,
        /// Pixel scores at fixed ranks, in a format of the program, versioned: what intervals are
        /// computed from. Null where the true defects are not known.
        pub pixel_summary: Option<Vec<u8>>,
        /// Time of the network for this picture: its share of the batch, in milliseconds.
        pub ms_infer: f32,
        /// Name or digest of the weights.
        pub model_id: String,
    }
}

impl Row for ScoreRow {
    const TABLE: Table = Table::Scores;

    fn tune(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        opaque(properties, "pixel_summary")
    }
}
