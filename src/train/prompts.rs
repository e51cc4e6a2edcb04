//! Prompts of a batch whose images may all be of another category: a tree for each image,
//! filled up to one size. In: texts per image. Out: tensors for the text tower, and which prompt
//! counts for what. No network is run here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Bool, Int, Tensor, TensorData};

use crate::device::{Device, TrainBackend, cpu};
use crate::model::clip::text::{ForestTensors, TextEncoder};
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::filo::prompt_tree::PromptTree;
use crate::model::filo::prompts::PromptLearner;

/// On a GPU trees are filled up to a multiple of so many nodes: kernels are compiled for the divisors
/// of a shape.
const NODES: usize = 8;

/// The prompts of one image, as texts with placeholders for the contexts in front.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PicturePrompts {
    pub normal: Vec<String>,
    /// Of these, the first `details` prompts name one defect each.
    pub abnormal: Vec<String>,
    pub details: usize,
    /// The prompt among the details that names the defect of the image.
    pub right: Option<usize>,
}

/// Prompts of a batch, ready for the text tower.
#[derive(Debug)]
pub struct PromptBatch {
    /// Rows of the token table behind the contexts, `[batch, words]`.
    words: Tensor<TrainBackend, 2, Int>,
    start: u32,
    forest: ForestTensors<TrainBackend>,
    /// Weight of each prompt in the normal and in the abnormal text, `[batch, 2, prompts]`.
    pub shares: Tensor<TrainBackend, 3>,
    pub pictures: Vec<PicturePrompts>,
}

/// Turns texts into rows of the token table, each text once.
pub struct PromptEncoder {
    tokenizer: ClipTokenizer,
    vocabulary: Vocabulary,
    n_ctx: usize,
    known: Mutex<HashMap<String, Vec<u32>>>,
}

/// Which tokens of the full table the text tower at hand has rows for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vocabulary {
    /// All, in their order.
    Full,
    /// Only these, sorted: a token's row is its place in the list.
    Some(Vec<u32>),
}

impl Vocabulary {
    /// The tokens of `texts`, and those that frame every prompt.
    pub fn of<'t>(tokenizer: &ClipTokenizer, texts: impl Iterator<Item = &'t str>) -> Self {
        let mut tokens = texts.flat_map(|text| tokenizer.encode(text)).collect::<Vec<_>>();
        tokens.extend(tokenizer.encode(""));
        tokens.sort_unstable();
        tokens.dedup();
        Vocabulary::Some(tokens)
    }

    /// The row of `token`; of the first token where the list lacks it.
    fn row(&self, token: u32) -> u32 {
        match self {
            Vocabulary::Full => token,
            Vocabulary::Some(tokens) => tokens.binary_search(&token).unwrap_or(0) as u32,
        }
    }
}

impl PromptEncoder {
    /// For a text tower whose table has the rows of `vocabulary`.
    pub fn new(tokenizer: ClipTokenizer, vocabulary: Vocabulary, n_ctx: usize) -> Self {
        PromptEncoder { tokenizer, vocabulary, n_ctx, known: Mutex::default() }
    }

    /// Which tokens the text tower has rows for.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The row of the start token.
    pub fn start_row(&self) -> u32 {
        self.vocabulary.row(START_ID)
    }

    /// The token of `word`, if it is one token.
    pub fn token(&self, word: &str) -> Option<u32> {
        match self.tokenizer.encode(word)[..] {
            [_, token, _] => Some(token),
            _ => None,
        }
    }

    fn encode(&self, texts: &[String]) -> Vec<Vec<u32>> {
        let rows = |text: &str| {
            let tokens = self.tokenizer.encode(text);
            tokens.into_iter().map(|token| self.vocabulary.row(token)).collect::<Vec<_>>()
        };
        // What a thread that broke has left is still right: entries are whole.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encoded = Vec::with_capacity(texts.len());
        for text in texts {
            let tokens = match known.get(text) {
                Some(tokens) => tokens.clone(),
                None => known.entry(text.clone()).or_insert_with(|| rows(text)).clone(),
            };
            encoded.push(tokens);
        }
        encoded
    }

    /// The tree of prompts given as texts.
    pub fn tree(&self, normal: &[String], abnormal: &[String]) -> PromptTree {
        PromptTree::new(self.n_ctx, &self.encode(normal), &self.encode(abnormal))
    }

    /// Lays out the prompts of a batch on `device`.
    pub fn batch(&self, pictures: Vec<PicturePrompts>, device: &Device) -> PromptBatch {
        let trees = pictures.iter().map(|picture| self.tree(&picture.normal, &picture.abnormal));
        let trees = trees.collect::<Vec<_>>();
        let batch = trees.len();
        let most = |count: fn(&PromptTree) -> usize| trees.iter().map(count).max().unwrap_or(0);
        let nodes = match *device == cpu() {
            true => most(PromptTree::len),
            false => most(PromptTree::len).next_multiple_of(NODES),
        };
        let prompts = most(|tree| tree.ends().count());
        let words = nodes - 1 - 2 * self.n_ctx;
        let filled = |length: usize, values: &mut dyn Iterator<Item = usize>| {
            let mut row = values.map(|value| value as i64).collect::<Vec<_>>();
            row.resize(length, 0);
            row
        };
        let ids = trees
            .iter()
            .flat_map(|tree| filled(words, &mut tree.token_ids().iter().map(|&id| id as usize)));
        let depths =
            trees.iter().flat_map(|tree| filled(nodes, &mut tree.depths().iter().copied()));
        let ends = trees.iter().flat_map(|tree| filled(prompts, &mut tree.ends()));
        let hidden = trees.iter().flat_map(|tree| hidden_nodes(tree, nodes)).collect::<Vec<_>>();
        let shares = pictures.iter().flat_map(|picture| shares_of(picture, prompts));
        let shares = TensorData::new(shares.collect::<Vec<_>>(), [batch, 2, prompts]);
        let hidden = TensorData::new(hidden, [batch, 1, nodes, nodes]);
        PromptBatch {
            words: ints(ids.collect(), [batch, words], device),
            start: self.start_row(),
            forest: ForestTensors {
                depths: ints(depths.collect(), [batch, nodes], device),
                hidden: Tensor::<TrainBackend, 4, Bool>::from_data(hidden, device),
                ends: ints(ends.collect(), [batch, prompts], device),
            },
            shares: Tensor::from_data(shares, device),
            pictures,
        }
    }
}

fn ints(values: Vec<i64>, shape: [usize; 2], device: &Device) -> Tensor<TrainBackend, 2, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// [`PromptTree::hidden`] in a square of `nodes`; nodes beyond the tree see themselves alone.
fn hidden_nodes(tree: &PromptTree, nodes: usize) -> Vec<bool> {
    let (own, count) = (tree.hidden(), tree.len());
    let mut hidden = vec![true; nodes * nodes];
    for node in 0..nodes {
        match own.chunks_exact(count).nth(node) {
            Some(row) => hidden[node * nodes..][..count].copy_from_slice(row),
            None => hidden[node * nodes + node] = false,
        }
    }
    hidden
}

fn shares_of(picture: &PicturePrompts, prompts: usize) -> Vec<f32> {
    let (normal, abnormal) = (picture.normal.len(), picture.abnormal.len());
    let mut shares = vec![0.0; 2 * prompts];
    shares[..normal].fill(1.0 / normal as f32);
    shares[prompts + normal..][..abnormal].fill(1.0 / abnormal as f32);
    shares
}

impl PromptBatch {
    /// Features of every prompt for its image, `[batch, prompts, embed_dim]`, not normalised:
    /// normal ones first. `image_features` `[batch, embed_dim]`, normalised.
    pub fn encode(
        &self,
        encoder: &TextEncoder<TrainBackend>,
        normal: &PromptLearner<TrainBackend>,
        abnormal: &PromptLearner<TrainBackend>,
        image_features: Tensor<TrainBackend, 2>,
    ) -> Tensor<TrainBackend, 3> {
        let batch = image_features.dims()[0];
        let start = encoder.embed(&[self.start]);
        let width = start.dims()[2];
        let embeddings = vec![
            start.expand([batch, 1, width]),
            normal.context(image_features.clone()),
            abnormal.context(image_features),
            encoder.token_embedding.forward(self.words.clone()),
        ];
        encoder.encode_forest(Tensor::cat(embeddings, 1), &self.forest)
    }
}
