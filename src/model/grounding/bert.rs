//! BERT text backbone (Devlin et al. 2019). In: token ids with the sub-sentence mask of a
//! caption. Out: the last hidden states. No pooler: the detector does not read it.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Bool, Int, Tensor, backend::Backend};

use super::attention::masked_attention;
use super::config::BertConfig;
use crate::model::linear::{Linear, LinearConfig};
use crate::model::norm::{LayerNorm, LayerNormConfig};
use crate::model::precision::project;

/// The text backbone.
#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    pub embeddings: BertEmbeddings<B>,
    pub layers: Vec<BertLayer<B>>,
}

/// `LN(word + position + type 0)`.
#[derive(Module, Debug)]
pub struct BertEmbeddings<B: Backend> {
    pub word_embeddings: Embedding<B>,
    pub position_embeddings: Embedding<B>,
    /// Two rows; captions are of type 0 throughout.
    pub token_type_embeddings: Embedding<B>,
    pub layer_norm: LayerNorm<B>,
}

/// Post-norm layer: `m = LN(x + attention(x))`, `y = LN(m + MLP(m))`.
#[derive(Module, Debug)]
pub struct BertLayer<B: Backend> {
    pub attention: BertAttention<B>,
    pub intermediate: BertDense<B>,
    pub output: BertOutput<B>,
}

/// Multi-head self-attention with its residual and norm.
#[derive(Module, Debug)]
pub struct BertAttention<B: Backend> {
    pub query: Linear<B>,
    pub key: Linear<B>,
    pub value: Linear<B>,
    pub output: BertOutput<B>,
    heads: usize,
}

/// A linear layer under the name that checkpoints give it.
#[derive(Module, Debug)]
pub struct BertDense<B: Backend> {
    pub dense: Linear<B>,
}

/// `LN(dense(x) + residual)`.
#[derive(Module, Debug)]
pub struct BertOutput<B: Backend> {
    pub dense: Linear<B>,
    pub layer_norm: LayerNorm<B>,
}

impl BertConfig {
    /// A tower with random weights, to be loaded over.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Bert<B> {
        let table = |rows| EmbeddingConfig::new(rows, self.hidden).init(device);
        Bert {
            embeddings: BertEmbeddings {
                word_embeddings: table(self.vocab),
                position_embeddings: table(self.max_position),
                token_type_embeddings: table(2),
                layer_norm: self.init_norm(device),
            },
            layers: (0..self.layers).map(|_| self.init_layer(device)).collect(),
        }
    }

    fn init_layer<B: Backend>(&self, device: &B::Device) -> BertLayer<B> {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let output = |from| BertOutput {
            dense: linear(from, self.hidden),
            layer_norm: self.init_norm(device),
        };
        BertLayer {
            attention: BertAttention {
                query: linear(self.hidden, self.hidden),
                key: linear(self.hidden, self.hidden),
                value: linear(self.hidden, self.hidden),
                output: output(self.hidden),
                heads: self.heads,
            },
            intermediate: BertDense { dense: linear(self.hidden, self.intermediate) },
            output: output(self.intermediate),
        }
    }

    fn init_norm<B: Backend>(&self, device: &B::Device) -> LayerNorm<B> {
        LayerNormConfig::new(self.hidden).with_epsilon(self.layer_norm_eps).init(device)
    }
}

impl<B: Backend> Bert<B> {
    /// `ids` and `positions` `[batch, n]`; `hidden` `[batch, n, n]` is true where a token (row)
    /// must not see another (column). Returns `[batch, n, hidden channels]`.
    pub fn forward(
        &self,
        ids: Tensor<B, 2, Int>,
        positions: Tensor<B, 2, Int>,
        hidden: Tensor<B, 3, Bool>,
    ) -> Tensor<B, 3> {
        let embedded = self.embeddings.forward(ids, positions);
        self.layers.iter().fold(embedded, |x, layer| layer.forward(x, hidden.clone()))
    }
}

impl<B: Backend> BertEmbeddings<B> {
    fn forward(&self, ids: Tensor<B, 2, Int>, positions: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let words = self.word_embeddings.forward(ids);
        let positions = self.position_embeddings.forward(positions);
        let first_type = self.token_type_embeddings.weight.val().narrow(0, 0, 1);
        self.layer_norm.forward(words + first_type.unsqueeze_dim(0) + positions)
    }
}

impl<B: Backend> BertLayer<B> {
    fn forward(&self, x: Tensor<B, 3>, hidden: Tensor<B, 3, Bool>) -> Tensor<B, 3> {
        let mid = self.attention.forward(x, hidden);
        let inner = gelu(project(&self.intermediate.dense, mid.clone()));
        self.output.forward(inner, mid)
    }
}

impl<B: Backend> BertAttention<B> {
    fn forward(&self, x: Tensor<B, 3>, hidden: Tensor<B, 3, Bool>) -> Tensor<B, 3> {
        let qkv = [&self.query, &self.key, &self.value].map(|part| project(part, x.clone()));
        let attended = masked_attention(qkv, self.heads, Some(hidden.unsqueeze_dim(1)));
        self.output.forward(attended, x)
    }
}

impl<B: Backend> BertOutput<B> {
    fn forward(&self, x: Tensor<B, 3>, residual: Tensor<B, 3>) -> Tensor<B, 3> {
        self.layer_norm.forward(project(&self.dense, x) + residual)
    }
}
