//! What the program says about itself is what the repository says about it: the committed schemas
//! are those that it writes, job files in the repository are read, help and pages come out.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use filo::job::{JobSpec, RawJobSpec};
use filo::tables::Table;
use support::run::{Ended, Folder, filo, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SUBCOMMANDS: [&str; 11] = [
    "score",
    "metrics",
    "export",
    "demo",
    "bench",
    "train",
    "weights",
    "schema",
    "devices",
    "completions",
    "man",
];

/// The files of `folder` itself by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn schemas() -> BTreeMap<String, String> {
    let folder = Folder::new();
    let mut command = filo("schema");
    command.arg("--out").arg(folder.path("schemas"));
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let written = files(&folder.path("schemas"));
    let said = ended.stdout.lines().map(|line| line.rsplit('/').next().unwrap());
    let mut said = said.collect::<Vec<_>>();
    said.sort();
    assert_eq!(said, written.keys().collect::<Vec<_>>());
    written
}

#[test]
fn the_committed_schemas_are_those_of_the_program() {
    let (written, committed) = (schemas(), files(&Path::new(ROOT).join("schemas")));
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&committed), "run `filo schema`");
    for (name, text) in &written {
        assert_eq!(text, &committed[name], "schemas/{name} is out of date: run `filo schema`");
    }
}

#[test]
fn every_table_is_described_column_by_column() {
    let written = schemas();
    // Beside the tables: two job files, bundle.json, and what `weights inspect` and `list` print.
    assert_eq!(written.len(), Table::ALL.len() + 5);
    for table in Table::ALL {
        let text = &written[&format!("{}.json", table.as_str())];
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let columns = document["columns"].as_array().unwrap();
        let names = columns.iter().map(|column| column["name"].as_str().unwrap());
        let names = names.collect::<Vec<_>>();
        assert_eq!(names[..2], ["run_id", "shard_id"], "{text}");
        assert_eq!(names[names.len() - 2..], ["run_date", "category"], "{text}");
        let described = |column: &serde_json::Value| {
            column["about"].as_str().is_some_and(|about| about.ends_with('.'))
        };
        assert!(columns.iter().all(described), "{text}");
    }
}

#[test]
fn the_schema_of_a_job_file_is_made_from_the_flags() {
    let schema = schemars::schema_for!(RawJobSpec).to_value();
    let written: serde_json::Value = serde_json::from_str(&schemas()["job.schema.json"]).unwrap();
    assert_eq!(written, schema);
    assert_eq!(written["additionalProperties"], false);
}

#[test]
fn the_schema_of_a_training_job_names_a_default_for_every_key() {
    let written: serde_json::Value = serde_json::from_str(&schemas()["train.schema.json"]).unwrap();
    assert_eq!(written["additionalProperties"], false);
    for (key, about) in written["properties"].as_object().unwrap() {
        let text = about["description"].as_str().unwrap_or_default();
        let steps_win = key.ends_with("_steps") && key.starts_with("stage_");
        assert!(text.contains("[default: ") || steps_win, "{key}: {text}");
    }
}

#[test]
fn every_job_file_of_the_repository_is_read() {
    let pipelines = files(&Path::new(ROOT).join("pipelines"));
    assert!(pipelines.len() >= 4, "{:?}", pipelines.keys());
    for name in pipelines.keys() {
        let raw = RawJobSpec::from_file(&Path::new(ROOT).join("pipelines").join(name)).unwrap();
        let spec = JobSpec::validate(raw, |variable| {
            variable.starts_with("FILO_").then(|| "elsewhere".to_string())
        });
        spec.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn completions_of_every_shell_know_the_subcommands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = filo("completions");
        command.arg(shell);
        let ended = run(command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        for word in SUBCOMMANDS.into_iter().chain(["mask-threshold", "shard-size"]) {
            assert!(ended.stdout.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn the_manual_page_and_the_help_name_every_subcommand() {
    for page in ["man", "--help"] {
        let ended = run(filo(page));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        for subcommand in SUBCOMMANDS {
            assert!(ended.stdout.contains(subcommand), "{page}: no {subcommand}");
        }
    }
    let version = run(filo("--version"));
    assert_eq!(version.last_line(), concat!("filo ", env!("CARGO_PKG_VERSION")));
}

/// The manual page of a command, which is printed.
fn page_of(command: &[&str]) -> String {
    let mut man = filo("man");
    man.args(command);
    let ended = run(man);
    assert_eq!(ended.code, 0, "{command:?}: {}", ended.stderr);
    ended.stdout.replace("\\-", "-")
}

#[test]
fn every_page_that_a_page_names_can_be_printed_and_has_its_flags() {
    let mut open = vec![Vec::<String>::new()];
    let mut printed = Vec::new();
    while let Some(command) = open.pop() {
        let words = command.iter().map(String::as_str).collect::<Vec<_>>();
        let (page, name) = (page_of(&words), format!("filo-{}", words.join("-")));
        let name = name.trim_end_matches('-').to_string();
        assert!(page.contains(&format!("\n.TH {name} 1 ")), "{page}");
        let named = page.lines().filter_map(|line| line.strip_suffix("(1)"));
        for below in named {
            let last = below.strip_prefix(&format!("{name}-")).unwrap();
            open.push(command.iter().cloned().chain([last.to_string()]).collect());
        }
        printed.push(name);
    }
    for name in SUBCOMMANDS.map(|of| format!("filo-{of}")) {
        assert!(printed.contains(&name), "{name}: {printed:?}");
    }
    assert!(printed.contains(&"filo-weights-convert".to_string()), "{printed:?}");
    for flag in ["--mask-threshold", "--thresholds-from", "--dry-run"] {
        assert!(page_of(&["score"]).contains(flag), "{flag}");
    }
    let refused = |command: &[&str], part: &str| {
        let mut man = filo("man");
        man.args(command);
        run(man).refused(&["there is no such page", part]);
    };
    refused(&["weights", "turn"], "after weights comes one of convert, inspect, verify");
    refused(&["score", "more"], "filo score has no subcommands");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    for arguments in [vec!["man"], vec!["completions", "bash"], vec!["devices"]] {
        let mut command = filo(arguments[0]);
        command.args(&arguments[1..]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        let ended = Ended::of(command.output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
        if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
            command.stdout(full);
            let ended = Ended::of(command.output().unwrap());
            assert_eq!(ended.code, 1);
            assert!(
                ended.stderr.starts_with("filo: stdout: cannot be written"),
                "{}",
                ended.stderr
            );
        }
    }
}
