//! Erf GELU with its gradient: one pass over the input, one product on the way back.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::{Rule, Values, unary};
use super::simd::{Gelu, Multiply, widest};
use crate::device::{Backend, TrainBackend};

/// Values per task.
const TASK: usize = 1 << 14;

#[derive(Debug, Clone)]
struct Derivative<const D: usize>(Tensor<Backend, D>);

impl<const D: usize> Rule<D, D> for Derivative<D> {
    fn gradient(self, output: Tensor<Backend, D>) -> Tensor<Backend, D> {
        let (mut gradient, derivative) = (Values::of(output), Values::of(self.0));
        gradient
            .write()
            .par_chunks_mut(TASK)
            .zip(derivative.read().par_chunks(TASK))
            .for_each(|(rows, by)| widest(Multiply { rows, by }));
        gradient.tensor()
    }
}

/// `x·Φ(x)`.
pub fn fused<const D: usize>(x: Tensor<TrainBackend, D>) -> Tensor<TrainBackend, D> {
    unary(x, |x| {
        let mut values = Values::of(x);
        let mut derivatives = vec![0.0; values.read().len()];
        values
            .write()
            .par_chunks_mut(TASK)
            .zip(derivatives.par_chunks_mut(TASK))
            .for_each(|(values, derivatives)| widest(Gelu { values, derivatives }));
        let derivatives = values.beside(derivatives, values.shape());
        (values.tensor(), Derivative(derivatives))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use burn::tensor::activation;

    #[test]
    fn value_and_gradient_are_those_of_the_plain_operator() {
        let values = (-400..400).map(|i| i as f32 / 50.0).collect::<Vec<_>>();
        let x = Tensor::<TrainBackend, 1>::from_floats(&values[..], &cpu()).require_grad();
        let run = |y: Tensor<TrainBackend, 1>| {
            let gradient = x.grad(&(y.clone() * y.clone()).sum().backward()).unwrap();
            (Values::of(y.inner()).read().to_vec(), Values::of(gradient).read().to_vec())
        };
        let (fused, plain) = (run(super::fused(x.clone())), run(activation::gelu(x.clone())));
        for (i, x) in values.iter().enumerate() {
            assert!((fused.0[i] - plain.0[i]).abs() < 2e-6, "value at {x}");
            assert!((fused.1[i] - plain.1[i]).abs() < 2e-5, "gradient at {x}");
        }
    }
}
