//! What a run over labelled images gives to later ones: thresholds, and something to be compared
//! with. The real program on real files.

mod support;

use filo::tables::ScoreRow;
use filo::train::synthetic::{Amount, Surface, write_set};
use serde_json::Value;
use support::run::{Folder, Rows, filo, manifest, reader, rows, run};

const PICTURES: usize = 16;

/// A labelled set with two surfaces, scored into `first` and measured.
fn measured() -> Folder {
    let folder = Folder::new();
    let surfaces = &[Surface::BrushedMetal, Surface::CeramicTile];
    let amount = Amount { surfaces, good: 4, bad: 2, kinds: 2 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), PICTURES);
    run(folder.score_to("first")).last_line();
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("first"));
    run(metrics).last_line();
    folder
}

fn score_with(folder: &Folder, out: &str, flags: &[&str]) -> Rows {
    let mut command = folder.score_to(out);
    command.arg("--thresholds-from").arg(folder.path("first")).args(flags);
    run(command).last_line();
    rows(&folder.path(out), PICTURES)
}

fn compare(folder: &Folder, first: &str, second: &str, flags: &[&str]) -> String {
    let mut command = filo("metrics");
    command.arg("--compare").arg(folder.path(first)).arg(folder.path(second)).args(flags);
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

#[test]
fn thresholds_of_an_earlier_run_tell_what_is_anomalous() {
    let folder = measured();
    let metrics = reader(&folder.path("first")).metrics().unwrap();
    assert_eq!(metrics.len(), 4);
    // One row for the category and one for each of its two kinds of defects.
    assert!(metrics[..2].iter().all(|of| of.rows.len() == 3), "{metrics:?}");

    let with_best_f1 = score_with(&folder, "second", &[]);
    for of in &metrics[..2] {
        let row = &of.rows[0];
        let (score, mask) = (row.image_threshold_f1max, row.pixel_threshold_f1max);
        let scored = with_best_f1.scores.iter().filter(|s| s.image_id.starts_with(&of.category));
        let scored = scored.collect::<Vec<_>>();
        assert_eq!(scored.len(), PICTURES / 2);
        assert!(scored.iter().all(|row| row.threshold == score));
        let above = |row: &ScoreRow| row.threshold.map(|threshold| row.score > threshold);
        assert!(scored.iter().all(|row| row.is_anomalous == above(row)));
        // The threshold reaches the F1 that the metrics promise.
        let hits =
            scored.iter().filter(|s| s.is_anomalous == Some(true) && s.label == Some(true)).count()
                as f64;
        let found = scored.iter().filter(|s| s.is_anomalous == Some(true)).count() as f64;
        let f1 = 2.0 * hits / (found + 4.0);
        assert!((f1 - row.image_f1max.unwrap()).abs() < 1e-12, "{f1} {:?}", row.image_f1max);
        let masks = with_best_f1.masks.iter().filter(|m| m.image_id.starts_with(&of.category));
        let masks = masks.collect::<Vec<_>>();
        assert!(!masks.is_empty() && masks.iter().all(|row| Some(row.threshold) == mask));
    }

    let strict = score_with(&folder, "strict", &["--threshold-rule", "fpr-0.1"]);
    let of_first = metrics[0].rows[0].image_threshold_fpr_0_1pct;
    assert_eq!(strict.scores[0].threshold, of_first);
    let normal = strict.scores.iter().filter(|s| s.label == Some(false));
    let false_alarms = normal.filter(|s| s.is_anomalous == Some(true));
    assert_eq!(false_alarms.count(), 0);
    // A mask threshold that is said counts, the score's still comes from the earlier run.
    let said = score_with(&folder, "said", &["--mask-threshold", "0.25"]);
    assert!(said.masks.iter().all(|row| row.threshold == 0.25));
    assert_eq!(said.scores[0].threshold, metrics[0].rows[0].image_threshold_f1max);
}

#[test]
fn a_run_with_other_thresholds_is_another_run() {
    let folder = measured();
    score_with(&folder, "second", &[]);
    run(folder.score_to("second")).refused(&["holds another run", "decision"]);
    let spec = manifest(&folder.path("second")).spec;
    assert!(spec["decision"]["categories"]["brushed_metal"].is_array(), "{spec}");
    let first = manifest(&folder.path("first")).spec;
    assert_eq!(first["decision"], serde_json::json!({ "false_alarm_rate": 0.01 }));
}

#[test]
fn an_earlier_run_without_metrics_or_labels_is_refused() {
    let folder = measured();
    let from = |out: &str| {
        let mut command = folder.score_to("out");
        command.arg("--thresholds-from").arg(folder.path(out));
        run(command)
    };
    from("nowhere").refused(&["nowhere", "no such file or folder: check the path"]);
    run(folder.score_to("bare")).last_line();
    from("bare").refused(&["bare", "has no metrics", "filo metrics"]);

    folder.picture("plain/a.png", 130, 126);
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("plain")).arg("--output").arg(folder.path("unlabelled"));
    command.args(["--weights", support::run::WEIGHTS]);
    run(command).last_line();
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("unlabelled"));
    run(metrics).last_line();
    from("unlabelled").refused(&["unlabelled", "no labelled images"]);
}

#[test]
fn the_same_scores_differ_by_nothing_and_do_not_drift() {
    let folder = measured();
    score_with(&folder, "second", &[]);
    let document: Value =
        serde_json::from_str(&compare(&folder, "first", "second", &["--json"])).unwrap();
    let categories = document["categories"].as_array().unwrap();
    assert_eq!(categories.len(), 4);
    for of in &categories[..2] {
        assert_eq!((&of["n_images"], &of["n_paired"]), (&[8, 8].into(), &8.into()));
        for (name, metric) in of["metrics"].as_object().unwrap() {
            let (difference, low) = (&metric["difference"], &metric["ci_low"]);
            // It has no interval, and is not defined on so few pixels.
            if name == "aupimo" {
                assert_eq!((difference, low), (&Value::Null, &Value::Null));
                continue;
            }
            assert_eq!((difference, low), (&0.0.into(), &0.0.into()), "{name}");
        }
    }
    for of in &categories[..3] {
        assert_eq!(of["drift"]["flagged"], false);
        assert_eq!(of["drift"]["ks"], 0.0);
    }
    let text = compare(&folder, "first", "second", &[]);
    assert!(text.contains("+0.0 ±0.0") && text.contains("alike"), "{text}");
}

#[test]
fn other_pictures_are_compared_without_labels_and_drift_is_found() {
    let folder = measured();
    // A line whose images came out flat: other scores, no labels.
    let flat = |n: usize, grey: u8| {
        for i in 0..n {
            let shade = grey.wrapping_add(i as u8);
            let picture = image::GrayImage::from_pixel(130, 126, image::Luma([shade]));
            folder.file(&format!("in-{grey}/line/{i:02}.png"), "");
            picture.save(folder.path(&format!("in-{grey}/line/{i:02}.png"))).unwrap();
        }
        let mut command = filo("score");
        command.arg("--input").arg(folder.path(&format!("in-{grey}")));
        command.arg("--output").arg(folder.path(&format!("out-{grey}")));
        command.args(["--weights", support::run::WEIGHTS]);
        run(command).last_line();
    };
    flat(24, 0);
    flat(24, 200);
    let document: Value =
        serde_json::from_str(&compare(&folder, "out-0", "out-200", &["--json"])).unwrap();
    let line = &document["categories"][0];
    assert_eq!((&line["category"], &line["n_paired"]), (&"line".into(), &24.into()));
    assert_eq!(line["drift"]["flagged"], true, "{line}");
    assert!(line["metrics"]["image_auroc"]["difference"].is_null());
    assert!(compare(&folder, "out-0", "out-200", &[]).contains("DRIFT"));
}
