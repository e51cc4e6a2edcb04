//! Table `failures`: one row per picture that could not be scored.
//!
//! Stage and code are the stable words of [`crate::error`]; the message is for a person.

use super::row::row;
use super::{Row, Table};
use crate::error::Failure;

row! {
    /// One picture without a score.
    pub struct FailureRow {
        /// Name of the picture inside the input, unique in the run.
        pub image_id: String,
        /// Where the picture was to be read from.
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
    /// The row of a picture that ended in `failure`.
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
