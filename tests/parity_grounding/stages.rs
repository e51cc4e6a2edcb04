//! The detector's stages in the order of the computation, each compared with golden data.

use burn::tensor::{ElementConversion, Tensor, TensorData};
use filo::device::NetworkBackend;
use filo::model::grounding::decoder::{DecoderMemory, DecoderState, boxes_on_levels, refine};
use filo::model::grounding::enhancer::ImageContext;
use filo::model::grounding::fusion::ImageAndText;
use filo::model::grounding::levels::{LevelGeometry, flatten_levels, project_levels, zero_rows};
use filo::model::grounding::queries::Proposals;
use filo::model::grounding::sampling::References;
use filo::model::grounding::{EncodedCaption, GroundingDino};

use crate::golden::{Check, PLACE};

fn check_text<B: NetworkBackend>(net: &GroundingDino<B>, check: &mut Check) -> EncodedCaption<B> {
    let text = check.golden.text();
    let hidden = net.bert.forward(text.ids.clone(), text.positions.clone(), text.hidden.clone());
    check.stage("bert.last_hidden_state", hidden);
    let caption = net.encode_caption(text);
    check.stage("text.projected", caption.features.clone());
    caption
}

fn check_backbone<B: NetworkBackend>(
    net: &GroundingDino<B>,
    check: &mut Check,
) -> Vec<Tensor<B, 4>> {
    let pixels = check.golden.images().pixels;
    let backbone = &net.backbone;
    let mut x = backbone.patch_embed.forward(pixels);
    check.stage("swin.patch_embed", x.clone().permute([0, 3, 1, 2]));
    let mut features = Vec::new();
    for (i, stage) in backbone.layers.iter().enumerate() {
        for (j, block) in stage.blocks.iter().enumerate() {
            x = block.forward(x);
            let name = if j % 2 == 1 { format!("block{j}_shifted") } else { format!("block{j}") };
            check.stage(&format!("swin.stage{i}.{name}"), x.clone().flatten::<3>(1, 2));
        }
        check.stage(&format!("swin.stage{i}.out"), x.clone().flatten::<3>(1, 2));
        if let Some(feature) = stage.feature(&x) {
            check.stage(&format!("swin.feature.{}", features.len()), feature.clone());
            features.push(feature);
        }
        if let Some(downsample) = &stage.downsample {
            x = downsample.forward(x);
        }
    }
    let levels = project_levels(&net.input_proj, &features);
    for (i, level) in levels.iter().enumerate() {
        check.stage(&format!("input_proj.{i}"), level.clone());
    }
    levels
}

/// One level's part of `[batch, n, width]`, as the map `[batch, width, h, w]`.
fn level_map<B: NetworkBackend>(
    tokens: &Tensor<B, 3>,
    geometry: &LevelGeometry<B>,
    level: usize,
) -> Tensor<B, 4> {
    let [batch, _, width] = tokens.dims();
    let shape = geometry.shapes[level];
    let start = geometry.shapes[..level].iter().map(|shape| shape.tokens()).sum();
    tokens
        .clone()
        .narrow(1, start, shape.tokens())
        .reshape([batch, shape.height, shape.width, width])
        .permute([0, 3, 1, 2])
}

fn check_geometry<B: NetworkBackend>(
    net: &GroundingDino<B>,
    check: &mut Check,
    levels: &[Tensor<B, 4>],
) -> LevelGeometry<B> {
    let geometry = net.geometry(levels, check.golden.images().padding);
    let padding = geometry.padding.clone().float().unsqueeze_dim::<3>(2);
    for level in 0..geometry.shapes.len() {
        let mask = level_map(&padding, &geometry, level).squeeze_dim::<3>(1);
        check.stage(&format!("mask.level.{level}"), mask);
        let code = level_map(&geometry.position_code, &geometry, level);
        check.stage(&format!("pos_embed.{level}"), code);
    }
    let sides = geometry.shapes.iter().flat_map(|s| [s.height as f32, s.width as f32]);
    let shapes = TensorData::new(sides.collect::<Vec<_>>(), [geometry.shapes.len(), 2]);
    check.stage("spatial_shapes", Tensor::<B, 2>::from_data(shapes, &B::own(&PLACE.device)));
    geometry
}

fn check_encoder<B: NetworkBackend>(
    net: &GroundingDino<B>,
    check: &mut Check,
    image: &ImageContext<'_, B>,
    caption: &EncodedCaption<B>,
    mut tokens: ImageAndText<B>,
) -> ImageAndText<B> {
    let encoder = &net.encoder;
    let references = References::Points(image.geometry.reference_points());
    for (i, fusion) in encoder.fusion_layers.iter().enumerate() {
        let padding = image.geometry.padding.clone();
        tokens = fusion.forward(tokens, padding, caption.context.padding.clone());
        check.stage(&format!("enc.{i}.fusion_image"), tokens.image.clone());
        check.stage(&format!("enc.{i}.fusion_text"), tokens.text.clone());
        tokens.text = encoder.text_layers[i].forward(tokens.text, &caption.context);
        check.stage(&format!("enc.{i}.text"), tokens.text.clone());
        tokens.image = encoder.layers[i].forward(tokens.image, image, &references);
        check.stage(&format!("enc.{i}.image"), tokens.image.clone());
    }
    tokens
}

fn check_selection<B: NetworkBackend>(
    net: &GroundingDino<B>,
    check: &mut Check,
    geometry: &LevelGeometry<B>,
    caption: &EncodedCaption<B>,
    tokens: &ImageAndText<B>,
) -> DecoderState<B> {
    let selector = &net.query_selector;
    let proposals = Proposals::new(geometry);
    check.stage("two_stage.proposals_unsigmoid", proposals.boxes.clone());
    let masked = zero_rows(tokens.image.clone(), proposals.invalid);
    check.stage("two_stage.memory_masked", masked.clone());
    let memory = selector.memory(masked);
    let padding = caption.context.padding.clone();
    let scores = selector.scores(memory.clone(), tokens.text.clone(), padding);
    check.stage("two_stage.class_max_logit", scores.clone());
    let queries = selector.select(memory, scores, proposals.boxes.clone());
    // Tokens that propose nothing all have one score and one box: any of them is as good.
    let [batch, count] = queries.tokens.dims();
    let chosen = queries.tokens.clone().unsqueeze_dim::<3>(2).expand([batch, count, 4]);
    let nothing = proposals.boxes.gather(1, chosen).is_inf().any_dim(2).squeeze_dim::<2>(2);
    if !nothing.clone().any().into_scalar().elem::<bool>() {
        check.stage("two_stage.topk_index", queries.tokens.float());
    }
    let start = net.start(tokens, geometry, &caption.context.padding);
    check.stage("dec.reference.0", start.boxes.clone());
    start
}

fn check_decoder<B: NetworkBackend>(
    net: &GroundingDino<B>,
    check: &mut Check,
    memory: &DecoderMemory<'_, B>,
    mut state: DecoderState<B>,
) -> DecoderState<B> {
    let decoder = &net.decoder;
    let mut entering = state.boxes.clone();
    for (i, layer) in decoder.layers.iter().enumerate() {
        entering = state.boxes.clone();
        if i + 1 == decoder.layers.len() {
            let references = boxes_on_levels(&state.boxes, memory.geometry);
            check.stage("dec.last_query_pos", decoder.query_position(&references));
        }
        state.content = decoder.step(layer, &state, memory);
        check.stage(&format!("dec.{i}.output_before_norm"), state.content.clone());
        let normed = decoder.norm.forward(state.content.clone());
        check.stage(&format!("dec.{i}.output_normed"), normed);
        state.boxes = refine(&net.bbox_embed, &state);
        check.stage(&format!("dec.reference.{}", i + 1), state.boxes.clone());
    }
    state.boxes = entering;
    state
}

/// Text and geometry, and the backbone: the stages where the published code is right for every
/// batch size.
pub struct Front<B: NetworkBackend> {
    caption: EncodedCaption<B>,
    levels: Vec<Tensor<B, 4>>,
    pub geometry: LevelGeometry<B>,
}

pub fn check_front<B: NetworkBackend>(net: &GroundingDino<B>, check: &mut Check) -> Front<B> {
    let caption = check_text(net, check);
    let levels = check_backbone(net, check);
    let geometry = check_geometry(net, check, &levels);
    Front { caption, levels, geometry }
}

pub fn check_all<B: NetworkBackend>(net: &GroundingDino<B>, check: &mut Check) {
    let Front { caption, levels, geometry } = check_front(net, check);
    let image = ImageContext { geometry: &geometry, position: net.positions(&geometry) };
    let tokens = ImageAndText { image: flatten_levels(levels), text: caption.features.clone() };
    let tokens = check_encoder(net, check, &image, &caption, tokens);
    let start = check_selection(net, check, &geometry, &caption, &tokens);
    let memory = DecoderMemory {
        image: tokens.image.clone(),
        geometry: &geometry,
        text: tokens.text.clone(),
        text_context: &caption.context,
    };
    let end = check_decoder(net, check, &memory, start);
    let detections = net.detections(end, tokens.text, caption.context.padding.clone());
    check.stage("pred_logits", detections.logits);
    check.stage("pred_boxes", detections.boxes);
    // The stages in sequence are what `forward` does.
    let whole = net.forward(check.golden.images(), &caption);
    check.stage("pred_logits", whole.logits);
    check.stage("pred_boxes", whole.boxes);
}
