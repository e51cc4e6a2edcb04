//! Layer norm, with what stands before it in a transformer: the bias of a linear layer, a layer scale, the
//! residual sum; and behind it: a position code; and beside it: the sum of a second stream. One pass over
//! memory, one kernel.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{LANES, Rows, THREADS, by_row, empty, sum_of_lanes, sum_of_vector, vector_of};
use crate::model::kernels::gpu::Also;

/// What is normalised: `x`, or `x + scale·(step + bias)`, or `x + bias` without a step.
pub struct Summed<R: CubeRuntime> {
    /// `[…, width]`.
    pub x: CubeTensor<R>,
    /// As `x`.
    pub step: Option<CubeTensor<R>>,
    /// `[width]`.
    pub bias: Option<CubeTensor<R>>,
    /// `[width]`.
    pub scale: Option<CubeTensor<R>>,
}

/// `γ·x̂ + β`.
pub struct Affine<R: CubeRuntime> {
    /// `[width]`, f32.
    pub gamma: CubeTensor<R>,
    /// `[width]`, f32.
    pub beta: CubeTensor<R>,
    pub epsilon: f32,
    /// Format of the result.
    pub format: DType,
}

/// One element of the sum, several at a time.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn summed<T: Float, S: Float, P: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    step: &ComptimeOption<Tensor<Vector<S, N>>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    scale: &ComptimeOption<Tensor<Vector<f32, N>>>,
    x_at: usize,
    step_at: usize,
    column: usize,
) -> Vector<f32, N> {
    let mut add = Vector::<f32, N>::new(0.0f32);
    #[comptime]
    if let ComptimeOption::Some(step) = step {
        add = Vector::<f32, N>::cast_from(step[step_at + column]);
    }
    #[comptime]
    if let ComptimeOption::Some(bias) = bias {
        add += Vector::<f32, N>::cast_from(bias[column]);
    }
    #[comptime]
    if let ComptimeOption::Some(scale) = scale {
        add *= scale[column];
    }
    add + Vector::<f32, N>::cast_from(x[x_at + column])
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn norm_rows<T: Float, S: Float, P: Float, Q: Float, O: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    step: &ComptimeOption<Tensor<Vector<S, N>>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    scale: &ComptimeOption<Tensor<Vector<f32, N>>>,
    gamma: &Tensor<Vector<f32, N>>,
    beta: &Tensor<Vector<f32, N>>,
    position: &ComptimeOption<Tensor<Vector<Q, N>>>,
    second: &ComptimeOption<Tensor<Vector<T, N>>>,
    second_step: &ComptimeOption<Tensor<Vector<S, N>>>,
    sum: &mut ComptimeOption<Tensor<Vector<T, N>>>,
    out: &mut Tensor<Vector<O, N>>,
    placed: &mut ComptimeOption<Tensor<Vector<O, N>>>,
    second_sum: &mut ComptimeOption<Tensor<Vector<T, N>>>,
    rows: usize,
    columns: usize,
    x_stride: usize,
    step_stride: usize,
    position_rows: usize,
    position_stride: usize,
    second_stride: usize,
    second_step_stride: usize,
    epsilon: f32,
    #[define(T, S, P, Q, O)] _formats: [StorageType; 5],
) {
    let mut shared = SharedMemory::<f32>::new(THREADS as usize);
    let lane = UNIT_POS_X as usize;
    let row = CUBE_POS * comptime!((THREADS / LANES) as usize) + UNIT_POS_Y as usize;
    let inside = row < rows;
    let from = select(inside, row, 0usize);
    let x_at = from * x_stride;
    let step_at = from * step_stride;
    let lanes = comptime!(LANES as usize);
    let width = (columns * N::value()) as f32;

    let mut total = Vector::<f32, N>::new(0.0f32);
    let mut i = lane;
    while i < columns {
        total += summed::<T, S, P, N>(x, step, bias, scale, x_at, step_at, i);
        i += lanes;
    }
    let mean = sum_of_lanes(sum_of_vector::<N>(total), &mut shared) / width;
    let centre = Vector::<f32, N>::new(mean);

    let mut squares = Vector::<f32, N>::new(0.0f32);
    let mut i = lane;
    while i < columns {
        let apart = summed::<T, S, P, N>(x, step, bias, scale, x_at, step_at, i) - centre;
        squares += apart * apart;
        i += lanes;
    }
    let variance = sum_of_lanes(sum_of_vector::<N>(squares), &mut shared) / width;
    let spread = Vector::<f32, N>::new((variance + epsilon).sqrt());

    if inside {
        let to = row * columns;
        let mut i = lane;
        while i < columns {
            let value = summed::<T, S, P, N>(x, step, bias, scale, x_at, step_at, i);
            #[comptime]
            if let ComptimeOption::Some(sum) = sum {
                sum[to + i] = Vector::cast_from(value);
            }
            let normed = (value - centre) / spread * gamma[i] + beta[i];
            out[to + i] = Vector::cast_from(normed);
            #[comptime]
            if let ComptimeOption::Some(placed) = placed {
                #[comptime]
                if let ComptimeOption::Some(position) = position {
                    let at = (row % position_rows) * position_stride + i;
                    placed[to + i] = Vector::cast_from(normed + Vector::cast_from(position[at]));
                }
            }
            #[comptime]
            if let ComptimeOption::Some(second_sum) = second_sum {
                #[comptime]
                if let ComptimeOption::Some(second) = second {
                    let (at, step_at) = (row * second_stride, row * second_step_stride);
                    let value =
                        summed::<T, S, P, N>(second, second_step, bias, scale, at, step_at, i);
                    second_sum[to + i] = Vector::cast_from(value);
                }
            }
            i += lanes;
        }
    }
}

/// What [`normed`] returns, each of the shape of `x`.
pub struct Normed<R: CubeRuntime> {
    /// The sum that was normalised, in the format of `x`, if it is kept.
    pub sum: Option<CubeTensor<R>>,
    pub out: CubeTensor<R>,
    /// `out + position`, if there is one.
    pub placed: Option<CubeTensor<R>>,
    /// The sum of the second stream, in the format of `x`, if there is one.
    pub second: Option<CubeTensor<R>>,
}

/// The layer norm of a sum.
pub fn normed<R: CubeRuntime>(
    summed: Summed<R>,
    affine: Affine<R>,
    also: Also<CubeTensor<R>>,
) -> Normed<R> {
    let x = Rows::of(summed.x);
    let shape = x.tensor.meta.shape().to_vec();
    let [second, second_step] = also.second.map_or([None, None], |both| both.map(Some));
    let optional = [summed.step, summed.bias, summed.scale, also.position, second, second_step];
    let [step, bias, scale, position, second, second_step] =
        optional.map(|tensor| tensor.map(Rows::of));
    let (gamma, beta) = (Rows::of(affine.gamma), Rows::of(affine.beta));
    let sum = also.sum.then(|| empty(&x.tensor, &shape, x.tensor.dtype));
    let out = empty(&x.tensor, &shape, affine.format);
    let placed = position.as_ref().map(|_| empty(&x.tensor, &shape, affine.format));
    let second_sum = second.as_ref().map(|_| empty(&x.tensor, &shape, x.tensor.dtype));
    let optional = [&step, &bias, &scale, &position, &second, &second_step];
    let mut all = vec![&x, &gamma, &beta];
    all.extend(optional.into_iter().flatten());
    let vector = vector_of(&all);
    let format = |rows: &Option<Rows<R>>| rows.as_ref().map_or(DType::F32, |of| of.tensor.dtype);
    let formats = [x.tensor.dtype, format(&step), format(&bias), format(&position), affine.format];
    let stride = |rows: &Option<Rows<R>>| rows.as_ref().map_or(0, |of| of.stride / vector);
    let (count, dim) = by_row(x.count);
    norm_rows::launch(
        &x.tensor.client,
        count,
        dim,
        vector,
        x.arg(),
        step.as_ref().map(Rows::arg).into(),
        bias.as_ref().map(Rows::arg).into(),
        scale.as_ref().map(Rows::arg).into(),
        gamma.arg(),
        beta.arg(),
        position.as_ref().map(Rows::arg).into(),
        second.as_ref().map(Rows::arg).into(),
        second_step.as_ref().map(Rows::arg).into(),
        sum.clone().map(CubeTensor::into_tensor_arg).into(),
        out.clone().into_tensor_arg(),
        placed.clone().map(CubeTensor::into_tensor_arg).into(),
        second_sum.clone().map(CubeTensor::into_tensor_arg).into(),
        x.count,
        x.width / vector,
        x.stride / vector,
        stride(&step),
        position.as_ref().map_or(1, |of| of.count),
        stride(&position),
        stride(&second),
        stride(&second_step),
        affine.epsilon,
        formats.map(Into::into),
    );
    Normed { sum, out, placed, second: second_sum }
}
