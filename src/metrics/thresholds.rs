//! Scores and truth in, thresholds for later runs out. What is *above* a threshold is positive, here
//! as in a run. Never here: whether a run uses them.

use super::image::{ImageMetrics, ImageScore, Label};
use super::pixel::PixelMetrics;
use super::sketch::PixelSketch;

/// How a threshold is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdRule {
    /// The best F1.
    F1max,
    /// At most 0.1 % of what is normal is above it.
    Fpr0_1Pct,
    /// At most 1 % of what is normal is above it.
    Fpr1Pct,
    /// At most 5 % of what is normal is above it.
    Fpr5Pct,
}

impl ThresholdRule {
    /// All rules, in the order of this enum.
    pub const ALL: [ThresholdRule; 4] = [
        ThresholdRule::F1max,
        ThresholdRule::Fpr0_1Pct,
        ThresholdRule::Fpr1Pct,
        ThresholdRule::Fpr5Pct,
    ];

    /// The share of what is normal that may be above the threshold.
    fn false_positive_rate(self) -> Option<f64> {
        match self {
            ThresholdRule::F1max => None,
            ThresholdRule::Fpr0_1Pct => Some(0.001),
            ThresholdRule::Fpr1Pct => Some(0.01),
            ThresholdRule::Fpr5Pct => Some(0.05),
        }
    }
}

/// The threshold of each rule; `None` where what it needs is not there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Thresholds([Option<f32>; ThresholdRule::ALL.len()]);

impl Thresholds {
    /// The threshold of one rule.
    pub fn get(&self, rule: ThresholdRule) -> Option<f32> {
        self.0[rule as usize]
    }
}

/// Thresholds of the scores of images, whose metrics are `metrics`. Scores are f32 values.
///
/// That of the best F1 lies midway to the next lower score.
pub fn image_thresholds(scores: &[ImageScore], metrics: &ImageMetrics) -> Thresholds {
    let normal = scores.iter().filter(|image| image.label == Label::Normal);
    let mut normal = normal.map(|image| image.score).collect::<Vec<_>>();
    normal.sort_unstable_by(|a, b| b.total_cmp(a));
    let at_rate = |rate: f64| {
        let allowed = (rate * normal.len() as f64) as usize;
        let all = || normal.last().map(|lowest| (*lowest as f32).next_down());
        normal.get(allowed).map(|score| *score as f32).or_else(all)
    };
    Thresholds(ThresholdRule::ALL.map(|rule| match rule.false_positive_rate() {
        Some(rate) => at_rate(rate),
        None => metrics.f1max_threshold.map(|lowest_positive| {
            let below = scores.iter().map(|image| image.score).filter(|s| *s < lowest_positive);
            midway(below.fold(f64::NEG_INFINITY, f64::max), lowest_positive)
        }),
    }))
}

/// A number that `above` is above and `below`, which is smaller or −∞, is not.
fn midway(below: f64, above: f64) -> f32 {
    let middle = (below + (above - below) / 2.0) as f32;
    let fits = below <= f64::from(middle) && f64::from(middle) < above;
    if fits && middle.is_finite() { middle } else { (above as f32).next_down() }
}

/// Thresholds of the pixels of `sketch`, whose metrics are `metrics`.
pub fn pixel_thresholds(sketch: &PixelSketch, metrics: &PixelMetrics) -> Thresholds {
    let totals = sketch.totals();
    let at_rate = |rate: f64| {
        let allowed = rate * totals.n_normal as f64;
        let mut above = 0u64;
        let first_below = sketch.bins().find(|bin| {
            above += bin.normal;
            above as f64 > allowed
        });
        let all = || totals.min.next_down();
        (totals.n_normal > 0).then(|| first_below.map_or_else(all, |bin| bin.high))
    };
    Thresholds(ThresholdRule::ALL.map(|rule| match rule.false_positive_rate() {
        Some(rate) => at_rate(rate),
        None => metrics.f1max_threshold,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{image_metrics, pixel_metrics};
    use super::*;

    #[test]
    fn thresholds_leave_their_share_of_the_normal_above_them() {
        let map = (0..2000u16).map(|i| f32::from(i) / 2000.0).collect::<Vec<_>>();
        let mut sketch = PixelSketch::new();
        sketch.add_map(&map, None, map.len(), 1).unwrap();
        let of_pixels = pixel_thresholds(&sketch, &pixel_metrics(&sketch));
        let image = |score: &f32| ImageScore { score: f64::from(*score), label: Label::Normal };
        let images = map.iter().map(image).collect::<Vec<_>>();
        let of_images = image_thresholds(&images, &image_metrics(&images).unwrap());
        for (rule, expected) in
            ThresholdRule::ALL.into_iter().zip([None, Some(2), Some(20), Some(100)])
        {
            for thresholds in [of_pixels, of_images] {
                let above = |t: f32| map.iter().filter(|score| **score > t).count();
                assert_eq!(thresholds.get(rule).map(above), expected, "{rule:?}");
            }
        }
    }

    #[test]
    fn the_best_f1_is_reached_above_its_threshold() {
        let images = [(0.9, Label::Anomalous), (0.7, Label::Anomalous), (0.5, Label::Normal)];
        let images = images.map(|(score, label)| ImageScore { score, label });
        let thresholds = image_thresholds(&images, &image_metrics(&images).unwrap());
        assert_eq!(thresholds.get(ThresholdRule::F1max), Some(0.6));
        let next = f64::from(0.5f32.next_up());
        assert_eq!(midway(0.5, next), 0.5);
        assert_eq!(midway(f64::NEG_INFINITY, 0.5), 0.5f32.next_down());
    }

    #[test]
    fn nothing_has_no_thresholds() {
        let none = image_thresholds(&[], &image_metrics(&[]).unwrap());
        assert_eq!(none, Thresholds::default());
        assert_eq!(pixel_thresholds(&PixelSketch::new(), &PixelMetrics::default()), none);
    }
}
