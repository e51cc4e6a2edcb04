//! What kernels for GPUs are asked for: operands and how they are to be read.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};

/// Where an operand of a matmul stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Left,
    Right,
}

/// What follows a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    None,
    Relu,
    /// `x·Φ(x)` by the error function.
    GeluErf,
    /// `x·σ(1.702·x)`.
    QuickGelu,
}

/// How patches are cut from an image, in both directions alike.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    pub order: Order,
}

/// What changes faster inside a patch; channels change fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Pixel after pixel of a line.
    Lines,
    /// Pixel below pixel of a column.
    Columns,
}

/// Rows of a linear layer and its bias, which is still to be added.
pub type Unbiased<B, const D: usize = 3> = (Tensor<B, D>, Option<Tensor<B, 1>>);

/// What is added to `x` before it is normalised: `scale·(step + bias)`, each where there is one.
pub struct Before<B: Backend, const D: usize> {
    pub step: Option<Tensor<B, D>>,
    pub bias: Option<Tensor<B, 1>>,
    pub scale: Option<Tensor<B, 1>>,
}

impl<B: Backend, const D: usize> Default for Before<B, D> {
    fn default() -> Self {
        Before { step: None, bias: None, scale: None }
    }
}

impl<B: Backend, const D: usize> Before<B, D> {
    /// Of what a linear layer gives.
    pub fn step((rows, bias): Unbiased<B, D>) -> Self {
        Before { step: Some(rows), bias, scale: None }
    }
}

/// What else the kernel of a layer norm makes.
pub struct Also<T, P = T> {
    /// The sum that is normalised.
    pub sum: bool,
    /// `[n, width]` or `[…, n, width]`: the norm plus this, row by row, again and again.
    pub position: Option<P>,
    /// `x` and `step` of a second residual stream, of the shapes and formats of the first: their sum, with the
    /// bias and the scale of the first.
    pub second: Option<[T; 2]>,
}

impl<T, P> Default for Also<T, P> {
    fn default() -> Self {
        Also { sum: false, position: None, second: None }
    }
}

/// Columns of a projection without its bias.
#[derive(Clone)]
pub struct Columns<B: Backend> {
    /// `[batch, tokens, any]`.
    pub rows: Tensor<B, 3>,
    /// `[any]`.
    pub bias: Option<Tensor<B, 1>>,
    /// The first of the columns that count.
    pub first: usize,
}

/// What attention is over, see [`attended`](super::attended).
pub struct Attention<B: Backend> {
    pub query: Columns<B>,
    pub key: Columns<B>,
    pub value: Columns<B>,
    pub heads: usize,
    /// Of all heads.
    pub width: usize,
    /// `[heads, queries, keys]`, added to the scores.
    pub position: Option<Tensor<B, 3>>,
    /// `[n, queries, keys]`, added to the scores; window `i` takes mask `i mod n`.
    pub mask: Option<Tensor<B, 3>>,
    /// `[batch or 1, 1, queries or 1, keys]`, true where a query must not see a key.
    pub hidden: Option<Tensor<B, 4, Bool>>,
    /// `[windows, tokens]`: attention inside windows, whose tokens are these rows of an image; −1 for
    /// filling.
    pub places: Option<Tensor<B, 2, Int>>,
}

/// Deformable attention behind its projections, see [`sampled`](super::sampled).
pub struct Sampling<B: Backend> {
    /// `[batch, n, width]`.
    pub value: Tensor<B, 3>,
    pub value_bias: Option<Tensor<B, 1>>,
    /// `[batch, n]`, true where a token counts as zeros.
    pub padding: Option<Tensor<B, 2, Bool>>,
    /// `[batch, queries, heads · levels · points · 2]`.
    pub offsets: Tensor<B, 3>,
    pub offsets_bias: Option<Tensor<B, 1>>,
    /// `[batch, queries, heads · levels · points]`, before the softmax.
    pub weights: Tensor<B, 3>,
    pub weights_bias: Option<Tensor<B, 1>>,
    /// `[batch or 1, queries, levels, 2 or 4]`: points, or boxes.
    pub references: Tensor<B, 4>,
    /// `[levels, 3]`: height, width and first token.
    pub levels: Tensor<B, 2, Int>,
    pub heads: usize,
    pub points: usize,
}

/// Elements from one index to the next, of (batch, head, row, column).
pub type Strides = [usize; 4];

/// A matmul between the layouts of heads: `out[b, h, i, j] = scale · Σ_k (a[b, h, i, k] + a_bias[h, k]) ·
/// (c[b, h, k, j] + c_bias[h, k]) + bias[h, j]`.
pub struct Small<B: Backend> {
    pub a: Tensor<B, 1>,
    pub a_strides: Strides,
    pub a_bias: Option<Tensor<B, 1>>,
    pub c: Tensor<B, 1>,
    pub c_strides: Strides,
    pub c_bias: Option<Tensor<B, 1>>,
    pub bias: Option<Tensor<B, 1>>,
    pub scale: f32,
    /// Batch, heads, rows, columns of the result.
    pub sizes: [usize; 4],
    pub inner: usize,
    pub out_strides: Strides,
}
