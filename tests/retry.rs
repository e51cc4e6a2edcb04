//! Images that failed because they could not be read are scored by `--retry-failed`, and nothing
//! else is: the rows are then those of a run in which they could be read all along.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use filo::tables::ScoreRow;
use support::run::{Ended, Folder, Rows, filo, reader, rows, run, written};

/// Images of the input, one of them broken for good.
const PICTURES: usize = 13;

fn input() -> Folder {
    let folder = Folder::new();
    for (n, category) in ["nut", "wood"].into_iter().enumerate() {
        for k in 0..3 {
            folder.picture(&format!("in/{category}/test/good/{k}.png"), 40 + k, 30 + n as u32);
            folder.picture(&format!("in/{category}/test/crack/{k}.png"), 50, 31 + k);
            let mask = format!("in/{category}/ground_truth/crack/{k}_mask.png");
            folder.mask(&mask, 50, 31 + k);
        }
    }
    folder.file("in/wood/test/good/broken.png", "no picture");
    folder
}

/// One image at a time, so that its numbers do not depend on its neighbours in the last digits.
fn score(folder: &Folder, out: &str, partition: &str) -> Command {
    let mut command = folder.score_to(out);
    command.args(["--shard-size", "4", "--batch-size", "1", "--partition", partition]);
    command
}

fn again(folder: &Folder, out: &str) -> Ended {
    let mut command = score(folder, out, "0/1");
    command.arg("--retry-failed");
    run(command)
}

/// Seconds in the network, by image: those of an image that was not scored again stay.
fn times(folder: &Folder, out: &str) -> BTreeMap<String, f32> {
    let run = reader(&folder.path(out));
    let rows = ["nut", "wood"].into_iter().flat_map(|c| run.rows::<ScoreRow>(c).unwrap());
    rows.map(|row| (row.image_id, row.ms_infer)).collect()
}

fn codes(rows: &Rows) -> BTreeMap<&str, &str> {
    rows.failures.iter().map(|row| (row.image_id.as_str(), row.code.as_str())).collect()
}

#[test]
fn what_could_not_be_read_is_scored_later_and_nothing_else_is() {
    let folder = input();
    run(score(&folder, "undisturbed", "0/1")).last_line();
    let expected = rows(&folder.path("undisturbed"), PICTURES);

    // The first half of the shards is scored, then an image and a mask go away for a night.
    run(score(&folder, "out", "0/2")).last_line();
    let away = ["in/nut/test/good/1.png", "in/wood/ground_truth/crack/0_mask.png"];
    for name in away {
        std::fs::rename(folder.path(name), folder.path("away.png").with_extension(&name[3..6]))
            .unwrap();
    }
    run(score(&folder, "out", "1/2")).last_line();
    let before = rows(&folder.path("out"), PICTURES);
    let lost = ["nut/test/good/1.png", "wood/test/crack/0.png"];
    let expected_codes = [
        (lost[0], "unreadable"),
        (lost[1], "unreadable"),
        ("wood/test/good/broken.png", "unknown_format"),
    ];
    assert_eq!(codes(&before), BTreeMap::from(expected_codes));
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    run(metrics).last_line();
    assert!(folder.path("out/_filo/metrics.json").exists());
    let times_before = times(&folder, "out");

    // Still away: they fail again, and the run is finished again.
    let ended = again(&folder, "out");
    assert!(ended.has_scored(10, 3), "{}", ended.stdout);
    assert_eq!(rows(&folder.path("out"), PICTURES), before);
    assert!(!folder.path("out/_filo/metrics.json").exists(), "metrics of other rows");

    for name in away {
        std::fs::rename(folder.path("away.png").with_extension(&name[3..6]), folder.path(name))
            .unwrap();
    }
    let ended = again(&folder, "out");
    assert!(ended.has_scored(12, 1), "{}", ended.stdout);
    assert!(rows(&folder.path("out"), PICTURES) == expected, "rows differ");
    let mut times_after = times(&folder, "out");
    times_after.retain(|name, _| !lost.contains(&name.as_str()));
    assert_eq!(times_after, times_before, "other images were scored again");

    // Nothing is left that might do better.
    let ledger = folder.path("out/_filo/ledger");
    let before = written(&ledger);
    again(&folder, "out").last_line();
    assert_eq!(written(&ledger), before);
}

#[test]
fn a_stop_while_a_shard_is_tried_again_costs_its_time_only() {
    let folder = input();
    run(score(&folder, "out", "0/1")).last_line();
    let expected = rows(&folder.path("out"), PICTURES);
    // What a kill leaves between taking back and committing: no entry, some parts.
    let entry = std::fs::read_dir(folder.path("out/_filo/ledger")).unwrap().next().unwrap();
    std::fs::remove_file(entry.unwrap().path()).unwrap();
    std::fs::remove_file(folder.path("out/_SUCCESS")).unwrap();
    let manifest = folder.path("out/_filo/manifest.json");
    let mut text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    text["totals"] = serde_json::Value::Null;
    std::fs::write(&manifest, text.to_string()).unwrap();
    run(score(&folder, "out", "0/1")).last_line();
    assert!(rows(&folder.path("out"), PICTURES) == expected, "rows differ");
}

#[test]
fn a_tar_that_could_not_be_read_is_read_later() {
    let folder = Folder::new();
    folder.picture("p.png", 30, 30);
    let picture = std::fs::read(folder.path("p.png")).unwrap();
    for name in ["a", "b"] {
        let mut tar = tar::Builder::new(Vec::new());
        for n in 0..3 {
            let mut header = tar::Header::new_gnu();
            header.set_size(picture.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{n}.png"), picture.as_slice()).unwrap();
        }
        folder.file(&format!("in/nut/{name}.tar"), tar.into_inner().unwrap());
    }
    let score = |partition: &str| {
        let mut command = folder.score();
        command.args(["--batch-size", "1", "--partition", partition]);
        command
    };
    run(score("0/2")).last_line();
    let (tar, away) = (folder.path("in/nut/b.tar"), folder.path("away"));
    std::fs::rename(&tar, &away).unwrap();
    run(score("1/2")).last_line();
    assert_eq!(rows(&folder.path("out"), 4).only_failure().image_id, "nut/b.tar");
    std::fs::rename(&away, &tar).unwrap();
    let mut command = score("0/1");
    command.arg("--retry-failed");
    assert!(run(command).has_scored(6, 0));
    assert_eq!(rows(&folder.path("out"), 6).scores.len(), 6);
}
