//! Group norm of rows: the channels of a group, over all rows of an image, to mean 0 and variance 1. With
//! the bias of the convolution before it. Statistics in f32.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Reduction, Rows, THREADS, cubes, empty, reduced};

/// The sum of `value` over all threads of the cube.
#[cube]
fn sum_of_cube(value: f32, shared: &mut SharedMemory<f32>) -> f32 {
    reduced(value, shared, THREADS, Reduction::Sum)
}

#[cube]
fn element<T: Float>(
    x: &Tensor<T>,
    bias: &ComptimeOption<Tensor<f32>>,
    row: usize,
    stride: usize,
    channel: usize,
) -> f32 {
    let mut value = f32::cast_from(x[row * stride + channel]);
    #[comptime]
    if let ComptimeOption::Some(bias) = bias {
        value += bias[channel];
    }
    value
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn norm_groups<T: Float>(
    x: &Tensor<T>,
    bias: &ComptimeOption<Tensor<f32>>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    out: &mut Tensor<T>,
    images: usize,
    rows: usize,
    groups: usize,
    channels: usize,
    stride: usize,
    epsilon: f32,
    #[define(T)] _format: StorageType,
) {
    let mut shared = SharedMemory::<f32>::new(THREADS as usize);
    let inside = CUBE_POS < images * groups;
    let cube = select(inside, CUBE_POS, 0usize);
    let first_row = cube / groups * rows;
    let first = cube % groups * channels;
    let count = rows * channels;
    let width = groups * channels;
    let threads = comptime!(THREADS as usize);

    let mut total = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        total += element::<T>(x, bias, first_row + i / channels, stride, first + i % channels);
        i += threads;
    }
    let mean = sum_of_cube(total, &mut shared) / count as f32;

    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        let channel = first + i % channels;
        let apart = element::<T>(x, bias, first_row + i / channels, stride, channel) - mean;
        squares += apart * apart;
        i += threads;
    }
    let variance = sum_of_cube(squares, &mut shared) / count as f32;
    let spread = (variance + epsilon).sqrt();

    if inside {
        let mut i = UNIT_POS as usize;
        while i < count {
            let channel = first + i % channels;
            let row = first_row + i / channels;
            let apart = element::<T>(x, bias, row, stride, channel) - mean;
            let value = apart / spread * gamma[channel] + beta[channel];
            out[row * width + channel] = T::cast_from(value);
            i += threads;
        }
    }
}

/// `x` `[batch · rows, channels]`, normalised in `groups` groups of neighbouring channels, times `gamma`
/// plus `beta`.
pub fn normed_groups<R: CubeRuntime>(
    x: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    [gamma, beta]: [CubeTensor<R>; 2],
    batch: usize,
    groups: usize,
    epsilon: f32,
) -> CubeTensor<R> {
    let x = Rows::of(x);
    let out = empty(&x.tensor, &[x.count, x.width], x.tensor.dtype);
    norm_groups::launch(
        &x.tensor.client,
        cubes(batch * groups),
        CubeDim::new_1d(THREADS),
        x.arg(),
        bias.map(CubeTensor::into_tensor_arg).into(),
        gamma.into_tensor_arg(),
        beta.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        batch,
        x.count / batch.max(1),
        groups,
        x.width / groups.max(1),
        x.stride,
        epsilon,
        x.tensor.dtype.into(),
    );
    out
}
