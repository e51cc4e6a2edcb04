//! The views of `pipelines/dashboards` over real outputs in DuckDB: what they count is what the runs
//! committed, and the dashboards show nothing else. Needs a Python with duckdb in `FILO_PYTHON`: `scripts/test` makes one.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use filo::train::synthetic::{Amount, Surface, write_set};
use serde_json::Value;
use support::run::{Folder, filo, python, rows, run};

/// Prints the rows of every view as JSON objects, by its name.
const ALL_VIEWS: &str = r#"
import duckdb, json, pathlib, sys
views, runs = pathlib.Path(sys.argv[1]), sys.argv[2]
connection = duckdb.connect()
connection.execute("SET VARIABLE runs = '" + runs.replace("'", "''") + "'")
connection.execute(views.read_text())
names = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
found = {}
for (name,) in names:
    table = connection.execute(f"SELECT * FROM {name} ORDER BY ALL")
    columns = [column[0] for column in table.description]
    found[name] = [dict(zip(columns, row)) for row in table.fetchall()]
print(json.dumps(found, default=str))
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/dashboards")
}

fn views(runs: &Path) -> BTreeMap<String, Vec<Value>> {
    let output = python(|command| {
        command.arg("-c").arg(ALL_VIEWS).arg(folder().join("views.sql")).arg(runs);
    });
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Two nights over the same images, the second with thresholds that the first has taught.
fn two_nights() -> Folder {
    let folder = Folder::new();
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 6, bad: 3, kinds: 2 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), 12);
    folder.file("in/ceramic_tile/test/good/broken.png", "no picture");
    let night = |name: &str, day: &str, more: &[&str]| {
        let mut score = filo("score");
        score.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(name));
        score.args(["--run-date", day]).args(more);
        assert!(run(score).has_scored(12, 1));
    };
    night("runs/first", "2026-11-24", &[]);
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("runs/first"));
    run(metrics);
    let first = folder.path("runs/first");
    night("runs/second", "2026-11-25", &["--thresholds-from", first.to_str().unwrap()]);
    folder
}

#[test]
fn views_count_what_the_runs_committed() {
    let folder = two_nights();
    let found = views(&folder.path("runs/*"));
    let second = rows(&folder.path("runs/second"), 13).scores;
    let anomalous = second.iter().filter(|row| row.is_anomalous == Some(true)).count();
    assert!(anomalous > 0);

    let nights = &found["nights"];
    let days = nights.iter().map(|night| &night["run_date"]).collect::<Vec<_>>();
    assert_eq!(days, ["2026-11-24", "2026-11-25"]);
    for night in nights {
        let counts = ["images", "scored", "failed"].map(|name| night[name].as_u64().unwrap());
        assert_eq!(counts, [13, 12, 1]);
    }
    assert_eq!(nights[1]["flagged"], anomalous);

    // Both nights have the same images: the second one's rows count.
    assert_eq!(found["runs"].len(), 2);
    assert_eq!((found["all_scores"].len(), found["all_failures"].len()), (24, 2));
    let (scores, failures) = (&found["scores"], &found["failures"]);
    assert_eq!((scores.len(), failures.len()), (12, 1));
    let newest = scores.iter().chain(failures).chain(&found["masks"]);
    assert!(newest.clone().all(|row| row["run_date"] == "2026-11-25"));
    assert!(newest.clone().count() > 13, "no masks");
    let flagged = scores.iter().filter(|row| row["is_anomalous"] == true).count();
    assert_eq!(flagged, anomalous);
    // What a row of the first night does not say, the thresholds of its run do.
    let all = &found["all_scores"];
    assert!(all.iter().all(|row| row["threshold"].is_f64() && row["is_anomalous"].is_boolean()));

    // The same scores again: nothing has moved.
    let drift = &found["drift"];
    assert_eq!((drift.len(), &drift[0]["run_date"]), (1, &"2026-11-25".into()));
    assert!(drift[0]["psi"].as_f64().unwrap().abs() < 1e-9);

    let failures = &found["failures_by_code"];
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|row| row["images"] == 1 && row["stage"] == "decode"));

    let worst = &found["worst_images"];
    assert_eq!(worst.len(), 10);
    let of = |row: &Value| row["score"].as_f64().unwrap();
    let highest = worst.iter().map(of).fold(f64::MIN, f64::max);
    let expected = second.iter().map(|row| row.score).fold(f32::MIN, f32::max);
    assert!((highest - f64::from(expected)).abs() < 1e-6);
    assert!(worst.iter().all(|row| row["top_description"].is_string()));

    let wins = &found["descriptions"];
    let counted = wins.iter().map(|row| row["images"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(counted, anomalous as u64);
}

/// An image that failed last counts as failed, one that was repaired as scored; its other rows stay
/// with their nights. A folder that is read by itself is one run.
#[test]
fn the_newest_outcome_of_an_image_counts() {
    let folder = Folder::new();
    let amount = Amount { surfaces: &[Surface::CeramicTile], good: 4, bad: 2, kinds: 1 };
    assert_eq!(write_set(&folder.path("in"), 7, amount).unwrap(), 6);
    let night = |day: &str, scored: usize, failed: usize| {
        let mut score = filo("score");
        score
            .arg("--input")
            .arg(folder.path("in"))
            .arg("--output")
            .arg(folder.path("runs").join(day));
        score.args(["--run-date", day, "--reference", "none"]);
        assert!(run(score).has_scored(scored, failed));
    };
    let good = folder.path("in/ceramic_tile/test/good");
    let mut files = std::fs::read_dir(&good).unwrap().map(|file| file.unwrap().path());
    let (first, second) = (files.next().unwrap(), files.next().unwrap());
    let (whole_first, broken) = (std::fs::read(&first).unwrap(), "no image");
    std::fs::write(&first, broken).unwrap();
    night("2026-11-24", 5, 1);
    std::fs::write(&first, whole_first).unwrap();
    std::fs::write(&second, broken).unwrap();
    night("2026-11-25", 5, 1);

    let found = views(&folder.path("runs/*"));
    let has = |view: &str, file: &Path| {
        let name = file.file_name().unwrap().to_str().unwrap();
        let ids = found[view].iter().map(|row| row["image_id"].as_str().unwrap());
        ids.filter(|id| id.ends_with(&format!("good/{name}"))).count()
    };
    assert_eq!((has("scores", &first), has("failures", &first)), (1, 0));
    assert_eq!((has("scores", &second), has("failures", &second)), (0, 1));
    assert_eq!((has("all_failures", &first), has("all_scores", &second)), (1, 1));
    let failed = found["nights"].iter().map(|night| night["failed"].as_u64().unwrap());
    assert_eq!(failed.collect::<Vec<_>>(), [1, 1]);

    let one = views(&folder.path("runs/2026-11-24"));
    assert_eq!((one["runs"].len(), one["scores"].len(), one["failures"].len()), (1, 5, 1));
}

/// Every data set of Superset's dashboard is a view, with the columns that it says, and every chart is
/// of one of them and on the dashboard.
#[test]
fn the_superset_dashboard_shows_the_views() {
    let read = |kind: &str| {
        let folder = folder().join("superset/dashboard").join(kind);
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
    };
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("no {key}")).to_string()
    };
    let runs = two_nights();
    let found = views(&runs.path("runs/*"));
    let mut sets = Vec::new();
    for set in read("datasets/filo") {
        let name = value(&set, "table_name");
        let row = &found[&name][0];
        for line in set.lines().filter_map(|line| line.strip_prefix("- {column_name: ")) {
            let (column, _) = line.split_once(',').unwrap();
            assert!(row.get(column).is_some(), "{name} has no {column}");
        }
        sets.push(value(&set, "uuid"));
    }
    let [dashboard] = read("dashboards").try_into().unwrap();
    let charts = read("charts");
    assert_eq!(dashboard.matches("chartId").count(), charts.len());
    for chart in charts {
        assert!(sets.contains(&value(&chart, "dataset_uuid")), "{chart}");
        assert!(dashboard.contains(&value(&chart, "uuid")), "{chart}");
    }
}

/// Grafana makes the views when it connects, and each of its panels shows one.
#[test]
fn the_grafana_dashboard_shows_the_views() {
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&read("grafana/filo.json")).unwrap();
    let source = read("grafana/datasource.yaml");
    let views_sql = read("views.sql");
    let (_, init) = source.split_once("initSql: |\n").unwrap();
    let init = init.lines().map(|line| line.strip_prefix("        ").unwrap_or(line));
    let (set, made) = (init.clone().next().unwrap(), init.skip(1).collect::<Vec<_>>());
    assert!(set.starts_with("SET VARIABLE runs = ") && set.ends_with(';'), "{set}");
    assert_eq!(made, views_sql.lines().collect::<Vec<_>>());
    // Grafana puts variables of its environment where a file has a dollar sign.
    assert!(!source.contains('$'));
    let runs = two_nights();
    let found = views(&runs.path("runs/*"));
    for panel in dashboard["panels"].as_array().unwrap() {
        let target = &panel["targets"][0];
        for of in [panel, target] {
            let uid = of["datasource"]["uid"].as_str().unwrap();
            assert!(source.contains(&format!("uid: {uid}\n")), "{uid}");
        }
        let sql = target["rawSql"].as_str().unwrap();
        let (view, order) = sql.strip_prefix("SELECT * FROM ").unwrap().split_once(' ').unwrap();
        let row = &found[view][0];
        let columns = order.strip_prefix("ORDER BY ").unwrap().split(", ");
        let field = panel["options"]["xField"].as_str();
        for column in columns.map(|column| column.trim_end_matches(" DESC")).chain(field) {
            assert!(row.get(column).is_some(), "{view} has no {column}");
        }
    }
}
