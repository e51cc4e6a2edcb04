//! A run may be stopped at any moment, asked to or killed, and may be done by several workers:
//! started again, it finishes, and its rows are those of a run that nobody disturbed.
//! Tests wait for what a worker shows of its progress, ledger entries, never for a time.

#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use support::run::{Ended, Folder, LIMIT, Rows, filo, rows, run, written};

const PICTURES: usize = 60;
/// 4 images each.
const SHARDS: usize = 15;

/// Images of two categories, one of which cannot be scored.
fn pictures() -> Folder {
    let folder = Folder::new();
    for n in 0..PICTURES - 1 {
        let category = if n < 30 { "bolt" } else { "nut" };
        folder.picture(&format!("in/{category}/{n:02}.png"), 90 + n as u32, 70);
    }
    folder.file("in/nut/broken.png", "no picture");
    folder
}

/// Many small shards, one image at a time: there is always something left to stop.
fn score(folder: &Folder, out: &str) -> Command {
    let mut command = folder.score_to(out);
    command.args(["--shard-size", "4", "--batch-size", "1", "--maps", "f16"]);
    command
}

/// The rows of a run that nobody disturbs.
fn undisturbed(folder: &Folder) -> Rows {
    let ended = run(score(folder, "undisturbed"));
    assert!(ended.has_scored(59, 1), "{}", ended.stdout);
    rows(&folder.path("undisturbed"), PICTURES)
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Shards that are committed.
fn committed(out: &Path) -> usize {
    let ledger = std::fs::read_dir(out.join("_filo/ledger"));
    let names = ledger.into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_encoded_bytes().ends_with(b".json")).count()
}

/// Starts a run and returns once it has committed `shards`; it is then in the middle of another.
fn start_until(folder: &Folder, out: &str, shards: usize) -> Child {
    let mut child = start(score(folder, out));
    let started = Instant::now();
    while committed(&folder.path(out)) < shards {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "ended before it could be stopped: {ended:?}");
        assert!(started.elapsed() < LIMIT, "nothing is committed");
        std::thread::yield_now();
    }
    child
}

fn signal(child: &Child, name: &str) {
    // The shell's own `kill`: there is always a shell.
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Checks that the run was stopped in the middle.
fn assert_half_done(folder: &Folder, out: &str) {
    let done = committed(&folder.path(out));
    assert!((2..SHARDS).contains(&done), "{done} of {SHARDS} shards are committed");
    assert!(!folder.path(out).join("_SUCCESS").exists());
}

/// What a run that is asked to stop says as its last line: a command that does the rest.
fn resume_command(output: Output, code: i32) -> String {
    let ended = Ended::of(output);
    assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    let (_, command) = last.split_once("Resume with: ").unwrap_or_else(|| panic!("{last}"));
    command.to_string()
}

fn stop_and_resume(name: &str, code: i32) {
    let folder = pictures();
    let child = start_until(&folder, "out", 2);
    signal(&child, name);
    let command = resume_command(child.wait_with_output().unwrap(), code);
    assert_half_done(&folder, "out");
    // The folder has a space in its name: the command must work as it is printed.
    let mut shell = Command::new("sh");
    shell.env_clear().args(["-c", &command]);
    let ended = run(shell);
    assert!(ended.has_scored(59, 1), "{}", ended.stdout);
    assert_eq!(rows(&folder.path("out"), PICTURES), undisturbed(&folder));
}

#[test]
fn ctrl_c_stops_with_130_and_the_printed_command_does_the_rest() {
    stop_and_resume("INT", 130);
}

#[test]
fn sigterm_stops_with_143_and_the_printed_command_does_the_rest() {
    stop_and_resume("TERM", 143);
}

#[test]
fn a_killed_run_is_finished_by_running_it_again() {
    let folder = pictures();
    // Killed twice, the second time while it resumes.
    for shards in [2, 5] {
        let mut child = start_until(&folder, "out", shards);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it did not end by itself");
        assert_half_done(&folder, "out");
    }
    let ended = run(score(&folder, "out"));
    assert!(ended.has_scored(59, 1), "{}", ended.stdout);
    assert_eq!(rows(&folder.path("out"), PICTURES), undisturbed(&folder));
}

#[test]
fn a_run_keeps_to_the_pictures_that_it_was_begun_with() {
    let folder = pictures();
    let mut child = start_until(&folder, "out", 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_half_done(&folder, "out");
    let mut status = filo("status");
    status.arg("--run").arg(folder.path("out"));
    let said = run(status).stdout;
    // It was killed a moment ago, on this machine: that shows.
    assert!(said.contains(" died, ") && said.contains("no worker is alive"), "{said}");
    // The last images of the listing: none of them is committed yet.
    folder.picture("in/nut/58.png", 33, 44);
    std::fs::remove_file(folder.path("in/nut/57.png")).unwrap();
    folder.picture("in/nut/99-new.png", 20, 20);
    let ended = run(score(&folder, "out"));
    assert!(ended.has_scored(57, 3), "{}", ended.stdout);
    assert!(ended.stderr.contains("images that were added since are not in it"));
    let failures = rows(&folder.path("out"), PICTURES).failures;
    let failures = failures.iter().map(|row| (row.image_id.as_str(), row.code.as_str()));
    assert_eq!(
        failures.collect::<Vec<_>>(),
        [
            ("nut/57.png", "unreadable"),
            ("nut/58.png", "input_changed"),
            ("nut/broken.png", "unknown_format"),
        ]
    );
    // Once it is finished, what came since does not go unnoticed.
    let said = ["1 new, 1 changed, 1 gone since", "another --output"];
    run(score(&folder, "out")).refused(&said);
}

#[test]
fn a_finished_run_is_not_done_again() {
    let folder = pictures();
    let rows_before = undisturbed(&folder);
    let ledger = folder.path("undisturbed/_filo/ledger");
    let before = written(&ledger);
    // The images are not even opened.
    folder.file("in/bolt/00.png", vec![0; file_bytes(&folder.path("in/bolt/00.png"))]);
    assert_eq!(undisturbed(&folder), rows_before);
    assert_eq!(written(&ledger), before);
}

fn file_bytes(path: &Path) -> usize {
    std::fs::metadata(path).unwrap().len() as usize
}

#[test]
fn two_workers_at_once_give_the_rows_of_one() {
    let folder = pictures();
    let workers = ["0/2", "1/2"].map(|partition| {
        let mut command = score(&folder, "out");
        command.args(["--partition", partition]);
        start(command)
    });
    let said = workers.map(|worker| {
        let ended = Ended::of(worker.wait_with_output().unwrap());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout
    });
    // Whoever is last finishes the run; both may come to the end at once.
    assert!(said.iter().any(|said| said.starts_with("scored 59 images · ") && said.contains(" · 1 failed in ")), "{said:?}");
    assert_eq!(rows(&folder.path("out"), PICTURES), undisturbed(&folder));
}

#[test]
fn one_worker_of_two_does_its_part_and_says_that_others_are_open() {
    let folder = pictures();
    let mut command = score(&folder, "out");
    command.args(["--partition", "1/2"]);
    let ended = run(command);
    let said = ended.last_line();
    assert!(said.starts_with("part 1/2 done in ") && said.ends_with("other parts are still open"));
    assert_eq!(committed(&folder.path("out")), SHARDS / 2);
    assert!(!folder.path("out/_SUCCESS").exists());

    let status = |json: &[&str]| {
        let mut status = filo("status");
        status.arg("--run").arg(folder.path("out")).args(json);
        run(status)
    };
    let said = status(&[]).stdout;
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines = lines.collect::<Vec<_>>();
    assert_eq!(lines[1], ["0/2", "8", "0", "32", "0", "0", "–"]);
    assert_eq!(lines[2], ["1/2", "7", "7", "28", "28", "0", "done"]);
    assert_eq!(lines[3], ["all", "15", "7", "60", "28", "0"]);
    assert!(
        said.ends_with("stalled, no worker is alive: run the same filo score again, it resumes\n")
    );
    let document: serde_json::Value = serde_json::from_str(&status(&["--json"]).stdout).unwrap();
    assert_eq!(document["finished"], false);
    assert_eq!(document["parts"][1]["worker"]["scored"], 28);

    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    let refused = run(metrics);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("8 of 15 shards are not committed ("), "{}", refused.stderr);
    assert!(!folder.path("out/metrics").exists());
}
