//! Operators that training computes in one pass, value and gradient, because the backend takes
//! them apart: attention, GELU, instance norm, and sums of patches of a picture. In: tensors of any
//! backend. Out: the same numbers; a backend without a fused form gets the plain one. Nothing is
//! approximated beyond f32 rounding.

mod attention;
mod centre;
mod convolve;
mod gelu;
mod node;
mod norm;
pub mod simd;
mod unfold;

use std::any::Any;

use burn::tensor::{Bool, Tensor, activation, backend::Backend};

use crate::device::TrainBackend;

pub use attention::Streams;
pub use node::scalar_with_gradient;

/// `x·Φ(x)`, Φ the standard normal distribution (erf GELU).
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match same::<_, Tensor<TrainBackend, D>>(x) {
        Ok(x) => back(gelu::fused(x)),
        Err(x) => activation::gelu(x),
    }
}

/// Self-attention over a fused projection, all heads: `qkv` `[batch, tokens, 3 · width]` →
/// `[streams · batch, tokens, width]`. `hidden` `[batch or 1, 1, tokens, tokens]` is true where a
/// query must not see a key. `Err` gives `qkv` back where there is no fused form.
pub fn self_attention<B: Backend>(
    qkv: Tensor<B, 3>,
    heads: usize,
    streams: Streams,
    hidden: Option<&Tensor<B, 4, Bool>>,
) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    let qkv = same::<_, Tensor<TrainBackend, 3>>(qkv)?;
    let hidden = hidden.cloned().map(back::<_, Tensor<TrainBackend, 4, Bool>>);
    Ok(back(attention::fused(qkv, heads, streams, hidden)))
}

/// An instance norm and the ReLU behind it: `x` `[batch, pixels, channels]`, each channel of each
/// picture to mean 0 and variance 1, times `gamma` plus `beta` (`[channels]`), then 0 where it is
/// below. `Err` gives `x` back where there is no fused form.
pub fn instance_norm_relu<B: Backend>(
    x: Tensor<B, 3>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f64,
) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    let x = same::<_, Tensor<TrainBackend, 3>>(x)?;
    Ok(back(norm::fused(x, back(gamma.clone()), back(beta.clone()), epsilon)))
}

/// Patches of a picture as rows: `[batch, height, width, channels]` → `[batch, rows, columns,
/// kernel² · channels]`, `(y, x, channel)` inside a row, zeros beyond the border.
pub fn unfold<B: Backend>(
    x: Tensor<B, 4>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Tensor<B, 4> {
    let shape = unfold::Window { kernel, stride, padding };
    match same::<_, Tensor<TrainBackend, 4>>(x) {
        Ok(x) => back(unfold::fused(x, shape)),
        Err(x) => unfold::plain(x, shape),
    }
}

/// A convolution over tokens on their square grid, of "same" size: `tokens` `[batch, side²,
/// inputs]`, `kernel` `[outputs, inputs, k, k]` with k odd → `[batch, side², outputs]`. `None`
/// where there is no fused form.
pub fn convolve_tokens<B: Backend>(
    tokens: &Tensor<B, 3>,
    kernel: &Tensor<B, 4>,
) -> Option<Tensor<B, 3>> {
    let tokens = same::<_, Tensor<TrainBackend, 3>>(tokens.clone()).ok()?;
    Some(back(convolve::fused(tokens, back(kernel.clone()))))
}

/// Convolution kernels `[outputs, inputs, height, width]` with odd sides up to `side`, each in the
/// middle of a square, summed: `[outputs, inputs, side, side]`. `Err` gives the kernels back where
/// there is no fused form.
pub fn sum_centred<B: Backend, const N: usize>(
    kernels: [Tensor<B, 4>; N],
    side: usize,
) -> Result<Tensor<B, 4>, [Tensor<B, 4>; N]> {
    let kernels = same::<_, [Tensor<TrainBackend, 4>; N]>(kernels)?;
    Ok(back(centre::fused(kernels, side)))
}

/// `value` as a `To` if that is what it is: the two are one type after compilation, or not.
fn same<From: 'static, To: 'static>(value: From) -> Result<To, From> {
    let mut slot = Some(value);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<To>>().and_then(Option::take) {
        Some(same) => Ok(same),
        None => Err(slot.expect("nothing was taken: the types differ")),
    }
}

/// The way back from a type that [`same`] has recognised.
fn back<From: 'static, To: 'static>(value: From) -> To {
    same(value).unwrap_or_else(|_| unreachable!("the backend was recognised on the way in"))
}
