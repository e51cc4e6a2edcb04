//! Erf GELU with its gradient: one pass over the input, one product on the way back.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::{Rule, floats, tensor, unary};
use super::simd::{Gelu, Multiply, widest};
use crate::device::{Backend, TrainBackend};

/// Values per task.
const TASK: usize = 1 << 14;

#[derive(Debug, Clone)]
struct Derivative<const D: usize>(Tensor<Backend, D>);

impl<const D: usize> Rule<D, D> for Derivative<D> {
    fn gradient(self, output: Tensor<Backend, D>) -> Tensor<Backend, D> {
        let (shape, like) = (output.dims(), self.0.clone());
        let (mut gradient, derivative) = (floats(output), floats(self.0));
        gradient
            .par_chunks_mut(TASK)
            .zip(derivative.par_chunks(TASK))
            .for_each(|(rows, by)| widest(Multiply { rows, by }));
        tensor(gradient, shape, &like)
    }
}

/// `x·Φ(x)`.
pub fn fused<const D: usize>(x: Tensor<TrainBackend, D>) -> Tensor<TrainBackend, D> {
    unary(x, |x| {
        let (shape, like) = (x.dims(), x.clone());
        let mut values = floats(x);
        let mut derivatives = vec![0.0; values.len()];
        values
            .par_chunks_mut(TASK)
            .zip(derivatives.par_chunks_mut(TASK))
            .for_each(|(values, derivatives)| widest(Gelu { values, derivatives }));
        (tensor(values, shape, &like), Derivative(tensor(derivatives, shape, &like)))
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
            (floats(y.inner()), floats(gradient))
        };
        let (fused, plain) = (run(super::fused(x.clone())), run(activation::gelu(x.clone())));
        for i in 0..values.len() {
            assert!((fused.0[i] - plain.0[i]).abs() < 2e-6, "value at {}", values[i]);
            assert!((fused.1[i] - plain.1[i]).abs() < 2e-5, "gradient at {}", values[i]);
        }
    }
}
