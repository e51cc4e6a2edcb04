//! The transformer block that both CLIP towers are made of: pre-norm attention and MLP.
//! Tensors in, tensors out; `[batch, tokens, width]` throughout.
//!
//! Products are computed in the number format of their weights, everything between them in that of
//! the tokens: norms, the sums of the residual stream, the exponentials of GELU.

use burn::module::Module;

use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Tensor, backend::Backend};

use super::attention::{attend, merge_heads, split_heads};
use super::config::Activation;
use super::kernels::{Streams, gelu, gpu, self_attention};
use super::linear::{Linear, LinearConfig};
use super::precision::{project, same_format};
use crate::model::norm::{LayerNorm, LayerNormConfig};

/// Dimensions of a [`ResidualBlock`].
#[derive(Debug, Clone)]
pub struct ResidualBlockConfig {
    pub width: usize,
    pub heads: usize,
    pub mlp_width: usize,
    pub activation: Activation,
    pub layer_norm_eps: f64,
}

/// Multi-head attention with one fused projection to query, key and value.
#[derive(Module, Debug)]
pub struct FusedAttention<B: Backend> {
    pub in_proj: Linear<B>,
    pub out_proj: Linear<B>,
    pub(super) heads: usize,
}

/// What a dual attention returns, each `[batch, tokens, width]`.
pub struct DualAttention<B: Backend> {
    /// `proj(softmax(q·kᵀ/√d)·v)`.
    pub ordinary: Tensor<B, 3>,
    /// `proj(softmax(v·vᵀ/√d)·v)`: the value plays query, key and value.
    pub value_value: Tensor<B, 3>,
}

impl<B: Backend> FusedAttention<B> {
    fn new(config: &ResidualBlockConfig, device: &B::Device) -> Self {
        FusedAttention {
            in_proj: LinearConfig::new(config.width, 3 * config.width).init(device),
            out_proj: LinearConfig::new(config.width, config.width).init(device),
            heads: config.heads,
        }
    }

    /// Query, key and value, each `[batch, heads, tokens, width / heads]`.
    fn parts(&self, qkv: Tensor<B, 3>) -> [Tensor<B, 4>; 3] {
        let width = qkv.dims()[2] / 3;
        [0, 1, 2].map(|part| split_heads(qkv.clone().narrow(2, part * width, width), self.heads))
    }

    /// Ordinary self-attention. `attn_mask` `[1, 1, tokens, tokens]` is true where a query (row)
    /// must not see a key (column).
    pub fn forward(&self, x: Tensor<B, 3>, attn_mask: Option<&Tensor<B, 4, Bool>>) -> Tensor<B, 3> {
        let qkv = project(&self.in_proj, x);
        let attended = self_attention(qkv, self.heads, Streams::Ordinary, attn_mask);
        let attended = attended.unwrap_or_else(|qkv| {
            let [q, k, v] = self.parts(qkv);
            merge_heads(attend(q, k, v, attn_mask))
        });
        project(&self.out_proj, attended)
    }

    /// Ordinary and value-value self-attention from one projection.
    pub fn forward_dual(&self, x: Tensor<B, 3>) -> DualAttention<B> {
        let batch = x.dims()[0];
        let qkv = project(&self.in_proj, x);
        let streams = match self_attention(qkv, self.heads, Streams::WithValueValue, None) {
            Ok(both) => {
                let both = project(&self.out_proj, both);
                [both.clone().narrow(0, 0, batch), both.narrow(0, batch, batch)]
            }
            Err(qkv) => {
                let [q, k, v] = self.parts(qkv);
                let ordinary = attend(q, k, v.clone(), None);
                let value_value = attend(v.clone(), v.clone(), v, None);
                [ordinary, value_value].map(|x| project(&self.out_proj, merge_heads(x)))
            }
        };
        let [ordinary, value_value] = streams;
        DualAttention { ordinary, value_value }
    }
}

/// `W2·act(W1·x)`.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    pub c_fc: Linear<B>,
    pub c_proj: Linear<B>,
    #[module(skip)]
    activation: Activation,
}

impl<B: Backend> Mlp<B> {
    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let format = x.dtype();
        let hidden = same_format(project(&self.c_fc, x), format);
        let hidden = match self.activation {
            Activation::GeluErf => gelu(hidden),
            Activation::QuickGelu => hidden.clone() * sigmoid(hidden * 1.702),
        };
        project(&self.c_proj, hidden)
    }
}

/// `m = x + attention(LN x)`, `y = m + MLP(LN m)`.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    pub ln_1: LayerNorm<B>,
    pub attn: FusedAttention<B>,
    pub ln_2: LayerNorm<B>,
    pub mlp: Mlp<B>,
}

/// The residual stream between two blocks, `[batch, tokens, width]`. On a GPU the last step is still to be
/// added: the norm that the next block begins with does so.
pub struct Stream<B: Backend> {
    pub(super) x: Tensor<B, 3>,
    pub(super) step: Option<gpu::Unbiased<B>>,
}

impl<B: Backend> From<Tensor<B, 3>> for Stream<B> {
    fn from(x: Tensor<B, 3>) -> Self {
        Stream { x, step: None }
    }
}

impl<B: Backend> Stream<B> {
    /// The tokens.
    pub fn tokens(self) -> Tensor<B, 3> {
        match self.step {
            None => self.x,
            Some((rows, bias)) => gpu::residual(self.x, rows, bias, None),
        }
    }
}

/// What a dual block returns, each `[batch, tokens, width]`.
pub struct DualStep<B: Backend> {
    /// The ordinary stream after attention, before the MLP.
    pub mid: Tensor<B, 3>,
    /// The ordinary stream after the block.
    pub out: Stream<B>,
    /// The value-value stream after the block.
    pub value_value: Tensor<B, 3>,
}

impl ResidualBlockConfig {
    /// A block with random weights, as a start for training or to be loaded over.
    pub fn init<B: Backend>(&self, device: &B::Device) -> ResidualBlock<B> {
        let norm =
            || LayerNormConfig::new(self.width).with_epsilon(self.layer_norm_eps).init(device);
        ResidualBlock {
            ln_1: norm(),
            attn: FusedAttention::new(self, device),
            ln_2: norm(),
            mlp: Mlp {
                c_fc: LinearConfig::new(self.width, self.mlp_width).init(device),
                c_proj: LinearConfig::new(self.mlp_width, self.width).init(device),
                activation: self.activation,
            },
        }
    }
}

impl<B: Backend> ResidualBlock<B> {
    /// The ordinary block; see [`FusedAttention::forward`] for `attn_mask`.
    pub fn forward(&self, x: Stream<B>, attn_mask: Option<&Tensor<B, 4, Bool>>) -> Stream<B> {
        if gpu::reaches::<B>() {
            return self.forward_on_gpu(x, attn_mask);
        }
        let x = x.tokens();
        let attention = self.attn.forward(self.ln_1.forward(x.clone()), attn_mask);
        self.add_mlp(add(x, attention)).into()
    }

    /// The dual block: the ordinary stream goes on as always; the value-value attention of the same
    /// tokens is added to `value_value` and is never fed back.
    pub fn forward_dual(&self, x: Stream<B>, value_value: Tensor<B, 3>) -> DualStep<B> {
        if gpu::reaches::<B>() {
            return self.forward_dual_on_gpu(x, value_value);
        }
        let x = x.tokens();
        let attention = self.attn.forward_dual(self.ln_1.forward(x.clone()));
        let value_value = add(value_value, attention.value_value);
        let mid = add(x, attention.ordinary);
        DualStep { out: self.add_mlp(mid.clone()).into(), mid, value_value }
    }

    fn add_mlp(&self, mid: Tensor<B, 3>) -> Tensor<B, 3> {
        add(mid.clone(), self.mlp.forward(self.ln_2.forward(mid)))
    }
}

/// `x + step`, in the format of `x`.
fn add<B: Backend>(x: Tensor<B, 3>, step: Tensor<B, 3>) -> Tensor<B, 3> {
    let step = same_format(step, x.dtype());
    x + step
}
