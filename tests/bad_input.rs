//! Whatever is wrong with one image costs one row; whatever is wrong with the job costs one line
//! and exit code 2 before anything is scored. Never a panic, never an image without a row.

#![cfg(unix)]

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use support::run::{Folder, Rows, WEIGHTS, filo, rows, run};

/// One good image, so that a run has something left to score.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.picture("in/nut/good.png", 40, 30);
    folder
}

/// Runs to the end, in spite of images that fail.
fn scored(folder: &Folder, listed: usize) -> Rows {
    let ended = run(folder.score());
    assert!(ended.last_line().starts_with("scored "), "{}", ended.stdout);
    rows(&folder.path("out"), listed)
}

/// Beside the good image the file `name` with `bytes` fails with `code`.
#[track_caller]
fn fails(name: &str, bytes: impl AsRef<[u8]>, stage: &str, code: &str) {
    let folder = folder();
    folder.file(name, bytes);
    let rows = scored(&folder, 2);
    let failure = rows.only_failure();
    assert_eq!(format!("in/{}", failure.image_id), name);
    assert_eq!((failure.stage.as_str(), failure.code.as_str()), (stage, code), "{failure:?}");
    assert!(!failure.message.is_empty() && !failure.message.contains('\n'), "{failure:?}");
    assert_eq!(rows.scores[0].image_id, "nut/good.png");
}

fn bytes_of(name: &str, width: u32, height: u32) -> Vec<u8> {
    let folder = Folder::new();
    folder.picture(name, width, height);
    std::fs::read(folder.path(name)).unwrap()
}

#[test]
fn a_truncated_jpeg_is_corrupt() {
    let bytes = bytes_of("a.jpg", 200, 150);
    fails("in/nut/cut.jpg", &bytes[..bytes.len() / 2], "decode", "corrupt_image");
}

#[test]
fn a_truncated_png_is_corrupt() {
    let bytes = bytes_of("a.png", 200, 150);
    fails("in/nut/cut.png", &bytes[..bytes.len() / 2], "decode", "corrupt_image");
}

#[test]
fn a_file_without_bytes_is_empty() {
    fails("in/nut/empty.png", "", "decode", "empty_file");
}

#[test]
fn a_text_that_is_called_a_picture_is_of_unknown_format() {
    fails("in/nut/notes.png", "these are notes\n", "decode", "unknown_format");
}

#[test]
fn a_decompression_bomb_is_too_large() {
    fails("in/nut/bomb.png", png_bomb(30_000), "decode", "too_large");
}

/// A PNG whose header promises `side` × `side` pixels.
fn png_bomb(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, b"\x78\x9c\x03\x00\x00\x00\x00\x01").unwrap();
    drop(writer);
    bytes
}

#[test]
fn a_link_that_leads_nowhere_is_unreadable() {
    let folder = folder();
    std::os::unix::fs::symlink("/no/such/file", folder.path("in/nut/gone.png")).unwrap();
    assert_eq!(scored(&folder, 2).only_failure().code, "unreadable");
}

#[test]
fn a_name_that_is_not_utf8_is_named_with_its_bytes_escaped() {
    let folder = folder();
    let name = OsStr::from_bytes(b"\xFFnut.png");
    std::fs::copy(folder.path("in/nut/good.png"), folder.path("in/nut").join(name)).unwrap();
    let rows = scored(&folder, 2);
    let failure = rows.only_failure();
    assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("non_utf8_name", "list"));
    assert_eq!(failure.image_id, "nut/\\xFFnut.png");
}

#[test]
fn a_picture_of_one_pixel_is_scored() {
    let folder = folder();
    folder.picture("in/nut/dot.png", 1, 1);
    folder.picture("in/nut/line.jpg", 700, 1);
    let rows = scored(&folder, 3);
    assert!(rows.failures.is_empty(), "{:#?}", rows.failures);
    let sizes = rows.scores.iter().map(|row| (row.width, row.height)).collect::<Vec<_>>();
    assert_eq!(sizes, [(1, 1), (40, 30), (700, 1)]);
}

/// A labelled category with one good and one defect image and what `masks` writes.
fn labelled(masks: impl FnOnce(&Folder)) -> Rows {
    let folder = Folder::new();
    folder.picture("in/nut/test/good/000.png", 40, 30);
    folder.picture("in/nut/test/crack/001.png", 40, 30);
    std::fs::create_dir_all(folder.path("in/nut/ground_truth/crack")).unwrap();
    masks(&folder);
    let listed = std::fs::read_dir(folder.path("in/nut/test/crack")).unwrap().count() + 1;
    scored(&folder, listed)
}

#[test]
fn a_mask_of_another_size_than_its_picture_is_a_mismatch() {
    let rows = labelled(|folder| folder.mask("in/nut/ground_truth/crack/001_mask.png", 30, 40));
    let failure = rows.only_failure();
    assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("mask_size_mismatch", "mask"));
    assert!(failure.message.contains("30×40") && failure.message.contains("40×30"));
}

#[test]
fn a_picture_without_the_mask_that_the_layout_promises_is_named() {
    let rows = labelled(|folder| folder.mask("in/nut/ground_truth/crack/other.png", 40, 30));
    let failure = rows.only_failure();
    assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("mask_missing", "list"));
    assert_eq!(failure.image_id, "nut/test/crack/001.png");
}

#[test]
fn a_mask_that_is_no_picture_is_corrupt() {
    let rows = labelled(|folder| folder.file("in/nut/ground_truth/crack/001_mask.png", "no"));
    let failure = rows.only_failure();
    assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("mask_corrupt", "mask"));
}

#[test]
fn a_pipe_in_place_of_a_mask_or_picture_is_not_waited_for() {
    let rows = labelled(|folder| {
        for name in ["in/nut/ground_truth/crack/001_mask.png", "in/nut/test/crack/002.png"] {
            let made = Command::new("mkfifo").arg(folder.path(name)).status().unwrap();
            assert!(made.success());
        }
        folder.mask("in/nut/ground_truth/crack/002_mask.png", 40, 30);
    });
    let failures = rows.failures.iter().map(|row| (row.stage.as_str(), row.code.as_str()));
    assert_eq!(failures.collect::<Vec<_>>(), [("mask", "unreadable"), ("list", "unreadable")]);
}

#[test]
fn two_pictures_that_claim_one_mask_are_both_refused() {
    let rows = labelled(|folder| {
        folder.picture("in/nut/test/crack/001.jpg", 40, 30);
        folder.mask("in/nut/ground_truth/crack/001_mask.png", 40, 30);
    });
    let codes = rows.failures.iter().map(|row| (row.image_id.as_str(), row.code.as_str()));
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [
            ("nut/test/crack/001.jpg", "duplicate_name"),
            ("nut/test/crack/001.png", "duplicate_name")
        ]
    );
}

#[test]
fn a_folder_in_which_every_picture_fails_still_ends_with_open_tables() {
    let folder = Folder::new();
    folder.file("in/nut/a.png", "");
    folder.file("in/nut/b.png", "text");
    assert_eq!(scored(&folder, 2).failures.len(), 2);
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("out"));
    assert!(run(metrics).last_line().starts_with("no image was scored"));
}

#[test]
fn a_folder_that_cannot_be_listed_is_said_and_the_rest_is_scored() {
    let folder = folder();
    // Permissions would not stop root; a loop of links stops everybody.
    std::os::unix::fs::symlink(folder.path("in"), folder.path("in/nut/again")).unwrap();
    let ended = run(folder.score());
    assert!(ended.has_scored(1, 0), "{}", ended.stdout);
    let said = "left out, images in there are not scored: 1 (link loop): ";
    assert!(
        ended.stderr.contains(said) && ended.stderr.contains("/in/nut/again ("),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_missing_input_is_named() {
    let ended = run(Folder::new().score());
    ended.refused(&["/in: no such file or folder: check --input"]);
}

/// The good image scored with more `flags`.
fn with(folder: &Folder, flags: &[&str]) -> Command {
    let mut command = folder.score();
    command.args(flags);
    command
}

#[test]
fn an_output_that_holds_another_run_is_left_alone() {
    let folder = folder();
    scored(&folder, 1);
    let ended = run(with(&folder, &["--maps", "f32", "--mask-threshold", "0.25"]));
    ended.refused(&[
        "holds another run",
        "maps: \"flagged\" → \"f32\"",
        "mask_threshold: \"auto\" → ",
    ]);
    folder.picture("in/nut/more.png", 20, 20);
    run(folder.score()).refused(&["1 new, 0 changed, 0 gone since", "another --output"]);
    std::fs::remove_file(folder.path("in/nut/more.png")).unwrap();
    scored(&folder, 1);
}

#[test]
fn an_output_with_foreign_files_is_left_alone() {
    let folder = folder();
    folder.file("out/thesis.tex", "precious");
    run(folder.score()).refused(&["/out: holds files that no run", "(thesis.tex)"]);
    assert_eq!(std::fs::read_dir(folder.path("out")).unwrap().count(), 1);
}

#[test]
fn metrics_of_a_folder_without_a_run_are_refused() {
    let folder = folder();
    let mut metrics = filo("metrics");
    metrics.arg("--run").arg(folder.path("in"));
    run(metrics).refused(&["/in: holds no run"]);
}

/// `filo score` of the good image with the weights at `path` in the folder.
fn score_with_weights(folder: &Folder, path: &str) -> Command {
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path("out"));
    command.arg("--weights").arg(folder.path(path));
    command
}

fn refuses_weights(bytes: impl AsRef<[u8]>, parts: &[&str]) {
    let folder = folder();
    folder.file("w/filo.safetensors", bytes);
    run(score_with_weights(&folder, "w/filo.safetensors")).refused(parts);
    assert!(!folder.path("out/_filo").exists(), "the output is still free");
}

#[test]
fn missing_weights_are_named() {
    let folder = folder();
    run(score_with_weights(&folder, "w")).refused(&["/w: no such weights file: check the path"]);
    std::fs::create_dir(folder.path("w")).unwrap();
    run(score_with_weights(&folder, "w")).refused(&["/w: holds 0 weights files"]);
}

#[test]
fn a_text_is_no_weights_file() {
    refuses_weights("weights: see the wiki\n", &["neither safetensors nor a PyTorch archive"]);
    refuses_weights("", &["neither safetensors nor a PyTorch archive"]);
}

#[test]
fn truncated_weights_are_broken() {
    let bytes = std::fs::read(WEIGHTS).unwrap();
    refuses_weights(&bytes[..bytes.len() / 2], &["filo.safetensors: broken archive", "again"]);
    refuses_weights(&bytes[..1000], &["filo.safetensors: broken archive", "again"]);
}

#[test]
fn weights_of_another_size_without_a_config_are_refused() {
    let bytes = std::fs::read(WEIGHTS).unwrap();
    refuses_weights(bytes, &["no config.json beside it"]);
}

/// The tiny weights with a `config.json` that `change` made.
fn with_config(change: impl FnOnce(&mut serde_json::Value)) -> Folder {
    let folder = folder();
    folder.file("w/filo.safetensors", std::fs::read(WEIGHTS).unwrap());
    let config = std::fs::read_to_string(WEIGHTS.replace("filo_tiny.safetensors", "config.json"));
    let mut config = serde_json::from_str(&config.unwrap()).unwrap();
    change(&mut config);
    folder.file("w/config.json", config.to_string());
    folder
}

#[test]
fn a_config_that_does_not_fit_is_answered_with_the_tensors() {
    let folder = with_config(|config| config["adapter_hidden"] = 17.into());
    run(score_with_weights(&folder, "w")).refused(&["adapter.fc.0.weight", "17", "16"]);
    let folder = with_config(|config| config["text"]["layers"] = 5.into());
    run(score_with_weights(&folder, "w")).refused(&["missing [", "text_encoder.blocks.4."]);
}

#[test]
fn a_config_of_no_network_is_answered_with_its_rule() {
    let folder = with_config(|config| config["vision"]["head_width"] = 7.into());
    run(score_with_weights(&folder, "w")).refused(&["config.json", "head_width"]);
    let folder = with_config(|config| config["embed_dim"] = "wide".into());
    run(score_with_weights(&folder, "w")).refused(&["config.json", "wide"]);
}

#[test]
fn a_config_of_absurd_sizes_is_refused_before_memory_is_asked_for() {
    let absurd = [
        ("vision", "image_size", 14_i64 << 40),
        ("vision", "image_size", 14_000_000),
        ("vision", "image_size", 14_000),
        ("text", "layers", 1 << 20),
    ];
    for (tower, key, value) in absurd {
        let folder = with_config(|config| config[tower][key] = value.into());
        run(score_with_weights(&folder, "w")).refused(&["config.json", key]);
    }
    let folder = with_config(|config| config["embed_dim"] = 0.into());
    run(score_with_weights(&folder, "w")).refused(&["config.json", "embed_dim"]);
}

#[test]
fn weights_with_a_nan_cost_a_row_each_and_no_score() {
    let folder = with_config(|_| {});
    let path = folder.path("w/filo.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = offset_of(&bytes, "clip_model.visual.class_embedding");
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(run(score_with_weights(&folder, "w")).code, 0);
    let rows = rows(&folder.path("out"), 1);
    assert_eq!(rows.only_failure().code, "non_finite");
    assert_eq!(rows.only_failure().stage, "infer");
}

/// Where the numbers of a tensor begin in a safetensors file.
fn offset_of(bytes: &[u8], name: &str) -> usize {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let index: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    8 + header + index[name]["data_offsets"][0].as_u64().unwrap() as usize
}

#[test]
fn a_wrong_value_of_a_flag_is_answered_with_what_is_allowed() {
    let folder = folder();
    for (flag, value, allowed) in [
        ("--maps", "f64", "f16"),
        ("--layout", "imagenet", "mvtec"),
        ("--batch-size", "0", "auto"),
        ("--mask-threshold", "1.5", "0 to 1"),
        ("--partition", "2/2", "I/N"),
        ("--shard-size", "0", "1 to 1000000"),
    ] {
        let ended = run(with(&folder, &[flag, value]));
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        let named = ended.stderr.contains(flag) && ended.stderr.contains(value);
        assert!(named && ended.stderr.contains(allowed), "{flag} {value}: {}", ended.stderr);
    }
}

#[test]
fn an_unknown_key_of_a_job_file_is_answered_with_the_nearest() {
    let folder = folder();
    folder.file("job.toml", "output = 'out'\nshard-size = 4\n");
    let mut command = folder.score();
    command.arg("--job").arg(folder.path("job.toml"));
    run(command).refused(&["job.toml:2: unknown key `shard-size`", "`shard_size`"]);
}

#[test]
fn grounding_without_a_detector_is_refused() {
    let folder = folder();
    let ended = run(with(&folder, &["--grounding", "on"]));
    ended.refused(&["--grounding on", "no detector"]);
    assert!(!folder.path("out").exists());
}
