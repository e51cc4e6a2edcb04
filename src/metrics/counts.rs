//! Anomaly maps with their masks in, a sorted run of [`PixelCount`]s out: how many pixels have
//! which score and lie in a defect region of which size. Integers only, so joining runs is exact
//! in any order. Never here: whole data sets (one accumulator is one shard × category).

use rayon::slice::ParallelSliceMut;

use crate::error::MetricsError;

use super::regions::{check_plane, connected_regions};
use super::totals::PixelTotals;

/// `n` pixels with exactly this score, all normal or all in defect regions of one size.
///
/// A *run* is a sequence of these sorted by score descending (−0.0 is 0.0), then by `region_px`
/// ascending, with equal keys merged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelCount {
    /// Score of these pixels; finite.
    pub score: f32,
    /// 0 for normal pixels, else the size in pixels of the 8-connected region they lie in.
    pub region_px: u32,
    /// How many pixels.
    pub n: u64,
}

/// Score and region size in one integer whose ascending order is the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PixelKey(u64);

impl PixelKey {
    const SIGN: u32 = 1 << 31;

    /// Key of a finite score. −0.0 and 0.0 share one key, as they are one threshold.
    pub(super) fn new(score: f32, region_px: u32) -> Self {
        let bits = if score == 0.0 { 0 } else { score.to_bits() };
        // Positive floats already order as integers; negative ones in reverse.
        let ascending = if bits & Self::SIGN == 0 { bits | Self::SIGN } else { !bits };
        PixelKey(u64::from(!ascending) << 32 | u64::from(region_px))
    }

    /// The score that went in (0.0 for −0.0).
    pub(super) fn score(self) -> f32 {
        let ascending = !((self.0 >> 32) as u32);
        let positive = ascending & Self::SIGN != 0;
        f32::from_bits(if positive { ascending & !Self::SIGN } else { !ascending })
    }

    /// The region size that went in.
    pub(super) fn region_px(self) -> u32 {
        self.0 as u32
    }

    /// The count of `n` pixels with this key.
    pub(super) fn count(self, n: u64) -> PixelCount {
        PixelCount { score: self.score(), region_px: self.region_px(), n }
    }
}

/// Collects the pixels of one shard and category.
///
/// Memory is 8 bytes per pixel until [`finish`](PixelCounts::finish), and up to twice that while
/// the buffer grows: 137 MB for the 64 maps of 518×518 that a full shard has. Larger sets are many
/// accumulators, joined by [`merge_runs`](super::merge_runs).
#[derive(Debug, Clone, Default)]
pub struct PixelCounts {
    keys: Vec<PixelKey>,
    totals: PixelTotals,
}

impl PixelCounts {
    /// Nothing collected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one map (`width * height` scores, row by row) with its defect mask (same size, any
    /// value above 0 is defect); no mask means that every pixel is normal.
    ///
    /// # Errors
    /// A score is NaN or infinite, or map or mask are not `width * height` long. Nothing of the
    /// map has been added then.
    pub fn add_map(
        &mut self,
        map: &[f32],
        mask: Option<&[u8]>,
        width: usize,
        height: usize,
    ) -> Result<(), MetricsError> {
        check_plane("map", map.len(), width, height)?;
        if let Some(index) = map.iter().position(|score| !score.is_finite()) {
            return Err(MetricsError::NonFinite { index, value: f64::from(map[index]) });
        }
        let Some(mask) = mask else {
            self.totals = self.totals.merge(&PixelTotals::of_plane(map, 0, 0))?;
            self.keys.extend(map.iter().map(|&score| PixelKey::new(score, 0)));
            return Ok(());
        };
        let regions = connected_regions(mask, width, height)?;
        let n_anomalous = regions.areas_px().iter().map(|&area| u64::from(area)).sum();
        let plane = PixelTotals::of_plane(map, n_anomalous, regions.count() as u64);
        self.totals = self.totals.merge(&plane)?;
        let pixels = map.iter().zip(regions.area_of_each_pixel());
        self.keys.extend(pixels.map(|(&score, region_px)| PixelKey::new(score, region_px)));
        Ok(())
    }

    /// Adds pixels that were counted before, with a finite score. [`totals`](Self::totals) does not
    /// know of them.
    pub fn add_count(&mut self, PixelCount { score, region_px, n }: PixelCount) {
        let key = PixelKey::new(score, region_px);
        self.keys.extend(std::iter::repeat_n(key, usize::try_from(n).unwrap_or_default()));
    }

    /// How many pixels and regions have been added, and the range of their scores.
    pub fn totals(&self) -> PixelTotals {
        self.totals
    }

    /// Sorts what was added, on the rayon pool, and gives it as a run.
    pub fn finish(mut self) -> impl Iterator<Item = PixelCount> {
        self.keys.par_sort_unstable();
        RunLengths { keys: self.keys, next: 0 }
    }
}

/// Run-length encoding of sorted keys, made while it is read.
struct RunLengths {
    keys: Vec<PixelKey>,
    next: usize,
}

impl Iterator for RunLengths {
    type Item = PixelCount;

    fn next(&mut self) -> Option<PixelCount> {
        let rest = &self.keys[self.next..];
        let key = *rest.first()?;
        let n = rest.iter().position(|&other| other != key).unwrap_or(rest.len());
        self.next += n;
        Some(key.count(n as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(score: f32, region_px: u32, n: u64) -> PixelCount {
        PixelCount { score, region_px, n }
    }

    #[test]
    fn keys_order_scores_descending_then_regions_ascending() {
        let scores = [f32::MAX, 1.5, f32::MIN_POSITIVE, 1e-45, 0.0, -1e-45, -1.5, f32::MIN];
        let keys: Vec<PixelKey> =
            scores.iter().flat_map(|&s| [0, 1, u32::MAX].map(|r| PixelKey::new(s, r))).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.iter().zip(scores.iter().flat_map(|s| [s; 3])).all(|(k, s)| k.score() == *s));
        assert_eq!(PixelKey::new(-0.0, 3), PixelKey::new(0.0, 3));
        assert_eq!(PixelKey::new(-2.0, 7).count(4), count(-2.0, 7, 4));
    }

    #[test]
    fn a_run_is_sorted_and_equal_keys_are_one_entry() {
        let mut counts = PixelCounts::new();
        counts.add_map(&[0.5, -0.0, 0.5, 0.5, 0.0, 0.9], Some(&[1, 0, 0, 1, 0, 0]), 3, 2).unwrap();
        counts.add_map(&[0.5, 0.5], None, 2, 1).unwrap();
        let totals = counts.totals();
        assert_eq!((totals.n_normal, totals.n_anomalous, totals.n_regions), (6, 2, 1));
        assert_eq!((totals.min, totals.max), (0.0, 0.9));
        let run: Vec<PixelCount> = counts.finish().collect();
        assert_eq!(run, [count(0.9, 0, 1), count(0.5, 0, 3), count(0.5, 2, 2), count(0.0, 0, 2)]);
    }

    #[test]
    fn a_refused_map_leaves_nothing_behind() {
        let mut counts = PixelCounts::new();
        let error = counts.add_map(&[0.1, f32::NAN], None, 2, 1).unwrap_err();
        assert!(matches!(error, MetricsError::NonFinite { index: 1, .. }));
        assert!(counts.add_map(&[f32::INFINITY], None, 1, 1).is_err());
        assert!(counts.add_map(&[0.1, 0.2], None, 3, 1).is_err());
        assert!(counts.add_map(&[0.1, 0.2], Some(&[1]), 2, 1).is_err());
        assert_eq!(counts.totals(), PixelTotals::default());
        assert_eq!(counts.finish().count(), 0);
    }
}
