//! The metrics against golden figures (scikit-learn, and the published AUPRO procedure), and
//! against the definitions written out naively here, on random maps.

use std::collections::HashMap;

use filo::error::MetricsError;
use filo::metrics::{
    AuproProtocol, CategoryMetrics, Connectivity, FprLimit, ImageScore, Label, PixelCount,
    PixelCounts, PixelMetrics, PixelTotals, connected_regions, connected_regions_by, image_metrics,
    mean_over_categories, merge_runs, pixel_metrics,
};
use proptest::prelude::*;
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics");
const EXACT: f64 = 1e-12;
const PUBLISHED: f64 = 1e-9;

/// The images of one category: scores, and a mask of 0 and 1 for each.
#[derive(Debug, Clone)]
struct Maps {
    width: usize,
    height: usize,
    images: Vec<(Vec<f32>, Vec<u8>)>,
}

impl Maps {
    fn counts(&self, images: std::ops::Range<usize>) -> PixelCounts {
        let mut counts = PixelCounts::new();
        for (map, mask) in &self.images[images] {
            counts.add_map(map, Some(mask), self.width, self.height).unwrap();
        }
        counts
    }

    fn metrics(&self, protocol: AuproProtocol, limit: f64) -> PixelMetrics {
        let counts = self.counts(0..self.images.len());
        let totals = counts.totals();
        metrics_of(counts.finish(), &totals, protocol, limit)
    }
}

fn metrics_of(
    run: impl Iterator<Item = PixelCount>,
    totals: &PixelTotals,
    protocol: AuproProtocol,
    limit: f64,
) -> PixelMetrics {
    let limit = FprLimit::new(limit).unwrap();
    pixel_metrics(run.map(Ok::<_, MetricsError>), totals, protocol, limit).unwrap()
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
        let exact = maps.metrics(AuproProtocol::Exact, 0.3);
        let strict = maps.metrics(AuproProtocol::Exact, 0.05);
        let published = maps.metrics(AuproProtocol::Published, 0.3);
        check("auroc", exact.auroc, EXACT);
        check("aupro_exact_fpr30", exact.aupro, EXACT);
        check("aupro_exact_fpr05", strict.aupro, EXACT);
        check("aupro_reference_200_fpr30", published.aupro, PUBLISHED);
        assert_eq!(PixelMetrics { aupro: exact.aupro, ..published }, exact);
        if ["no_anomaly", "all_anomalous"].contains(&name) {
            assert_eq!((exact.ap, exact.f1max), (None, None));
        } else {
            check("ap", exact.ap, EXACT);
            check("f1_max", exact.f1max, EXACT);
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
    let parts: Vec<PixelCounts> =
        names.iter().map(|&name| maps[name].counts(0..maps[name].images.len())).collect();
    let totals = parts
        .iter()
        .try_fold(PixelTotals::default(), |all, part| all.merge(&part.totals()))
        .unwrap();
    let runs = parts.into_iter().map(|part| part.finish().map(Ok::<_, MetricsError>));
    let pooled =
        pixel_metrics(merge_runs(runs), &totals, AuproProtocol::Exact, FprLimit::DEFAULT).unwrap();

    let images = names.iter().flat_map(|&name| maps[name].images.clone()).collect();
    let together = Maps { width: 48, height: 48, images };
    assert_eq!(pooled, together.metrics(AuproProtocol::Exact, 0.3));

    let row = |name: &&str| {
        let pixel = maps[*name].metrics(AuproProtocol::Exact, 0.3);
        CategoryMetrics::new(&image_metrics(&[]).unwrap(), &pixel)
    };
    let rows: Vec<CategoryMetrics> = names.iter().map(row).collect();
    let mean = mean_over_categories(&rows);
    assert_eq!(mean.aupro, Some((rows[0].aupro.unwrap() + rows[1].aupro.unwrap()) / 2.0));
    assert_ne!(mean.pixel_auroc, pooled.auroc);
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
    fn aupro_agrees_with_its_definition(maps in maps(), limit in 0.01f64..1.0) {
        let exact = maps.metrics(AuproProtocol::Exact, limit).aupro;
        prop_assert!(agrees(exact, naive_exact_aupro(&maps, limit)));
        let published = maps.metrics(AuproProtocol::Published, limit).aupro;
        prop_assert!(agrees(published, naive_published_aupro(&maps, limit)));
    }

    #[test]
    fn pixel_ranking_agrees_with_image_ranking_of_the_pixels(maps in maps()) {
        let label = |m: &u8| if *m == 0 { Label::Normal } else { Label::Anomalous };
        let pixels = maps.images.iter().flat_map(|(map, mask)| map.iter().zip(mask));
        let pixels: Vec<ImageScore> =
            pixels.map(|(s, m)| ImageScore { score: f64::from(*s), label: label(m) }).collect();
        let (as_images, ours) =
            (image_metrics(&pixels).unwrap(), maps.metrics(AuproProtocol::Exact, 0.3));
        prop_assert_eq!(ours.auroc, as_images.auroc);
        prop_assert_eq!(ours.f1max, as_images.f1max);
        prop_assert_eq!(ours.f1max_threshold.map(f64::from), as_images.f1max_threshold);
        prop_assert!(agrees(ours.ap, as_images.ap.unwrap_or(f64::NAN)));
    }

    #[test]
    fn merged_parts_are_the_whole(maps in maps(), cut in 0usize..5) {
        let (n, cut) = (maps.images.len(), cut.min(maps.images.len()));
        let whole = maps.counts(0..n);
        let (left, right) = (maps.counts(0..cut), maps.counts(cut..n));
        let totals = right.totals().merge(&left.totals()).unwrap();
        prop_assert_eq!(totals, whole.totals());
        let runs = [right, left].map(|part| part.finish().map(Ok::<_, MetricsError>));
        let merged: Vec<PixelCount> = merge_runs(runs).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&merged, &whole.finish().collect::<Vec<_>>());
        let gathered = PixelTotals::gather(merged.into_iter().map(Ok::<_, MetricsError>)).unwrap();
        prop_assert_eq!(gathered, totals);
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
