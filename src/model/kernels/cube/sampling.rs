//! Multi-scale deformable attention behind its projections in one kernel: biases, softmax of the weights,
//! places, bilinear looks and their weighted sum over all levels. Statistics and sums in f32.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::softmax::LOWEST;
use super::{Rows, empty, flat};

/// What is sampled and where.
pub struct Sampling<R: CubeRuntime> {
    /// `[batch, n, width]`, the tokens of all levels.
    pub value: CubeTensor<R>,
    /// `[width]`.
    pub value_bias: Option<CubeTensor<R>>,
    /// `[batch, n]`, not 0 where a token counts as zeros.
    pub padding: Option<CubeTensor<R>>,
    /// `[batch, queries, heads · levels · points · 2]`.
    pub offsets: CubeTensor<R>,
    pub offsets_bias: Option<CubeTensor<R>>,
    /// `[batch, queries, heads · levels · points]`, before the softmax.
    pub weights: CubeTensor<R>,
    pub weights_bias: Option<CubeTensor<R>>,
    /// `[batch or 1, queries, levels, 2 or 4]`: points, or boxes.
    pub references: CubeTensor<R>,
    /// `[levels, 3]` i32: height, width and first token.
    pub levels: CubeTensor<R>,
    pub heads: usize,
    pub points: usize,
}

#[cube(launch)]
#[allow(clippy::too_many_arguments, clippy::collapsible_if)]
fn look<T: Float, M: Int, N: Size>(
    value: &Tensor<Vector<T, N>>,
    value_bias: &ComptimeOption<Tensor<Vector<f32, N>>>,
    padding: &ComptimeOption<Tensor<M>>,
    offsets: &Tensor<T>,
    offsets_bias: &ComptimeOption<Tensor<f32>>,
    weights: &Tensor<T>,
    weights_bias: &ComptimeOption<Tensor<f32>>,
    references: &Tensor<f32>,
    levels: &Tensor<i32>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    queries: usize,
    tokens: usize,
    heads: usize,
    columns: usize,
    value_stride: usize,
    offsets_stride: usize,
    weights_stride: usize,
    reference_rows: usize,
    #[comptime] level_count: usize,
    #[comptime] points: usize,
    #[comptime] reference_size: usize,
    #[define(T, M)] _formats: [StorageType; 2],
) {
    // In the order of the result: image and query, head, column.
    let at = ABSOLUTE_POS;
    if at < count {
        let column = at % columns;
        let head = at / columns % heads;
        let query = at / columns / heads;
        let image = query / queries;
        let looks = comptime!(level_count * points);
        let first_look = head * looks;
        let weight_at = query * weights_stride + first_look;

        let mut shares = Array::<f32>::new(looks);
        let mut largest = f32::new(LOWEST);
        #[unroll]
        for i in 0..looks {
            let mut score = f32::cast_from(weights[weight_at + i]);
            #[comptime]
            if let ComptimeOption::Some(bias) = weights_bias {
                score += bias[first_look + i];
            }
            shares[i] = score;
            largest = max(largest, score);
        }
        let mut total = 0.0f32;
        #[unroll]
        for i in 0..looks {
            let share = (shares[i] - largest).exp();
            shares[i] = share;
            total += share;
        }

        let inside_token = head * columns + column;
        let mut bias = Vector::<f32, N>::new(0.0f32);
        #[comptime]
        if let ComptimeOption::Some(value_bias) = value_bias {
            bias = value_bias[inside_token];
        }
        let mut sum = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for level in 0..level_count {
            let height = levels[level * 3];
            let width = levels[level * 3 + 1];
            let first = levels[level * 3 + 2] as usize;
            let reference = (query % reference_rows * level_count + level) * reference_size;
            let centre_x = references[reference];
            let centre_y = references[reference + 1];
            // How far an offset of 1 reaches, as a fraction of the map.
            let mut reach_x = 1.0f32 / f32::cast_from(width);
            let mut reach_y = 1.0f32 / f32::cast_from(height);
            if comptime!(reference_size == 4) {
                let span = f32::new(comptime!(0.5 / points as f32));
                reach_x = references[reference + 2] * span;
                reach_y = references[reference + 3] * span;
            }
            #[unroll]
            for point in 0..points {
                let i = comptime!(level * points + point);
                let offset = 2 * (first_look + i);
                let mut dx = f32::cast_from(offsets[query * offsets_stride + offset]);
                let mut dy = f32::cast_from(offsets[query * offsets_stride + offset + 1]);
                #[comptime]
                if let ComptimeOption::Some(offsets_bias) = offsets_bias {
                    dx += offsets_bias[offset];
                    dy += offsets_bias[offset + 1];
                }
                let x = (centre_x + dx * reach_x) * f32::cast_from(width) - 0.5f32;
                let y = (centre_y + dy * reach_y) * f32::cast_from(height) - 0.5f32;
                // Far outside a map nothing is read; whole numbers must hold the place.
                let left = clamp(x.floor(), -2.0f32, f32::cast_from(width) + 1.0f32);
                let top = clamp(y.floor(), -2.0f32, f32::cast_from(height) + 1.0f32);
                let right_share = x - x.floor();
                let bottom_share = y - y.floor();
                let weight = shares[i] / total;
                #[unroll]
                for corner in 0..4u32 {
                    let down = comptime!((corner / 2) as i32);
                    let right = comptime!((corner % 2) as i32);
                    let row = i32::cast_from(top) + down;
                    let place = i32::cast_from(left) + right;
                    let share_y = select(down == 1i32, bottom_share, 1.0f32 - bottom_share);
                    let share_x = select(right == 1i32, right_share, 1.0f32 - right_share);
                    if row >= 0i32 && row < height && place >= 0i32 && place < width {
                        let token = image * tokens + first + (row * width + place) as usize;
                        let mut pixel =
                            Vector::<f32, N>::cast_from(value[token * value_stride + inside_token])
                                + bias;
                        #[comptime]
                        if let ComptimeOption::Some(padding) = padding {
                            if padding[token] != M::new(0) {
                                pixel = Vector::<f32, N>::new(0.0f32);
                            }
                        }
                        let factor = Vector::<f32, N>::new(weight * share_x * share_y);
                        sum += factor * pixel;
                    }
                }
            }
        }
        out[at] = Vector::cast_from(sum);
    }
}

/// The weighted sums, `[batch, queries, width]`.
pub fn sampled<R: CubeRuntime>(sampling: Sampling<R>) -> CubeTensor<R> {
    let Sampling { heads, points, .. } = sampling;
    let shape = sampling.value.meta.shape().to_vec();
    let [batch, tokens, width] = [shape[0], shape[1], shape[2]];
    let value = Rows::of(sampling.value);
    let [offsets, weights] = [sampling.offsets, sampling.weights].map(Rows::of);
    let queries = offsets.count / batch;
    let references = burn_cubecl::kernel::into_contiguous(sampling.references);
    let reference_shape = references.meta.shape().to_vec();
    let [of_batch, _, level_count, reference_size] =
        [reference_shape[0], reference_shape[1], reference_shape[2], reference_shape[3]];
    let out = empty(&value.tensor, &[batch, queries, width], value.tensor.dtype);
    let head_width = width / heads;
    let vector = [4, 2, 1]
        .into_iter()
        .find(|&by| head_width.is_multiple_of(by) && value.stride.is_multiple_of(by));
    let vector = vector.unwrap_or(1);
    let columns = head_width / vector;
    let units = batch * queries * heads * columns;
    let (count, dim) = flat(units);
    let padding_format =
        sampling.padding.as_ref().map_or(burn::tensor::DType::U32, |padding| padding.dtype);
    let dense = |tensor: Option<CubeTensor<R>>| {
        tensor.map(|tensor| burn_cubecl::kernel::into_contiguous(tensor).into_tensor_arg())
    };
    look::launch(
        &value.tensor.client,
        count,
        dim,
        vector,
        value.arg(),
        dense(sampling.value_bias).into(),
        dense(sampling.padding).into(),
        offsets.arg(),
        dense(sampling.offsets_bias).into(),
        weights.arg(),
        dense(sampling.weights_bias).into(),
        references.into_tensor_arg(),
        burn_cubecl::kernel::into_contiguous(sampling.levels).into_tensor_arg(),
        out.clone().into_tensor_arg(),
        units,
        queries,
        tokens,
        heads,
        columns,
        value.stride / vector,
        offsets.stride,
        weights.stride,
        of_batch * queries,
        level_count,
        points,
        reference_size,
        [value.tensor.dtype, padding_format].map(Into::into),
    );
    out
}
