//! Attention in f32 in one kernel: scores, what is added to them, softmax and the weighted sum, without
//! one score in memory. For heads too narrow or tokens too few for matrix units: windows, text, queries.
//! In: rows of projections as matmuls leave them, and their biases. Out: rows.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::softmax::LOWEST;
use super::{Rows, cubes, empty, sum_of_vector, widest};

/// Threads of a cube, and queries: one each.
const QUERIES: u32 = 64;

/// Floats of shared memory for keys and for values, each: together half of what every GPU has.
const TILE_FLOATS: usize = 2048;

/// Columns of a projection.
pub struct Columns<R: CubeRuntime> {
    /// `[rows, any]` or `[batch, tokens, any]`.
    pub rows: CubeTensor<R>,
    /// `[any]`, added to each row.
    pub bias: Option<CubeTensor<R>>,
    /// The first of the columns that count.
    pub first: usize,
}

/// What attention is over.
pub struct Attention<R: CubeRuntime> {
    pub query: Columns<R>,
    pub key: Columns<R>,
    pub value: Columns<R>,
    /// Images, or windows of all images.
    pub batch: usize,
    pub heads: usize,
    pub head_width: usize,
    pub queries: usize,
    pub keys: usize,
    pub scale: f32,
    /// `[heads, queries, keys]`, added to the scores.
    pub position: Option<CubeTensor<R>>,
    /// `[n, queries, keys]`, added to the scores; one of the batch takes mask `i mod n`.
    pub mask: Option<CubeTensor<R>>,
    /// `[batch or 1, 1, queries or 1, keys]`, not 0 where a query must not see a key.
    pub hidden: Option<CubeTensor<R>>,
    pub windows: Option<Windows<R>>,
}

/// Windows over maps: where their tokens lie.
pub struct Windows<R: CubeRuntime> {
    /// `[windows of an image, tokens]` i32: the row of a token in its image; −1 for filling, which is
    /// a row of zeros before the bias.
    pub places: CubeTensor<R>,
    /// Rows of an image.
    pub rows: usize,
}

/// The row of a token in the tensors of rows, or −1.
#[cube]
fn place(
    places: &ComptimeOption<Tensor<i32>>,
    image: usize,
    tokens: usize,
    token: usize,
    windows: usize,
    rows: usize,
) -> i32 {
    #[comptime]
    match places {
        ComptimeOption::Some(places) => {
            let in_image = places[image % windows * tokens + token];
            let row = (image / windows * rows) as i32 + in_image;
            select(in_image < 0i32, -1i32, row)
        }
        ComptimeOption::None => (image * tokens + token) as i32,
    }
}

/// Some neighbouring elements of a row with its bias.
#[cube]
fn read<T: Float, P: Float, N: Size>(
    rows: &Tensor<Vector<T, N>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    row: i32,
    stride: usize,
    column: usize,
) -> Vector<f32, N> {
    let mut value = Vector::<f32, N>::new(0.0f32);
    if row >= 0i32 {
        value = Vector::<f32, N>::cast_from(rows[row as usize * stride + column]);
    }
    #[comptime]
    if let ComptimeOption::Some(bias) = bias {
        value += Vector::<f32, N>::cast_from(bias[column]);
    }
    value
}

#[derive(CubeType, CubeLaunch)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    query_stride: usize,
    key_stride: usize,
    value_stride: usize,
    query_first: usize,
    key_first: usize,
    value_first: usize,
    windows: usize,
    rows: usize,
    masks: usize,
    hidden_masks: usize,
    hidden_queries: usize,
    scale: f32,
}

#[cube(launch)]
#[allow(clippy::too_many_arguments, clippy::manual_div_ceil)]
fn attend<T: Float, P: Float, M: Int, N: Size>(
    query: &Tensor<Vector<T, N>>,
    query_bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    key: &Tensor<Vector<T, N>>,
    key_bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    value: &Tensor<Vector<T, N>>,
    value_bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    position: &ComptimeOption<Tensor<f32>>,
    mask: &ComptimeOption<Tensor<f32>>,
    hidden: &ComptimeOption<Tensor<M>>,
    places: &ComptimeOption<Tensor<i32>>,
    out: &mut Tensor<Vector<T, N>>,
    sizes: &Sizes,
    #[comptime] width: usize,
    #[comptime] tile: usize,
    #[define(T, P, M)] _formats: [StorageType; 3],
) {
    let mut keys = SharedMemory::<Vector<f32, N>>::new(tile * width);
    let mut values = SharedMemory::<Vector<f32, N>>::new(tile * width);
    let threads = comptime!(QUERIES as usize);
    let unit = UNIT_POS as usize;
    let blocks = (sizes.queries + threads - 1) / threads;
    // What is beyond the last cube that is needed computes along and writes nothing.
    let wanted = sizes.batch * sizes.heads * blocks;
    let is_wanted = CUBE_POS < wanted;
    let cube = select(is_wanted, CUBE_POS, 0usize);
    let head = cube / blocks % sizes.heads;
    let image = cube / blocks / sizes.heads;
    let wanted_token = cube % blocks * threads + unit;
    let token = min(wanted_token, sizes.queries - 1);
    let row = place(places, image, sizes.queries, token, sizes.windows, sizes.rows);

    let zero = Vector::<f32, N>::new(0.0f32);
    let mut own = Array::<Vector<f32, N>>::new(width);
    let mut sum = Array::<Vector<f32, N>>::new(width);
    let scale = Vector::<f32, N>::new(sizes.scale);
    #[unroll]
    for i in 0..width {
        let column = sizes.query_first + head * width + i;
        own[i] = read::<T, P, N>(query, query_bias, row, sizes.query_stride, column) * scale;
        sum[i] = zero;
    }
    let mut largest = f32::new(LOWEST);
    let mut total = 0.0f32;

    let mut first = 0usize;
    while first < sizes.keys {
        sync_cube();
        let mut i = unit;
        while i < comptime!(tile * width) {
            let at = first + i / width;
            if at < sizes.keys {
                let from = place(places, image, sizes.keys, at, sizes.windows, sizes.rows);
                let column = head * width + i % width;
                let key_column = sizes.key_first + column;
                let value_column = sizes.value_first + column;
                keys[i] = read::<T, P, N>(key, key_bias, from, sizes.key_stride, key_column);
                values[i] =
                    read::<T, P, N>(value, value_bias, from, sizes.value_stride, value_column);
            }
            i += threads;
        }
        sync_cube();
        let end = min(sizes.keys - first, tile);
        for j in 0..end {
            let at = first + j;
            let mut products = zero;
            #[unroll]
            for i in 0..width {
                products += own[i] * keys[j * width + i];
            }
            let mut score = sum_of_vector::<N>(products);
            #[comptime]
            if let ComptimeOption::Some(position) = position {
                score += position[(head * sizes.queries + token) * sizes.keys + at];
            }
            #[comptime]
            if let ComptimeOption::Some(mask) = mask {
                score += mask[(image % sizes.masks * sizes.queries + token) * sizes.keys + at];
            }
            let mut share_of = 1.0f32;
            #[comptime]
            if let ComptimeOption::Some(hidden) = hidden {
                let of_image = image % sizes.hidden_masks * sizes.hidden_queries;
                let hidden_row = of_image + token % sizes.hidden_queries;
                let is_hidden = hidden[hidden_row * sizes.keys + at] != M::new(0);
                share_of = select(is_hidden, 0.0f32, 1.0f32);
                score = select(is_hidden, f32::new(LOWEST), score);
            }
            if score > largest {
                let shrink = (largest - score).exp();
                total *= shrink;
                let shrink = Vector::<f32, N>::new(shrink);
                #[unroll]
                for i in 0..width {
                    sum[i] = sum[i] * shrink;
                }
                largest = score;
            }
            let share = (score - largest).exp() * share_of;
            total += share;
            let share = Vector::<f32, N>::new(share);
            #[unroll]
            for i in 0..width {
                sum[i] += share * values[j * width + i];
            }
        }
        first += tile;
    }

    if is_wanted && wanted_token < sizes.queries && row >= 0i32 {
        let total = Vector::<f32, N>::new(total);
        #[unroll]
        for i in 0..width {
            let to = row as usize * (sizes.heads * width) + head * width + i;
            out[to] = Vector::cast_from(sum[i] / total);
        }
    }
}

/// The attended values, `[rows, heads · head width]`: a row for each query, in the order of `query`.
pub fn attended<R: CubeRuntime>(attention: Attention<R>) -> CubeTensor<R> {
    let Attention { batch, heads, head_width, queries, keys, .. } = attention;
    let [query, key, value] = [attention.query, attention.key, attention.value]
        .map(|columns| (Rows::of(columns.rows), columns.bias.map(Rows::of), columns.first));
    let of = |(rows, bias, _): &(Rows<R>, Option<Rows<R>>, usize), by: usize| {
        rows.stride.is_multiple_of(by)
            && bias.as_ref().is_none_or(|bias| bias.width.is_multiple_of(by))
    };
    let vector = widest(|by| {
        let firsts = [query.2, key.2, value.2, head_width];
        firsts.iter().all(|first| first.is_multiple_of(by))
            && [&query, &key, &value].into_iter().all(|columns| of(columns, by))
    });
    let like = &query.0.tensor;
    let out = empty(like, &[query.0.count, heads * head_width], like.dtype);
    let dense = |tensor: Option<CubeTensor<R>>| tensor.map(into_contiguous);
    let [position, mask, hidden] =
        [attention.position, attention.mask, attention.hidden].map(dense);
    let dim = |tensor: &Option<CubeTensor<R>>, dim: usize| {
        tensor.as_ref().map_or(1, |tensor| tensor.meta.shape()[dim])
    };
    let places = dense(attention.windows.as_ref().map(|windows| windows.places.clone()));
    let (windows, rows) = match &attention.windows {
        Some(windows) => (windows.places.meta.shape()[0], windows.rows),
        None => (1, 1),
    };
    let sizes = SizesLaunch::new(
        batch,
        heads,
        queries,
        keys,
        query.0.stride / vector,
        key.0.stride / vector,
        value.0.stride / vector,
        query.2 / vector,
        key.2 / vector,
        value.2 / vector,
        windows,
        rows,
        dim(&mask, 0),
        dim(&hidden, 0),
        dim(&hidden, 2),
        attention.scale,
    );
    let bias_format = query.1.as_ref().map_or(DType::F32, |bias| bias.tensor.dtype);
    let hidden_format = hidden.as_ref().map_or(DType::U32, |hidden| hidden.dtype);
    let formats = [like.dtype, bias_format, hidden_format];
    let tile = (TILE_FLOATS / head_width).clamp(1, keys.max(1));
    let arg = |tensor: Option<CubeTensor<R>>| tensor.map(CubeTensor::into_tensor_arg).into();
    attend::launch(
        &like.client,
        cubes(batch * heads * queries.div_ceil(QUERIES as usize)),
        CubeDim::new_1d(QUERIES),
        vector,
        query.0.arg(),
        query.1.as_ref().map(Rows::arg).into(),
        key.0.arg(),
        key.1.as_ref().map(Rows::arg).into(),
        value.0.arg(),
        value.1.as_ref().map(Rows::arg).into(),
        arg(position),
        arg(mask),
        hidden.map(CubeTensor::into_tensor_arg).into(),
        places.map(CubeTensor::into_tensor_arg).into(),
        out.clone().into_tensor_arg(),
        sizes,
        head_width / vector,
        tile,
        formats.map(Into::into),
    );
    out
}
