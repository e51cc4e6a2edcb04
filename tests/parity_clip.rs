//! The CLIP side of FiLo gives, stage by stage, the numbers of the published code.
//! Set `FILO_GOLDENS` to a folder with a `clip_tiny/` of another size or seed to check that one.

mod support;

use std::collections::BTreeSet;

use burn::tensor::{Tensor, TensorData};
use filo::device::{NetworkBackend, products_in};
use filo::model::clip::tokenizer::{ClipTokenizer, START_ID};
use filo::model::config::FiloConfig;
use filo::model::filo::anomaly_map::AnomalyMapper;
use filo::model::filo::descriptions::Descriptions;
use filo::model::filo::position::{PixelBox, Position, damp_outside};
use filo::model::filo::prompt_tree::PromptTree;
use filo::model::filo::prompts::PreparedPrompts;
use filo::model::filo::{AdapterUse, FiloScorer};
use filo::weights::Checkpoint;
use filo::weights::config::read_config;
use filo::weights::load::load_filo;
use filo::weights::positions::resize_positions;
use serde::Deserialize;
use support::golden::{Golden, Parity, Place, golden_dir, on_place};

const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    image: String,
    cls_name: String,
    with_adapter: bool,
    positions: Option<Vec<String>>,
    boxes_xyxy_px: Vec<[f32; 4]>,
}

struct Setup<B: NetworkBackend> {
    config: FiloConfig,
    scorer: FiloScorer<B>,
    tokenizer: ClipTokenizer,
    descriptions: Descriptions,
    vision: Golden,
    cases: Vec<Case>,
    place: Place,
}

fn values<B: NetworkBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().to_vec::<f32>().expect("they are f32 now")
}

impl<B: NetworkBackend> Setup<B> {
    fn load() -> Self {
        let dir = golden_dir().join("clip_tiny");
        let config_file = dir.join("config.json");
        let config = read_config(&config_file).expect("the golden config is ours");
        let text = std::fs::read_to_string(config_file).expect("it was just read");
        let cases: Cases = serde_json::from_str(&text).expect("the golden config lists cases");
        let weights = ["filo_tiny.safetensors", "filo_tiny.pth"].map(|name| dir.join(name));
        let weights = weights.iter().find(|path| path.exists()).expect("a weights file");
        let checkpoint = Checkpoint::open(weights).expect("weights");
        let place = Place::of_the_tests();
        let (filo, report) = load_filo(&checkpoint, &config, &place.device).expect("weights fit");
        assert!(report.unexpected.is_empty(), "{:?}", report.unexpected);
        Setup {
            config,
            scorer: filo.into_scorer().with_products_in(products_in(place.precision)),
            tokenizer: ClipTokenizer::embedded().expect("embedded"),
            descriptions: Descriptions::built_in().expect("embedded"),
            vision: Golden::open(&dir.join("vision.safetensors")),
            cases: cases.cases,
            place,
        }
    }

    fn tolerance(&self) -> f64 {
        self.place.tolerance(TOLERANCE)
    }

    /// Images of the cases, each once.
    fn images(&self) -> BTreeSet<&str> {
        self.cases.iter().map(|case| case.image.as_str()).collect()
    }

    fn image(&self, name: &str) -> Tensor<B, 4> {
        let size = self.config.vision.image_size;
        let pixels = self.vision.f32(&format!("{name}.input"));
        Tensor::from_data(TensorData::new(pixels, [1, 3, size, size]), &B::own(&self.place.device))
    }

    /// Prompts of a category as the published code would build them, for some positions or all.
    fn prompts(&self, category: &str, positions: &[Position]) -> PreparedPrompts<B> {
        let prompts = self.descriptions.prompts(category);
        let trees = prompts.trees(&self.tokenizer, self.config.n_ctx, positions);
        PreparedPrompts::new(&trees, START_ID, &self.scorer.text_encoder)
    }
}

#[test]
fn the_image_tower_agrees_block_by_block() {
    on_place!(the_image_tower_agrees_block_by_block_on);
}

fn the_image_tower_agrees_block_by_block_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    let golden = &setup.vision;
    let encoder = &setup.scorer.image_encoder;
    let traced = |image: &&str| golden.has(&format!("{image}.vis.ln_pre"));
    let image = setup.images().into_iter().find(traced).expect("one image is traced");
    let mut parity = Parity::new(image);
    let mut x = encoder.embed(setup.image(image));
    let name = format!("{image}.vis.ln_pre");
    parity.stage(&name, &values(x.clone()), golden.get(&name), setup.tolerance());
    let first_dual = setup.config.first_dual_block_index;
    let mut value_value = None;
    for (i, block) in encoder.blocks.iter().enumerate() {
        let name = format!("{image}.vis.block{i:02}");
        if i < first_dual {
            x = block.forward(x.into(), None).tokens();
            parity.stage(&name, &values(x.clone()), golden.get(&name), setup.tolerance());
            continue;
        }
        // The value-value stream begins as the ordinary one.
        let before = value_value.unwrap_or_else(|| x.clone());
        let step = block.forward_dual(x.into(), before);
        x = step.out.tokens();
        for (stream, tensor) in [("vv", step.value_value.clone()), ("ori", x.clone())] {
            let name = format!("{name}.{stream}");
            parity.stage(&name, &values(tensor), golden.get(&name), setup.tolerance());
        }
        value_value = Some(step.value_value);
    }
    parity.report();
}

#[test]
fn captured_tokens_and_class_features_agree() {
    on_place!(captured_tokens_and_class_features_agree_on);
}

fn captured_tokens_and_class_features_agree_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    for image in setup.images() {
        let golden = &setup.vision;
        let mut parity = Parity::new(image);
        let tokens = setup.scorer.image_encoder.forward(setup.image(image));
        let captures = 1 + 2 * tokens.ordinary.len();
        for i in 0..captures {
            let name = golden.name_starting_with(&format!("{image}.captured.{i}_")).to_string();
            // Even ones beyond the first are ordinary streams, all others are one and the same.
            let tensor = match i {
                0 => &tokens.value_value,
                i if i % 2 == 0 => &tokens.ordinary[i / 2 - 1],
                _ => &tokens.value_value,
            };
            parity.stage(&name, &values(tensor.clone()), golden.get(&name), setup.tolerance());
        }
        let last = tokens.ordinary.last().expect("there is one per capture").clone();
        let features = setup.scorer.image_encoder.project(last);
        let name = format!("{image}.image_features_all_tokens");
        parity.stage(&name, &values(features), golden.get(&name), setup.tolerance());
        parity.report();
    }
}

#[test]
fn every_case_agrees_from_image_features_to_score() {
    on_place!(every_case_agrees_from_image_features_to_score_on);
}

fn every_case_agrees_from_image_features_to_score_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    for case in &setup.cases {
        check_case(&setup, case);
    }
}

/// Of an image's feature, which has length 1, with each row of `texts`.
fn expected_cosines(feature: &[f64], texts: &[f64]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = |text| dot(feature, text) / dot(text, text).sqrt();
    texts.chunks_exact(feature.len()).map(cosine).collect()
}

fn position(name: &str) -> Position {
    Position::ALL.into_iter().find(|position| position.as_str() == name).expect("a position")
}

fn check_case<B: NetworkBackend>(setup: &Setup<B>, case: &Case) {
    let golden = Golden::open(&golden_dir().join("clip_tiny").join(&case.file));
    let mut parity = Parity::new(&case.name);
    let scorer = &setup.scorer;
    let adapter = if case.with_adapter { AdapterUse::Applied } else { AdapterUse::Skipped };
    let encoding = scorer.encode_images(setup.image(&case.image), adapter);
    let features = values(encoding.features.clone());
    parity.stage("image_features", &features, golden.get("image_features"), setup.tolerance());

    let all = setup.prompts(&case.cls_name, &Position::ALL);
    let texts = scorer.encode_prompts(&encoding.features, &all);
    for (stage, tensor) in
        [("text_raw_normal", texts.normal), ("text_raw_abnormal", texts.abnormal)]
    {
        parity.stage(stage, &values(tensor), golden.get(stage), setup.tolerance());
    }
    let heads = scorer.decode(&encoding.tokens);
    let linear = setup.config.linear_heads();
    for (i, head) in heads.into_iter().enumerate() {
        let name = match i.checked_sub(linear) {
            None => format!("decoder_linear.{i}"),
            Some(i) => format!("decoder_cov.{i}"),
        };
        if golden.has(&name) {
            parity.stage(&name, &values(head), golden.get(&name), setup.tolerance());
        }
    }

    let positions = match case.positions.as_deref() {
        None | Some([]) => Position::ALL.to_vec(),
        Some(names) => names.iter().map(|name| position(name)).collect(),
    };
    let output = scorer.score(&encoding, &setup.prompts(&case.cls_name, &positions));
    let [_, n_heads, _, patches] = output.similarities.dims();
    let similarities = values(output.similarities);
    for (i, grid) in similarities.chunks_exact(2 * patches).enumerate() {
        let name = format!("similarity_grid.{i}");
        parity.stage(&name, grid, golden.get(&name), setup.tolerance());
    }
    let text_probs = values(output.text_probs);
    parity.stage("text_probs", &text_probs, golden.get("text_probs"), setup.tolerance());
    let cosines = expected_cosines(golden.get("image_features"), golden.get("text_raw_abnormal"));
    let of_positions = cosines.chunks_exact(Position::ALL.len()).flat_map(|of_state| {
        let cosine = |position| of_state[Position::ALL.iter().position(|p| p == position).unwrap()];
        positions.iter().map(cosine)
    });
    let of_positions = of_positions.collect::<Vec<_>>();
    let cosines = values(output.prompt_cosines);
    parity.stage("prompt_cosines", &cosines, &of_positions, setup.tolerance());

    let size = setup.config.vision.image_size;
    let mapper = AnomalyMapper::new(setup.config.vision.grid(), size);
    let blurred = (0..n_heads).map(|i| format!("blurred_map.{i}"));
    for (name, grid) in blurred.zip(similarities.chunks_exact(2 * patches)) {
        if golden.has(&name) {
            parity.stage(&name, &mapper.map(grid), golden.get(&name), setup.tolerance());
        }
    }
    let mut map = mapper.map(&similarities);
    parity.stage("map_mean_before_box", &map, golden.get("map_mean_before_box"), setup.tolerance());
    let peak = map.iter().fold(f32::MIN, |max, &value| max.max(value));
    let boxes = case.boxes_xyxy_px.iter().map(|&[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
    let boxes = boxes.collect::<Vec<_>>();
    // Without a box the published code damps the whole map.
    damp_outside(&mut map, filo::image::Size::square(size), &boxes);
    parity.stage("map_final", &map, golden.get("map_final"), setup.tolerance());
    let score = (text_probs[1] + peak) / 2.0;
    parity.stage("score", &[score], golden.get("score"), setup.tolerance());
    parity.report();
}

#[test]
fn a_batch_gives_what_single_pictures_give() {
    on_place!(a_batch_gives_what_single_pictures_give_on);
}

fn a_batch_gives_what_single_pictures_give_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    let prompts = setup.prompts(&setup.cases[0].cls_name, &Position::ALL);
    let images = setup.images();
    let names = images.iter().copied().cycle().take(8).collect::<Vec<_>>();
    let score = |images: Tensor<B, 4>| {
        let encoding = setup.scorer.encode_images(images, AdapterUse::Applied);
        let output = setup.scorer.score(&encoding, &prompts);
        (values(output.similarities), values(output.text_probs))
    };
    let images = names.iter().map(|name| setup.image(name)).collect::<Vec<_>>();
    let tolerance = setup.place.tolerance(1e-5) as f32;
    let (batched, batched_probs) = score(Tensor::cat(images, 0));
    let per_image = batched.len() / names.len();
    for (i, name) in names.iter().enumerate() {
        let (single, probs) = score(setup.image(name));
        let close = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0))
        };
        assert!(close(&batched[i * per_image..][..per_image], &single), "{name} at {i}: maps");
        assert!(close(&batched_probs[2 * i..][..2], &probs), "{name} at {i}: text_probs");
    }
}

#[test]
fn the_prompt_tree_equals_padded_sequences() {
    on_place!(the_prompt_tree_equals_padded_sequences_on);
}

fn the_prompt_tree_equals_padded_sequences_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    let scorer = &setup.scorer;
    let n_ctx = setup.config.n_ctx;
    let Case { image, cls_name, .. } = &setup.cases[0];
    let encoding = scorer.encode_images(setup.image(image), AdapterUse::Applied);
    let tree = scorer.encode_prompts(&encoding.features, &setup.prompts(cls_name, &Position::ALL));

    let prompts = setup.descriptions.prompts(cls_name);
    let context = scorer.abnormal_prompt_learner.context(encoding.features.clone());
    let texts = prompts.abnormal_texts(n_ctx, &Position::ALL);
    let sequences = texts.iter().map(|text| {
        let ids = setup.tokenizer.encode_padded(text);
        let embedded = scorer.text_encoder.embed(&ids);
        let rest = embedded.clone().narrow(1, 1 + n_ctx, ids.len() - 1 - n_ctx);
        Tensor::cat(vec![embedded.narrow(1, 0, 1), context.clone(), rest], 1)
    });
    let sequences = Tensor::cat(sequences.collect::<Vec<_>>(), 0);
    let ends = texts.iter().map(|text| setup.tokenizer.encode(text).len() - 1).collect::<Vec<_>>();
    let plain = values(scorer.text_encoder.encode_sequences(sequences, &ends));
    let expected = plain.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    Parity::new(cls_name).stage(
        "text_raw_abnormal",
        &values(tree.abnormal),
        &expected,
        setup.place.tolerance(1e-5),
    );
}

#[test]
fn so_many_prompts_that_they_need_several_trees_are_encoded_alike() {
    on_place!(so_many_prompts_that_they_need_several_trees_are_encoded_alike_on);
}

fn so_many_prompts_that_they_need_several_trees_are_encoded_alike_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load();
    let scorer = &setup.scorer;
    let details = (0..60).map(|n| format!("\"worn tooth {n}\"")).collect::<Vec<_>>().join(",");
    let text = format!("{{\"gearbox\": [{details}]}}");
    let descriptions = setup.descriptions.clone().with_file("words.json".as_ref(), &text).unwrap();
    let prompts = descriptions.prompts("gearbox");
    let n_ctx = setup.config.n_ctx;
    let trees = prompts.trees(&setup.tokenizer, n_ctx, &Position::ALL);
    assert!(trees.len() > 1);
    let encode = |texts: Vec<String>| {
        texts.iter().map(|text| setup.tokenizer.encode(text)).collect::<Vec<_>>()
    };
    let abnormal = encode(prompts.abnormal_texts(n_ctx, &Position::ALL));
    let one = PromptTree::new(n_ctx, &encode(prompts.normal_texts(n_ctx)), &abnormal);
    let image = setup.image(&setup.cases[0].image);
    let encoding = scorer.encode_images(image, AdapterUse::Applied);
    let features = |trees: &[PromptTree]| {
        let prepared = PreparedPrompts::new(trees, START_ID, &scorer.text_encoder);
        scorer.encode_prompts(&encoding.features, &prepared)
    };
    let (split, whole) = (features(&trees), features(&[one]));
    let expected = values(whole.abnormal).into_iter().map(f64::from).collect::<Vec<_>>();
    let tolerance = setup.place.tolerance(1e-5);
    Parity::new("gearbox").stage("abnormal", &values(split.abnormal), &expected, tolerance);
    let expected = values(whole.normal).into_iter().map(f64::from).collect::<Vec<_>>();
    Parity::new("gearbox").stage("normal", &values(split.normal), &expected, tolerance);
}

#[test]
fn image_positions_are_resized_like_the_published_code_does() {
    check_resize("pos_embed_resize.safetensors");
    check_resize("pos_embed_resize_24_to_37.safetensors");
}

fn check_resize(file: &str) {
    let path = golden_dir().join("clip_tiny").join(file);
    if !path.exists() {
        return;
    }
    let golden = Golden::open(&path);
    let native = golden.name_starting_with("native_");
    let resized = golden.name_starting_with("resized_");
    let [rows, width] = golden.shape(native)[..] else { panic!("positions are a matrix") };
    let side = |rows: usize| (rows - 1).isqrt();
    let (from, to) = (side(rows), side(golden.shape(resized)[0]));
    let actual = resize_positions(&golden.f32(native), from, to, width);
    Parity::new(file).stage("positions", &actual, golden.get(resized), 1e-5);
}
