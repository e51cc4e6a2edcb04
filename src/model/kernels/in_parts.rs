//! Products of f32 on NVIDIA GPUs. Their matrix units take operands in TF32, 10 bits of the mantissa
//! of 23, and add in f32. In: f32 operands. Out: the product of operands of about 20 bits, as three
//! products of a large and a small part of each.

use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

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

/// An operand as a sum of two.
#[derive(Debug, Clone)]
pub struct Split<B: Backend, const D: usize> {
    /// The 8 bits of bf16, which no unit rounds.
    pub large: Tensor<B, D>,
    /// The rest, of which TF32 keeps 11 bits.
    pub small: Tensor<B, D>,
}

impl<B: Backend, const D: usize> Split<B, D> {
    /// The same of a view of the operand: `view` must take numbers as they are.
    pub fn map<const E: usize>(self, view: impl Fn(Tensor<B, D>) -> Tensor<B, E>) -> Split<B, E> {
        Split { large: view(self.large), small: view(self.small) }
    }
}

pub fn split<B: Backend, const D: usize>(x: Tensor<B, D>) -> Split<B, D> {
    let large = x.clone().cast(FloatDType::BF16).cast(FloatDType::F32);
    Split { small: x - large.clone(), large }
}

/// `a·b`.
pub fn product<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    let parts = split(b.clone());
    product_with(a, b, parts)
}

/// `a·b`, where `parts` are those of `b`.
pub fn product_with<B: Backend, const D: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, D>,
    parts: Split<B, D>,
) -> Tensor<B, D> {
    let Split { large, small } = split(a);
    small.matmul(b) + large.clone().matmul(parts.small) + large.matmul(parts.large)
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
        let [Split { large: a_large, small: a_small }, Split { large: b_large, small: b_small }] =
            [&a, &b].map(|x| split(x.clone()));
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
