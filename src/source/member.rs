//! One picture inside an archive, whatever the archive: what its bytes are and what is known of it.

use std::collections::HashSet;

use serde::Deserialize;

use super::Label;
use crate::error::Failure;

/// One picture of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the archive; a number is added to one that was there before.
    pub id: String,
    /// The picture's file, or why there is none.
    pub picture: Result<Vec<u8>, Failure>,
    /// The file of its mask.
    pub mask: Option<Vec<u8>>,
    pub known: Known,
}

/// What an archive says about a picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub label: Option<Label>,
    /// What is wrong with it, in the archive's words.
    pub kind: Option<String>,
    pub category: Option<String>,
}

/// `name`, or with a number if it was given away before.
pub(super) fn unique(name: String, names: &mut HashSet<String>) -> String {
    let mut id = name.clone();
    let mut number = 1;
    while !names.insert(id.clone()) {
        number += 1;
        id = format!("{name} ({number})");
    }
    id
}

/// Words for pictures without a defect, in lower case.
const NORMAL_WORDS: [&str; 5] = ["normal", "good", "ok", "negative", "0"];

impl Known {
    /// What a class says: a word of [`NORMAL_WORDS`], or what is wrong.
    pub(super) fn of_class(word: &str) -> Self {
        let word = word.trim();
        let is_normal = NORMAL_WORDS.iter().any(|normal| normal.eq_ignore_ascii_case(word));
        let is_number = word.parse::<i64>().is_ok();
        Known {
            label: Some(if is_normal { Label::Normal } else { Label::Anomalous }),
            kind: Some(word).filter(|_| !is_number).map(str::to_owned),
            category: None,
        }
    }

    /// What a JSON object says; keys that mean nothing here are allowed.
    pub(super) fn of_json(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Said {
            label: Option<serde_json::Value>,
            kind: Option<String>,
            category: Option<String>,
        }
        let said: Said = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let known = match said.label {
            None | Some(serde_json::Value::Null) => Known::default(),
            Some(serde_json::Value::Bool(anomalous)) => {
                Known::of_class(if anomalous { "1" } else { "0" })
            }
            Some(serde_json::Value::Number(number)) => Known::of_class(&number.to_string()),
            Some(serde_json::Value::String(word)) => Known::of_class(&word),
            Some(_) => return Err("`label` is neither a number nor a word".to_owned()),
        };
        Ok(Known { kind: said.kind.or(known.kind), category: said.category, ..known })
    }

    /// This, where it says something, else `other`.
    pub(super) fn or(self, other: Known) -> Self {
        Known {
            label: self.label.or(other.label),
            kind: self.kind.or(other.kind),
            category: self.category.or(other.category),
        }
    }
}
