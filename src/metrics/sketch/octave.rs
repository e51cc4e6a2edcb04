//! Pixels of one octave in, their counts per bin out, in at most [`MAX_BINS`] bins: as many levels
//! are given up as that takes and not one more. Which level that is depends on the pixels alone,
//! because a bin that is occupied stays so when pixels come: so counts do not depend on the order
//! in which pixels or other octaves were added. Never here: regions, and sums that overflow (the
//! sketch has checked its totals before).

use super::grid::{bins_at, code_of};

/// Occupied bins of an octave. Two scores that share a bin are then closer than 2^-15 of their
/// value, or much closer where the octave's scores lie close together. Not a power of two: an
/// octave that is covered to three quarters, as that of the largest scores often is, keeps a level
/// more.
pub(super) const MAX_BINS: usize = 3 << 14;

/// From this level on bins are an array, below they are a list.
const ARRAY_LEVEL: u8 = 6;

/// Pixels that wait before they are sorted into the list.
const MAX_WAITING: usize = 1 << 16;

/// What one bin holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) normal: u64,
    pub(super) anomalous: u64,
    /// Sum over regions of the share of their pixels that is in the bin.
    pub(super) weight: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.normal += other.normal;
        self.anomalous += other.anomalous;
        self.weight += other.weight;
    }

    fn is_empty(self) -> bool {
        self.normal == 0 && self.anomalous == 0
    }
}

/// An occupied bin: its place in the octave and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bin {
    pub(super) code: u32,
    pub(super) counts: Counts,
}

/// Counts of one octave.
#[derive(Debug, Clone)]
pub(super) struct Octave {
    level: u8,
    bins: Bins,
}

#[derive(Debug, Clone)]
enum Bins {
    List(List),
    Array(Array),
}

/// Few scores, or scores close together: the occupied bins alone.
#[derive(Debug, Clone, Default)]
struct List {
    /// By code.
    sorted: Vec<Bin>,
    /// Codes of normal pixels that are not yet in `sorted`.
    normal: Vec<u32>,
    /// Other bins that are not yet in `sorted`.
    others: Vec<Bin>,
}

/// Every bin of the octave, occupied or not.
#[derive(Debug, Clone)]
struct Array {
    normal: Vec<u64>,
    /// Anomalous pixels, and their weight.
    anomalous: Vec<[u64; 2]>,
    occupied: usize,
}

impl Default for Octave {
    fn default() -> Self {
        Octave { level: 0, bins: Bins::List(List::default()) }
    }
}

impl Octave {
    /// Adds normal pixels by their keys.
    pub(super) fn add_normal(&mut self, key: u32) {
        let code = code_of(key, self.level);
        match &mut self.bins {
            Bins::Array(array) => {
                let count = &mut array.normal[code as usize];
                *count += 1;
                if *count == 1 && array.anomalous[code as usize][0] == 0 {
                    array.occupied += 1;
                    self.coarsen_array();
                }
            }
            Bins::List(list) => {
                list.normal.push(code);
                if list.normal.len() >= MAX_WAITING {
                    self.settle();
                }
            }
        }
    }

    /// Adds what bins of the level-`level` grid hold.
    pub(super) fn add(&mut self, level: u8, bins: &[Bin]) {
        self.coarsen_to(level);
        let up = self.level - level;
        match &mut self.bins {
            Bins::Array(array) => {
                for Bin { code, counts } in bins {
                    let code = (code >> up) as usize;
                    array.occupied += usize::from(array.is_empty_at(code));
                    array.add(code, *counts);
                }
                self.coarsen_array();
            }
            Bins::List(list) => {
                list.others.extend(bins.iter().map(|bin| Bin { code: bin.code >> up, ..*bin }));
                if list.others.len() >= MAX_WAITING {
                    self.settle();
                }
            }
        }
    }

    /// Sorts waiting pixels in. Must come before [`bins`](Self::bins).
    pub(super) fn settle(&mut self) {
        let Bins::List(list) = &mut self.bins else { return };
        list.sort_in();
        while list.sorted.len() > MAX_BINS && self.level < ARRAY_LEVEL {
            self.level += 1;
            list.halve();
        }
        if self.level >= ARRAY_LEVEL {
            let mut array = Array::new(self.level);
            for Bin { code, counts } in &list.sorted {
                array.add(*code as usize, *counts);
            }
            array.occupied = list.sorted.len();
            self.bins = Bins::Array(array);
            self.coarsen_array();
        }
    }

    /// Level of the grid that [`bins`](Self::bins) are on.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// The occupied bins, lowest scores first, of an octave that is settled.
    pub(super) fn bins(&self) -> Vec<Bin> {
        match &self.bins {
            Bins::List(list) => list.sorted.clone(),
            Bins::Array(array) => {
                let all = (0..array.normal.len()).map(|code| (code, array.counts(code)));
                let occupied = all.filter(|(_, counts)| !counts.is_empty());
                occupied.map(|(code, counts)| Bin { code: code as u32, counts }).collect()
            }
        }
    }

    fn coarsen_to(&mut self, level: u8) {
        if self.level >= level {
            return;
        }
        self.settle();
        while self.level < level {
            self.level += 1;
            match &mut self.bins {
                Bins::List(list) => list.halve(),
                Bins::Array(array) => array.halve(),
            }
        }
        self.settle();
    }

    fn coarsen_array(&mut self) {
        if let Bins::Array(array) = &mut self.bins {
            while array.occupied > MAX_BINS {
                self.level += 1;
                array.halve();
            }
        }
    }
}

impl List {
    fn sort_in(&mut self) {
        self.normal.sort_unstable();
        let normal = self.normal.chunk_by(|a, b| a == b).map(|same| {
            let counts = Counts { normal: same.len() as u64, ..Counts::default() };
            Bin { code: same[0], counts }
        });
        self.others.extend(normal);
        if self.others.is_empty() {
            return;
        }
        // What is sorted already costs this sort next to nothing.
        self.sorted.append(&mut self.others);
        self.sorted.sort_by_key(|bin| bin.code);
        add_equals(&mut self.sorted);
        self.normal.clear();
    }

    fn halve(&mut self) {
        self.sorted.iter_mut().for_each(|bin| bin.code /= 2);
        add_equals(&mut self.sorted);
    }
}

/// Makes neighbours with one code one bin.
fn add_equals(bins: &mut Vec<Bin>) {
    bins.dedup_by(|bin, before| {
        let same = bin.code == before.code;
        if same {
            before.counts.add(bin.counts);
        }
        same
    });
}

impl Array {
    fn new(level: u8) -> Self {
        let bins = bins_at(level) as usize;
        Array { normal: vec![0; bins], anomalous: vec![[0; 2]; bins], occupied: 0 }
    }

    fn counts(&self, code: usize) -> Counts {
        let [anomalous, weight] = self.anomalous[code];
        Counts { normal: self.normal[code], anomalous, weight }
    }

    fn is_empty_at(&self, code: usize) -> bool {
        self.normal[code] == 0 && self.anomalous[code][0] == 0
    }

    fn add(&mut self, code: usize, counts: Counts) {
        self.normal[code] += counts.normal;
        if counts.anomalous > 0 {
            self.anomalous[code][0] += counts.anomalous;
            self.anomalous[code][1] += counts.weight;
        }
    }

    fn halve(&mut self) {
        let half = self.normal.len() / 2;
        let mut halved =
            Array { normal: vec![0; half], anomalous: vec![[0; 2]; half], occupied: 0 };
        for code in 0..half {
            let mut counts = self.counts(2 * code);
            counts.add(self.counts(2 * code + 1));
            halved.add(code, counts);
            halved.occupied += usize::from(!counts.is_empty());
        }
        *self = halved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    /// The smallest level at which `keys` fill no more bins than there may be.
    fn smallest_level(keys: &[u32]) -> u8 {
        let occupied = |level| {
            let mut codes = keys.iter().map(|&key| code_of(key, level)).collect::<Vec<_>>();
            codes.sort_unstable();
            codes.dedup();
            codes.len()
        };
        (0..24).find(|&level| occupied(level) <= MAX_BINS).unwrap()
    }

    fn normal(keys: &[u32]) -> Octave {
        let mut octave = Octave::default();
        keys.iter().for_each(|&key| octave.add_normal(key));
        octave.settle();
        octave
    }

    fn merged(parts: &[&Octave]) -> Octave {
        let mut octave = Octave::default();
        for part in parts {
            for bin in part.bins() {
                octave.add(part.level(), &[bin]);
            }
            octave.settle();
        }
        octave
    }

    #[test]
    fn the_level_is_the_smallest_that_fits_however_the_pixels_come() {
        let mut rng = Rng::with_seed(8);
        // All over the octave; in an eighth of it; in a few keys; a few pixels.
        for (n, width) in [(300_000, 1 << 23), (90_000, 1 << 20), (70_000, 9), (500, 1 << 23)] {
            let keys = (0..n).map(|_| rng.u32(0..width)).collect::<Vec<_>>();
            let whole = normal(&keys);
            assert_eq!(whole.level(), smallest_level(&keys), "{n} in {width}");
            let (a, rest) = keys.split_at(n / 7);
            let (b, c) = rest.split_at(n / 2);
            let [a, b, c] = [a, b, c].map(normal);
            for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a]] {
                let octave = merged(&order);
                assert_eq!((octave.level(), octave.bins()), (whole.level(), whole.bins()));
            }
            assert_eq!(whole.bins().iter().map(|bin| bin.counts.normal).sum::<u64>(), n as u64);
        }
    }

    #[test]
    fn anomalous_pixels_occupy_bins_too() {
        let mut octave = normal(&(0..MAX_BINS as u32).map(|i| 2 * i).collect::<Vec<_>>());
        assert_eq!(octave.level(), 0);
        let counts = Counts { anomalous: 1, weight: 5, ..Counts::default() };
        octave.add(0, &[Bin { code: 7, counts }]);
        octave.settle();
        assert_eq!(octave.level(), 1);
        let expected = Counts { normal: 1, ..counts };
        assert_eq!(octave.bins()[3], Bin { code: 3, counts: expected });
    }
}
