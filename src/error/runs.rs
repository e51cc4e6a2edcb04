//! Runs that cannot be read as one set of images, or not yet.

use super::list_differences;
use super::{SpecDifference, first_names};

/// Taking one run or several for `filo metrics`, `filo report` and `filo status`.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    #[error(
        "{first} and {other} were not scored alike ({}), so they are not one set of images: name one \
         of them, or compare them with `filo metrics --compare`",
        list_differences(differences)
    )]
    NotOneSet { first: String, other: String, differences: Vec<SpecDifference> },
    #[error(
        "{uri}: no folder there holds a run: check the path, each must be the --output of `filo score`"
    )]
    NoneThere { uri: String },
    #[error("{uri}: holds metrics of several runs, which are no run: name the runs themselves")]
    IsMetrics { uri: String },
    #[error("{uri}: holds a run: choose another --output, the metrics of {what} go elsewhere")]
    IsRun { uri: String, what: &'static str },
    #[error(
        "{uri}: {missing} of {expected} shards are not committed ({names}): run the same `filo score` \
         again, it resumes; --partial takes what is committed",
        missing = shards.len(),
        names = first_names(shards, ", ")
    )]
    Unfinished { uri: String, shards: Vec<String>, expected: usize },
    #[error(
        "--input says where the images of one place are now, and the runs are of {places} places: \
         leave it out, or name runs of one place"
    )]
    SeveralPlaces { places: usize },
}

impl RunsError {
    /// 1 where the runs are what they should be and are not finished.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            RunsError::Unfinished { .. } => 1,
            _ => 2,
        }
    }
}
