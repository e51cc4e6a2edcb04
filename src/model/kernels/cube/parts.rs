//! An operand of a matmul as its parts beside each other, for units that round operands: see
//! [`in_parts`](crate::model::kernels::in_parts). One pass over memory.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{Rows, empty, flat, widest};
use crate::model::kernels::gpu::Side;

/// `x` with the 8 bits of bf16, rounded to nearest, ties to even.
#[cube]
fn large_part<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let bits = Vector::<u32, N>::reinterpret(x);
    let half = Vector::<u32, N>::new(0x7fffu32);
    let last = (bits >> Vector::<u32, N>::new(16u32)) & Vector::<u32, N>::new(1u32);
    Vector::<f32, N>::reinterpret((bits + half + last) & Vector::<u32, N>::new(0xffff_0000u32))
}

#[cube(launch)]
fn stack<N: Size>(
    x: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<f32, N>>,
    count: usize,
    columns: usize,
    stride: usize,
    #[comptime] side: Side,
) {
    let at = ABSOLUTE_POS;
    if at < count {
        let row = at / columns;
        let column = at % columns;
        let value = x[row * stride + column];
        let large = large_part::<N>(value);
        let to = row * 3 * columns + column;
        if comptime!(side == Side::Left) {
            out[to] = value - large;
            out[to + columns] = large;
        } else {
            out[to] = value;
            out[to + columns] = value - large;
        }
        out[to + 2 * columns] = large;
    }
}

/// `x` of f32, `[…, rows, columns]`: of a left operand `[…, rows, 3 · columns]`, small, large, large; of a
/// right one `[…, 3 · rows, columns]`, itself, small, large.
pub fn stacked<R: CubeRuntime>(x: CubeTensor<R>, side: Side) -> CubeTensor<R> {
    let mut shape = x.meta.shape().to_vec();
    let rank = shape.len();
    let (x, width, stride) = match side {
        Side::Left => {
            let x = Rows::of(x);
            (x.tensor, x.width, x.stride)
        }
        Side::Right => {
            let matrix = shape[rank - 2..].iter().product();
            (into_contiguous(x), matrix, matrix)
        }
    };
    let elements = shape.iter().product::<usize>();
    shape[if side == Side::Left { rank - 1 } else { rank - 2 }] *= 3;
    let out = empty(&x, &shape, DType::F32);
    let vector = widest(|by| width.is_multiple_of(by) && stride.is_multiple_of(by));
    let units = elements / vector;
    let (count, dim) = flat(units);
    stack::launch(
        &x.client,
        count,
        dim,
        vector,
        x.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        units,
        width / vector,
        stride / vector,
        side,
    );
    out
}
