//! A training may be stopped at any moment, asked to or killed: resumed, it ends with the numbers of
//! one that nobody disturbed. What it writes can be scored with; what is wrong is said in one line.
//! Tests wait for rows of the log, never for a time.

#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use filo::train::synthetic::{Amount, Surface, write_set};
use filo::train::{LogRow, read_log};
use support::run::{Ended, Folder, LIMIT, filo, run};

const CONFIG: &str = r#"{
    "vision": {"image_size": 32, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8,
               "mlp_width": 32, "stem": [{"channels": 8, "stride": 2}, {"channels": 16, "stride": 2}]},
    "text": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    "embed_dim": 16, "features_list": [1, 2], "first_dual_block_index": 1,
    "n_ctx": 2, "meta_net_hidden": 4, "adapter_hidden": 8
}"#;

const JOB: &str = r#"
seed = 3
batch_size = 4
workers = 2
stage_1_steps = 36
stage_2_steps = 12
rate_heads = 2e-3
rate_prompts = 2e-3
rate_backbone = 2e-3
beta_1 = 0.9
warmup_steps = 5
schedule = "cosine"
clip_norm = 1.0
average = 0.9
positions = "known"
details_per_step = 2
image_loss = 0.5
word_loss = 0.5
validation = 0.3
validate_every = 12
checkpoint_every = 6
log_every = 3
"#;

/// A labelled set in `data/`, a configuration, a job, and words for the set's categories.
fn prepared(job: &str) -> Folder {
    let folder = Folder::new();
    let surfaces = &[Surface::BrushedMetal, Surface::CeramicTile, Surface::Weave];
    let amount = Amount { surfaces, good: 2, bad: 1, kinds: 3 };
    write_set(&folder.path("data"), 5, amount).expect("the folder can be written");
    folder.file("config.json", CONFIG);
    folder.file("job.toml", job);
    let words = r#"["scratch", "hole", "stain", "dent"]"#;
    let categories = ["brushed metal", "ceramic tile", "weave"];
    let lists = categories.map(|name| format!("\"{name}\": {words}")).join(", ");
    folder.file("words.json", format!("{{{lists}}}"));
    folder
}

fn train(folder: &Folder, out: &str) -> Command {
    let mut command = filo("train");
    command.arg("--data").arg(folder.path("data")).args(["--layout", "mvtec", "--init", "random"]);
    command.arg("--config").arg(folder.path("config.json"));
    command.arg("--job").arg(folder.path("job.toml"));
    command.arg("--descriptions").arg(folder.path("words.json"));
    command.args(["--unfreeze", "backbone"]).arg("--out").arg(folder.path(out));
    command
}

/// The log without the times.
fn log(folder: &Folder, out: &str) -> Vec<LogRow> {
    let rows = read_log(&folder.path(out).join("log.parquet")).unwrap();
    rows.into_iter().map(|row| LogRow { ms_per_step: None, ..row }).collect()
}

fn weights(folder: &Folder, out: &str) -> Vec<u8> {
    std::fs::read(folder.path(out).join("weights.safetensors")).unwrap()
}

/// What the summary says after the time, which differs, and before the folder.
fn figures(ended: &Ended) -> String {
    let line = ended.last_line();
    let (_, figures) = line.split_once(" s · ").unwrap_or_else(|| panic!("{line}"));
    figures.split(" · ").take(2).collect::<Vec<_>>().join(" · ")
}

/// Steps that the log tells of, or none if there is no log yet.
fn logged(log: &Path) -> usize {
    if log.exists() { read_log(log).unwrap().len() } else { 0 }
}

/// Starts a training and returns once its log has `rows` rows.
fn start_until(folder: &Folder, out: &str, rows: usize) -> Child {
    let mut command = train(folder, out);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while logged(&folder.path(out).join("log.parquet")) < rows {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "ended before it could be stopped: {ended:?}");
        assert!(started.elapsed() < LIMIT, "nothing is logged");
        std::thread::yield_now();
    }
    child
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Whether stage 2 ended with weights that were no better than some before.
fn an_earlier_one_was_as_good(rows: &[LogRow]) -> bool {
    let of_stage = rows.iter().filter(|row| row.stage == 2);
    let merits = of_stage.filter_map(|row| Some(row.image_auroc? + row.pixel_auroc?));
    let merits = merits.collect::<Vec<_>>();
    merits.split_last().is_some_and(|(last, before)| before.iter().any(|of| of >= last))
}

/// The network of `out/last` can be loaded.
fn assert_last_loads(folder: &Folder) {
    let mut inspect = filo("weights");
    inspect.arg("inspect").arg(folder.path("out/last/weights.safetensors"));
    run(inspect).last_line();
    assert!(folder.path("out/last/config.json").exists());
}

#[test]
fn the_end_of_a_training_is_kept_beside_the_weights_that_validated_best() {
    // Stage 2 has nothing to win: all its validations are alike, and the first is kept.
    let folder = prepared(&JOB.replace("validate_every = 12", "validate_every = 4"));
    run(train(&folder, "out"));
    let rows = log(&folder, "out");
    assert!(an_earlier_one_was_as_good(&rows), "{rows:?}");
    assert_last_loads(&folder);
    assert!(weights(&folder, "out") != weights(&folder, "out/last"));
}

#[test]
fn killed_and_resumed_it_ends_with_the_numbers_of_an_undisturbed_training() {
    let folder = prepared(JOB);
    let undisturbed = run(train(&folder, "undisturbed"));
    assert!(figures(&undisturbed).contains("image AUROC"), "{}", undisturbed.stdout);
    let mut child = start_until(&folder, "out", 5);
    signal(&child, "KILL");
    child.wait().unwrap();
    assert!(!log(&folder, "out").iter().any(|row| row.stage == 2), "killed too late to tell");
    let mut command = train(&folder, "out");
    command.arg("--resume");
    let resumed = run(command);
    assert_eq!(figures(&resumed), figures(&undisturbed));
    assert_eq!(log(&folder, "out"), log(&folder, "undisturbed"));
    assert!(weights(&folder, "out") == weights(&folder, "undisturbed"), "weights differ");
    // 12 + 4 rows of steps, 3 + 1 of validations; it has learnt something on the way.
    let rows = log(&folder, "out");
    assert_eq!(rows.len(), 20, "{rows:?}");
    assert_eq!(
        folder.path("out/last/weights.safetensors").exists(),
        an_earlier_one_was_as_good(&rows)
    );
    let losses = rows.iter().filter(|row| row.stage == 1).filter_map(|row| row.loss);
    let losses = losses.collect::<Vec<_>>();
    assert!(losses[11] < 0.95 * losses[0], "{losses:?}");
}

#[test]
fn ctrl_c_stops_with_130_and_the_printed_command_does_the_rest() {
    let folder = prepared(JOB);
    let child = start_until(&folder, "out", 4);
    // As `timeout` does: to the program, and to its group.
    signal(&child, &format!("INT {} && kill -INT", child.id()));
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    let (_, command) = last.split_once("Resume with: ").unwrap_or_else(|| panic!("{last}"));
    assert_last_loads(&folder);
    let mut shell = Command::new("sh");
    shell.env_clear().args(["-c", command]);
    let resumed = run(shell);
    assert!(resumed.last_line().starts_with("trained in "), "{}", resumed.stdout);
    assert_eq!(folder.path("out/last").exists(), an_earlier_one_was_as_good(&log(&folder, "out")));
    let undisturbed = run(train(&folder, "undisturbed"));
    assert_eq!(figures(&resumed), figures(&undisturbed));
    assert!(weights(&folder, "out") == weights(&folder, "undisturbed"), "weights differ");
}

#[test]
fn what_was_trained_scores_and_can_be_trained_on() {
    let folder = prepared("stage_1_steps = 2\nstage_2_steps = 1\nbatch_size = 2");
    run(train(&folder, "first")).last_line();
    let mut score = filo("score");
    score.arg("--input").arg(folder.path("data")).args(["--layout", "mvtec"]);
    score.arg("--weights").arg(folder.path("first")).arg("--output").arg(folder.path("scores"));
    assert!(run(score).has_scored(15, 0));
    let mut second = filo("train");
    second.arg("--data").arg(folder.path("data")).arg("--init").arg(folder.path("first"));
    second.arg("--job").arg(folder.path("job.toml")).arg("--out").arg(folder.path("second"));
    run(second).last_line();
    // The published recipe leaves both towers alone.
    let named = |out: &str| {
        let bytes = weights(&folder, out);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| (name.to_string(), view.data().to_vec()));
        tensors.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (first, second) = (named("first"), named("second"));
    // A meta net of two hidden channels may have both at rest, and then gets no gradient.
    for (name, before) in first.iter().filter(|(name, _)| !name.contains("meta_net")) {
        assert_eq!(before == &second[name], name.starts_with("clip_model."), "{name}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line_before_anything_is_written() {
    let folder = prepared("batchsize = 4");
    let refused = |command: Command| {
        let ended = run(command);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        ended.stderr.lines().last().unwrap_or_default().to_string()
    };
    let line = refused(train(&folder, "out"));
    assert!(
        line.contains("unknown key `batchsize`: the nearest known key is `batch_size`"),
        "{line}"
    );
    folder.file("job.toml", "clip_norm = -1");
    let line = refused(train(&folder, "out"));
    assert!(line.contains("`clip_norm = -1` is not allowed: must be 0 or more"), "{line}");
    folder.file("job.toml", "stage_1_steps = 1\nstage_2_steps = 0");
    let mut command = train(&folder, "out");
    command.arg("--resume");
    assert!(refused(command).contains("holds no training to resume"));
    let mut command = filo("train");
    command.arg("--data").arg(folder.path("data")).args(["--init", "random"]);
    command.arg("--out").arg(folder.path("out"));
    assert!(refused(command).contains("pass --config FILE.json"));
    assert!(!folder.path("out").exists());
    run(train(&folder, "out")).last_line();
    assert!(refused(train(&folder, "out")).contains("holds a training already: pass --resume"));
    folder.file("job.toml", "stage_1_steps = 2\nstage_2_steps = 0");
    let mut command = train(&folder, "out");
    command.arg("--resume");
    assert!(refused(command).contains("was trained with other settings (job)"));

    folder.file("job.toml", "stage_1_steps = 1\nstage_2_steps = 0");
    let good = folder.path("data/weave/test/good");
    std::fs::rename(good.join("000.png"), good.join("other.png")).unwrap();
    let mut command = train(&folder, "out");
    command.arg("--resume");
    assert!(refused(command).contains("was trained with other settings (data)"));

    folder.file("config.json", CONFIG.replace("\"image_size\": 32", "\"image_size\": 16"));
    let mut command = filo("train");
    command.args(["--data", "generated", "--init", "random", "--unfreeze", "backbone"]);
    command.arg("--config").arg(folder.path("config.json")).arg("--out").arg(folder.path("small"));
    assert!(
        refused(command).contains("16 pixels a side, and generated ones show nothing below 32")
    );
}

#[test]
fn a_loss_that_is_no_number_stops_and_names_the_step() {
    let folder = prepared("stage_1_steps = 50\nrate_backbone = 1e30\nbeta_1 = 0.0\nbatch_size = 2");
    let ended = run(train(&folder, "out"));
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("filo: step ") && last.contains("of stage 1: the loss is"), "{last}");
    assert!(folder.path("out/state/training.safetensors").exists());
}
