//! Our kernels for GPUs, for networks that run on a GPU's own backend. In: tensors of any backend of
//! which [`reaches`] says so. Out: tensors of the same. Who calls asks [`reaches`] first and has another
//! way where there is none; nothing here has a gradient.

#![cfg_attr(not(feature = "cuda-untuned"), allow(unused_variables))]

#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
mod handed;
mod types;

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
use super::cube;
use crate::model::norm::LayerNorm;
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
use handed::{flags, give, is, numbers, take};

pub use types::{
    Act, Also, Attention, Before, Columns, Order, Patches, Sampling, Side, Small, Strides, Unbiased,
};

/// Does its last argument on the backend `B`, as `$G`.
macro_rules! on_gpu {
    ($B:ty, $G:ident, $body:expr) => {{
        #[cfg(feature = "cuda-untuned")]
        if is::<$B, crate::device::Cuda>() {
            type $G = crate::device::Cuda;
            return $body;
        }
        #[cfg(feature = "wgpu")]
        if is::<$B, crate::device::Wgpu>() {
            type $G = crate::device::Wgpu;
            return $body;
        }
        unreachable!("kernels for GPUs are asked for on their backends only")
    }};
}

/// Whether `B` is the backend of a GPU that has our kernels.
pub fn reaches<B: Backend>() -> bool {
    #[cfg(feature = "cuda-untuned")]
    if is::<B, crate::device::Cuda>() {
        return true;
    }
    #[cfg(feature = "wgpu")]
    if is::<B, crate::device::Wgpu>() {
        return true;
    }
    false
}

/// `act(a·b + bias)` by NVIDIA's library, in f32 without rounding operands: where there is one and it is switched on.
pub fn multiplied_by_library<B: Backend, const D: usize>(
    a: &Tensor<B, D>,
    b: &Tensor<B, D>,
    bias: Option<&Tensor<B, 1>>,
    act: Act,
) -> Option<Tensor<B, D>> {
    #[cfg(feature = "cuda-untuned")]
    if is::<B, crate::device::Cuda>() {
        type G = crate::device::Cuda;
        let [a, b] = [a, b].map(|tensor| take::<B, G, D>(tensor.clone()));
        let is_relu = match (act, bias) {
            (Act::None, _) => false,
            (Act::Relu, Some(_)) => true,
            _ => return None,
        };
        let after = bias.map(|bias| {
            let bias = take::<B, G, 1>(bias.clone());
            super::cublaslt::After { bias, is_relu }
        });
        return super::cublaslt::multiplied(&a, &b, after).map(give::<B, G, D>);
    }
    None
}

/// `LN(x + before)` in `format`.
pub fn normed<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    before: Before<B, D>,
    norm: &LayerNorm<B>,
    format: DType,
) -> Tensor<B, D> {
    let [out, ..] = normed_and(x, before, norm, format, Also::default());
    out.expect("the norm itself is always there")
}

/// The same, and the sum that was normalised, in the format of `x`.
pub fn summed_and_normed<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    before: Before<B, D>,
    norm: &LayerNorm<B>,
    format: DType,
) -> [Tensor<B, D>; 2] {
    let also = Also { sum: true, ..Also::default() };
    let [out, sum, ..] = normed_and(x, before, norm, format, also);
    [sum, out].map(|tensor| tensor.expect("both were asked for"))
}

/// The same, and the sum of a second stream `[x, step]` with the bias and the scale of the first.
pub fn both_summed_and_normed<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    before: Before<B, D>,
    second: [Tensor<B, D>; 2],
    norm: &LayerNorm<B>,
    format: DType,
) -> [Tensor<B, D>; 3] {
    let also = Also { sum: true, second: Some(second), ..Also::default() };
    let [out, sum, _, second] = normed_and(x, before, norm, format, also);
    [sum, out, second].map(|tensor| tensor.expect("all were asked for"))
}

/// [`normed`], and the same plus `position` `[batch or 1, n, width]`.
pub fn normed_and_placed<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    before: Before<B, D>,
    norm: &LayerNorm<B>,
    position: Tensor<B, 3>,
) -> [Tensor<B, D>; 2] {
    let format = x.dtype();
    let also = Also { position: Some(position), ..Also::default() };
    let [out, _, placed, _] = normed_and(x, before, norm, format, also);
    [out, placed].map(|tensor| tensor.expect("both were asked for"))
}

/// The norm, the sum, the placed norm, the sum of the second stream.
fn normed_and<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    before: Before<B, D>,
    norm: &LayerNorm<B>,
    format: DType,
    also: Also<Tensor<B, D>, Tensor<B, 3>>,
) -> [Option<Tensor<B, D>>; 4] {
    let Before { step, bias, scale } = before;
    let gamma = norm.gamma.val();
    let beta = norm.beta.val();
    let epsilon = norm.epsilon as f32;
    on_gpu!(B, G, {
        let summed = cube::norm::Summed {
            x: take::<B, G, D>(x),
            step: step.map(take::<B, G, D>),
            bias: bias.map(take::<B, G, 1>),
            scale: scale.map(take::<B, G, 1>),
        };
        let (gamma, beta) = (take::<B, G, 1>(gamma), take::<B, G, 1>(beta));
        let affine = cube::norm::Affine { gamma, beta, epsilon, format };
        let also = Also {
            sum: also.sum,
            position: also.position.map(take::<B, G, 3>),
            second: also.second.map(|both| both.map(take::<B, G, D>)),
        };
        let cube::norm::Normed { out, sum, placed, second } =
            cube::norm::normed(summed, affine, also);
        [Some(out), sum, placed, second].map(|tensor| tensor.map(give::<B, G, D>))
    })
}

/// `act(x + bias)` in `format`.
pub fn activated<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    bias: Option<Tensor<B, 1>>,
    act: Act,
    format: DType,
) -> Tensor<B, D> {
    on_gpu!(B, G, {
        let bias = bias.map(take::<B, G, 1>);
        give::<B, G, _>(cube::pointwise::activated(take::<B, G, D>(x), bias, act, format))
    })
}

/// `x + scale·(step + bias)` in the format of `x`. A `step` of fewer rows is added again and again.
pub fn residual<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    step: Tensor<B, D>,
    bias: Option<Tensor<B, 1>>,
    scale: Option<Tensor<B, 1>>,
) -> Tensor<B, D> {
    on_gpu!(B, G, {
        let [bias, scale] = [bias, scale].map(|tensor| tensor.map(take::<B, G, 1>));
        let (x, step) = (take::<B, G, D>(x), take::<B, G, D>(step));
        give::<B, G, _>(cube::pointwise::residual(x, step, bias, scale))
    })
}

/// `qkv` `[batch, tokens, 3 · width]` plus `bias` → query times `scale`, key and value, each `[streams ·
/// batch, heads, tokens, width / heads]`. With two streams, the second has the value in all three places.
pub fn split_fused<B: Backend>(
    qkv: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    heads: usize,
    scale: f64,
    streams: usize,
) -> [Tensor<B, 4>; 3] {
    on_gpu!(B, G, {
        let bias = bias.map(take::<B, G, 1>);
        let parts =
            cube::heads::split_fused(take::<B, G, 3>(qkv), bias, heads, scale as f32, streams);
        [parts.query, parts.key, parts.value].map(give::<B, G, 4>)
    })
}

/// `[batch, heads, tokens, head width]` → `[batch, tokens, width]`.
pub fn merged<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    on_gpu!(B, G, give::<B, G, _>(cube::heads::merged(take::<B, G, 4>(x))))
}

/// Softmax over the keys of `scores` `[batch, any, rows, keys]` plus `shift` `[batch, rows, keys]` or
/// none, in `format`; `hidden` `[batch or 1, 1, rows or 1, keys]` is true where a row must not see a key.
pub fn softmax_rows<B: Backend>(
    scores: Tensor<B, 4>,
    shift: Option<Tensor<B, 3>>,
    hidden: Option<Tensor<B, 4, Bool>>,
    format: DType,
) -> Tensor<B, 4> {
    let [_, any, rows, _] = scores.dims();
    on_gpu!(B, G, {
        let scores = cube::softmax::Scores {
            x: take::<B, G, 4>(scores),
            shift: shift.map(take::<B, G, 3>),
            hidden: hidden.map(flags::<B, G, 4>),
            rows_per_mask: any * rows,
        };
        give::<B, G, _>(cube::softmax::over_rows(scores, format))
    })
}

/// Softmax over the rows of `x` `[batch, rows, columns]`, as `[batch, columns, rows]`; `hidden` `[batch,
/// rows]` is true where a row counts for nothing.
pub fn softmax_columns<B: Backend>(
    x: Tensor<B, 3>,
    hidden: Option<Tensor<B, 2, Bool>>,
) -> Tensor<B, 3> {
    on_gpu!(B, G, {
        let hidden = hidden.map(flags::<B, G, 2>);
        give::<B, G, _>(cube::softmax::over_columns(take::<B, G, 3>(x), hidden))
    })
}

/// Whether [`attended`] has heads of `width / heads` columns.
pub fn attends(width: usize, heads: usize) -> bool {
    width / heads.max(1) <= 128
}

/// `softmax(q·kᵀ/√head_width + position + mask)·v` in f32 without one score in memory: rows as those of
/// `query`, `[batch, tokens, width]`.
pub fn attended<B: Backend>(attention: Attention<B>) -> Tensor<B, 3> {
    let Attention { query, key, value, heads, width, position, mask, hidden, places } = attention;
    let ([images, rows, _], [_, key_rows, _]) = (query.rows.dims(), key.rows.dims());
    let (batch, queries, keys) = match places.as_ref().map(Tensor::dims) {
        Some([windows, tokens]) => (images * windows, tokens, tokens),
        None => (images, rows, key_rows),
    };
    let head_width = width / heads;
    on_gpu!(B, G, {
        let columns = |columns: Columns<B>| cube::attention::Columns {
            rows: take::<B, G, 3>(columns.rows),
            bias: columns.bias.map(take::<B, G, 1>),
            first: columns.first,
        };
        let windows = places
            .map(|places| cube::attention::Windows { places: numbers::<B, G, 2>(places), rows });
        let out = cube::attention::attended(cube::attention::Attention {
            query: columns(query),
            key: columns(key),
            value: columns(value),
            batch,
            heads,
            head_width,
            queries,
            keys,
            scale: (head_width as f32).powf(-0.5),
            position: position.map(take::<B, G, 3>),
            mask: mask.map(take::<B, G, 3>),
            hidden: hidden.map(flags::<B, G, 4>),
            windows,
        });
        give::<B, G, 2>(out).reshape([images, rows, width])
    })
}

/// The weighted sums of bilinear looks, `[batch, queries, width]`.
pub fn sampled<B: Backend>(sampling: Sampling<B>) -> Tensor<B, 3> {
    on_gpu!(B, G, {
        let take_bias = |bias: Option<Tensor<B, 1>>| bias.map(take::<B, G, 1>);
        give::<B, G, _>(cube::sampling::sampled(cube::sampling::Sampling {
            value: take::<B, G, 3>(sampling.value),
            value_bias: take_bias(sampling.value_bias),
            padding: sampling.padding.map(flags::<B, G, 2>),
            offsets: take::<B, G, 3>(sampling.offsets),
            offsets_bias: take_bias(sampling.offsets_bias),
            weights: take::<B, G, 3>(sampling.weights),
            weights_bias: take_bias(sampling.weights_bias),
            references: take::<B, G, 4>(sampling.references),
            levels: numbers::<B, G, 2>(sampling.levels),
            heads: sampling.heads,
            points: sampling.points,
        }))
    })
}

/// The matmul, as a tensor of `shape`.
pub fn multiplied<B: Backend, const D: usize>(matmul: Small<B>, shape: [usize; D]) -> Tensor<B, D> {
    on_gpu!(B, G, {
        let take_bias = |bias: Option<Tensor<B, 1>>| bias.map(take::<B, G, 1>);
        let matmul = cube::small::Small {
            a: take::<B, G, 1>(matmul.a),
            a_strides: matmul.a_strides,
            a_bias: take_bias(matmul.a_bias),
            c: take::<B, G, 1>(matmul.c),
            c_strides: matmul.c_strides,
            c_bias: take_bias(matmul.c_bias),
            bias: take_bias(matmul.bias),
            scale: matmul.scale,
            sizes: matmul.sizes,
            inner: matmul.inner,
            out_strides: matmul.out_strides,
        };
        give::<B, G, _>(cube::small::multiplied(matmul, &shape))
    })
}

/// The sine code of boxes `[batch, n, levels, 4]` on their first level, in the order y, x, width, height:
/// `[batch, n, 8 · wavelengths]`.
pub fn coded<B: Backend>(boxes: Tensor<B, 4>, wavelengths: Tensor<B, 1>) -> Tensor<B, 3> {
    let [batch, n, levels, _] = boxes.dims();
    let [pairs] = wavelengths.dims();
    on_gpu!(B, G, {
        let (boxes, wavelengths) = (take::<B, G, 4>(boxes), take::<B, G, 1>(wavelengths));
        let code = cube::boxes::coded(boxes, 4 * levels, wavelengths);
        give::<B, G, 2>(code).reshape([batch, n, 8 * pairs])
    })
}

/// `σ(shift + bias + logit(boxes))` with the logit of numbers at least `margin` from 0 and 1.
pub fn refined<B: Backend>(
    shift: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    boxes: Tensor<B, 3>,
    margin: f64,
) -> Tensor<B, 3> {
    on_gpu!(B, G, {
        let bias = bias.map(take::<B, G, 1>);
        let (shift, boxes) = (take::<B, G, 3>(shift), take::<B, G, 3>(boxes));
        give::<B, G, _>(cube::boxes::refined(shift, bias, boxes, margin as f32))
    })
}

/// Group norm of `x` `[batch, rows, channels]` plus `bias`, times `gamma` plus `beta`.
pub fn normed_groups<B: Backend>(
    x: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    affine: [Tensor<B, 1>; 2],
    groups: usize,
    epsilon: f64,
) -> Tensor<B, 3> {
    let shape @ [batch, ..] = x.dims();
    on_gpu!(B, G, {
        let (x, bias) = (take::<B, G, 3>(x), bias.map(take::<B, G, 1>));
        let affine = affine.map(take::<B, G, 1>);
        let out = cube::group::normed_groups(x, bias, affine, batch, groups, epsilon as f32);
        give::<B, G, 2>(out).reshape(shape)
    })
}

/// An operand of a matmul in f32 as its parts: `[…, rows, columns]` → `[…, rows, 3 · columns]` small, large,
/// large of a left one, `[…, 3 · rows, columns]` itself, small, large of a right one.
pub fn stacked<B: Backend, const D: usize>(x: Tensor<B, D>, side: Side) -> Tensor<B, D> {
    on_gpu!(B, G, give::<B, G, _>(cube::parts::stacked(take::<B, G, D>(x), side)))
}

/// Patches of `x` `[batch, height, width, channels]` as rows, zeros beyond the border: `[batch, rows,
/// columns, kernel² · channels]`.
pub fn unfolded<B: Backend>(x: Tensor<B, 4>, patches: Patches) -> Tensor<B, 4> {
    on_gpu!(B, G, give::<B, G, _>(cube::patches::unfolded(take::<B, G, 4>(x), patches)))
}
