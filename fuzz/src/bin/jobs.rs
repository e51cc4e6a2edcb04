//! Any text as a job file: read, validated, and written down again.

#![no_main]

use std::path::Path;

use filo::job::{JobSpec, RawJobSpec};
use filo_fuzz::{check, check_message, fuzz_target};

fuzz_target!(|text: &str| check(|| {
    let raw = match RawJobSpec::from_toml(text, Path::new("job.toml")) {
        Ok(raw) => raw,
        Err(error) => return check_message(&error.to_string()),
    };
    // What is read is what is meant.
    let json = serde_json::to_value(&raw).expect("a job can be written down");
    let again: RawJobSpec = serde_json::from_value(json).expect("what was written can be read");
    assert_eq!(raw, again);
    match JobSpec::validate(raw, |name| (name == "HOME").then(|| "/home/a".to_owned())) {
        Ok(spec) => drop(serde_json::to_string(&spec).expect("a job can be written down")),
        Err(error) => check_message(&error.to_string()),
    }
}));
