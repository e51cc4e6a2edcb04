//! Scoring against references: images that say what is normal. In: patch features and text maps of the
//! references of a category, then those of an image. Out: a fused anomaly map, a score, a p-value, the
//! reference most like the image. Pure numbers; files and networks are elsewhere.
//!
//! ```text
//! ids → Choice → references
//! Seen of each reference → Reference::build → encode → file → decode → Reference
//! Seen of an image → distances → verdict, map
//! ```

mod choice;
mod digest;
mod distance;
mod file;
mod fusion;
mod grid;
mod nearest;
mod null;
mod position;
mod project;
mod statistics;
mod tiles;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use choice::{Choice, MAX_REFERENCES, MIN_REFERENCES, rank};
pub use digest::Digest;
pub use distance::Distances;

pub use fusion::Shows;
pub use grid::{GRID, Grid, IMAGE_SIZE, cell_means, on_grid};
pub use null::{NullScores, QUARTILE, quantile};
pub use project::projection;
pub use statistics::{Raw, Reference};
pub use tiles::{Calibration, Peaks};

/// What the networks make of one image.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Of the file.
    pub digest: Digest,
    /// Patch features, `[GRID², channels]`.
    pub features: Vec<f32>,
    /// FiLo's own map on the grid, `[GRID²]`.
    pub text: Vec<f32>,
}

/// What the references and FiLo say of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// 0 to 1, 0.5 where all voices are as usual.
    pub score: f32,
    /// The same without FiLo's own map.
    pub reference_score: f32,
    /// Share of images like the references that score at least as high.
    pub p_value: f32,
}

/// One reference.
#[derive(Debug, Clone)]
pub struct ReferenceImage {
    pub image_id: String,
    pub seen: Seen,
}

/// What references are taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A sample of the archive: mostly normal.
    Archive,
    /// Known to be normal.
    Normal,
}

/// What decided the numbers of references, by name: networks, sizes, words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy(BTreeMap<String, String>);

impl MadeBy {
    /// Of these things.
    pub fn new(things: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        MadeBy(things.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }

    /// What differs in `other`, in words; `None` if nothing does.
    pub fn difference(&self, other: &MadeBy) -> Option<String> {
        let value = |of: &MadeBy, name: &str| of.0.get(name).cloned().unwrap_or_default();
        let mut names = self.0.keys().chain(other.0.keys());
        let name = names.find(|name| self.0.get(*name) != other.0.get(*name))?;
        let (theirs, ours) = (value(other, name), value(self, name));
        Some(format!("made with another {name} ({theirs}, this run has {ours})"))
    }
}
