//! Operators that a backend does not have as they are needed. On a CPU those that it takes apart or
//! copies, in one pass, value and gradient: attention, GELU, ReLU, instance norm, and sums of patches
//! of an image. On an NVIDIA GPU products that do not round their operands. In: tensors of any
//! backend. Out: the same numbers; a backend without a form of its own gets the plain one.

mod attention;
mod bias;
mod centre;
mod convolve;
#[cfg(any(feature = "cuda-untuned", feature = "wgpu"))]
mod cube;
#[cfg(any(test, feature = "cuda-untuned"))]
mod cublaslt;
mod depthwise;
mod gelu;
pub mod gpu;
mod in_parts;
mod inverted;
mod node;
mod norm;
mod product;
mod relu;
pub mod simd;
mod unfold;
mod widen;

use std::any::Any;

use burn::tensor::{Bool, Tensor, activation, backend::Backend, module};

use crate::device::{Backend as Own, Device, TrainBackend, cpu};

use gpu::Act;

pub use attention::Streams;
pub use depthwise::{Filter, KERNELS as DEPTHWISE_KERNELS};
pub use in_parts::{Parts, parts_of, rounds_products};
pub use inverted::{ImageShape, InvertedResidual, Pointwise, Scratch, multiply_relu6};
#[cfg(test)]
pub use node::no_other_tapes;
pub use node::{Values, scalar_with_gradient};
pub use product::{Matrix, multiply};

/// `x·Φ(x)`, Φ the standard normal distribution (erf GELU).
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match on_cpu(x) {
        Ok(x) => back(gelu::inferred(x)),
        Err(x) => match fusible(x) {
            Ok(x) => of_backend(gelu::fused(x)),
            Err(x) => match same::<_, Tensor<TrainBackend, D>>(x) {
                Ok(x) => back(gelu::composed(x)),
                Err(x) => activation::gelu(x),
            },
        },
    }
}

/// `max(x, 0)`.
pub fn relu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match on_cpu(x) {
        Ok(x) => back(relu::inferred(x)),
        Err(x) => activation::relu(x),
    }
}

/// `x·weight + bias`: `x` `[…, inputs]`, `weight` `[inputs, outputs]`, `bias` `[outputs]`. `parts` is
/// [`parts_of`], or gives what it has given; it is only called where a plain matmul would round `weight`.
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    parts: impl FnOnce(Tensor<B, 2>) -> Parts<B, 2>,
) -> Tensor<B, D> {
    match (on_cpu(x), bias) {
        (Ok(x), Some(bias)) => {
            let product = module::linear(x, back(weight), None);
            back(bias::inferred(product, back(bias)))
        }
        (Ok(x), None) => back(module::linear(x, back::<_, Tensor<Own, 2>>(weight), None)),
        (Err(x), bias) if is_cpu::<B>(&x.device()) => module::linear(x, weight, bias),
        (Err(x), bias) => linear_of_rows(x, weight, bias, parts),
    }
}

/// [`linear`] on a GPU: one matmul of all rows, where `[batch, tokens, inputs]` as it stands would be
/// as many as there are images, each with a last tile that is not full.
fn linear_of_rows<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    parts: impl FnOnce(Tensor<B, 2>) -> Parts<B, 2>,
) -> Tensor<B, D> {
    let mut shape = x.dims();
    let [inputs, outputs] = weight.dims();
    let count = shape[..D - 1].iter().product::<usize>();
    let x = x.reshape([count, inputs]);
    shape[D - 1] = outputs;
    if let Some(rows) = gpu::multiplied_by_library(&x, &weight, bias.as_ref(), Act::None) {
        return rows.reshape(shape);
    }
    let product = match rounds_products(&x) {
        true => in_parts::product_with(x, parts(weight)),
        false => x.matmul(weight),
    };
    let rows = match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    };
    rows.reshape(shape)
}

/// `max(x·weight + bias, 0)` by NVIDIA's library, where it is there and has a form for it.
pub fn linear_relu_by_library<B: Backend, const D: usize>(
    x: &Tensor<B, D>,
    weight: &Tensor<B, 2>,
    bias: &Tensor<B, 1>,
) -> Option<Tensor<B, D>> {
    let mut shape = x.dims();
    let [inputs, outputs] = weight.dims();
    let rows = x.clone().reshape([shape[..D - 1].iter().product::<usize>(), inputs]);
    shape[D - 1] = outputs;
    let rows = gpu::multiplied_by_library(&rows, weight, Some(bias), Act::Relu)?;
    Some(rows.reshape(shape))
}

/// `a·b`. What has no gradient and is in f32 keeps 20 bits or more, also where a GPU's matrix units
/// would round the operands to 10.
pub fn product<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    if let Some(product) = gpu::multiplied_by_library(&a, &b, None, Act::None) {
        return product;
    }
    match rounds_products(&a) {
        true => in_parts::product(a, b),
        false => a.matmul(b),
    }
}

/// On a CPU, `x` in f32 whatever it is kept in: there are no products in 16 bits. Elsewhere itself.
pub fn widened_on_cpu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match on_cpu(x) {
        Ok(x) => back(widen::inferred(x)),
        Err(x) => x,
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
    let qkv = match on_cpu(qkv) {
        Ok(qkv) => {
            let hidden = hidden.cloned().map(back::<_, Tensor<Own, 4, Bool>>);
            return Ok(back(attention::inferred(qkv, heads, streams, hidden)));
        }
        Err(qkv) => fusible(qkv)?,
    };
    let hidden = hidden.cloned().map(back::<_, Tensor<TrainBackend, 4, Bool>>);
    Ok(of_backend(attention::fused(qkv, heads, streams, hidden)))
}

/// Self-attention as above with `bias` `[heads, tokens, tokens]` and `mask` `[n, tokens, tokens]`
/// added to the scores; image `i` of the batch takes mask `i mod n`. `Err` gives `qkv` back where
/// there is no fused form, which is also where there are gradients.
pub fn biased_self_attention<B: Backend>(
    qkv: Tensor<B, 3>,
    heads: usize,
    bias: &Tensor<B, 3>,
    mask: Option<&Tensor<B, 3>>,
) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    let qkv = on_cpu(qkv)?;
    let mask = mask.cloned().map(back);
    Ok(back(attention::biased(qkv, heads, back(bias.clone()), mask)))
}

/// An instance norm and the ReLU behind it: `x` `[batch, pixels, channels]`, each channel of each
/// image to mean 0 and variance 1, times `gamma` plus `beta` (`[channels]`), then 0 where it is
/// below. `Err` gives `x` back where there is no fused form.
pub fn instance_norm_relu<B: Backend>(
    x: Tensor<B, 3>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f64,
) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    let x = fusible(x)?;
    let [gamma, beta] = [gamma, beta].map(|values| recognised(values.clone()));
    Ok(of_backend(norm::fused(x, gamma, beta, epsilon)))
}

/// Patches of an image as rows: `[batch, height, width, channels]` → `[batch, rows, columns,
/// kernel² · channels]`, `(y, x, channel)` inside a row, zeros beyond the border.
pub fn unfold<B: Backend>(
    x: Tensor<B, 4>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Tensor<B, 4> {
    let shape = unfold::Window { kernel, stride, padding };
    if gpu::reaches::<B>() {
        let [_, height, width, _] = x.dims();
        let steps = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let grid = [steps(height), steps(width)];
        let order = gpu::Order::Lines;
        return gpu::unfolded(x, gpu::Patches { kernel, stride, padding, grid, order });
    }
    match fusible(x) {
        Ok(x) => of_backend(unfold::fused(x, shape)),
        Err(x) => match same::<_, Tensor<TrainBackend, 4>>(x) {
            Ok(x) => back(unfold::on_device(x, shape)),
            Err(x) => unfold::plain(x, shape),
        },
    }
}

/// A convolution as a product: `x` `[batch, height, width, inputs]`, `kernel` `[outputs, inputs, k, k]`
/// → `[batch, rows, columns, outputs]`. On a CPU one product of all patches; elsewhere one for each
/// image, so that the kernel's gradient, a sum over all patches, has as many parts. `parts` as in
/// [`linear`], of the kernel as a matrix.
pub fn convolve<B: Backend>(
    x: Tensor<B, 4>,
    kernel: Tensor<B, 4>,
    stride: usize,
    padding: usize,
    parts: impl FnOnce(Tensor<B, 2>) -> Parts<B, 2>,
) -> Tensor<B, 4> {
    let [outputs, _, side, _] = kernel.dims();
    let patches = unfold(x, side, stride, padding);
    let [batch, rows, columns, inputs] = patches.dims();
    let count = rows * columns;
    let kernel = kernel_as_matrix(kernel);
    let shape = [batch, rows, columns, outputs];
    if rounds_products(&patches) {
        let patches = patches.reshape([batch * count, inputs]);
        return in_parts::product_with(patches, parts(kernel)).reshape(shape);
    }
    let patches = match is_cpu::<B>(&patches.device()) {
        true => patches.reshape([1, batch * count, inputs]),
        false => patches.reshape([batch, count, inputs]),
    };
    patches.matmul(kernel.unsqueeze()).reshape(shape)
}

/// The kernel of a convolution `[outputs, inputs, k, k]` as the matrix by which patches are multiplied,
/// `[k² · inputs, outputs]`.
pub fn kernel_as_matrix<B: Backend>(kernel: Tensor<B, 4>) -> Tensor<B, 2> {
    let [outputs, inputs, height, width] = kernel.dims();
    kernel.permute([2, 3, 1, 0]).reshape([height * width * inputs, outputs])
}

/// A convolution over tokens on their square grid, of "same" size: `tokens` `[batch, side²,
/// inputs]`, `kernel` `[outputs, inputs, k, k]` with k odd → `[batch, side², outputs]`. `None`
/// where there is no fused form.
pub fn convolve_tokens<B: Backend>(
    tokens: &Tensor<B, 3>,
    kernel: &Tensor<B, 4>,
) -> Option<Tensor<B, 3>> {
    let tokens = fusible(tokens.clone()).ok()?;
    Some(of_backend(convolve::fused(tokens, recognised(kernel.clone()))))
}

/// Convolution kernels `[outputs, inputs, height, width]` with odd sides up to `side`, each in the
/// middle of a square, summed: `[outputs, inputs, side, side]`. `Err` gives the kernels back where
/// there is no fused form.
pub fn sum_centred<B: Backend, const N: usize>(
    kernels: [Tensor<B, 4>; N],
    side: usize,
) -> Result<Tensor<B, 4>, [Tensor<B, 4>; N]> {
    let kernels = same::<_, [Tensor<TrainBackend, 4>; N]>(kernels)?;
    match kernels[0].device() == cpu() {
        true => Ok(back(centre::fused(kernels, side))),
        false => Err(back(kernels)),
    }
}

/// The numbers of a tensor that lies on a CPU and has no gradient, for operators of its owner's own.
/// `Err` gives any other back.
pub fn values_on_cpu<B: Backend, const D: usize>(
    x: Tensor<B, D>,
) -> Result<Values<D>, Tensor<B, D>> {
    on_cpu(x).map(Values::of)
}

/// The inverse: a tensor of `shape` with `values`, on the CPU where [`values_on_cpu`] has found
/// `beside`.
pub fn tensor_on_cpu<B: Backend, const N: usize, const D: usize>(
    beside: &Values<N>,
    values: Vec<f32>,
    shape: [usize; D],
) -> Tensor<B, D> {
    back(beside.beside(values, shape))
}

/// Whether tensors of `device` lie in this process's memory.
pub fn is_cpu<B: Backend>(device: &B::Device) -> bool {
    let device: &dyn Any = device;
    device.downcast_ref::<Device>().is_some_and(|device| *device == cpu())
}

/// A tensor that the fused forms take: on a CPU, of the training backend or of the program's own,
/// which then has no gradient. `Err` gives any other back.
fn fusible<B: Backend, const D: usize>(
    x: Tensor<B, D>,
) -> Result<Tensor<TrainBackend, D>, Tensor<B, D>> {
    match same::<_, Tensor<TrainBackend, D>>(x) {
        Ok(x) if x.device() == cpu() => Ok(x),
        Ok(x) => Err(back(x)),
        Err(x) => on_cpu(x).map(Tensor::from_inner),
    }
}

/// A tensor of the program's own backend on a CPU, which has no gradient. `Err` gives any other back.
fn on_cpu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Result<Tensor<Own, D>, Tensor<B, D>> {
    let x = same::<_, Tensor<Own, D>>(x)?;
    match x.device() == cpu() {
        true => Ok(x),
        false => Err(back(x)),
    }
}

/// A second operand, on the backend on which [`fusible`] has found the first.
fn recognised<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<TrainBackend, D> {
    fusible(x).unwrap_or_else(|_| unreachable!("the operands of an operator are on one device"))
}

/// The way back from [`fusible`].
fn of_backend<B: Backend, const D: usize>(x: Tensor<TrainBackend, D>) -> Tensor<B, D> {
    same(x).unwrap_or_else(|x: Tensor<TrainBackend, D>| back(x.inner()))
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

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    /// Largest difference of two tensors.
    fn apart<const D: usize>(a: Tensor<Own, D>, b: Tensor<Own, D>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    /// Without gradients the fused forms run, too, and give what they give with them; their own
    /// tests hold those against the plain ones.
    #[test]
    fn tensors_without_gradients_take_the_fused_forms() {
        let random =
            |shape| Tensor::<Own, 3>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
        let x = random([2, 16, 12]);
        assert!(apart(gelu(x.clone()), activation::gelu(x.clone())) < 2e-6);
        let with_tape = gelu(Tensor::<TrainBackend, 3>::from_inner(x.clone())).inner();
        assert_eq!(apart(gelu(x.clone()), with_tape), 0.0);

        let streams = Streams::WithValueValue;
        let with_tape = Tensor::<TrainBackend, 3>::from_inner(x.clone());
        let with_tape = self_attention(with_tape, 2, streams, None).unwrap().inner();
        assert_eq!(apart(self_attention(x.clone(), 2, streams, None).unwrap(), with_tape), 0.0);

        let ones = Tensor::<Own, 1>::ones([12], &cpu());
        let normed = instance_norm_relu(x.clone(), &ones, &ones, 1e-5).unwrap();
        let centred = x.clone() - x.clone().mean_dim(1);
        let spread = (centred.clone().powi_scalar(2).mean_dim(1) + 1e-5).sqrt();
        assert!(apart(normed, activation::relu(centred / spread + 1.0)) < 1e-5);

        let kernel = Tensor::<Own, 4>::ones([5, 12, 3, 3], &cpu());
        assert_eq!(convolve_tokens(&x, &kernel).unwrap().dims(), [2, 16, 5]);
    }

    /// On a CPU, where any tensor may stand for one of a GPU.
    #[test]
    fn the_rows_of_all_images_at_once_give_what_each_image_gives() {
        let random = |shape: [usize; 3]| {
            Tensor::<Own, 3>::random(shape, Distribution::Normal(0.0, 1.0), &cpu())
        };
        let (x, weight) = (random([3, 5, 40]), random([1, 40, 7]).squeeze_dim::<2>(0));
        let bias = random([1, 1, 7]).reshape([7]);
        let all = linear_of_rows(x.clone(), weight.clone(), Some(bias.clone()), parts_of);
        assert_eq!(all.dims(), [3, 5, 7]);
        assert!(apart(all, linear(x, weight, Some(bias), parts_of)) < 1e-5);
    }
}
