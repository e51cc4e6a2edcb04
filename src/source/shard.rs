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
    /// Position in the listing, from 0.
    pub index: usize,
    /// 16 hex digits: blake3 over the names, sizes, labels and masks of the entries.
    pub id: String,
    /// Sorted by the bytes of their image id.
    pub entries: Vec<Entry>,
    /// Bytes of the file of each entry.
    pub sizes: Vec<u64>,
}

impl Shard {
    /// Size of all its files; `--partition I/N` deals shards by it.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// How many images it has; `None` where that shows when it is read.
    pub fn pictures(&self) -> Option<u64> {
        let known = !self.entries.iter().any(|entry| matches!(entry, Entry::Archive(_)));
        known.then_some(self.entries.len() as u64)
    }
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

/// Shards that grow entry by entry.
#[derive(Default)]
pub struct Shards {
    done: Vec<Shard>,
    digest: blake3::Hasher,
}

impl Shards {
    /// Adds the next entry, whose file has `bytes`, to shard `index`: that of the last entry, or a
    /// new one.
    pub fn add(&mut self, index: usize, entry: Entry, bytes: u64) {
        if self.done.last().is_none_or(|shard| shard.index != index) {
            self.seal();
            let (id, entries, sizes) = (String::new(), Vec::new(), Vec::new());
            self.done.push(Shard { index, id, entries, sizes });
        }
        digest_entry(&mut self.digest, &entry, bytes);
        if let Some(shard) = self.done.last_mut() {
            shard.entries.push(entry);
            shard.sizes.push(bytes);
        }
    }

    /// All shards.
    pub fn finish(mut self) -> Vec<Shard> {
        self.seal();
        self.done
    }

    fn seal(&mut self) {
        if let Some(shard) = self.done.last_mut() {
            shard.id = self.digest.finalize().to_hex()[..16].to_owned();
            self.digest.reset();
            shard.entries.shrink_to_fit();
            shard.sizes.shrink_to_fit();
        }
    }
}

/// Cuts `drafts`, sorted by image id, into shards.
pub(super) fn cut(drafts: Vec<Draft>, size: ShardSize) -> Vec<Shard> {
    let mut shards = Shards::default();
    let (mut index, mut taken) = (0, 0);
    for Draft { entry, size_bytes } in drafts {
        // A file with images in it has as many as it has.
        let alone = matches!(entry, Entry::Archive(_));
        if taken > 0 && (alone || taken == size.get()) {
            (index, taken) = (index + 1, 0);
        }
        shards.add(index, entry, size_bytes);
        taken = if alone { size.get() } else { taken + 1 };
    }
    shards.finish()
}

/// Every field is preceded by its length, so that no two listings give the same bytes.
fn digest_entry(digest: &mut blake3::Hasher, entry: &Entry, size_bytes: u64) {
    let mut field = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    field(entry.image_id().as_bytes());
    field(&size_bytes.to_le_bytes());
    match entry {
        Entry::Rejected(rejected) => field(rejected.failure.code.as_str().as_bytes()),
        Entry::Archive(archive) => {
            field(archive.kind.as_str().as_bytes());
            if let Some(FileVersion::Etag(etag)) = &archive.version {
                field(etag.as_bytes());
            }
            if let Some(most) = archive.most {
                field(&most.get().to_le_bytes());
            }
        }
        Entry::Sample(sample) => {
            field(sample.label.map_or("", Label::as_str).as_bytes());
            // The same on every machine, unlike the times of a disk.
            if let Some(FileVersion::Etag(etag)) = &sample.version {
                field(etag.as_bytes());
            }
            if let Some(file) = &sample.file {
                field(b"at");
                field(file.as_bytes());
            }
            match &sample.mask {
                MaskSource::Unknown => field(b"unknown"),
                MaskSource::AllNormal => field(b"all_normal"),
                MaskSource::Files(ids) => {
                    field(b"file");
                    ids.iter().for_each(|id| field(id.as_bytes()));
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
