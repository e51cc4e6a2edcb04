//! Scores or a sketch in, the points of a curve out, thinned for drawing. Never here: areas, which
//! are computed from all points.

use super::image::{ImageScore, anomalous_in, each_threshold};
use super::sketch::{PixelSketch, WEIGHT_PARTS};

/// Two points that are closer than this in both directions are one on paper.
const GRAIN: f64 = 1.0 / 256.0;

/// A curve as `(x, y)`, both in 0..=1 and rising, from (0, 0) to (1, 1). Straight between its points;
/// every point that was left out is closer to one of them than 1/256 in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// The points, from left to right.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.0
    }

    /// The part with `x` up to `limit`, the last point interpolated.
    pub fn up_to(&self, limit: f64) -> Self {
        let inside = self.0.partition_point(|point| point.0 <= limit);
        let mut points = self.0[..inside].to_vec();
        if let (Some(&before), Some(&after)) = (points.last(), self.0.get(inside)) {
            let share = (limit - before.0) / (after.0 - before.0);
            points.push((limit, before.1 + share * (after.1 - before.1)));
        }
        Curve(points)
    }
}

/// The curves of pixels over their false-positive rate.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelCurves {
    /// Recalled share of anomalous pixels.
    pub roc: Curve,
    /// Recalled share of a region, mean over all regions (PRO).
    pub pro: Curve,
}

/// True-positive over false-positive rate of images; `None` unless there are both classes.
pub fn image_roc(scores: &[ImageScore]) -> Option<Curve> {
    let n_anomalous = anomalous_in(scores);
    let n_normal = scores.len() as u64 - n_anomalous;
    if n_anomalous == 0 || n_normal == 0 {
        return None;
    }
    let mut thinned = Thinned::default();
    let (mut false_positives, mut true_positives) = (0, 0);
    each_threshold(scores, |_, normal, anomalous| {
        true_positives += anomalous;
        false_positives += normal;
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        thinned.push(share(false_positives, n_normal), share(true_positives, n_anomalous));
    });
    Some(thinned.finish())
}

/// The curves of a sketch, a point per bin; `None` unless there are normal pixels and regions.
pub fn pixel_curves(sketch: &PixelSketch) -> Option<PixelCurves> {
    let totals = sketch.totals();
    if totals.n_normal == 0 || totals.n_regions == 0 {
        return None;
    }
    let (mut roc, mut pro) = (Thinned::default(), Thinned::default());
    let (mut normal, mut anomalous, mut weight) = (0u64, 0u64, 0u64);
    for bin in sketch.bins() {
        normal += bin.normal;
        anomalous += bin.anomalous;
        weight += bin.weight;
        let false_positives = normal as f64 / totals.n_normal as f64;
        roc.push(false_positives, anomalous as f64 / totals.n_anomalous as f64);
        pro.push(false_positives, weight as f64 / (totals.n_regions * WEIGHT_PARTS) as f64);
    }
    Some(PixelCurves { roc: roc.finish(), pro: pro.finish() })
}

/// The points that a curve keeps while it grows.
struct Thinned {
    kept: Vec<(f64, f64)>,
    /// The last point, kept or not.
    last: (f64, f64),
}

impl Default for Thinned {
    fn default() -> Self {
        Thinned { kept: vec![(0.0, 0.0)], last: (0.0, 0.0) }
    }
}

impl Thinned {
    /// A point is kept if it is far from the one kept last; then the one before it is kept as well,
    /// from which the line to it starts.
    fn push(&mut self, x: f64, y: f64) {
        let kept = self.kept.last().copied().unwrap_or_default();
        if (x - kept.0).max(y - kept.1) >= GRAIN {
            if self.last != kept {
                self.kept.push(self.last);
            }
            self.kept.push((x, y));
        }
        self.last = (x, y);
    }

    fn finish(mut self) -> Curve {
        if self.kept.last() != Some(&self.last) {
            self.kept.push(self.last);
        }
        Curve(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{image_metrics, pixel_metrics};
    use super::*;

    fn area(curve: &Curve) -> f64 {
        let steps = curve.points().windows(2);
        steps.map(|step| (step[1].0 - step[0].0) * (step[1].1 + step[0].1) / 2.0).sum()
    }

    /// Scores of two classes that overlap, many of them tied.
    fn scores(n: usize) -> Vec<ImageScore> {
        let mut random = fastrand::Rng::with_seed(3);
        let image = |i: usize| {
            let anomalous = i.is_multiple_of(3);
            let spread: f32 = (0..4).map(|_| random.f32()).sum();
            let score = (64.0 * spread).round() / 64.0 + if anomalous { 0.7 } else { 0.0 };
            ImageScore::new(score, anomalous)
        };
        (0..n).map(image).collect()
    }

    #[test]
    fn few_scores_are_drawn_as_they_are() {
        let pairs = [(0.9, true), (0.5, false), (0.5, true), (0.1, false)];
        let scores = pairs.map(|(score, anomalous)| ImageScore::new(score, anomalous));
        let curve = image_roc(&scores).unwrap();
        assert_eq!(curve.points(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(curve.up_to(0.25).points(), [(0.0, 0.0), (0.0, 0.5), (0.25, 0.75)]);
        assert_eq!(curve.up_to(1.0), curve);
        assert_eq!(image_roc(&scores[..1]), None);
    }

    #[test]
    fn a_thinned_curve_has_the_area_of_its_metric() {
        for n in [100, 60_000] {
            let scores = scores(n);
            let curve = image_roc(&scores).unwrap();
            let auroc = image_metrics(&scores).unwrap().auroc.unwrap();
            assert!((area(&curve) - auroc).abs() < 0.002, "{} {auroc}", area(&curve));
            assert!(curve.points().len() <= 1024, "{}", curve.points().len());
            assert_eq!(curve.points().last(), Some(&(1.0, 1.0)));
        }
    }

    #[test]
    fn the_curves_of_pixels_have_the_areas_of_their_metrics() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut sketch = PixelSketch::new();
        let side = 96;
        for _ in 0..4 {
            let mask = (0..side * side).map(|i| u8::from(i % side < 9 && (i / side) % 5 < 3));
            let mask = mask.collect::<Vec<_>>();
            let map = mask.iter().map(|m| random.f32() + 0.4 * f32::from(*m)).collect::<Vec<_>>();
            sketch.add_map(&map, Some(&mask), side, side).unwrap();
        }
        let curves = pixel_curves(&sketch).unwrap();
        let metrics = pixel_metrics(&sketch);
        assert!((area(&curves.roc) - metrics.auroc.unwrap().value).abs() < 0.002);
        let aupro = area(&curves.pro.up_to(0.3)) / 0.3;
        assert!((aupro - metrics.aupro.unwrap().value).abs() < 0.004, "{aupro}");
        assert_eq!(pixel_curves(&PixelSketch::new()), None);
    }
}
