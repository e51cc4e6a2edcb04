//! What differs between the run in an output and the one that was asked for: keys of the spec, and
//! files.

use std::fmt;

/// One key of the job spec that differs between the run in an output and the one at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecDifference {
    /// Dotted path of the key, for example `score.mask_threshold`.
    pub key: String,
    /// The value in the output, as JSON; "not set" where the key is absent.
    pub old: String,
    /// The value of the run at hand, likewise.
    pub new: String,
}

impl fmt::Display for SpecDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.key, self.old, self.new)
    }
}

/// How a listing differs from the one that a run was begun with: image ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingChanges {
    pub new: Vec<String>,
    /// Of another size, label or mask.
    pub changed: Vec<String>,
    pub gone: Vec<String>,
    /// As before but for their time or etag: copied, or replaced by a file of the same size.
    pub touched: Vec<String>,
}

impl ListingChanges {
    /// Whether the files are the same.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }

    /// What else can be done than to begin another run.
    pub(super) fn advice(&self) -> &'static str {
        match (self.new.is_empty(), self.changed.is_empty(), self.gone.is_empty()) {
            (true, false, true) => ", or add --retry-failed if they replace images that failed",
            (true, true, false) => ", or restore them",
            _ => "",
        }
    }
}

impl fmt::Display for ListingChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListingChanges { new, changed, gone, .. } = self;
        write!(f, "{} new, {} changed, {} gone since", new.len(), changed.len(), gone.len())?;
        let named = [("new", new), ("changed", changed), ("gone", gone)];
        let first = named.iter().filter_map(|(what, ids)| Some((what, ids.first()?)));
        let first = first.map(|(what, id)| format!("{what}: {id}")).collect::<Vec<_>>();
        write!(f, " ({})", first.join("; "))
    }
}
