//! What a bundle promises: the numbers of the checkpoints it was made from, whatever their format;
//! written whole or not at all; and nothing wrong with it stays unnoticed.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_store::ModuleSnapshot;
use filo::device::{Backend, cpu};
use filo::model::filo::Filo;
use filo::tables::ScoreRow;
use filo::weights::WeightsPlace;
use filo::weights::bundle::Bundle;
use filo::weights::load::bundled_filo;
use half::f16;
use serde_json::Value;
use support::run::{Ended, Folder, filo, reader, run};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn small(name: &str) -> PathBuf {
    golden("weights_small").join(name)
}

fn convert(from: &[PathBuf], to: &Path, more: &[&str]) -> Ended {
    let mut command = filo("weights");
    command.arg("convert");
    from.iter().for_each(|from| {
        command.arg("--from").arg(from);
    });
    command.arg("--to").arg(to).args(more);
    run(command)
}

fn converted(folder: &Folder, name: &str, from: &[PathBuf], more: &[&str]) -> PathBuf {
    let to = folder.path(name);
    let ended = convert(from, &to, more);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    to
}

fn weights(subcommand: &str, path: &Path, more: &[&str]) -> Ended {
    let mut command = filo("weights");
    command.arg(subcommand).arg(path).args(more);
    run(command)
}

fn opened(path: &Path) -> Bundle {
    Bundle::open(&WeightsPlace::Path(path.into())).unwrap()
}

/// Every parameter of the small network by its path.
fn parameters(bundle: &Path) -> BTreeMap<String, Vec<f32>> {
    let bundle = opened(bundle);
    let filo: Filo<Backend> = bundled_filo(&bundle, &bundle.manifest().filo, &cpu()).unwrap();
    let snapshots = filo.collect(None, None, false).into_iter();
    let numbers = |tensor: burn_store::TensorSnapshot| {
        (tensor.full_path(), tensor.to_data().unwrap().into_vec::<f32>().unwrap())
    };
    snapshots.map(numbers).collect()
}

#[test]
fn the_same_tensors_from_any_format_are_the_same_bundle() {
    let folder = Folder::new();
    let from_pth = converted(&folder, "pth", &[small("small.pth")], &[]);
    let from_safetensors = converted(&folder, "safetensors", &[small("small.safetensors")], &[]);
    let apart = [small("heads.pth"), small("clip_transformers.safetensors")];
    let from_transformers = converted(&folder, "transformers", &apart, &[]);
    let expected = parameters(&from_pth);
    assert_eq!(expected.len(), 115);
    let model_id = |path: &Path| opened(path).model_id();
    for other in [&from_safetensors, &from_transformers] {
        assert!(parameters(other) == expected, "{other:?}");
        assert_eq!(model_id(other), model_id(&from_pth));
    }
    let sources = opened(&from_transformers).manifest().sources.clone();
    let kinds = sources.iter().map(|source| source.kind.as_str()).collect::<Vec<_>>();
    assert_eq!(kinds, ["FiLo", "CLIP (transformers' names)"]);
    let bytes = std::fs::read(small("heads.pth")).unwrap();
    assert_eq!(sources[0].blake3, blake3::hash(&bytes).to_hex().to_string());
}

#[test]
fn the_torchscript_archive_gives_its_numbers_in_their_own_precision() {
    let folder = Folder::new();
    let apart = [small("heads.pth"), small("clip_openai.pt")];
    let numbers = parameters(&converted(&folder, "openai", &apart, &[]));
    let expected = parameters(&converted(&folder, "pth", &[small("small.pth")], &[]));
    assert_eq!(numbers.len(), expected.len());
    let mut halved = 0;
    for (path, expected) in &expected {
        let numbers = &numbers[path];
        let in_f16 = expected.iter().map(|&x| f16::from_f32(x).to_f32()).collect::<Vec<_>>();
        // OpenAI keeps norms and embeddings in f32; heads are FiLo's own.
        let whole = ["ln_", "embedding", "decoder", "learner", "adapter"];
        if whole.iter().any(|part| path.contains(part)) {
            assert!(numbers == expected, "{path}");
        } else {
            halved += 1;
            assert!(*numbers == in_f16, "{path}");
        }
    }
    // Five blocks of eight tensors, the patch kernel and two projections.
    assert_eq!(halved, 5 * 8 + 3);
}

#[test]
fn half_precisions_round_matrices_once_and_leave_vectors_alone() {
    let folder = Folder::new();
    let from = [small("small.pth")];
    let full = parameters(&converted(&folder, "full", &from, &[]));
    let half = parameters(&converted(&folder, "half", &from, &["--precision", "f16"]));
    let brain = parameters(&converted(&folder, "brain", &from, &["--precision", "bf16"]));
    for (path, full) in &full {
        let vector = path.ends_with("bias") || path.contains("ln_") || path.contains("class_");
        let (mut as_f16, mut as_bf16) = (full.clone(), full.clone());
        if !vector {
            as_f16.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
            as_bf16.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
        }
        assert!(half[path] == as_f16, "{path}");
        assert!(brain[path] == as_bf16, "{path}");
    }
}

#[test]
fn a_bundle_becomes_one_of_another_precision_and_keeps_what_it_says_of_itself() {
    let folder = Folder::new();
    let from = [small("small.pth")];
    let licence = ["--licence", "CC0-1.0"];
    let full = converted(&folder, "full", &from, &licence);
    let half = converted(&folder, "half", &from, &["--precision", "f16"]);
    let rewritten =
        converted(&folder, "rewritten", std::slice::from_ref(&full), &["--precision", "f16"]);
    assert_eq!(opened(&rewritten).model_id(), opened(&half).model_id());
    let manifest = opened(&rewritten).manifest().clone();
    assert_eq!(manifest.licence, "CC0-1.0");
    assert_eq!(manifest.sources, opened(&full).manifest().sources);
    let widened = converted(&folder, "widened", std::slice::from_ref(&half), &[]);
    assert!(parameters(&widened) == parameters(&half));
    assert!(weights("verify", &widened, &[]).last_line().starts_with("sound: "));

    // The detector comes along, too.
    let two =
        [golden("clip_tiny/filo_tiny.safetensors"), golden("gdino_tiny/gdino_tiny.safetensors")];
    let both = converted(&folder, "both", &two, &[]);
    let again = converted(&folder, "again", std::slice::from_ref(&both), &[]);
    assert_eq!(opened(&again).model_id(), opened(&both).model_id());

    let to = folder.path("nothing");
    convert(&[full.clone(), half], &to, &[]).refused(&["/full: a bundle is converted alone"]);
    convert(std::slice::from_ref(&full), &full, &[]).refused(&["no new or empty folder"]);
    let text = std::fs::read_to_string(full.join("bundle.json")).unwrap();
    let other = text.replace("\"n_ctx\": ", "\"n_ctx\": 1");
    assert_ne!(other, text);
    std::fs::write(full.join("bundle.json"), other).unwrap();
    convert(&[full], &to, &[]).refused(&["its tensors are not those of its dimensions"]);
    assert!(!to.exists());
}

/// Scores and raw maps of the golden images, best score first.
fn scored(folder: &Folder, weights: &Path, out: &str) -> Vec<(ScoreRow, Vec<f32>)> {
    let mut command = filo("score");
    command.arg("--input").arg(golden("end_to_end")).arg("--output").arg(folder.path(out));
    command.arg("--weights").arg(weights).args(["--layout", "folder", "--category", "bottle"]);
    command.args(["--maps", "f32"]);
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let out = folder.path(out);
    let mut rows = reader(&out).rows::<ScoreRow>("bottle").unwrap();
    assert_eq!(rows.len(), 4);
    rows.sort_by(|a, b| b.score.total_cmp(&a.score));
    let map = |row: &ScoreRow| {
        let bytes = std::fs::read(out.join(row.map_path.as_ref().unwrap())).unwrap();
        // A version 1 header of NumPy's format says its own length.
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let floats = bytes[header..].chunks_exact(4);
        floats.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    rows.into_iter()
        .map(|row| {
            let map = map(&row);
            (row, map)
        })
        .collect()
}

#[test]
fn a_bundle_scores_as_its_checkpoint_does_and_half_precision_keeps_maps_and_ranking() {
    let folder = Folder::new();
    let checkpoint = golden("clip_tiny/filo_tiny.safetensors");
    let expected = scored(&folder, &checkpoint, "out");
    let bundle = |precision: &str| {
        let from = [checkpoint.clone()];
        converted(&folder, precision, &from, &["--precision", precision])
    };
    for (precision, tolerance) in [("f32", 0.0), ("f16", 2e-2), ("bf16", 2e-2)] {
        let path = bundle(precision);
        let found = scored(&folder, &path, &format!("out-{precision}"));
        for ((expected, map), (found, found_map)) in expected.iter().zip(&found) {
            assert_eq!(expected.image_id, found.image_id, "ranking with {precision}");
            assert!((expected.score - found.score).abs() <= tolerance);
            let worst = map.iter().zip(found_map).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{precision} {}: maps differ by {worst:.1e}", found.image_id);
            assert!(worst <= tolerance, "{precision} {}: {worst}", found.image_id);
            assert_eq!(found.model_id, opened(&path).model_id());
        }
    }
}

#[test]
fn a_bundle_brings_its_detector_along() {
    let folder = Folder::new();
    let from =
        [golden("clip_tiny/filo_tiny.safetensors"), golden("gdino_tiny/gdino_tiny.safetensors")];
    let bundle = converted(&folder, "bundle", &from, &[]);
    folder.picture("in/bottle/a.png", 64, 64);
    let score = |weights: &[&Path], out: &str, more: &[&str]| {
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path(out));
        command.arg("--weights").arg(weights[0]);
        if let Some(detector) = weights.get(1) {
            command.arg("--grounding-weights").arg(detector);
        }
        command.args(more);
        let ended = run(command);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        reader(&folder.path(out)).rows::<ScoreRow>("bottle").unwrap().remove(0)
    };
    let expected = score(&[&from[0], &from[1]], "apart", &[]);
    let found = score(&[&bundle], "together", &["--grounding", "on"]);
    assert!(expected.n_boxes > 0);
    assert_eq!((found.n_boxes, found.score), (expected.n_boxes, expected.score));
    assert_eq!((&found.position, found.map_mean), (&expected.position, expected.map_mean));
    let off = score(&[&bundle], "off", &["--grounding", "off"]);
    assert_eq!((off.n_boxes, &off.position), (0, &None));
    assert_eq!(off.model_id, found.model_id);
}

#[test]
fn inspect_tells_what_is_there_and_what_is_missing() {
    let folder = Folder::new();
    let text = weights("inspect", &small("heads.pth"), &[]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(text.stdout.contains("FiLo"), "{}", text.stdout);
    assert!(text.stdout.contains("image_encoder.blocks.0.attn.in_proj.bias"), "{}", text.stdout);
    let json = |path: &Path| -> Value {
        serde_json::from_str(&weights("inspect", path, &["--json"]).stdout).unwrap()
    };
    let torchscript = json(&small("clip_openai.pt"));
    assert_eq!(torchscript["format"], "torchscript");
    assert_eq!(torchscript["parts"][0]["role"], "CLIP (OpenAI's names)");
    assert_eq!(torchscript["parts"][0]["aliases"], 4);
    let whole = json(&small("small.pth"));
    assert_eq!(whole["parts"][0]["missing"], serde_json::json!([]));
    assert_eq!(whole["parts"][0]["aliases"], 33);
    let bundle = converted(&folder, "bundle", &[small("small.pth")], &["--licence", "CC0-1.0"]);
    let inspected = json(&bundle);
    assert_eq!(inspected["format"], "bundle");
    assert_eq!(inspected["bundle"]["licence"], "CC0-1.0");
    assert_eq!(inspected["parts"][0]["tensors"], 115);
    let model = opened(&bundle).model_id();
    assert_eq!(inspected["model_id"], model);
}

#[test]
fn verify_finds_a_changed_byte_a_missing_file_and_numbers_that_are_not_finite() {
    let folder = Folder::new();
    let bundle = converted(&folder, "bundle", &[small("small.pth")], &[]);
    let sound = weights("verify", &bundle, &[]);
    assert!(sound.last_line().starts_with("sound: 1 file, 115 tensors"), "{}", sound.stdout);
    let file = bundle.join("filo-00001-of-00001.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let mut changed = bytes.clone();
    let last = changed.len() - 4;
    changed[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, &changed).unwrap();
    let broken = weights("verify", &bundle, &[]);
    assert_eq!(broken.code, 2);
    assert!(broken.stderr.contains("its hash differs"), "{}", broken.stderr);
    assert!(broken.stderr.contains("1 of "), "{}", broken.stderr);
    let mut command = filo("score");
    folder.picture("in/bottle/a.png", 8, 8);
    command.arg("--input").arg(folder.path("in")).arg("--output").arg(folder.path("out"));
    command.arg("--weights").arg(&bundle);
    run(command).refused(&["filo-00001-of-00001.safetensors", "hash"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(weights("verify", &bundle, &[]).code, 2);
}

#[test]
fn a_conversion_that_cannot_be_done_says_why_and_leaves_nothing() {
    let folder = Folder::new();
    let to = folder.path("bundle");
    let refused = |from: &[PathBuf], more: &[&str], parts: &[&str]| {
        convert(from, &to, more).refused(parts);
        let left = std::fs::read_dir(folder.path("")).unwrap().count();
        assert_eq!(left, 0, "something is left");
    };
    refused(&[small("clip_openai.pt")], &[], &["FiLo's own heads", "--from"]);
    let twice = [small("small.pth"), small("small.safetensors")];
    refused(&twice, &[], &["small.safetensors", "small.pth", "one file of each kind"]);
    refused(&[small("strided.pth")], &[], &["no weights that are known", "strided"]);
    refused(&[small("nothing.pth")], &[], &["no such weights file"]);
    refused(&[small("heads.pth")], &[], &["missing", "missing [image_encoder.blocks.0."]);
    folder.file("bundle/notes.txt", "mine");
    convert(&[small("small.pth")], &to, &[]).refused(&["no new or empty folder"]);
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
}

#[test]
fn a_number_that_the_precision_cannot_hold_is_refused_by_name() {
    let folder = Folder::new();
    let bytes = std::fs::read(small("small.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let at = file.tensor("adapter.fc.0.weight").unwrap().data().as_ptr() as usize;
    let at = at - bytes.as_ptr() as usize;
    let mut large = bytes.clone();
    large[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    folder.file("weights/large.safetensors", &large);
    std::fs::copy(small("config.json"), folder.path("weights/config.json")).unwrap();
    let from = [folder.path("weights/large.safetensors")];
    let ended = convert(&from, &folder.path("half"), &["--precision", "f16"]);
    ended.refused(&["adapter.down.weight", "1000000", "f32"]);
    assert_eq!(convert(&from, &folder.path("full"), &[]).code, 0);
}

#[test]
fn a_stranger_bundle_cannot_reach_outside_of_its_folder() {
    let folder = Folder::new();
    let bundle = converted(&folder, "bundle", &[small("small.pth")], &[]);
    let manifest = bundle.join("bundle.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let name = "filo-00001-of-00001.safetensors";
    for outside in ["../secret", "/etc/passwd", "a/b", ".."] {
        std::fs::write(&manifest, text.replace(name, outside)).unwrap();
        weights("verify", &bundle, &[]).refused(&["is no file name"]);
    }
    std::fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    weights("verify", &bundle, &[]).refused(&["format 2"]);
    std::fs::write(&manifest, "{").unwrap();
    weights("verify", &bundle, &[]).refused(&["bundle.json"]);
}
