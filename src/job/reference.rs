//! What tells a run what is normal: a word or a place goes in, a [`ReferenceChoice`] comes out.
//! Never here: looking at the place.

use serde::{Serialize, Serializer};

use crate::store::Location;

/// Where the references of a run come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ReferenceChoice {
    /// Images of the input itself, whatever their labels are.
    Archive,
    /// None: each image is scored by itself.
    None,
    /// What the layout of the input sets aside for training.
    Train,
    /// Known-good images, or the output of an earlier run.
    At(Location),
}

impl ReferenceChoice {
    /// The words; any other text is a place.
    pub(super) fn word(text: &str) -> Option<Self> {
        match text {
            "archive" => Some(ReferenceChoice::Archive),
            "none" => Some(ReferenceChoice::None),
            "train" => Some(ReferenceChoice::Train),
            _ => None,
        }
    }

    /// The word, or where the references are, without credentials.
    pub fn as_str(&self) -> &str {
        match self {
            ReferenceChoice::Archive => "archive",
            ReferenceChoice::None => "none",
            ReferenceChoice::Train => "train",
            ReferenceChoice::At(place) => place.uri(),
        }
    }
}

impl Serialize for ReferenceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
