//! Matmuls with few columns between the layouts of heads, one thread per number: where a copy into the
//! layout of a large matmul would cost more than the matmul. Operands in any layout, sums in f32.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

use super::{empty, flat};

/// Elements from one index to the next, of (batch, head, row, column).
pub type Strides = [usize; 4];

/// `out[b, h, i, j] = scale · Σ_k (a[b, h, i, k] + a_bias[h, k]) · (c[b, h, k, j] + c_bias[h, k]) +
/// bias[h, j]`.
pub struct Small<R: CubeRuntime> {
    pub a: CubeTensor<R>,
    pub a_strides: Strides,
    /// `[heads · inner]`.
    pub a_bias: Option<CubeTensor<R>>,
    pub c: CubeTensor<R>,
    pub c_strides: Strides,
    /// `[heads · inner]`.
    pub c_bias: Option<CubeTensor<R>>,
    /// `[heads · columns]`.
    pub bias: Option<CubeTensor<R>>,
    pub scale: f32,
    /// Batch, heads, rows, columns of the result.
    pub sizes: [usize; 4],
    pub inner: usize,
    pub out_strides: Strides,
}

#[derive(CubeType, CubeLaunch)]
struct Layout {
    batch: usize,
    head: usize,
    row: usize,
    column: usize,
}

impl Layout {
    fn launch<R: CubeRuntime>([batch, head, row, column]: Strides) -> LayoutLaunch<R> {
        LayoutLaunch::new(batch, head, row, column)
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn small<T: Float>(
    a: &Tensor<T>,
    a_bias: &ComptimeOption<Tensor<T>>,
    c: &Tensor<T>,
    c_bias: &ComptimeOption<Tensor<T>>,
    bias: &ComptimeOption<Tensor<T>>,
    out: &mut Tensor<T>,
    sizes: &Layout,
    of_a: &Layout,
    of_c: &Layout,
    of_out: &Layout,
    inner: usize,
    scale: f32,
    #[define(T)] _format: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at < sizes.batch * sizes.head * sizes.row * sizes.column {
        let j = at % sizes.column;
        let i = at / sizes.column % sizes.row;
        let h = at / sizes.column / sizes.row % sizes.head;
        let b = at / sizes.column / sizes.row / sizes.head;
        let a_at = b * of_a.batch + h * of_a.head + i * of_a.row;
        let c_at = b * of_c.batch + h * of_c.head + j * of_c.column;
        let mut sum = 0.0f32;
        for k in 0..inner {
            let mut left = f32::cast_from(a[a_at + k * of_a.column]);
            let mut right = f32::cast_from(c[c_at + k * of_c.row]);
            #[comptime]
            if let ComptimeOption::Some(a_bias) = a_bias {
                left += f32::cast_from(a_bias[h * inner + k]);
            }
            #[comptime]
            if let ComptimeOption::Some(c_bias) = c_bias {
                right += f32::cast_from(c_bias[h * inner + k]);
            }
            sum += left * right;
        }
        sum *= scale;
        #[comptime]
        if let ComptimeOption::Some(bias) = bias {
            sum += f32::cast_from(bias[h * sizes.column + j]);
        }
        let to = b * of_out.batch + h * of_out.head + i * of_out.row + j * of_out.column;
        out[to] = T::cast_from(sum);
    }
}

/// The matmul, as a tensor of `shape`.
pub fn multiplied<R: CubeRuntime>(matmul: Small<R>, shape: &[usize]) -> CubeTensor<R> {
    let format: DType = matmul.a.dtype;
    let out = empty(&matmul.a, shape, format);
    let (count, dim) = flat(matmul.sizes.iter().product());
    let arg = |tensor: Option<CubeTensor<R>>| tensor.map(CubeTensor::into_tensor_arg);
    small::launch(
        &out.client,
        count,
        dim,
        matmul.a.clone().into_tensor_arg(),
        arg(matmul.a_bias).into(),
        matmul.c.clone().into_tensor_arg(),
        arg(matmul.c_bias).into(),
        arg(matmul.bias).into(),
        out.clone().into_tensor_arg(),
        Layout::launch(matmul.sizes),
        Layout::launch(matmul.a_strides),
        Layout::launch(matmul.c_strides),
        Layout::launch(matmul.out_strides),
        matmul.inner,
        matmul.scale,
        format.into(),
    );
    out
}
