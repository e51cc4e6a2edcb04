//! What a store says of its files: names, sizes, contents, and what became of a write.

use bytes::Bytes;

/// What [`Store::put_if_absent`](super::Store::put_if_absent) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    /// There is a file already, which is untouched: another writer's, or this one's if the answer
    /// to its first try was lost.
    AlreadyThere,
}

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the store, `/` between folders.
    pub path: String,
    pub bytes: u64,
    /// What the store calls this content of the file; another content has another.
    pub etag: Option<String>,
}

/// Which content of a file was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileVersion {
    /// The entity tag of a bucket.
    Etag(Box<str>),
    /// When a file of a disk was changed last, nanoseconds since 1970.
    Modified(u64),
}

/// What [`Store::get_unchanged`](super::Store::get_unchanged) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Whole(Bytes),
    /// Another content than the one that was asked for.
    Changed,
    /// More bytes than were asked for.
    TooLong,
}
