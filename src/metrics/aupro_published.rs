//! The same curve as the published code measures it, to compare with printed figures: about 200
//! thresholds, FPR below the limit, kept FPRs stretched to 0..1.
//! Never here: the definition (`aupro.rs`); the two differ by up to 0.1 on coarse maps.

use super::aupro::FprLimit;
use super::sketch::{PixelSketch, PixelTotals, ScoreBin, WEIGHT_PARTS};
use super::sum::CompensatedSum;

/// Steps in a sweep of the published code.
const STEPS: f32 = 200.0;

/// A point of the curve.
#[derive(Debug, Clone, Copy)]
struct Point {
    fpr: f64,
    /// Sum over all regions of the recalled fraction.
    recall: f64,
}

/// The published figure of what `sketch` has seen; `None` where the published code stops or gives
/// NaN: no region, no normal pixel, a constant map, no FPR below the limit, or all of those the
/// same.
///
/// Where a threshold cuts a bin, the bin's pixels are taken to lie evenly in it.
pub fn published_aupro(sketch: &PixelSketch, limit: FprLimit) -> Option<f64> {
    let PixelTotals { n_normal, n_regions, min, max, .. } = sketch.totals();
    let mut bins = sketch.bins().peekable();
    let (mut normal, mut weight) = (0.0, 0.0);
    let mut points = Vec::new();
    for threshold in published_thresholds(min, max).into_iter().rev() {
        while let Some(bin) = bins.next_if(|bin| f64::from(bin.low) > threshold) {
            normal += bin.normal as f64;
            weight += bin.weight as f64;
        }
        let (more_normal, more_weight) = bins.peek().map_or((0.0, 0.0), |bin| {
            let share = share_above(bin, threshold);
            (share * bin.normal as f64, share * bin.weight as f64)
        });
        let fpr = (normal + more_normal) / n_normal as f64;
        if fpr < limit.get() {
            points.push(Point { fpr, recall: (weight + more_weight) / WEIGHT_PARTS as f64 });
        }
    }
    let area = rescaled_area(&points)?;
    (n_regions > 0).then(|| area / n_regions as f64)
}

/// Which share of a bin that does not begin above the threshold lies above it.
fn share_above(bin: &ScoreBin, threshold: f64) -> f64 {
    let (low, high) = (f64::from(bin.low), f64::from(bin.high));
    if high > threshold { (high - threshold) / (high - low) } else { 0.0 }
}

/// Trapezoids under the points after their FPRs have been stretched to 0..1.
///
/// The published code does this where the definition divides by the limit. It drops the piece from
/// FPR 0 to the smallest seen and that from the largest seen to the limit.
fn rescaled_area(points: &[Point]) -> Option<f64> {
    let (first, last) = (points.first()?.fpr, points.last()?.fpr);
    let span = last - first;
    let mut area = CompensatedSum::default();
    for pair in points.windows(2) {
        area.add((pair[1].fpr - pair[0].fpr) * (pair[0].recall + pair[1].recall) / 2.0);
    }
    (span > 0.0).then(|| area.value() / span)
}

/// Thresholds as the published sweep has them: `numpy.arange(min, max, (max - min) / 200)` on f32
/// bounds, which gives f64 values. Step and number of steps are computed in f32, so there is a
/// 201st threshold just below `max` where the step was rounded down, and the step really taken is
/// that between the first two values. A pixel is positive if its score, in f64, is above.
///
/// Empty where `arange` fails: constant maps, no pixels, a range that overflows.
fn published_thresholds(min: f32, max: f32) -> Vec<f64> {
    let step = (max - min) / STEPS;
    let steps = ((max - min) / step).ceil();
    if !steps.is_finite() || min >= max {
        return Vec::new();
    }
    let start = f64::from(min);
    let taken = f64::from(min + step) - start;
    // Rounding of `step` can at most double the number of steps, so the cast is exact.
    (0..steps as u32).map(|i| start + f64::from(i) * taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_numpy() {
        let plain = published_thresholds(0.1, 0.9);
        assert_eq!(plain.len(), 200);
        assert_eq!(plain[1], 0.10400000214576721);
        assert_eq!(plain[2], 0.1080000028014183);
        assert_eq!(plain[199], 0.8960001319646835);
        let rounded_down = published_thresholds(0.8132702, 0.91275555);
        assert_eq!(rounded_down.len(), 201);
        assert_eq!(rounded_down[200], 0.9127503633499146);
    }

    #[test]
    fn ranges_without_a_step_have_no_thresholds() {
        assert!(published_thresholds(0.5, 0.5).is_empty());
        assert!(published_thresholds(f32::INFINITY, f32::NEG_INFINITY).is_empty());
        assert!(published_thresholds(f32::MIN, f32::MAX).is_empty());
        assert!(published_thresholds(0.0, 1e-45).is_empty());
    }

    #[test]
    fn the_stretch_drops_both_ends() {
        let points = [(0.1, 1.0), (0.2, 2.0)].map(|(fpr, recall)| Point { fpr, recall });
        assert!((rescaled_area(&points).unwrap() - 1.5).abs() < 1e-15);
        assert_eq!(rescaled_area(&points[..1]), None);
        assert_eq!(rescaled_area(&[]), None);
    }
}
