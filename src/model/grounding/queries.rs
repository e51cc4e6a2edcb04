//! Language-guided query selection: which image tokens become queries. In: the enhanced tokens.
//! Out: one reference box per query, in logit space. The content of a query is a learned row, not
//! the token.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData, backend::Backend};

use super::boxes::logit;
use super::config::GroundingConfig;
use super::feed_forward::{Perceptron, PerceptronConfig};
use super::levels::{LevelGeometry, LevelShape};
use super::ranking::highest;
use crate::model::kept::kept;
use crate::model::kernels::gpu::{self, Before};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::{product, project, without_bias};

/// Edge length of a proposal on the finest level, as a fraction of the image; it doubles per level.
const FINEST_PROPOSAL: f32 = 0.05;
/// A proposal with any of its four numbers outside this open range is no proposal.
const PROPOSAL_RANGE: [f32; 2] = [0.01, 0.99];

/// The parameters of query selection.
#[derive(Module, Debug)]
pub struct QuerySelector<B: Backend> {
    pub enc_output: Linear<B>,
    pub enc_output_norm: LayerNorm<B>,
    pub enc_out_bbox_embed: Perceptron<B>,
    /// `[queries, d_model]`: what every query starts as.
    pub tgt_embed: Embedding<B>,
}

/// One box per image token before selection.
#[derive(Debug, Clone)]
pub struct Proposals<B: Backend> {
    /// `[batch, n, 4]` in logit space; +∞ where a token may propose nothing.
    pub boxes: Tensor<B, 3>,
    /// `[batch, n]`, true where a token may propose nothing.
    pub invalid: Tensor<B, 2, Bool>,
}

/// The queries of a batch.
#[derive(Debug, Clone)]
pub struct Queries<B: Backend> {
    /// `[batch, queries]`: the image token of each query, best score first.
    pub tokens: Tensor<B, 2, Int>,
    /// `[batch, queries, 4]` in logit space.
    pub boxes: Tensor<B, 3>,
    /// `[batch, queries, d_model]`.
    pub content: Tensor<B, 3>,
}

impl GroundingConfig {
    pub(super) fn init_query_selector<B: Backend>(&self, device: &B::Device) -> QuerySelector<B> {
        QuerySelector {
            enc_output: LinearConfig::new(self.d_model, self.d_model).init(device),
            enc_output_norm: LayerNormConfig::new(self.d_model).init(device),
            enc_out_bbox_embed: PerceptronConfig::box_head(self.d_model).init(device),
            tgt_embed: EmbeddingConfig::new(self.queries, self.d_model).init(device),
        }
    }
}

impl<B: Backend> Proposals<B> {
    /// A square box around every token, as large as its level is coarse. Without padding one row for all
    /// images, made once for each size.
    pub fn new(geometry: &LevelGeometry<B>) -> Self {
        if !geometry.full {
            return Self::made(geometry);
        }
        let sizes = geometry.shapes.iter().flat_map(|shape| [shape.height, shape.width]);
        let (sizes, device) = (sizes.collect::<Vec<_>>(), geometry.centres.device());
        Proposals {
            boxes: kept("proposals", &sizes, &device, || Self::made(geometry).boxes),
            invalid: kept("invalid proposals", &sizes, &device, || Self::made(geometry).invalid),
        }
    }

    fn made(geometry: &LevelGeometry<B>) -> Self {
        let [batch, n, _] = geometry.centres.dims();
        let device = geometry.centres.device();
        let sides = proposal_sides::<B>(&geometry.shapes, &device);
        let boxes = Tensor::cat(vec![geometry.centres.clone(), sides.expand([batch, n, 2])], 2);
        let [low, high] = PROPOSAL_RANGE;
        let inside = boxes.clone().greater_elem(low).bool_and(boxes.clone().lower_elem(high));
        let inside = inside.all_dim(2).reshape([batch, n]);
        let invalid = inside.bool_not().bool_or(geometry.padding.clone());
        let every_number = invalid.clone().unsqueeze_dim::<3>(2).expand([batch, n, 4]);
        Proposals { boxes: logit(boxes).mask_fill(every_number, f32::INFINITY), invalid }
    }
}

/// `[1, n, 2]`: edge lengths of the proposals of all levels, as fractions of the image.
fn proposal_sides<B: Backend>(shapes: &[LevelShape], device: &B::Device) -> Tensor<B, 3> {
    let tokens = shapes.iter().map(LevelShape::tokens).collect::<Vec<_>>();
    kept("sides of proposals", &tokens, device, || {
        let of_level = |(level, tokens): (usize, &usize)| {
            let side = FINEST_PROPOSAL * 2f32.powi(level as i32);
            std::iter::repeat_n(side, 2 * tokens)
        };
        let sides = tokens.iter().enumerate().flat_map(of_level).collect::<Vec<f32>>();
        let n = sides.len() / 2;
        Tensor::from_data(TensorData::new(sides, [1, n, 2]), device)
    })
}

impl<B: Backend> QuerySelector<B> {
    /// The image tokens as selection reads them, `LN(W·x + b)`: `[batch, n, d_model]`. `image` has
    /// rows of zeros where a token may propose nothing, see [`zero_rows`](super::levels::zero_rows).
    pub fn memory(&self, image: Tensor<B, 3>) -> Tensor<B, 3> {
        match gpu::reaches::<B>() {
            true => {
                let (rows, bias) = without_bias(&self.enc_output, image);
                let before = Before { bias, ..Before::default() };
                gpu::normed(rows, before, &self.enc_output_norm, DType::F32)
            }
            false => self.enc_output_norm.forward(project(&self.enc_output, image)),
        }
    }

    /// `[batch, n]`: the largest dot product of each token with any text token that is none of
    /// the padding.
    pub fn scores(
        &self,
        memory: Tensor<B, 3>,
        text: Tensor<B, 3>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 2> {
        text_logits(memory, text, text_padding).max_dim(2).squeeze_dim(2)
    }

    /// The tokens with the highest scores, as many as there are learned rows, or all if the
    /// image has fewer. Tokens that may propose nothing take part with the score they have, as
    /// in the published model; their reference is the whole image's far corner.
    pub fn select(
        &self,
        memory: Tensor<B, 3>,
        scores: Tensor<B, 2>,
        proposals: Tensor<B, 3>,
    ) -> Queries<B> {
        let [batch, n, d_model] = memory.dims();
        let rows = self.tgt_embed.weight.val();
        let count = rows.dims()[0].min(n);
        let tokens = highest(scores, count);
        let pick = |width| tokens.clone().unsqueeze_dim::<3>(2).expand([batch, count, width]);
        // The box head works token by token, so it need only see the chosen ones.
        let chosen = memory.gather(1, pick(d_model));
        let proposals = proposals.expand([batch, n, 4]);
        let boxes = self.enc_out_bbox_embed.forward(chosen) + proposals.gather(1, pick(4));
        let content = rows.narrow(0, 0, count).unsqueeze_dim::<3>(0);
        Queries { tokens, boxes, content: content.expand([batch, count, d_model]) }
    }
}

/// `x·textᵀ`, −∞ for padded text: `[batch, n, text tokens]`.
pub fn text_logits<B: Backend>(
    x: Tensor<B, 3>,
    text: Tensor<B, 3>,
    text_padding: Tensor<B, 2, Bool>,
) -> Tensor<B, 3> {
    let logits = product(x, text.swap_dims(1, 2));
    let dims = logits.dims();
    logits.mask_fill(text_padding.unsqueeze_dim::<3>(1).expand(dims), f32::NEG_INFINITY)
}
