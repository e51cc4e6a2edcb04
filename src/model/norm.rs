//! Layer norm. In: tokens. Out: each with mean 0 and variance 1, times γ plus β. Its type has the name and
//! the fields of burn's, by which weights are found, and burn's numbers; on a GPU it is one kernel.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Tensor, TensorPrimitive, backend::Backend};

use super::kernels::gpu::{self, Before};

/// Dimensions of a [`LayerNorm`].
#[derive(Debug, Clone)]
pub struct LayerNormConfig {
    width: usize,
    epsilon: f64,
}

/// `γ·(x − mean)/√(variance + ε) + β` over the last dimension (Ba et al. 2016).
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// `[width]`.
    pub gamma: Param<Tensor<B, 1>>,
    /// `[width]`.
    pub beta: Param<Tensor<B, 1>>,
    pub(super) epsilon: f64,
}

impl LayerNormConfig {
    /// With ε = 1e-5.
    pub fn new(width: usize) -> Self {
        LayerNormConfig { width, epsilon: 1e-5 }
    }

    pub fn with_epsilon(self, epsilon: f64) -> Self {
        LayerNormConfig { epsilon, ..self }
    }

    /// γ of ones, β of zeros.
    pub fn init<B: Backend>(&self, device: &B::Device) -> LayerNorm<B> {
        LayerNorm {
            gamma: Initializer::Ones.init([self.width], device),
            beta: Initializer::Zeros.init([self.width], device),
            epsilon: self.epsilon,
        }
    }
}

impl<B: Backend> LayerNorm<B> {
    /// `[…, width]` in and out, in the format of `x`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        if gpu::reaches::<B>() {
            let format = x.dtype();
            return gpu::normed(x, Before::default(), self, format);
        }
        let [gamma, beta] =
            [&self.gamma, &self.beta].map(|values| values.val().into_primitive().tensor());
        let x = x.into_primitive().tensor();
        let out = B::layer_norm(x, gamma, Some(beta), self.epsilon);
        Tensor::from_primitive(TensorPrimitive::Float(out))
    }
}
