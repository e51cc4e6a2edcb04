//! Area under the curve of mean recall per region over false positive rate, up to a limit: from
//! the bins of a sketch to one number and its bounds. The exact definition; the published procedure
//! is in `aupro_published.rs`. Never here: pixels.

use crate::error::MetricsError;

use super::bounds::Bounded;
use super::pixel::ROUNDING;
use super::sketch::{PixelTotals, ScoreBin, WEIGHT_PARTS};
use super::sum::CompensatedSum;

/// The false positive rate up to which the curve counts; above 0, at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FprLimit(f64);

impl FprLimit {
    /// What papers on MVTec AD and VisA use (Bergmann et al. 2020, "Uninformed Students").
    pub const DEFAULT: FprLimit = FprLimit(0.3);

    /// The stricter one that later papers add: what a false alarm in a few pixels costs.
    pub const STRICT: FprLimit = FprLimit(0.05);

    /// A limit of `value`.
    ///
    /// # Errors
    /// `value` is not above 0 and at most 1.
    pub fn new(value: f64) -> Result<Self, MetricsError> {
        if value > 0.0 && value <= 1.0 {
            Ok(FprLimit(value))
        } else {
            Err(MetricsError::FprLimit { value })
        }
    }

    /// The limit as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The definition (Bergmann et al. 2020): every distinct score is a threshold, the curve starts at
/// (0, 0), is linear between its points, is cut at the limit, and the area is divided by the limit.
///
/// Inside a bin the curve runs between the one that first meets all normal pixels and the one that
/// first meets all anomalous ones. There are normal pixels and regions.
pub(super) fn aupro(bins: &[ScoreBin], totals: &PixelTotals, limit: FprLimit) -> Bounded {
    let limit_px = limit.get() * totals.n_normal as f64;
    // In units of one normal pixel × one part of a region.
    let (mut worst, mut best) = (CompensatedSum::default(), CompensatedSum::default());
    let (mut normal_above, mut recalled) = (0u64, 0u64);
    for bin in bins {
        let room = limit_px - normal_above as f64;
        if room <= 0.0 {
            break;
        }
        let (before, after) = (recalled as f64, (recalled + bin.weight) as f64);
        let width = bin.normal as f64;
        let kept = width.min(room);
        if bin.normal > 0 && bin.is_exact() {
            let area = kept * (before + 0.5 * (after - before) * (kept / width));
            worst.add(area);
            best.add(area);
        } else if bin.normal > 0 {
            worst.add(kept * before);
            best.add(kept * after);
        }
        normal_above += bin.normal;
        recalled += bin.weight;
    }
    let parts = WEIGHT_PARTS as f64;
    let whole = limit_px * (totals.n_regions as f64 * parts);
    // The recalled share of each region is known to half a part.
    Bounded::between(worst.value() / whole, best.value() / whole).widened(0.5 / parts + ROUNDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_above_zero_and_up_to_one_exist() {
        assert_eq!(FprLimit::new(0.05).unwrap().get(), 0.05);
        assert_eq!(FprLimit::new(1.0).unwrap().get(), 1.0);
        for bad in [0.0, -0.3, 1.01, f64::NAN, f64::INFINITY] {
            assert!(FprLimit::new(bad).is_err());
        }
    }

    const TOTALS: PixelTotals =
        PixelTotals { n_normal: 10, n_anomalous: 8, n_regions: 2, min: 0.5, max: 0.9 };

    fn bin(low: f32, high: f32, normal: u64, regions: u64) -> ScoreBin {
        let weight = regions * WEIGHT_PARTS;
        ScoreBin { low, high, normal, anomalous: 4 * regions, weight }
    }

    #[test]
    fn a_step_across_the_limit_counts_up_to_it() {
        let bins = [bin(0.9, 0.9, 0, 1), bin(0.5, 0.5, 10, 1)];
        // The curve rises from 0.5 at FPR 0 to 0.75 at FPR 0.5.
        let area = aupro(&bins, &TOTALS, FprLimit::new(0.5).unwrap());
        assert_eq!(area.value, 0.625);
        assert!(area.width() < 5e-6);
    }

    #[test]
    fn what_a_bin_hides_is_between_the_bounds() {
        let bins = [bin(0.9, 0.9, 0, 1), bin(0.5, 0.6, 10, 1)];
        let area = aupro(&bins, &TOTALS, FprLimit::new(0.5).unwrap());
        assert!((area.lower - 0.5).abs() < 5e-6 && (area.upper - 1.0).abs() < 5e-6, "{area:?}");
        assert_eq!(area.value, 0.75);
    }
}
