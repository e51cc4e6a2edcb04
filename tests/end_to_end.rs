//! Image file in, score out, with the detector: the program gives what the published code gives
//! for whole images, whatever the batch, and refuses or records what it cannot do.

mod support;

use std::path::{Path, PathBuf};

use filo::tables::{BoxRow, ScoreRow};
use serde::Deserialize;
use serde_json::Value;
use support::run::{Folder, filo, manifest, reader, rows, run};

/// Published numbers are for 518 px; the tiny model's positions are resized to it.
const SIDE: usize = 518;
const SCORE: f64 = 1e-4;
const MAP: f64 = 1e-3;

#[derive(Deserialize)]
struct Case {
    image: String,
    category: String,
    box_threshold: f64,
    accepted: Vec<bool>,
    position: Vec<String>,
    text_probs: [f64; 2],
    score: f64,
    map_after: Figures,
}

#[derive(Deserialize)]
struct Figures {
    max: f64,
    mean: f64,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The tiny weights with a configuration of another image size.
fn weights_at(folder: &Folder, side: usize) -> PathBuf {
    let text = std::fs::read(golden("clip_tiny/config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config["vision"]["image_size"] = side.into();
    folder.file("weights/config.json", config.to_string());
    let weights = folder.path("weights/filo.safetensors");
    std::fs::copy(golden("clip_tiny/filo_tiny.safetensors"), &weights).unwrap();
    weights
}

fn score(folder: &Folder, weights: &Path, out: &str, more: &[&str]) -> PathBuf {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
    command.arg("--weights").arg(weights).args(["--layout", "folder"]);
    command.arg("--grounding-weights").arg(golden("gdino_tiny/gdino_tiny.safetensors"));
    command.args(more);
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    folder.path(out)
}

#[test]
fn images_that_are_larger_than_what_is_read_ahead_are_read_one_by_one() {
    let folder = Folder::new();
    for n in 0..3 {
        // Noise: 1.9 MB as PNG.
        let mut next = n + 1u64;
        let noise = image::RgbImage::from_fn(800, 800, |_, _| {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            image::Rgb([(next >> 33) as u8, (next >> 41) as u8, (next >> 49) as u8])
        });
        let path = folder.path(&format!("in/{n}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        noise.save(&path).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 1 << 20);
    }
    let mut scores = Vec::new();
    for (out, flags) in [
        ("one", &["--fetch-memory", "1"][..]),
        ("first", &["--fetch-memory", "1", "--fetch-concurrency", "1", "--reference", "archive"]),
        ("all", &[]),
    ] {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.args(["--weights", support::run::WEIGHTS]).args(flags);
        assert!(run(command).has_scored(3, 0), "{out}");
        let rows = rows(&folder.path(out), 3).scores.into_iter();
        scores.push(rows.map(|row| (row.image_id, row.score)).collect::<Vec<_>>());
    }
    assert_eq!(scores[0], scores[2]);
}

#[test]
fn whole_pictures_get_the_published_scores_positions_and_boxes() {
    let text = std::fs::read(golden("end_to_end/cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    let folder = Folder::new();
    let weights = weights_at(&folder, SIDE);
    for case in &cases {
        let bytes = std::fs::read(golden("end_to_end").join(&case.image)).unwrap();
        folder.file(&format!("in/{}/{}", case.category, case.image), bytes);
    }
    let mut thresholds = cases.iter().map(|case| case.box_threshold).collect::<Vec<_>>();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    for threshold in thresholds {
        let text = threshold.to_string();
        let flags = ["--preprocess", "published", "--box-threshold", &text];
        let out = score(&folder, &weights, &format!("out-{text}"), &flags);
        for case in cases.iter().filter(|case| case.box_threshold == threshold) {
            check(case, &out);
        }
    }
}

fn check(case: &Case, out: &Path) {
    let name = format!("{} at {}", case.image, case.box_threshold);
    let rows = reader(out).rows::<ScoreRow>(&case.category).unwrap();
    let row = rows.iter().find(|row| row.image_id.ends_with(&case.image)).expect("it was scored");
    let close = |what: &str, actual: f32, expected: f64, tolerance: f64| {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= tolerance, "{name}: {what} {actual}, expected {expected}");
    };
    close("score", row.score, case.score, SCORE);
    close("global score", row.global_score, case.text_probs[1], SCORE);
    assert_eq!(row.position.as_ref(), case.position.first(), "{name}");
    close("peak of the damped map", row.map_max, case.map_after.max, MAP);
    close("mean of the damped map", row.map_mean, case.map_after.mean, MAP);
    let accepted = case.accepted.iter().filter(|&&accepted| accepted).count();
    assert_eq!(row.n_boxes as usize, accepted, "{name}: boxes");
    let boxes = reader(out).rows::<BoxRow>(&case.category).unwrap();
    let of_picture = boxes.iter().filter(|found| found.image_id == row.image_id);
    assert_eq!(of_picture.count(), accepted, "{name}: rows of boxes");
}

#[test]
fn boxes_lie_inside_pictures_of_any_shape_and_batches_change_nothing() {
    let folder = Folder::new();
    let weights = golden("clip_tiny/filo_tiny.safetensors");
    for (name, width, height) in [("a", 90, 60), ("b", 60, 90), ("c", 90, 60), ("d", 64, 64)] {
        folder.picture(&format!("in/bottle/{name}.png"), width, height);
    }
    let runs = ["1", "4"].map(|size| {
        let out = score(&folder, &weights, &format!("out{size}"), &["--batch-size", size]);
        assert_eq!(manifest(&out).totals.unwrap().entries, 4);
        let run = reader(&out);
        (run.rows::<ScoreRow>("bottle").unwrap(), run.rows::<BoxRow>("bottle").unwrap())
    });
    let [(scores, boxes), (batched_scores, batched_boxes)] = runs;
    assert!(!boxes.is_empty());
    for found in &boxes {
        let row = scores.iter().find(|row| row.image_id == found.image_id).unwrap();
        let inside = |from: f32, to: f32, size: i32| 0.0 <= from && from < to && to <= size as f32;
        assert!(inside(found.x0, found.x1, row.width), "{found:?}");
        assert!(inside(found.y0, found.y1, row.height), "{found:?}");
    }
    assert_eq!(scores.len(), batched_scores.len());
    for (single, batched) in scores.iter().zip(&batched_scores) {
        assert!((single.score - batched.score).abs() <= 1e-5, "{single:?} {batched:?}");
        assert_eq!((&single.position, single.n_boxes), (&batched.position, batched.n_boxes));
    }
    assert_eq!(boxes.len(), batched_boxes.len());
    for (single, batched) in boxes.iter().zip(&batched_boxes) {
        assert_eq!(single.phrase, batched.phrase);
        assert!((single.x0 - batched.x0).abs() <= 1e-3, "{single:?} {batched:?}");
    }
}

#[test]
fn without_an_accepted_box_the_middle_is_searched_and_nothing_is_lost() {
    let folder = Folder::new();
    folder.picture("in/bottle/a.png", 64, 64);
    let weights = golden("clip_tiny/filo_tiny.safetensors");
    let out = score(&folder, &weights, "out", &["--box-threshold", "1"]);
    let rows = reader(&out).rows::<ScoreRow>("bottle").unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].n_boxes, rows[0].position.as_deref()), (0, Some("center")));
}

#[test]
fn a_caption_that_is_too_long_stops_the_run_and_names_the_category() {
    let folder = Folder::new();
    folder.picture("in/gearbox/a.png", 64, 64);
    let words = (0..120).map(|n| format!("\"worn tooth number {n}\"")).collect::<Vec<_>>();
    folder.file("words.json", format!("{{\"gearbox\": [{}]}}", words.join(",")));
    let mut command = folder.score();
    command.arg("--grounding-weights").arg(golden("gdino_tiny/gdino_tiny.safetensors"));
    command.arg("--descriptions").arg(folder.path("words.json"));
    run(command).refused(&["gearbox", "tokens", "256"]);
}

#[test]
fn a_detector_that_returns_nan_costs_the_pictures_rows_not_the_run() {
    let folder = Folder::new();
    folder.picture("in/bottle/a.png", 64, 64);
    let broken = with_nan(&std::fs::read(golden("gdino_tiny/gdino_tiny.safetensors")).unwrap());
    folder.file("detector/gdino.safetensors", broken);
    let config = std::fs::read(golden("gdino_tiny/config.json")).unwrap();
    folder.file("detector/config.json", config);
    let mut command = folder.score();
    command.arg("--grounding-weights").arg(folder.path("detector/gdino.safetensors"));
    assert_eq!(run(command).code, 0);
    let rows = support::run::rows(&folder.path("out"), 1);
    assert_eq!(rows.only_failure().code, "non_finite");
}

/// The same safetensors file with NaN in every value of the last norm of the decoder.
fn with_nan(bytes: &[u8]) -> Vec<u8> {
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let norm = file.tensor("transformer.decoder.norm.weight").unwrap();
    let start = norm.data().as_ptr() as usize - bytes.as_ptr() as usize;
    let mut broken = bytes.to_vec();
    for value in broken[start..start + norm.data().len()].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    broken
}
