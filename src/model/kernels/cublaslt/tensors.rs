//! From tensors on an NVIDIA GPU to plans and back. In: operands of any layout. Out: their matmul by the
//! library, or `None` where it is switched off, missing, or has no form for it. `FILO_CUBLASLT=1`
//! switches it on.

use std::sync::LazyLock;

use burn::tensor::DType;
use burn_cubecl::cubecl::cuda::CudaRuntime;
use burn_cubecl::tensor::CubeTensor;

use super::library::{Operands, run};
use super::plan::{Epilogue, Format, Matmul, Strides, plan};
use crate::model::kernels::cube::empty;

type Tensor = CubeTensor<CudaRuntime>;

/// Off unless the variable says so: this has not run on a GPU yet.
static ON: LazyLock<bool> =
    LazyLock::new(|| std::env::var("FILO_CUBLASLT").is_ok_and(|value| value == "1"));

/// Fewer multiplications than this are left to burn's kernels: beginning costs more.
const LEAST: usize = 1 << 20;

/// What is added to a matmul, `[n]`, and done with the sum.
pub struct After {
    pub bias: Tensor,
    pub is_relu: bool,
}

/// `a·b` of the last two dimensions and what follows, in the format of the operands.
pub fn multiplied(a: &Tensor, b: &Tensor, after: Option<After>) -> Option<Tensor> {
    let biased = after.as_ref().is_none_or(|after| after.bias.dtype == a.dtype);
    if !*ON || a.dtype != b.dtype || !biased {
        return None;
    }
    let format = match a.dtype {
        DType::F32 => Format::F32,
        DType::F16 => Format::F16,
        DType::BF16 => Format::Bf16,
        _ => return None,
    };
    let (a_shape, b_shape) = (a.meta.shape().to_vec(), b.meta.shape().to_vec());
    let outer = a_shape.len().checked_sub(2)?;
    let ([m, k], n) = ([a_shape[outer], a_shape[outer + 1]], b_shape[outer + 1]);
    let mut shape = a_shape.clone();
    shape
        .iter_mut()
        .zip(&b_shape)
        .take(outer)
        .for_each(|(size, other)| *size = (*size).max(*other));
    shape[outer + 1] = n;
    let batch = shape[..outer].iter().product::<usize>();
    if batch * m * n * k < LEAST {
        return None;
    }
    let out = empty(a, &shape, a.dtype);
    let aligned = |tensor: &Tensor| {
        let offset = tensor.handle.offset_start.unwrap_or(0);
        if offset == 0 { 256 } else { 1 << offset.trailing_zeros().min(8) }
    };
    let matmul = Matmul {
        batch: batch as u64,
        m: m as u64,
        n: n as u64,
        k: k as u64,
        a: strides(a, &shape[..outer])?,
        b: strides(b, &shape[..outer])?,
        d: strides(&out, &shape[..outer])?,
        operands: format,
        result: format,
        epilogue: after.as_ref().map_or(Epilogue::None, |after| match after.is_relu {
            true => Epilogue::ReluBias,
            false => Epilogue::Bias,
        }),
        onto: false,
        aligned: [aligned(a), aligned(b), aligned(&out)],
    };
    let plan = plan(matmul)?;
    let bias = after.map(|after| after.bias.handle);
    // The library's first operand is our second.
    let operands =
        Operands { a: b.handle.clone(), b: a.handle.clone(), bias, d: out.handle.clone() };
    run(&a.device, plan, operands).then_some(out)
}

/// Of a stack of matrices over `outer`, if one number leads from each to the next.
fn strides(tensor: &Tensor, outer: &[usize]) -> Option<Strides> {
    let (shape, strides) = (tensor.meta.shape().to_vec(), tensor.meta.strides().to_vec());
    let batch = super::plan::batch_stride(&shape[..outer.len()], &strides, outer)?;
    let [row, column] = [0, 1].map(|i| strides[outer.len() + i] as u64);
    Some(Strides { batch, row, column })
}
