//! Table `failures`: one row per image that could not be scored.
//!
//! Stage and code are the stable words of [`crate::error`]; the message is for a person.

use super::row::row;
use super::{Row, Table};
use crate::error::Failure;

row! {
    /// One image without a score.
    pub struct FailureRow {
        /// Name of the image inside the input, unique in the run.
        pub image_id: String,
        /// Where the image was to be read from.
        pub uri: String,
        /// Where in the pipeline it was lost.
        pub stage: String,
        /// Why, as a stable word.
        pub code: String,
        /// Why and what to do, in one line for a person.
        pub message: String,
    }
}

impl FailureRow {
    /// The row of an image that ended in `failure`.
    pub fn new(image_id: String, uri: String, failure: Failure) -> FailureRow {
        FailureRow {
            image_id,
            uri,
            stage: failure.stage.as_str().to_string(),
            code: failure.code.as_str().to_string(),
            message: failure.message,
        }
    }
}

impl Row for FailureRow {
    const TABLE: Table = Table::Failures;
}
