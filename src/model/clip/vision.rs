//! CLIP's image tower with the value-value stream (V-V attention) in its last blocks.
//! In: normalised images `[batch, 3, size, size]`. Out: the tokens that FiLo's heads read.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Tensor, backend::Backend};

use super::stem::ConvStem;
use crate::model::config::FiloConfig;
use crate::model::layers::{ResidualBlock, ResidualBlockConfig, Stream};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::{convolve, product};

/// ViT image tower.
#[derive(Module, Debug)]
pub struct ImageEncoder<B: Backend> {
    /// Patches by one convolution, where the configuration has no stem.
    pub conv1: Option<Conv2d<B>>,
    /// Patches by several convolutions.
    pub stem: Option<ConvStem<B>>,
    /// `[width]`.
    pub class_embedding: Param<Tensor<B, 1>>,
    /// `[1 + patches, width]`; row 0 belongs to the class token.
    pub positional_embedding: Param<Tensor<B, 2>>,
    pub ln_pre: LayerNorm<B>,
    pub blocks: Vec<ResidualBlock<B>>,
    pub ln_post: LayerNorm<B>,
    /// `[width, embed_dim]`.
    pub proj: Param<Tensor<B, 2>>,
    first_dual_block: usize,
    captures: Vec<usize>,
}

/// The tokens of a batch that the heads read, each `[batch, 1 + patches, width]`, class token
/// first.
pub struct ImageTokens<B: Backend> {
    /// The value-value stream after the last block.
    pub value_value: Tensor<B, 3>,
    /// The ordinary stream, one entry per capture after the first; the last is the output of the
    /// last block. The others are mid streams, see the source.
    pub ordinary: Vec<Tensor<B, 3>>,
}

impl<B: Backend> ImageEncoder<B> {
    /// A tower with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let vision = &config.vision;
        let (width, patch) = (vision.width, vision.patch_size);
        let block = ResidualBlockConfig {
            width,
            heads: vision.heads(),
            mlp_width: vision.mlp_width(),
            activation: config.activation,
            layer_norm_eps: config.layer_norm_eps,
        };
        let norm = || LayerNormConfig::new(width).with_epsilon(config.layer_norm_eps).init(device);
        let normal = Initializer::Normal { mean: 0.0, std: (width as f64).powf(-0.5) };
        let conv1 = || {
            Conv2dConfig::new([3, width], [patch, patch])
                .with_stride([patch, patch])
                .with_bias(false)
                .init(device)
        };
        ImageEncoder {
            conv1: vision.stem.is_none().then(conv1),
            stem: vision
                .stem
                .as_ref()
                .map(|layers| ConvStem::new(layers, config.layer_norm_eps, device)),
            class_embedding: normal.init([width], device),
            positional_embedding: normal.init([1 + vision.grid() * vision.grid(), width], device),
            ln_pre: norm(),
            blocks: (0..vision.layers).map(|_| block.init(device)).collect(),
            ln_post: norm(),
            proj: normal.init([width, config.embed_dim], device),
            first_dual_block: config.first_dual_block_index,
            captures: config.features_list[1..].to_vec(),
        }
    }

    /// `images` `[batch, 3, size, size]` → the tokens for the heads.
    pub fn forward(&self, images: Tensor<B, 4>) -> ImageTokens<B> {
        let (first, dual) = self.blocks.split_at(self.first_dual_block);
        let x = Stream::from(self.embed(images));
        let x = first.iter().fold(x, |x, block| block.forward(x, None)).tokens();
        // The value-value stream starts as the ordinary one and only ever collects: no norm,
        // no MLP, never fed back.
        let (mut value_value, mut x) = (x.clone(), Stream::from(x));
        let mut ordinary = Vec::with_capacity(self.captures.len());
        for (i, block) in (self.first_dual_block..).zip(dual) {
            let step = block.forward_dual(x, value_value);
            value_value = step.value_value;
            if captured_stream_is_mid_of(i, &self.captures) {
                ordinary.push(step.mid);
            }
            x = step.out;
        }
        ordinary.push(x.tokens());
        ImageTokens { value_value, ordinary }
    }

    /// Patches, class token, positions, first norm: `[batch, 1 + patches, width]`.
    pub fn embed(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let [batch, ..] = images.dims();
        let patches = match (&self.stem, &self.conv1) {
            (Some(stem), _) => stem.forward(images),
            (None, Some(conv1)) => convolve(conv1, images).flatten::<3>(2, 3).swap_dims(1, 2),
            (None, None) => unreachable!("a tower is made with one of the two"),
        };
        let width = patches.dims()[2];
        let class = self.class_embedding.val().reshape([1, 1, width]).expand([batch, 1, width]);
        let tokens = Tensor::cat(vec![class, patches], 1);
        self.ln_pre.forward(tokens + self.positional_embedding.val().unsqueeze())
    }

    /// Tokens of the last block into the shared space: `[batch, n, width]` → `[batch, n,
    /// embed_dim]`. FiLo only uses the class token: pass just that one.
    pub fn project(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        product(self.ln_post.forward(tokens), self.proj.val().unsqueeze())
    }
}

impl<B: Backend> ImageTokens<B> {
    /// The class token after the last block, `[batch, 1, width]`.
    pub fn class_token(&self) -> Tensor<B, 3> {
        let last = self.ordinary.len() - 1;
        self.ordinary[last].clone().narrow(1, 0, 1)
    }
}

/// Published code differs from the obvious: a capture "after block `n`" keeps a reference to a
/// buffer into which block `n + 1` then adds its attention in place. What the heads were trained
/// on is therefore the *mid* stream of the following block. For the last block there is no
/// following one, and the capture is its output. (For the same reason the first capture and all
/// value-value captures are one tensor: the value-value stream after the last block.)
fn captured_stream_is_mid_of(block_index: usize, captures: &[usize]) -> bool {
    captures.contains(&block_index)
}
