//! Scores against references are those of an independent implementation (scripts/reference_scoring.py).

use fastrand::Rng;
use filo::reference::{Digest, MadeBy, NullScores, Origin, Reference, ReferenceImage, Seen, Shows};
use serde::Deserialize;

/// Sums are kept in f32 in the file, and matmuls add in another order.
const TOLERANCE: f64 = 5e-5;

/// A single cell: where a patch has a near copy, its distance is a small difference of large f32 numbers.
const CELL_TOLERANCE: f64 = 5e-4;

#[derive(Deserialize)]
struct Case {
    archive: bool,
    loose: bool,
    features: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
    references: usize,
    scores: Vec<f64>,
    score_thresholds: std::collections::BTreeMap<String, f64>,
    mask_threshold: f64,
    queries: Vec<Query>,
}

#[derive(Deserialize)]
struct Query {
    image: usize,
    score: f64,
    p_value: f64,
    map: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/reference/cases.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn made_by(model: &str) -> MadeBy {
    MadeBy::new([("model", model.to_string())])
}

impl Case {
    fn seen(&self, image: usize) -> Seen {
        Seen {
            digest: Digest::of(&image.to_le_bytes()),
            features: self.features[image].clone(),
            text: self.texts[image].clone(),
        }
    }

    fn reference(&self) -> Reference {
        let image = |i: usize| ReferenceImage { image_id: i.to_string(), seen: self.seen(i) };
        let images = (0..self.references).map(image).collect();
        let origin = if self.archive { Origin::Archive } else { Origin::Normal };
        Reference::build(images, Vec::new(), origin, made_by("this"), Shows::Images).unwrap()
    }

    fn check(&self, reference: &Reference) {
        let close = |what: &str, ours: f32, theirs: f64| {
            let error = (f64::from(ours) - theirs).abs();
            assert!(error < TOLERANCE, "{what}: {ours} for {theirs}");
        };
        for (ours, theirs) in reference.scores().iter().zip(&self.scores) {
            close("a reference's own score", *ours, *theirs);
        }
        for (rate, threshold) in &self.score_thresholds {
            close(rate, reference.score_threshold(rate.parse().unwrap()), *threshold);
        }
        close("mask threshold", reference.mask_threshold(), self.mask_threshold);
        for query in &self.queries {
            let Seen { digest, features, text } = self.seen(query.image);
            let distances = reference.distances(&features, digest);
            let verdict = reference.verdict(&distances, &text);
            close("score", verdict.score, query.score);
            let ratio = f64::from(verdict.p_value) / query.p_value;
            assert!((ratio - 1.0).abs() < 1e-2, "{} for {}", verdict.p_value, query.p_value);
            let map = reference.map(&distances, &text);
            assert_eq!(map.len(), query.map.len());
            for (ours, theirs) in map.iter().zip(&query.map) {
                assert!((f64::from(*ours) - theirs).abs() < CELL_TOLERANCE, "{ours} for {theirs}");
            }
            assert_ne!(reference.image_id(distances.most_alike), query.image.to_string());
        }
    }
}

#[test]
fn every_number_is_that_of_the_other_implementation() {
    let cases = cases();
    assert!(cases.iter().any(|case| case.loose) && !cases.iter().all(|case| case.loose));
    cases.iter().for_each(|case| case.check(&case.reference()));
}

#[test]
fn a_file_gives_the_same_bits_as_what_it_was_made_of() {
    for case in cases() {
        let reference = case.reference();
        let file = reference.encode();
        assert!(file == case.reference().encode(), "the same references, the same bytes");
        let read = Reference::decode(&file).unwrap();
        case.check(&read);
        for image in 0..case.features.len() {
            let Seen { digest, features, text } = case.seen(image);
            let [one, two] = [&reference, &read].map(|of| {
                let distances = of.distances(&features, digest);
                (of.verdict(&distances, &text), of.map(&distances, &text), distances)
            });
            assert!(one == two, "image {image}: {:?} {:?}", one.0, two.0);
        }
        assert_eq!(read.scores(), reference.scores());
        let difference = made_by("other").difference(read.made_by()).unwrap();
        assert_eq!(difference, "made with another model (this, this run has other)");
    }
}

#[test]
fn copies_and_too_few_images_are_no_references() {
    let case = &cases()[0];
    let build = |ids: &[usize]| {
        let image = |i: &usize| ReferenceImage { image_id: i.to_string(), seen: case.seen(*i) };
        let images = ids.iter().map(image).collect();
        Reference::build(images, Vec::new(), Origin::Archive, made_by("this"), Shows::Images)
    };
    assert!(build(&[0; 20]).is_none());
    assert!(build(&[0, 1, 2, 3, 4, 5, 6]).is_none());
    assert_eq!(build(&[0, 1, 2, 3, 4, 5, 6, 7, 7, 0]).unwrap().count(), 8);
}

/// The mean over 200 draws of references of the share of normal images that are flagged at 1 %.
fn false_alarms(n: usize, score: impl Fn(&mut Rng) -> f64) -> f64 {
    const SPLITS: usize = 200;
    let mut rng = Rng::with_seed(7);
    let share = (0..SPLITS).map(|_| {
        let references = (0..n).map(|_| score(&mut rng)).collect::<Vec<_>>();
        let threshold = NullScores::normal(&references).threshold(0.01);
        let images = (0..2000).filter(|_| score(&mut rng) > threshold);
        images.count() as f64 / 2000.0
    });
    share.sum::<f64>() / SPLITS as f64
}

#[test]
fn as_many_normal_images_are_flagged_as_the_rate_says() {
    let normal = |rng: &mut Rng| {
        let sum = (0..12).map(|_| rng.f64()).sum::<f64>();
        sum - 6.0
    };
    // Skewed as peaks of maps are, and with a heavy tail.
    let peaks = |rng: &mut Rng| (1.8 + 0.2 * normal(rng)).exp() - 4.0;
    let heavy = |rng: &mut Rng| -(1.0 - rng.f64()).ln();
    for n in [16, 32, 64, 128] {
        let share = false_alarms(n, peaks);
        assert!((0.005..=0.015).contains(&share), "{n} references: {share}");
    }
    // Ranks need no distribution.
    for n in [128, 300] {
        let share = false_alarms(n, heavy);
        assert!((0.005..=0.015).contains(&share), "{n} references: {share}");
    }
}

/// Whatever the images are, nothing is NaN and nothing panics.
#[test]
fn images_without_any_difference_are_usual() {
    let image = |i: usize| ReferenceImage {
        image_id: i.to_string(),
        seen: Seen {
            digest: Digest::of(&i.to_le_bytes()),
            features: vec![0.25; 256 * 3],
            text: vec![0.5; 256],
        },
    };
    for origin in [Origin::Archive, Origin::Normal] {
        let images = (0..10).map(image).collect();
        let reference =
            Reference::build(images, Vec::new(), origin, made_by("this"), Shows::Images).unwrap();
        let Seen { digest, features, text } = image(100).seen;
        let distances = reference.distances(&features, digest);
        let verdict = reference.verdict(&distances, &text);
        assert!((verdict.score - 0.5).abs() < 1e-5, "{verdict:?}");
        assert!(verdict.p_value > 0.05 && reference.score_threshold(0.01) >= 0.5);
        // Another image is far from all of them.
        let distances = reference.distances(&vec![0.5; 256 * 3], digest);
        let verdict = reference.verdict(&distances, &text);
        assert!(verdict.score > 0.9 && verdict.p_value < 1e-3, "{verdict:?}");
    }
}
