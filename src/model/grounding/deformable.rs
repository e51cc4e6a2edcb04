//! Multi-scale deformable attention (Zhu et al. 2021, equation 3): every query reads a few
//! bilinear samples around its reference on every level, weighted by itself. No scores are formed.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, backend::Backend};

use super::levels::{LevelGeometry, LevelShape, zero_rows};
use super::sampling::{Samples, sample};

/// Dimensions of a [`DeformableAttention`].
#[derive(Debug, Clone)]
pub struct DeformableAttentionConfig {
    pub width: usize,
    pub heads: usize,
    pub levels: usize,
    /// Samples per head and level.
    pub points: usize,
}

/// Around what a query samples, per level, in fractions of the level's map.
#[derive(Debug, Clone)]
pub enum References<B: Backend> {
    /// `[batch, queries, levels, 2]` (x, y): offsets count pixels of the level.
    Points(Tensor<B, 4>),
    /// `[batch, queries, levels, 4]` (centre x, y, width, height): `points` offsets of 1 span half
    /// a box.
    Boxes(Tensor<B, 4>),
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
        let value = zero_rows(self.value_proj.forward(value), geometry.padding.clone());
        let samples = self.levels * self.points;
        let weights = self.attention_weights.forward(query.clone());
        let weights = softmax(weights.reshape([batch, queries, self.heads, samples]), 3);
        let offsets = self.sampling_offsets.forward(query);
        let locations = self.locations(offsets, references, &geometry.shapes);
        let sampled = sample(value, &geometry.shapes, Samples { locations, weights });
        self.output_proj.forward(sampled)
    }

    /// `offsets` `[batch, queries, heads · levels · points · 2]` → where to sample,
    /// `[batch, queries, heads, levels · points · 2]`.
    fn locations(
        &self,
        offsets: Tensor<B, 3>,
        references: &References<B>,
        shapes: &[LevelShape],
    ) -> Tensor<B, 4> {
        let [batch, queries, _] = offsets.dims();
        let per_level = 2 * self.points;
        let offsets = offsets.reshape([batch, queries, self.heads, self.levels * per_level]);
        let levels = shapes.iter().enumerate().map(|(level, &shape)| {
            let offsets = offsets.clone().narrow(3, level * per_level, per_level);
            let offsets = offsets.reshape([batch, queries, self.heads * self.points, 2]);
            references
                .offset(level, shape, offsets, self.points)
                .reshape([batch, queries, self.heads, per_level])
        });
        Tensor::cat(levels.collect(), 3)
    }
}

impl<B: Backend> References<B> {
    /// `offsets` `[batch, queries, any, 2]` from these references on one level, in fractions of
    /// its map.
    fn offset(
        &self,
        level: usize,
        shape: LevelShape,
        offsets: Tensor<B, 4>,
        points: usize,
    ) -> Tensor<B, 4> {
        match self {
            References::Points(centres) => {
                let sides = [shape.width as f32, shape.height as f32];
                let sides = Tensor::<B, 1>::from_floats(sides, &offsets.device());
                centres.clone().narrow(2, level, 1) + offsets / sides.unsqueeze()
            }
            References::Boxes(boxes) => {
                let boxes = boxes.clone().narrow(2, level, 1);
                let reach = boxes.clone().narrow(3, 2, 2) * (0.5 / points as f64);
                boxes.narrow(3, 0, 2) + offsets * reach
            }
        }
    }
}
