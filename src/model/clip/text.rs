//! CLIP's text tower, run over token embeddings. Prompts may come as rows of padded sequences or
//! as one tree in which shared beginnings stand once; both give the same features.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};

use crate::model::config::FiloConfig;
use crate::model::layers::{ResidualBlock, ResidualBlockConfig, Stream};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::product;

/// Causal transformer over prompts.
#[derive(Module, Debug)]
pub struct TextEncoder<B: Backend> {
    pub token_embedding: Embedding<B>,
    /// `[context_length, width]`.
    pub positional_embedding: Param<Tensor<B, 2>>,
    pub blocks: Vec<ResidualBlock<B>>,
    pub ln_final: LayerNorm<B>,
    /// `[width, embed_dim]`.
    pub text_projection: Param<Tensor<B, 2>>,
}

/// The shape of a token tree on a device: what the tower must know besides the embeddings.
#[derive(Debug, Clone)]
pub struct TreeTensors<B: Backend> {
    /// Position of each node in its prompts, `[nodes]`.
    pub depths: Tensor<B, 1, Int>,
    /// True where a node (row) must not see another (column): all but itself and its ancestors,
    /// `[1, 1, nodes, nodes]`.
    pub hidden: Tensor<B, 4, Bool>,
    /// The end node of each prompt, `[prompts]`.
    pub ends: Tensor<B, 1, Int>,
}

/// A tree for every image of a batch, on a device; short trees are filled up with nodes that
/// nobody sees.
#[derive(Debug, Clone)]
pub struct ForestTensors<B: Backend> {
    /// Position of each node in its prompts, `[batch, nodes]`.
    pub depths: Tensor<B, 2, Int>,
    /// As in [`TreeTensors`], `[batch, 1, nodes, nodes]`.
    pub hidden: Tensor<B, 4, Bool>,
    /// The end node of each prompt, `[batch, prompts]`.
    pub ends: Tensor<B, 2, Int>,
}

impl<B: Backend> TextEncoder<B> {
    /// A tower with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let text = &config.text;
        let block = ResidualBlockConfig {
            width: text.width,
            heads: text.heads,
            mlp_width: 4 * text.width,
            activation: config.activation,
            layer_norm_eps: config.layer_norm_eps,
        };
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        TextEncoder {
            token_embedding: EmbeddingConfig::new(text.vocab_size, text.width)
                .with_initializer(normal(0.02))
                .init(device),
            positional_embedding: normal(0.01).init([text.context_length, text.width], device),
            blocks: (0..text.layers).map(|_| block.init(device)).collect(),
            ln_final: LayerNormConfig::new(text.width)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            text_projection: normal((text.width as f64).powf(-0.5))
                .init([text.width, config.embed_dim], device),
        }
    }

    /// Rows of the token table, `[1, tokens, width]`.
    pub fn embed(&self, ids: &[u32]) -> Tensor<B, 3> {
        let device = self.token_embedding.weight.device();
        let ids = ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
        let ids = TensorData::new(ids.clone(), [1, ids.len()]);
        self.token_embedding.forward(Tensor::<B, 2, Int>::from_data(ids, &device))
    }

    /// Plain form: `embeddings` `[prompts, tokens, width]` (before positions), `ends` the index of
    /// each prompt's end token → `[prompts, embed_dim]`, not normalised.
    pub fn encode_sequences(&self, embeddings: Tensor<B, 3>, ends: &[usize]) -> Tensor<B, 2> {
        let [prompts, tokens, _] = embeddings.dims();
        let device = embeddings.device();
        let positions = self.positional_embedding.val().narrow(0, 0, tokens);
        let future = Tensor::<B, 2, Bool>::tril_mask([tokens, tokens], 0, &device);
        let x = self.blocks_over(embeddings + positions.unsqueeze(), &future.unsqueeze());
        let rows = (0..prompts).map(|i| x.clone().slice([i..i + 1, ends[i]..ends[i] + 1]));
        self.project(Tensor::cat(rows.collect(), 1)).squeeze_dim(0)
    }

    /// Tree form: `embeddings` `[batch, nodes, width]` (before positions), one tree for all rows
    /// of the batch → `[batch, prompts, embed_dim]`, not normalised.
    ///
    /// Exact: attention is causal, so a token's state depends on its prefix alone, and prompts
    /// with the same prefix share it; nothing after the end token is ever read.
    pub fn encode_tree(&self, embeddings: Tensor<B, 3>, tree: &TreeTensors<B>) -> Tensor<B, 3> {
        let positions = self.positional_embedding.val().select(0, tree.depths.clone());
        let x = self.blocks_over(embeddings + positions.unsqueeze(), &tree.hidden);
        self.project(x.select(1, tree.ends.clone()))
    }

    /// Forest form: `embeddings` `[batch, nodes, width]` (before positions), every row with its own
    /// tree → `[batch, prompts, embed_dim]`, not normalised. As exact as [`Self::encode_tree`].
    pub fn encode_forest(
        &self,
        embeddings: Tensor<B, 3>,
        forest: &ForestTensors<B>,
    ) -> Tensor<B, 3> {
        let [batch, nodes, width] = embeddings.dims();
        let depths = forest.depths.clone().flatten(0, 1);
        let positions = self.positional_embedding.val().select(0, depths);
        let x = embeddings + positions.reshape([batch, nodes, width]);
        let x = self.blocks_over(x, &forest.hidden).reshape([batch * nodes, width]);
        let rows = Tensor::arange(0..batch as i64, &x.device()).reshape([batch, 1]);
        let ends = forest.ends.clone() + rows * (nodes as i64);
        let prompts = ends.dims()[1];
        self.project(x.select(0, ends.flatten(0, 1)).reshape([batch, prompts, width]))
    }

    fn blocks_over(&self, x: Tensor<B, 3>, hidden: &Tensor<B, 4, Bool>) -> Tensor<B, 3> {
        let x = Stream::from(x);
        self.blocks.iter().fold(x, |x, block| block.forward(x, Some(hidden))).tokens()
    }

    fn project(&self, ends: Tensor<B, 3>) -> Tensor<B, 3> {
        product(self.ln_final.forward(ends), self.text_projection.val().unsqueeze())
    }
}
