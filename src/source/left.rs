//! What is left of a listing. In: its shards, and which of their entries are wanted. Out: shards of the
//! same size over the rest, as if nothing else had been listed. Never here: why an entry is not wanted.

use std::num::NonZeroU64;

use super::drafts::Drafts;
use super::shard::{Draft, Shard, ShardSize, cut};

/// The entries that `is_left` wants, asked in order; at most `limit` of them, spread evenly. Also how
/// many the limit left out.
pub fn left_of(
    shards: Vec<Shard>,
    mut is_left: impl FnMut() -> bool,
    limit: Option<NonZeroU64>,
    size: ShardSize,
) -> (Vec<Shard>, usize) {
    let entries = shards.into_iter().flat_map(|shard| shard.entries.into_iter().zip(shard.sizes));
    let left = entries.filter(|_| is_left());
    let mut drafts =
        Drafts::of(left.map(|(entry, size_bytes)| Draft { entry, size_bytes }).collect());
    let before = drafts.entries.len();
    if let Some(limit) = limit.filter(|_| before > 0) {
        drafts.limit(limit.get());
    }
    let over = before - drafts.entries.len();
    (cut(drafts.entries, size), over)
}
