//! Boxes of the decoder: their sine code, and their refinement. In f32.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Rows, empty, flat};

#[cube(launch)]
fn code(
    boxes: &Tensor<f32>,
    wavelengths: &Tensor<f32>,
    out: &mut Tensor<f32>,
    count: usize,
    stride: usize,
    pairs: usize,
) {
    // In the order of the result: box, coordinate, pair of sine and cosine.
    let at = ABSOLUTE_POS;
    if at < count {
        let pair = at % pairs;
        let coordinate = at / pairs % 4;
        let row = at / pairs / 4;
        // y before x, then width and height.
        let from = select(coordinate < 2usize, 1usize - min(coordinate, 1usize), coordinate);
        let position = boxes[row * stride + from];
        let angle = position * f32::new(comptime!(core::f32::consts::TAU)) / wavelengths[pair];
        out[2 * at] = angle.sin();
        out[2 * at + 1] = angle.cos();
    }
}

/// The sine code of `rows` boxes, of which each takes `stride` numbers of `boxes` and is the first four of
/// them (x, y, width, height): y, x, width, height, as many pairs of sine and cosine each as there are
/// `wavelengths`: `[rows, 8 · pairs]`.
pub fn coded<R: CubeRuntime>(
    boxes: CubeTensor<R>,
    stride: usize,
    wavelengths: CubeTensor<R>,
) -> CubeTensor<R> {
    let boxes = into_contiguous(boxes);
    let rows = boxes.meta.shape().num_elements() / stride.max(1);
    let pairs = wavelengths.meta.shape()[0];
    let out = empty(&boxes, &[rows, 8 * pairs], boxes.dtype);
    let units = rows * 4 * pairs;
    let (count, dim) = flat(units);
    code::launch(
        &boxes.client,
        count,
        dim,
        boxes.clone().into_tensor_arg(),
        wavelengths.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        units,
        stride,
        pairs,
    );
    out
}

#[cube(launch)]
fn refine(
    shift: &Tensor<f32>,
    bias: &ComptimeOption<Tensor<f32>>,
    boxes: &Tensor<f32>,
    out: &mut Tensor<f32>,
    count: usize,
    stride: usize,
    margin: f32,
) {
    let at = ABSOLUTE_POS;
    if at < count {
        let coordinate = at % 4;
        let mut by = shift[at / 4 * stride + coordinate];
        #[comptime]
        if let ComptimeOption::Some(bias) = bias {
            by += bias[coordinate];
        }
        let x = clamp(boxes[at], 0.0f32, 1.0f32);
        let logit = (max(x, margin) / max(1.0f32 - x, margin)).ln();
        out[at] = 1.0f32 / (1.0f32 + (-(by + logit)).exp());
    }
}

/// `σ(shift + bias + logit(boxes))`, the logit of numbers at least `margin` from 0 and 1; of the shape of
/// `boxes` `[…, 4]`.
pub fn refined<R: CubeRuntime>(
    shift: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    boxes: CubeTensor<R>,
    margin: f32,
) -> CubeTensor<R> {
    let shift = Rows::of(shift);
    let boxes = into_contiguous(boxes);
    let shape = boxes.meta.shape().to_vec();
    let out = empty(&boxes, &shape, boxes.dtype);
    let units = shape.iter().product::<usize>();
    let (count, dim) = flat(units);
    refine::launch(
        &boxes.client,
        count,
        dim,
        shift.arg(),
        bias.map(CubeTensor::into_tensor_arg).into(),
        boxes.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        units,
        shift.stride,
        margin,
    );
    out
}
