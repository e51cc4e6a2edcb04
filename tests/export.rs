//! `filo export` over real runs: what it writes is what the tables have, as DuckDB, pycocotools and Pillow
//! read both; no name leaves its folder, and nothing of anybody else's is replaced.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use filo::train::synthetic::{Amount, Surface, write_set};
use serde_json::Value;
use support::run::{Ended, Folder, WEIGHTS, filo, python, reader, rows, run};
use support::s3::{bucket_folder, upload, with_server};

/// `filo export` of the run `out` below the folder.
fn export(folder: &Folder, out: &str, flags: &[&str]) -> Ended {
    let mut command = filo("export");
    command.arg("--run").arg(folder.path(out)).args(flags).current_dir(folder.path(""));
    run(command)
}

/// The files below a folder but those of the program, sorted.
fn files(folder: &Path) -> BTreeSet<String> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_string());
    files.filter(|name| !name.starts_with("_filo/")).collect()
}

fn count(folder: &Folder, name: &str) -> usize {
    files(&folder.path(name)).len()
}

/// 16 images of two products in `in/`, and a run of them in `out/` with the embedded weights, which find
/// something; what is flagged is decided when it ends.
fn scored(flags: &[&str]) -> Folder {
    let folder = Folder::new();
    let surfaces = &[Surface::CeramicTile, Surface::Wood];
    let amount = Amount { surfaces, good: 5, bad: 1, kinds: 3 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), 16);
    score(&folder, "in", "out", flags);
    folder
}

fn score(folder: &Folder, input: &str, out: &str, flags: &[&str]) {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path(input)).arg("--output").arg(folder.path(out));
    command.args(["--reference", "none", "--flag-top", "25%", "--shard-size", "5"]).args(flags);
    run(command).last_line();
}

/// Runs a Python script with paths below the folder as arguments; returns what it prints.
fn script(folder: &Folder, text: &str, names: &[&str]) -> String {
    let ran = python(|command| {
        command.arg("-c").arg(text).args(names.iter().map(|name| folder.path(name)));
    });
    String::from_utf8(ran.stdout).unwrap()
}

/// Compares an exported CSV and JSON Lines with the tables of the runs that a pattern names: rows of
/// `scores`, the newest of each image, decided by `thresholds` where they are not themselves.
const SAME_ROWS: &str = r#"
import sys, duckdb
runs, csv, lines = sys.argv[1:]
types = "hive_types = {'run_date': DATE, 'category': VARCHAR}, union_by_name = true"
duckdb.sql(f"""
    CREATE TABLE wanted AS
    SELECT s.* EXCLUDE (pixel_summary, true_mask, is_anomalous, threshold, nth),
           coalesce(s.threshold, t.threshold) AS threshold,
           coalesce(s.is_anomalous, s.score > t.threshold) AS is_anomalous
    FROM (SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY run_date DESC) AS nth
          FROM read_parquet('{runs}/scores/**/*.parquet', {types})) AS s
    LEFT JOIN (SELECT run_id, category, threshold
               FROM read_parquet('{runs}/thresholds/**/*.parquet', {types})) AS t
      USING (run_id, category)
    WHERE nth = 1""")
columns = duckdb.sql("SELECT column_name, column_type FROM (DESCRIBE wanted)").fetchall()
named = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in columns) + "}"
names = ", ".join(f'"{name}"' for name, _ in columns)
n = duckdb.sql("SELECT count(*) FROM wanted").fetchall()[0][0]
for read in [
    f"read_csv('{csv}', header = true, types = {named})",
    f"read_json('{lines}', format = 'newline_delimited', columns = {named})",
]:
    found = duckdb.sql(f"SELECT * FROM {read}")
    assert set(found.columns) == {name for name, _ in columns}, found.columns
    duckdb.sql(f"CREATE OR REPLACE TABLE found AS SELECT * FROM {read}")
    assert duckdb.sql("SELECT count(*) FROM found").fetchall()[0][0] == n
    for a, b in [("wanted", "found"), ("found", "wanted")]:
        odd = duckdb.sql(f"SELECT {names} FROM {a} EXCEPT ALL SELECT {names} FROM {b}").fetchall()
        assert not odd, (read, odd[:2])
flagged = duckdb.sql("SELECT count(*) FROM wanted WHERE is_anomalous").fetchall()[0][0]
print(n, flagged)
"#;

#[test]
fn rows_are_those_of_the_table_as_duckdb_reads_them() {
    let folder = Folder::new();
    let names = ["a", "b, \"c\"", "süß", "d\ne", "f", "g", "h", "i"];
    let mut list = csv::Writer::from_path(folder.path("list.csv")).unwrap();
    list.write_record(["image", "category", "label", "Serial No", "mask note"]).unwrap();
    for (n, name) in names.iter().enumerate() {
        folder.picture(&format!("{n}.png"), 40 + n as u32, 50);
        let label = ["0", "1", ""][n % 3];
        let note = ["=1+1", "007", "\"quoted\", with comma", "line\nend"][n % 4];
        list.write_record([&format!("{n}.png"), "nut", label, name, note]).unwrap();
    }
    list.flush().unwrap();
    drop(list);
    let keep = ["--keep", "Serial No,mask note", "--weights", WEIGHTS];
    score(&folder, "list.csv", "out", &keep);
    let flags = ["--csv", "rows.csv", "--json-lines", "rows.jsonl"];
    let ended = export(&folder, "out", &flags);
    assert_eq!(
        ended.last_line(),
        "exported 8 of 8 images · rows.csv · 8 rows · rows.jsonl · 8 rows"
    );
    assert_eq!(script(&folder, SAME_ROWS, &["out", "rows.csv", "rows.jsonl"]), "8 2\n");
    // RFC 4180: a quote is doubled, an end of line is inside of quotes.
    let text = std::fs::read_to_string(folder.path("rows.csv")).unwrap();
    assert!(text.contains("\"b, \"\"c\"\"\"") && text.contains("\"line\nend\""), "{text}");

    // In the order of the listing; the highest of the flagged ones.
    let ids = |flags: &[&str]| {
        let ended = export(&folder, "out", &[&["--json-lines", "-"], flags].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|row| row["image_id"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let mut table = rows(&folder.path("out"), 8).scores;
    let listed = table.iter().map(|row| row.image_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&[]), listed);
    table.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.image_id.cmp(&b.image_id)));
    let highest = |n: usize| {
        let names = table[..n].iter().map(|row| row.image_id.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--top", "3"]), highest(3));
    assert_eq!(ids(&["--flagged"]), highest(2));
    assert_eq!(ids(&["--flagged", "--top", "1"]), highest(1));
    assert_eq!(ids(&["--flagged", "--top", "100"]), highest(2));
}

/// What DuckDB, pycocotools and Pillow say of a COCO file and of PNGs of masks.
const SAME_MASKS: &str = r#"
import glob, json, sys, duckdb, numpy as np
from PIL import Image
from pycocotools import mask as coding
from pycocotools.coco import COCO
run, coco, masks = sys.argv[1:]
types = "hive_types = {'run_date': DATE, 'category': VARCHAR}"
table = {row[0]: row[1:] for row in duckdb.sql(f"""
    SELECT image_id, m.height, m.width, area, bbox_x, bbox_y, bbox_width, bbox_height, m.counts, score
    FROM read_parquet('{run}/masks/**/*.parquet', {types}) AS m
    JOIN read_parquet('{run}/scores/**/*.parquet', {types}) AS s USING (image_id)""").fetchall()}
n_scores = duckdb.sql(f"SELECT count(*) FROM read_parquet('{run}/scores/**/*.parquet', {types})").fetchall()[0][0]
data = COCO(coco)
assert len(data.imgs) == n_scores, len(data.imgs)
assert [category["name"] for category in data.dataset["categories"]] == ["anomaly"]
seen = set()
for note in data.dataset["annotations"]:
    image = data.imgs[note["image_id"]]
    height, width, area, x, y, w, h, counts, score = table[image["file_name"]]
    assert (image["height"], image["width"]) == (height, width)
    decoded = data.annToMask(note)
    assert decoded.shape == (height, width)
    assert note["area"] == area == decoded.sum() == coding.area(note["segmentation"])
    assert note["bbox"] == [x, y, w, h] == coding.toBbox(note["segmentation"]).tolist()
    assert np.float32(note["score"]) == np.float32(score) and note["iscrowd"] == 0
    category, _, rest = image["file_name"].partition("/")
    assert category == image["category"]
    png = Image.open(f"{masks}/{category}/{rest}")
    assert png.mode == "L" and png.size == (width, height)
    assert np.array_equal(np.asarray(png), decoded * 255)
    seen.add(image["file_name"])
assert seen == set(table) and len(data.dataset["annotations"]) == len(table)
print(len(table))
"#;

#[test]
fn masks_are_those_of_the_table_as_pycocotools_and_pillow_read_them() {
    let folder = scored(&[]);
    let ended = export(&folder, "out", &["--coco", "coco.json", "--masks", "masks"]);
    let n = rows(&folder.path("out"), 16).masks.len();
    assert!(n > 3, "{n} masks");
    let line = format!("exported 16 of 16 images · coco.json · {n} annotations · masks · {n} PNG");
    assert_eq!(ended.last_line(), line);
    let said = script(&folder, SAME_MASKS, &["out", "coco.json", "masks"]);
    assert!(said.ends_with(&format!("{n}\n")), "{said}");
    assert_eq!(count(&folder, "masks"), n);
    // Stdout has the file and nothing else.
    let ended = export(&folder, "out", &["--coco", "-", "--category", "wood"]);
    let coco = serde_json::from_str::<Value>(&ended.stdout).unwrap();
    let images = coco["images"].as_array().unwrap();
    assert!(images.len() == 8 && images.iter().all(|image| image["category"] == "wood"));
}

/// What Pillow sees of overlays: only flagged images are there; the line is on the last pixels of the
/// mask; beyond the mask an image without a map is as it was.
const DRAWN: &str = r#"
import sys, duckdb, numpy as np
from pathlib import Path
from PIL import Image
from pycocotools import mask as coding
images, run, overlays = sys.argv[1:]
types = "hive_types = {'run_date': DATE, 'category': VARCHAR}"
flagged = duckdb.sql(f"""
    SELECT s.image_id, m.height, m.width, m.counts, s.map_path, s.map_max
    FROM read_parquet('{run}/scores/**/*.parquet', {types}) AS s
    JOIN read_parquet('{run}/thresholds/**/*.parquet', {types}) AS t USING (run_id, category)
    LEFT JOIN read_parquet('{run}/masks/**/*.parquet', {types}) AS m USING (image_id)
    WHERE s.score > t.threshold""").fetchall()
found = {str(path.relative_to(overlays)) for path in Path(overlays).rglob("*.png")}
assert found == {row[0] for row in flagged}, (found, flagged)
outlined = warm = 0
for image_id, height, width, counts, map_path, _ in flagged:
    was = np.asarray(Image.open(f"{images}/{image_id}").convert("RGB")).astype(int)
    drawn = np.asarray(Image.open(f"{overlays}/{image_id}")).astype(int)
    assert drawn.shape == was.shape
    inside = np.zeros(was.shape[:2], bool)
    if counts:
        inside = coding.decode({"size": [height, width], "counts": counts}).astype(bool)
    beside = np.zeros_like(inside)
    beside[1:] |= ~inside[:-1]; beside[:-1] |= ~inside[1:]
    beside[:, 1:] |= ~inside[:, :-1]; beside[:, :-1] |= ~inside[:, 1:]
    edge = inside & beside
    assert (drawn[edge] == 255).all(), image_id
    outlined += edge.sum()
    if map_path is None:
        assert (drawn[~inside] == was[~inside]).all(), image_id
    else:
        values = np.load(f"{run}/{map_path}").astype(float)
        y, x = np.unravel_index(values.argmax(), values.shape)
        at = int((y + .5) * was.shape[0] / len(values)), int((x + .5) * was.shape[1] / len(values))
        coldest = np.unravel_index(values.argmin(), values.shape)
        at_cold = int((coldest[0] + .5) * was.shape[0] / len(values)), int((coldest[1] + .5) * was.shape[1] / len(values))
        assert (drawn[at_cold] == was[at_cold]).all(), image_id
        if not edge[at]:
            red, _, blue = drawn[at] - was[at]
            warm += red > blue
print(len(flagged), outlined > 100, warm)
"#;

#[test]
fn overlays_show_flagged_images_and_what_was_found_in_them() {
    let folder = scored(&[]);
    let ended = export(&folder, "out", &["--overlays", "overlays"]);
    assert_eq!(ended.last_line(), "exported 4 of 16 images · overlays · 4 PNG");
    assert_eq!(script(&folder, DRAWN, &["in", "out", "overlays"]), "4 True 0\n");

    score(&folder, "in", "maps", &["--maps", "f16"]);
    export(&folder, "maps", &["--overlays", "warm"]).last_line();
    let said = script(&folder, DRAWN, &["in", "maps", "warm"]);
    let warm = said.trim_end().rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(said.starts_with("4 True ") && warm > 1, "{said}");

    // Others beside them: with rows of all images overlays are of the flagged ones all the same.
    let ended = export(&folder, "out", &["--overlays", "overlays", "--csv", "rows.csv"]);
    let line = "exported 16 of 16 images · rows.csv · 16 rows · overlays · 4 PNG";
    assert_eq!(ended.last_line(), line);
    let mut csv = csv::Reader::from_path(folder.path("rows.csv")).unwrap();
    let column = csv.headers().unwrap().iter().position(|name| name == "overlay").unwrap();
    let named = csv.records().map(|row| row.unwrap()[column].to_string());
    let named = named.filter(|name| !name.is_empty()).collect::<BTreeSet<_>>();
    assert_eq!(named, files(&folder.path("overlays")));

    // A later export leaves none of an earlier one that are not its own, and finds them again.
    for (flags, n) in [(&["--all"][..], 16), (&["--top", "1"], 2), (&[], 4), (&["--all"], 16)] {
        export(&folder, "out", &[&["--overlays", "overlays"], flags].concat()).last_line();
        assert_eq!(count(&folder, "overlays"), n, "{flags:?}");
    }
}

#[test]
fn images_of_an_archive_are_drawn_as_those_of_files() {
    let folder = scored(&[]);
    let mut tar = tar::Builder::new(Vec::new());
    for name in files(&folder.path("in")).iter().filter(|name| name.contains("/test/")) {
        let flat = name.replacen("/test/", "/", 1).replace(".png", "") + ".png";
        tar.append_path_with_name(folder.path(&format!("in/{name}")), flat).unwrap();
    }
    folder.file("tars/a.tar", tar.into_inner().unwrap());
    score(&folder, "tars", "of-tar", &[]);
    let both = ["out", "of-tar"].map(|out| {
        let ended = export(&folder, out, &["--overlays", &format!("{out}-drawn"), "--all"]);
        assert!(ended.last_line().contains("exported 16 of 16 images"), "{}", ended.stdout);
        let drawn = folder.path(&format!("{out}-drawn"));
        let files = files(&drawn);
        let bytes = files.iter().map(|name| {
            let flat = name.replace("/test/", "/");
            let flat = flat.split_once("/a.tar/").map_or(flat.as_str(), |(_, member)| member);
            (flat.to_string(), std::fs::read(drawn.join(name)).unwrap())
        });
        bytes.collect::<std::collections::BTreeMap<_, _>>()
    });
    assert_eq!(both[0].len(), 16);
    assert_eq!(both[0].keys().collect::<Vec<_>>(), both[1].keys().collect::<Vec<_>>());
    assert!(both[0] == both[1], "pixels differ");
}

#[test]
fn no_name_of_an_image_leaves_the_folder_or_hides_another() {
    let folder = Folder::new();
    let ids = [
        "../../../escaped.png",
        "/etc/passwd",
        r"C:\windows\x.png",
        r"..\..\y.png",
        "a.jpg",
        "a.png",
        "A.PNG",
        "a",
        "a.png/b.png",
        "nul.png",
        "_filo/export.json",
        "_filo",
        "s3://bucket/key.png",
        ".hidden/./c.png",
        "x#1.png",
        "50%7E~.png",
        "  blank .png ",
    ];
    let mut list = csv::Writer::from_path(folder.path("list.csv")).unwrap();
    list.write_record(["image", "id", "category"]).unwrap();
    for (n, id) in ids.iter().enumerate() {
        folder.picture(&format!("{n}.png"), 40, 40 + n as u32);
        list.write_record([&format!("{n}.png"), *id, "../nut"]).unwrap();
    }
    list.flush().unwrap();
    drop(list);
    score(&folder, "list.csv", "out", &["--weights", WEIGHTS, "--mask-threshold", "0"]);
    let before = files(&folder.path(""));
    let flags =
        ["--overlays", "deep/overlays", "--masks", "deep/masks", "--all", "--csv", "rows.csv"];
    let ended = export(&folder, "out", &flags);
    let n = rows(&folder.path("out"), ids.len()).scores.len();
    assert_eq!(n, ids.len(), "all are scored");
    assert!(ended.last_line().contains(&format!("deep/overlays · {n} PNG")), "{}", ended.stdout);
    let mut after = files(&folder.path(""));
    after.retain(|name| !before.contains(name) && !name.contains("/_filo/"));
    let of = |folder: &str| {
        let below = format!("{folder}/");
        after.iter().filter_map(|name| name.strip_prefix(&below)).collect::<BTreeSet<_>>()
    };
    let (overlays, masks) = (of("deep/overlays"), of("deep/masks"));
    assert_eq!(after.len(), overlays.len() + masks.len() + 1, "{after:?}");
    assert_eq!(overlays.len(), n);
    assert!(masks.len() > 5 && masks.is_subset(&overlays), "{masks:?}");
    // None is another's on a disk that knows no case.
    let folded = overlays.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
    assert_eq!(folded.len(), n);
    // Each row names the file of its own image: all have their own height.
    let mut csv = csv::Reader::from_path(folder.path("rows.csv")).unwrap();
    let headers = csv.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    for row in csv.records() {
        let row = row.unwrap();
        let file = folder.path(&format!("deep/overlays/{}", &row[at("overlay")]));
        let drawn = image::open(&file).unwrap();
        assert_eq!(drawn.height().to_string(), row[at("height")], "{row:?}");
    }
}

/// The input of two nights: in the second, one image was replaced and two are new.
fn nights() -> Folder {
    let folder = Folder::new();
    let night = |date: &str, out: &str, flags: &[&str]| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.args(["--weights", WEIGHTS, "--run-date", date, "--reference", "none"]);
        command.args(["--flag-top", "30%"]).args(flags);
        run(command).last_line();
    };
    for n in 0..9 {
        folder.picture(&format!("in/nut/{n}.png"), 40 + n, 50);
    }
    night("2026-11-24", "runs/1", &[]);
    folder.picture("in/nut/3.png", 71, 52);
    folder.picture("in/nut/new.png", 72, 53);
    folder.picture("in/nut/newer.png", 73, 54);
    let runs = folder.path("runs");
    night("2026-11-25", "runs/2", &["--skip-scored", runs.to_str().unwrap()]);
    folder
}

#[test]
fn several_runs_are_exported_as_one_set_with_the_newest_row_of_each_image() {
    let folder = nights();
    for flags in
        [&["--csv", "a.csv", "--json-lines", "a.jsonl"][..], &["--overlays", "drawn", "--all"]]
    {
        let ended = export(&folder, "runs", flags);
        assert!(ended.last_line().starts_with("exported 11 of 11 images · "), "{}", ended.stdout);
    }
    let said = script(&folder, SAME_ROWS, &["runs/*", "a.csv", "a.jsonl"]);
    assert!(said.starts_with("11 "), "{said}");
    assert_eq!(count(&folder, "drawn"), 11);
    // The replaced image is the one of the second night.
    let drawn = image::open(folder.path("drawn/nut/3.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (71, 52));
}

#[test]
fn an_unfinished_run_is_exported_as_far_as_it_is_committed_and_undecided() {
    let folder = Folder::new();
    for n in 0..12 {
        folder.picture(&format!("in/nut/{n:02}.png"), 40 + n, 50);
    }
    score(&folder, "in", "out", &["--weights", WEIGHTS]);
    let at = |name: &str| folder.path(&format!("out/{name}"));
    for gone in ["_SUCCESS", "_filo/thresholds.json"] {
        std::fs::remove_file(at(gone)).unwrap();
    }
    let manifest = std::fs::read(at("_filo/manifest.json")).unwrap();
    let mut manifest = serde_json::from_slice::<Value>(&manifest).unwrap();
    manifest["totals"] = Value::Null;
    std::fs::write(at("_filo/manifest.json"), manifest.to_string()).unwrap();
    let last = manifest["shards"][2].as_str().unwrap();
    std::fs::remove_file(at(&format!("_filo/ledger/{last}.json"))).unwrap();

    let refused = export(&folder, "out", &["--csv", "rows.csv"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("--partial takes what is committed"), "{}", refused.stderr);
    assert!(!folder.path("rows.csv").exists());
    let flags = ["--json-lines", "-", "--partial"];
    let ended = export(&folder, "out", &flags);
    let rows = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = rows.collect::<Vec<_>>();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row["is_anomalous"].is_null() && row["threshold"].is_null()));
    let ended = export(&folder, "out", &["--overlays", "drawn", "--partial"]);
    assert_eq!(ended.last_line(), "exported 0 of 10 images · drawn · 0 PNG");
}

#[test]
fn images_that_are_gone_or_changed_are_named_and_counted() {
    let folder = Folder::new();
    for n in 0..6 {
        folder.picture(&format!("in/nut/{n}.png"), 40 + n, 50);
    }
    score(&folder, "in", "out", &["--weights", WEIGHTS]);
    std::fs::remove_file(folder.path("in/nut/0.png")).unwrap();
    folder.picture("in/nut/1.png", 99, 50);
    folder.file("in/nut/2.png", "no picture");
    let flags = ["--overlays", "drawn", "--all", "--csv", "rows.csv"];
    let ended = export(&folder, "out", &flags);
    let line = "exported 6 of 6 images · rows.csv · 6 rows · drawn · 3 PNG · 3 failed";
    assert_eq!(ended.last_line(), line);
    for part in
        ["nut/0.png", "No such file", "nut/1.png", "nut/2.png", "changed after it was listed"]
    {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let strict = export(&folder, "out", &[&flags[..], &["--strict"]].concat());
    assert_eq!((strict.code, strict.stdout.trim_end()), (3, line));

    std::fs::rename(folder.path("in"), folder.path("moved")).unwrap();
    let refused = export(&folder, "out", &["--overlays", "none"]);
    refused.refused(&["no overlay can be drawn", "--input"]);
    assert!(!folder.path("none").exists());
    let ended = export(&folder, "out", &[&flags[..], &["--input", "moved"]].concat());
    // Copies have other times; the size still tells.
    assert_eq!(ended.last_line(), line);
    assert!(
        ended.stderr.contains("it is 99 × 50 now and was scored as 41 × 50"),
        "{}",
        ended.stderr
    );
    // Rows and masks need no images.
    std::fs::rename(folder.path("moved"), folder.path("lost")).unwrap();
    let ended = export(&folder, "out", &["--csv", "rows.csv", "--masks", "masks"]);
    assert!(ended.last_line().starts_with("exported 6 of 6 images"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
}

#[test]
fn what_is_somebody_elses_is_refused_in_one_line_and_left_as_it_was() {
    let folder = Folder::new();
    folder.picture("in/nut/a.png", 40, 50);
    folder.picture("in/nut/b.png", 40, 50);
    score(&folder, "in", "out", &["--weights", WEIGHTS]);
    folder.file("notes.csv", "a,b\n1,2\n");
    folder.file("photos/own.png", "mine");
    let everything = || {
        let files = files(&folder.path("")).into_iter();
        files.map(|name| (std::fs::read(folder.path(&name)).unwrap(), name)).collect::<Vec<_>>()
    };
    let before = everything();
    let photo = "in/nut/a.png";
    for (flags, parts) in [
        (&[][..], &["nothing to export", "--csv FILE", "--masks DIR"][..]),
        (&["--csv", "notes.csv"], &["notes.csv", "no CSV export", "--csv"]),
        (&["--csv", photo], &["a.png", "no CSV export"]),
        (&["--json-lines", "notes.csv"], &["no JSON Lines export"]),
        (&["--coco", photo], &["no COCO export"]),
        (&["--overlays", "photos"], &["photos", "own.png", "--overlays"]),
        (&["--masks", "out"], &["out: holds files that no export wrote"]),
        (&["--csv", "x", "--coco", "x"], &["--csv and --coco name the same place (x)"]),
        (&["--csv", "-", "--json-lines", "-"], &["--csv and --json-lines name the same"]),
        (&["--overlays", "x", "--masks", "x/"], &["name the same place"]),
        (&["--csv", "x", "--category", "bolt"], &["--category bolt", "no such category"]),
    ] {
        export(&folder, "out", flags).refused(parts);
    }
    export(&folder, "in", &["--csv", "x"]).refused(&["holds no run"]);
    for (flags, part) in [
        (["--csv", "in"], "is a folder: name a file in it"),
        (["--csv", "/nowhere/rows.csv"], "there is no such folder"),
        (["--overlays", "notes.csv"], "notes.csv"),
    ] {
        let ended = export(&folder, "out", &flags);
        assert!(ended.code != 0 && ended.stderr.contains(part), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("filo: ")).count(), 1);
    }
    assert!(everything() == before, "something was changed");

    // What an export wrote is written anew; a folder of masks does not become one of overlays.
    for _ in 0..2 {
        let flags =
            ["--csv", "a.csv", "--json-lines", "a.jsonl", "--coco", "a.json", "--masks", "m"];
        export(&folder, "out", &flags).last_line();
    }
    export(&folder, "out", &["--overlays", "m"])
        .refused(&["m: holds the masks of an earlier export"]);
    // An empty folder may be taken, and a file beside the exported ones stays.
    std::fs::create_dir(folder.path("empty")).unwrap();
    export(&folder, "out", &["--overlays", "empty", "--all"]).last_line();
    folder.file("empty/nut/note.png", "mine");
    export(&folder, "out", &["--overlays", "empty", "--top", "1"]).last_line();
    let left = files(&folder.path("empty"));
    assert!(left.len() == 2 && left.contains("nut/note.png"), "{left:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let folder = Folder::new();
    for n in 0..4 {
        folder.picture(&format!("in/nut/{n}.png"), 40, 50);
    }
    score(&folder, "in", "out", &["--weights", WEIGHTS]);
    for flag in ["--csv", "--json-lines", "--coco"] {
        let mut command = filo("export");
        command.arg("--run").arg(folder.path("out")).args([flag, "-"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        let ended = Ended::of(command.output().unwrap());
        assert_eq!(ended.code, 0, "{flag}: {}", ended.stderr);
        assert!(!ended.stderr.contains("filo: "), "{flag}: {}", ended.stderr);
        if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
            command.stdout(full);
            let ended = Ended::of(command.output().unwrap());
            assert_eq!(ended.code, 1, "{flag}");
            let said = "filo: stdout: cannot be written";
            assert!(ended.stderr.contains(said), "{flag}: {}", ended.stderr);
        }
    }
}

/// All files of a store below a prefix of it, by name.
fn fetched(uri: &str, to: &Path) -> PathBuf {
    let store = filo::store::Store::open(&uri.parse().unwrap()).unwrap();
    for file in store.list("").unwrap() {
        let path = to.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, store.get(&file.path).unwrap()).unwrap();
    }
    to.to_owned()
}

#[test]
fn from_bucket_to_bucket_is_the_same_export_as_on_a_disk() {
    let folder = scored(&["--maps", "f16"]);
    let bucket = bucket_folder("export");
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let mut command = filo("score");
    command.args(["--input", &format!("{bucket}/in"), "--output", &format!("{bucket}/out")]);
    command.args([
        "--reference",
        "none",
        "--flag-top",
        "25%",
        "--shard-size",
        "5",
        "--maps",
        "f16",
    ]);
    run(with_server(command)).last_line();
    let exported = |flags: &[&str]| {
        let mut command = filo("export");
        command.args(["--run", &format!("{bucket}/out")]);
        let places =
            ["--csv", "rows.csv", "--coco", "coco.json", "--overlays", "drawn", "--masks", "masks"];
        for pair in places.chunks(2) {
            command.arg(pair[0]).arg(format!("{bucket}/to/{}", pair[1]));
        }
        command.args(flags);
        run(with_server(command))
    };
    let ended = exported(&["--all"]);
    assert!(ended.last_line().starts_with("exported 16 of 16 images · s3://"), "{}", ended.stdout);
    let to = fetched(&format!("{bucket}/to"), &folder.path("fetched"));
    let places =
        ["--csv", "rows.csv", "--coco", "coco.json", "--overlays", "drawn", "--masks", "masks"];
    export(&folder, "out", &[&places[..], &["--all"]].concat()).last_line();
    for name in ["drawn", "masks"] {
        let (there, here) = (to.join(name), folder.path(name));
        assert_eq!(files(&there), files(&here), "{name}");
        for file in files(&here) {
            let same = std::fs::read(there.join(&file)).unwrap()
                == std::fs::read(here.join(&file)).unwrap();
            assert!(same, "{name}/{file}");
        }
    }
    let coco = |path: PathBuf| {
        let mut coco = serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
        coco["info"] = Value::Null;
        coco
    };
    assert_eq!(coco(to.join("coco.json")), coco(folder.path("coco.json")));
    let lines = std::fs::read_to_string(to.join("rows.csv")).unwrap();
    assert_eq!(lines.lines().count(), 17);
    // Again: what is not exported any more goes; what is no export is refused.
    exported(&[]).last_line();
    let again = fetched(&format!("{bucket}/to/drawn"), &folder.path("again"));
    assert_eq!(files(&again).len(), 4);
    let mut command = filo("export");
    command.args(["--run", &format!("{bucket}/out"), "--overlays", &format!("{bucket}/in")]);
    run(with_server(command)).refused(&["holds files that no export wrote"]);
    assert_eq!(reader(&folder.path("out")).categories(), ["ceramic_tile", "wood"]);
}
