//! Losses, gradients and the parameters after optimiser steps are those of the published training.
//! Set `FILO_GOLDENS` to a folder with other golden data to check that one, and `FILO_TEST_DEVICE` to
//! a device (`wgpu`, `cuda`) to train there.

mod support;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Tensor, TensorData};
use filo::device::{Backend, Device, TrainBackend as B, cpu};
use filo::model::clip::tokenizer::ClipTokenizer;
use filo::model::config::FiloConfig;
use filo::model::filo::Filo;
use filo::model::filo::descriptions::Descriptions;
use filo::model::filo::position::Position;
use filo::train::losses::{dice_over_rows, focal};
use filo::train::map_loss::MapWeights;
use filo::train::network::{named_values, trainable};
use filo::train::objective::{Contexts, Extras, StepBatch, stage_1, stage_2};
use filo::train::optimizer::{AdamW, Gradients};
use filo::train::parts::Rates;
use filo::train::prompts::{PicturePrompts, PromptEncoder, Vocabulary};
use filo::weights::config::read_config;
use filo::weights::load::{bundled_filo, load_filo};
use filo::weights::{Checkpoint, Weights, WeightsPlace};
use serde_json::Value;
use support::golden::{Golden, Place, golden_dir};

/// The end of one test's backward pass may drop what a tape that another test is building needs.
fn no_other_tapes() -> MutexGuard<'static, ()> {
    static TAPES: Mutex<()> = Mutex::new(());
    TAPES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn losses_json() -> Value {
    let text = std::fs::read_to_string(golden_dir().join("losses/losses.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn close(what: &str, actual: f64, expected: f64, relative: f64) {
    let error = (actual - expected).abs() / expected.abs().max(1e-12);
    assert!(error < relative, "{what}: {actual} is not {expected} ({error:.1e})");
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Largest difference over the expected norm.
fn near(what: &str, actual: &[f32], expected: &[f64], relative: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let norm = expected.iter().map(|e| e * e).sum::<f64>().sqrt().max(1e-12);
    let pairs = actual.iter().zip(expected);
    let error = pairs.map(|(a, e)| (f64::from(*a) - e).powi(2)).sum::<f64>().sqrt() / norm;
    assert!(error < relative, "{what}: off by {error:.1e} of its norm");
}

#[test]
fn focal_and_dice_loss_and_their_gradients_agree() {
    let _alone = no_other_tapes();
    let golden = Golden::open(&golden_dir().join("losses/unit.safetensors"));
    let json = losses_json();
    for case in json["unit"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mask = golden.f32(&format!("{name}.gt"));
        let probabilities = golden.f32(&format!("{name}.probabilities"));
        let width = golden.shape(&format!("{name}.gt"))[1];
        let (normal, abnormal) = probabilities.split_at(mask.len());
        let zeros = || vec![0.0; mask.len()];
        let (mut of_normal, mut of_abnormal) = (zeros(), zeros());
        let value = focal([normal, abnormal], &mask, 1.0, [&mut of_normal, &mut of_abnormal]);
        let expected = |key: &str| case[key].as_f64().unwrap();
        assert!((value - expected("focal")).abs() < 1e-6 + 1e-5 * value, "{name}: {value}");
        let both = [of_normal, of_abnormal].concat();
        near(name, &both, golden.get(&format!("{name}.focal_grad")), 1e-4);
        let (mut of_normal, mut of_abnormal) = (zeros(), zeros());
        let dice = dice_over_rows(abnormal, |g| g, &mask, width, &mut of_abnormal);
        assert!((dice - expected("dice_abnormal")).abs() < 1e-6, "{name}: {dice}");
        near(name, &of_abnormal, golden.get(&format!("{name}.dice_abnormal_grad")), 1e-4);
        let dice = dice_over_rows(normal, |g| 1.0 - g, &mask, width, &mut of_normal);
        assert!((dice - expected("dice_normal")).abs() < 1e-6, "{name}: {dice}");
        near(name, &of_normal, golden.get(&format!("{name}.dice_normal_grad")), 1e-4);
    }
}

struct Setup {
    config: FiloConfig,
    network: Filo<B>,
    golden: Golden,
    vision: Golden,
    place: Place,
}

impl Setup {
    fn load(rates: &Rates) -> Self {
        let dir = golden_dir().join("clip_tiny");
        let config = read_config(&dir.join("config.json")).unwrap();
        let weights = ["filo_tiny.safetensors", "filo_tiny.pth"].map(|name| dir.join(name));
        let weights = weights.iter().find(|path| path.exists()).expect("a weights file");
        let place = Place::in_f32();
        let device = &place.device;
        let (network, _) = load_filo(&Checkpoint::open(weights).unwrap(), &config, device).unwrap();
        Setup {
            network: rates.freeze(trainable(&network, &config, device)),
            golden: Golden::open(&golden_dir().join("losses/train_step.safetensors")),
            vision: Golden::open(&dir.join("vision.safetensors")),
            config,
            place,
        }
    }

    /// A batch of one image with the published prompts: all details, all nine positions.
    fn batch(&self, image: &str, category: &str, label: u8, mask: Vec<f32>) -> StepBatch {
        let size = self.config.vision.image_size;
        let pixels = self.vision.f32(&format!("{image}.input"));
        let texts = Descriptions::built_in().unwrap().prompts(category);
        let prompts = PicturePrompts {
            normal: texts.normal_texts(self.config.n_ctx),
            abnormal: texts.abnormal_texts(self.config.n_ctx, &Position::ALL),
            details: 0,
            right: None,
        };
        let tokenizer = ClipTokenizer::embedded().unwrap();
        let encoder = PromptEncoder::new(tokenizer, Vocabulary::Full, self.config.n_ctx);
        StepBatch {
            images: Tensor::from_data(
                TensorData::new(pixels, [1, 3, size, size]),
                &self.place.device,
            ),
            masks: mask,
            labels: vec![label],
            prompts: encoder.batch(vec![prompts], &self.place.device),
        }
    }
}

/// In the golden's layout: weights of linear layers transposed.
fn in_golden_layout(name: &str, values: &[f32], shape: &[usize]) -> Vec<f32> {
    let linear = name.contains("meta_net.linear") || name.contains("fc.") && shape.len() == 2;
    match shape {
        &[rows, columns] if linear => {
            (0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect()
        }
        _ => values.to_vec(),
    }
}

fn our_name(golden: &str) -> String {
    golden.replace("adapter.fc.0.", "adapter.down.").replace("adapter.fc.2.", "adapter.up.")
}

/// Compares only where the gradient decides: the first step of AdamW goes by its sign alone. Returns
/// how many were compared.
fn parameters_agree(
    place: &Place,
    after: &BTreeMap<String, Vec<f32>>,
    gradients: &[&Gradients],
    name: &str,
    expected: impl Iterator<Item = (usize, f64)>,
    shape: &[usize],
) -> usize {
    let values = in_golden_layout(name, &after[&our_name(name)], shape);
    let gradients = gradients
        .iter()
        .map(|gradients| in_golden_layout(name, &gradients.0[&our_name(name)], shape));
    let gradients = gradients.collect::<Vec<_>>();
    // Units that round operands shift small gradients by more, and with them the second step.
    let (share, apart) = if place.is_cpu() { (1e-3, 2e-6) } else { (0.1, 5e-5) };
    let mut compared = 0;
    for (index, expected) in expected {
        let decided = gradients.iter().all(|gradient| {
            let largest = gradient.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            gradient[index].abs() > share * largest
        });
        let error = (f64::from(values[index]) - expected).abs();
        assert!(!decided || error < apart, "{name}[{index}]: {} is not {expected}", values[index]);
        compared += usize::from(decided);
    }
    compared
}

#[test]
fn two_steps_of_stage_1_give_the_published_losses_gradients_and_parameters() {
    let _alone = no_other_tapes();
    let mut setup = Setup::load(&Rates::STAGE_1);
    let json = losses_json();
    let (of_losses, of_gradients) =
        (setup.place.training_tolerance(1e-4, 1e-2), setup.place.training_tolerance(1e-3, 3e-2));
    let golden = &setup.golden;
    let batch = setup.batch("img_b", "tile", 1, golden.f32("mask"));
    let mut optimizer = AdamW::published();
    let mut all = Vec::<Gradients>::new();
    let mut compared = 0;
    for (i, step) in json["stage1"]["steps"].as_array().unwrap().iter().enumerate() {
        let loss = stage_1(&setup.network, &batch, Extras::default());
        close("loss", loss.maps, step["loss"].as_f64().unwrap(), of_losses);
        let parts = step["parts_focal_diceAbnormal_diceNormal_per_map"].as_array().unwrap();
        assert_eq!(loss.heads.len(), parts.len());
        for (head, part) in loss.heads.iter().zip(parts) {
            close("focal", head.focal, part[0].as_f64().unwrap(), of_losses);
            close("dice", head.dice_abnormal, part[1].as_f64().unwrap(), of_losses);
            close("dice", head.dice_normal, part[2].as_f64().unwrap(), of_losses);
        }
        let gradients = Gradients::of(&loss.loss, &setup.network);
        let expected = step["gradients"].as_object().unwrap();
        assert_eq!(gradients.0.len(), expected.len(), "{:?}", gradients.0.keys());
        for (name, expected) in expected {
            let values = &gradients.0[name];
            let norm = norm(values.iter().copied());
            close(name, norm, expected["l2_norm"].as_f64().unwrap(), of_gradients);
            let full = format!("grad{i}.{name}");
            if golden.has(&full) {
                let ours = in_golden_layout(name, values, golden.shape(&full));
                near(&full, &ours, golden.get(&full), of_gradients);
            }
        }
        all.push(gradients);
        setup.network = optimizer.step(setup.network, &all[i], &Rates::STAGE_1, 1.0);
        let after = named_values(&setup.network);
        let seen = all.iter().collect::<Vec<_>>();
        for (name, sampled) in step["parameters_after"].as_object().unwrap() {
            let shape = step["gradients"][name]["shape"].as_array().unwrap();
            let shape = shape.iter().map(|n| n.as_u64().unwrap() as usize).collect::<Vec<_>>();
            let numbers = |key: &str| sampled[key].as_array().unwrap().clone();
            let indices = numbers("flat_index").into_iter().map(|n| n.as_u64().unwrap() as usize);
            let values = numbers("value").into_iter().map(|n| n.as_f64().unwrap());
            compared +=
                parameters_agree(&setup.place, &after, &seen, name, indices.zip(values), &shape);
            let full = format!("param_after_{}.{name}", i + 1);
            if golden.has(&full) {
                let values = golden.get(&full).iter().copied().enumerate();
                compared += parameters_agree(
                    &setup.place,
                    &after,
                    &seen,
                    name,
                    values,
                    golden.shape(&full),
                );
            }
        }
    }
    assert!(compared > 100, "{compared} parameters were compared");
    let after = stage_1(&setup.network, &batch, Extras::default()).maps;
    close("loss after", after, json["stage1"]["loss_after_two_steps"].as_f64().unwrap(), of_losses);
}

#[test]
fn two_steps_of_stage_2_move_the_adapter_alone_as_published() {
    let _alone = no_other_tapes();
    let mut setup = Setup::load(&Rates::STAGE_2);
    let (of_losses, of_gradients) =
        (setup.place.training_tolerance(1e-4, 1e-2), setup.place.training_tolerance(1e-3, 3e-2));
    let before = named_values(&setup.network);
    let json = losses_json();
    let golden = &setup.golden;
    let mut optimizer = AdamW::published();
    let mut all = Vec::<Gradients>::new();
    let mut compared = 0;
    let size = setup.config.vision.image_size;
    for (i, step) in json["stage2"]["steps"].as_array().unwrap().iter().enumerate() {
        let text = |key: &str| step[key].as_str().unwrap();
        let label = step["label"].as_u64().unwrap() as u8;
        let mask = vec![0.0; size * size];
        let batch = setup.batch(text("image"), text("class_name"), label, mask);
        let loss = stage_2(&setup.network, &batch);
        close("loss", loss.image, step["loss"].as_f64().unwrap(), of_losses);
        let gradients = Gradients::of(&loss.loss, &setup.network);
        for name in ["adapter.fc.0.weight", "adapter.fc.2.weight"] {
            let full = format!("stage2.grad{i}.{name}");
            let ours = &gradients.0[&our_name(name)];
            let ours = in_golden_layout(name, ours, golden.shape(&full));
            near(&full, &ours, golden.get(&full), of_gradients);
        }
        all.push(gradients);
        setup.network = optimizer.step(setup.network, &all[i], &Rates::STAGE_2, 1.0);
        let after = named_values(&setup.network);
        for name in ["adapter.fc.0.weight", "adapter.fc.2.weight"] {
            let full = format!("stage2.param_after_{}.{name}", i + 1);
            let values = golden.get(&full).iter().copied().enumerate();
            let seen = all.iter().collect::<Vec<_>>();
            compared +=
                parameters_agree(&setup.place, &after, &seen, name, values, golden.shape(&full));
        }
    }
    assert!(compared > 100, "{compared} parameters were compared");
    for (name, values) in named_values(&setup.network) {
        assert_eq!(values == before[&name], !name.starts_with("adapter."), "{name}");
    }
}

/// A step of the embedded network on `device`, with all that training from scratch adds to the
/// published losses: the number, and the gradients.
fn step_of_nano(device: &Device) -> (f64, Gradients) {
    let nano = Weights::open(&WeightsPlace::default()).unwrap();
    let config = nano.config().unwrap();
    let Weights::Bundle(bundle) = nano else { panic!("the embedded weights are a bundle") };
    let network: Filo<Backend> = bundled_filo(&bundle, &config, device).unwrap();
    let rates = Rates { text: Some(1e-3), backbone: Some(1e-3), ..Rates::STAGE_1 };
    let network = rates.freeze(trainable(&network, &config, device));
    let (pictures, size) = (3, config.vision.image_size);
    // No two alike, or many activations lie at a kink together.
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let pixels = (0..(pictures * 3 * size * size) as u32).map(noise).collect::<Vec<_>>();
    let texts = Descriptions::built_in().unwrap().prompts("tile");
    let prompts = |right: Option<usize>, details: usize| PicturePrompts {
        normal: texts.normal_texts(config.n_ctx)[..2].to_vec(),
        abnormal: texts.abnormal_texts(config.n_ctx, &[Position::ALL[0]])[..details].to_vec(),
        details,
        right,
    };
    let tokenizer = ClipTokenizer::embedded().unwrap();
    let encoder = PromptEncoder::new(tokenizer, Vocabulary::Full, config.n_ctx);
    let prompts = vec![prompts(Some(1), 3), prompts(None, 2), prompts(Some(0), 2)];
    let batch = StepBatch {
        images: Tensor::from_data(TensorData::new(pixels, [pictures, 3, size, size]), device),
        masks: (0..pictures * size * size).map(|i| f32::from(u8::from(i % 97 < 9))).collect(),
        labels: vec![1, 0, 1],
        prompts: encoder.batch(prompts, device),
    };
    let extras = Extras {
        maps: MapWeights { focal: 10.0, defect: 3.0, peak: 1.0, peak_share: 0.05 },
        contexts: Contexts::Swapped,
        image: 3.0,
        rank: 2.0,
        words: 4.0,
    };
    let step = stage_1(&network, &batch, extras);
    assert!(step.words > 0.0 && step.rank > 0.0 && step.image > 0.0);
    let gradients = Gradients::of(&step.loss, &network);
    (f64::from(step.loss.inner().into_scalar()), gradients)
}

/// The CPU's own operators have their gradients written out; elsewhere they are the backend's.
#[test]
#[ignore = "compares two devices: needs FILO_TEST_DEVICE"]
fn a_step_of_the_embedded_network_is_the_same_on_another_device() {
    let _alone = no_other_tapes();
    let place = Place::in_f32();
    assert!(!place.is_cpu(), "FILO_TEST_DEVICE names another device");
    let (loss, gradients) = step_of_nano(&place.device);
    let (expected, expected_gradients) = step_of_nano(&cpu());
    close("loss", loss, expected, place.training_tolerance(1e-4, 1e-2));
    // An activation at its kink may fall to either side.
    let tolerance = place.training_tolerance(1e-2, 0.1);
    assert!(expected_gradients.0.keys().eq(gradients.0.keys()));
    // Gradients that are next to nothing are what rounding leaves of large ones.
    let least = 1e-2 * expected_gradients.norm();
    for (name, expected) in &expected_gradients.0 {
        let apart = gradients.0[name].iter().zip(expected).map(|(a, b)| a - b);
        let own = norm(expected.iter().copied());
        let apart = norm(apart) / (own + least);
        println!("{name}: {apart:.1e}, norm {own:.3e} of {least:.3e}");
        assert!(apart < tolerance, "{name}: off by {apart:.1e} of its norm");
    }
}
