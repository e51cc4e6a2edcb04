//! Products of f32 on NVIDIA GPUs. Their matrix units take operands in TF32, 10 bits of the mantissa
//! of 23, and add in f32. In: f32 operands. Out: the product of operands of about 20 bits, as one product
//! three times as long, of a large and a small part of each.

use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

use super::gpu::{self, Side};
use super::same;
use crate::device::{Backend as Own, rounds_operands};

/// Whether a plain product would round `x`, which has no gradient: training takes what is fast.
pub fn rounds_products<B: Backend, const D: usize>(x: &Tensor<B, D>) -> bool {
    if x.dtype() != DType::F32 {
        return false;
    }
    #[cfg(feature = "cuda-untuned")]
    if let Ok(x) = same::<_, Tensor<crate::device::Cuda, D>>(x.clone()) {
        return rounds_operands(&x.device().into());
    }
    let own = same::<_, Tensor<Own, D>>(x.clone());
    own.is_ok_and(|x| rounds_operands(&x.device()))
}

/// The parts of a right operand above each other, `[…, 3 · rows, columns]`: itself, its small part, its
/// large part. The large part has the 8 bits of bf16, which no unit rounds; the small part is the rest, of
/// which TF32 keeps 11 bits.
#[derive(Debug, Clone)]
pub struct Parts<B: Backend, const D: usize>(Tensor<B, D>);

impl<B: Backend, const D: usize> Parts<B, D> {
    /// Of parts that were made and kept.
    pub fn made(stacked: Tensor<B, D>) -> Self {
        Parts(stacked)
    }

    pub fn stacked(self) -> Tensor<B, D> {
        self.0
    }
}

/// The parts of a right operand.
pub fn parts_of<B: Backend, const D: usize>(b: Tensor<B, D>) -> Parts<B, D> {
    Parts(match gpu::reaches::<B>() {
        true => gpu::stacked(b, Side::Right),
        false => {
            let [large, small] = split(b.clone());
            Tensor::cat(vec![b, small, large], D - 2)
        }
    })
}

fn split<B: Backend, const D: usize>(x: Tensor<B, D>) -> [Tensor<B, D>; 2] {
    let large = x.clone().cast(FloatDType::BF16).cast(FloatDType::F32);
    [large.clone(), x - large]
}

/// `a·b`.
pub fn product<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    product_with(a, parts_of(b))
}

/// `a·b` from the parts of `b`, as one product: `small·b + large·small + large·large`, the small terms
/// first.
pub fn product_with<B: Backend, const D: usize>(a: Tensor<B, D>, b: Parts<B, D>) -> Tensor<B, D> {
    let a = match gpu::reaches::<B>() {
        true => gpu::stacked(a, Side::Left),
        false => {
            let [large, small] = split(a);
            Tensor::cat(vec![small, large.clone(), large], D - 1)
        }
    };
    a.matmul(b.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, TensorData};

    use super::*;
    use crate::device::cpu;

    /// To TF32: the last 13 bits of the mantissa go.
    fn rounded(x: Tensor<Own, 2>) -> Tensor<Own, 2> {
        let shape = x.dims();
        let cut = |value: f32| f32::from_bits(value.to_bits().wrapping_add(1 << 12) & !0x1fff);
        let values = x.into_data().into_vec::<f32>().unwrap().into_iter().map(cut);
        Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), &cpu())
    }

    #[test]
    fn units_that_round_their_operands_give_the_product_of_20_bits() {
        let random =
            |shape| Tensor::<Own, 2>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
        let (a, b) = (random([40, 300]), random([300, 50]));
        let exact = a.clone().matmul(b.clone());
        let far = |x: Tensor<Own, 2>| (x - exact.clone()).abs().max().into_scalar();
        let [[a_large, a_small], [b_large, b_small]] = [&a, &b].map(|x| split(x.clone()));
        assert!(rounded(a_large.clone()).equal(a_large.clone()).all().into_scalar() != 0);
        let units =
            |a: &Tensor<Own, 2>, b: &Tensor<Own, 2>| rounded(a.clone()).matmul(rounded(b.clone()));
        let of_units = units(&a_small, &b) + units(&a_large, &b_small) + units(&a_large, &b_large);
        let largest = exact.clone().abs().max().into_scalar();
        assert!(far(units(&a, &b)) > 1e-4 * largest);
        assert!(far(of_units) < 2e-6 * largest);
        assert!(far(product(a, b)) < 2e-6 * largest);
    }
}
