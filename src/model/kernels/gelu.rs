//! Erf GELU with its gradient: one pass over the input, one multiplication in the backward pass.

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

/// The same of plain operators, on any device: the GELU of GPU backends takes its gradient from the
/// tanh approximation, which is 1e-3 off.
pub fn composed<const D: usize>(x: Tensor<TrainBackend, D>) -> Tensor<TrainBackend, D> {
    let normal = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf();
    x * (normal + 1.0) * 0.5
}

/// The same without a gradient: nothing but the values is written.
pub fn inferred<const D: usize>(x: Tensor<Backend, D>) -> Tensor<Backend, D> {
    let mut values = Values::of(x);
    let tasks = values.write().par_chunks_mut(TASK);
    tasks.for_each_init(
        || vec![0.0; TASK],
        |derivatives, values| {
            let derivatives = &mut derivatives[..values.len()];
            widest(Gelu { values, derivatives });
        },
    );
    values.tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::model::kernels::no_other_tapes;
    use burn::tensor::activation;

    #[test]
    fn value_and_gradient_are_those_of_the_plain_operator() {
        let _alone = no_other_tapes();
        let values = (-400..400).map(|i| i as f32 / 50.0).collect::<Vec<_>>();
        let x = Tensor::<TrainBackend, 1>::from_floats(&values[..], &cpu()).require_grad();
        let run = |y: Tensor<TrainBackend, 1>| {
            let gradient = x.grad(&(y.clone() * y.clone()).sum().backward()).unwrap();
            (Values::of(y.inner()).read().to_vec(), Values::of(gradient).read().to_vec())
        };
        let (fused, plain) = (run(super::fused(x.clone())), run(activation::gelu(x.clone())));
        let composed = run(super::composed(x.clone()));
        for (i, x) in values.iter().enumerate() {
            for other in [&plain, &composed] {
                assert!((fused.0[i] - other.0[i]).abs() < 2e-6, "value at {x}");
                assert!((fused.1[i] - other.1[i]).abs() < 2e-5, "gradient at {x}");
            }
        }
    }

    #[test]
    fn without_a_gradient_the_values_are_the_same() {
        let values = (0..3 * TASK + 7).map(|i| (i % 801) as f32 / 50.0 - 8.0).collect::<Vec<_>>();
        let x = Tensor::<TrainBackend, 1>::from_floats(&values[..], &cpu());
        let kept = Values::of(fused(x.clone()).inner()).read().to_vec();
        assert_eq!(Values::of(inferred(x.inner())).read(), kept);
    }
}
