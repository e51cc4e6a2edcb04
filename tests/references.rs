//! What references do to a run: the real program with the networks inside it, on real files. No test
//! here depends on how well they detect.

mod support;

use std::path::Path;
use std::process::Command;

use filo::tables::{RunReader, ScoreRow};
use filo::train::synthetic::{Amount, Surface, write_set};
use support::run::{Folder, WEIGHTS, filo, manifest, reader, rows, run, written};

const IMAGES: usize = 48;

/// Two categories of 20 good images and 4 with defects each, in `in/` and in layout mvtec.
fn set() -> Folder {
    let folder = Folder::new();
    let surfaces = &[Surface::CeramicTile, Surface::Weave];
    let amount = Amount { surfaces, good: 20, bad: 2, kinds: 2 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), IMAGES);
    folder
}

/// `filo score` from `input` to `out`, a fixed day.
fn score_of(folder: &Folder, input: &str, out: &str, flags: &[&str]) -> Command {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path(input)).arg("--output").arg(folder.path(out));
    command.args(["--run-date", "2026-11-24"]).args(flags);
    command
}

fn score(folder: &Folder, out: &str, flags: &[&str]) -> Command {
    score_of(folder, "in", out, flags)
}

fn reference_file(folder: &Folder, out: &str, category: &str) -> std::path::PathBuf {
    folder.path(&format!("{out}/_filo/reference/{category}.safetensors"))
}

/// The part of a row that references decide.
fn judged(row: &ScoreRow) -> (f32, Option<f32>, Option<f32>, Option<String>) {
    (row.score, row.reference_score, row.p_value, row.reference_id.clone())
}

/// Copies the files of a folder into another one under new names.
fn copied(folder: &Folder, from: &str, to: &str) {
    for (i, entry) in std::fs::read_dir(folder.path(from)).unwrap().enumerate() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        folder.file(&format!("{to}/{i:03}.png"), bytes);
    }
}

#[test]
fn workers_and_batches_change_nothing() {
    let folder = set();
    assert!(run(score(&folder, "one", &["--shard-size", "5"])).has_scored(IMAGES, 0));
    let whole = rows(&folder.path("one"), IMAGES);
    for row in &whole.scores {
        assert!(row.p_value.is_some_and(|p| p > 0.0 && p <= 1.0), "{row:?}");
        assert!((0.0..=1.0).contains(&row.score) && row.text_score.is_some());
        assert_eq!(row.is_anomalous, row.threshold.map(|threshold| row.score > threshold));
        assert_eq!(row.is_anomalous, row.p_value.map(|p| p <= 0.01));
        // An image is not compared with itself.
        assert_ne!(row.reference_id.as_ref(), Some(&row.image_id));
    }
    for workers in [2, 5] {
        let out = format!("of-{workers}");
        for worker in 0..workers {
            let partition = format!("{worker}/{workers}");
            let flags = ["--shard-size", "5", "--partition", &partition];
            run(score(&folder, &out, &flags)).last_line();
        }
        assert_eq!(rows(&folder.path(&out), IMAGES), whole, "{workers} workers");
    }
    let small = score(&folder, "small", &["--shard-size", "5", "--batch-size", "3"]);
    run(small).last_line();
    for (a, b) in rows(&folder.path("small"), IMAGES).scores.iter().zip(&whole.scores) {
        assert!((a.score - b.score).abs() < 1e-4, "{} {}", a.score, b.score);
    }
}

#[test]
fn references_are_made_once_and_read_by_later_starts() {
    let folder = set();
    run(score(&folder, "out", &[])).last_line();
    let file = reference_file(&folder, "out", "weave");
    let (before, made) =
        (written(&folder.path("out/_filo/reference")), std::fs::read(&file).unwrap());
    assert!(made.len() < 4 << 20, "{} bytes", made.len());
    run(score(&folder, "out", &[])).last_line();
    assert_eq!(written(&folder.path("out/_filo/reference")), before);
    // Made again, it is the same file.
    run(score(&folder, "again", &[])).last_line();
    assert!(std::fs::read(reference_file(&folder, "again", "weave")).unwrap() == made);
}

#[test]
fn permuted_labels_change_no_score() {
    let folder = Folder::new();
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 10, bad: 3, kinds: 2 };
    write_set(&folder.path("made"), 7, amount).unwrap();
    let test = folder.path("made/ceramic_tile/test");
    let mut n = 0;
    for kind in std::fs::read_dir(test).unwrap() {
        for file in std::fs::read_dir(kind.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            folder.file(&format!("in/tile/Data/Images/{n:02}.png"), bytes);
            n += 1;
        }
    }
    let labelled = |anomalous: &dyn Fn(usize) -> bool| {
        let mut csv = "image,label,mask\n".to_string();
        for i in 0..n {
            let label = if anomalous(i) { "anomaly" } else { "normal" };
            csv.push_str(&format!("Data/Images/{i:02}.png,{label},\n"));
        }
        folder.file("in/tile/image_anno.csv", csv);
    };
    let scores = |out: &str| {
        run(score(&folder, out, &["--layout", "visa"])).last_line();
        rows(&folder.path(out), n).scores
    };
    labelled(&|i| i < 6);
    let first = scores("first");
    labelled(&|i| i % 3 == 1);
    let second = scores("second");
    assert!(first.iter().zip(&second).any(|(a, b)| a.label != b.label));
    assert!(first.iter().zip(&second).all(|(a, b)| judged(a) == judged(b)));
}

#[test]
fn an_earlier_run_lends_its_references() {
    let folder = set();
    run(score(&folder, "first", &[])).last_line();
    let first = folder.path("first");
    let from_first = ["--reference", first.to_str().unwrap()];
    run(score(&folder, "second", &from_first)).last_line();
    let (one, two) = (rows(&first, IMAGES), rows(&folder.path("second"), IMAGES));
    assert_eq!(two, one);
    assert_eq!(manifest(&folder.path("second")).spec["reference"], from_first[1]);

    // A night of three images, which would be too few for references of their own.
    for name in ["000", "001", "002"] {
        let from = folder.path(&format!("in/weave/test/good/{name}.png"));
        folder.file(&format!("night/weave/{name}.png"), std::fs::read(from).unwrap());
    }
    run(score_of(&folder, "night", "night-out", &from_first)).last_line();
    let night = rows(&folder.path("night-out"), 3).scores;
    for row in night {
        let name = format!("weave/test/good/{}", row.image_id.rsplit('/').next().unwrap());
        let before = one.scores.iter().find(|of| of.image_id == name).unwrap();
        assert_eq!(judged(&row), judged(before));
    }
}

#[test]
fn references_of_other_networks_and_damaged_ones_are_refused_by_name() {
    let folder = set();
    run(score(&folder, "first", &[])).last_line();
    let first = folder.path("first");
    let from_first = ["--reference", first.to_str().unwrap()];
    let other = score(&folder, "other", &[&from_first[..], &["--weights", WEIGHTS]].concat());
    let said = run(other);
    assert_eq!(said.code, 1, "{}", said.stderr);
    for part in ["ceramic_tile.safetensors", "made with another features"] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    let path = reference_file(&folder, "first", "weave");
    let whole = std::fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 1;
    for (i, damaged) in [&whole[..middle], &flipped, b"", b"{}"].into_iter().enumerate() {
        std::fs::write(&path, damaged).unwrap();
        let said = run(score(&folder, &format!("from-damaged-{i}"), &from_first));
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains("weave.safetensors"), "{}", said.stderr);
        assert!(said.stderr.contains("these references cannot be used"), "{}", said.stderr);
    }
}

#[test]
fn a_category_with_few_images_is_scored_without_references() {
    let folder = set();
    for i in 0..5 {
        let from = folder.path(&format!("in/weave/test/good/{i:03}.png"));
        folder.file(&format!("in/few/test/good/{i:03}.png"), std::fs::read(from).unwrap());
        // As many as are enough, but one and the same.
        let one = std::fs::read(folder.path("in/weave/test/good/000.png")).unwrap();
        folder.file(&format!("in/same/test/good/{i:03}.png"), &one);
        folder.file(&format!("in/same/test/good/{:03}.png", i + 5), &one);
    }
    let ended = run(score(&folder, "out", &[]));
    assert!(ended.has_scored(IMAGES + 15, 0));
    let warned = "category few and 1 more: fewer than 8 different images";
    assert!(ended.stderr.contains(warned), "{}", ended.stderr);
    let all = rows(&folder.path("out"), IMAGES + 15).scores;
    let thresholds = reader(&folder.path("out")).thresholds().unwrap();
    for row in all.iter().filter(|row| row.image_id.starts_with("few/")) {
        assert_eq!((row.p_value, row.is_anomalous, row.threshold), (None, None, None));
        assert_eq!(Some(row.score), row.text_score);
    }
    assert_eq!((thresholds["few"].rule.as_str(), thresholds["few"].threshold), ("none", None));
    assert_eq!((thresholds["same"].rule.as_str(), thresholds["same"].n_flagged), ("run", 0));
    assert_eq!(thresholds["weave"].rule, "references");
    assert_eq!(thresholds["weave"].n_references, 24);
}

#[test]
fn an_image_that_cannot_be_read_is_no_reference_and_the_manifest_says_so() {
    let folder = set();
    folder.file("in/weave/test/good/broken.png", "no image");
    assert!(run(score(&folder, "out", &[])).has_scored(IMAGES, 1));
    let left_out = manifest(&folder.path("out")).totals.unwrap().left_out_references;
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out["weave"][0].image_id, "weave/test/good/broken.png");
    assert_eq!(left_out["weave"][0].code, "unknown_format");
}

#[test]
fn known_good_images_are_references_by_category() {
    let folder = set();
    copied(&folder, "in/weave/test/good", "normals/weave");
    let normals = folder.path("normals");
    let named = ["--reference", normals.to_str().unwrap()];
    run(score(&folder, "out", &named)).refused(&["ceramic_tile", "fewer than 8 references"]);
    // The same output may be used when that is set right.
    assert!(!folder.path("out/_filo").exists());

    let with = |out: &str, fallback: &str| {
        let flags = [&named[..], &["--reference-fallback", fallback]].concat();
        run(score(&folder, out, &flags)).last_line();
        let thresholds = reader(&folder.path(out)).thresholds().unwrap();
        ["ceramic_tile", "weave"].map(|category| thresholds[category].n_references)
    };
    assert_eq!(with("none", "none"), [0, 20]);
    assert_eq!(with("archive", "archive"), [24, 20]);
    // Copies of an image are that image.
    let copies = rows(&folder.path("none"), IMAGES).scores;
    let copies = copies.iter().filter(|row| row.image_id.starts_with("weave/test/good"));
    assert!(copies.clone().count() == 20 && copies.clone().all(|row| row.p_value.is_some()));

    // One folder without categories is of the only category there is.
    copied(&folder, "in/weave/test/good", "flat");
    copied(&folder, "in/weave/test/good", "line4");
    let flat = folder.path("flat");
    run(score_of(&folder, "line4", "flat-out", &["--reference", flat.to_str().unwrap()]))
        .last_line();
    assert_eq!(reader(&folder.path("flat-out")).thresholds().unwrap()["line4"].n_references, 20);

    let nowhere = ["--reference", "no/such/place"];
    run(score(&folder, "nowhere", &nowhere)).refused(&["no/such/place", "check the path"]);
}

#[test]
fn train_takes_what_the_layout_sets_aside() {
    let folder = set();
    for category in ["weave", "ceramic_tile"] {
        let (from, to) = (format!("in/{category}/test/good"), format!("in/{category}/train/good"));
        copied(&folder, &from, &to);
    }
    run(score(&folder, "out", &["--reference", "train"])).last_line();
    let thresholds = reader(&folder.path("out")).thresholds().unwrap();
    assert_eq!(thresholds["weave"].n_references, 20);
    let ids = rows(&folder.path("out"), IMAGES).scores;
    assert!(ids.iter().all(|row| row.reference_id.as_ref().unwrap().contains("/train/good/")));

    copied(&folder, "in/weave/test/good", "plain");
    run(score_of(&folder, "plain", "plain-out", &["--reference", "train"]))
        .refused(&["layout folder", "no images for training"]);
}

/// A tar of `count` images, the normal ones of a category again and again.
fn tar_of(folder: &Folder, count: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let good = std::fs::read_dir(folder.path("in/weave/test/good")).unwrap();
    let good = good.map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for (number, path) in good.iter().cycle().take(count).enumerate() {
        tar.append_path_with_name(path, format!("{number:04}.png")).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A product whose archives come after another one's thousand images gets its turn; one that has too few is
/// named.
#[test]
fn every_product_in_archives_of_its_own_has_references() {
    let folder = set();
    folder.file("tars/big/0.tar", tar_of(&folder, 1_100));
    let small = ["a", "b", "c", "d", "e", "f"];
    for name in small {
        folder.file(&format!("tars/{name}/0.tar"), tar_of(&folder, 20));
    }
    folder.file("tars/few/0.tar", tar_of(&folder, 3));
    let ended =
        run(score_of(&folder, "tars", "out", &["--weights", WEIGHTS, "--reference", "archive"]));
    assert!(ended.has_scored(1_223, 0));
    let thresholds = reader(&folder.path("out")).thresholds().unwrap();
    for name in small.into_iter().chain(["big"]) {
        assert_eq!(thresholds[name].n_references, 20, "{name}");
    }
    assert_eq!(thresholds["few"].n_references, 0);
    let told = ended.stderr.matches("category few: not in the archives").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}

/// Of images in an archive, the category shows when they are read.
#[test]
fn named_references_serve_products_within_one_archive() {
    let folder = set();
    let mut tar = tar::Builder::new(Vec::new());
    for category in ["weave", "ceramic_tile"] {
        tar.append_dir_all(category, folder.path(&format!("in/{category}/test/good"))).unwrap();
        copied(&folder, &format!("in/{category}/test/good"), &format!("normals/{category}"));
    }
    folder.file("line/a.tar", tar.into_inner().unwrap());
    let score = |out: &str, normals: &str, more: &[&str]| {
        let normals = folder.path(normals);
        let named = ["--weights", WEIGHTS, "--reference", normals.to_str().unwrap()];
        run(score_of(&folder, "line", out, &[&named, more].concat()))
    };
    let of = |out: &str| {
        let thresholds = reader(&folder.path(out)).thresholds().unwrap();
        ["ceramic_tile", "weave"].map(|category| thresholds[category].n_references)
    };
    assert!(score("both", "normals", &[]).has_scored(40, 0));
    assert_eq!(of("both"), [20, 20]);

    copied(&folder, "in/weave/test/good", "less/weave");
    score("refused", "less", &[]).refused(&["ceramic_tile", "fewer than 8 references"]);
    let ended = score("none", "less", &["--reference-fallback", "none"]);
    assert_eq!(
        ended.stderr.matches("category ceramic_tile: not in").count(),
        1,
        "{}",
        ended.stderr
    );
    assert_eq!(of("none"), [0, 20]);
    score("archive", "less", &["--reference-fallback", "archive"]).last_line();
    assert_eq!(of("archive"), [20, 20]);
}

#[test]
fn archives_have_references_too() {
    let folder = set();
    folder.file("tars/weave/a.tar", tar_of(&folder, 20));
    run(score_of(&folder, "tars", "out", &[])).last_line();
    let scores = rows(&folder.path("out"), 20).scores;
    assert!(scores.iter().all(|row| row.p_value.is_some()));
    assert_eq!(reader(&folder.path("out")).thresholds().unwrap()["weave"].n_references, 20);
}

#[test]
fn what_is_flagged_follows_the_rule_that_is_named() {
    let folder = set();
    let flagged = |out: &str, flags: &[&str]| {
        let ended = run(score(&folder, out, flags));
        let run: RunReader = reader(&folder.path(out));
        let thresholds = run.thresholds().unwrap();
        let counted = thresholds.values().map(|row| row.n_flagged).sum::<i64>();
        assert!(
            ended.last_line().contains(&format!(" · {counted} flagged · ")),
            "{}",
            ended.stdout
        );
        for row in rows(&folder.path(out), IMAGES).scores {
            let of_category = &thresholds[row.image_id.split('/').next().unwrap()];
            let known = row.threshold.or(of_category.threshold);
            assert_eq!(known, of_category.threshold);
        }
        (thresholds["weave"].rule.clone(), counted)
    };
    assert_eq!(flagged("all", &["--threshold", "0"]), ("fixed".into(), IMAGES as i64));
    assert_eq!(flagged("nothing", &["--threshold", "1"]), ("fixed".into(), 0));
    assert_eq!(flagged("top", &["--flag-top", "25%"]), ("top_share".into(), 12));
    let none = flagged("none", &["--reference", "none", "--flag-top", "5%"]);
    assert_eq!(none, ("top_share".into(), 2));
    assert_eq!(flagged("own", &["--reference", "none"]).0, "run");
    assert!(flagged("loose", &["--false-alarm-rate", "0.5"]).1 > 10);

    let two = score(&folder, "two", &["--threshold", "0.5", "--flag-top", "5%"]);
    run(two).refused(&["threshold", "flag_top", "leave one out"]);
    let rule = score(&folder, "rule", &["--threshold-rule", "fpr-1"]);
    run(rule).refused(&["threshold_rule", "thresholds_from"]);
}

/// Without a flag of its own the report shows heat where something is flagged, and nowhere else.
#[test]
fn maps_of_flagged_images_are_kept() {
    let folder = set();
    let kept = |out: &str, flags: &[&str]| {
        assert!(run(score(&folder, out, flags)).has_scored(IMAGES, 0));
        let scores = rows(&folder.path(out), IMAGES).scores;
        let named = scores.iter().filter_map(|row| row.map_path.clone()).collect::<Vec<_>>();
        assert!(named.iter().all(|path| folder.path(out).join(path).is_file()));
        let shards = std::fs::read_dir(folder.path(out).join("maps")).into_iter().flatten();
        let files = shards.flat_map(|shard| written(&shard.unwrap().path()));
        assert_eq!(files.count(), named.len());
        assert!(scores.iter().all(|row| row.true_mask.is_none()));
        let flagged = scores.iter().filter(|row| row.is_anomalous == Some(true));
        let flagged = flagged.map(|row| row.map_path.clone());
        (named.clone(), flagged.flatten().collect::<Vec<_>>() == named)
    };
    let (maps, only_flagged) = kept("out", &["--false-alarm-rate", "0.5"]);
    assert!(maps.len() > 10 && maps.len() < IMAGES && only_flagged, "{maps:?}");
    assert!(kept("none", &["--false-alarm-rate", "0.5", "--maps", "none"]).0.is_empty());
    // Flagged at the end, by scores of the run itself: too late.
    assert!(kept("alone", &["--reference", "none"]).0.is_empty());

    let mut report = filo("report");
    report.arg("--run").arg(folder.path("out")).arg("--out").arg(folder.path("page.html"));
    run(report).last_line();
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.contains("class=\"heat\""));
}

/// Scores that the version before references gave, of the same images.
#[test]
fn without_references_scores_are_those_of_before() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scores_before.json");
    let golden: Vec<(String, f32, f32, f32, f32)> =
        serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let folder = set();
    run(score(&folder, "out", &["--reference", "none"])).last_line();
    let scores = rows(&folder.path("out"), IMAGES).scores;
    assert_eq!(scores.len(), golden.len());
    for (row, (image_id, score, global_score, map_max, map_mean)) in scores.iter().zip(&golden) {
        assert_eq!(&row.image_id, image_id);
        // Bits depend on the width of a processor's registers.
        let pairs = [
            (row.score, *score),
            (row.global_score, *global_score),
            (row.map_max, *map_max),
            (row.map_mean, *map_mean),
        ];
        assert!(pairs.iter().all(|(now, before)| (now - before).abs() < 1e-6), "{image_id}");
    }
}
