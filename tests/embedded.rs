//! The program alone is enough: without `--weights` it scores with the network inside it. No test
//! here depends on how well that network detects.

mod support;

use std::path::Path;

use filo::model::filo::descriptions::Descriptions;
use filo::tables::RunReader;
use filo::train::synthetic::{Amount, Surface, write_set};
use filo::weights::WeightsPlace;
use filo::weights::bundle::Bundle;
use serde_json::Value;
use support::run::{Folder, WEIGHTS, filo, manifest, reader, rows, run};

/// A small labelled set in `in/`: three good images and two with a defect.
fn labelled() -> Folder {
    let folder = Folder::new();
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 3, bad: 1, kinds: 2 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), 5);
    folder
}

fn score(folder: &Folder, out: &str, more: &[&str]) -> std::process::Command {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
    command.args(["--run-date", "2026-11-24"]).args(more);
    command
}

fn model_id() -> String {
    Bundle::open(&WeightsPlace::Embedded).unwrap().model_id()
}

#[test]
fn pictures_are_scored_without_naming_weights_and_the_tables_say_which_it_were() {
    let folder = labelled();
    assert!(run(score(&folder, "out", &[])).has_scored(5, 0));
    let scored = rows(&folder.path("out"), 5);
    assert!(scored.failures.is_empty());
    assert!(scored.scores.iter().all(|row| row.model_id == model_id() && row.score.is_finite()));
    assert_eq!(scored.scores.iter().filter(|row| row.label == Some(true)).count(), 2);
    let states = Descriptions::built_in().unwrap().prompts("ceramic_tile").abnormal;
    for row in &scored.scores {
        assert!(row.top_description.as_ref().is_some_and(|state| states.contains(state)));
        assert!(row.top_similarity.is_some_and(|cosine| (-1.0..=1.0).contains(&cosine)));
    }
    assert!(scored.partials["ceramic_tile"].iter().map(|row| row.n_normal).sum::<u64>() > 0);
    let spec = manifest(&folder.path("out")).spec;
    assert_eq!((&spec["weights"], &spec["model_id"]), (&"nano".into(), &model_id().into()));

    assert_eq!(spec["generic_descriptions"], serde_json::json!(["ceramic_tile"]));

    let again = run(score(&folder, "out", &["--weights", "nano"]));
    assert!(again.last_line().starts_with("scored 5 images"), "the same run by its name");
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out")).arg("--json");
    let table: Value = serde_json::from_str(&run(metrics).stdout).unwrap();
    assert_eq!(table["metrics"][0]["n_images"], 5);
}

#[test]
fn another_size_of_picture_is_another_model_and_says_that_it_is_an_approximation() {
    let folder = labelled();
    let ended = run(score(&folder, "out", &["--size", "64"]));
    assert!(ended.has_scored(5, 0));
    assert!(ended.stderr.contains("images of 64 pixels: an approximation"), "{}", ended.stderr);
    let scored = rows(&folder.path("out"), 5);
    assert!(scored.scores.iter().all(|row| row.model_id != model_id() && row.score.is_finite()));
    assert_eq!(manifest(&folder.path("out")).spec["size"], 64);
    run(score(&folder, "odd", &["--size", "65"]))
        .refused(&["--size 65 does not fit", "vision.image_size must be a multiple"]);
}

#[test]
fn a_copy_of_the_embedded_bundle_is_the_same_run_and_a_path_wins_where_it_is_written_as_one() {
    let folder = labelled();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano/bundle");
    std::fs::create_dir(folder.path("nano")).unwrap();
    for file in std::fs::read_dir(assets).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), folder.path("nano").join(file.file_name())).unwrap();
    }
    // What is compared with references depends on whose weights they are.
    run(score(&folder, "out", &["--reference", "none", "--tile", "off"])).last_line();
    let mut copied = score(&folder, "out", &["--weights", "./nano"]);
    copied.current_dir(folder.path(""));
    run(copied).last_line();
    std::fs::remove_dir_all(folder.path("nano")).unwrap();
    let mut gone = score(&folder, "out2", &["--weights", "./nano"]);
    gone.current_dir(folder.path(""));
    run(gone).refused(&["./nano: no such weights file: check the path"]);
}

#[test]
fn a_slip_in_the_name_is_answered_with_the_name() {
    let folder = labelled();
    for name in ["nanoo", "Nano", "nan"] {
        let expected = format!("{name}: no such weights file: did you mean nano, the embedded");
        run(score(&folder, "out", &["--weights", name])).refused(&[&expected]);
    }
    run(score(&folder, "out", &["--weights", "large"]))
        .refused(&["large: no such", "check the path"]);
    run(score(&folder, "out", &["--grounding", "on"])).refused(&["there is no detector"]);
    assert!(!folder.path("out").exists());
}

#[test]
fn a_dry_run_names_the_weights() {
    let folder = labelled();
    let ended = run(score(&folder, "out", &["--dry-run"]));
    assert!(ended.stdout.contains(&format!("weights nano · model {}\n", model_id())));
    let ended = run(score(&folder, "out", &["--dry-run", "--weights", WEIGHTS]));
    assert!(ended.stdout.contains(&format!("weights {WEIGHTS}\n")), "{}", ended.stdout);
}

#[test]
fn the_embedded_weights_can_be_inspected_and_verified_by_name() {
    let weights = |words: &[&str]| {
        let mut command = filo("weights");
        command.args(words);
        run(command)
    };
    let inspected = weights(&["inspect", "nano", "--json"]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!((&inspected["path"], &inspected["format"]), (&"nano".into(), &"bundle".into()));
    assert_eq!(inspected["model_id"], model_id());
    assert_eq!(inspected["parts"][0]["missing"], serde_json::json!([]));
    let verified = weights(&["verify", "nano"]);
    assert!(verified.last_line().starts_with("sound: 1 file"), "{}", verified.stdout);
    assert!(verified.last_line().ends_with(&model_id()));
}

#[test]
fn training_goes_on_from_the_embedded_weights_at_their_size_or_another() {
    let folder = Folder::new();
    folder.file("job.toml", "stage_1_steps = 1\nstage_2_steps = 0\nbatch_size = 2");
    let bundle = Bundle::open(&WeightsPlace::Embedded).unwrap();
    let mut config = serde_json::to_value(&bundle.manifest().filo).unwrap();
    let vision = &mut config["vision"];
    let side = vision["image_size"].as_u64().unwrap() + 2 * vision["patch_size"].as_u64().unwrap();
    vision["image_size"] = side.into();
    folder.file("config.json", config.to_string());
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 2, bad: 2, kinds: 1 };
    write_set(&folder.path("in"), 7, amount).unwrap();
    for (out, larger) in [("same", false), ("larger", true)] {
        let mut train = filo("train");
        train.arg("--data").arg(folder.path("in")).args(["--layout", "mvtec", "--init", "nano"]);
        train.arg("--job").arg(folder.path("job.toml")).arg("--out").arg(folder.path(out));
        if larger {
            train.arg("--config").arg(folder.path("config.json"));
        }
        run(train).last_line();
        let text = std::fs::read(folder.path(out).join("config.json")).unwrap();
        let written: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(written["vision"]["image_size"].as_u64() == Some(side), larger);
        let mut inspect = filo("weights");
        inspect.arg("inspect").arg(folder.path(out).join("weights.safetensors")).arg("--json");
        let inspected: Value = serde_json::from_str(&run(inspect).stdout).unwrap();
        assert_eq!(inspected["parts"][0]["wrong_shapes"], serde_json::json!([]));
    }
}

fn demo(folder: &Folder, more: &[&str]) -> support::run::Ended {
    let mut command = filo("demo");
    command.arg("--out").arg(folder.path("demo")).args(more);
    run(command)
}

/// Files below a folder.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

#[test]
fn the_demo_scores_its_own_pictures_and_reports_what_it_found_again_and_again() {
    let folder = Folder::new();
    let first = demo(&folder, &[]);
    let last = first.last_line();
    assert!(last.starts_with("demo done in ") && last.contains("report.html"), "{}", first.stdout);
    for part in ["made 240 images", "scored 240 images · ", "__mean__"] {
        assert!(first.stdout.contains(part), "no {part} in {}", first.stdout);
    }
    let report = || std::fs::read_to_string(folder.path("demo/report.html")).unwrap();
    let page = report();
    assert_eq!(page.matches("<h3 ").count(), 6, "a heading per category");
    let run: RunReader = reader(&folder.path("demo/run"));
    for category in run.categories() {
        assert!(page.contains(category), "{category}");
    }
    assert!(page.matches("class=\"truth\"").count() > 6, "true defects are outlined");

    // Other weights are another run; what the first demo left must not stand in its way.
    let second = demo(&folder, &["--weights", WEIGHTS]);
    assert!(second.stdout.contains("scored 240 images · "), "{}", second.stderr);
    assert_ne!(report(), page);
}

#[test]
fn the_job_file_of_the_demo_reads_what_the_demo_has_written() {
    let folder = Folder::new();
    // The folder that `filo demo` writes to where nothing else is said.
    let mut command = filo("demo");
    command.current_dir(folder.path("")).args(["--weights", WEIGHTS]);
    run(command).last_line();
    let mut command = filo("score");
    let job = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/demo.toml");
    command.current_dir(folder.path("")).args(["--job", job, "--dry-run"]);
    let ended = run(command);
    let scored = "240 images in 4 shards would be scored into demo-out/job";
    assert_eq!(ended.last_line(), scored, "{}", ended.stderr);
    assert!(!ended.stderr.contains("no descriptions"), "{}", ended.stderr);
}

#[test]
fn a_slip_in_the_name_of_weights_shows_before_anything_is_listed() {
    let folder = Folder::new();
    folder.picture("in/nut/1.png", 20, 20);
    for (input, flag, name, hint) in [
        ("in", "--weights", "nanoo", "did you mean nano, the embedded weights?"),
        ("in", "--grounding-weights", "detector.pth", "check the path"),
        ("nowhere", "--weights", "weights/filo.safetensors", "check the path"),
    ] {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path(input)).arg("--output").arg(folder.path("out"));
        command.args([flag, name]);
        let ended = run(command);
        ended.refused(&[&format!("{name}: no such weights file: {hint}")]);
        assert_eq!(ended.stderr.lines().count(), 1, "nothing is listed: {}", ended.stderr);
    }
}

#[test]
fn the_demo_leaves_a_folder_alone_that_it_did_not_make() {
    let folder = Folder::new();
    folder.file("demo/run/notes.txt", "mine");
    demo(&folder, &[]).refused(&["/demo: holds files that no demo made: choose another --out"]);
    assert_eq!(std::fs::read_to_string(folder.path("demo/run/notes.txt")).unwrap(), "mine");
    assert_eq!(count(&folder.path("demo")), 1);
}
