//! The cross-modality decoder: queries read each other, the text and the image, and refine their
//! boxes layer by layer. In: content and reference boxes. Out: the content that the last layer's
//! box and logits are read from, and the boxes it started from.

use burn::module::Module;

use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Tensor, backend::Backend};

use super::attention::{FusedAttention, FusedAttentionConfig};
use super::boxes::{LOGIT_MARGIN, clamped_logit};
use super::config::GroundingConfig;
use super::deformable::DeformableAttention;
use super::enhancer::TextContext;
use super::feed_forward::{Perceptron, PerceptronConfig, feed_forward, normed_feed_forward_on_gpu};
use super::levels::LevelGeometry;
use super::position_code::{SineCode, TEXT_AND_BOX_TEMPERATURE};
use super::sampling::References;
use crate::model::kernels::gpu::{self, Before};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};

/// The decoder.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    pub layers: Vec<DecoderLayer<B>>,
    pub norm: LayerNorm<B>,
    /// From the sine code of a box to its position vector.
    pub ref_point_head: Perceptron<B>,
    sine_features: usize,
}

/// Post-norm layer: queries to queries, to text, to image, feed-forward.
#[derive(Module, Debug)]
pub struct DecoderLayer<B: Backend> {
    pub self_attn: FusedAttention<B>,
    pub norm2: LayerNorm<B>,
    pub ca_text: FusedAttention<B>,
    pub catext_norm: LayerNorm<B>,
    pub cross_attn: DeformableAttention<B>,
    pub norm1: LayerNorm<B>,
    pub linear1: Linear<B>,
    pub linear2: Linear<B>,
    pub norm3: LayerNorm<B>,
}

/// What the queries read.
#[derive(Debug, Clone)]
pub struct DecoderMemory<'a, B: Backend> {
    /// `[batch, n, d_model]`.
    pub image: Tensor<B, 3>,
    pub geometry: &'a LevelGeometry<B>,
    /// `[batch, text tokens, d_model]`.
    pub text: Tensor<B, 3>,
    pub text_context: &'a TextContext<B>,
}

/// The state of the queries before a layer.
#[derive(Debug, Clone)]
pub struct DecoderState<B: Backend> {
    /// `[batch, queries, d_model]`, not yet normalised.
    pub content: Tensor<B, 3>,
    /// `[batch, queries, 4]`, fractions of the image.
    pub boxes: Tensor<B, 3>,
}

impl GroundingConfig {
    pub(super) fn init_decoder<B: Backend>(&self, device: &B::Device) -> Decoder<B> {
        let d_model = self.d_model;
        let features = self.query_sine_features_per_coordinate;
        Decoder {
            layers: (0..self.decoder_layers).map(|_| self.init_decoder_layer(device)).collect(),
            norm: LayerNormConfig::new(d_model).init(device),
            ref_point_head: PerceptronConfig { widths: vec![4 * features, d_model, d_model] }
                .init(device),
            sine_features: features,
        }
    }

    fn init_decoder_layer<B: Backend>(&self, device: &B::Device) -> DecoderLayer<B> {
        let attention = FusedAttentionConfig { width: self.d_model, heads: self.heads };
        let norm = || LayerNormConfig::new(self.d_model).init(device);
        DecoderLayer {
            self_attn: attention.init(device),
            norm2: norm(),
            ca_text: attention.init(device),
            catext_norm: norm(),
            cross_attn: self.deformable_attention().init(device),
            norm1: norm(),
            linear1: LinearConfig::new(self.d_model, self.ffn).init(device),
            linear2: LinearConfig::new(self.ffn, self.d_model).init(device),
            norm3: norm(),
        }
    }
}

impl<B: Backend> Decoder<B> {
    /// All layers. Returns the content after the last layer with the boxes *entering* it: the
    /// final heads read exactly these, and a refinement after the last layer would be for nothing.
    pub fn forward(
        &self,
        start: DecoderState<B>,
        memory: &DecoderMemory<'_, B>,
        box_head: &Perceptron<B>,
    ) -> DecoderState<B> {
        let mut state = start;
        let Some((last, earlier)) = self.layers.split_last() else { return state };
        for layer in earlier {
            state.content = self.step(layer, &state, memory);
            state.boxes = refine(box_head, &state);
        }
        state.content = self.step(last, &state, memory);
        state
    }

    /// The content after `layer`, `[batch, queries, d_model]`.
    pub fn step(
        &self,
        layer: &DecoderLayer<B>,
        state: &DecoderState<B>,
        memory: &DecoderMemory<'_, B>,
    ) -> Tensor<B, 3> {
        let references = boxes_on_levels(&state.boxes, memory.geometry);
        let position = self.query_position(&references);
        layer.forward(state.content.clone(), position, &References::Boxes(references), memory)
    }

    /// `[batch, queries, d_model]` from `references` `[batch, queries, levels, 4]`: the code of
    /// the box on the finest level, its numbers in the order (y, x, width, height).
    pub fn query_position(&self, references: &Tensor<B, 4>) -> Tensor<B, 3> {
        if gpu::reaches::<B>() {
            let wavelengths = self.code().wavelengths::<B>(&references.device());
            let code = gpu::coded(references.clone(), wavelengths);
            return self.ref_point_head.forward(code);
        }
        let finest = references.clone().narrow(2, 0, 1).squeeze_dim::<3>(2);
        let [x, y] = [0, 1].map(|i| finest.clone().narrow(2, i, 1));
        let ordered = Tensor::cat(vec![y, x, finest.narrow(2, 2, 2)], 2);
        self.ref_point_head.forward(self.code().forward(ordered))
    }

    fn code(&self) -> SineCode {
        SineCode { features: self.sine_features, temperature: TEXT_AND_BOX_TEMPERATURE }
    }
}

/// `[batch, queries, levels, 4]`: boxes as fractions of each level's map, padding included.
pub fn boxes_on_levels<B: Backend>(
    boxes: &Tensor<B, 3>,
    geometry: &LevelGeometry<B>,
) -> Tensor<B, 4> {
    boxes.clone().unsqueeze_dim::<4>(2) * geometry.box_ratios().unsqueeze_dim(1)
}

/// `sigmoid(box_head(t) + logit(r))` of the content `t` as it stands (published code: not
/// normalised here, unlike at the end).
pub fn refine<B: Backend>(box_head: &Perceptron<B>, state: &DecoderState<B>) -> Tensor<B, 3> {
    if gpu::reaches::<B>() {
        return refined_on_gpu(box_head, state.content.clone(), state.boxes.clone());
    }
    sigmoid(box_head.forward(state.content.clone()) + clamped_logit(state.boxes.clone()))
}

/// `sigmoid(box_head(content) + logit(boxes))` by our kernels for GPUs.
pub(super) fn refined_on_gpu<B: Backend>(
    box_head: &Perceptron<B>,
    content: Tensor<B, 3>,
    boxes: Tensor<B, 3>,
) -> Tensor<B, 3> {
    let (shift, bias) = box_head.on_gpu(content);
    gpu::refined(shift, bias, boxes, LOGIT_MARGIN)
}

impl<B: Backend> DecoderLayer<B> {
    fn forward(
        &self,
        x: Tensor<B, 3>,
        position: Tensor<B, 3>,
        references: &References<B>,
        memory: &DecoderMemory<'_, B>,
    ) -> Tensor<B, 3> {
        if gpu::reaches::<B>() {
            return self.forward_on_gpu(x, position, references, memory);
        }
        let attended = self.self_attn.self_attention(x.clone(), position.clone(), None);
        let x = self.norm2.forward(x + attended);

        let query = x.clone() + position.clone();
        let padding = memory.text_context.padding.clone();
        let read = self.ca_text.cross_attention(query, memory.text.clone(), padding);
        let x = self.catext_norm.forward(x + read);

        let query = x.clone() + position;
        let seen =
            self.cross_attn.forward(query, references, memory.image.clone(), memory.geometry);
        let x = self.norm1.forward(x + seen);
        self.norm3.forward(feed_forward(&self.linear1, &self.linear2, x))
    }

    fn forward_on_gpu(
        &self,
        x: Tensor<B, 3>,
        position: Tensor<B, 3>,
        references: &References<B>,
        memory: &DecoderMemory<'_, B>,
    ) -> Tensor<B, 3> {
        let placed = gpu::residual(x.clone(), position.clone(), None, None);
        let attended = self.self_attn.self_attention_on_gpu(x.clone(), placed, None);
        let [x, query] =
            gpu::normed_and_placed(x, Before::step(attended), &self.norm2, position.clone());

        let padding = memory.text_context.padding.clone();
        let read = self.ca_text.cross_attention_on_gpu(query, memory.text.clone(), padding);
        let [x, query] = gpu::normed_and_placed(x, Before::step(read), &self.catext_norm, position);

        let (image, geometry) = (memory.image.clone(), memory.geometry);
        let seen = self.cross_attn.forward_on_gpu(query, references, image, geometry);
        let x = gpu::normed(x, Before::step(seen), &self.norm1, DType::F32);
        normed_feed_forward_on_gpu(&self.linear1, &self.linear2, &self.norm3, x)
    }
}
