//! Two workers on one output share its shards: each image is scored once, and the tables are those of
//! one worker. Who is killed is replaced.

#![cfg(unix)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use support::run::{Ended, Folder, LIMIT, rows, run};

const IMAGES: usize = 60;

fn images() -> Folder {
    let folder = Folder::new();
    for n in 0..IMAGES {
        folder.picture(&format!("in/bolt/{n:02}.png"), 90 + n as u32, 70);
    }
    folder
}

fn score(folder: &Folder, out: &str) -> Command {
    let mut command = folder.score_to(out);
    command.args(["--shard-size", "4", "--batch-size", "1", "--log-format", "json"]);
    command
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What each worker says that it has scored.
fn scored(folder: &Folder, out: &str) -> Vec<u64> {
    let workers = std::fs::read_dir(folder.path(out).join("_filo/workers")).unwrap();
    let said = workers.map(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let said = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        said["scored"].as_u64().unwrap()
    });
    said.collect()
}

fn leases(folder: &Folder, out: &str) -> usize {
    std::fs::read_dir(folder.path(out).join("_filo/leases")).map_or(0, Iterator::count)
}

#[test]
fn two_workers_score_each_image_once_and_both_end_with_the_whole_run() {
    let folder = images();
    run(score(&folder, "alone")).last_line();
    let expected = rows(&folder.path("alone"), IMAGES);

    let workers = [start(score(&folder, "out")), start(score(&folder, "out"))];
    for worker in workers {
        let ended = Ended::of(worker.wait_with_output().unwrap());
        assert!(ended.has_scored(IMAGES, 0), "{}", ended.stdout);
        let last = ended.stderr.lines().last().unwrap();
        let event = serde_json::from_str::<serde_json::Value>(last).unwrap();
        assert_eq!(event["fields"]["scored"], IMAGES as u64, "counts are an event");
    }
    assert!(rows(&folder.path("out"), IMAGES) == expected, "rows differ");
    let scored = scored(&folder, "out");
    assert_eq!((scored.len(), scored.iter().sum::<u64>()), (2, IMAGES as u64), "{scored:?}");
    assert_eq!(leases(&folder, "out"), 0, "leases are left");
}

#[test]
fn who_is_killed_is_replaced_by_one_that_waits_for_it() {
    let folder = images();
    run(score(&folder, "alone")).last_line();
    let expected = rows(&folder.path("alone"), IMAGES);

    let mut first = start(score(&folder, "out"));
    let begun = Instant::now();
    while leases(&folder, "out") == 0 {
        assert!(begun.elapsed() < LIMIT && first.try_wait().unwrap().is_none(), "no lease");
        std::thread::yield_now();
    }
    // It holds what it has begun for as long as it is stopped.
    let signal = |name: &str| {
        let kill = format!("kill -{name} {}", first.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    };
    signal("STOP");
    let second = start(score(&folder, "out"));
    let entries = || std::fs::read_dir(folder.path("out/_filo/ledger")).map_or(0, Iterator::count);
    while entries() < IMAGES / 4 - 4 {
        assert!(begun.elapsed() < LIMIT, "the second does not help");
        std::thread::yield_now();
    }
    assert!(!folder.path("out/_SUCCESS").exists(), "the first holds a shard");
    signal("KILL");
    first.wait().unwrap();
    let ended = Ended::of(second.wait_with_output().unwrap());
    assert!(ended.has_scored(IMAGES, 0), "{}", ended.stdout);
    assert!(rows(&folder.path("out"), IMAGES) == expected, "rows differ");
}

#[test]
fn a_dry_run_is_refused_for_what_the_run_would_be_refused_for() {
    let folder = images();
    let dry = |out: &str, flags: &[&str]| {
        let mut command = score(&folder, out);
        command.arg("--dry-run").args(flags);
        run(command)
    };
    let said = dry("out", &[]);
    assert!(said.last_line().starts_with("60 images in 15 shards would be scored"));
    assert!(!folder.path("out").exists(), "nothing is left");
    folder.file("foreign/letter.txt", "dear");
    let cases: [(&str, &[&str]); 3] =
        [("foreign", &[]), ("out", &["--device", "cuda:9"]), ("foreign/letter.txt", &[])];
    for (out, flags) in cases {
        let mut command = score(&folder, out);
        command.args(flags);
        let (dry, real) = (dry(out, flags), run(command));
        let said = |ended: &Ended| {
            let event = ended.stderr.lines().last().unwrap();
            let event = serde_json::from_str::<serde_json::Value>(event).unwrap();
            (ended.code, event["fields"]["message"].clone())
        };
        assert!(dry.code != 0 && dry.stdout.is_empty(), "{out}: {}", dry.stderr);
        assert_eq!(said(&dry), said(&real), "{out}");
    }
}

#[test]
fn a_report_never_replaces_a_file_that_is_no_report() {
    let folder = images();
    run(score(&folder, "out")).last_line();
    let report = |to: &str| {
        let mut command = support::run::filo("report");
        command.arg("--run").arg(folder.path("out")).arg("--out").arg(folder.path(to));
        run(command)
    };
    report("in/bolt/00.png").refused(&["no report of this program"]);
    report("page.html").last_line();
    report("page.html").last_line();
    let mut metrics = support::run::filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    assert!(run(metrics).last_line().starts_with("no labels: "));
}
