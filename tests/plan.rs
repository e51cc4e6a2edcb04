//! `filo bench --plan` as a user who sizes a cluster meets it: told limits are all told, nothing is
//! measured then, and what is reckoned follows from them. `scripts/bench plan` holds it against the
//! clock.

mod support;

use serde_json::Value;
use support::run::{Ended, filo, run};

fn plan(arguments: &[&str]) -> Ended {
    let mut plan = filo("bench");
    plan.arg("--plan").args(arguments);
    run(plan)
}

fn planned(arguments: &[&str]) -> Value {
    let ended = plan(&[arguments, &["--json"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Name, operations and seconds of every stage of every batch.
fn stages(plan: &Value) -> Vec<(String, f64, f64)> {
    let batches = plan["batches"].as_array().unwrap();
    let of_batch = |batch: &Value| batch["stages"].as_array().unwrap().clone();
    let stage = |stage: Value| {
        let number = |key: &str| stage[key].as_f64().unwrap();
        (stage["name"].as_str().unwrap().to_owned(), number("flops"), number("seconds"))
    };
    batches.iter().flat_map(of_batch).map(stage).collect()
}

/// Of a machine that need not be this one: no device is opened. With memory that is no limit, seconds
/// are operations over the peak of their precision.
#[test]
fn told_limits_are_what_it_reckons_with() {
    let limits =
        "--device cuda:63 --precision bf16 --peak-tflops 8 --peak-tflops-f32 2 --bandwidth-gbs 1e9";
    let limits = limits.split(' ').collect::<Vec<_>>();
    let plan = planned(&limits);
    let used = ["flops_per_second", "flops_per_second_f32", "bytes_per_second"];
    assert_eq!(used.map(|key| plan[key].as_f64().unwrap()), [8e12, 2e12, 1e18]);
    let whole = stages(&plan);
    assert_eq!(whole.len(), 5 * 4);
    for (name, flops, seconds) in &whole {
        let peak = if name == "detector" { 2e12 } else { 8e12 };
        assert!((seconds / (flops / peak) - 1.0).abs() < 1e-3, "{name}: {seconds}");
    }
    let half = stages(&planned(&[&limits[..], &["--efficiency", "0.5"]].concat()));
    for ((name, _, whole), (_, _, half)) in whole.iter().zip(&half) {
        assert!((half / whole - 2.0).abs() < 1e-9, "{name}");
    }
}

#[test]
fn a_plan_of_a_data_sheet_says_that_it_is_no_forecast() {
    let limits = ["--peak-tflops", "67", "--bandwidth-gbs", "4800"];
    let told = plan(&limits).stdout;
    assert!(told.contains("a million images on 64: ") && told.contains("no forecast"), "{told}");
    let reckoned = plan(&[&limits[..], &["--efficiency", "0.1"]].concat()).stdout;
    assert!(!reckoned.contains("no forecast"), "{reckoned}");
}

#[test]
fn limits_are_told_all_or_none() {
    let refused = |arguments: &[&str], part: &str| {
        let ended = plan(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(part), "{part:?} is not in: {}", ended.stderr);
    };
    refused(&["--peak-tflops", "67"], "--bandwidth-gbs");
    refused(&["--bandwidth-gbs", "4800"], "--peak-tflops");
    refused(&["--efficiency", "1.2"], "at most 1");
    refused(&["--peak-tflops", "0", "--bandwidth-gbs", "1"], "a number above 0");
    let in_16_bits = ["--peak-tflops", "67", "--bandwidth-gbs", "4800", "--precision", "bf16"];
    plan(&in_16_bits).refused(&["--peak-tflops-f32 is missing"]);
    let twice = ["--peak-tflops", "67", "--bandwidth-gbs", "4800", "--peak-tflops-f32", "165"];
    plan(&twice).refused(&["leave one out"]);
}
