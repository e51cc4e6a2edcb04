//! The metrics against golden figures (scikit-learn, and the published AUPRO procedure), and
//! against the definitions written out naively here, on random maps.

use std::collections::HashMap;

use fastrand::Rng;
use filo::metrics::{
    Bounded, CategoryMetrics, Connectivity, FprLimit, ImageScore, Influences, Label, MapPixels,
    Metric, PixelMetrics, PixelSketch, PixelSummary, Spread, connected_regions,
    connected_regions_by, image_metrics, mean_over_categories, pixel_metrics, published_aupro,
};
use proptest::prelude::*;
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics");
const EXACT: f64 = 1e-12;
/// The share of a region that is above a threshold is known to half of 2⁻¹⁸.
const WEIGHTS: f64 = 2.5e-6;

/// The images of one category: scores, and a mask of 0 and 1 for each.
#[derive(Debug, Clone)]
struct Maps {
    width: usize,
    height: usize,
    images: Vec<(Vec<f32>, Vec<u8>)>,
}

impl Maps {
    fn sketch(&self, images: std::ops::Range<usize>) -> PixelSketch {
        let mut sketch = PixelSketch::new();
        for (map, mask) in &self.images[images] {
            sketch.add_map(map, Some(mask), self.width, self.height).unwrap();
        }
        sketch
    }

    fn whole(&self) -> PixelSketch {
        self.sketch(0..self.images.len())
    }

    fn metrics(&self) -> PixelMetrics {
        pixel_metrics(&self.whole())
    }

    fn published(&self, limit: f64) -> Option<f64> {
        published_aupro(&self.whole(), FprLimit::new(limit).unwrap())
    }
}

/// The metrics with bounds, by name.
fn bounded(metrics: &PixelMetrics) -> [(&'static str, Option<Bounded>); 5] {
    [
        ("AUROC", metrics.auroc),
        ("AP", metrics.ap),
        ("F1", metrics.f1max),
        ("AUPRO", metrics.aupro),
        ("AUPRO at 0.05", metrics.aupro_05),
    ]
}

// ---- golden figures

fn cases(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{GOLDEN}/{file}")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["cases"].as_array().unwrap().clone()
}

fn golden_maps() -> HashMap<String, Maps> {
    let bytes = std::fs::read(format!("{GOLDEN}/pixel_level.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names().into_iter().filter_map(|name| name.strip_suffix(".maps"));
    let maps_of = |name: &str| {
        let maps = tensors.tensor(&format!("{name}.maps")).unwrap();
        let masks = tensors.tensor(&format!("{name}.masks")).unwrap();
        let &[_, height, width] = maps.shape() else { panic!("{name}: not three axes") };
        let scores: Vec<f32> = maps.data().chunks_exact(4).map(f32_le).collect();
        let planes = scores.chunks_exact(width * height).map(<[f32]>::to_vec);
        let masks = masks.data().chunks_exact(width * height).map(<[u8]>::to_vec);
        Maps { width, height, images: planes.zip(masks).collect() }
    };
    names.map(|name| (name.to_owned(), maps_of(name))).collect()
}

fn f32_le(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().unwrap())
}

/// A figure must match; where the golden procedure gives NaN or stops, ours must be `None`.
fn assert_golden(what: &str, ours: Option<f64>, golden: &Value, tolerance: f64) {
    match (ours, golden.as_f64()) {
        (Some(ours), Some(golden)) => {
            assert!((ours - golden).abs() <= tolerance, "{what}: {ours} is not {golden}");
        }
        (None, None) => {
            let text = golden.as_str().unwrap();
            assert!(text == "nan" || text.starts_with("error: "), "{what}: {text}");
        }
        (ours, golden) => panic!("{what}: {ours:?} is not {golden:?}"),
    }
}

#[test]
fn image_metrics_are_those_of_scikit_learn() {
    let cases = cases("image_level.json");
    assert_eq!(cases.len(), 14);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let labels = case["labels"].as_array().unwrap().iter();
        let scores = case["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap());
        let label = |v: &Value| if v == 1 { Label::Anomalous } else { Label::Normal };
        let images: Vec<ImageScore> =
            scores.zip(labels).map(|(score, l)| ImageScore { score, label: label(l) }).collect();
        let ours = image_metrics(&images).unwrap();
        assert_golden(&format!("{name} AUROC"), ours.auroc, &case["auroc"], EXACT);
        if name.starts_with("single_class") {
            // scikit-learn warns and gives AP and F1 of 0 or 1 here; we give none.
            assert_eq!((ours.ap, ours.f1max, ours.f1max_threshold), (None, None, None));
            continue;
        }
        assert_golden(&format!("{name} AP"), ours.ap, &case["ap"], EXACT);
        assert_golden(&format!("{name} F1"), ours.f1max, &case["f1_max"], EXACT);
    }
}

#[test]
fn pixel_metrics_are_those_of_scikit_learn_and_aupro_both_definitions() {
    let (cases, maps) = (cases("pixel_level.json"), golden_maps());
    assert_eq!((cases.len(), maps.len()), (12, 12));
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let check = |metric: &str, ours, tolerance| {
            assert_golden(&format!("{name} {metric}"), ours, &case[metric], tolerance);
        };
        let maps = &maps[name];
        let metrics = maps.metrics();
        let value = |bounded: Option<Bounded>| bounded.map(|bounded| bounded.value);
        check("auroc", value(metrics.auroc), EXACT);
        check("aupro_exact_fpr30", value(metrics.aupro), WEIGHTS);
        check("aupro_exact_fpr05", value(metrics.aupro_05), WEIGHTS);
        check("aupro_reference_200_fpr30", maps.published(0.3), WEIGHTS);
        if ["no_anomaly", "all_anomalous"].contains(&name) {
            assert_eq!((metrics.ap, metrics.f1max), (None, None));
        } else {
            check("ap", value(metrics.ap), EXACT);
            check("f1_max", value(metrics.f1max), EXACT);
        }
        let golden = ["auroc", "ap", "f1_max", "aupro_exact_fpr30", "aupro_exact_fpr05"];
        for ((_, ours), golden) in bounded(&metrics).into_iter().zip(golden) {
            let Some(ours) = ours else { continue };
            let golden = case[golden].as_f64().unwrap();
            // The golden figures have rounding errors of their own.
            let inside = ours.lower - EXACT <= golden && golden <= ours.upper + EXACT;
            assert!(inside, "{name}: {golden} in {ours:?}");
            assert!(ours.width() <= 1e-4, "{name}: {ours:?}");
        }
    }
}

#[test]
fn regions_are_counted_as_the_golden_data_does_with_eight_and_four_neighbours() {
    let maps = golden_maps();
    for case in cases("pixel_level.json") {
        let maps = &maps[case["name"].as_str().unwrap()];
        for (index, (_, mask)) in maps.images.iter().enumerate() {
            let by =
                [(Connectivity::Eight, "regions_8conn"), (Connectivity::Four, "regions_4conn")];
            for (connectivity, key) in by {
                let regions =
                    connected_regions_by(mask, maps.width, maps.height, connectivity).unwrap();
                assert_eq!(regions.count() as u64, case[key][index].as_u64().unwrap());
            }
        }
    }
}

#[test]
fn the_whole_set_is_the_merge_of_the_categories_and_not_their_mean() {
    let maps = golden_maps();
    let names = ["two_images_three_regions_one_normal", "saturated_top", "no_anomaly"];
    let mut pooled = PixelSketch::new();
    names.iter().for_each(|&name| pooled.merge(&maps[name].whole()).unwrap());
    let images = names.iter().flat_map(|&name| maps[name].images.clone()).collect();
    let together = Maps { width: 48, height: 48, images };
    assert_eq!(pooled, together.whole());

    let row =
        |name: &&str| CategoryMetrics::new(&image_metrics(&[]).unwrap(), &maps[*name].metrics());
    let rows: Vec<CategoryMetrics> = names.iter().map(row).collect();
    let mean = mean_over_categories(&rows);
    let aupro = |row: &CategoryMetrics| row.get(Metric::Aupro).unwrap().value;
    assert_eq!(aupro(&mean), (aupro(&rows[0]) + aupro(&rows[1])) / 2.0);
    let of_pool = pixel_metrics(&pooled).auroc.unwrap().value;
    assert_ne!(mean.get(Metric::PixelAuroc).unwrap().value, of_pool);
}

// ---- the definitions, written out

/// Pixels of each region, found by flood fill.
fn naive_regions(mask: &[u8], width: usize, height: usize) -> Vec<Vec<usize>> {
    let mut seen = vec![false; mask.len()];
    let mut regions = Vec::new();
    for start in 0..mask.len() {
        let (mut region, mut open) = (Vec::new(), vec![start]);
        while let Some(pixel) = open.pop() {
            if mask[pixel] == 0 || std::mem::replace(&mut seen[pixel], true) {
                continue;
            }
            region.push(pixel);
            let (x, y) = (pixel % width, pixel / width);
            for v in y.saturating_sub(1)..(y + 2).min(height) {
                open.extend((x.saturating_sub(1)..(x + 2).min(width)).map(|u| v * width + u));
            }
        }
        if !region.is_empty() {
            regions.push(region);
        }
    }
    regions
}

/// FPR and mean recall per region where `is_positive`; NaN without normal pixels or regions.
fn naive_point(maps: &Maps, is_positive: impl Fn(f32) -> bool) -> (f64, f64) {
    let (mut positives, mut normal, mut recalls) = (0.0, 0.0, Vec::new());
    for (map, mask) in &maps.images {
        for (&score, _) in map.iter().zip(mask).filter(|(_, m)| **m == 0) {
            normal += 1.0;
            positives += f64::from(u8::from(is_positive(score)));
        }
        for region in naive_regions(mask, maps.width, maps.height) {
            let found = region.iter().filter(|&&pixel| is_positive(map[pixel])).count();
            recalls.push(found as f64 / region.len() as f64);
        }
    }
    (positives / normal, recalls.iter().sum::<f64>() / recalls.len() as f64)
}

fn sorted_scores(maps: &Maps) -> Vec<f32> {
    let mut scores: Vec<f32> = maps.images.iter().flat_map(|(map, _)| map.clone()).collect();
    scores.sort_by(f32::total_cmp);
    scores
}

fn naive_exact_aupro(maps: &Maps, limit: f64) -> f64 {
    let (mut before, mut area) = ((0.0, 0.0), 0.0);
    for threshold in sorted_scores(maps).into_iter().rev() {
        let mut point = naive_point(maps, |score| score >= threshold);
        if before.0 < limit && point.0 > limit {
            let slope = (point.1 - before.1) / (point.0 - before.0);
            point = (limit, before.1 + slope * (limit - before.0));
        }
        // Written so that an FPR of NaN, without normal pixels, gives NaN.
        let beyond = point.0 > limit;
        if !beyond {
            area += (point.0 - before.0) * (point.1 + before.1) / 2.0;
        }
        before = point;
    }
    area / limit
}

/// As the published code has it, thresholds as `numpy.arange` gives them; NaN where it stops.
fn naive_published_aupro(maps: &Maps, limit: f64) -> f64 {
    let scores = sorted_scores(maps);
    let (min, max) = (scores[0], scores[scores.len() - 1]);
    let step = (max - min) / 200.0;
    let taken = f64::from(min + step) - f64::from(min);
    let thresholds =
        (0..((max - min) / step).ceil() as u32).map(|i| f64::from(min) + f64::from(i) * taken);
    let curve = thresholds.map(|th| naive_point(maps, |score| f64::from(score) > th));
    let kept: Vec<(f64, f64)> = curve.filter(|point| point.0 < limit).collect();
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return f64::NAN };
    let rescaled = |fpr: f64| (fpr - last.0) / (first.0 - last.0);
    kept.windows(2)
        .map(|p| (rescaled(p[0].0) - rescaled(p[1].0)) * (p[0].1 + p[1].1) / 2.0)
        .sum::<f64>()
        // A single point has no area, but stretching it divides by zero.
        + 0.0 * rescaled(first.0)
}

fn naive_auroc(images: &[ImageScore]) -> f64 {
    let of = |label| images.iter().filter(move |i| i.label == label).map(|i| i.score);
    let (mut won, mut pairs) = (0.0, 0.0);
    for anomalous in of(Label::Anomalous) {
        for normal in of(Label::Normal) {
            pairs += 1.0;
            won += if anomalous > normal {
                1.0
            } else {
                0.5 * f64::from(u8::from(anomalous == normal))
            };
        }
    }
    won / pairs
}

fn naive_best_f1(images: &[ImageScore]) -> f64 {
    let count =
        |keep: &dyn Fn(&ImageScore) -> bool| images.iter().filter(|i| keep(i)).count() as f64;
    let anomalous = count(&|i| i.label == Label::Anomalous);
    let f1 = |threshold: f64| {
        let hits = count(&|i| i.label == Label::Anomalous && i.score >= threshold);
        2.0 * hits / (count(&|i| i.score >= threshold) + anomalous)
    };
    images.iter().map(|i| f1(i.score)).fold(f64::NAN, f64::max)
}

/// AUROC, AP, F1-max, AUPRO at 0.3 and at 0.05 of the very scores; `None` for one class.
fn exact_metrics(maps: &Maps) -> Option<[f64; 5]> {
    // Score, share of a region (0 for normal), highest score first.
    let mut pixels: Vec<(f32, f64)> = Vec::new();
    let mut n_regions = 0.0;
    for (map, mask) in &maps.images {
        pixels.extend(map.iter().zip(mask).filter(|(_, m)| **m == 0).map(|(s, _)| (*s, 0.0)));
        for region in naive_regions(mask, maps.width, maps.height) {
            n_regions += 1.0;
            pixels.extend(region.iter().map(|&pixel| (map[pixel], 1.0 / region.len() as f64)));
        }
    }
    pixels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let normal = pixels.iter().filter(|pixel| pixel.1 == 0.0).count() as f64;
    let anomalous = pixels.len() as f64 - normal;
    if normal == 0.0 || anomalous == 0.0 {
        return None;
    }
    let (mut wrong, mut right, mut recall) = (0.0, 0.0, 0.0);
    let (mut auroc, mut ap, mut f1, mut aupro) = (0.0, 0.0, 0.0f64, [0.0; 2]);
    for tie in pixels.chunk_by(|a, b| a.0 == b.0) {
        let n = tie.iter().filter(|pixel| pixel.1 == 0.0).count() as f64;
        let a = tie.len() as f64 - n;
        let rise: f64 = tie.iter().map(|pixel| pixel.1).sum::<f64>() / n_regions;
        auroc += n * (right + a / 2.0);
        for (area, limit) in aupro.iter_mut().zip([0.3 * normal, 0.05 * normal]) {
            let kept = n.min(limit - wrong);
            if kept > 0.0 {
                *area += kept * (recall + rise * kept / n / 2.0) / limit;
            }
        }
        (wrong, right, recall) = (wrong + n, right + a, recall + rise);
        ap += a * right / (right + wrong);
        f1 = f1.max(2.0 * right / (right + wrong + anomalous));
    }
    Some([auroc / normal / anomalous, ap / anomalous, f1, aupro[0], aupro[1]])
}

/// Every exact figure lies in its bounds, which are no further apart than `width`.
fn assert_bounds(maps: &Maps, width: f64) -> usize {
    let (ours, exact) = (maps.metrics(), exact_metrics(maps));
    let bounded = bounded(&ours);
    let Some(exact) = exact else {
        assert!(bounded.iter().all(|(_, ours)| ours.is_none()), "{ours:?}");
        return 0;
    };
    for ((name, ours), exact) in bounded.into_iter().zip(exact) {
        let ours = ours.unwrap();
        // The exact figure has rounding errors too.
        let inside = ours.lower - EXACT <= exact && exact <= ours.upper + EXACT;
        assert!(inside, "{name}: {exact} in {ours:?}");
        assert!(ours.width() <= width, "{name}: {ours:?}");
        assert!(ours.lower <= ours.value && ours.value <= ours.upper, "{name}: {ours:?}");
    }
    1
}

/// Scores of one of several shapes: flat, bell-shaped, in a narrow band, over many magnitudes.
fn continuous_score(rng: &mut Rng, shape: usize, anomalous: bool) -> f32 {
    let shift = if anomalous { 0.2 } else { 0.0 };
    let bell = (0..8).map(|_| rng.f32()).sum::<f32>() / 8.0;
    match shape {
        0 => 0.8 * rng.f32() + shift,
        1 => 0.7 * bell + shift,
        2 => 0.5 + 0.01 * (bell + shift),
        _ => (12.0 * (bell + shift) - 14.0).exp2(),
    }
}

/// Maps that fill many more bins than a sketch keeps, with rectangles that may touch as defects:
/// so many pixels in all that a single one changes no metric by 1e-4.
fn large_maps(rng: &mut Rng, shape: usize) -> Maps {
    let (width, height) = (rng.usize(200..300), rng.usize(200..300));
    let images = (0..rng.usize(3..6)).map(|_| {
        let mut mask = vec![0u8; width * height];
        for _ in 0..rng.usize(1..9) {
            let (w, h) = (rng.usize(1..90), rng.usize(1..90));
            let (left, top) = (rng.usize(0..width - w), rng.usize(0..height - h));
            for y in top..top + h {
                mask[y * width + left..y * width + left + w].fill(1);
            }
        }
        let map = mask.iter().map(|m| continuous_score(rng, shape, *m == 1)).collect();
        (map, mask)
    });
    Maps { width, height, images: images.collect() }
}

#[test]
fn bounds_of_sketches_that_drop_bits_hold_and_are_close() {
    let (mut rng, mut dropping) = (Rng::with_seed(4), 0);
    for case in 0..80 {
        let maps = large_maps(&mut rng, case % 4);
        dropping += usize::from(maps.whole().bins().any(|bin| bin.low < bin.high));
        assert_eq!(assert_bounds(&maps, 1e-4), 1, "case {case}");
    }
    assert!(dropping >= 40, "only {dropping} sketches drop bits");
}

#[test]
fn parts_merge_to_the_same_bytes_in_any_order_and_on_any_number_of_workers() {
    let mut rng = Rng::with_seed(5);
    let mut maps = large_maps(&mut rng, 3);
    while maps.images.len() < 64 {
        let shape = rng.usize(0..4);
        let map = maps.images[0].1.iter().map(|m| continuous_score(&mut rng, shape, *m == 1));
        let image = (map.collect(), maps.images[0].1.clone());
        maps.images.push(image);
    }
    let whole = maps.whole();
    let bytes = whole.encode();
    let mut parts: Vec<Vec<u8>> = (0..64).map(|i| maps.sketch(i..i + 1).encode()).collect();
    for order in 0..50 {
        rng.shuffle(&mut parts);
        let workers = if order < 2 { 1 + 63 * order } else { rng.usize(1..65) };
        let mut of_workers = parts.chunks(parts.len().div_ceil(workers)).map(|of_worker| {
            let mut sketch = PixelSketch::new();
            of_worker.iter().for_each(|part| sketch.merge_encoded(part).unwrap());
            sketch
        });
        let mut merged = of_workers.next().unwrap();
        of_workers.for_each(|sketch| merged.merge(&sketch).unwrap());
        assert_eq!(merged.encode(), bytes, "order {order}, {workers} workers");
        assert_eq!(pixel_metrics(&merged), pixel_metrics(&whole));
    }
}

// ---- standard errors

/// Standard error of the AUROC by DeLong, DeLong and Clarke-Pearson (1988), written out.
fn delong(images: &[(f32, bool)]) -> f64 {
    let of = |anomalous| images.iter().filter(move |image| image.1 == anomalous).map(|i| i.0);
    let won = |anomalous: f32, normal: f32| match anomalous.partial_cmp(&normal).unwrap() {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let variance_of_mean = |of: Vec<f64>| {
        let squares = of.iter().map(|x| (x - mean(&of)).powi(2)).sum::<f64>();
        squares / (of.len() - 1) as f64 / of.len() as f64
    };
    let normal: Vec<f32> = of(false).collect();
    let anomalous: Vec<f32> = of(true).collect();
    let against = |one: &dyn Fn(f32) -> f64, of: &[f32]| {
        mean(&of.iter().map(|score| one(*score)).collect::<Vec<_>>())
    };
    let of_normal = normal.iter().map(|&n| against(&|a| won(a, n), &anomalous)).collect();
    let of_anomalous = anomalous.iter().map(|&a| against(&|n| won(a, n), &normal)).collect();
    (variance_of_mean(of_normal) + variance_of_mean(of_anomalous)).sqrt()
}

#[test]
fn the_standard_error_of_the_image_auroc_is_delongs() {
    let mut rng = Rng::with_seed(6);
    for n in [20, 300] {
        let images: Vec<(f32, bool)> = (0..n)
            .map(|i| ((16.0 * rng.f32()).floor() / 16.0 + 0.2 * f32::from(i % 3 == 0), i % 3 == 0))
            .collect();
        let mut sketch = PixelSketch::new();
        let scores: Vec<f32> = images.iter().map(|image| image.0).collect();
        let labels: Vec<u8> = images.iter().map(|image| u8::from(image.1)).collect();
        sketch.add_map(&scores, Some(&labels), n, 1).unwrap();
        let influences = Influences::new(&sketch).unwrap();
        let mut spread = Spread::default();
        for &(score, anomalous) in &images {
            spread.add(&influences.of_image(score, anomalous), anomalous);
        }
        let [auroc, ..] = spread.standard_errors().unwrap();
        assert!((auroc / delong(&images) - 1.0).abs() < 1e-9, "{auroc} {}", delong(&images));
    }
}

/// Images that differ in how bright they are, how well their defects show, and in false alarms.
fn image_like(rng: &mut Rng, defects: bool, side: usize) -> (Vec<f32>, Vec<u8>) {
    let mut mask = vec![0; side * side];
    for _ in 0..if defects { rng.usize(1..4) } else { 0 } {
        let (w, h) = (rng.usize(2..9), rng.usize(2..9));
        let (left, top) = (rng.usize(0..side - w), rng.usize(0..side - h));
        (top..top + h).for_each(|y| mask[y * side + left..y * side + left + w].fill(1));
    }
    let (level, seen, spot) = (0.2 * rng.f32(), 0.5 * rng.f32(), rng.usize(0..side * side));
    let map = mask.iter().enumerate().map(|(i, m)| {
        let alarm = if i.abs_diff(spot) < 12 { 0.4 } else { 0.0 };
        level + 0.3 * rng.f32() + alarm + f32::from(*m) * seen
    });
    (map.collect(), mask)
}

#[test]
fn standard_errors_of_pixel_metrics_are_those_of_the_bootstrap() {
    let (mut rng, side) = (Rng::with_seed(7), 40);
    let images: Vec<_> = (0..120).map(|i| image_like(&mut rng, i % 2 == 1, side)).collect();
    let sketches: Vec<PixelSketch> = images
        .iter()
        .map(|image| Maps { width: side, height: side, images: vec![image.clone()] }.whole())
        .collect();
    let merged = |chosen: &[usize]| {
        let mut sketch = PixelSketch::new();
        chosen.iter().for_each(|&i| sketch.merge(&sketches[i]).unwrap());
        sketch
    };
    let whole = merged(&(0..images.len()).collect::<Vec<_>>());
    let influences = Influences::new(&whole).unwrap();
    let mut spread = Spread::default();
    for (map, mask) in &images {
        let pixels = MapPixels::new(map, Some(mask), side, side).unwrap();
        let summary = PixelSummary::decode(&PixelSummary::new(&pixels).encode()).unwrap();
        spread.add(&influences.of_pixels(&summary), summary.n_regions > 0);
    }
    let ours = spread.standard_errors().unwrap();

    let draws: Vec<[f64; 5]> = (0..250)
        .map(|_| {
            let chosen = (0..images.len()).map(|i| 2 * rng.usize(0..images.len() / 2) + i % 2);
            bounded(&pixel_metrics(&merged(&chosen.collect::<Vec<_>>())))
                .map(|(_, figure)| figure.unwrap().value)
        })
        .collect();
    for (place, (name, _)) in bounded(&PixelMetrics::default()).into_iter().enumerate() {
        let n = draws.len() as f64;
        let mean = draws.iter().map(|draw| draw[place]).sum::<f64>() / n;
        let variance =
            draws.iter().map(|draw| (draw[place] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let ratio = ours[place] / variance.sqrt();
        // 250 draws know the deviation to 5 %.
        assert!(
            (0.8..1.25).contains(&ratio),
            "{name}: {} against {}",
            ours[place],
            variance.sqrt()
        );
    }
}

// ---- random maps

/// Half of the scores are continuous, half on a coarse grid, so that ties are common.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![-1.0f32..1.0, (-4i8..5).prop_map(|k| f32::from(k) / 4.0), Just(-0.0)]
}

fn maps() -> impl Strategy<Value = Maps> {
    (1usize..8, 1usize..8, 1usize..5).prop_flat_map(|(width, height, n)| {
        let pixels = width * height;
        let map = proptest::collection::vec(score(), pixels);
        let mask = proptest::collection::vec(0u8..2, pixels);
        let images = proptest::collection::vec((map, mask), n);
        images.prop_map(move |images| Maps { width, height, images })
    })
}

fn image_scores() -> impl Strategy<Value = Vec<ImageScore>> {
    let label = prop_oneof![Just(Label::Normal), Just(Label::Anomalous)];
    let image = (score(), label).prop_map(|(s, label)| ImageScore { score: s.into(), label });
    proptest::collection::vec(image, 0..60)
}

/// `None` must stand exactly where the definition gives no number.
fn agrees(ours: Option<f64>, naive: f64) -> bool {
    ours.map_or(naive.is_nan(), |ours| (ours - naive).abs() < 1e-12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_whatever_the_ties_and_masks(maps in maps()) {
        assert_bounds(&maps, 5e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn image_metrics_agree_with_all_pairs(images in image_scores()) {
        let ours = image_metrics(&images).unwrap();
        prop_assert!(agrees(ours.auroc, naive_auroc(&images)));
        if let Some(f1max) = ours.f1max {
            prop_assert!((f1max - naive_best_f1(&images)).abs() < 1e-12);
        }
    }

    #[test]
    fn published_aupro_agrees_with_its_procedure(maps in maps(), limit in 0.01f64..1.0) {
        let (ours, naive) = (maps.published(limit), naive_published_aupro(&maps, limit));
        prop_assert!(ours.map_or(naive.is_nan(), |ours| (ours - naive).abs() < WEIGHTS));
    }

    #[test]
    fn the_exact_metrics_of_this_file_are_the_definitions(maps in maps()) {
        let label = |m: &u8| if *m == 0 { Label::Normal } else { Label::Anomalous };
        let pixels = maps.images.iter().flat_map(|(map, mask)| map.iter().zip(mask));
        let pixels: Vec<ImageScore> =
            pixels.map(|(s, m)| ImageScore { score: f64::from(*s), label: label(m) }).collect();
        let Some([auroc, ap, f1, aupro, aupro_05]) = exact_metrics(&maps) else {
            prop_assert!(naive_auroc(&pixels).is_nan());
            return Ok(());
        };
        prop_assert!((auroc - naive_auroc(&pixels)).abs() < EXACT);
        prop_assert!((ap - image_metrics(&pixels).unwrap().ap.unwrap()).abs() < EXACT);
        prop_assert!((f1 - naive_best_f1(&pixels)).abs() < EXACT);
        prop_assert!((aupro - naive_exact_aupro(&maps, 0.3)).abs() < EXACT);
        prop_assert!((aupro_05 - naive_exact_aupro(&maps, 0.05)).abs() < EXACT);
    }

    #[test]
    fn regions_agree_with_flood_fill(maps in maps()) {
        for (_, mask) in &maps.images {
            let ours = connected_regions(mask, maps.width, maps.height).unwrap();
            let naive = naive_regions(mask, maps.width, maps.height);
            prop_assert_eq!(ours.count(), naive.len());
            for (label, region) in naive.iter().enumerate() {
                prop_assert!(region.iter().all(|&pixel| ours.labels()[pixel] as usize == label + 1));
                prop_assert_eq!(ours.areas_px()[label] as usize, region.len());
            }
        }
    }
}
