//! ReLU in place: what the backend writes beside its operand is the largest tensor of the detector.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::Values;
use crate::device::Backend;

/// Values per task.
const TASK: usize = 1 << 14;

/// `max(x, 0)` without a gradient; what is not a number stays that.
pub fn inferred<const D: usize>(x: Tensor<Backend, D>) -> Tensor<Backend, D> {
    let mut values = Values::of(x);
    values.write().par_chunks_mut(TASK).for_each(|values| {
        values.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
    });
    values.tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use burn::tensor::{Distribution, activation};

    #[test]
    fn values_are_those_of_the_plain_operator_and_nan_goes_through() {
        let shape = [3, TASK + 5];
        let x = Tensor::<Backend, 2>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
        let plain = activation::relu(x.clone());
        assert!(inferred(x).equal(plain).all().into_scalar() != 0);
        let odd = Tensor::<Backend, 1>::from_floats([f32::NAN, -0.5, f32::INFINITY], &cpu());
        let odd = Values::of(inferred(odd));
        assert!(odd.read()[0].is_nan() && odd.read()[1..] == [0.0, f32::INFINITY]);
    }
}
