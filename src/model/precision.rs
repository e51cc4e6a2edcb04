//! How exactly products are computed. In 16 bits: in, a network in f32; out, the same with the weights of its linear layers in
//! another number format; whoever multiplies by them takes the operand there and back. Sums inside a
//! product stay in f32 on every device that has such products. A CPU has none: it keeps weights in 16
//! bits and multiplies in 32, which halves their memory.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

use super::kernels::gpu::{self, Act, Unbiased};
use super::kernels::{self, linear, linear_relu_by_library, parts_of, widened_on_cpu};
use super::linear::Linear;

pub use super::kernels::{kernel_as_matrix, product, rounds_products};

/// `module` with weights and biases of its linear layers in `format`.
pub fn with_products_in<B: Backend, M: Module<B>>(module: M, format: DType) -> M {
    match format {
        DType::F32 => module,
        _ => module.map(&mut ToFormat { format, containers: Vec::new() }),
    }
}

struct ToFormat {
    format: DType,
    /// Types of the modules around the parameter at hand, outermost first.
    containers: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for ToFormat {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.containers.push(container.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.containers.last().is_none_or(|container| container != "Struct:Linear") {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, same_format(tensor, self.format), mapper)
    }
}

/// `x·W + b` in the format of `W`, or in f32 on a CPU.
pub fn project<B: Backend, const D: usize>(layer: &Linear<B>, x: Tensor<B, D>) -> Tensor<B, D> {
    let weight = widened_on_cpu(layer.weight.val());
    let bias = layer.bias.as_ref().map(|bias| widened_on_cpu(bias.val()));
    linear(same_format(x, weight.dtype()), weight, bias, |_| layer.parts())
}

/// `x·W` and `b`: for kernels that add it to what they read.
pub fn without_bias<B: Backend, const D: usize>(
    layer: &Linear<B>,
    x: Tensor<B, D>,
) -> Unbiased<B, D> {
    let weight = layer.weight.val();
    let rows = linear(same_format(x, weight.dtype()), weight, None, |_| layer.parts());
    (rows, layer.bias.as_ref().map(Param::val))
}

/// `act(x·W + b)` on a GPU, in the format of `W`.
pub fn activated_on_gpu<B: Backend, const D: usize>(
    layer: &Linear<B>,
    x: Tensor<B, D>,
    act: Act,
) -> Tensor<B, D> {
    let format = layer.weight.val().dtype();
    let x = same_format(x, format);
    if let (Act::Relu, Some(bias)) = (act, &layer.bias)
        && let Some(out) = linear_relu_by_library(&x, &layer.weight.val(), &bias.val())
    {
        return out;
    }
    let (rows, bias) = without_bias(layer, x);
    gpu::activated(rows, bias, act, format)
}

/// `conv` over `x` `[batch, channels, height, width]`: square kernel, one stride, one padding, one
/// group. As exact as [`product`].
pub fn convolve<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    match rounds_products(&x) || gpu::reaches::<B>() {
        true => as_product(conv, x),
        false => conv.forward(x),
    }
}

fn as_product<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let padding = match conv.padding {
        PaddingConfig2d::Explicit(padding, ..) => padding,
        PaddingConfig2d::Same => conv.kernel_size[0] / 2,
        PaddingConfig2d::Valid => 0,
    };
    let x = x.permute([0, 2, 3, 1]);
    let x = kernels::convolve(x, conv.weight.val(), conv.stride[0], padding, parts_of);
    let x = match &conv.bias {
        Some(bias) => x + bias.val().unsqueeze(),
        None => x,
    };
    x.permute([0, 3, 1, 2])
}

/// `x` in `format`, rounded to nearest; as it is if it has it.
///
/// # Panics
/// If `format` is not one of floating point.
pub fn same_format<B: Backend, const D: usize>(x: Tensor<B, D>, format: DType) -> Tensor<B, D> {
    match x.dtype() == format {
        true => x,
        false => x.cast(FloatDType::from(format)),
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::Distribution;

    use super::*;
    use crate::device::{Backend as Own, cpu};

    #[test]
    fn a_convolution_as_a_product_is_the_convolution() {
        for (kernel, stride, padding) in [(4, 4, 0), (3, 2, 1), (1, 1, 0), (3, 1, 1)] {
            let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
            let conv = Conv2dConfig::new([3, 5], [kernel, kernel]).with_stride([stride, stride]);
            let mut conv = conv.with_padding(padding).init::<Own>(&cpu());
            conv.bias = Some(Param::from_tensor(Tensor::from_floats([1., 2., 3., 4., 5.], &cpu())));
            let x = Tensor::<Own, 4>::random([2, 3, 9, 14], Distribution::Default, &cpu());
            let (plain, product) = (conv.forward(x.clone()), as_product(&conv, x));
            assert_eq!(plain.dims(), product.dims());
            assert!((plain - product).abs().max().into_scalar() < 1e-5, "{kernel}, {stride}");
        }
    }
}
