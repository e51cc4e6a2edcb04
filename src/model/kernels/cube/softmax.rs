//! Softmax of attention scores: over rows, with keys that a query must not see, and over columns. In f32,
//! in one pass over memory; what is written may have another format than what is read.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{LANES, Rows, THREADS, by_row, empty, max_of_lanes, sum_of_lanes};

/// Below every score: what a hidden one counts as, so that its share is 0.
pub(super) const LOWEST: f32 = -3.0e38;

/// A score, or less than any where it is hidden.
#[cube]
fn visible<T: Float, M: Int>(
    x: &Tensor<T>,
    shift: &ComptimeOption<Tensor<f32>>,
    hidden: &ComptimeOption<Tensor<M>>,
    x_at: usize,
    shift_at: usize,
    hidden_at: usize,
    key: usize,
) -> f32 {
    let mut score = f32::cast_from(x[x_at + key]);
    #[comptime]
    if let ComptimeOption::Some(shift) = shift {
        score += shift[shift_at + key];
    }
    #[comptime]
    if let ComptimeOption::Some(hidden) = hidden {
        let is_hidden = hidden[hidden_at + key] != M::new(0);
        score = select(is_hidden, f32::new(LOWEST), score);
    }
    score
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn softmax_rows<T: Float, M: Int, O: Float>(
    x: &Tensor<T>,
    shift: &ComptimeOption<Tensor<f32>>,
    hidden: &ComptimeOption<Tensor<M>>,
    out: &mut Tensor<O>,
    rows: usize,
    keys: usize,
    x_stride: usize,
    shift_groups: usize,
    shift_rows: usize,
    per_mask: usize,
    masks: usize,
    queries: usize,
    #[define(T, M, O)] _formats: [StorageType; 3],
) {
    let mut shared = SharedMemory::<f32>::new(THREADS as usize);
    let lane = UNIT_POS_X as usize;
    let lanes = comptime!(LANES as usize);
    let row = CUBE_POS * comptime!((THREADS / LANES) as usize) + UNIT_POS_Y as usize;
    let inside = row < rows;
    let from = select(inside, row, 0usize);
    let x_at = from * x_stride;
    let shift_at = (from / shift_rows * shift_groups + from % shift_groups) * keys;
    let hidden_at = (from / per_mask % masks * queries + from % queries) * keys;

    let mut largest = f32::new(LOWEST);
    let mut i = lane;
    while i < keys {
        let score = visible::<T, M>(x, shift, hidden, x_at, shift_at, hidden_at, i);
        largest = max(largest, score);
        i += lanes;
    }
    let largest = max_of_lanes(largest, &mut shared);

    let mut total = 0.0f32;
    let mut i = lane;
    while i < keys {
        let score = visible::<T, M>(x, shift, hidden, x_at, shift_at, hidden_at, i);
        total += (score - largest).exp();
        i += lanes;
    }
    let total = sum_of_lanes(total, &mut shared);

    if inside {
        let to = row * keys;
        let mut i = lane;
        while i < keys {
            let score = visible::<T, M>(x, shift, hidden, x_at, shift_at, hidden_at, i);
            out[to + i] = O::cast_from((score - largest).exp() / total);
            i += lanes;
        }
    }
}

/// What is added to scores and what is hidden.
pub struct Scores<R: CubeRuntime> {
    /// `[…, rows, keys]`.
    pub x: CubeTensor<R>,
    /// f32, `[groups, per group, keys]` beside rows `[groups, any, per group]`: added to the scores.
    pub shift: Option<CubeTensor<R>>,
    /// `[n, 1, queries or 1, keys]`, not 0 where a row must not see a key; see `rows_per_mask`.
    pub hidden: Option<CubeTensor<R>>,
    /// Rows after which the next of `n` masks applies.
    pub rows_per_mask: usize,
}

/// Softmax over the last dimension, of the shape of the scores. Every row must see a key.
pub fn over_rows<R: CubeRuntime>(scores: Scores<R>, format: DType) -> CubeTensor<R> {
    let shape = scores.x.meta.shape().to_vec();
    let x = Rows::of(scores.x);
    let [shift, hidden] = [scores.shift, scores.hidden].map(|tensor| tensor.map(into_contiguous));
    let out = empty(&x.tensor, &shape, format);
    let of = |tensor: &Option<CubeTensor<R>>, dim: usize| {
        tensor.as_ref().map_or(1, |tensor| tensor.meta.shape()[dim])
    };
    let (groups, per_group) = (of(&shift, 0), of(&shift, 1));
    let mask_format = hidden.as_ref().map_or(DType::U32, |hidden| hidden.dtype);
    let (count, dim) = by_row(x.count);
    softmax_rows::launch(
        &x.tensor.client,
        count,
        dim,
        x.arg(),
        shift.clone().map(CubeTensor::into_tensor_arg).into(),
        hidden.clone().map(CubeTensor::into_tensor_arg).into(),
        out.clone().into_tensor_arg(),
        x.count,
        x.width,
        x.stride,
        per_group,
        (x.count / groups).max(1),
        scores.rows_per_mask.max(1),
        of(&hidden, 0),
        of(&hidden, 2),
        [x.tensor.dtype, mask_format, format].map(Into::into),
    );
    out
}

/// What a row counts for before its share is taken: nothing where it is hidden.
#[cube]
fn weight<T: Float, M: Int>(
    x: &Tensor<T>,
    hidden: &ComptimeOption<Tensor<M>>,
    x_at: usize,
    hidden_at: usize,
    largest: f32,
) -> f32 {
    let mut weight = (f32::cast_from(x[x_at]) - largest).exp();
    #[comptime]
    if let ComptimeOption::Some(hidden) = hidden {
        weight = select(hidden[hidden_at] != M::new(0), 0.0f32, weight);
    }
    weight
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn softmax_columns<T: Float, M: Int>(
    x: &Tensor<T>,
    hidden: &ComptimeOption<Tensor<M>>,
    out: &mut Tensor<T>,
    images: usize,
    rows: usize,
    columns: usize,
    stride: usize,
    #[define(T, M)] _formats: [StorageType; 2],
) {
    let mut shared = SharedMemory::<f32>::new(THREADS as usize);
    let lane = UNIT_POS_X as usize;
    let lanes = comptime!(LANES as usize);
    let index = CUBE_POS * comptime!((THREADS / LANES) as usize) + UNIT_POS_Y as usize;
    let inside = index < images * columns;
    let from = select(inside, index, 0usize);
    let image = from / columns;
    let column = from % columns;
    let x_at = image * rows * stride + column;
    let hidden_at = image * rows;

    let mut largest = f32::new(LOWEST);
    let mut i = lane;
    while i < rows {
        let mut score = f32::cast_from(x[x_at + i * stride]);
        #[comptime]
        if let ComptimeOption::Some(hidden) = hidden {
            score = select(hidden[hidden_at + i] != M::new(0), f32::new(LOWEST), score);
        }
        largest = max(largest, score);
        i += lanes;
    }
    let largest = max_of_lanes(largest, &mut shared);

    let mut total = 0.0f32;
    let mut i = lane;
    while i < rows {
        total += weight::<T, M>(x, hidden, x_at + i * stride, hidden_at + i, largest);
        i += lanes;
    }
    let total = sum_of_lanes(total, &mut shared);

    if inside {
        let mut i = lane;
        while i < rows {
            let own = weight::<T, M>(x, hidden, x_at + i * stride, hidden_at + i, largest);
            out[index * rows + i] = T::cast_from(own / total);
            i += lanes;
        }
    }
}

/// `x` `[batch, rows, columns]` → `[batch, columns, rows]`, softmax over the rows. `hidden` `[batch,
/// rows]` is not 0 where a row counts for nothing.
pub fn over_columns<R: CubeRuntime>(
    x: CubeTensor<R>,
    hidden: Option<CubeTensor<R>>,
) -> CubeTensor<R> {
    let shape = x.meta.shape().to_vec();
    let [images, rows, columns] = [shape[0], shape[1], shape[2]];
    let (x, hidden) = (Rows::of(x), hidden.map(into_contiguous));
    let out = empty(&x.tensor, &[images, columns, rows], x.tensor.dtype);
    let mask_format = hidden.as_ref().map_or(DType::U32, |hidden| hidden.dtype);
    let (count, dim) = by_row(images * columns);
    softmax_columns::launch(
        &x.tensor.client,
        count,
        dim,
        x.arg(),
        hidden.map(CubeTensor::into_tensor_arg).into(),
        out.clone().into_tensor_arg(),
        images,
        rows,
        columns,
        x.stride,
        [x.tensor.dtype, mask_format].map(Into::into),
    );
    out
}
