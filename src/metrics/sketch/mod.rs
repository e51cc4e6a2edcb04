//! Anomaly maps with their masks in, a small summary of their pixels out, from which every pixel
//! metric follows with certified bounds. Integers only: sketches of parts, merged in any order, are
//! the sketch of the whole, bit for bit. Never here: curves.
//!
//! Scores are put into bins of a grid that is fixed for all data (`grid.rs`); where an octave of
//! scores would have more than 49 152 occupied bins it goes to the next coarser grid
//! (`octave.rs`). Small sets are therefore exact, and the largest take some hundred kilobytes.

pub(super) mod codec;
pub(super) mod grid;
mod octave;

use crate::error::MetricsError;

use super::map_pixels::MapPixels;
use grid::{octave_of, score_of, scores_of};
use octave::{Bin, Counts, Octave};

/// Parts into which the weight of a region is cut: a power of two, so that dividing is exact.
pub(super) const WEIGHT_PARTS: u64 = 1 << 18;

/// Summary of the pixels of some anomaly maps.
///
/// Besides counts, a bin knows which share of the regions it holds: each region has the weight
/// 2¹⁸, spread over its pixels from the highest score down so that at any threshold the weight
/// above it is the recalled share of the region to half a part in 2¹⁸.
#[derive(Debug, Clone, Default)]
pub struct PixelSketch {
    totals: PixelTotals,
    /// By octave; those at the end that have no pixel may be missing.
    octaves: Vec<Option<Box<Octave>>>,
}

/// How many pixels and regions, and the range of the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelTotals {
    /// Pixels outside every defect region.
    pub n_normal: u64,
    /// Pixels inside a defect region.
    pub n_anomalous: u64,
    /// 8-connected defect regions.
    pub n_regions: u64,
    /// Smallest score; +∞ where there is no pixel.
    pub min: f32,
    /// Largest score; −∞ where there is no pixel.
    pub max: f32,
}

impl Default for PixelTotals {
    fn default() -> Self {
        PixelTotals {
            n_normal: 0,
            n_anomalous: 0,
            n_regions: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }
}

impl PixelTotals {
    /// Totals of both sets of pixels together.
    fn merge(&self, other: &Self) -> Result<Self, MetricsError> {
        let add = |a: u64, b: u64| a.checked_add(b).ok_or(MetricsError::CountOverflow);
        let merged = PixelTotals {
            n_normal: add(self.n_normal, other.n_normal)?,
            n_anomalous: add(self.n_anomalous, other.n_anomalous)?,
            n_regions: add(self.n_regions, other.n_regions)?,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        };
        add(merged.n_normal, merged.n_anomalous)?;
        merged.n_regions.checked_mul(WEIGHT_PARTS).ok_or(MetricsError::CountOverflow)?;
        Ok(merged)
    }
}

/// All pixels whose scores lie in one bin; the bin is occupied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreBin {
    /// Smallest score that falls into the bin.
    pub low: f32,
    /// Largest score that falls into the bin; `low` where the bin is one score.
    pub high: f32,
    /// Pixels outside every defect region.
    pub normal: u64,
    /// Pixels inside a defect region.
    pub anomalous: u64,
    /// Sum over regions of the share of their pixels in the bin, in parts of 2⁻¹⁸.
    pub weight: u64,
}

impl PixelSketch {
    /// Nothing added yet.
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
        let pixels = MapPixels::new(map, mask, width, height)?;
        self.add_normal_pixels(&pixels)?;
        self.add_regions(&pixels)
    }

    /// Adds the pixels of a map that lie outside every region.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 pixels.
    pub fn add_normal_pixels(&mut self, pixels: &MapPixels) -> Result<(), MetricsError> {
        let (mut min, mut max, mut n_normal) = (u32::MAX, 0, 0);
        for key in pixels.normal_keys() {
            (min, max, n_normal) = (min.min(key), max.max(key), n_normal + 1);
            self.octave(octave_of(key)).add_normal(key);
        }
        self.settle();
        if n_normal > 0 {
            let (min, max) = (score_of(min), score_of(max));
            let added = PixelTotals { n_normal, n_anomalous: 0, n_regions: 0, min, max };
            self.totals = self.totals.merge(&added)?;
        }
        Ok(())
    }

    /// Adds the pixels of a map that lie in its regions.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 pixels, or 2⁴⁶ − 1 regions.
    pub fn add_regions(&mut self, pixels: &MapPixels) -> Result<(), MetricsError> {
        let regions = pixels.keys_by_region();
        let (Some(min), Some(max)) = (
            regions.iter().filter_map(|keys| keys.last()).min(),
            regions.iter().filter_map(|keys| keys.first()).max(),
        ) else {
            return Ok(());
        };
        self.totals = self.totals.merge(&PixelTotals {
            n_normal: 0,
            n_anomalous: pixels.n_anomalous(),
            n_regions: regions.len() as u64,
            min: score_of(*min),
            max: score_of(*max),
        })?;
        regions.iter().for_each(|keys| self.add_region(keys));
        self.settle();
        Ok(())
    }

    /// Adds the pixels of a map that lie in its regions as if they were one region.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 pixels, or 2⁴⁶ − 1 such maps.
    pub fn add_defects(&mut self, pixels: &MapPixels) -> Result<(), MetricsError> {
        let mut keys = pixels.keys_by_region().concat();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let (Some(max), Some(min)) = (keys.first(), keys.last()) else { return Ok(()) };
        self.totals = self.totals.merge(&PixelTotals {
            n_normal: 0,
            n_anomalous: keys.len() as u64,
            n_regions: 1,
            min: score_of(*min),
            max: score_of(*max),
        })?;
        self.add_region(&keys);
        self.settle();
        Ok(())
    }

    /// Adds the pixels of a region, highest scores first.
    fn add_region(&mut self, keys: &[u32]) {
        let area = keys.len() as u64;
        let recalled = |pixels: u64| (pixels * WEIGHT_PARTS + area / 2) / area;
        for (before, &key) in (0u64..).zip(keys) {
            let weight = recalled(before + 1) - recalled(before);
            let counts = Counts { normal: 0, anomalous: 1, weight };
            let code = grid::code_of(key, 0);
            self.octave(octave_of(key)).add(0, &[Bin { code, counts }]);
        }
    }

    fn octave(&mut self, octave: usize) -> &mut Octave {
        if octave >= self.octaves.len() {
            self.octaves.resize(octave + 1, None);
        }
        self.octaves[octave].get_or_insert_default()
    }

    fn settle(&mut self) {
        self.octaves.iter_mut().flatten().for_each(|octave| octave.settle());
    }

    /// Adds all that `other` has seen.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 pixels, or 2⁴⁶ − 1 regions.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricsError> {
        self.totals = self.totals.merge(&other.totals)?;
        for (octave, level, bins) in other.octaves() {
            self.add_bins(octave, level, &bins);
        }
        Ok(())
    }

    /// Adds bins whose totals have been added before.
    fn add_bins(&mut self, octave: usize, level: u8, bins: &[Bin]) {
        let octave = self.octave(octave);
        octave.add(level, bins);
        octave.settle();
    }

    /// How many pixels and regions there are, and the range of their scores.
    pub fn totals(&self) -> PixelTotals {
        self.totals
    }

    /// The occupied bins, highest scores first.
    pub fn bins(&self) -> impl Iterator<Item = ScoreBin> {
        let octaves = self.octaves.iter().enumerate().rev();
        octaves.filter_map(|(id, octave)| Some((id, octave.as_deref()?))).flat_map(
            |(id, octave)| {
                let level = octave.level();
                octave.bins().into_iter().rev().map(move |Bin { code, counts }| {
                    let scores = scores_of(id, level, code);
                    let Counts { normal, anomalous, weight } = counts;
                    ScoreBin {
                        low: *scores.start(),
                        high: *scores.end(),
                        normal,
                        anomalous,
                        weight,
                    }
                })
            },
        )
    }

    /// Octave, level and bins, lowest scores first.
    fn octaves(&self) -> impl Iterator<Item = (usize, u8, Vec<Bin>)> {
        let octaves = self.octaves.iter().enumerate();
        octaves.filter_map(|(id, octave)| {
            let octave = octave.as_deref()?;
            Some((id, octave.level(), octave.bins()))
        })
    }
}

/// Sketches are equal if they summarise the same pixels.
impl PartialEq for PixelSketch {
    fn eq(&self, other: &Self) -> bool {
        self.totals == other.totals && self.octaves().eq(other.octaves())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(score: f32, normal: u64, anomalous: u64, weight: u64) -> ScoreBin {
        ScoreBin { low: score, high: score, normal, anomalous, weight }
    }

    #[test]
    fn few_scores_are_kept_as_they_are() {
        let mut sketch = PixelSketch::new();
        sketch.add_map(&[0.5, -0.0, 0.5, 0.5, 0.0, 0.9], Some(&[1, 0, 0, 1, 0, 0]), 3, 2).unwrap();
        sketch.add_map(&[0.5, 0.5], None, 2, 1).unwrap();
        let expected =
            PixelTotals { n_normal: 6, n_anomalous: 2, n_regions: 1, min: 0.0, max: 0.9 };
        assert_eq!(sketch.totals(), expected);
        let bins = sketch.bins().collect::<Vec<_>>();
        assert_eq!(bins, [bin(0.9, 1, 0, 0), bin(0.5, 3, 2, WEIGHT_PARTS), bin(0.0, 2, 0, 0)]);
    }

    #[test]
    fn the_weight_above_each_threshold_is_the_recalled_share() {
        let map = [0.9, 0.2, 0.8, 0.1, 0.7, 0.3, 0.6];
        let mut sketch = PixelSketch::new();
        sketch.add_map(&map, Some(&[1; 7]), 7, 1).unwrap();
        let mut above = 0;
        for (pixels, bin) in (1u64..).zip(sketch.bins()) {
            above += bin.weight;
            let twice_off = (14 * above).abs_diff(2 * pixels * WEIGHT_PARTS);
            assert!(twice_off <= 7, "{pixels} of 7: {above}");
        }
        assert_eq!(above, WEIGHT_PARTS);
    }

    #[test]
    fn a_refused_map_leaves_nothing_behind() {
        let mut sketch = PixelSketch::new();
        let error = sketch.add_map(&[0.1, f32::NAN], None, 2, 1).unwrap_err();
        assert!(matches!(error, MetricsError::NonFinite { index: 1, .. }));
        assert!(sketch.add_map(&[f32::INFINITY], None, 1, 1).is_err());
        assert!(sketch.add_map(&[0.1, 0.2], None, 3, 1).is_err());
        assert!(sketch.add_map(&[0.1, 0.2], Some(&[1]), 2, 1).is_err());
        sketch.add_map(&[], None, 0, 0).unwrap();
        assert_eq!(sketch, PixelSketch::new());
        assert_eq!(sketch.bins().count(), 0);
    }
}
