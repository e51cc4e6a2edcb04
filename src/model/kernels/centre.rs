//! Convolution kernels of several shapes summed into one square, each in its middle; and the way
//! back, where every kernel is cut out of the square's gradient.

use burn::tensor::{Tensor, TensorData};

use super::node::{ManyRule, Values, many};
use crate::device::{Backend, TrainBackend};

/// Sizes of the kernels, `[outputs, inputs, height, width]`, and the side of the square.
#[derive(Debug, Clone, Copy)]
struct Shapes<const N: usize> {
    kernels: [[usize; 4]; N],
    side: usize,
}

/// Calls `visit` with the place of each row of the kernels of `shape` among its own values and
/// among those of the squares, and the row's length.
fn for_each_row(shape: [usize; 4], side: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let [outputs, inputs, height, width] = shape;
    let (top, left) = ((side - height) / 2, (side - width) / 2);
    for plane in 0..outputs * inputs {
        for row in 0..height {
            let square = plane * side * side + (top + row) * side + left;
            visit((plane * height + row) * width, square, width);
        }
    }
}

impl<const N: usize> ManyRule<N, 4, 4> for Shapes<N> {
    fn gradients(self, output: Tensor<Backend, 4>) -> [Tensor<Backend, 4>; N] {
        let values = Values::of(output);
        let square = values.read();
        self.kernels.map(|shape| {
            let mut kernel = vec![0.0; shape.iter().product()];
            for_each_row(shape, self.side, |own, place, width| {
                kernel[own..own + width].copy_from_slice(&square[place..place + width]);
            });
            values.beside(kernel, shape)
        })
    }
}

/// `kernels` `[outputs, inputs, height, width]` with odd sides up to `side` → their sum, each in
/// the middle of a square, `[outputs, inputs, side, side]`.
pub fn fused<const N: usize>(
    kernels: [Tensor<TrainBackend, 4>; N],
    side: usize,
) -> Tensor<TrainBackend, 4> {
    let shapes = Shapes { kernels: kernels.each_ref().map(Tensor::dims), side };
    many(kernels, |kernels| {
        let [outputs, inputs, ..] = shapes.kernels[0];
        let device = kernels[0].device();
        let mut square = vec![0.0; outputs * inputs * side * side];
        for (kernel, shape) in kernels.into_iter().zip(shapes.kernels) {
            let kernel = Values::of(kernel);
            for_each_row(shape, side, |own, place, width| {
                let row = square[place..place + width].iter_mut();
                row.zip(&kernel.read()[own..own + width]).for_each(|(sum, value)| *sum += value);
            });
        }
        let square = TensorData::new(square, [outputs, inputs, side, side]);
        (Tensor::from_data(square, &device), shapes)
    })
}
