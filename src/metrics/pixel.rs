//! A sketch in, the pixel-level metrics out, each with bounds: what the pixels inside a bin could
//! do for the metric at best and at worst, whatever their order. Never here: pixels.

use super::aupro::{FprLimit, aupro};
use super::bounds::Bounded;
use super::sketch::{PixelSketch, PixelTotals, ScoreBin};
use super::sum::CompensatedSum;

/// What is lost in rounding when millions of terms are added with compensation.
pub(super) const ROUNDING: f64 = 1e-12;

/// Terms of a sum that are added one by one; longer sums have a closed form.
const SHORT_SUM: u64 = 64;

/// Pixel-level metrics of one category, or of a whole set; each in 0..=1.
///
/// All are `None` unless there are normal and anomalous pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PixelMetrics {
    /// Area under the ROC curve; tied pairs count one half.
    pub auroc: Option<Bounded>,
    /// Average precision, step-wise, without interpolation.
    pub ap: Option<Bounded>,
    /// Largest F1 over all thresholds. The value is reached by `f1max_threshold`.
    pub f1max: Option<Bounded>,
    /// A pixel is positive if its score is above this; of several the highest.
    pub f1max_threshold: Option<f32>,
    /// Area under mean recall per 8-connected region over FPR, up to FPR 0.3.
    pub aupro: Option<Bounded>,
    /// The same up to FPR 0.05.
    pub aupro_05: Option<Bounded>,
}

/// Metrics of the pixels that `sketch` has seen.
pub fn pixel_metrics(sketch: &PixelSketch) -> PixelMetrics {
    let totals = sketch.totals();
    if totals.n_normal == 0 || totals.n_anomalous == 0 {
        return PixelMetrics::default();
    }
    let bins = sketch.bins().collect::<Vec<_>>();
    let (f1max, threshold) = f1max(&bins, &totals);
    PixelMetrics {
        auroc: Some(auroc(&bins, &totals)),
        ap: Some(ap(&bins, &totals)),
        f1max: Some(f1max),
        f1max_threshold: Some(threshold),
        aupro: Some(aupro(&bins, &totals, FprLimit::DEFAULT)),
        aupro_05: Some(aupro(&bins, &totals, FprLimit::STRICT)),
    }
}

impl ScoreBin {
    /// Whether the order of the bin's pixels is known: they are tied, or there is one.
    pub(super) fn is_exact(&self) -> bool {
        self.low == self.high || self.normal + self.anomalous == 1
    }

    /// The highest threshold above which all of the bin is.
    fn threshold_below(&self) -> f32 {
        self.low.next_down()
    }
}

/// Pairs of a normal and an anomalous pixel inside a bin are all wrong or all right.
fn auroc(bins: &[ScoreBin], totals: &PixelTotals) -> Bounded {
    let (mut wrong, mut right) = (0u128, 0u128);
    let mut normal_below = totals.n_normal;
    for bin in bins {
        normal_below -= bin.normal;
        let (normal, anomalous) = (u128::from(bin.normal), u128::from(bin.anomalous));
        let won = 2 * anomalous * u128::from(normal_below);
        let inside = anomalous * normal;
        let (least, most) = if bin.is_exact() { (inside, inside) } else { (0, 2 * inside) };
        wrong += won + least;
        right += won + most;
    }
    let pairs = 2 * u128::from(totals.n_normal) * u128::from(totals.n_anomalous);
    let share = |won: u128| won as f64 / pairs as f64;
    Bounded::between(share(wrong), share(right))
}

/// Inside a bin the best is one step that all anomalous pixels share, before the normal ones; the
/// worst is the normal pixels first and then one step per anomalous one.
fn ap(bins: &[ScoreBin], totals: &PixelTotals) -> Bounded {
    let (mut worst, mut best) = (CompensatedSum::default(), CompensatedSum::default());
    let (mut normal_above, mut hits) = (0u64, 0u64);
    for bin in bins {
        let with_normal = normal_above + bin.normal;
        let one_step = |normal: u64| {
            let hits = (hits + bin.anomalous) as f64;
            bin.anomalous as f64 * (hits / (hits + normal as f64))
        };
        if bin.anomalous > 0 && bin.is_exact() {
            worst.add(one_step(with_normal));
            best.add(one_step(with_normal));
        } else if bin.anomalous > 0 {
            worst.add(precision_of_steps(with_normal, hits, bin.anomalous));
            best.add(one_step(normal_above));
        }
        normal_above = with_normal;
        hits += bin.anomalous;
    }
    let n = totals.n_anomalous as f64;
    Bounded::between(worst.value() / n, best.value() / n).widened(ROUNDING)
}

/// No more than the sum of the precisions at the next `steps` anomalous pixels, one by one, after
/// `hits` others and `normal` normal pixels: Σ (hits + i) / (normal + hits + i).
fn precision_of_steps(normal: u64, hits: u64, steps: u64) -> f64 {
    let (normal, hits) = (normal as f64, hits as f64);
    if steps <= SHORT_SUM {
        let precision = |i: u64| (hits + i as f64) / (normal + hits + i as f64);
        return (1..=steps).map(precision).sum();
    }
    // The terms grow, so their integral from 0 is below their sum from 1.
    let steps = steps as f64;
    steps - normal * (steps / (normal + hits).max(1.0)).ln_1p()
}

/// The end of every bin is a threshold; at best one inside a bin has all of its anomalous pixels
/// and none of the normal ones above it.
pub(super) fn f1max(bins: &[ScoreBin], totals: &PixelTotals) -> (Bounded, f32) {
    let (mut normal_above, mut hits) = (0u64, 0u64);
    let (mut reached, mut best) = ((-1.0, f32::NAN), 0.0f64);
    for bin in bins {
        hits += bin.anomalous;
        let f1 = |normal: u64| {
            2.0 * hits as f64 / (normal as f64 + hits as f64 + totals.n_anomalous as f64)
        };
        let with_normal = normal_above + bin.normal;
        let at_end = f1(with_normal);
        if at_end > reached.0 {
            reached = (at_end, bin.threshold_below());
        }
        best = best.max(if bin.is_exact() { at_end } else { f1(normal_above) });
        normal_above = with_normal;
    }
    (Bounded { value: reached.0, lower: reached.0, upper: best }, reached.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(map: &[f32], mask: &[u8]) -> PixelSketch {
        let mut sketch = PixelSketch::new();
        sketch.add_map(map, Some(mask), map.len(), 1).unwrap();
        sketch
    }

    #[test]
    fn known_orders_give_exact_figures() {
        // Ranked: anomalous, then one of each tied, then normal.
        let metrics = pixel_metrics(&sketch(&[0.5, 0.9, 0.1, 0.5], &[1, 1, 0, 0]));
        let auroc = metrics.auroc.unwrap();
        assert_eq!((auroc.lower, auroc.value, auroc.upper), (0.875, 0.875, 0.875));
        assert!((metrics.ap.unwrap().value - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(metrics.f1max.unwrap().value, 0.8);
        assert_eq!(metrics.f1max_threshold, Some(0.5f32.next_down()));
    }

    #[test]
    fn one_class_has_no_metrics() {
        assert_eq!(pixel_metrics(&PixelSketch::new()), PixelMetrics::default());
        assert_eq!(pixel_metrics(&sketch(&[0.5], &[0])), PixelMetrics::default());
        assert_eq!(pixel_metrics(&sketch(&[0.5], &[1])), PixelMetrics::default());
    }

    #[test]
    fn sums_of_many_steps_are_bounded_closely_from_below() {
        for (normal, hits) in [(0, 0), (5, 0), (1000, 70), (3, 1_000_000), (1 << 40, 12)] {
            let steps = 10_000;
            let one_by_one: f64 =
                (1..=steps).map(|i| (hits + i) as f64 / (normal + hits + i) as f64).sum();
            let closed = precision_of_steps(normal, hits, steps);
            assert!(closed <= one_by_one + 1e-9, "{normal} {hits}: {closed} {one_by_one}");
            assert!(one_by_one - closed <= 1.0, "{normal} {hits}: {closed} {one_by_one}");
        }
    }
}
