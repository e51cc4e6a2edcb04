//! Large images in tiles: the real program with the networks inside it, on images that it cannot see the
//! defects of as a whole.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use filo::image::Rle;
use filo::tables::{RawMap, ScoreRow, read_map_npy};
use image::{GrayImage, Luma, Rgb, RgbImage};
use support::run::{Folder, filo, python, reader, rows, run};

const IMAGES: usize = 12;
const WIDTH: u32 = 900;
const HEIGHT: u32 = 640;

/// Where the one image with a defect has it, and how large it is, pixels.
const SPOT: [u32; 3] = [612, 230, 14];

fn is_spot(x: u32, y: u32) -> bool {
    let [left, top, side] = SPOT;
    (left..left + side).contains(&x) && (top..top + side).contains(&y)
}

/// Grain whose content follows from `seed`.
fn grain(x: u32, y: u32, seed: u32) -> u8 {
    let mixed = (x / 2).wrapping_mul(0x9E37_79B1) ^ (y / 2).wrapping_mul(0x85EB_CA77) ^ seed;
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x2C1B_3C6D);
    120 + ((mixed ^ (mixed >> 13)) % 24) as u8
}

/// Images in layout mvtec: `IMAGES - 1` good ones and one with a small dark spot.
fn set() -> Folder {
    let folder = Folder::new();
    for n in 0..IMAGES as u32 {
        let is_bad = n == 5;
        let image = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| match is_bad && is_spot(x, y) {
            true => Rgb([40; 3]),
            false => Rgb([grain(x, y, n.wrapping_mul(7919)); 3]),
        });
        let kind = if is_bad { "spot" } else { "good" };
        let name = format!("in/plate/test/{kind}/{n:02}.png");
        folder.file(&name, "");
        image.save(folder.path(&name)).unwrap();
    }
    let mask = GrayImage::from_fn(WIDTH, HEIGHT, |x, y| Luma([255 * u8::from(is_spot(x, y))]));
    folder.file("in/plate/ground_truth/spot/05_mask.png", "");
    mask.save(folder.path("in/plate/ground_truth/spot/05_mask.png")).unwrap();
    folder
}

fn score(folder: &Folder, out: &str, flags: &[&str]) -> Command {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
    command.args(["--run-date", "2026-11-24"]).args(flags);
    command
}

fn by_name(rows: &[ScoreRow]) -> BTreeMap<&str, &ScoreRow> {
    rows.iter().map(|row| (row.image_id.as_str(), row)).collect()
}

#[test]
fn a_defect_too_small_for_the_whole_image_is_found_in_a_tile() {
    let folder = set();
    assert!(run(score(&folder, "off", &["--tile", "off"])).has_scored(IMAGES, 0));
    assert!(run(score(&folder, "on", &[])).has_scored(IMAGES, 0));
    let [off, on] = ["off", "on"].map(|out| rows(&folder.path(out), IMAGES));
    assert!(off.scores.iter().all(|row| row.n_tiles.is_none() && row.tile_grid.is_none()));
    for row in &on.scores {
        assert_eq!((row.n_tiles, row.tile_grid.as_deref()), (Some(12), Some("4x3")), "{row:?}");
        assert_eq!(row.is_anomalous, row.p_value.map(|p| p <= 0.01));
    }
    let highest = |rows: &[ScoreRow]| {
        rows.iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap().image_id.clone()
    };
    assert_eq!(highest(&on.scores), "plate/test/spot/05.png");
    assert_eq!(by_name(&on.scores)["plate/test/spot/05.png"].is_anomalous, Some(true));
    // The mask lies on the spot, in pixels of the image.
    let mask = on.masks.iter().find(|mask| mask.image_id == "plate/test/spot/05.png").unwrap();
    assert_eq!((mask.width, mask.height), (WIDTH as i32, HEIGHT as i32));
    let size = filo::image::Size { width: WIDTH as usize, height: HEIGHT as usize };
    let mask = Rle::from_counts(size, mask.counts.clone()).unwrap().decode();
    let is_defect = |x: u32, y: u32| mask.values()[(y * WIDTH + x) as usize] == 1;
    assert!(is_defect(SPOT[0] + SPOT[2] / 2, SPOT[1] + SPOT[2] / 2));
    // Not much else.
    assert!(mask.area_px() < size.area() as u64 / 5, "{}", mask.area_px());
}

#[test]
fn workers_and_batches_change_nothing() {
    let folder = set();
    let flags = ["--shard-size", "5", "--tile", "400x300", "--tile-overlap", "0.25"];
    let with = |more: &[&'static str]| [&flags[..], more].concat();
    assert!(run(score(&folder, "one", &flags)).has_scored(IMAGES, 0));
    let whole = rows(&folder.path("one"), IMAGES);
    for worker in ["0/2", "1/2"] {
        run(score(&folder, "two", &with(&["--partition", worker]))).last_line();
    }
    assert_eq!(rows(&folder.path("two"), IMAGES), whole);
    run(score(&folder, "small", &with(&["--batch-size", "5"]))).last_line();
    let small = rows(&folder.path("small"), IMAGES).scores;
    let small = by_name(&small);
    for row in &whole.scores {
        let other = small[row.image_id.as_str()];
        assert!((row.score - other.score).abs() < 1e-4, "{} {}", row.score, other.score);
        assert_eq!(row.n_tiles, other.n_tiles);
    }
}

#[test]
fn what_is_not_larger_scores_as_without_tiles() {
    let folder = Folder::new();
    for n in 0..10 {
        folder.picture(&format!("in/{n}.png"), 512, 300);
    }
    for out in [["a", "auto"], ["b", "off"], ["c", "512"]] {
        let [out, tile] = out;
        assert!(run(score(&folder, out, &["--tile", tile])).has_scored(10, 0), "{tile}");
    }
    let [a, b, c] = ["a", "b", "c"].map(|out| rows(&folder.path(out), 10));
    assert_eq!(a, b);
    assert_eq!(a, c);
}

#[test]
fn odd_sizes_end_in_scores() {
    let folder = Folder::new();
    for (n, (width, height)) in
        [(3000, 1), (1, 3000), (513, 2), (600, 600), (100, 100), (1, 1)].into_iter().enumerate()
    {
        folder.picture(&format!("in/{n}.png"), width, height);
    }
    folder.file("in/cut.png", &std::fs::read(folder.path("in/3.png")).unwrap()[..9000]);
    for reference in ["none", "archive"] {
        let flags = ["--reference", reference, "--tile", "auto"];
        let ended = run(score(&folder, reference, &flags));
        assert!(ended.has_scored(6, 1), "{}", ended.stderr);
        let rows = rows(&folder.path(reference), 7);
        let tiles = by_name(&rows.scores);
        let tiles =
            ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png"].map(|name| tiles[name].n_tiles);
        assert_eq!(tiles, [Some(14), Some(14), Some(3), Some(9), None, None]);
        assert_eq!(rows.only_failure().image_id, "cut.png");
    }
}

#[test]
fn metrics_over_joined_maps_are_those_of_other_libraries() {
    let folder = set();
    assert!(run(score(&folder, "out", &["--maps", "f32"])).has_scored(IMAGES, 0));
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    run(metrics).last_line();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/second_opinion.py");
    let output = python(|command| {
        command.arg(script).arg(folder.path("out")).arg("--maps");
        command.arg("--input").arg(folder.path("in"));
    });
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains(" ok, 0 skipped, 0 DISAGREES"), "{report}");
    for name in ["image_auroc", "pixel_auroc", "aupro"] {
        assert!(report.lines().any(|line| line.starts_with(name)), "{name}\n{report}");
    }
}

#[test]
fn references_that_are_too_small_for_tiles_are_used_for_the_whole_image() {
    let folder = set();
    for n in 0..9 {
        folder.picture(&format!("normals/plate/{n}.png"), 300, 200);
    }
    let normals = folder.path("normals");
    let ended = run(score(&folder, "out", &["--reference", normals.to_str().unwrap()]));
    assert!(ended.has_scored(IMAGES, 0), "{}", ended.stderr);
    let rows = rows(&folder.path("out"), IMAGES).scores;
    assert!(rows.iter().all(|row| row.n_tiles.is_none() && row.p_value.is_some()), "{rows:?}");
}

#[test]
fn archives_give_what_files_give() {
    let folder = Folder::new();
    let mut tar = tar::Builder::new(Vec::new());
    for n in 0..3 {
        let name = format!("in/{n}.png");
        folder.picture(&name, 700, 300 + 100 * n);
        let bytes = std::fs::read(folder.path(&name)).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("{n}.png"), &bytes[..]).unwrap();
    }
    folder.file("tars/all.tar", tar.into_inner().unwrap());
    let flags = ["--reference", "none", "--category", "thing", "--tile", "auto"];
    assert!(run(score(&folder, "files", &flags)).has_scored(3, 0));
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("tars")).arg("--output").arg(folder.path("members"));
    command.args(["--run-date", "2026-11-24"]).args(flags);
    assert!(run(command).has_scored(3, 0));
    let name = |id: &str| id.rsplit('/').next().unwrap().to_string();
    let [files, members] = ["files", "members"].map(|out| rows(&folder.path(out), 3).numbers(name));
    assert_eq!(files, members);
}

#[test]
fn the_report_shows_the_hottest_part_of_a_tiled_image() {
    let folder = set();
    assert!(run(score(&folder, "on", &["--maps", "f16"])).has_scored(IMAGES, 0));
    let page = |out: &str| {
        let mut command = filo("report");
        command.arg("--run").arg(folder.path(out)).arg("--out").arg(folder.path("page.html"));
        run(command).last_line();
        std::fs::read_to_string(folder.path("page.html")).unwrap()
    };
    let tiled = page("on");
    let part = format!("{} × {} pixels at ", WIDTH.div_ceil(4), HEIGHT.div_ceil(3));
    assert_eq!(tiled.matches(&part).count(), IMAGES, "{part}");
    assert_eq!(tiled.matches("aria-label=\"Hottest part of").count(), IMAGES);
    assert!(run(score(&folder, "off", &["--tile", "off", "--maps", "f16"])).has_scored(IMAGES, 0));
    assert!(!page("off").contains("ottest part"));
}

/// How far the map of a good image is above its mean where two tiles meet, in its standard deviations.
fn seam(map: &RawMap) -> f64 {
    let columns = f64::from(WIDTH) / map.size.width as f64;
    // Tiles of 256 begin at 0, 224, 448 and, shifted inwards, 644.
    let meets = |x: f64| [240.0, 464.0, 674.0].iter().any(|edge: &f64| (x - edge).abs() < 16.0);
    let values = map.values.iter().map(|value| f64::from(*value)).enumerate();
    let (mut at, mut n_at, mut all, mut squares) = (0.0, 0.0, 0.0, 0.0);
    for (i, value) in values {
        (all, squares) = (all + value, squares + value * value);
        if meets((i % map.size.width) as f64 * columns) {
            (at, n_at) = (at + value, n_at + 1.0);
        }
    }
    let n = map.values.len() as f64;
    (at / n_at - all / n) / (squares / n - (all / n).powi(2)).sqrt()
}

#[test]
fn no_grid_of_tiles_shows_in_the_joined_map() {
    let folder = set();
    assert!(run(score(&folder, "out", &["--maps", "f32"])).has_scored(IMAGES, 0));
    let scores = rows(&folder.path("out"), IMAGES).scores;
    let reader = reader(&folder.path("out"));
    let seams = scores.iter().map(|row| {
        let map = read_map_npy(reader.store(), row.map_path.as_ref().unwrap()).unwrap();
        seam(&map)
    });
    let mean = seams.sum::<f64>() / scores.len() as f64;
    assert!(mean.abs() < 0.2, "{mean}");
}

#[test]
fn a_dry_run_says_how_many_tiles_there_will_be() {
    let folder = set();
    folder.picture("in/plate/test/good/small.png", 200, 200);
    let told = run(score(&folder, "out", &["--dry-run"]));
    let images = IMAGES + 1;
    let looked_at = images.min(16);
    let expected =
        format!("of the {looked_at} images that were looked at are tiled, the largest, ");
    assert!(told.stdout.contains(&expected), "{}", told.stdout);
    assert!(told.stdout.contains(&format!("{WIDTH} × {HEIGHT}, in 12")), "{}", told.stdout);
    let off = run(score(&folder, "out", &["--dry-run", "--tile", "off"]));
    assert!(!off.stdout.contains("tiles"), "{}", off.stdout);

    // Of archives, the first images of one.
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", folder.path("in/plate/test/spot")).unwrap();
    folder.file("tars/plate/0.tar", tar.into_inner().unwrap());
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("tars")).arg("--output").arg(folder.path("out"));
    let told = run({
        command.arg("--dry-run");
        command
    });
    let expected = "about 12 tiles per image: 1 of the 1 images";
    assert!(told.stdout.contains(expected), "{}", told.stdout);
}

#[test]
fn tiles_that_make_no_sense_are_refused_by_name() {
    let folder = Folder::new();
    folder.picture("in/a.png", 700, 300);
    for (flag, value, allowed) in
        [("--tile", "8", "16 or more"), ("--tile-overlap", "0.9", "0 to 0.5")]
    {
        let ended = run(score(&folder, "out", &[flag, value]));
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(flag) && ended.stderr.contains(allowed), "{}", ended.stderr);
    }
    let off = ["--tile", "off", "--tile-scale", "0.5"];
    run(score(&folder, "out", &off)).refused(&["tile_scale", "tile"]);
    // Too many for one image: said before the run, and a row that says what to do.
    let folder = Folder::new();
    folder.picture("in/wide.png", 6000, 3000);
    let many = ["--tile", "16", "--tile-overlap", "0.5", "--reference", "none"];
    let told = run(score(&folder, "out", &[&many[..], &["--dry-run"]].concat()));
    let expected = "1 of the 1 images that were looked at would be failures: 280126 tiles";
    assert!(told.stdout.contains(expected), "{}", told.stdout);
    let ended = run(score(&folder, "out", &many));
    assert!(ended.has_scored(0, 1), "{}", ended.stderr);
    let rows = rows(&folder.path("out"), 1);
    let failure = rows.only_failure();
    assert_eq!(failure.code, "too_large");
    assert!(failure.message.contains("--tile-scale"), "{failure:?}");
    // What is too large as a whole may be allowed.
    let small = ["--max-pixels", "1000000", "--tile", "off", "--reference", "none"];
    let ended = run(score(&folder, "limited", &small));
    assert!(ended.has_scored(0, 1), "{}", ended.stderr);
}
