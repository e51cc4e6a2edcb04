//! The feature enhancer (encoder): in every layer image and text read each other, then the text
//! reads itself, then the image reads itself by deformable attention. In: both token sets. Out:
//! both, enhanced.

use burn::module::Module;

use burn::tensor::{Bool, DType, Tensor, backend::Backend};

use super::attention::{FusedAttention, FusedAttentionConfig};
use super::config::GroundingConfig;
use super::deformable::{DeformableAttention, DeformableAttentionConfig};
use super::feed_forward::{feed_forward, normed_feed_forward_on_gpu};
use super::fusion::{FusionConfig, FusionLayer, ImageAndText};
use super::levels::LevelGeometry;
use super::sampling::References;
use crate::model::kernels::gpu::{self, Before};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};

/// The encoder: three lists of equal length, read side by side.
#[derive(Module, Debug)]
pub struct Enhancer<B: Backend> {
    pub fusion_layers: Vec<FusionLayer<B>>,
    pub text_layers: Vec<TextLayer<B>>,
    pub layers: Vec<DeformableLayer<B>>,
}

/// Post-norm transformer layer on the text tokens.
#[derive(Module, Debug)]
pub struct TextLayer<B: Backend> {
    pub self_attn: FusedAttention<B>,
    pub linear1: Linear<B>,
    pub linear2: Linear<B>,
    pub norm1: LayerNorm<B>,
    pub norm2: LayerNorm<B>,
}

/// Post-norm layer of deformable self-attention on the image tokens.
#[derive(Module, Debug)]
pub struct DeformableLayer<B: Backend> {
    pub self_attn: DeformableAttention<B>,
    pub norm1: LayerNorm<B>,
    pub linear1: Linear<B>,
    pub linear2: Linear<B>,
    pub norm2: LayerNorm<B>,
}

/// What the text layers need beside the tokens.
#[derive(Debug, Clone)]
pub struct TextContext<B: Backend> {
    /// `[batch or 1, n, d_model]`: sine code of the positions inside a sub-sentence.
    pub position: Tensor<B, 3>,
    /// `[batch or 1, n, n]`, true where a token (row) must not see another (column).
    pub hidden: Tensor<B, 3, Bool>,
    /// `[batch or 1, n]`, true where the batch filled up a shorter caption.
    pub padding: Tensor<B, 2, Bool>,
}

/// What the image layers need beside the tokens.
#[derive(Debug, Clone)]
pub struct ImageContext<'a, B: Backend> {
    pub geometry: &'a LevelGeometry<B>,
    /// `[batch, n, d_model]`: sine code plus the learned vector of the level.
    pub position: Tensor<B, 3>,
}

impl GroundingConfig {
    pub(super) fn init_enhancer<B: Backend>(&self, device: &B::Device) -> Enhancer<B> {
        let (d_model, layers) = (self.d_model, self.encoder_layers);
        let fusion = FusionConfig { d_model, inner: self.fusion_dim, heads: self.fusion_heads };
        Enhancer {
            fusion_layers: (0..layers).map(|_| fusion.init(device)).collect(),
            text_layers: (0..layers).map(|_| self.init_text_layer(device)).collect(),
            layers: (0..layers).map(|_| self.init_deformable_layer(device)).collect(),
        }
    }

    fn init_text_layer<B: Backend>(&self, device: &B::Device) -> TextLayer<B> {
        let (d_model, ffn) = (self.d_model, self.text_layer_ffn);
        let norm = || LayerNormConfig::new(d_model).init(device);
        TextLayer {
            self_attn: FusedAttentionConfig { width: d_model, heads: self.text_layer_heads }
                .init(device),
            linear1: LinearConfig::new(d_model, ffn).init(device),
            linear2: LinearConfig::new(ffn, d_model).init(device),
            norm1: norm(),
            norm2: norm(),
        }
    }

    fn init_deformable_layer<B: Backend>(&self, device: &B::Device) -> DeformableLayer<B> {
        let (d_model, ffn) = (self.d_model, self.ffn);
        let norm = || LayerNormConfig::new(d_model).init(device);
        DeformableLayer {
            self_attn: self.deformable_attention().init(device),
            norm1: norm(),
            linear1: LinearConfig::new(d_model, ffn).init(device),
            linear2: LinearConfig::new(ffn, d_model).init(device),
            norm2: norm(),
        }
    }

    pub(super) fn deformable_attention(&self) -> DeformableAttentionConfig {
        DeformableAttentionConfig {
            width: self.d_model,
            heads: self.heads,
            levels: self.levels,
            points: self.points,
        }
    }
}

impl<B: Backend> Enhancer<B> {
    /// Both token sets through all layers.
    pub fn forward(
        &self,
        tokens: ImageAndText<B>,
        image: &ImageContext<'_, B>,
        text: &TextContext<B>,
    ) -> ImageAndText<B> {
        let references = References::Points(image.geometry.reference_points());
        let layers = self.fusion_layers.iter().zip(&self.text_layers).zip(&self.layers);
        layers.fold(tokens, |tokens, ((fusion, text_layer), image_layer)| {
            let text_padding = text.padding.clone();
            let fused = match image.geometry.hidden() {
                Some(padding) => fusion.forward(tokens, padding, text_padding),
                None => fusion.forward_on_gpu(tokens, None, text_padding),
            };
            ImageAndText {
                text: text_layer.forward(fused.text, text),
                image: image_layer.forward(fused.image, image, &references),
            }
        })
    }
}

impl<B: Backend> TextLayer<B> {
    /// `[batch, n, d_model]` in and out.
    pub fn forward(&self, x: Tensor<B, 3>, context: &TextContext<B>) -> Tensor<B, 3> {
        let hidden = Some(context.hidden.clone());
        if gpu::reaches::<B>() {
            let placed = gpu::residual(x.clone(), context.position.clone(), None, None);
            let step = self.self_attn.self_attention_on_gpu(x.clone(), placed, hidden);
            let x = gpu::normed(x, Before::step(step), &self.norm1, DType::F32);
            return normed_feed_forward_on_gpu(&self.linear1, &self.linear2, &self.norm2, x);
        }
        let attended = self.self_attn.self_attention(x.clone(), context.position.clone(), hidden);
        let x = self.norm1.forward(x + attended);
        self.norm2.forward(feed_forward(&self.linear1, &self.linear2, x))
    }
}

impl<B: Backend> DeformableLayer<B> {
    /// `[batch, n, d_model]` in and out.
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        context: &ImageContext<'_, B>,
        references: &References<B>,
    ) -> Tensor<B, 3> {
        if gpu::reaches::<B>() {
            let query = gpu::residual(x.clone(), context.position.clone(), None, None);
            let geometry = context.geometry;
            let step = self.self_attn.forward_on_gpu(query, references, x.clone(), geometry);
            let x = gpu::normed(x, Before::step(step), &self.norm1, DType::F32);
            return normed_feed_forward_on_gpu(&self.linear1, &self.linear2, &self.norm2, x);
        }
        let query = x.clone() + context.position.clone();
        let attended = self.self_attn.forward(query, references, x.clone(), context.geometry);
        let x = self.norm1.forward(x + attended);
        self.norm2.forward(feed_forward(&self.linear1, &self.linear2, x))
    }
}
