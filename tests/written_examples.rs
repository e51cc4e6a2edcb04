//! What the repository writes down to be typed works as it is written: the commands above job files,
//! lines of a crontab, files of schedulers. Only places at the root of a disk, or in a bucket, become
//! places in a temporary folder.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::run::{Ended, Folder, WEIGHTS, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn text_of(name: &str) -> String {
    let path = Path::new(ROOT).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A shell's command, in the folder, with the program and stand-ins of `bin/` on its path.
fn shell(folder: &Folder, command: &str) -> Ended {
    let program = Path::new(env!("CARGO_BIN_EXE_filo")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", folder.path("bin").display(), program.display());
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", path).env("XDG_RUNTIME_DIR", std::env::temp_dir());
    shell.current_dir(folder.path("")).args(["-c", command]);
    run(shell)
}

fn succeeds(folder: &Folder, command: &str) -> Ended {
    let ended = shell(folder, command);
    assert_eq!(ended.code, 0, "{command}\n{}", ended.stderr);
    ended
}

/// `line` with places in the folder for those of a server.
fn moved(line: &str) -> String {
    let places = [
        ("/data/", "data/"),
        ("/opt/", "opt/"),
        ("/etc/", "etc/"),
        ("/var/", "var/"),
        ("s3://archive/", "data/"),
        ("s3://scores/", "data/scores/"),
    ];
    places.iter().fold(line.to_string(), |line, (from, to)| line.replace(from, to))
}

/// The job files of the repository.
fn job_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(ROOT).join("pipelines")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let files = files.collect::<Vec<_>>();
    assert!(files.len() >= 4, "{files:?}");
    files
}

/// The command that a job file is to be started with: what is set in below its comment.
fn command_of(job: &str) -> String {
    let lines = job.lines().filter_map(|line| line.strip_prefix("#   "));
    let command = lines.map(str::trim).collect::<Vec<_>>().join("\n");
    command.replace("\\\n", "")
}

/// The line of a crontab in a text, without its times.
fn cron_line(text: &str) -> String {
    let is_cron = |line: &&str| line.contains(" * * *  ");
    let lines = text.lines().filter(is_cron).collect::<Vec<_>>();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let (_, command) = line.split_once(" * * *  ").unwrap();
    assert!(!command.replace("\\%", "").contains('%'), "cron ends a line at %: {command}");
    moved(command)
}

/// A folder as somebody has it who follows the README: weights by its command, data, job files.
fn prepared() -> Folder {
    let folder = Folder::new();
    let readme = text_of("README.md");
    let convert = readme.lines().find(|line| line.starts_with("filo weights convert ")).unwrap();
    let (_, to) = convert.split_once(" --to ").unwrap();
    succeeds(&folder, &format!("filo weights convert --from '{WEIGHTS}' --to {to}"));
    succeeds(&folder, &format!("filo weights convert --from '{WEIGHTS}' --to opt/filo/weights"));
    for name in ["good/0.png", "crack/1.png"] {
        folder.picture(&format!("data/mvtec/bottle/test/{name}"), 40, 30);
    }
    folder.mask("data/mvtec/bottle/ground_truth/crack/1_mask.png", 40, 30);
    for name in ["Normal/0.png", "Anomaly/1.png"] {
        folder.picture(&format!("data/visa/candle/Data/Images/{name}"), 40, 30);
    }
    folder.mask("data/visa/candle/Data/Masks/Anomaly/1.png", 40, 30);
    folder.file(
        "data/visa/split_csv/1cls.csv",
        "object,split,label,image,mask\n\
         candle,test,normal,candle/Data/Images/Normal/0.png,\n\
         candle,test,anomaly,candle/Data/Images/Anomaly/1.png,candle/Data/Masks/Anomaly/1.png\n",
    );
    for day in ["2026-11-24", &yesterday()] {
        folder.picture(&format!("data/line3/{day}/nut/0.png"), 40, 30);
    }
    folder.picture("data/line-4/nut/0.png", 40, 30);
    for file in job_files() {
        let name = file.file_name().unwrap().to_str().unwrap();
        folder.file(&format!("pipelines/{name}"), std::fs::read(&file).unwrap());
    }
    folder
}

fn yesterday() -> String {
    (chrono::Local::now() - chrono::TimeDelta::days(1)).format("%Y-%m-%d").to_string()
}

#[test]
fn every_job_file_runs_by_the_command_above_it() {
    let folder = prepared();
    for file in job_files() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let command = command_of(&std::fs::read_to_string(&file).unwrap());
        assert!(command.ends_with(&format!("filo score --job pipelines/{name}")), "{command}");
        // The images of the demo are made by the demo: tests/embedded.rs follows this one.
        if name != "demo.toml" {
            let ended = succeeds(&folder, &moved(&command));
            let images = if name == "nightly.toml" { 1 } else { 2 };
            assert!(ended.has_scored(images, 0), "{name}: {}", ended.stdout);
        }
    }
}

#[test]
fn the_nightly_job_takes_tars_as_well() {
    let folder = prepared();
    let mut tar = tar::Builder::new(Vec::new());
    let image = folder.path("data/line-4/nut/0.png");
    tar.append_path_with_name(image, "nut/0.png").unwrap();
    folder.file("data/line3/tars/0001.tar", tar.into_inner().unwrap());
    let command = moved(&command_of(&text_of("pipelines/nightly.toml")));
    let command = command.replace("line3/2026-11-24", "line3/tars");
    assert!(succeeds(&folder, &command).has_scored(1, 0));
}

#[test]
fn the_line_for_a_crontab_scores_and_its_variables_reach_the_program() {
    let folder = prepared();
    // Written without `export`, as such files are.
    folder.file("etc/filo/aws.env", "FILO_LOG=error\n");
    folder.file("var/log/filo.log", "");
    let command = cron_line(&text_of("README.md"));
    assert!(succeeds(&folder, &command).has_scored(1, 0));
    let log = std::fs::read_to_string(folder.path("var/log/filo.log")).unwrap();
    assert!(!log.contains("INFO"), "{log}");
}

/// Stands in for Slurm: notes what was asked for, and does a dry run of an array as one task.
const SBATCH: &str = r#"#!/bin/sh
echo "$@" >> asked
while [ "${1#-}" != "$1" ]; do shift; done
echo 7
case "$1" in */task)
  export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=1 SLURMD_NODENAME=n1
  export SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=0
  "$@" --dry-run > task.log 2>&1 || echo "failed: $?" >> task.log ;;
esac
"#;

#[test]
fn the_slurm_array_of_a_crontab_is_that_of_yesterday() {
    let folder = prepared();
    folder.file("bin/sbatch", SBATCH);
    for name in ["submit", "task", "metrics"] {
        folder.file(
            &format!("opt/filo/slurm/{name}"),
            text_of(&format!("pipelines/engine/slurm/{name}")),
        );
    }
    folder.file("opt/filo/nightly.toml", text_of("pipelines/nightly.toml"));
    succeeds(
        &folder,
        "chmod +x bin/sbatch opt/filo/slurm/*; ln -s \"$(command -v filo)\" opt/filo",
    );
    let day = yesterday();
    let command = cron_line(&text_of("pipelines/engine/slurm/README.md"));
    assert!(succeeds(&folder, &command).stdout.contains("metrics 7"));
    let asked = std::fs::read_to_string(folder.path("asked")).unwrap();
    let [array, metrics] = asked.lines().collect::<Vec<_>>()[..] else { panic!("{asked}") };
    assert!(array.contains(&format!("/task data/scores/{day} --job ")), "{asked}");
    assert!(metrics.ends_with(&format!("/metrics data/scores/{day}")), "{asked}");
    let task = std::fs::read_to_string(folder.path("task.log")).unwrap();
    let scored = format!("1 image in 1 shard would be scored into data/scores/{day}");
    assert!(task.contains(&scored) && task.contains("opt/filo/weights"), "{task}");
}

#[test]
fn files_for_production_say_whose_weights_score() {
    let batch = text_of("pipelines/engine/aws-batch/submit-score.json");
    assert!(batch.contains("\"--weights\", \""), "{batch}");
    let kubernetes = text_of("pipelines/engine/kubernetes/job.yaml");
    assert!(kubernetes.contains("small network inside the program"), "{kubernetes}");
    assert!(kubernetes.contains("- --weights="), "{kubernetes}");
    assert!(text_of("pipelines/engine/kubernetes/cronjob.yaml").contains(" --weights "));
    assert!(cron_line(&text_of("README.md")).contains(" --weights "));
}
