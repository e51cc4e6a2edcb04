//! Products in 16 bits. In: a network in f32. Out: the same with the weights of its linear layers in
//! another number format; whoever multiplies by them takes the operand there and back. Sums inside a
//! product stay in f32 on every device that has such products. A CPU has none: it keeps weights in 16
//! bits and multiplies in 32, which halves their memory.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

use super::kernels::{linear, rounds_products, unfold, widened_on_cpu};

pub use super::kernels::product;

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
    linear(same_format(x, weight.dtype()), weight, bias)
}

/// `conv` over `x` `[batch, channels, height, width]`: square kernel, one stride, one padding, one
/// group. Where products would be rounded, patches in rows times the kernel, see [`product`].
pub fn convolve<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    if !rounds_products(&x) {
        return conv.forward(x);
    }
    let padding = match conv.padding {
        PaddingConfig2d::Explicit(padding, ..) => padding,
        _ => 0,
    };
    let rows = unfold(x.permute([0, 2, 3, 1]), conv.kernel_size[0], conv.stride[0], padding);
    let [batch, height, width, row] = rows.dims();
    let kernel = conv.weight.val();
    let out = kernel.dims()[0];
    let kernel = kernel.permute([2, 3, 1, 0]).reshape([row, out]);
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    let x = linear(rows.reshape([batch, height * width, row]), kernel, bias);
    x.reshape([batch, height, width, out]).permute([0, 3, 1, 2])
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
