//! A disk that takes no more, or that this user may not write, ends a command with one line that says
//! where and what to do, and never speaks of buckets. What is made full or read-only is a small file
//! system of the test's own, seen by the program alone; where the system does not allow one, the test
//! says so and passes.

#![cfg(target_os = "linux")]

mod support;

use std::fs::{Permissions, create_dir, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use support::run::{Ended, Folder, filo, run};

/// Words of advice that no disk needs.
const OF_BUCKETS: [&str; 5] = ["endpoint", "bucket", "AWS_", "region", "credentials"];

/// An image, and a finished run over it.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.picture("in/nut/1.png", 40, 30);
    folder
}

/// The same with a finished run in `done/`.
fn scored() -> Folder {
    let folder = folder();
    run(folder.score_to("done")).last_line();
    folder
}

/// `command` as the argument of `outer`, in the same environment.
fn inside(mut outer: Command, command: &Command) -> Command {
    outer.arg(command.get_program()).args(command.get_args());
    outer.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// `command` where `disk/` is a file system of its own, mounted with `options`.
fn mounted(folder: &Folder, options: &str, command: &Command) -> Command {
    let disk = folder.path("disk");
    if !disk.exists() {
        create_dir(&disk).unwrap();
    }
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    outer.arg("mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"");
    outer.arg("sh").arg(options).arg(disk);
    inside(outer, command)
}

/// `command` with no right to write against the permissions of a file, which root has.
fn without_override(command: &Command) -> Command {
    let mut outer = Command::new("setpriv");
    outer.arg("--bounding-set=-dac_override,-dac_read_search");
    inside(outer, command)
}

/// Whether commands can be run so at all; says so if not.
fn works(mut command: Command, what: &str) -> bool {
    let works = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        println!("skipped: {what} cannot be had here");
    }
    works
}

fn can_mount(folder: &Folder) -> bool {
    works(mounted(folder, "size=16k", &Command::new("true")), "a file system of one's own")
}

/// Checks that the command failed with one line, which has `parts`.
#[track_caller]
fn says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.stderr);
    let errors = ended.stderr.lines().filter(|line| line.starts_with("filo: "));
    let [line] = errors.collect::<Vec<_>>()[..] else { panic!("{}", ended.stderr) };
    assert_eq!(ended.stderr.lines().last(), Some(line), "{}", ended.stderr);
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    for word in OF_BUCKETS {
        assert!(!ended.stderr.contains(word), "{word:?} is in: {}", ended.stderr);
    }
}

#[test]
fn a_full_disk_is_said_wherever_it_is_met() {
    let folder = folder();
    if !can_mount(&folder) {
        return;
    }
    let mut files = std::collections::BTreeSet::new();
    for kib in [4, 12, 16, 24, 32, 48] {
        let mut score = folder.score_to("disk/out");
        score.args(["--maps", "f32"]);
        let ended = run(mounted(&folder, &format!("size={kib}k"), &score));
        says(&ended, 1, &["disk/out", "cannot be written: no space left: free space or"]);
        let (_, rest) = ended.stderr.rsplit_once("disk/out/").unwrap();
        files.insert(rest.split(['/', '-', ':']).next().unwrap().to_owned());
    }
    // The plan or a lease first, what is scored later.
    assert!(files.len() > 1, "{files:?}");
}

#[test]
fn the_same_command_goes_on_when_there_is_room() {
    let folder = folder();
    if !can_mount(&folder) {
        return;
    }
    let mut score = folder.score_to("disk/out");
    score.args(["--maps", "f32"]);
    let full = "mount -t tmpfs -o size=48k tmpfs \"$0\" && ! \"$@\" && ";
    let room = "mount -o remount,size=4m \"$0\" && exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("{full}{room}")]);
    outer.arg(folder.path("disk"));
    let ended = run(inside(outer, &score));
    assert!(ended.has_scored(1, 0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("no space left: ").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_disk_that_is_read_only_is_said_before_anything_is_scored() {
    let folder = scored();
    if !can_mount(&folder) {
        return;
    }
    let read_only = "the file system is read-only: mount it writable or choose another folder";
    let ended = run(mounted(&folder, "ro,size=64k", &folder.score_to("disk/out")));
    says(&ended, 2, &["disk/out: cannot be opened", read_only]);
    let mut dry = folder.score_to("disk/out");
    dry.arg("--dry-run");
    says(&run(mounted(&folder, "ro,size=64k", &dry)), 2, &["disk/out", read_only]);
    let report = run(mounted(&folder, "ro,size=64k", &report(&folder, "disk/a.html")));
    says(&report, 1, &["disk/a.html: cannot be written: ", read_only]);
}

/// `filo report` of the finished run.
fn report(folder: &Folder, out: &str) -> Command {
    let mut command = filo("report");
    command.arg("--run").arg(folder.path("done")).arg("--out").arg(folder.path(out));
    command
}

#[test]
fn a_page_or_bundle_that_does_not_fit_is_said() {
    let folder = scored();
    if !can_mount(&folder) {
        return;
    }
    let ended = run(mounted(&folder, "size=12k", &report(&folder, "disk/a.html")));
    says(&ended, 1, &["disk/a.html: cannot be written: no space left: free space"]);
    let mut convert = filo("weights");
    convert.args(["convert", "--from", support::run::WEIGHTS, "--to"]).arg(folder.path("disk/w"));
    let ended = run(mounted(&folder, "size=12k", &convert));
    says(&ended, 2, &["disk/", "cannot be written", "free space or choose another --to"]);
}

#[test]
fn an_output_that_is_a_file_or_a_page_that_is_a_folder_is_said() {
    let folder = scored();
    folder.file("taken", "a file");
    for out in ["taken", "taken/out"] {
        let ended = run(folder.score_to(out));
        says(&ended, 2, &[out, "a file is where a folder must be: choose another path"]);
    }
    for (out, part) in [
        ("in", "in: cannot be written: is a folder: name a file in it"),
        ("no/a.html", "a.html: cannot be written: there is no such folder: make it"),
        ("taken/a.html", "a.html: cannot be written: there is no such folder: make it"),
        ("taken", "is there and no report of this program: choose another --out"),
    ] {
        let ended = run(report(&folder, out));
        says(&ended, if out == "taken" { 2 } else { 1 }, &[part]);
        assert!(!ended.stderr.contains("free space"), "{}", ended.stderr);
    }
}

#[test]
fn a_folder_without_permission_is_said_with_the_right_that_is_missing() {
    let folder = scored();
    create_dir(folder.path("locked")).unwrap();
    let lock = |mode| set_permissions(folder.path("locked"), Permissions::from_mode(mode)).unwrap();
    lock(0o555);
    let mut touch = Command::new("touch");
    touch.arg(folder.path("locked/trial"));
    let works = works(without_override(&Command::new("true")), "a user without root's rights");
    if !works || without_override(&touch).stderr(Stdio::null()).status().unwrap().success() {
        println!("skipped: permissions do not hold here");
        return;
    }
    let writable = "not permitted: make it writable or choose another folder";
    let ended = run(without_override(&folder.score_to("locked/out")));
    says(&ended, 2, &["locked/out: cannot be opened", writable]);
    let ended = run(without_override(&report(&folder, "locked/a.html")));
    says(&ended, 1, &["locked/a.html: cannot be written", writable]);
    lock(0o000);
    let ended = run(without_override(&folder.score_to("locked/out")));
    says(&ended, 2, &["locked/out: cannot be opened", writable]);
    let mut status = filo("status");
    status.arg("--run").arg(folder.path("locked"));
    let ended = run(without_override(&status));
    says(&ended, 1, &["locked/", "not permitted: give this user the right to read it"]);
    let mut score = filo("score");
    score.arg("--input").arg(folder.path("locked")).arg("--output").arg(folder.path("new"));
    says(&run(without_override(&score)), 2, &["locked: cannot be listed", "fix its permissions"]);
    lock(0o755);
}

#[test]
fn a_limit_on_the_size_of_files_is_said() {
    let folder = folder();
    let mut outer = Command::new("sh");
    // Without the signal that would end the program without a word.
    outer.args(["-c", "trap '' XFSZ && ulimit -f 8 && exec \"$@\"", "sh"]);
    let mut score = folder.score_to("out");
    score.args(["--maps", "f32"]);
    let ended = run(inside(outer, &score));
    says(&ended, 1, &["out/", "cannot be written", "ulimit -f"]);
}
