//! What a run left out because earlier runs had scored it, as its manifest has it. In: the spec of a
//! manifest. Out: counts, the ids of those runs, and where the references come from. Never here: which
//! images they were: they are those of the input that are not in the plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key of a run's spec that says what earlier runs had scored.
pub const SKIPPED_KEY: &str = "skip_scored";

/// The key in it that says where runs are: it tells nothing of what they are.
pub const SKIPPED_PLACES_KEY: &str = "references";

/// What earlier runs had scored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Images that are files, or rows of a table.
    pub images: u64,
    /// Tar and Parquet files.
    pub archives: u64,
    /// How many of both each earlier run had scored, by run id.
    pub runs: BTreeMap<String, u64>,
    /// Where the earlier runs are whose references this run uses, in the order in which they are asked.
    pub references: Vec<String>,
}

impl Skipped {
    /// What the spec of a manifest says; `None` for a run that had not been told to skip anything.
    pub fn of(spec: &Value) -> Option<Self> {
        serde_json::from_value(spec.get(SKIPPED_KEY)?.clone()).ok()
    }

    /// Whether there was anything.
    pub fn is_empty(&self) -> bool {
        self.images == 0 && self.archives == 0
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let what = match (self.images, self.archives) {
            (images, 0) => many(images, "image"),
            (0, archives) => many(archives, "archive"),
            (images, archives) => {
                format!("{} and {}", many(images, "image"), many(archives, "archive"))
            }
        };
        let runs = many(self.runs.len() as u64, "earlier run");
        write!(f, "{what} already scored by {runs}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said_in_words() {
        let mut skipped = Skipped { images: 1, ..Skipped::default() };
        skipped.runs.insert("a".to_string(), 1);
        assert_eq!(skipped.to_string(), "1 image already scored by 1 earlier run");
        skipped.archives = 2;
        skipped.runs.insert("b".to_string(), 2);
        let text = "1 image and 2 archives already scored by 2 earlier runs";
        assert_eq!(skipped.to_string(), text);
        let spec = serde_json::json!({ SKIPPED_KEY: skipped });
        assert_eq!(Skipped::of(&spec), Some(skipped));
        assert_eq!(Skipped::of(&serde_json::json!({})), None);
    }
}
