//! Patches of an image as rows, for a convolution as one matmul: a copy with zeros beyond the border.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{empty, flat, widest};
use crate::model::kernels::gpu::{Order, Patches};

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn cut<T: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    rows: usize,
    columns: usize,
    image_stride: usize,
    line_stride: usize,
    pixel_stride: usize,
    channel_stride: usize,
    step: usize,
    padding: usize,
    #[comptime] kernel: usize,
    #[comptime] order: Order,
    #[define(T)] _format: StorageType,
) {
    // In the order of the result: image, row and column of patches, place in the patch, channel.
    let at = ABSOLUTE_POS;
    if at < count {
        let channel = at % channels;
        let place = at / channels % comptime!(kernel * kernel);
        let patch = at / channels / comptime!(kernel * kernel);
        let column = patch % columns;
        let row = patch / columns % rows;
        let image = patch / columns / rows;
        let mut down = place / kernel;
        let mut right = place % kernel;
        if comptime!(order == Order::Columns) {
            down = place % kernel;
            right = place / kernel;
        }
        let y = row * step + down;
        let x_at = column * step + right;
        let mut value = Vector::<T, N>::new(T::new(0.0));
        if y >= padding && y < height + padding && x_at >= padding && x_at < width + padding {
            let line = (y - padding) * line_stride + (x_at - padding) * pixel_stride;
            value = x[image * image_stride + line + channel * channel_stride];
        }
        out[at] = value;
    }
}

/// `x` `[batch, height, width, channels]` in any layout → `[batch, rows, columns, kernel² · channels]`.
pub fn unfolded<R: CubeRuntime>(x: CubeTensor<R>, patches: Patches) -> CubeTensor<R> {
    let Patches { kernel, stride, padding, grid: [rows, columns], order } = patches;
    let shape = x.meta.shape().to_vec();
    let strides = x.meta.strides().to_vec();
    let [batch, height, width, channels] = [shape[0], shape[1], shape[2], shape[3]];
    let out = empty(&x, &[batch, rows, columns, kernel * kernel * channels], x.dtype);
    // Channels are read together where they are neighbours.
    let vector = widest(|by| {
        strides[3] == 1
            && channels.is_multiple_of(by)
            && strides[..3].iter().all(|stride| stride.is_multiple_of(by))
    });
    let [of_image, of_line, of_pixel] = [0, 1, 2].map(|i| strides[i] / vector);
    let channel_stride = if vector == 1 { strides[3] } else { 1 };
    let units = batch * rows * columns * kernel * kernel * channels / vector;
    let (count, dim) = flat(units);
    cut::launch(
        &x.client,
        count,
        dim,
        vector,
        x.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        units,
        height,
        width,
        channels / vector,
        rows,
        columns,
        of_image,
        of_line,
        of_pixel,
        channel_stride,
        stride,
        padding,
        kernel,
        order,
        x.dtype.into(),
    );
    out
}
