//! A sorted listing goes in, [`Shard`]s come out: slices of fixed size, each with an id that is
//! the same on every machine that has the same files.
//! Never here: times, absolute paths, the order in which a disk lists its files.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Entry, Label, MaskSource};
use crate::error::ValueError;
use crate::store::FileVersion;

/// The unit of work, of commit and of retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Position in the listing, from 0. `--partition I/N` deals shards by it.
    pub index: usize,
    /// 16 hex digits: blake3 over the names, sizes, labels and masks of the entries.
    pub id: String,
    /// Sorted by the bytes of their image id.
    pub entries: Vec<Entry>,
}

/// How many entries a shard has, 1 to 1 000 000; the last one of a listing may have fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct ShardSize(NonZeroUsize);

impl ShardSize {
    const MAX: usize = 1_000_000;

    /// The number of entries.
    pub fn get(self) -> usize {
        self.0.get()
    }
}

impl Default for ShardSize {
    /// 64: some minutes of work on a CPU, so little is lost with a killed worker.
    fn default() -> Self {
        ShardSize(NonZeroUsize::MIN.saturating_add(63))
    }
}

impl TryFrom<usize> for ShardSize {
    type Error = ValueError;

    fn try_from(size: usize) -> Result<Self, ValueError> {
        let fits = NonZeroUsize::new(size).filter(|size| size.get() <= Self::MAX);
        let allowed = || ValueError::new(format!("a whole number from 1 to {}", Self::MAX));
        fits.map(ShardSize).ok_or_else(allowed)
    }
}

impl From<ShardSize> for usize {
    fn from(size: ShardSize) -> usize {
        size.get()
    }
}

impl FromStr for ShardSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // Zero is out of range too, so it stands for every text that is no number.
        ShardSize::try_from(text.parse().unwrap_or(0))
    }
}

impl fmt::Display for ShardSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl schemars::JsonSchema for ShardSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ShardSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// An entry on its way into a shard.
pub(super) struct Draft {
    pub entry: Entry,
    pub size_bytes: u64,
}

/// Cuts `drafts`, sorted by image id, into shards.
pub(super) fn cut(drafts: Vec<Draft>, size: ShardSize) -> Vec<Shard> {
    let mut shards = Vec::with_capacity(drafts.len().div_ceil(size.get()));
    let mut drafts = drafts.into_iter().peekable();
    while drafts.peek().is_some() {
        let mut digest = blake3::Hasher::new();
        let mut entries = Vec::with_capacity(size.get().min(drafts.len()));
        for draft in drafts.by_ref().take(size.get()) {
            digest_entry(&mut digest, &draft);
            entries.push(draft.entry);
        }
        let id = digest.finalize().to_hex()[..16].to_owned();
        shards.push(Shard { index: shards.len(), id, entries });
    }
    shards
}

/// Every field is preceded by its length, so that no two listings give the same bytes.
fn digest_entry(digest: &mut blake3::Hasher, draft: &Draft) {
    let mut field = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    field(draft.entry.image_id().as_bytes());
    field(&draft.size_bytes.to_le_bytes());
    match &draft.entry {
        Entry::Rejected(rejected) => field(rejected.failure.code.as_str().as_bytes()),
        Entry::Sample(sample) => {
            field(sample.label.map_or("", Label::as_str).as_bytes());
            // The same on every machine, unlike the times of a disk.
            if let Some(FileVersion::Etag(etag)) = &sample.version {
                field(etag.as_bytes());
            }
            match &sample.mask {
                MaskSource::Unknown => field(b"unknown"),
                MaskSource::AllNormal => field(b"all_normal"),
                MaskSource::File(id) => {
                    field(b"file");
                    field(id.as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_size_is_a_number_from_one_to_a_million() {
        assert_eq!("64".parse::<ShardSize>().unwrap(), ShardSize::default());
        for text in ["0", "1000001", "-1", "many", ""] {
            let error = text.parse::<ShardSize>().unwrap_err().to_string();
            assert_eq!(error, "must be a whole number from 1 to 1000000", "{text}");
        }
    }
}
