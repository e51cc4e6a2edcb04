//! Multi-scale deformable attention (Zhu et al. 2021, equation 3): every query reads a few
//! bilinear samples around its reference on every level, weighted by itself. No scores are formed.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, backend::Backend};

use super::levels::{LevelGeometry, zero_rows};
use super::sampling::{References, Samples, sample};
use crate::model::kernels::gpu::{self, Sampling};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::{project, without_bias};

/// Dimensions of a [`DeformableAttention`].
#[derive(Debug, Clone)]
pub struct DeformableAttentionConfig {
    pub width: usize,
    pub heads: usize,
    pub levels: usize,
    /// Samples per head and level.
    pub points: usize,
}

/// `Σ_level Σ_point A · (W·value)(reference + offset)`, head by head, then a linear layer.
#[derive(Module, Debug)]
pub struct DeformableAttention<B: Backend> {
    /// `width` → heads × levels × points × (x, y).
    pub sampling_offsets: Linear<B>,
    /// `width` → heads × (levels × points).
    pub attention_weights: Linear<B>,
    pub value_proj: Linear<B>,
    pub output_proj: Linear<B>,
    heads: usize,
    levels: usize,
    points: usize,
}

impl DeformableAttentionConfig {
    pub fn init<B: Backend>(&self, device: &B::Device) -> DeformableAttention<B> {
        let linear = |to| LinearConfig::new(self.width, to).init(device);
        let samples = self.heads * self.levels * self.points;
        DeformableAttention {
            sampling_offsets: linear(2 * samples),
            attention_weights: linear(samples),
            value_proj: linear(self.width),
            output_proj: linear(self.width),
            heads: self.heads,
            levels: self.levels,
            points: self.points,
        }
    }
}

impl<B: Backend> DeformableAttention<B> {
    /// `query` `[batch, queries, width]`, `value` `[batch, n, width]` → `[batch, queries, width]`.
    pub fn forward(
        &self,
        query: Tensor<B, 3>,
        references: &References<B>,
        value: Tensor<B, 3>,
        geometry: &LevelGeometry<B>,
    ) -> Tensor<B, 3> {
        let [batch, queries, _] = query.dims();
        let value = zero_rows(project(&self.value_proj, value), geometry.padding.clone());
        let samples = self.levels * self.points;
        let weights = project(&self.attention_weights, query.clone());
        let weights = softmax(weights.reshape([batch, queries, self.heads, samples]), 3);
        let offsets = project(&self.sampling_offsets, query);
        let offsets = offsets.reshape([batch, queries, self.heads, 2 * samples]);
        let samples = Samples { references, offsets, weights };
        project(&self.output_proj, sample(value, &geometry.shapes, samples))
    }

    /// The same by one kernel between the projections, with the bias of the last one apart.
    pub(super) fn forward_on_gpu(
        &self,
        query: Tensor<B, 3>,
        references: &References<B>,
        value: Tensor<B, 3>,
        geometry: &LevelGeometry<B>,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let (value, value_bias) = without_bias(&self.value_proj, value);
        let (weights, weights_bias) = without_bias(&self.attention_weights, query.clone());
        let (offsets, offsets_bias) = without_bias(&self.sampling_offsets, query);
        let (References::Points(references) | References::Boxes(references)) = references;
        let sampled = gpu::sampled(Sampling {
            value,
            value_bias,
            padding: geometry.hidden(),
            offsets,
            offsets_bias,
            weights,
            weights_bias,
            references: references.clone(),
            levels: geometry.table(),
            heads: self.heads,
            points: self.points,
        });
        without_bias(&self.output_proj, sampled)
    }
}
