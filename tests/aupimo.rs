//! AUPIMO against golden figures of the published package (anomalib, `scripts/make_aupimo.py`), on maps
//! that follow from whole numbers, and its bounds against the definition written out naively here.

use filo::metrics::{Bounded, MapPixels, PixelSketch, aupimo};
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics/aupimo.json");

/// As splitmix64 makes them of consecutive numbers.
fn random_numbers(seed: u64, image: u64, n: usize) -> impl Iterator<Item = u64> {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let start = seed.wrapping_mul(STEP).wrapping_add(image.wrapping_mul(0xD1B5_4A32_D192_ED03));
    (1..=n as u64).map(move |i| {
        let z = i.wrapping_mul(STEP).wrapping_add(start);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// Whole numbers: `per_doubling` for each leading zero, less what the bits after the first one say.
fn scores(seed: u64, image: u64, n: usize, per_doubling: u64) -> Vec<i64> {
    let score = |z: u64| {
        let z = z >> 24;
        let bits = 63 - z.max(1).leading_zeros();
        let fraction = ((z - (1 << bits)) * per_doubling) >> bits;
        i64::from(39 - bits) * per_doubling as i64 + (per_doubling - 1) as i64 - fraction as i64
    };
    random_numbers(seed, image, n).map(score).collect()
}

/// A map with its mask.
type Image = (Vec<f32>, Option<Vec<u8>>);

struct Case {
    name: String,
    width: usize,
    height: usize,
    images: Vec<Image>,
    expected: f64,
}

fn cases() -> Vec<Case> {
    let document: Value = serde_json::from_str(&std::fs::read_to_string(GOLDEN).unwrap()).unwrap();
    document["cases"].as_array().unwrap().iter().map(case).collect()
}

fn case(of: &Value) -> Case {
    let number = |key: &str| of[key].as_u64().unwrap() as usize;
    let (width, height, normal) = (number("width"), number("height"), number("normal"));
    let (seed, per_doubling) = (number("seed") as u64, number("per_doubling") as u64);
    let defects = of["defects"].as_array().unwrap();
    let image = |at: usize| {
        let mut map = scores(seed, at as u64, width * height, per_doubling);
        let mut mask = (at >= normal).then(|| vec![0; width * height]);
        if let Some(mask) = &mut mask {
            for defect in defects[at - normal].as_array().unwrap() {
                let value = |i: usize| defect[i].as_i64().unwrap();
                let [top, left, high, wide] = [0, 1, 2, 3].map(|i| value(i) as usize);
                for y in top..top + high {
                    for x in left..left + wide {
                        map[y * width + x] += value(4);
                        mask[y * width + x] = 1;
                    }
                }
            }
        }
        (map.into_iter().map(|value| value as f32).collect(), mask)
    };
    Case {
        name: of["name"].as_str().unwrap().to_string(),
        width,
        height,
        images: (0..normal + defects.len()).map(image).collect(),
        expected: of["aupimo"].as_f64().unwrap(),
    }
}

fn sketch(images: &[Image], width: usize, height: usize) -> PixelSketch {
    let mut sketch = PixelSketch::new();
    for (map, mask) in images {
        let pixels = MapPixels::new(map, mask.as_deref(), width, height).unwrap();
        match pixels.n_regions() {
            0 => sketch.add_normal_pixels(&pixels).unwrap(),
            _ => sketch.add_defects(&pixels).unwrap(),
        }
    }
    sketch
}

#[test]
fn it_is_that_of_the_published_package() {
    let cases = cases();
    assert_eq!(cases.len(), 12);
    for Case { name, width, height, images, expected } in cases {
        let Bounded { value, lower, upper } = aupimo(&sketch(&images, width, height)).unwrap();
        assert!((value - expected).abs() < 1e-6, "{name}: {value} is not {expected}");
        assert!(lower <= expected && expected <= upper, "{name}: {expected} {lower} {upper}");
        assert!(upper - lower < 4e-6, "{name}: {lower} {upper}");
    }
}

/// By all pixels one by one, from the highest score down: a point for each distinct score.
fn naive(images: &[Image]) -> f64 {
    let mut pixels = Vec::new();
    let (mut n_normal, mut n_images) = (0.0, 0.0);
    for (map, mask) in images {
        match mask {
            Some(mask) => {
                n_images += 1.0;
                let area = mask.iter().filter(|v| **v > 0).count() as f64;
                let defects = map.iter().zip(mask).filter(|(_, v)| **v > 0);
                pixels.extend(defects.map(|(score, _)| (*score, 0.0, 1.0 / area)));
            }
            None => {
                n_normal += map.len() as f64;
                pixels.extend(map.iter().map(|score| (*score, 1.0, 0.0)));
            }
        }
    }
    pixels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (first, last) = (1e-5f64.ln(), 1e-4f64.ln());
    let (mut rate, mut recall, mut area) = (0.0f64, 0.0f64, 0.0);
    for tied in pixels.chunk_by(|a, b| a.0 == b.0) {
        let after = rate + tied.iter().map(|of| of.1).sum::<f64>();
        let recall_after = recall + tied.iter().map(|of| of.2).sum::<f64>() / n_images;
        if rate > 0.0 && after > rate {
            let (a, b) = ((rate / n_normal).ln(), (after / n_normal).ln());
            let (start, end) = (a.max(first), b.min(last));
            if end > start {
                let at = |x: f64| recall + (recall_after - recall) * (x - a) / (b - a);
                area += (end - start) * 0.5 * (at(start) + at(end));
            }
        }
        (rate, recall) = (after, recall_after);
    }
    area / (last - first)
}

#[test]
fn bounds_hold_where_scores_are_binned_and_parts_merge_to_the_whole() {
    let (width, height) = (400, 250);
    let mut random = fastrand::Rng::with_seed(11);
    let mut image = |defect: Option<f32>| {
        let mut map = (0..width * height).map(|_| random.f32().powi(8)).collect::<Vec<_>>();
        let mask = defect.map(|shift| {
            let inside = |i: usize| i % width < 90 && i / width < 70;
            (0..map.len()).filter(|i| inside(*i)).for_each(|i| map[i] += shift);
            (0..map.len()).map(|i| u8::from(inside(i))).collect::<Vec<_>>()
        });
        (map, mask)
    };
    let images = [None, None, None, Some(0.4), Some(0.9), None, Some(0.7), None, None];
    let images = images.map(&mut image);
    let whole = sketch(&images, width, height);
    let area = aupimo(&whole).unwrap();
    let exact = naive(&images);
    assert!(area.lower <= exact && exact <= area.upper, "{exact} {area:?}");
    assert!(area.width() < 1e-3 && area.value > 0.1 && area.value < 0.9, "{area:?}");
    let mut parts = sketch(&images[5..], width, height);
    parts.merge(&sketch(&images[..5], width, height)).unwrap();
    assert_eq!(aupimo(&parts), Some(area));
    let mut decoded = PixelSketch::new();
    decoded.merge_encoded(&parts.encode()).unwrap();
    assert_eq!(aupimo(&decoded), Some(area));
}
