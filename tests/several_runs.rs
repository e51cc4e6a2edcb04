//! Several runs as one set of images: night after night scores what is new or was changed, and the
//! metrics and the page over all nights are those of one run over all images, row for row. DuckDB and
//! scikit-learn say the same of the tables. Runs that are not finished are measured as far as they are.

mod support;

use std::path::Path;
use std::process::Command;

use filo::tables::{ALL_CATEGORIES, CategoryMetrics, MEAN_OF_CATEGORIES};
use serde_json::Value;
use support::run::{Ended, Folder, filo, python, reader, run};

const FIRST_NIGHT: usize = 200;
const NEW: usize = 30;

/// Images of two categories; every fourth has a defect of one of two kinds, and a mask.
fn picture(folder: &Folder, n: usize, name: &str) {
    let category = if n.is_multiple_of(2) { "bolt" } else { "nut" };
    let (width, height) = (40 + (n % 13) as u32, 50 + (n % 7) as u32);
    let kind = match n / 2 % 4 {
        0 => "crack",
        1 if n.is_multiple_of(3) => "dent",
        _ => "good",
    };
    folder.picture(&format!("in/{category}/test/{kind}/{name}{n:03}.png"), width, height);
    if kind != "good" {
        let mask = format!("in/{category}/ground_truth/{kind}/{name}{n:03}_mask.png");
        folder.mask(&mask, width, height);
    }
}

/// `filo score` of a night; what is in all of them.
fn night(folder: &Folder, out: &str, date: &str, flags: &[&str]) -> Command {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
    command.args(["--weights", support::run::WEIGHTS, "--run-date", date]);
    command.args(["--threshold", "0.0005", "--layout", "mvtec"]).args(flags);
    command
}

/// The input as the second night finds it: new images, one good and one bad image that were replaced.
fn second_night(folder: &Folder) {
    (FIRST_NIGHT..FIRST_NIGHT + NEW).for_each(|n| picture(folder, n, "new"));
    for (name, width, height) in
        [("bolt/test/crack/a008.png", 61, 44), ("bolt/test/good/a004.png", 52, 71)]
    {
        assert!(folder.path(&format!("in/{name}")).exists(), "{name}");
        folder.picture(&format!("in/{name}"), width, height);
    }
    folder.mask("in/bolt/ground_truth/crack/a008_mask.png", 61, 44);
}

/// Two nights into `runs/1` and `runs/2`, and all of it in one run into `whole`.
fn nights(flags: &[&str]) -> Folder {
    let folder = Folder::new();
    (0..FIRST_NIGHT).for_each(|n| picture(&folder, n, "a"));
    let ended = run(night(&folder, "runs/1", "2026-11-24", flags));
    assert!(ended.has_scored(FIRST_NIGHT, 0), "{}", ended.stderr);
    second_night(&folder);
    // One is gone; its row stays.
    let gone = "in/nut/test/good/a005.png";
    std::fs::rename(folder.path(gone), folder.path("gone.png")).unwrap();
    let runs = folder.path("runs");
    let only_new = [flags, &["--skip-scored", runs.to_str().unwrap()]].concat();
    let ended = run(night(&folder, "runs/2", "2026-11-25", &only_new));
    assert!(ended.has_scored(NEW + 2, 0), "{}", ended.stderr);
    std::fs::rename(folder.path("gone.png"), folder.path(gone)).unwrap();
    let ended = run(night(&folder, "whole", "2026-11-26", flags));
    assert!(ended.has_scored(FIRST_NIGHT + NEW, 0), "{}", ended.stderr);
    folder
}

/// `filo metrics` of the runs at `names`, which are below the folder.
fn metrics(folder: &Folder, names: &[&str], flags: &[&str]) -> Ended {
    let mut command = filo("metrics");
    for name in names {
        command.arg("--run").arg(folder.path(name));
    }
    command.args(flags);
    run(command)
}

fn table(out: &Path) -> Vec<CategoryMetrics> {
    reader(out).metrics().unwrap()
}

fn without_pixels(mut table: Vec<CategoryMetrics>) -> Vec<CategoryMetrics> {
    for row in table.iter_mut().flat_map(|of| &mut of.rows) {
        for name in ["pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "aupro_05", "aupimo"] {
            row.set_metric(name, Default::default());
        }
        row.pixel_threshold_f1max = None;
        row.pixel_threshold_fpr_0_1pct = None;
        row.pixel_threshold_fpr_1pct = None;
        row.pixel_threshold_fpr_5pct = None;
    }
    table
}

#[test]
fn metrics_over_all_nights_are_those_of_one_run_row_for_row() {
    let folder = nights(&["--maps", "f32"]);
    let set = folder.path("set");
    let ended =
        metrics(&folder, &["runs/1", "runs/2"], &["--output", set.to_str().unwrap(), "--kinds"]);
    let said = "image rows: 232 of 2 runs, 2 scored again: the newest counts";
    assert_eq!(ended.last_line(), said);
    let one = metrics(&folder, &["whole"], &["--kinds"]);
    let (of_set, of_one) = (table(&set), table(&folder.path("whole")));
    let categories = of_one.iter().map(|of| of.category.as_str()).collect::<Vec<_>>();
    assert_eq!(categories, ["bolt", "nut", ALL_CATEGORIES, MEAN_OF_CATEGORIES]);
    assert_eq!(of_one[0].rows.len(), 3, "a category with two kinds of defects");
    assert!(of_one.iter().all(|of| of.rows[0].aupro.is_some() && of.rows[0].image_ap.is_some()));
    assert!(of_one.iter().flat_map(|of| &of.rows).any(|row| row.n_flagged > Some(0)));
    assert_eq!(of_set, of_one);
    assert_eq!(ended.stdout.strip_suffix(&format!("{said}\n")), Some(one.stdout.as_str()));

    // The published AUPRO looks at the lowest and the highest score, too.
    let published = ["--protocol", "published", "--csv"];
    let of_set = metrics(&folder, &["runs/1", "runs/2"], &published);
    assert_eq!(of_set.stdout, metrics(&folder, &["whole"], &published).stdout);
    assert!(of_set.stderr.contains("the table metrics is not written: it is of several runs"));
    for night in ["runs/1", "runs/2"] {
        assert!(table(&folder.path(night)).is_empty(), "nothing is written into {night}");
    }

    // A folder of runs, a pattern, any order, and a run that is named twice.
    std::fs::rename(&set, folder.path("runs/set")).unwrap();
    for names in [&["runs"][..], &["runs/*"], &["runs/2", "runs/1"], &["runs/1", "runs"]] {
        let ended = metrics(&folder, names, &["--csv"]);
        assert_eq!(ended.stdout, metrics(&folder, &["whole"], &["--csv"]).stdout, "{names:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    metrics(&folder, &["runs/set"], &[]).refused(&["holds metrics of several runs"]);
    metrics(&folder, &["none*"], &[]).refused(&["none*", "no folder there holds a run"]);
    let into_run = folder.path("runs/1");
    let into_run = ["--output", into_run.to_str().unwrap()];
    metrics(&folder, &["runs"], &into_run).refused(&["runs/1", "holds a run"]);
    metrics(&folder, &["in"], &[]).refused(&["holds no run"]);

    // What a later run takes its thresholds from.
    let set = folder.path("runs/set");
    let from = ["--thresholds-from", set.to_str().unwrap(), "--limit", "10"];
    let mut later = filo("score");
    later.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path("later"));
    later.args(["--weights", support::run::WEIGHTS]).args(from);
    run(later).last_line();
    // Written again, it is replaced.
    let again = ["--output", set.to_str().unwrap(), "--protocol", "published"];
    metrics(&folder, &["runs/1"], &again).last_line();
    assert!(table(&set).iter().flat_map(|of| &of.rows).all(|row| row.protocol == "published"));

    both_sides(&folder);
    the_page(&folder);
}

/// A set of nights compared with one run over the same images: there is no difference.
fn both_sides(folder: &Folder) {
    let mut command = filo("metrics");
    command.arg("--compare").arg(folder.path("runs")).arg(folder.path("whole")).arg("--json");
    let ended = run(command);
    let document = serde_json::from_str::<Value>(&ended.stdout).unwrap();
    for of in document["categories"].as_array().unwrap() {
        let n = if of["category"].as_str().unwrap().starts_with("__") { 230 } else { 115 };
        assert_eq!(of["n_images"], serde_json::json!([n, n]), "{of}");
        assert_eq!(of["n_paired"], n, "{of}");
        let metrics = of["metrics"].as_object().unwrap().values();
        assert!(metrics.clone().all(|of| of["difference"].as_f64().is_none_or(|d| d == 0.0)));
    }
}

fn report(folder: &Folder, names: &[&str], flags: &[&str]) -> Ended {
    let mut command = filo("report");
    for name in names {
        command.arg("--run").arg(folder.path(name));
    }
    command.arg("--out").arg(folder.path("page.html")).args(flags);
    run(command)
}

fn page(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path("page.html")).unwrap()
}

/// The page of all nights has the counts, figures and images of that of one run.
fn the_page(folder: &Folder) {
    let main = |html: &str| {
        let start = html.find("<div class=\"card decision\">").unwrap();
        let end = html.find("<details class=\"how\">").unwrap();
        let metrics = html.find("<section id=\"metrics\"").unwrap();
        let rest = html.find("<p id=\"sorted\"").unwrap();
        format!("{}{}", &html[start..end], &html[metrics..rest])
    };
    report(folder, &["runs"], &["--against", folder.path("whole").to_str().unwrap()]).last_line();
    let against = page(folder);
    assert!(against.contains(">Drift<") && against.contains(">alike<"));
    report(folder, &["runs/1", "runs/2"], &[]).last_line();
    let of_set = page(folder);
    assert!(of_set.contains("image rows: 232 of 2 runs, 2 scored again: the newest counts"));
    report(folder, &["whole"], &[]).last_line();
    let of_one = page(folder);
    assert_eq!(main(&of_set), main(&of_one));
    let pictures = |html: &str| html.matches("<symbol id=\"p").count();
    assert_eq!(pictures(&of_set), pictures(&of_one));
    // The replaced image is shown as the second night scored it.
    let size = "52 × 71";
    assert_eq!(of_set.matches(size).count(), of_one.matches(size).count());
    assert!(!of_one.contains("image rows: "));
}

#[test]
fn pixels_that_cannot_be_taken_apart_are_unknown_and_said_to_be() {
    let folder = nights(&[]);
    let set = folder.path("set");
    let flags = ["--output", set.to_str().unwrap()];
    let ended = metrics(&folder, &["runs"], &flags);
    let said = "pixel metrics of bolt are unknown: 2 images of 2 shards were scored again";
    let last = ended.last_line();
    assert!(last.starts_with(said) || last.contains("2 images of 1 shard were"), "{last}");
    assert!(last.ends_with("kept no raw maps of 32 bits (--maps f32)"), "{last}");
    metrics(&folder, &["whole"], &[]).last_line();
    let (of_set, of_one) = (table(&set), table(&folder.path("whole")));
    assert_eq!(without_pixels(of_set.clone()), without_pixels(of_one.clone()));
    assert_eq!(of_set[1], of_one[1], "the category of which no image was scored again");
    for of in [&of_set[0], &of_set[2], &of_set[3]] {
        assert!(of.rows.iter().all(|row| row.pixel_auroc.is_none() && row.aupro.is_none()));
        assert!(of.rows.iter().all(|row| row.pixel_threshold_f1max.is_none()));
    }
    agrees_with_duckdb_and_scikit_learn(&folder);
    report(&folder, &["runs"], &[]).last_line();
    assert!(page(&folder).contains("pixel metrics of bolt are unknown: "));
}

/// The newest row of each image by DuckDB, its AUROC and AP by scikit-learn.
fn agrees_with_duckdb_and_scikit_learn(folder: &Folder) {
    let script = r#"
import sys, duckdb
from sklearn.metrics import average_precision_score, roc_auc_score
runs, metrics = sys.argv[1:]
types = "hive_types = {'run_date': DATE, 'category': VARCHAR}"
scores = duckdb.sql(f"""
    SELECT category, score, label FROM (
        SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY run_date DESC) AS nth
        FROM read_parquet('{runs}/*/scores/**/*.parquet', {types}))
    WHERE nth = 1""").df()
ours = duckdb.sql(f"""
    SELECT category, n_images, image_auroc, image_ap
    FROM read_parquet('{metrics}/metrics/**/*.parquet', {types}) WHERE kind IS NULL""").df()
for category, n, auroc, ap in ours.itertuples(index=False):
    if category == "__mean__":
        continue
    of = scores if category == "__all__" else scores[scores.category == category]
    assert len(of) == n, (category, len(of), n)
    assert abs(roc_auc_score(of.label, of.score) - auroc) < 1e-12, category
    assert abs(average_precision_score(of.label, of.score) - ap) < 1e-12, category
print(len(scores), "images of", len(ours) - 2, "categories agree")
"#;
    let said = python(|command| {
        command.args(["-c", script]).arg(folder.path("runs")).arg(folder.path("set"));
    });
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.trim_end(), "230 images of 2 categories agree");
}

/// Eight images of one category.
fn few(folder: &Folder) {
    (0..16).step_by(2).for_each(|n| picture(folder, n, "a"));
}

#[test]
fn the_newest_outcome_counts_whether_it_is_a_score_or_a_failure() {
    let folder = Folder::new();
    few(&folder);
    let broken = "in/bolt/test/good/a004.png";
    let whole = std::fs::read(folder.path(broken)).unwrap();
    let score = |out: &str, date| run(night(&folder, out, date, &["--shard-size", "3"]));
    assert!(score("1", "2026-11-24").has_scored(8, 0));
    folder.file(broken, "no picture");
    assert!(score("2", "2026-11-25").has_scored(7, 1));
    let images = |names: &[&str]| {
        let ended = metrics(&folder, names, &["--json"]);
        let document = serde_json::from_str::<Value>(&ended.stdout).unwrap();
        let all = document["metrics"].as_array().unwrap().iter();
        let all = all.filter(|row| row["category"] == ALL_CATEGORIES).collect::<Vec<_>>();
        (all[0]["n_images"].clone(), document["rows"].clone())
    };
    // It was scored, then failed: it counts as failed, and the program says so.
    let counts = |all, scores, failures, since| {
        serde_json::json!({
            "all": all, "replaced_scores": scores, "replaced_failures": failures,
            "failed_since": since,
        })
    };
    assert_eq!(images(&["1", "2"]), (7.into(), counts(16, 8, 0, 1)));
    let said = metrics(&folder, &["2", "1"], &[]);
    let line = "image rows: 16 of 2 runs, 8 scored again: the newest counts; 1 of these failed then, \
                and count as failed";
    assert_eq!(said.last_line(), line);
    // It failed, then was scored.
    folder.file(broken, whole);
    assert!(score("3", "2026-11-26").has_scored(8, 0));
    assert_eq!(images(&["2", "3"]), (8.into(), counts(16, 7, 1, 0)));
    assert_eq!(images(&["3", "2", "1"]), (8.into(), counts(24, 15, 1, 0)));
    // Of one day the run that is named later is newer.
    assert!(score("again", "2026-11-25").has_scored(8, 0));
    assert_eq!(images(&["2", "again"]).0, 8);
    assert_eq!(images(&["again", "2"]).0, 7);
    // Of all images a newer run has a row: the older ones do not count, and nothing is unknown.
    let ended = metrics(&folder, &["1", "3"], &["--csv"]);
    assert!(!ended.stderr.contains("unknown"), "{}", ended.stderr);
    let one = metrics(&folder, &["3"], &["--csv"]);
    assert_eq!(ended.stdout, one.stdout);

    let mut status = filo("status");
    status.arg("--run").arg(folder.path("1")).arg("--run").arg(folder.path("2"));
    let ended = run(status);
    assert_eq!(ended.last_line(), "finished: the tables are whole");
    assert_eq!(ended.stdout.matches("finished: ").count(), 2, "{}", ended.stdout);
}

#[test]
fn runs_that_were_scored_otherwise_are_no_set() {
    let folder = Folder::new();
    few(&folder);
    run(night(&folder, "a", "2026-11-24", &[])).last_line();
    run(night(&folder, "b", "2026-11-25", &["--preprocess", "published"])).last_line();
    let parts = ["were not scored alike (preprocess: ", "\"published\"", "filo metrics --compare"];
    metrics(&folder, &["a", "b"], &[]).refused(&parts);
    report(&folder, &["a", "b"], &[]).refused(&parts[..2]);
    // The same names at another place are other images, which is said.
    std::fs::rename(folder.path("in"), folder.path("moved")).unwrap();
    std::fs::rename(folder.path("moved"), folder.path("other")).unwrap();
    let mut other = filo("score");
    other.arg("--input").arg(folder.path("other")).arg("--output").arg(folder.path("c"));
    other.args(["--weights", support::run::WEIGHTS, "--threshold", "0.1", "--layout", "mvtec"]);
    run(other).last_line();
    let ended = metrics(&folder, &["a", "c"], &[]);
    assert!(ended.stdout.contains("image rows: 16 of 2 runs, 0 scored again"), "{}", ended.stdout);
    assert!(ended.last_line().starts_with("the images are from 2 places: "), "{}", ended.stdout);
    let input = folder.path("other");
    let input = ["--input", input.to_str().unwrap()];
    report(&folder, &["a", "c"], &input).refused(&["--input", "2 places"]);
}

/// Takes back the commits of all but `kept` shards and the end of the run, as if it had been killed.
fn unfinish(folder: &Folder, out: &str, kept: usize) {
    let at = |name: &str| folder.path(&format!("{out}/{name}"));
    std::fs::remove_file(at("_SUCCESS")).unwrap();
    std::fs::remove_file(at("_filo/thresholds.json")).unwrap();
    let manifest = std::fs::read(at("_filo/manifest.json")).unwrap();
    let mut manifest = serde_json::from_slice::<Value>(&manifest).unwrap();
    manifest["totals"] = Value::Null;
    std::fs::write(at("_filo/manifest.json"), manifest.to_string()).unwrap();
    let shards = manifest["shards"].as_array().unwrap();
    for shard in &shards[kept..] {
        let entry = format!("_filo/ledger/{}.json", shard.as_str().unwrap());
        std::fs::remove_file(at(&entry)).unwrap();
    }
}

#[test]
fn an_unfinished_run_is_measured_as_far_as_it_is_committed() {
    let folder = Folder::new();
    (0..24).for_each(|n| picture(&folder, n, "a"));
    let score = |out: &str, date, flags: &[&str]| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.args(["--weights", support::run::WEIGHTS, "--shard-size", "4", "--run-date", date]);
        command.args(flags);
        run(command)
    };
    assert!(score("out", "2026-11-24", &[]).has_scored(24, 0));
    // Its tables have the rows of all shards; those of four are not committed.
    unfinish(&folder, "out", 2);
    let refused = metrics(&folder, &["out"], &[]);
    assert_eq!(refused.code, 1);
    let parts =
        ["4 of 6 shards are not committed (", "it resumes; --partial takes what is committed"];
    for part in parts {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(report(&folder, &["out"], &[]).code, 1);

    let set = folder.path("set");
    let flags = ["--partial", "--output", set.to_str().unwrap()];
    let ended = metrics(&folder, &["out"], &flags);
    ended.last_line();
    let how_far = "unfinished: 8 of 24 images, 2 of 6 shards";
    assert!(ended.stdout.contains(how_far), "{}", ended.stdout);
    assert!(ended.stdout.contains("count as neither flagged nor not until then"));
    for row in table(&set).iter().flat_map(|of| &of.rows) {
        assert_eq!((row.unfinished, row.n_flagged, row.precision), (Some(true), None, None));
    }
    let all = table(&set).into_iter().find(|of| of.category == ALL_CATEGORIES).unwrap();
    assert_eq!(all.rows[0].n_images, 8);
    let ended = metrics(&folder, &["out"], &["--partial", "--csv"]);
    assert!(ended.stderr.contains("not written: the run is not finished"), "{}", ended.stderr);
    assert!(table(&folder.path("out")).is_empty());

    report(&folder, &["out"], &["--partial"]).last_line();
    let html = page(&folder);
    for part in
        [how_far, "not decided yet", "Which images are flagged is decided when the run ends"]
    {
        assert!(html.contains(part), "{part}");
    }
    let missed = html.split("data-gallery=\"missed\"").skip(1).collect::<Vec<_>>();
    assert!(!missed.is_empty());
    for gallery in missed {
        let (head, _) = gallery.split_once('>').unwrap();
        assert!(head.ends_with(" hidden"), "nothing is missed before it is decided on: {head}");
    }

    // With a run that is finished, as one set: rows of the finished one say whether they are flagged.
    assert!(score("whole", "2026-11-25", &["--threshold", "0.0005"]).has_scored(24, 0));
    let ended = metrics(&folder, &["out", "whole"], &["--partial", "--json"]);
    let document = serde_json::from_str::<Value>(&ended.stdout).unwrap();
    let rows = document["metrics"].as_array().unwrap();
    let all = rows.iter().find(|row| row["category"] == ALL_CATEGORIES).unwrap();
    assert_eq!((all["n_images"].as_i64(), all["unfinished"].as_bool()), (Some(24), Some(true)));
    assert!(all["n_flagged"].is_i64(), "all rows are of the newer run: {all}");
    let note = document["notes"][0].as_str().unwrap();
    assert!(note.starts_with("unfinished: 8 of 24 images, 2 of 6 shards of "), "{note}");
    metrics(&folder, &["out", "whole"], &[]).stderr.contains("--partial").then_some(()).unwrap();

    // It ends, and its metrics are those of a run that nobody disturbed.
    assert!(score("out", "2026-11-24", &[]).has_scored(24, 0));
    assert!(score("undisturbed", "2026-11-24", &[]).has_scored(24, 0));
    let csv = ["out", "undisturbed"].map(|out| metrics(&folder, &[out], &["--csv"]).stdout);
    assert_eq!(csv[0], csv[1]);
    assert!(!csv[0].contains("true"), "{}", csv[0]);
}
