//! Nights that score what is new: `--skip-scored` and `{run_date}`, on a disk and in a bucket. In: an
//! archive that grows and changes between runs. Out: each image has exactly one newest row over all
//! nights, and the program says what it left out and why it did not.

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;
use std::time::{Duration, SystemTime};

use filo::store::{Location, Store};
use filo::tables::{Skipped, reference_path};
use support::run::{Ended, Folder, WEIGHTS, filo, manifest, python, rows, run};
use support::s3::{bucket_folder, upload, with_server};

/// A night of `input` into a folder of `scores` that is named after its date.
fn night_of(input: &str, scores: &str, date: &str) -> Command {
    let mut command = filo("score");
    let output = format!("{scores}/{{run_date}}");
    command.args(["--input", input, "--output", &output, "--skip-scored", scores]);
    command.args(["--weights", WEIGHTS, "--run-date", date]);
    command
}

/// The same on the disk, from `in/` into `scores/`, with more flags.
fn night(folder: &Folder, day: u32, flags: &[&str]) -> Ended {
    let (input, scores) = (folder.path("in"), folder.path("scores"));
    let mut command = night_of(input.to_str().unwrap(), scores.to_str().unwrap(), &date(day));
    command.args(flags);
    run(command)
}

fn date(day: u32) -> String {
    format!("2026-11-{day}")
}

/// Names of the images that a night on the disk has scored.
fn scored(folder: &Folder, day: u32, listed: usize) -> Vec<String> {
    let rows = rows(&folder.path(&format!("scores/{}", date(day))), listed);
    rows.scores.into_iter().map(|row| row.image_id).collect()
}

fn skipped(folder: &Folder, day: u32) -> Skipped {
    Skipped::of(&manifest(&folder.path(&format!("scores/{}", date(day)))).spec).unwrap()
}

/// What DuckDB and pyarrow find in the tables of all nights below a folder: how many images have their
/// newest row in each night. Fails unless each image has one newest row.
const NEWEST: &str = r#"
import json, sys
import duckdb, pyarrow.dataset as ds
files = duckdb.sql(f"select * from read_parquet('{sys.argv[1]}/*/scores/**/*.parquet', hive_partitioning=true)")
ranked = duckdb.sql("select image_id, run_date, max(run_date) over (partition by image_id) as newest from files")
newest = duckdb.sql("select * from ranked where run_date = newest")
twice = duckdb.sql("select image_id from newest group by image_id having count(*) <> 1").fetchall()
assert not twice, twice
from pathlib import Path
tables = [str(path) for path in Path(sys.argv[1]).glob("*/scores/**/*.parquet")]
images = ds.dataset(tables).to_table(columns=["image_id"])["image_id"].to_pylist()
assert len(set(images)) == newest.count("*").fetchall()[0][0]
counts = duckdb.sql("select run_date::varchar, count(*) from newest group by 1 order by 1").fetchall()
print(json.dumps([len(images), counts]))
"#;

fn newest(scores: &std::path::Path) -> String {
    let output = python(|command| {
        command.args(["-c", NEWEST]).arg(scores);
    });
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

const FIRST: usize = 200;
const NEW: usize = 30;

fn name(n: usize) -> String {
    format!("{}/{n:04}.png", ["bolt", "nut"][n % 2])
}

#[test]
fn the_second_night_of_a_disk_scores_what_is_new_and_what_changed() {
    let folder = Folder::new();
    let picture = |n: usize| folder.picture(&format!("in/{}", name(n)), 24, 24);
    (0..FIRST).for_each(picture);
    let first = night(&folder, 24, &[]);
    assert!(first.has_scored(FIRST, 0), "{}", first.stdout);
    assert!(first.stderr.contains("there is no earlier run below"), "{}", first.stderr);

    (FIRST..FIRST + NEW).for_each(picture);
    for n in [3, 4] {
        folder.picture(&format!("in/{}", name(n)), 25, 24);
    }
    std::fs::remove_file(folder.path(&format!("in/{}", name(5)))).unwrap();
    let looked = night(&folder, 25, &["--dry-run"]);
    assert!(looked.last_line().starts_with("32 images in "), "{}", looked.stdout);
    assert!(looked.stdout.contains("\n197 images already scored by 1 earlier run\n"));
    assert!(!folder.path("scores/2026-11-25").exists());
    let second = night(&folder, 25, &[]);
    assert!(second.has_scored(NEW + 2, 0), "{}", second.stdout);
    assert!(second.last_line().contains(" · 197 images already scored by 1 earlier run · "));
    let expected = (FIRST..FIRST + NEW).chain([3, 4]).map(name).collect::<BTreeSet<_>>();
    assert_eq!(BTreeSet::from_iter(scored(&folder, 25, NEW + 2)), expected);
    let of_first = manifest(&folder.path("scores/2026-11-24")).run_id;
    assert_eq!(skipped(&folder, 25).runs.into_iter().collect::<Vec<_>>(), [(of_first, 197)]);

    let third = night(&folder, 26, &[]);
    let said = "nothing to score: 229 images already scored by 2 earlier runs · ";
    assert!(third.last_line().starts_with(said), "{}", third.stdout);
    assert_eq!(scored(&folder, 26, 0), [""; 0]);
    let mut report = filo("report");
    report.arg("--run").arg(folder.path("scores/2026-11-26"));
    report.arg("--out").arg(folder.path("page.html"));
    run(report).last_line();
    let again = night(&folder, 26, &[]);
    assert!(again.last_line().starts_with(said), "{}", again.stdout);
    // Of 200 images two have a newer row; that of the image that is gone stays.
    assert_eq!(
        newest(&folder.path("scores")),
        r#"[232, [["2026-11-24", 198], ["2026-11-25", 32]]]"#
    );
}

#[test]
fn the_second_night_of_a_bucket_scores_what_is_new_and_what_changed() {
    let (folder, bucket) = (Folder::new(), bucket_folder("nights"));
    let (input, scores) = (format!("{bucket}/in"), format!("{bucket}/scores"));
    let picture = |n: usize| folder.picture(&format!("in/{}", name(n)), 24, 24);
    (0..FIRST).for_each(picture);
    upload(&folder.path("in"), &input);
    let night = |day: u32| run(with_server(night_of(&input, &scores, &date(day))));
    assert!(night(24).has_scored(FIRST, 0));

    // As a line of files that are not runs may lie there, too.
    folder.file("pages/a/b/page.html", "x");
    upload(&folder.path("pages"), &format!("{scores}/pages"));
    (FIRST..FIRST + NEW).for_each(picture);
    for n in [3, 4] {
        folder.picture(&format!("in/{}", name(n)), 25, 24);
    }
    // The same bytes have the same etag: what is written again is not new.
    upload(&folder.path("in"), &input);
    let archive = Store::open(&input.parse().unwrap()).unwrap();
    archive.delete_if_there(&name(5)).unwrap();
    let second = night(25);
    assert!(second.has_scored(NEW + 2, 0), "{}", second.stdout);
    assert!(second.last_line().contains(" · 197 images already scored by 1 earlier run · "));
    let third = night(26);
    assert!(third.last_line().starts_with("nothing to score: 229 images already scored by 2 "));

    let store = Store::open(&scores.parse::<Location>().unwrap()).unwrap();
    for file in store.list("").unwrap().iter().filter(|file| file.path.contains("/scores/")) {
        folder.file(&format!("copy/{}", file.path), store.get(&file.path).unwrap());
    }
    assert_eq!(newest(&folder.path("copy")), r#"[232, [["2026-11-24", 198], ["2026-11-25", 32]]]"#);
}

#[test]
fn the_references_of_a_night_are_those_of_the_first() {
    let folder = Folder::new();
    for n in 0..12 {
        folder.picture(&format!("in/bolt/{n}.png"), 30, 30);
        folder.picture(&format!("in/nut/{n}.png"), 30, 30);
    }
    let flags = ["--reference", "archive"];
    assert!(night(&folder, 24, &flags).has_scored(24, 0));
    // Another time, the same bytes: scored again, and as before. Nuts are not, the next night.
    let touch = |name: &str| {
        let file = File::options().write(true).open(folder.path(name)).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    };
    touch("in/bolt/7.png");
    folder.picture("in/bolt/new.png", 30, 30);
    (0..9).for_each(|n| folder.picture(&format!("in/cap/{n}.png"), 30, 30));
    assert!(night(&folder, 25, &flags).has_scored(11, 0));
    touch("in/nut/7.png");
    folder.picture("in/cap/new.png", 30, 30);
    let third = night(&folder, 26, &flags);
    assert!(third.has_scored(2, 0), "{}", third.stderr);
    let places = ["2026-11-25", "2026-11-24"].map(|day| folder.path(&format!("scores/{day}")));
    let places = places.map(|place| place.canonicalize().unwrap().to_str().unwrap().to_string());
    assert_eq!(skipped(&folder, 26).references, places);

    let file = |day: u32, category: &str| {
        let path = format!("scores/{}/{}", date(day), reference_path(category));
        std::fs::read(folder.path(&path)).unwrap()
    };
    assert!(file(25, "bolt") == file(24, "bolt") && file(26, "nut") == file(24, "nut"));
    assert!(file(26, "cap") == file(25, "cap"));
    let of = |day: u32, listed: usize, name: &str| {
        let rows = rows(&folder.path(&format!("scores/{}", date(day))), listed);
        let row = rows.scores.into_iter().find(|row| row.image_id == name).unwrap();
        (row.score, row.p_value, row.reference_id, row.is_anomalous)
    };
    assert_eq!(of(24, 24, "bolt/7.png"), of(25, 11, "bolt/7.png"));
    assert_eq!(of(24, 24, "nut/7.png"), of(26, 2, "nut/7.png"));
    assert!(of(25, 11, "cap/0.png").1.is_some(), "a new category has references of its own");
}

#[test]
fn a_run_that_does_not_count_is_named_with_its_reason() {
    let folder = Folder::new();
    (0..3).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    (0..3).for_each(|n| folder.picture(&format!("other/nut/{n}.png"), 24, 24));
    assert!(night(&folder, 20, &["--threshold", "0.75"]).has_scored(3, 0));
    assert!(night(&folder, 21, &["--preprocess", "published"]).has_scored(3, 0));
    let (other, scores) = (folder.path("other"), folder.path("scores"));
    let elsewhere = night_of(other.to_str().unwrap(), scores.to_str().unwrap(), "2026-11-22");
    assert!(run(elsewhere).has_scored(3, 0));
    // Of two parts one is done.
    night(&folder, 23, &["--shard-size", "1", "--partition", "0/2"]).last_line();
    folder.file("scores/broken/_filo/manifest.json", "{");
    folder.file("scores/pages/page.html", "");
    let ended = night(&folder, 24, &["--maps", "f16", "--shard-size", "2"]);
    assert!(ended.has_scored(3, 0), "{}", ended.stdout);
    for part in [
        "scores/2026-11-20 does not count: scored with another rule for what is flagged \
         (decision.false_alarm_rate: not set → 0.01; decision.threshold: 0.75 → not set): its images \
         are scored again",
        "scores/2026-11-21 does not count: scored with another preprocess (preprocess: \"published\" → \
         \"sensible\"): its images",
        "scores/2026-11-22 does not count: of another input",
        "scores/2026-11-23 does not count: not finished: its images are scored again",
        "scores/broken/_filo/manifest.json",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} is not in: {}", ended.stderr);
    }
    // Neither the cut of the work nor what is kept beside the numbers makes other numbers.
    let ended = night(&folder, 25, &["--shard-size", "3"]);
    assert!(ended.last_line().starts_with("nothing to score: 3 images already scored by 1 "));
}

#[test]
fn a_run_that_goes_on_has_the_plan_of_its_first_start() {
    let folder = Folder::new();
    (0..8).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    assert!(night(&folder, 24, &[]).has_scored(8, 0));
    (10..16).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    let parts = ["--shard-size", "1", "--partition"];
    night(&folder, 25, &[&parts[..], &["0/2"]].concat()).last_line();
    // What changes meanwhile, of the input or of earlier runs, is another night's.
    folder.picture("in/nut/late.png", 24, 24);
    std::fs::rename(folder.path("scores/2026-11-24"), folder.path("away")).unwrap();
    let rest = night(&folder, 25, &[&parts[..], &["1/2"]].concat());
    assert!(rest.has_scored(6, 0), "{}", rest.stdout);
    assert!(rest.last_line().contains(" · 8 images already scored by 1 earlier run · "));
    assert_eq!(scored(&folder, 25, 6).len(), 6);
    std::fs::rename(folder.path("away"), folder.path("scores/2026-11-24")).unwrap();
    let last = night(&folder, 26, &[]);
    assert!(last.has_scored(1, 0), "{}", last.stdout);
    assert!(last.last_line().contains(" · 14 images already scored by 2 earlier runs · "));
    // A run that skips nothing is another run.
    let mut other = filo("score");
    other.arg("--input").arg(folder.path("in")).args(["--run-date", "2026-11-26"]);
    other.arg("--output").arg(folder.path("scores/2026-11-26")).args(["--weights", WEIGHTS]);
    run(other).refused(&["skip_scored.images: 14 → not set"]);
}

#[test]
fn workers_that_begin_a_night_at_once_share_it() {
    let folder = Folder::new();
    (0..6).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    assert!(night(&folder, 24, &[]).has_scored(6, 0));
    (10..22).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    let both = std::thread::scope(|scope| {
        let one = || night(&folder, 25, &["--shard-size", "2"]);
        let other = scope.spawn(one);
        [one(), other.join().unwrap()]
    });
    both.iter().for_each(|ended| assert_eq!(ended.code, 0, "{}", ended.stderr));
    assert_eq!(scored(&folder, 25, 12).len(), 12);
}

#[test]
fn what_failed_is_scored_again_and_what_was_mended_is_not() {
    let folder = Folder::new();
    (0..3).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    folder.file("in/nut/a.png", "no picture");
    folder.file("in/nut/b.png", "no picture");
    assert!(night(&folder, 24, &[]).has_scored(3, 2));
    folder.picture("in/nut/a.png", 24, 24);
    let mended = night(&folder, 24, &["--retry-failed"]);
    assert!(mended.has_scored(4, 1), "{}", mended.stdout);
    let second = night(&folder, 25, &[]);
    assert!(second.has_scored(0, 1), "{}", second.stdout);
    assert!(second.last_line().contains(" · 4 images already scored by 1 earlier run · "));
    folder.picture("in/nut/b.png", 24, 24);
    assert!(night(&folder, 26, &[]).has_scored(1, 0));
}

/// An image that is again what it was has its newest row from another content.
#[test]
fn the_newest_run_that_has_an_image_decides() {
    let folder = Folder::new();
    folder.picture("in/nut/0.png", 24, 24);
    folder.picture("in/nut/1.png", 24, 24);
    let (path, then) = (folder.path("in/nut/0.png"), SystemTime::now() - Duration::from_secs(600));
    let set = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    set(then);
    assert!(night(&folder, 24, &[]).has_scored(2, 0));
    set(then + Duration::from_secs(5));
    assert!(night(&folder, 25, &[]).has_scored(1, 0));
    set(then);
    assert!(night(&folder, 26, &[]).has_scored(1, 0));
    assert!(night(&folder, 27, &[]).last_line().starts_with("nothing to score: 2 images"));
}

#[test]
fn copies_are_left_out_where_contents_are_compared() {
    let folder = Folder::new();
    (0..12).for_each(|n| folder.picture(&format!("in/{}", name(n)), 24 + n as u32, 24));
    assert!(night(&folder, 24, &[]).has_scored(12, 0));
    let path = |name: &str| folder.path(&format!("in/{name}"));
    // Renamed, written again, copied to another category, new, and one that is no image.
    std::fs::rename(path("bolt/0002.png"), path("bolt/moved.png")).unwrap();
    let bytes = std::fs::read(path("nut/0003.png")).unwrap();
    std::fs::write(path("nut/0003.png"), &bytes).unwrap();
    let later = SystemTime::now() + Duration::from_secs(10);
    File::options().write(true).open(path("nut/0003.png")).unwrap().set_modified(later).unwrap();
    std::fs::copy(path("bolt/0004.png"), path("nut/0004.png")).unwrap();
    folder.picture("in/bolt/new.png", 60, 24);
    folder.file("in/bolt/broken.png", "no picture");
    let by_name = night(&folder, 25, &["--dry-run"]);
    assert!(by_name.stdout.contains("\n10 images already scored"), "{}", by_name.stdout);
    let by_content = night(&folder, 25, &["--by-content"]);
    assert!(by_content.has_scored(2, 1), "{}", by_content.stdout);
    assert_eq!(scored(&folder, 25, 3), ["bolt/new.png", "nut/0004.png"]);
    assert_eq!(skipped(&folder, 25).images, 12);
    // The plan is that of the first start, whatever is said later.
    assert!(night(&folder, 25, &[]).has_scored(2, 1));
    let mut alone = filo("score");
    alone.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path("alone"));
    alone.arg("--by-content");
    run(alone).refused(&["--by-content", "--skip-scored URI"]);
}

#[test]
fn an_archive_counts_as_one_file() {
    let folder = Folder::new();
    (0..4).for_each(|n| folder.picture(&format!("images/{n}.png"), 24, 24));
    let tar = |name: &str, members: &[&str]| {
        let mut tar = tar::Builder::new(Vec::new());
        for member in members {
            let file = folder.path(&format!("images/{member}"));
            tar.append_path_with_name(file, format!("nut/{member}")).unwrap();
        }
        folder.file(&format!("in/{name}.tar"), tar.into_inner().unwrap());
    };
    folder.file("images/broken.png", "no picture");
    tar("same", &["0.png", "1.png"]);
    tar("grows", &["2.png"]);
    tar("fails", &["0.png", "broken.png"]);
    assert!(night(&folder, 24, &[]).has_scored(4, 1));
    tar("grows", &["2.png", "3.png"]);
    tar("new", &["3.png"]);
    let second = night(&folder, 25, &[]);
    assert!(second.has_scored(4, 1), "{}", second.stdout);
    assert!(second.last_line().contains(" · 1 archive already scored by 1 earlier run · "));
}

#[test]
fn images_that_a_table_names_by_uri_are_the_same_in_another_table() {
    let folder = Folder::new();
    (0..4).for_each(|n| folder.picture(&format!("images/{n}.png"), 24, 24));
    let table = |night: &str, images: &[(usize, &str)]| {
        let line = |(n, label): &(usize, &str)| {
            format!("{},nut,{label}\n", folder.path(&format!("images/{n}.png")).display())
        };
        let lines = images.iter().map(line).collect::<String>();
        folder.file(&format!("{night}/list.csv"), format!("image,category,label\n{lines}"));
    };
    let night = |name: &str, day: u32| {
        let (table, scores) = (folder.path(&format!("{name}/list.csv")), folder.path("scores"));
        run(night_of(table.to_str().unwrap(), scores.to_str().unwrap(), &date(day)))
    };
    table("first", &[(0, "ok"), (1, "ok"), (2, "ok")]);
    assert!(night("first", 24).has_scored(3, 0));
    // One is new, and of one it is known now what is true: its row says so.
    table("second", &[(0, "ok"), (1, "ng"), (2, "ok"), (3, "ok")]);
    let second = night("second", 25);
    assert!(second.has_scored(2, 0), "{}", second.stderr);
    assert!(second.last_line().contains(" · 2 images already scored by 1 earlier run · "));
    let names = scored(&folder, 25, 2);
    assert!(names[0].ends_with("/1.png") && names[1].ends_with("/3.png"), "{names:?}");
}

#[test]
fn a_limit_counts_what_is_left() {
    let folder = Folder::new();
    (0..5).for_each(|n| folder.picture(&format!("in/nut/{n}.png"), 24, 24));
    for (day, n) in [(24, 2), (25, 2), (26, 1)] {
        let ended = night(&folder, day, &["--limit", "2"]);
        assert!(ended.has_scored(n, 0), "{}", ended.stdout);
    }
    assert!(night(&folder, 27, &["--limit", "2"]).last_line().starts_with("nothing to score: 5 "));
}

#[test]
fn an_output_may_be_named_after_the_day() {
    let folder = Folder::new();
    folder.picture("in/nut/0.png", 24, 24);
    let score = |output: &str| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).args(["--weights", WEIGHTS]);
        command.arg("--output").arg(folder.path(output));
        command
    };
    let before = chrono::Utc::now().date_naive();
    let ended = run(score("scores/{run_date}"));
    assert!(ended.has_scored(1, 0), "{}", ended.stdout);
    let days =
        std::fs::read_dir(folder.path("scores")).unwrap().map(|day| day.unwrap().file_name());
    let days = days.map(|day| day.into_string().unwrap()).collect::<Vec<_>>();
    let [day] = days.as_slice() else { panic!("{days:?}") };
    let day_of_run = manifest(&folder.path(&format!("scores/{day}"))).run_date;
    assert!(day_of_run >= before && &day_of_run.to_string() == day, "{day} of {day_of_run}");
    // Tomorrow the same run is found by its date.
    let mut again = score("scores/{run_date}");
    again.arg("--run-date").arg(day);
    assert!(run(again).has_scored(1, 0));
    run(score("scores/{night}")).refused(&["`output` has {night}", "there is {run_date}"]);
    let mut file = score("scores/x");
    file.arg("--skip-scored").arg(folder.path("in/nut/0.png"));
    run(file).refused(&["0.png"]);
}
