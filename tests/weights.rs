//! What a weights file promises: the same numbers from either format, every tensor accounted for
//! by name, and nothing in a file from a stranger that runs, panics or is believed unchecked.
//! The files come from `scripts/make_small_pth.py`.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn_store::ModuleSnapshot;
use filo::device::{Backend, cpu};
use filo::error::WeightsError;
use filo::model::config::FiloConfig;
use filo::model::filo::Filo;
use filo::weights::Checkpoint;
use filo::weights::config::config_of;
use filo::weights::keymap::{Key, Kind, Part};
use filo::weights::load::load_filo;
use filo::weights::mapping::LoadReport;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use support::golden::{Golden, golden_dir};
use tempfile::TempDir;

const POSITIONS: &str = "clip_model.visual.positional_embedding";

fn small(name: &str) -> PathBuf {
    golden_dir().join("weights_small").join(name)
}

fn config() -> FiloConfig {
    config_of(&Checkpoint::open(&small("small.pth")).unwrap()).unwrap()
}

fn load(path: &Path) -> Result<(Filo<Backend>, LoadReport), WeightsError> {
    load_filo(&Checkpoint::open(path)?, &config(), &cpu())
}

/// Every parameter by its path: shape and the bits of its numbers.
fn parameters(filo: &Filo<Backend>) -> BTreeMap<String, (Vec<usize>, Vec<u32>)> {
    let snapshots = filo.collect(None, None, false).into_iter();
    snapshots
        .map(|snapshot| {
            let numbers = snapshot.to_data().unwrap().into_vec::<f32>().unwrap();
            let bits = numbers.into_iter().map(f32::to_bits).collect();
            (snapshot.full_path(), (snapshot.shape.to_vec(), bits))
        })
        .collect()
}

#[test]
fn both_formats_give_the_same_bits() {
    let (pth, of_pth) = load(&small("small.pth")).unwrap();
    let (safetensors, of_safetensors) = load(&small("small.safetensors")).unwrap();
    let (pth, safetensors) = (parameters(&pth), parameters(&safetensors));
    assert_eq!(pth.len(), 115);
    assert!(pth == safetensors);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let all = pth.into_keys().collect::<Vec<_>>();
    assert_eq!(sorted(of_pth.used), all);
    assert_eq!(sorted(of_safetensors.used), all);
    assert_eq!((of_pth.unexpected, of_pth.resized), (vec![], vec![]));
}

#[test]
fn numbers_arrive_where_their_names_say_transposed_where_burn_wants_it() {
    let (filo, _) = load(&small("small.pth")).unwrap();
    let loaded = parameters(&filo);
    let stored = Golden::open(&small("small.safetensors"));
    let same = |path: &str, name: &str| {
        let bits = stored.f32(name).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(loaded[path].1, bits, "{path}");
    };
    // A norm is a view at an offset, the token table is in half precision.
    same("image_encoder.ln_pre.beta", "clip_model.visual.ln_pre.bias");
    same("text_encoder.token_embedding.weight", "clip_model.token_embedding.weight");
    same(
        "image_encoder.blocks.2.attn.in_proj.bias",
        "clip_model.visual.transformer.resblocks.2.attn.qkv.bias",
    );
    let (shape, bits) = &loaded["adapter.down.weight"];
    let weight = stored.f32("adapter.fc.0.weight");
    assert_eq!(shape, &[4, 3]);
    for (input, output) in (0..4).flat_map(|input| (0..3).map(move |output| (input, output))) {
        assert_eq!(bits[input * 3 + output], weight[output * 4 + input].to_bits());
    }
}

#[test]
fn what_stands_twice_in_a_published_file_is_reported_as_an_alias() {
    let (_, report) = load(&small("small.pth")).unwrap();
    let under =
        |prefix: &str| report.aliases.iter().filter(|name| name.starts_with(prefix)).count();
    // Two text blocks of 12 tensors, positions, projection, a norm; one attention; the scale.
    assert_eq!(under("text_encoder."), 28);
    assert_eq!(under("clip_model.visual.attn."), 4);
    assert_eq!(report.aliases.len(), 28 + 4 + 1);
    let (_, report) = load(&small("small.safetensors")).unwrap();
    assert_eq!(report.aliases, ["clip_model.logit_scale"]);
}

/// A copy of the small safetensors file that `change` altered.
fn altered(change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> (TempDir, PathBuf) {
    let bytes = std::fs::read(small("small.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| (name.to_string(), Tensor::of(&view)));
    let mut tensors = tensors.collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, tensor)| (name, tensor.view()));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("altered.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    (folder, path)
}

struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn of(view: &TensorView<'_>) -> Self {
        Tensor { dtype: view.dtype(), shape: view.shape().into(), bytes: view.data().into() }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes).unwrap()
    }
}

#[test]
fn missing_and_misshapen_tensors_are_all_named_at_once() {
    let (_folder, path) = altered(|tensors| {
        tensors.remove("decoder_linear.fc.1.bias").unwrap();
        tensors.remove("clip_model.visual.transformer.resblocks.0.attn.in_proj_weight").unwrap();
        let ctx = tensors.get_mut("normal_prompt_learner.ctx").unwrap();
        ctx.shape.reverse();
    });
    let Err(error) = load(&path) else { panic!("it loads") };
    let WeightsError::Mismatch { missing, wrong, .. } = &error else { panic!("{error}") };
    let mut missing = missing.clone();
    missing.sort();
    assert_eq!(missing, ["decoder_linear.fc.1.bias", "image_encoder.blocks.0.attn.in_proj.weight"]);
    let [wrong] = wrong.as_slice() else { panic!("{wrong:?}") };
    assert!(wrong.contains("normal_prompt_learner.ctx"), "{wrong}");
    assert!(wrong.contains("[3, 8]") && wrong.contains("[8, 3]"), "{wrong}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn tensors_without_a_place_are_reported_and_do_no_harm() {
    let (_folder, path) = altered(|tensors| {
        let bytes = vec![0; 8];
        for name in ["head.weight", "clip_model.visual.extra"] {
            let tensor = Tensor { dtype: Dtype::F32, shape: vec![2], bytes: bytes.clone() };
            tensors.insert(name.to_string(), tensor);
        }
    });
    let (filo, mut report) = load(&path).unwrap();
    report.unexpected.sort();
    assert_eq!(report.unexpected, ["clip_model.visual.extra", "head.weight"]);
    let (plain, _) = load(&small("small.safetensors")).unwrap();
    assert!(parameters(&filo) == parameters(&plain));
}

#[test]
fn positions_of_another_grid_are_resized_as_pytorch_does_it() {
    let mut larger = config();
    larger.vision.image_size = 5 * larger.vision.patch_size;
    for file in ["small.pth", "small.safetensors"] {
        let checkpoint = Checkpoint::open(&small(file)).unwrap();
        let (filo, report) = load_filo(&checkpoint, &larger, &cpu()).unwrap();
        assert_eq!(report.resized, ["image_encoder.positional_embedding"]);
        let (shape, bits) = &parameters(&filo)["image_encoder.positional_embedding"];
        assert_eq!(shape, &[26, 8]);
        let expected = Golden::open(&small("expected.safetensors"));
        let expected = expected.f32("positions_5x5");
        for (bits, expected) in bits.iter().zip(expected) {
            assert!((f32::from_bits(*bits) - expected).abs() < 1e-6);
        }
    }
}

#[test]
fn positions_that_are_no_square_grid_are_not_guessed_at() {
    let (_folder, path) = altered(|tensors| {
        let positions = tensors.get_mut(POSITIONS).unwrap();
        positions.shape = vec![9, 8];
        positions.bytes.truncate(9 * 8 * 4);
    });
    let Err(WeightsError::Mismatch { wrong, .. }) = load(&path) else { panic!("it loads") };
    assert!(wrong[0].contains("visual.positional_embedding"), "{wrong:?}");
}

#[test]
fn a_fingerprint_follows_the_bytes_and_nothing_else() {
    let fingerprint = |path: &Path| Checkpoint::open(path).unwrap().fingerprint().unwrap();
    let of_pth = fingerprint(&small("small.pth"));
    assert_eq!(of_pth.len(), 64);
    assert_ne!(of_pth, fingerprint(&small("small.safetensors")));
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("renamed.pt");
    std::fs::copy(small("small.pth"), &copy).unwrap();
    assert_eq!(fingerprint(&copy), of_pth);
    let bytes = std::fs::read(&copy).unwrap();
    assert_eq!(of_pth, blake3::hash(&bytes).to_hex().to_string());
}

#[test]
fn what_a_file_is_shows_in_its_bytes_not_in_its_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("small.safetensors");
    std::fs::copy(small("small.pth"), &path).unwrap();
    let (filo, _) = load(folder.path()).unwrap();
    let (plain, _) = load(&small("small.pth")).unwrap();
    assert!(parameters(&filo) == parameters(&plain));
}

#[test]
fn a_pickle_that_calls_anything_but_tensors_is_refused_and_not_executed() {
    let Err(error) = Checkpoint::open(&small("os_system.pth")) else { panic!("it is accepted") };
    assert!(matches!(error, WeightsError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("posix.system"), "{error}");
    assert!(!Path::new("executed_by_a_pickle").exists());
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut");
    for name in ["small.pth", "small.safetensors"] {
        let bytes = std::fs::read(small(name)).unwrap();
        for part in 0..50 {
            std::fs::write(&path, &bytes[..bytes.len() * part / 50]).unwrap();
            assert!(load(&path).is_err(), "{name} cut to {part}/50 is accepted");
        }
    }
}

#[test]
fn a_damaged_file_never_panics() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged");
    for name in ["small.pth", "small.safetensors"] {
        let whole = std::fs::read(small(name)).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..150 {
            let mut bytes = whole.clone();
            // Most of both indices lies in the first 16 KiB.
            let at = rng.usize(..16 << 10);
            bytes[at] ^= rng.u8(1..);
            std::fs::write(&path, bytes).unwrap();
            // Loading or not is for the file's own checksums to say.
            let _ = load(&path).map(|(filo, _)| parameters(&filo).len());
        }
    }
}

#[test]
fn the_outer_names_of_the_detectors_public_file_are_taken_off() {
    let checkpoint = Checkpoint::open(&small("detector.pth")).unwrap();
    let names = checkpoint.tensors().keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names, ["module.feat_map.weight"]);
    let (path, part) = ("feat_map.weight".to_string(), Part::Whole);
    assert_eq!(Kind::GroundingDino.key(names[0]), Key::Parameter { path, part });
}

#[test]
fn a_view_with_steps_of_its_own_gives_its_numbers_not_those_of_its_storage() {
    let checkpoint = Checkpoint::open(&small("strided.pth")).unwrap();
    // arange(20) as 4 × 5, transposed, rows 1 to 3.
    let expected = [1., 6., 11., 16., 2., 7., 12., 17., 3., 8., 13., 18.];
    for name in ["strided", "half"] {
        assert_eq!(checkpoint.shape(name), Some(vec![3, 4]));
        let numbers = checkpoint.tensors()[name].to_data().unwrap().convert::<f32>();
        assert_eq!(numbers.to_vec::<f32>().unwrap(), expected, "{name}");
    }
}

#[test]
fn a_flipped_bit_in_the_numbers_is_found_by_the_checksum() {
    let bytes = std::fs::read(small("strided.pth")).unwrap();
    // 7.0, which stands in the f32 storage only.
    let at = bytes.windows(4).position(|window| window == 7.0f32.to_le_bytes()).unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged.pth");
    std::fs::write(&path, damaged).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = checkpoint.tensors()["strided"].to_data().unwrap_err().to_string();
    assert!(error.to_lowercase().contains("checksum"), "{error}");
}

#[test]
fn the_format_from_before_version_1_6_is_refused_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("old.pth");
    std::fs::write(&path, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    assert!(matches!(Checkpoint::open(&path), Err(WeightsError::OldFormat { .. })));
}
