//! The SQL in `pipelines/dashboards` runs over real outputs in DuckDB, and what it counts is what the
//! runs committed. Needs a Python with duckdb in `FILO_PYTHON`: `scripts/test` makes one.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use filo::train::synthetic::{Amount, Surface, write_set};
use serde_json::Value;
use support::run::{Folder, filo, python, rows, run};

/// Prints the rows of every query as JSON objects, by the name of its file.
const RUN_ALL: &str = r#"
import duckdb, json, pathlib, sys
queries, runs = pathlib.Path(sys.argv[1]), sys.argv[2]
found = {}
for file in sorted(queries.glob("*.sql")):
    connection = duckdb.connect()
    connection.execute("SET VARIABLE runs = '" + runs.replace("'", "''") + "'")
    table = connection.execute(file.read_text())
    names = [column[0] for column in table.description]
    found[file.stem] = [dict(zip(names, row)) for row in table.fetchall()]
print(json.dumps(found, default=str))
"#;

fn dashboards(runs: &Path) -> BTreeMap<String, Vec<Value>> {
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/dashboards");
    let output = python(|command| {
        command.arg("-c").arg(RUN_ALL).arg(queries).arg(runs);
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
fn queries_count_what_the_runs_committed() {
    let folder = two_nights();
    let found = dashboards(&folder.path("runs/*"));
    let names = found.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names, ["descriptions", "drift", "failures_by_code", "nights", "worst_pictures"]);
    let second = rows(&folder.path("runs/second"), 13).scores;
    let anomalous = second.iter().filter(|row| row.is_anomalous == Some(true)).count();
    assert!(anomalous > 0);

    let nights = &found["nights"];
    let days = nights.iter().map(|night| &night["run_date"]).collect::<Vec<_>>();
    assert_eq!(days, ["2026-11-24", "2026-11-25"]);
    for night in nights {
        let counts = ["pictures", "scored", "failed"].map(|name| night[name].as_u64().unwrap());
        assert_eq!(counts, [13, 12, 1]);
    }
    assert_eq!(nights[1]["anomalous"], anomalous);

    // The same scores again: nothing has moved.
    let drift = &found["drift"];
    assert_eq!((drift.len(), &drift[0]["run_date"]), (1, &"2026-11-25".into()));
    assert!(drift[0]["psi"].as_f64().unwrap().abs() < 1e-9);

    let failures = &found["failures_by_code"];
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|row| row["pictures"] == 1 && row["stage"] == "decode"));

    let worst = &found["worst_pictures"];
    assert_eq!(worst.len(), 20);
    let best = second.iter().map(|row| row.score).fold(f32::MIN, f32::max);
    assert!((worst[10]["score"].as_f64().unwrap() - f64::from(best)).abs() < 1e-6);
    assert!(worst.iter().all(|row| row["top_description"].is_string()));

    let wins = &found["descriptions"];
    let counted = wins.iter().map(|row| row["pictures"].as_u64().unwrap()).sum::<u64>();
    let first = rows(&folder.path("runs/first"), 13).scores;
    let of_first = first.iter().filter(|row| row.is_anomalous == Some(true)).count();
    assert_eq!(counted, (anomalous + of_first) as u64);
}

/// What a panel of Grafana shows is what a file here says, and all files are shown.
#[test]
fn the_grafana_dashboard_has_the_same_queries() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/dashboards");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&read("grafana/filo.json")).unwrap();
    let source = read("grafana/datasource.yaml");
    let mut queries = BTreeMap::new();
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "sql") {
            queries.insert(std::fs::read_to_string(&file).unwrap(), 0);
        }
    }
    assert!(queries.len() >= 5);
    for panel in dashboard["panels"].as_array().unwrap() {
        let target = &panel["targets"][0];
        for of in [panel, target] {
            let uid = of["datasource"]["uid"].as_str().unwrap();
            assert!(source.contains(&format!("uid: {uid}\n")), "{uid}");
        }
        let sql = target["rawSql"].as_str().unwrap();
        *queries.get_mut(sql).unwrap_or_else(|| panic!("{} differs", panel["title"])) += 1;
        if let Some(field) = panel["options"]["xField"].as_str() {
            assert!(sql.contains(field), "{field}");
        }
    }
    assert!(queries.values().all(|shown| *shown == 1), "{:?}", queries.values());
}
