//! Devices as a user meets them: what is there is listed, what is not is one line and exit status 2,
//! and `auto` runs wherever it is. What needs a Vulkan driver is run by `scripts/test`.

mod support;

use support::run::{Ended, Folder, filo, rows, run};

fn devices() -> String {
    let ended = run(filo("devices"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

/// Runs a folder of a few images on `device`.
fn scored_on(device: &str, precision: &str) -> (Folder, Ended) {
    let folder = Folder::new();
    folder.picture("in/tile/test/good/a.png", 40, 40);
    let mut score = folder.score();
    score.args(["--device", device, "--precision", precision]);
    let ended = run(score);
    (folder, ended)
}

#[test]
fn every_kind_of_device_is_listed_with_what_it_is_or_why_it_is_not_there() {
    let listed = devices();
    for kind in ["cuda", "wgpu", "cpu"] {
        let line = listed.lines().find(|line| line.starts_with(kind));
        let line = line.unwrap_or_else(|| panic!("no {kind} in:\n{listed}"));
        assert!(line.len() > kind.len() + 2, "{line}");
    }
    assert_eq!(listed.matches("· chosen by auto").count(), 1, "{listed}");
    assert!(listed.lines().last().unwrap().contains("f32 f16 bf16"), "{listed}");
}

#[test]
fn a_device_that_is_not_there_is_one_line() {
    let (_folder, ended) = scored_on("cuda:63", "f32");
    ended.refused(&["--device cuda:63: ", "`filo devices`"]);
    let (_folder, ended) = scored_on("wgpu:63", "f32");
    ended.refused(&["--device wgpu:63: ", "`filo devices`"]);
}

/// Weights are rounded, products are not: scores move a little, and not all stay.
#[test]
fn the_cpu_keeps_weights_in_16_bits_if_asked() {
    let [exact, half, brain] = ["f32", "f16", "bf16"].map(|precision| {
        let (folder, ended) = scored_on("cpu", precision);
        ended.last_line();
        rows(&folder.path("out"), 1).scores[0].score
    });
    assert!((exact - half).abs() < 1e-3, "{exact} and {half}");
    assert!((exact - brain).abs() < 1e-2 && exact != brain, "{exact} and {brain}");
}

#[test]
#[ignore = "needs feature wgpu and a Vulkan driver: scripts/test runs it"]
fn a_precision_that_the_device_does_not_have_is_one_line() {
    let (_folder, ended) = scored_on("wgpu", "bf16");
    ended.refused(&["--precision bf16: wgpu:0 computes in f32, f16 only"]);
}

#[test]
fn auto_runs_on_what_there_is() {
    let (folder, ended) = scored_on("auto", "f32");
    ended.last_line();
    assert_eq!(rows(&folder.path("out"), 1).scores.len(), 1);
}

/// Bytes that one buffer of the limited device may have: the largest tensor of eight images' prompts
/// needs more, that of four does not.
const LIMIT: &str = "8000000";

#[test]
#[ignore = "needs feature wgpu and a Vulkan driver: scripts/test runs it"]
fn a_batch_that_does_not_fit_is_halved_for_the_rest_of_the_run_and_gives_the_same() {
    let folder = Folder::new();
    for i in 0..16 {
        folder.picture(&format!("in/tile/test/good/{i}.png"), 40 + i, 40);
    }
    let score = |out: &str, limit: Option<&str>| {
        let mut score = folder.score_to(out);
        // Low enough for masks to compare.
        let mask_threshold = ["--mask-threshold", "0.02"];
        score.args(["--device", "wgpu", "--batch-size", "8"]).args(mask_threshold);
        if let Some(limit) = limit {
            score.env("FILO_WGPU_BUFFER_LIMIT", limit);
        }
        let ended = Ended::of(score.output().expect("filo runs"));
        ended.last_line();
        (rows(&folder.path(out), 16), ended.stderr)
    };
    let (whole, log) = score("whole", None);
    assert!(!log.contains("too many for the device's memory"), "{log}");
    let (halved, log) = score("halved", Some(LIMIT));
    assert!(log.contains("8 images at once are too many for the device's memory"), "{log}");
    assert_eq!(log.matches("8 images at once").count(), 1, "{log}");
    assert_eq!(whole.scores.len(), 16);
    for (a, b) in whole.scores.iter().zip(&halved.scores) {
        assert_eq!(a.image_id, b.image_id);
        assert!((a.score - b.score).abs() < 1e-5, "{}: {} and {}", a.image_id, a.score, b.score);
        assert!((a.map_max - b.map_max).abs() < 1e-5, "{}", a.image_id);
    }
    assert_eq!(whole.failures, halved.failures);
    assert!(!whole.masks.is_empty());
    let masks = |rows: &support::run::Rows| format!("{:?}", rows.masks);
    assert_eq!(masks(&whole), masks(&halved));
}
