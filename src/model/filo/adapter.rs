//! The bottleneck adapter on the projected class feature.

use burn::module::Module;
use burn::tensor::activation::{relu, silu};
use burn::tensor::{Tensor, backend::Backend};

use crate::model::config::FiloConfig;
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::project;

/// `a(f) = SiLU(W2·ReLU(W1·f)) + f`, no bias.
#[derive(Module, Debug)]
pub struct Adapter<B: Backend> {
    pub down: Linear<B>,
    pub up: Linear<B>,
}

impl<B: Backend> Adapter<B> {
    /// An adapter with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).without_bias().init(device);
        Adapter {
            down: linear(config.embed_dim, config.adapter_hidden),
            up: linear(config.adapter_hidden, config.embed_dim),
        }
    }

    /// `[batch, embed_dim]` → the same shape; comes before normalisation.
    pub fn forward(&self, features: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = relu(project(&self.down, features.clone()));
        silu(project(&self.up, hidden)) + features
    }
}
