//! Area under the curve of per-image overlap (Bertoldo et al. 2024, "AUPIMO"): from the bins of a sketch
//! to the mean over all anomalous images and its bounds. Never here: pixels, or single images.

use super::bounds::Bounded;
use super::pixel::ROUNDING;
use super::sketch::{PixelSketch, WEIGHT_PARTS};
use super::sum::CompensatedSum;

/// The false positive rates between which the curve counts.
const RATES: [f64; 2] = [1e-5, 1e-4];

/// Mean over the anomalous images of the area under the recalled share of an image's defects over the
/// logarithm of the false positive rate, from 1e-5 to 1e-4, as a share of the largest area that there is.
///
/// `sketch` has the pixels of images without defects, which alone make false positives here, and the
/// defects of each other image as one region. All maps are of one size, so that the mean rate over
/// images is the rate of all pixels. The curve has a point for each distinct score and is straight between
/// points; the part that a score spans which leads from rate 0 across the lower end has no slope, and
/// its bounds are those of the two points. `None` without anomalous images, and where there are so few
/// normal pixels that a single one is more than 1e-5 of them.
pub fn aupimo(sketch: &PixelSketch) -> Option<Bounded> {
    let totals = sketch.totals();
    let [first, last] = RATES.map(|rate| rate * totals.n_normal as f64);
    if totals.n_regions == 0 || first < 1.0 - ROUNDING {
        return None;
    }
    // In units of one part of an image.
    let (mut worst, mut best) = (CompensatedSum::default(), CompensatedSum::default());
    let (mut normal_above, mut recalled) = (0u64, 0u64);
    for bin in sketch.bins() {
        let (from, to) = (normal_above as f64, (normal_above + bin.normal) as f64);
        let (before, after) = (recalled as f64, (recalled + bin.weight) as f64);
        (normal_above, recalled) = (normal_above + bin.normal, recalled + bin.weight);
        if from >= last {
            break;
        }
        let (start, end) = (from.max(first), to.min(last));
        if bin.normal == 0 || end <= start {
            continue;
        }
        let width = (end / start).ln();
        if bin.is_exact() && from > 0.0 {
            let slope = (after - before) / (to / from).ln();
            let at = |rate: f64| before + slope * (rate / from).ln();
            let area = width * 0.5 * (at(start) + at(end));
            worst.add(area);
            best.add(area);
        } else {
            worst.add(width * before);
            best.add(width * after);
        }
    }
    let whole = (last / first).ln() * totals.n_regions as f64 * WEIGHT_PARTS as f64;
    // The recalled share of each image is known to half a part.
    let widen = 0.5 / WEIGHT_PARTS as f64 + ROUNDING;
    Some(Bounded::between(worst.value() / whole, best.value() / whole).widened(widen))
}

#[cfg(test)]
mod tests {
    use super::super::MapPixels;
    use super::*;

    /// 100 000 normal pixels with the scores 0, 1, 2, …, and images whose defects have these scores.
    fn sketch(images: &[&[f32]]) -> PixelSketch {
        let map = (0..100_000).map(|i| i as f32).collect::<Vec<_>>();
        let mut sketch = PixelSketch::new();
        sketch.add_normal_pixels(&MapPixels::new(&map, None, 400, 250).unwrap()).unwrap();
        for defects in images {
            let mask = vec![1; defects.len()];
            let pixels = MapPixels::new(defects, Some(&mask), defects.len(), 1).unwrap();
            sketch.add_defects(&pixels).unwrap();
        }
        sketch
    }

    #[test]
    fn an_image_counts_from_the_rate_at_which_its_defects_are_found() {
        let value = |images: &[&[f32]]| aupimo(&sketch(images)).unwrap().value;
        // Above all normal pixels, and below the tenth.
        assert!((value(&[&[1e6; 4]]) - 1.0).abs() < 1e-12);
        assert!(value(&[&[10.0; 4]]) < 1e-12);
        assert!((value(&[&[1e6; 4], &[10.0; 7]]) - 0.5).abs() < 1e-12);
        // Between the fourth and the fifth: from the rate 4e-5 on.
        let from_four = 1.0 - 4f64.ln() / 10f64.ln();
        assert!((value(&[&[99_995.5; 9]]) - from_four).abs() < 1e-12);
        assert!((value(&[&[99_995.5, 1e6]]) - (0.5 + 0.5 * from_four)).abs() < 1e-12);
        // As high as the fifth: the line from 4e-5 to 5e-5 leads up to it.
        let half = 0.5 * (5f64.ln() - 4f64.ln()) / 10f64.ln();
        let from_five = 1.0 - 5f64.ln() / 10f64.ln();
        assert!((value(&[&[99_995.0; 9]]) - from_five - half).abs() < 1e-12);
    }

    #[test]
    fn it_needs_anomalous_images_and_enough_normal_pixels() {
        assert_eq!(aupimo(&sketch(&[])), None);
        let mut few = PixelSketch::new();
        few.add_map(&[0.5, 0.1], Some(&[1, 0]), 2, 1).unwrap();
        assert_eq!(aupimo(&few), None);
    }

    #[test]
    fn a_score_that_leads_across_the_lower_end_is_between_its_points() {
        let map = [[0.5f32; 5].as_slice(), &[0.25; 99_995]].concat();
        let mut sketch = PixelSketch::new();
        sketch.add_normal_pixels(&MapPixels::new(&map, None, 400, 250).unwrap()).unwrap();
        let defects = [0.75, 0.5];
        sketch.add_defects(&MapPixels::new(&defects, Some(&[1, 1]), 2, 1).unwrap()).unwrap();
        let area = aupimo(&sketch).unwrap();
        // From 1e-5 to 5e-5 one half or all, from there on all.
        let known = 1.0 - 5f64.ln() / 10f64.ln();
        let open = 1.0 - known;
        assert!((area.lower - (known + 0.5 * open)).abs() < 1e-5, "{area:?}");
        assert!((area.upper - 1.0).abs() < 1e-5, "{area:?}");
    }
}
