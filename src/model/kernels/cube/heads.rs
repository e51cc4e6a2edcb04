//! Rows of a fused projection to heads and back: bias, scale of the query and the change of order in one
//! copy.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Rows, empty, flat, vector_of, widest};

/// Query, key and value, each `[streams · batch, heads, tokens, head width]`.
pub struct Heads<R: CubeRuntime> {
    pub query: CubeTensor<R>,
    pub key: CubeTensor<R>,
    pub value: CubeTensor<R>,
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn split<T: Float, P: Float, N: Size>(
    qkv: &Tensor<Vector<T, N>>,
    bias: &ComptimeOption<Tensor<Vector<P, N>>>,
    query: &mut Tensor<Vector<T, N>>,
    key: &mut Tensor<Vector<T, N>>,
    value: &mut Tensor<Vector<T, N>>,
    count: usize,
    heads: usize,
    tokens: usize,
    columns: usize,
    stride: usize,
    scale: f32,
    #[comptime] streams: usize,
    #[define(T, P)] _formats: [StorageType; 2],
) {
    // In the order of the result: image, head, token, column.
    let at = ABSOLUTE_POS;
    if at < count {
        let column = at % columns;
        let token = at / columns % tokens;
        let head = at / columns / tokens % heads;
        let image = at / columns / tokens / heads;
        let width = heads * columns;
        let inside = head * columns + column;
        let from = (image * tokens + token) * stride + inside;
        let mut q = Vector::<f32, N>::cast_from(qkv[from]);
        let mut k = Vector::<f32, N>::cast_from(qkv[from + width]);
        let mut v = Vector::<f32, N>::cast_from(qkv[from + 2 * width]);
        #[comptime]
        if let ComptimeOption::Some(bias) = bias {
            q += Vector::<f32, N>::cast_from(bias[inside]);
            k += Vector::<f32, N>::cast_from(bias[inside + width]);
            v += Vector::<f32, N>::cast_from(bias[inside + 2 * width]);
        }
        let scale = Vector::<f32, N>::new(scale);
        query[at] = Vector::cast_from(q * scale);
        key[at] = Vector::cast_from(k);
        value[at] = Vector::cast_from(v);
        if comptime!(streams == 2) {
            query[at + count] = Vector::cast_from(v * scale);
            key[at + count] = Vector::cast_from(v);
            value[at + count] = Vector::cast_from(v);
        }
    }
}

/// `qkv` `[batch, tokens, 3 · width]` plus `bias`, the query times `scale`. With two streams, the second
/// has the value as query, key and value.
pub fn split_fused<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    heads: usize,
    scale: f32,
    streams: usize,
) -> Heads<R> {
    let shape = qkv.meta.shape().to_vec();
    let (qkv, bias) = (Rows::of(qkv), bias.map(Rows::of));
    let [batch, tokens, fused] = [shape[0], shape[1], shape[2]];
    let head_width = fused / 3 / heads;
    let all = [Some(&qkv), bias.as_ref()];
    let vector = vector_of(&all.into_iter().flatten().collect::<Vec<_>>());
    let vector = widest(|by| by <= vector && head_width.is_multiple_of(by));
    let part =
        || empty(&qkv.tensor, &[streams * batch, heads, tokens, head_width], qkv.tensor.dtype);
    let parts = Heads { query: part(), key: part(), value: part() };
    let columns = head_width / vector;
    let units = batch * heads * tokens * columns;
    let (count, dim) = flat(units);
    let bias_format = bias.as_ref().map_or(DType::F32, |bias| bias.tensor.dtype);
    split::launch(
        &qkv.tensor.client,
        count,
        dim,
        vector,
        qkv.arg(),
        bias.as_ref().map(Rows::arg).into(),
        parts.query.clone().into_tensor_arg(),
        parts.key.clone().into_tensor_arg(),
        parts.value.clone().into_tensor_arg(),
        units,
        heads,
        tokens,
        columns,
        qkv.stride / vector,
        scale,
        streams,
        [qkv.tensor.dtype, bias_format].map(Into::into),
    );
    parts
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn merge<T: Float, N: Size>(
    x: &Tensor<Vector<T, N>>,
    out: &mut Tensor<Vector<T, N>>,
    count: usize,
    heads: usize,
    tokens: usize,
    columns: usize,
    stride: usize,
    #[define(T)] _format: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at < count {
        let column = at % columns;
        let head = at / columns % heads;
        let token = at / columns / heads % tokens;
        let image = at / columns / heads / tokens;
        out[at] = x[((image * heads + head) * tokens + token) * stride + column];
    }
}

/// `[batch, heads, tokens, head width]` → `[batch, tokens, width]`.
pub fn merged<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let shape = x.meta.shape().to_vec();
    let x = Rows::of(x);
    let [batch, heads, tokens, head_width] = [shape[0], shape[1], shape[2], shape[3]];
    let out = empty(&x.tensor, &[batch, tokens, heads * head_width], x.tensor.dtype);
    let vector = vector_of(&[&x]);
    let columns = head_width / vector;
    let units = x.count * columns;
    let (count, dim) = flat(units);
    merge::launch(
        &x.tensor.client,
        count,
        dim,
        vector,
        x.arg(),
        out.clone().into_tensor_arg(),
        units,
        heads,
        tokens,
        columns,
        x.stride / vector,
        x.tensor.dtype.into(),
    );
    out
}
