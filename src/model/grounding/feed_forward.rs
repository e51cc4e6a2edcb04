//! Feed-forward parts that several layers share: the two-linear net with its residual, and the
//! multi-layer perceptron of box heads and query positions.

use burn::module::Module;
use burn::tensor::{DType, Tensor, backend::Backend};

use crate::model::kernels::gpu::{self, Act, Before};
use crate::model::kernels::relu;
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::LayerNorm;
use crate::model::precision::{activated_on_gpu, project, without_bias};

/// `x + linear2(ReLU(linear1(x)))`; the norm after it is the caller's.
pub fn feed_forward<B: Backend>(
    linear1: &Linear<B>,
    linear2: &Linear<B>,
    x: Tensor<B, 3>,
) -> Tensor<B, 3> {
    x.clone() + project(linear2, relu(project(linear1, x)))
}

/// `LN(x + linear2(ReLU(linear1(x))))` by our kernels for GPUs.
pub fn normed_feed_forward_on_gpu<B: Backend>(
    linear1: &Linear<B>,
    linear2: &Linear<B>,
    norm: &LayerNorm<B>,
    x: Tensor<B, 3>,
) -> Tensor<B, 3> {
    let hidden = activated_on_gpu(linear1, x.clone(), Act::Relu);
    gpu::normed(x, Before::step(without_bias(linear2, hidden)), norm, DType::F32)
}

/// Dimensions of a [`Perceptron`].
#[derive(Debug, Clone)]
pub struct PerceptronConfig {
    /// Channels in, between the layers, and out: one entry more than there are layers.
    pub widths: Vec<usize>,
}

/// Linear layers with ReLU between them, none after the last.
#[derive(Module, Debug)]
pub struct Perceptron<B: Backend> {
    pub layers: Vec<Linear<B>>,
}

impl PerceptronConfig {
    /// The box head: two hidden layers of `d_model`, four numbers out.
    pub fn box_head(d_model: usize) -> Self {
        PerceptronConfig { widths: vec![d_model, d_model, d_model, 4] }
    }

    pub fn init<B: Backend>(&self, device: &B::Device) -> Perceptron<B> {
        let layers = self
            .widths
            .windows(2)
            .map(|pair| LinearConfig::new(pair[0], pair[1]).init(device))
            .collect();
        Perceptron { layers }
    }
}

impl<B: Backend> Perceptron<B> {
    /// `[batch, n, first width]` → `[batch, n, last width]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let Some((last, hidden)) = self.layers.split_last() else { return x };
        if gpu::reaches::<B>() {
            let (x, bias) = self.on_gpu(x);
            return gpu::activated(x, bias, Act::None, DType::F32);
        }
        let x = hidden.iter().fold(x, |x, layer| relu(project(layer, x)));
        project(last, x)
    }

    /// The same by our kernels for GPUs, with the last bias apart.
    pub(super) fn on_gpu(&self, x: Tensor<B, 3>) -> (Tensor<B, 3>, Option<Tensor<B, 1>>) {
        let Some((last, hidden)) = self.layers.split_last() else { return (x, None) };
        let x = hidden.iter().fold(x, |x, layer| activated_on_gpu(layer, x, Act::Relu));
        without_bias(last, x)
    }
}
