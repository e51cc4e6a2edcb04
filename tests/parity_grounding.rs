//! The detector gives, stage by stage, the numbers of the published code and of `transformers`,
//! and a batch gives what its images give alone. Set `FILO_GOLDENS` to a folder with a
//! `gdino_tiny/` of another size or seed to check that one.

#[path = "parity_grounding/golden.rs"]
mod golden;
#[path = "parity_grounding/stages.rs"]
mod stages;
mod support;

use burn::tensor::{ElementConversion, Tensor};
use filo::device::NetworkBackend;
use filo::model::grounding::queries::Proposals;
use filo::model::grounding::{ImageBatch, RawDetections, TextBatch};
use golden::{Check, PLACE, Setup, values};
use stages::{check_all, check_front};
use support::golden::{Parity, on_place, repository_golden_dir};

/// Between two runs of our own.
const SAME: f64 = 1e-5;

#[test]
fn single_images_agree_stage_by_stage() {
    on_place!(single_images_agree_stage_by_stage_on);
}

fn single_images_agree_stage_by_stage_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load("gdino_tiny");
    for case in setup.golden.cases.iter().filter(|case| case.captions.len() == 1) {
        let golden = setup.tensors(case);
        let mut check = Check::new(&case.name, &golden);
        check_all(&setup.net, &mut check);
        check.parity.report();
    }
}

#[test]
fn transformers_agrees_stage_by_stage_in_batches_too() {
    on_place!(transformers_agrees_stage_by_stage_in_batches_too_on);
}

fn transformers_agrees_stage_by_stage_in_batches_too_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load_from(repository_golden_dir(), "gdino_transformers");
    for case in &setup.golden.cases {
        let golden = setup.tensors(case);
        let mut check = Check::new(&case.name, &golden);
        check_all(&setup.net, &mut check);
        check.parity.report();
    }
}

/// In a batch the published code gives text layers the masks of other captions, so that only what
/// comes before them can be compared.
#[test]
fn padded_batches_agree_up_to_the_encoder() {
    on_place!(padded_batches_agree_up_to_the_encoder_on);
}

fn padded_batches_agree_up_to_the_encoder_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load("gdino_tiny");
    for case in setup.golden.cases.iter().filter(|case| case.captions.len() > 1) {
        let golden = setup.tensors(case);
        let mut check = Check::new(&case.name, &golden);
        let front = check_front(&setup.net, &mut check);
        let proposals = Proposals::new(&front.geometry);
        check.stage("two_stage.proposals_unsigmoid", proposals.boxes);
        check.parity.report();
    }
}

/// Row `row` of a batch.
fn picture<B: NetworkBackend>(images: &ImageBatch<B>, row: usize) -> ImageBatch<B> {
    ImageBatch {
        pixels: images.pixels.clone().narrow(0, row, 1),
        padding: images.padding.clone().narrow(0, row, 1),
        full: images.full,
    }
}

/// Row `row` of a batch of captions, without its filling.
fn caption<B: NetworkBackend>(text: &TextBatch<B>, row: usize) -> TextBatch<B> {
    let filling = text.padding.clone().narrow(0, row, 1).int().sum().into_scalar().elem::<i64>();
    let n = text.ids.dims()[1] - filling as usize;
    TextBatch {
        ids: text.ids.clone().narrow(0, row, 1).narrow(1, 0, n),
        positions: text.positions.clone().narrow(0, row, 1).narrow(1, 0, n),
        hidden: text.hidden.clone().narrow(0, row, 1).narrow(1, 0, n).narrow(2, 0, n),
        padding: text.padding.clone().narrow(0, row, 1).narrow(1, 0, n),
    }
}

fn assert_same<B: NetworkBackend>(
    what: &str,
    batched: &RawDetections<B>,
    row: usize,
    alone: RawDetections<B>,
) {
    let n = alone.logits.dims()[2];
    let row_of = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, row, 1);
    let expect =
        |tensor: Tensor<B, 3>| values(tensor).into_iter().map(f64::from).collect::<Vec<_>>();
    let mut parity = Parity::new(format!("{what}, row {row}"));
    let logits = row_of(&batched.logits).narrow(2, 0, n);
    parity.stage("logits", &values(logits), &expect(alone.logits), PLACE.tolerance(SAME));
    parity.stage(
        "boxes",
        &values(row_of(&batched.boxes)),
        &expect(alone.boxes),
        PLACE.tolerance(SAME),
    );
    let columns = batched.logits.dims()[2];
    let filling = values(row_of(&batched.logits));
    let mut filling = filling.chunks_exact(columns).flat_map(|query| &query[n..]);
    assert!(filling.all(|&logit| logit == f32::NEG_INFINITY), "{what}: filling has logits");
    parity.report();
}

#[test]
fn each_row_of_a_batch_is_what_its_image_and_caption_give_alone() {
    on_place!(each_row_of_a_batch_is_what_its_image_and_caption_give_alone_on);
}

fn each_row_of_a_batch_is_what_its_image_and_caption_give_alone_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load("gdino_tiny");
    let net = &setup.net;
    for case in setup.golden.cases.iter().filter(|case| case.captions.len() > 1) {
        let golden = setup.tensors(case);
        let (images, text) = (golden.images(), golden.text());
        let batched = net.forward(images.clone(), &net.encode_caption(text.clone()));
        for row in 0..images.pixels.dims()[0] {
            let encoded = net.encode_caption(caption(&text, row));
            let alone = net.forward(picture(&images, row), &encoded);
            assert_same(&case.name, &batched, row, alone);
        }
    }
}

#[test]
fn one_caption_serves_a_batch_of_equal_images_without_padding() {
    on_place!(one_caption_serves_a_batch_of_equal_images_without_padding_on);
}

fn one_caption_serves_a_batch_of_equal_images_without_padding_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load("gdino_tiny");
    let net = &setup.net;
    for case in setup.golden.cases.iter().filter(|case| case.captions.len() == 1) {
        let golden = setup.tensors(case);
        let encoded = net.encode_caption(golden.text());
        let upright = golden.images().pixels;
        let mirrored = upright.clone().flip([3]);
        let pictures = [upright, mirrored].map(|picture| picture.squeeze_dim::<3>(0));
        let batch = ImageBatch::new(pictures.to_vec()).expect("two images");
        let batched = net.forward(batch.clone(), &encoded);
        for row in 0..pictures.len() {
            let alone = net.forward(picture(&batch, row), &encoded);
            assert_same(&case.name, &batched, row, alone);
        }
    }
}

#[test]
fn an_image_of_nan_or_of_fewer_tokens_than_queries_does_not_panic() {
    on_place!(an_image_of_nan_or_of_fewer_tokens_than_queries_does_not_panic_on);
}

fn an_image_of_nan_or_of_fewer_tokens_than_queries_does_not_panic_on<B: NetworkBackend>() {
    let setup = Setup::<B>::load("gdino_tiny");
    let golden = setup.tensors(&setup.golden.cases[0]);
    let encoded = setup.net.encode_caption(golden.text());
    let nan = Tensor::<B, 3>::full([3, 70, 70], f32::NAN, &B::own(&PLACE.device));
    let batch = ImageBatch::new(vec![nan]).expect("one image");
    let detections = setup.net.forward(batch, &encoded);
    assert!(values(detections.logits).iter().all(|logit| logit.is_nan()));

    let dot = Tensor::<B, 3>::ones([3, 1, 1], &B::own(&PLACE.device));
    let batch = ImageBatch::new(vec![dot]).expect("one image");
    let detections = setup.net.forward(batch, &encoded);
    let config = &setup.golden.config;
    // One token per level.
    assert_eq!(detections.boxes.dims()[1], config.queries.min(config.levels));
}
