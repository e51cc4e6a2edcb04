//! What a finished run promises: every image is in a table once, the numbers follow from the
//! images alone, and tools that share no code with the program read the same from its files.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use filo::image::{Rle, Size};
use filo::train::synthetic::{Amount, Surface, write_set};
use image::{DynamicImage, ImageFormat};
use support::run::{Folder, Rows, filo, manifest, python, rows, run};

/// Images in the set: 2 good ones and 3 defects on each of 3 surfaces.
const PICTURES: usize = 15;

/// A labelled set in the MVTec layout with all kinds of files that an archive may hold.
fn labelled_set() -> Folder {
    let folder = Folder::new();
    let surfaces = &[Surface::BrushedMetal, Surface::CeramicTile, Surface::Weave];
    let amount = Amount { surfaces, good: 2, bad: 1, kinds: 3 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), PICTURES);
    let defect = folder.path(&format!("in/weave/test/{}/000.png", woven_defect()));
    let picture = image::open(&defect).unwrap();
    picture.save_with_format(defect.with_extension("jpg"), ImageFormat::Jpeg).unwrap();
    std::fs::remove_file(&defect).unwrap();
    let good = folder.path("in/weave/test/good/000.png");
    let picture = image::open(&good).unwrap();
    DynamicImage::ImageRgb16(picture.to_rgb16()).save(&good).unwrap();
    write_palette_png(&folder.path("in/ceramic_tile/test/good/000.png"));
    folder
}

/// The first kind of defect that the set has on the weave.
fn woven_defect() -> &'static str {
    Surface::Weave.defects()[0].as_str()
}

/// Sixteen colours in diagonal stripes, 4 bits a pixel.
fn write_palette_png(path: &Path) {
    let (width, height) = (120u32, 90u32);
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_palette((0..48u8).map(|value| value.wrapping_mul(37)).collect::<Vec<_>>());
    let index = |x, y| ((x + y) / 5 % 16) as u8;
    let packed = (0..height)
        .flat_map(|y| (0..width / 2).map(move |x| index(2 * x, y) << 4 | index(2 * x + 1, y)));
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&packed.collect::<Vec<_>>()).unwrap();
}

fn score(folder: &Folder, out: &str, flags: &[&str]) -> Rows {
    let mut command = folder.score_to(out);
    command.args(flags);
    let ended = run(command);
    let said = ended.last_line();
    assert!(said.starts_with("scored 15 images · ") && said.contains(" · 0 failed in "), "{said}");
    // The folder has a space in its name: the hint must work as it is printed.
    let out = folder.path(out).display().to_string();
    let hint = format!("filo report --run '{out}' --out report.html");
    assert!(said.ends_with(&hint), "{said}");
    rows(Path::new(&out), PICTURES)
}

fn metrics(folder: &Folder, flags: &[&str]) -> String {
    let mut command = filo("metrics");
    command.arg("--run").arg(folder.path("out")).args(flags);
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

#[test]
fn every_picture_is_scored_whatever_its_format() {
    let folder = labelled_set();
    let rows = score(&folder, "out", &[]);
    let sizes = rows.scores.iter().map(|row| (row.image_id.as_str(), (row.width, row.height)));
    let sizes = sizes.collect::<BTreeMap<_, _>>();
    assert_eq!(sizes[format!("weave/test/{}/000.jpg", woven_defect()).as_str()], (256, 256));
    assert_eq!(sizes["weave/test/good/000.png"], (256, 256));
    assert_eq!(sizes["ceramic_tile/test/good/000.png"], (120, 90));
    let anomalous = rows.scores.iter().filter(|row| row.label == Some(true)).count();
    assert_eq!(anomalous, 9);
    let all_finite = rows.scores.iter().all(|row| {
        row.score.is_finite() && (0.0..=1.0).contains(&row.map_max) && row.map_mean <= row.map_max
    });
    assert!(all_finite, "{:#?}", rows.scores);
    // 126 × 126 map values of every image are counted, once.
    let pixels =
        rows.partials.values().flatten().map(|row| row.n_normal + row.n_anomalous).sum::<u64>();
    assert_eq!(pixels, 126 * 126 * PICTURES as u64);
}

#[test]
fn masks_have_the_size_of_their_pictures() {
    let folder = labelled_set();
    let rows = score(&folder, "out", &["--mask-threshold", "0.4"]);
    assert!(rows.masks.len() > PICTURES / 2, "{} masks", rows.masks.len());
    let sizes = rows.scores.iter().map(|row| (row.image_id.as_str(), (row.width, row.height)));
    let sizes = sizes.collect::<BTreeMap<_, _>>();
    for row in &rows.masks {
        assert_eq!((row.width, row.height), sizes[row.image_id.as_str()]);
        let size = Size { width: row.width as usize, height: row.height as usize };
        let mask = Rle::from_counts(size, row.counts.clone()).unwrap().decode();
        assert_eq!(mask.size(), size);
        assert_eq!(mask.area_px() as i64, row.area);
        assert!(row.area > 0 && row.regions > 0);
    }
}

#[test]
fn one_picture_at_a_time_or_eight_makes_no_difference() {
    let folder = labelled_set();
    let one = score(&folder, "one", &["--batch-size", "1"]);
    let eight = score(&folder, "eight", &["--batch-size", "8"]);
    for (one, eight) in one.scores.iter().zip(&eight.scores) {
        for (a, b) in [
            (one.score, eight.score),
            (one.global_score, eight.global_score),
            (one.map_max, eight.map_max),
            (one.map_mean, eight.map_mean),
        ] {
            assert!((a - b).abs() <= 1e-5, "{}: {a} {b}", one.image_id);
        }
    }
    assert_eq!(without_values(one), without_values(eight));
}

/// The rows without the numbers that a batch may change in their last digits.
fn without_values(mut rows: Rows) -> Rows {
    for row in &mut rows.scores {
        (row.score, row.global_score, row.map_max, row.map_mean) = (0.0, 0.0, 0.0, 0.0);
    }
    for rows in rows.partials.values_mut() {
        for row in rows {
            (row.score_min, row.score_max) = (0.0, 0.0);
            row.sketch.clear();
        }
    }
    rows
}

#[test]
fn two_starts_write_the_same_bytes_but_for_measured_times() {
    let folder = labelled_set();
    let flags = ["--shard-size", "4", "--maps", "f32"];
    let first = score(&folder, "first", &flags);
    let second = score(&folder, "second", &flags);
    assert_eq!(first, second);
    // What a worker says of itself is named after its process.
    let files = |run: &str| {
        let mut files = files(&folder.path(run));
        files.retain(|name, _| !name.starts_with("_filo/workers/"));
        files
    };
    let (first, second) = (files("first"), files("second"));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    // Scores hold `ms_infer`, the ledger their digests.
    let timed = |name: &str| name.starts_with("scores/") || name.starts_with("_filo/ledger/");
    let mut compared = 0;
    for (name, bytes) in first.iter().filter(|(name, _)| !timed(name)) {
        assert!(bytes == &second[name], "{name} differs");
        compared += 1;
    }
    // 15 maps, 5 tables with pixel counts, masks and empty parts among them, manifest, _SUCCESS.
    assert!(compared >= PICTURES + 10, "{compared} files compared");
}

/// Every file below `folder`, by its path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_string();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_metrics_table_comes_as_text_as_csv_and_as_json() {
    let folder = labelled_set();
    score(&folder, "out", &[]);
    let names = ["brushed_metal", "ceramic_tile", "weave", "__all__", "__mean__"];
    let text = metrics(&folder, &["--kinds"]);
    let lines = text.lines().collect::<Vec<_>>();
    assert!(lines[1].starts_with("category") && lines[1].ends_with("aupimo"), "{text}");
    assert!(
        lines.last().unwrap().starts_with("precision, recall and metrics in percent; "),
        "{text}"
    );
    // Below the table are an empty line and what its figures are.
    let lines = &lines[1..lines.len() - 2];
    assert!(lines[1..].iter().all(|line| line.split_whitespace().count() == 15), "{text}");
    // Three kinds of defects in each category are set in below it.
    assert_eq!(lines.iter().filter(|line| line.starts_with("  ")).count(), 9, "{text}");
    let is_whole = |line: &&&str| !line.starts_with("  ");
    let lines = lines.iter().filter(is_whole).collect::<Vec<_>>();
    assert!(lines[1..].iter().zip(names).all(|(line, name)| line.starts_with(name)), "{text}");
    let json = metrics(&folder, &["--json"]);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    let csv = metrics(&folder, &["--csv"]);
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let rows = csv.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    let rows = rows.filter(|row| row["kind"].is_empty()).collect::<Vec<_>>();
    let documents = document["metrics"].as_array().unwrap().iter();
    let documents = documents.filter(|row| row["kind"].is_null()).collect::<Vec<_>>();
    assert_eq!((lines.len() - 1, rows.len()), (names.len(), names.len()));
    for (n, (row, name)) in rows.iter().zip(names).enumerate() {
        let same = documents[n];
        assert_eq!((row["category"].as_str(), row["protocol"].as_str()), (name, "exact"));
        assert_eq!(row["scale"], "0 to 1");
        assert_eq!(same["category"], name);
        assert_eq!(same["n_images"].to_string(), row["n_images"]);
        assert!(json.contains(&format!("\"pixel_ap\": {},", row["pixel_ap"])), "{json}");
        let aupro: f64 = row["aupro_05"].parse().unwrap();
        let cells = lines[1 + n].split_whitespace().collect::<Vec<_>>();
        // The last but one; AUPIMO is not defined on so few pixels.
        assert_eq!(cells[cells.len() - 2..], [&*format!("{:.1}", 100.0 * aupro), "–"], "{text}");
        let (least, most) = (&same["pixel_auroc_min"], &same["pixel_auroc_max"]);
        assert!(least.as_f64() <= same["pixel_auroc"].as_f64(), "{same}");
        assert!(most.as_f64().unwrap() - least.as_f64().unwrap() <= 1e-4, "{same}");
    }
    let published = metrics(&folder, &["--json", "--protocol", "published"]);
    assert!(published.contains("\"protocol\": \"published\""), "{published}");
}

#[test]
fn other_readers_and_other_metrics_agree() {
    let folder = labelled_set();
    score(&folder, "out", &["--maps", "f32", "--shard-size", "4"]);
    for protocol in ["exact", "published"] {
        metrics(&folder, &["--protocol", protocol]);
        let report = second_opinion(&folder);
        // Image and pixel metrics of three categories, of all and of their mean, nothing skipped.
        assert!(report.contains(" ok, 0 skipped, 0 DISAGREES"), "{protocol}\n{report}");
        for name in ["image_auroc", "pixel_ap", "aupro"] {
            let rows = report.lines().filter(|line| line.starts_with(name));
            assert_eq!(rows.count(), 5, "{protocol}\n{report}");
        }
    }
}

/// What `scripts/second_opinion.py` says about the run, run by `FILO_PYTHON` or `python3`.
fn second_opinion(folder: &Folder) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/second_opinion.py");
    let output = python(|command| {
        command.arg(script).arg(folder.path("out")).arg("--maps");
        command.arg("--input").arg(folder.path("in"));
    });
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_strict_run_with_a_failing_picture_exits_with_3() {
    let folder = Folder::new();
    folder.picture("in/nut/good.png", 40, 30);
    folder.file("in/nut/broken.png", "no picture");
    let mut strict = folder.score();
    strict.arg("--strict");
    let ended = run(strict);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("scored 1 image · "), "{}", ended.stdout);
    assert!(ended.stdout.contains(" · 1 failed in "), "{}", ended.stdout);
    assert_eq!(rows(&folder.path("out"), 2).only_failure().image_id, "nut/broken.png");
    // Without --strict the same is a success, and strictness is not part of what a run is.
    assert_eq!(run(folder.score()).code, 0);
    assert_eq!(manifest(&folder.path("out")).totals.unwrap().shards, 1);
}

#[test]
fn a_run_whose_log_nobody_reads_still_finishes() {
    let folder = Folder::new();
    folder.picture("in/nut/good.png", 40, 30);
    let mut command = folder.score();
    for stream in [Command::stdout, Command::stderr] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        stream(&mut command, writer);
    }
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_eq!(rows(&folder.path("out"), 1).scores.len(), 1);
}
