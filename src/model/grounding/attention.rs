//! Multi-head attention with one fused projection, as text layers and decoder use it, and the
//! masked attention that BERT shares. Tokens are `[batch, n, width]`.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor, backend::Backend};

use crate::model::attention::{merge_heads, split_heads};
use crate::model::derived::Derived;
use crate::model::kernels::gpu::{self, Attention, Columns};
use crate::model::kernels::{linear, parts_of};
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::{product, project, without_bias};

/// `softmax(q·kᵀ/√head_width)·v` over `heads` heads, `[batch, n, width]` each. `hidden`
/// `[batch, 1, queries or 1, keys]` is true where a query must not see a key.
pub fn masked_attention<B: Backend>(
    [q, k, v]: [Tensor<B, 3>; 3],
    heads: usize,
    hidden: Option<Tensor<B, 4, Bool>>,
) -> Tensor<B, 3> {
    let [q, k, v] = [q, k, v].map(|x| split_heads(x, heads));
    let [batch, _, queries, head_width] = q.dims();
    let keys = k.dims()[2];
    let scores = product(q * (head_width as f64).powf(-0.5), k.swap_dims(2, 3));
    let scores = match hidden {
        Some(hidden) => {
            scores.mask_fill(hidden.expand([batch, heads, queries, keys]), f32::NEG_INFINITY)
        }
        None => scores,
    };
    merge_heads(product(softmax(scores, 3), v))
}

/// Dimensions of a [`FusedAttention`].
#[derive(Debug, Clone)]
pub struct FusedAttentionConfig {
    pub width: usize,
    pub heads: usize,
}

/// Multi-head attention (Vaswani et al. 2017) whose three projections are one matrix.
#[derive(Module, Debug)]
pub struct FusedAttention<B: Backend> {
    /// Output columns are query, key, value, in this order.
    pub in_proj: Linear<B>,
    pub out_proj: Linear<B>,
    query_key: ColumnsOf<B>,
    value: ColumnsOf<B>,
    query: ColumnsOf<B>,
    key_value: ColumnsOf<B>,
    heads: usize,
}

/// Some columns of a fused matrix and their bias as tensors of their own, since views would be copied, and
/// the parts of the matrix; made once.
#[derive(Module, Debug)]
struct ColumnsOf<B: Backend> {
    matrix: Derived<B, 1, 2>,
    bias: Derived<B, 1, 1>,
    parts: Derived<B, 1, 2>,
}

impl FusedAttentionConfig {
    pub fn init<B: Backend>(&self, device: &B::Device) -> FusedAttention<B> {
        FusedAttention {
            in_proj: LinearConfig::new(self.width, 3 * self.width).init(device),
            out_proj: LinearConfig::new(self.width, self.width).init(device),
            query_key: ColumnsOf::new(),
            value: ColumnsOf::new(),
            query: ColumnsOf::new(),
            key_value: ColumnsOf::new(),
            heads: self.heads,
        }
    }
}

impl<B: Backend> FusedAttention<B> {
    /// Self-attention with query = key = `x + position` and value = `x`. `hidden` `[batch, n, n]`
    /// is true where a token (row) must not see another (column).
    pub fn self_attention(
        &self,
        x: Tensor<B, 3>,
        position: Tensor<B, 3>,
        hidden: Option<Tensor<B, 3, Bool>>,
    ) -> Tensor<B, 3> {
        let width = x.dims()[2];
        let query_key = self.project(x.clone() + position, 0, 2);
        let q = query_key.clone().narrow(2, 0, width);
        let k = query_key.narrow(2, width, width);
        let v = self.project(x, 2, 1);
        let hidden = hidden.map(|hidden| hidden.unsqueeze_dim(1));
        project(&self.out_proj, masked_attention([q, k, v], self.heads, hidden))
    }

    /// Attention of `query` `[batch, n, width]` to `memory` `[batch, m, width]`, which is both
    /// key and value. `padding` `[batch, m]` is true where the memory holds nothing.
    pub fn cross_attention(
        &self,
        query: Tensor<B, 3>,
        memory: Tensor<B, 3>,
        padding: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        let width = query.dims()[2];
        let q = self.project(query, 0, 1);
        let key_value = self.project(memory, 1, 2);
        let k = key_value.clone().narrow(2, 0, width);
        let v = key_value.narrow(2, width, width);
        let hidden = padding.unsqueeze_dims(&[1, 1]);
        project(&self.out_proj, masked_attention([q, k, v], self.heads, Some(hidden)))
    }

    /// [`self_attention`](Self::self_attention) by our kernels for GPUs, of `x` and `placed`, `x +
    /// position`; with the last bias apart.
    pub(super) fn self_attention_on_gpu(
        &self,
        x: Tensor<B, 3>,
        placed: Tensor<B, 3>,
        hidden: Option<Tensor<B, 3, Bool>>,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let width = x.dims()[2];
        let query_key = self.part(placed, &self.query_key, 0, 2);
        let key = Columns { first: width, ..query_key.clone() };
        let value = self.part(x, &self.value, 2, 1);
        self.attended_on_gpu(query_key, key, value, width, hidden.map(|h| h.unsqueeze_dim(1)))
    }

    /// [`cross_attention`](Self::cross_attention) by our kernels for GPUs, with the last bias apart.
    pub(super) fn cross_attention_on_gpu(
        &self,
        query: Tensor<B, 3>,
        memory: Tensor<B, 3>,
        padding: Tensor<B, 2, Bool>,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let width = query.dims()[2];
        let query = self.part(query, &self.query, 0, 1);
        let key = self.part(memory, &self.key_value, 1, 2);
        let value = Columns { first: width, ..key.clone() };
        self.attended_on_gpu(query, key, value, width, Some(padding.unsqueeze_dims(&[1, 1])))
    }

    fn attended_on_gpu(
        &self,
        query: Columns<B>,
        key: Columns<B>,
        value: Columns<B>,
        width: usize,
        hidden: Option<Tensor<B, 4, Bool>>,
    ) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let heads = self.heads;
        let (position, mask, places) = (None, None, None);
        let attention =
            Attention { query, key, value, heads, width, position, mask, hidden, places };
        without_bias(&self.out_proj, gpu::attended(attention))
    }

    /// `count` of the three projections, from the `first` on, by our kernels for GPUs: without their bias.
    fn part(&self, x: Tensor<B, 3>, of: &ColumnsOf<B>, first: usize, count: usize) -> Columns<B> {
        let width = x.dims()[2];
        let columns = [first * width, count * width];
        let matrix = of.matrix(self.in_proj.weight.val(), columns);
        let bias = self.in_proj.bias.as_ref().map(|bias| of.bias(bias.val(), columns));
        let rows = linear(x, matrix, None, |matrix| of.parts.parts_of(matrix));
        Columns { rows, bias, first: 0 }
    }

    /// `count` of the three projections, from the `first` on, side by side.
    fn project(&self, x: Tensor<B, 3>, first: usize, count: usize) -> Tensor<B, 3> {
        let width = x.dims()[2];
        let (start, len) = (first * width, count * width);
        let weight = self.in_proj.weight.val().narrow(1, start, len);
        let bias = self.in_proj.bias.as_ref().map(|bias| bias.val().narrow(0, start, len));
        linear(x, weight, bias, parts_of)
    }
}

impl<B: Backend> ColumnsOf<B> {
    fn new() -> Self {
        let (matrix, bias, parts) = (Derived::default(), Derived::default(), Derived::default());
        ColumnsOf { matrix, bias, parts }
    }

    // Times 1, so that they are no views.

    fn matrix(&self, fused: Tensor<B, 2>, [start, len]: [usize; 2]) -> Tensor<B, 2> {
        let [matrix] = self.matrix.get(&fused.device(), || [fused.narrow(1, start, len) * 1.0]);
        matrix
    }

    fn bias(&self, fused: Tensor<B, 1>, [start, len]: [usize; 2]) -> Tensor<B, 1> {
        let [bias] = self.bias.get(&fused.device(), || [fused.narrow(0, start, len) * 1.0]);
        bias
    }
}
