//! Pixel counts in, the few numbers out that a curve must know before its first step: how many
//! normal and anomalous pixels, how many regions, and the range of the scores.
//! They merge exactly in any order. Never here: curves.

use std::collections::BTreeMap;

use crate::error::MetricsError;

use super::counts::PixelCount;

/// Totals of one or more runs of pixels.
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
    /// Totals of no pixels: what merging starts from.
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
    /// Totals of one map of finite scores, `n_anomalous` of them in `n_regions` regions.
    pub(super) fn of_plane(map: &[f32], n_anomalous: u64, n_regions: u64) -> Self {
        let empty = Self::default();
        PixelTotals {
            n_normal: map.len() as u64 - n_anomalous,
            n_anomalous,
            n_regions,
            min: map.iter().copied().fold(empty.min, f32::min),
            max: map.iter().copied().fold(empty.max, f32::max),
        }
    }

    /// First pass over the counts of whole shards, in any order. Regions are counted from the
    /// pixels: those in regions of `a` pixels are `a` times as many as the regions.
    ///
    /// # Errors
    /// What the counts themselves report; a score that is not finite; pixels that fill no whole
    /// number of regions; more than 2⁶⁴ − 1 pixels.
    pub fn gather<E: From<MetricsError>>(
        counts: impl IntoIterator<Item = Result<PixelCount, E>>,
    ) -> Result<Self, E> {
        let mut totals = Self::default();
        let mut anomalous_by_area: BTreeMap<u32, u64> = BTreeMap::new();
        for (index, count) in counts.into_iter().enumerate() {
            let PixelCount { score, region_px, n } = count?;
            if !score.is_finite() {
                return Err(MetricsError::NonFinite { index, value: f64::from(score) }.into());
            }
            totals.min = totals.min.min(score);
            totals.max = totals.max.max(score);
            let pixels = match region_px {
                0 => &mut totals.n_normal,
                area => anomalous_by_area.entry(area).or_default(),
            };
            *pixels = add(*pixels, n)?;
        }
        for (region_px, n) in anomalous_by_area {
            if n % u64::from(region_px) != 0 {
                return Err(MetricsError::BrokenRegion { region_px, n }.into());
            }
            totals.n_anomalous = add(totals.n_anomalous, n)?;
            totals.n_regions += n / u64::from(region_px);
        }
        totals.n_pixels()?;
        Ok(totals)
    }

    /// Totals of both sets of pixels together.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 pixels.
    pub fn merge(&self, other: &Self) -> Result<Self, MetricsError> {
        let merged = PixelTotals {
            n_normal: add(self.n_normal, other.n_normal)?,
            n_anomalous: add(self.n_anomalous, other.n_anomalous)?,
            n_regions: add(self.n_regions, other.n_regions)?,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        };
        merged.n_pixels()?;
        Ok(merged)
    }

    /// All pixels.
    ///
    /// # Errors
    /// More than 2⁶⁴ − 1 of them.
    pub(super) fn n_pixels(&self) -> Result<u64, MetricsError> {
        add(self.n_normal, self.n_anomalous)
    }
}

/// Adds pixel counts; an overflow is a damaged part, never a real data set.
pub(super) fn add(a: u64, b: u64) -> Result<u64, MetricsError> {
    a.checked_add(b).ok_or(MetricsError::CountOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(counts: &[PixelCount]) -> Result<PixelTotals, MetricsError> {
        PixelTotals::gather(counts.iter().map(|&count| Ok(count)))
    }

    #[test]
    fn regions_are_counted_from_their_pixels() {
        let totals = gather(&[
            PixelCount { score: 0.9, region_px: 3, n: 4 },
            PixelCount { score: 0.5, region_px: 0, n: 10 },
            PixelCount { score: 0.5, region_px: 1, n: 2 },
            PixelCount { score: -0.5, region_px: 3, n: 2 },
        ])
        .unwrap();
        let expected =
            PixelTotals { n_normal: 10, n_anomalous: 8, n_regions: 4, min: -0.5, max: 0.9 };
        assert_eq!(totals, expected);
        assert_eq!(totals.merge(&PixelTotals::default()).unwrap(), totals);
    }

    #[test]
    fn damaged_counts_are_refused() {
        let half = PixelCount { score: 0.9, region_px: 3, n: 4 };
        assert!(matches!(gather(&[half]), Err(MetricsError::BrokenRegion { region_px: 3, n: 4 })));
        let nan = PixelCount { score: f32::NAN, ..half };
        assert!(matches!(gather(&[nan]), Err(MetricsError::NonFinite { index: 0, .. })));
        let huge = PixelCount { score: 0.0, region_px: 0, n: u64::MAX };
        assert!(matches!(gather(&[huge, huge]), Err(MetricsError::CountOverflow)));
        let one = PixelCount { score: 0.0, region_px: 1, n: 1 };
        assert!(matches!(gather(&[huge, one]), Err(MetricsError::CountOverflow)));
    }
}
