//! Learnable, image-conditioned prompts. A learner shifts its context by what it reads in the
//! image; the contexts and the category's words become the embeddings of a prompt tree.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};

use super::prompt_tree::{PromptKind, PromptTree};
use crate::model::clip::text::{TextEncoder, TreeTensors};
use crate::model::config::FiloConfig;
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::project;

/// `W2·ReLU(W1·f + c1) + c2`.
#[derive(Module, Debug)]
pub struct MetaNet<B: Backend> {
    pub linear1: Linear<B>,
    pub linear2: Linear<B>,
}

/// The context of one kind of prompts.
#[derive(Module, Debug)]
pub struct PromptLearner<B: Backend> {
    /// `[n_ctx, text width]`.
    pub ctx: Param<Tensor<B, 2>>,
    pub meta_net: MetaNet<B>,
}

impl<B: Backend> PromptLearner<B> {
    /// A learner with random weights, as a start for training or to be loaded over.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        let (embed, hidden, width) = (config.embed_dim, config.meta_net_hidden, config.text.width);
        PromptLearner {
            ctx: Initializer::Normal { mean: 0.0, std: 0.02 }.init([config.n_ctx, width], device),
            meta_net: MetaNet {
                linear1: LinearConfig::new(embed, hidden).init(device),
                linear2: LinearConfig::new(hidden, width).init(device),
            },
        }
    }

    /// Context of each image: `image_features` `[batch, embed_dim]` (normalised) →
    /// `[batch, n_ctx, text width]`.
    pub fn context(&self, image_features: Tensor<B, 2>) -> Tensor<B, 3> {
        let net = &self.meta_net;
        let shift = project(&net.linear2, relu(project(&net.linear1, image_features)));
        self.ctx.val().unsqueeze::<3>() + shift.unsqueeze_dim::<3>(1)
    }
}

/// A category's prompts, ready on a device: words embedded, trees laid out. Made once per category
/// and choice of positions, used for every image.
#[derive(Debug, Clone)]
pub struct PreparedPrompts<B: Backend> {
    /// `[1, 1, text width]`.
    start: Tensor<B, 3>,
    trees: Vec<PreparedTree<B>>,
}

#[derive(Debug, Clone)]
struct PreparedTree<B: Backend> {
    /// Nodes behind the contexts, `[1, nodes, text width]`.
    words: Tensor<B, 3>,
    layout: TreeTensors<B>,
    n_normal: usize,
    n_abnormal: usize,
}

/// Features of a batch's prompts, not normalised.
pub struct PromptFeatures<B: Backend> {
    /// `[batch, normal prompts, embed_dim]`.
    pub normal: Tensor<B, 3>,
    /// `[batch, abnormal prompts, embed_dim]`.
    pub abnormal: Tensor<B, 3>,
}

impl<B: Backend> PreparedTree<B> {
    fn new(tree: &PromptTree, encoder: &TextEncoder<B>) -> Self {
        let device = encoder.token_embedding.weight.device();
        let nodes = tree.len();
        let ints = |values: Vec<i64>| {
            let length = values.len();
            Tensor::<B, 1, Int>::from_data(TensorData::new(values, [length]), &device)
        };
        PreparedTree {
            words: encoder.embed(tree.token_ids()),
            layout: TreeTensors {
                depths: ints(tree.depths().iter().map(|&depth| depth as i64).collect()),
                hidden: Tensor::<B, 4, Bool>::from_data(
                    TensorData::new(tree.hidden(), [1, 1, nodes, nodes]),
                    &device,
                ),
                ends: ints(tree.ends().map(|end| end as i64).collect()),
            },
            n_normal: tree.prompts(PromptKind::Normal),
            n_abnormal: tree.prompts(PromptKind::Abnormal),
        }
    }
}

impl<B: Backend> PreparedPrompts<B> {
    /// Embeds the words of `trees`, of which the first has the normal prompts. `start_id` is the
    /// tokenizer's start token.
    pub fn new(trees: &[PromptTree], start_id: u32, encoder: &TextEncoder<B>) -> Self {
        PreparedPrompts {
            start: encoder.embed(&[start_id]),
            trees: trees.iter().map(|tree| PreparedTree::new(tree, encoder)).collect(),
        }
    }

    /// Encodes the prompts of every image: contexts `[batch, n_ctx, text width]` →
    /// features of each prompt.
    pub fn encode(
        &self,
        encoder: &TextEncoder<B>,
        normal_context: Tensor<B, 3>,
        abnormal_context: Tensor<B, 3>,
    ) -> PromptFeatures<B> {
        let [batch, _, width] = normal_context.dims();
        let for_all = |x: &Tensor<B, 3>| {
            let nodes = x.dims()[1];
            x.clone().expand([batch, nodes, width])
        };
        let contexts = Tensor::cat(vec![for_all(&self.start), normal_context, abnormal_context], 1);
        let (mut normal, mut abnormal) = (Vec::new(), Vec::new());
        for tree in &self.trees {
            let embeddings = Tensor::cat(vec![contexts.clone(), for_all(&tree.words)], 1);
            let features = encoder.encode_tree(embeddings, &tree.layout);
            if tree.n_normal > 0 {
                normal.push(features.clone().narrow(1, 0, tree.n_normal));
            }
            abnormal.push(features.narrow(1, tree.n_normal, tree.n_abnormal));
        }
        PromptFeatures { normal: Tensor::cat(normal, 1), abnormal: Tensor::cat(abnormal, 1) }
    }
}
