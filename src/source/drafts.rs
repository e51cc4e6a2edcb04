//! A listing while it grows. Files with what a layout knows of them go in; entries, and counts of what is
//! none, come out. Never here: what a layout looks like, and cutting into shards.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::shard::Draft;
use super::tree::{Found, Trouble};
use super::{Archive, ArchiveKind, Category, Entry, Filter, Label, MaskSource, Rejected, Sample};
use crate::error::Failure;

/// What a layout knows about an image beside its file.
pub(super) struct Known {
    pub category: Category,
    pub label: Option<Label>,
    pub kind: Option<Arc<str>>,
    /// Its file, if that is not its id.
    pub file: Option<Box<str>>,
    /// The columns that are kept.
    pub kept: Option<Box<str>>,
}

impl Known {
    /// Nothing but the category.
    pub fn of(category: Category) -> Self {
        Known { category, label: None, kind: None, file: None, kept: None }
    }
}

/// The entries of a listing while it grows.
#[derive(Default)]
pub(super) struct Drafts {
    pub(super) entries: Vec<Draft>,
    pub(super) ignored: BTreeMap<String, usize>,
}

impl Drafts {
    /// Counts a file that is no entry under its extension or reason.
    pub(super) fn ignore(&mut self, reason: &str) {
        self.ignore_many(reason, 1);
    }

    /// Counts `n` files that are no entries for one reason.
    pub(super) fn ignore_many(&mut self, reason: &str, n: usize) {
        match self.ignored.get_mut(reason) {
            Some(count) => *count += n,
            None if n > 0 => drop(self.ignored.insert(reason.to_owned(), n)),
            None => {}
        }
    }

    /// Adds an image; it is rejected if its file, or its mask, already shows trouble.
    pub(super) fn push(&mut self, found: Found, known: Known, mask: Result<MaskSource, Failure>) {
        let Found { id: image_id, bytes, version, trouble } = found;
        let Known { category, label, kind, file, kept } = known;
        let trouble = match (trouble, mask) {
            (Some(trouble), _) => Err(*trouble),
            (None, Err(failure)) => Err(Trouble { failure, uri: None }),
            (None, Ok(mask)) => Ok(mask),
        };
        let entry = match trouble {
            Ok(mask) => {
                Entry::Sample(Sample { image_id, file, version, category, label, kind, mask, kept })
            }
            Err(Trouble { failure, uri }) => {
                Entry::Rejected(Box::new(Rejected { image_id, uri, category, failure }))
            }
        };
        self.entries.push(Draft { entry, size_bytes: bytes });
    }

    /// Adds a file with images in it; it is rejected if it already shows trouble.
    pub(super) fn push_archive(&mut self, found: Found, kind: ArchiveKind, category: Category) {
        let Found { id: image_id, bytes, version, trouble } = found;
        let entry = match trouble {
            None => {
                let (bytes, most) = (Some(bytes), None);
                Entry::Archive(Archive { image_id, kind, version, bytes, category, most })
            }
            Some(trouble) => {
                let Trouble { failure, uri } = *trouble;
                Entry::Rejected(Box::new(Rejected { image_id, uri, category, failure }))
            }
        };
        self.entries.push(Draft { entry, size_bytes: bytes });
    }

    /// These, which a layout has made itself.
    pub(super) fn of(entries: Vec<Draft>) -> Self {
        Drafts { entries, ignored: BTreeMap::new() }
    }

    /// Leaves out what `filter` does not want.
    pub(super) fn choose(&mut self, filter: &Filter) {
        let mut left_out = BTreeMap::<&str, usize>::new();
        self.entries.retain(|draft| match filter.left_out(draft.entry.image_id()) {
            None => true,
            Some(reason) => {
                *left_out.entry(reason).or_default() += 1;
                false
            }
        });
        left_out.into_iter().for_each(|(reason, n)| self.ignore_many(reason, n));
        if let Some(limit) = filter.limit {
            self.limit(limit.get());
        }
    }

    /// Leaves `most` images, spread evenly over the listing. How many an archive has shows when it is
    /// read: each is left its share.
    pub(super) fn limit(&mut self, most: u64) {
        self.sort();
        let n = self.entries.len() as u64;
        let mut index = 0u64;
        // Of `n` entries in a row, `most` are those at which this sum becomes a whole number.
        self.entries.retain(|_| {
            let before = u128::from(index) * u128::from(most) / u128::from(n);
            index += 1;
            u128::from(index) * u128::from(most) / u128::from(n) > before
        });
        let left = self.entries.len() as u64;
        self.ignore_many("(over the limit)", usize::try_from(n - left).unwrap_or(usize::MAX));
        for (index, draft) in (0..).zip(&mut self.entries) {
            if let Entry::Archive(archive) = &mut draft.entry {
                let share = most / left + u64::from(index < most % left);
                archive.most = NonZeroU64::new(share);
            }
        }
    }

    pub(super) fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.entry.image_id().cmp(b.entry.image_id()));
    }

    /// A name with escaped bytes may equal the name of another file. A final `/`, which no file
    /// name has, tells them apart.
    pub(super) fn make_ids_unique(&mut self) {
        self.sort();
        let mut changed = false;
        for index in 1..self.entries.len() {
            let (before, rest) = self.entries.split_at_mut(index);
            let (last, this) = (&mut before[index - 1].entry, &mut rest[0].entry);
            if last.image_id() != this.image_id() {
                continue;
            }
            changed = true;
            match (last, this) {
                (_, Entry::Rejected(rejected)) | (Entry::Rejected(rejected), _) => {
                    rejected.image_id = format!("{}/", rejected.image_id).into();
                }
                // The others have UTF-8 names, which are their paths, and paths are unique.
                _ => {}
            }
        }
        if changed {
            self.sort();
        }
    }
}
