//! Element by element: a bias and an activation, a residual sum. One pass over memory each.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::norm::summed;
use super::{Rows, empty, flat, vector_of};
use crate::model::kernels::gpu::Act;

#[cube]
fn act_of<N: Size>(x: Vector<f32, N>, #[comptime] act: Act) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    if comptime!(act == Act::Relu) {
        // Not a maximum: what is no number stays that.
        let zero = Vector::<f32, N>::new(0.0f32);
        select_many(x.less_than(zero), zero, x)
    } else if comptime!(act == Act::GeluErf) {
        let root_half = Vector::<f32, N>::new(0.707_106_77f32);
        let half = Vector::<f32, N>::new(0.5f32);
        x * half * (one + (x * root_half).erf())
    } else if comptime!(act == Act::QuickGelu) {
        let slope = Vector::<f32, N>::new(-1.702f32);
        x / (one + (x * slope).exp())
    } else {
        x
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn activate<T: Float, P: Float, O: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    out: &mut Tensor<Vector<O, N>>,
    count: usize,
    columns: usize,
    x_stride: usize,
    #[comptime] act: Act,
    #[define(T, P, O)] _formats: [StorageType; 3],
) {
    let at = ABSOLUTE_POS;
    if at < count {
        let column = at % columns;
        let mut value = Vector::<f32, N>::cast_from(x[at / columns * x_stride + column]);
        #[comptime]
        if let ComptimeOption::Some(bias) = bias {
            value += Vector::<f32, N>::cast_from(bias[column]);
        }
        out[at] = Vector::cast_from(act_of::<N>(value, act));
    }
}

/// `act(x + bias)` in `format`, of the shape of `x`.
pub fn activated<R: CubeRuntime>(
    x: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    act: Act,
    format: DType,
) -> CubeTensor<R> {
    let shape = x.meta.shape().to_vec();
    let (x, bias) = (Rows::of(x), bias.map(Rows::of));
    let out = empty(&x.tensor, &shape, format);
    let vector = vector_of(&[Some(&x), bias.as_ref()].into_iter().flatten().collect::<Vec<_>>());
    let columns = x.width / vector;
    let units = x.count * columns;
    let (count, dim) = flat(units);
    let bias_format = bias.as_ref().map_or(DType::F32, |bias| bias.tensor.dtype);
    activate::launch(
        &x.tensor.client,
        count,
        dim,
        vector,
        x.arg(),
        bias.as_ref().map(Rows::arg).into(),
        out.clone().into_tensor_arg(),
        units,
        columns,
        x.stride / vector,
        act,
        [x.tensor.dtype, bias_format, format].map(Into::into),
    );
    out
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn add_rows<T: Float, S: Float, P: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    step: &ComptimeOption<Tensor<Vector<S, N>>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    scale: &ComptimeOption<Tensor<Vector<f32, N>>>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    columns: usize,
    x_stride: usize,
    step_rows: usize,
    step_stride: usize,
    #[define(T, S, P)] _formats: [StorageType; 3],
) {
    let at = ABSOLUTE_POS;
    if at < count {
        let row = at / columns;
        let (x_at, step_at) = (row * x_stride, row % step_rows * step_stride);
        let sum = summed::<T, S, P, N>(x, step, bias, scale, x_at, step_at, at % columns);
        out[at] = Vector::cast_from(sum);
    }
}

/// `x + scale·(step + bias)` in the format of `x`. `step` may have fewer rows, which are then added again
/// and again.
pub fn residual<R: CubeRuntime>(
    x: CubeTensor<R>,
    step: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    scale: Option<CubeTensor<R>>,
) -> CubeTensor<R> {
    let shape = x.meta.shape().to_vec();
    let (x, step) = (Rows::of(x), Rows::of(step));
    let (bias, scale) = (bias.map(Rows::of), scale.map(Rows::of));
    let out = empty(&x.tensor, &shape, x.tensor.dtype);
    let all = [Some(&x), Some(&step), bias.as_ref(), scale.as_ref()];
    let vector = vector_of(&all.into_iter().flatten().collect::<Vec<_>>());
    let columns = x.width / vector;
    let units = x.count * columns;
    let (count, dim) = flat(units);
    let bias_format = bias.as_ref().map_or(DType::F32, |bias| bias.tensor.dtype);
    add_rows::launch(
        &x.tensor.client,
        count,
        dim,
        vector,
        x.arg(),
        Some(step.arg()).into(),
        bias.as_ref().map(Rows::arg).into(),
        scale.as_ref().map(Rows::arg).into(),
        out.clone().into_tensor_arg(),
        units,
        columns,
        x.stride / vector,
        step.count,
        step.stride / vector,
        [x.tensor.dtype, step.tensor.dtype, bias_format].map(Into::into),
    );
    out
}
