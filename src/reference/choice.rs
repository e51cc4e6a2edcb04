//! Which images are references. In: ids of images, category by category. Out: the few whose keyed
//! hash is smallest: the same ones whoever chooses, in whatever order, and whatever the ids look like.
//! Labels play no part.

use std::collections::{BTreeMap, BinaryHeap};

use crate::source::Category;

/// Most references of a category.
pub const MAX_REFERENCES: usize = 128;

/// Fewer tell nothing of what is normal.
pub const MIN_REFERENCES: usize = 8;

/// The key of the hash, so that no other sampling by hash is the same.
const KEY: &str = "filo 2026 choice of references";

/// Where an id stands in the order of choice.
pub fn rank(id: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(KEY);
    hasher.update(id.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The images with the smallest hashes of each category, while all are looked at once. Memory grows
/// with the number of categories only.
#[derive(Debug)]
pub struct Choice<T> {
    chosen: BTreeMap<Category, BinaryHeap<Ranked<T>>>,
}

/// Ordered by rank alone, which is unique for unique ids.
#[derive(Debug)]
struct Ranked<T> {
    rank: [u8; 32],
    item: T,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Choice { chosen: BTreeMap::new() }
    }
}

impl<T> Choice<T> {
    /// Takes `item` in if its id is among the first of its category so far.
    pub fn offer(&mut self, category: &Category, id: &str, item: impl FnOnce() -> T) {
        let rank = rank(id);
        let Some(heap) = self.chosen.get_mut(category) else {
            let heap = BinaryHeap::from([Ranked { rank, item: item() }]);
            self.chosen.insert(category.clone(), heap);
            return;
        };
        if heap.len() == MAX_REFERENCES {
            if heap.peek().is_some_and(|last| last.rank <= rank) {
                return;
            }
            heap.pop();
        }
        heap.push(Ranked { rank, item: item() });
    }

    /// What was chosen, smallest hash first.
    pub fn finish(self) -> BTreeMap<Category, Vec<T>> {
        let items = |heap: BinaryHeap<Ranked<T>>| {
            heap.into_sorted_vec().into_iter().map(|ranked| ranked.item).collect()
        };
        self.chosen.into_iter().map(|(category, heap)| (category, items(heap))).collect()
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(ids: impl Iterator<Item = usize>) -> Vec<String> {
        let category = "bolt".parse::<Category>().unwrap();
        let mut choice = Choice::default();
        for id in ids.map(|i| format!("{i}.png")) {
            choice.offer(&category, &id, || id.clone());
        }
        choice.finish().remove(&category).unwrap()
    }

    #[test]
    fn the_order_of_looking_does_not_matter_and_the_smallest_hashes_win() {
        let forwards = chosen(0..500);
        assert_eq!(forwards, chosen((0..500).rev()));
        assert_eq!(forwards.len(), MAX_REFERENCES);
        let mut all = (0..500).map(|i| format!("{i}.png")).collect::<Vec<_>>();
        all.sort_by_key(|id| rank(id));
        assert_eq!(forwards, all[..MAX_REFERENCES]);
    }

    #[test]
    fn few_images_are_all_references() {
        assert_eq!(chosen(0..3).len(), 3);
        assert!(chosen(0..3).is_sorted_by_key(|id| rank(id)));
    }
}
