//! What a user may rely on when a job is described: flags win over the job file, a mistake is
//! answered with file, line, key and what is allowed, and no password is ever shown.

use std::path::Path;

use clap::{Args, FromArgMatches};
use filo::error::JobError;
use filo::image::Preprocess;
use filo::job::{
    BatchSize, Decision, DeviceChoice, FalseAlarmRate, GroundingChoice, JobSpec, MapsChoice,
    MaskThreshold, Precision, RawJobSpec, ReferenceChoice, RunMode, Strictness,
};
use filo::source::LayoutChoice;

/// The least that a job must say.
const LEAST: &str = "input = 'in'\noutput = 'out'\nweights = 'weights/filo.safetensors'\n";

fn parse(text: &str) -> Result<RawJobSpec, JobError> {
    RawJobSpec::from_toml(text, Path::new("night.toml"))
}

fn validate(text: &str) -> Result<JobSpec, JobError> {
    JobSpec::validate(parse(text)?, |_| None)
}

fn message(text: &str) -> String {
    validate(text).unwrap_err().to_string()
}

fn flags(arguments: &[&str]) -> Result<RawJobSpec, clap::Error> {
    let command = RawJobSpec::augment_args(clap::Command::new("score"));
    let arguments = std::iter::once(&"score").chain(arguments);
    RawJobSpec::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let spec = validate(LEAST).unwrap();
    assert_eq!(spec.layout, LayoutChoice::Auto);
    assert_eq!(spec.partition.to_string(), "0/1");
    assert_eq!(spec.shard_size.get(), 64);
    assert_eq!((spec.device, spec.precision), (DeviceChoice::Auto, Precision::F32));
    assert_eq!((spec.batch_size, spec.grounding), (BatchSize::Auto, GroundingChoice::Auto));
    assert_eq!(spec.size, None);
    assert_eq!((spec.box_threshold.get(), spec.mask_threshold), (0.25, MaskThreshold::Auto));
    assert_eq!((spec.maps, spec.preprocess), (MapsChoice::Flagged, Preprocess::Sensible));
    assert_eq!((spec.strict, spec.dry_run), (Strictness::Lenient, RunMode::Score));
    assert_eq!((&spec.category, &spec.descriptions), (&None, &None));
    assert_eq!((spec.run_date, spec.skip_scored), (None, Vec::new()));
}

#[test]
fn every_flag_is_a_key_of_the_job_file_and_means_the_same() {
    let file = parse(
        "input = 'in'
output = 'out'
skip_scored = ['s3://scores', 'old']
by_content = true
weights = 'w'
grounding_weights = 'g'
layout = 'mvtec'
image_column = 'photo'
keep = ['order', 'station']
include = ['*.png']
exclude = ['old/', 'tmp-*']
limit = 100
category = 'metal nut'
descriptions = 'd.json'
run_date = '2026-11-24'
partition = '1/4'
shard_size = 16
device = 'cuda:1'
precision = 'bf16'
size = 336
batch_size = 8
fetch_concurrency = 32
fetch_memory = 128
tile = '512x256'
tile_overlap = 0.25
tile_scale = 0.5
max_pixels = 1000000
grounding = 'off'
box_threshold = 0.3
reference = 'normals'
reference_fallback = 'archive'
false_alarm_rate = 0.02
threshold = 0.75
flag_top = '5%'
mask_threshold = 0.5
thresholds_from = 'earlier'
threshold_rule = 'fpr-0.1'
maps = 'f16'
preprocess = 'published'
strict = true
retry_failed = true
dry_run = true
progress = 'never'
log_format = 'json'",
    );
    let flags = flags(&[
        "--input=in",
        "--output=out",
        "--skip-scored=s3://scores",
        "--skip-scored=old",
        "--by-content",
        "--weights=w",
        "--grounding-weights=g",
        "--layout=mvtec",
        "--image-column=photo",
        "--keep=order,station",
        "--include=*.png",
        "--exclude=old/",
        "--exclude=tmp-*",
        "--limit=100",
        "--category=metal nut",
        "--descriptions=d.json",
        "--run-date=2026-11-24",
        "--partition=1/4",
        "--shard-size=16",
        "--device=cuda:1",
        "--precision=bf16",
        "--size=336",
        "--batch-size=8",
        "--fetch-concurrency=32",
        "--fetch-memory=128",
        "--tile=512x256",
        "--tile-overlap=0.25",
        "--tile-scale=0.5",
        "--max-pixels=1000000",
        "--grounding=off",
        "--box-threshold=0.3",
        "--reference=normals",
        "--reference-fallback=archive",
        "--false-alarm-rate=0.02",
        "--threshold=0.75",
        "--flag-top=5%",
        "--mask-threshold=0.5",
        "--thresholds-from=earlier",
        "--threshold-rule=fpr-0.1",
        "--maps=f16",
        "--preprocess=published",
        "--strict",
        "--retry-failed",
        "--dry-run",
        "--progress=never",
        "--log-format=json",
    ]);
    let (file, flags) = (file.unwrap(), flags.unwrap());
    assert_eq!(file, flags);
    let fields = serde_json::to_value(&flags).unwrap();
    let unsaid = fields.as_object().unwrap().iter().find(|(_, value)| value.is_null());
    assert_eq!(unsaid, None, "a new field belongs into this test");
    let command = RawJobSpec::augment_args(clap::Command::new("score"));
    for flag in command.get_arguments() {
        let key = flag.get_long().unwrap().replace('-', "_");
        assert!(fields.get(&key).is_some() && flag.get_help().is_some(), "{key}");
    }
}

#[test]
fn a_flag_wins_over_the_job_file() {
    let file = parse(&format!("{LEAST}strict = true\nprecision = 'f16'")).unwrap();
    let flags = flags(&["--strict=false", "--input", "other"]).unwrap();
    let spec = JobSpec::validate(flags.over(file), |_| None).unwrap();
    assert_eq!(spec.input.uri(), "other");
    assert_eq!((spec.strict, spec.precision), (Strictness::Lenient, Precision::F16));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let cases = [
        ("lay_out = 'mvtec'", "lay_out", "layout"),
        ("run-date = '2026-11-24'", "run-date", "run_date"),
        ("mask_treshold = 0.5", "mask_treshold", "mask_threshold"),
        ("Input = 'x'", "Input", "input"),
    ];
    for (line, key, nearest) in cases {
        let error = parse(&format!("# a comment\n\n{line}")).unwrap_err();
        match &error {
            JobError::UnknownKey { line: 3, key: found, nearest: near, .. } => {
                assert_eq!((found.as_str(), near.as_str()), (key, nearest));
            }
            _ => panic!("{error:?}"),
        }
    }
    let error = parse("lay_out = 'mvtec'").unwrap_err().to_string();
    assert_eq!(error, "night.toml:1: unknown key `lay_out`: the nearest known key is `layout`");
}

#[test]
fn a_value_that_is_not_allowed_is_answered_with_what_is() {
    let cases = [
        ("precision = 'fast'", "must be one of f32, f16, bf16"),
        ("layout = 'cifar'", "must be one of auto, folder, mvtec, visa"),
        ("preprocess = 'best'", "must be one of sensible, published"),
        ("grounding = true", "must be one of auto, on, off"),
        ("strict = 'yes'", "must be true or false, without quotes"),
        ("strict = 1", "must be true or false"),
        ("shard_size = 0", "must be a whole number from 1 to 1000000"),
        ("shard_size = -1", "must be a whole number from 1 to 1000000"),
        ("shard_size = '64'", "must be a whole number from 1 to 1000000, without quotes"),
        ("size = 1.5", "must be a whole number from 1"),
        ("threshold = 'high'", "must be a number from 0 to 1, without quotes"),
        ("descriptions = 3", "must be a text in quotes"),
        ("batch_size = 0", "must be auto or a whole number from 1"),
        ("batch_size = [4]", "must be a text in quotes, or a number"),
        ("run_date = 2026-11-24", "must be a text in quotes, or a number"),
        ("mask_threshold = 1.5", "must be auto or a number from 0 to 1"),
        ("box_threshold = nan", "must be a number from 0 to 1"),
        ("partition = '4/4'", "must be I/N with I from 0 to N-1"),
        ("device = 'gpu'", "must be auto, cpu, cuda, cuda:N, wgpu or wgpu:N"),
        ("run_date = '2026-02-30'", "must be a date such as 2026-11-24"),
        ("category = '__mean__'", "must be 1 to 230 bytes"),
    ];
    for (line, allowed) in cases {
        let text = message(&format!("{LEAST}{line}"));
        assert!(text.starts_with(&format!("night.toml:4: `{line}` is not allowed: ")), "{text}");
        assert!(text.contains(allowed), "{text}");
        assert!(["usize", "f64", "invalid"].iter().all(|word| !text.contains(word)), "{text}");
    }
}

#[test]
fn the_same_value_as_a_flag_is_answered_with_the_name_of_the_flag() {
    let cases = [
        (["--precision", "fast"], "f32, f16, bf16"),
        (["--preprocess", "best"], "`sensible` or `published`"),
        (["--shard-size", "0"], "must be a whole number from 1 to 1000000"),
        (["--mask-threshold", "2"], "must be auto or a number from 0 to 1"),
        (["--partition", "4"], "must be I/N"),
    ];
    for (arguments, allowed) in cases {
        let text = flags(&arguments).unwrap_err().to_string();
        assert!(text.contains(arguments[0]) && text.contains(allowed), "{text}");
    }
}

#[test]
fn a_job_file_that_is_no_toml_is_answered_with_its_line() {
    let text = message("input = 'in'\noutput = \n");
    assert!(text.starts_with("night.toml:2: not valid TOML"), "{text}");
    let text = message("input = 'in'\ninput = 'in'\n");
    assert!(text.starts_with("night.toml:2: not valid TOML (duplicate key"), "{text}");
    let text = RawJobSpec::from_file(Path::new("/no/such/job.toml")).unwrap_err().to_string();
    assert!(text.starts_with("/no/such/job.toml: cannot be read"), "{text}");
}

#[test]
fn what_must_be_said_is_asked_for() {
    assert!(message("output = 'o'\nweights = 'w'").starts_with("`input` is missing: pass --input"));
    assert!(message("input = 'i'\nweights = 'w'").starts_with("`output` is missing"));
}

#[test]
fn weights_are_the_embedded_ones_unless_a_path_is_said() {
    let place = |line: &str| {
        let text = format!("input = 'i'\noutput = 'o'\n{line}");
        let env = |name: &str| (name == "FILO_WEIGHTS").then(|| "nano".to_owned());
        JobSpec::validate(parse(&text).unwrap(), env).unwrap().weights
    };
    for line in ["", "weights = 'nano'", "weights = '${FILO_WEIGHTS}'"] {
        assert_eq!(place(line), None, "{line}");
    }
    let path = |line: &str| place(line).unwrap().disk().unwrap().to_owned();
    assert_eq!(path("weights = './nano'"), Path::new("./nano"));
    assert_eq!(path("weights = 'file:///opt/nano'"), Path::new("/opt/nano"));
    assert_eq!(place("weights = 's3://models/filo'").unwrap().uri(), "s3://models/filo");
    let shown = serde_json::to_value(validate("input = 'i'\noutput = 'o'").unwrap()).unwrap();
    assert_eq!(shown["weights"], "nano");
}

#[test]
fn variables_are_expanded_in_input_output_and_weights_only() {
    let text = "input = '${ROOT}/in'\noutput = '${ROOT}/out'\nweights = '${ROOT}/w'\n\
        descriptions = '${ROOT}/d.json'";
    let env = |name: &str| (name == "ROOT").then(|| "/data".to_owned());
    let spec = JobSpec::validate(parse(text).unwrap(), env).unwrap();
    assert_eq!((spec.input.uri(), spec.output.uri()), ("/data/in", "/data/out"));
    assert_eq!(spec.weights_name(), "/data/w");
    assert_eq!(spec.descriptions.as_deref(), Some(Path::new("${ROOT}/d.json")));
    let dated =
        format!("{}\nskip_scored = ['${{ROOT}}/{{x}}']", text.replace("/out", "/{run_date}"));
    let dated = format!("{dated}\nrun_date = '2026-11-24'");
    let dated = JobSpec::validate(parse(&dated).unwrap(), env).unwrap();
    assert_eq!(dated.output.uri(), "/data/2026-11-24");
    assert_eq!(dated.skip_scored[0].uri(), "/data/{x}");
    let unset = message(text);
    assert_eq!(unset, "`input` has ${ROOT}, which is not set: export it");
}

#[test]
fn an_array_job_gives_the_partition_unless_it_is_said() {
    let env = |name: &str| match name {
        "SLURM_ARRAY_TASK_ID" => Some("3".to_owned()),
        "SLURM_ARRAY_TASK_COUNT" => Some("8".to_owned()),
        _ => None,
    };
    let spec = JobSpec::validate(parse(LEAST).unwrap(), env).unwrap();
    assert_eq!(spec.partition.to_string(), "3/8");
    let said = parse(&format!("{LEAST}partition = '1/2'")).unwrap();
    assert_eq!(JobSpec::validate(said, env).unwrap().partition.to_string(), "1/2");
}

#[test]
fn an_object_store_is_refused_with_its_key_and_without_its_password() {
    let store = "'s3://user:secret@bucket/in'";
    let text = message(&LEAST.replace("'in'", store));
    let expected = "`input`: s3://***@bucket/in: a URI with credentials";
    assert!(text.starts_with(expected), "{text}");
    for key in ["input", "weights", "category", "precision"] {
        let text = parse(&format!("{key} = [{store}]")).unwrap_err().to_string();
        assert!(!text.contains("secret"), "{text}");
    }
    let text = parse(&format!("precision = {store}")).unwrap_err().to_string();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn every_pipeline_is_a_valid_job() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines"));
    let mut n_jobs = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "toml") {
            let raw = RawJobSpec::from_file(&file).unwrap();
            let env = |name: &str| name.starts_with("FILO_").then(|| "/data".to_owned());
            JobSpec::validate(raw, env).unwrap();
            n_jobs += 1;
        }
    }
    assert!(n_jobs >= 4, "{n_jobs}");
}

#[test]
fn the_schema_knows_every_key_and_no_other() {
    let schema = serde_json::to_value(schemars::schema_for!(RawJobSpec)).unwrap();
    assert_eq!(schema["title"], "JobSpec");
    assert_eq!(schema["additionalProperties"], false);
    let properties: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    let fields = serde_json::to_value(RawJobSpec::default()).unwrap();
    let mut keys: Vec<_> = fields.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(properties, keys);
}

#[test]
fn a_serialised_spec_reads_as_it_was_said() {
    let json = serde_json::to_value(validate(&format!("{LEAST}batch_size = 4")).unwrap()).unwrap();
    assert_eq!((&json["input"], &json["batch_size"]), (&"in".into(), &"4".into()));
    assert_eq!((&json["strict"], &json["box_threshold"]), (&false.into(), &0.25.into()));
}

#[test]
fn references_and_decisions_have_defaults_that_follow_from_the_weights() {
    let spec = |toml: &str| {
        let text = format!("input = 'in'\noutput = 'out'\n{toml}");
        JobSpec::validate(RawJobSpec::from_toml(&text, "job.toml".as_ref()).unwrap(), |_| None)
    };
    let default = spec("").unwrap();
    assert_eq!(default.reference, ReferenceChoice::Archive);
    assert_eq!(default.decision, Decision::FalseAlarmRate(FalseAlarmRate::default()));
    assert_eq!(spec("weights = 'w'").unwrap().reference, ReferenceChoice::None);
    let of_others = spec("weights = 'w'\nreference = 'archive'").unwrap();
    assert_eq!(of_others.reference, ReferenceChoice::Archive);
    assert_eq!(
        spec("reference = 's3://box/normals'").unwrap().reference.as_str(),
        "s3://box/normals"
    );
    let refused = |toml: &str| spec(toml).unwrap_err().to_string();
    assert!(refused("threshold_rule = 'fpr-1'").contains("name that run with `thresholds_from`"));
    let two = refused("threshold = 0.5\nthresholds_from = 'earlier'");
    assert!(two.contains("`threshold` and `thresholds_from`"), "{two}");
}
