//! Weights that are kept in 16 bits and multiplied in 32: half the memory, at the price of one more
//! pass over them. The numbers are those of the 16 bits, nothing else is rounded.

use burn::tensor::{DType, Tensor, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::device::Backend;

/// Numbers per task.
const TASK: usize = 1 << 16;

/// `x` in f32; itself if it is.
pub fn inferred<const D: usize>(x: Tensor<Backend, D>) -> Tensor<Backend, D> {
    let (dtype, device, shape) = (x.dtype(), x.device(), x.dims());
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return x;
    }
    let data = x.into_data();
    let wide = match (data.as_slice::<f16>(), data.as_slice::<bf16>()) {
        (Ok(values), _) => widened(values),
        (_, Ok(values)) => widened(values),
        _ => unreachable!("the format was one of the two"),
    };
    Tensor::from_data(TensorData::new(wide, shape), &device)
}

fn widened<T: Sync>(values: &[T]) -> Vec<f32>
where
    [T]: HalfFloatSliceExt,
{
    let mut wide = vec![0.0; values.len()];
    let tasks = wide.par_chunks_mut(TASK).zip(values.par_chunks(TASK));
    tasks.for_each(|(wide, values)| values.convert_to_f32_slice(wide));
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use burn::tensor::{Distribution, FloatDType};

    #[test]
    fn numbers_are_those_that_were_rounded_to_16_bits() {
        let shape = [3, TASK - 5];
        let x = Tensor::<Backend, 2>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
        for (format, apart) in
            [(FloatDType::F16, 2f32.powi(-11)), (FloatDType::BF16, 2f32.powi(-8))]
        {
            let half = x.clone().cast(format);
            let wide = inferred(half.clone());
            assert!(wide.clone().equal(half.cast(FloatDType::F32)).all().into_scalar() != 0);
            let largest = ((wide - x.clone()).abs() / (x.clone().abs() + 1e-3)).max().into_scalar();
            assert!((0.0..=apart).contains(&largest) && largest > 0.0, "{largest:e}");
        }
        assert!(inferred(x.clone()).equal(x).all().into_scalar() != 0);
    }
}
