//! FiLo: image tokens and prompt features meet in maps and scores.
//! In: normalised images and a category's prompts. Out: similarities per patch and the two text
//! probabilities; [`anomaly_map`] turns the former into a map. No file, no table, no detector.

pub mod adapter;
pub mod anomaly_map;
pub mod descriptions;
pub mod mmci;
pub mod position;
pub mod prompt_tree;
pub mod prompts;

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};

use self::adapter::Adapter;
use self::mmci::{LinearDecoder, MergedMmci, Mmci, without_class_token};
use self::prompts::{PreparedPrompts, PromptFeatures, PromptLearner};
use super::clip::text::TextEncoder;
use super::clip::vision::{ImageEncoder, ImageTokens};
use super::config::FiloConfig;
use super::precision::{product, project, same_format, with_products_in};

/// Similarities are cosines times this before the softmax.
const LOGIT_SCALE: f64 = 100.0;

/// The whole network as it is trained and stored. Field names follow the published checkpoint.
#[derive(Module, Debug)]
pub struct Filo<B: Backend> {
    pub image_encoder: ImageEncoder<B>,
    pub text_encoder: TextEncoder<B>,
    pub decoder_linear: LinearDecoder<B>,
    pub decoder_cov: Mmci<B>,
    pub normal_prompt_learner: PromptLearner<B>,
    pub abnormal_prompt_learner: PromptLearner<B>,
    pub adapter: Adapter<B>,
}

impl<B: Backend> Filo<B> {
    /// A network with random weights, as a start for training or to be loaded over. Weights are
    /// made on first use, so loading over it costs nothing.
    pub fn new(config: &FiloConfig, device: &B::Device) -> Self {
        Filo {
            image_encoder: ImageEncoder::new(config, device),
            text_encoder: TextEncoder::new(config, device),
            decoder_linear: LinearDecoder::new(config, device),
            decoder_cov: Mmci::new(config, device),
            normal_prompt_learner: PromptLearner::new(config, device),
            abnormal_prompt_learner: PromptLearner::new(config, device),
            adapter: Adapter::new(config, device),
        }
    }

    /// The form for scoring: MMCI merged, its parts freed.
    pub fn into_scorer(self) -> FiloScorer<B> {
        FiloScorer {
            image_encoder: self.image_encoder,
            text_encoder: self.text_encoder,
            decoder_linear: self.decoder_linear,
            mmci: self.decoder_cov.merge(),
            normal_prompt_learner: self.normal_prompt_learner,
            abnormal_prompt_learner: self.abnormal_prompt_learner,
            adapter: self.adapter,
        }
    }
}

/// FiLo ready to score.
#[derive(Debug)]
pub struct FiloScorer<B: Backend> {
    pub image_encoder: ImageEncoder<B>,
    pub text_encoder: TextEncoder<B>,
    decoder_linear: LinearDecoder<B>,
    mmci: MergedMmci<B>,
    pub normal_prompt_learner: PromptLearner<B>,
    pub abnormal_prompt_learner: PromptLearner<B>,
    adapter: Adapter<B>,
}

/// What the image tower says of a batch.
pub struct ImageEncoding<B: Backend> {
    pub tokens: ImageTokens<B>,
    /// Class feature, adapted and normalised, `[batch, embed_dim]`.
    pub features: Tensor<B, 2>,
}

impl<B: Backend> ImageEncoding<B> {
    /// The images at `rows` of the batch, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let indices = rows.iter().map(|&row| row as i64).collect::<Vec<_>>();
        let data = TensorData::new(indices, [rows.len()]);
        let rows = Tensor::<B, 1, Int>::from_data(data, &self.features.device());
        let of = |x: &Tensor<B, 3>| x.clone().select(0, rows.clone());
        ImageEncoding {
            tokens: ImageTokens {
                value_value: of(&self.tokens.value_value),
                ordinary: self.tokens.ordinary.iter().map(of).collect(),
            },
            features: self.features.clone().select(0, rows.clone()),
        }
    }
}

/// Whether the class feature passes through the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterUse {
    /// At test time and in training stage 2.
    Applied,
    /// In training stage 1.
    Skipped,
}

/// What the network says of a batch.
pub struct FiloOutput<B: Backend> {
    /// Similarity of each patch with the normal (0) and abnormal (1) text, times 100:
    /// `[batch, heads, 2, patches]`; linear heads first, then MMCI.
    pub similarities: Tensor<B, 4>,
    /// `[batch, 2]`: image with normal and abnormal text. Not probabilities, in spite of the name
    /// they have in the published code: cosines over √2, which may be negative.
    pub text_probs: Tensor<B, 2>,
    /// Cosine of the image with each abnormal prompt by itself, `[batch, abnormal prompts]`: which
    /// description fits best. The score is not made of them.
    pub prompt_cosines: Tensor<B, 2>,
}

impl<B: Backend> FiloScorer<B> {
    /// The same with its large products in `format`: those of both towers and of the map heads.
    /// Features, similarities and what conditions the prompts stay in f32.
    pub fn with_products_in(self, format: DType) -> Self {
        FiloScorer {
            image_encoder: with_products_in(self.image_encoder, format),
            text_encoder: with_products_in(self.text_encoder, format),
            decoder_linear: with_products_in(self.decoder_linear, format),
            mmci: self.mmci.with_products_in(format),
            ..self
        }
    }

    /// Image tower and class feature. `images` `[batch, 3, size, size]`, normalised.
    pub fn encode_images(&self, images: Tensor<B, 4>, adapter: AdapterUse) -> ImageEncoding<B> {
        let tokens = self.image_encoder.forward(images);
        let class = self.image_encoder.project(tokens.class_token()).squeeze_dim::<2>(1);
        let class = match adapter {
            AdapterUse::Applied => self.adapter.forward(class),
            AdapterUse::Skipped => class,
        };
        ImageEncoding { tokens, features: normalize(class, 1) }
    }

    /// Features of every prompt for every image, not normalised.
    pub fn encode_prompts(
        &self,
        features: &Tensor<B, 2>,
        prompts: &PreparedPrompts<B>,
    ) -> PromptFeatures<B> {
        prompts.encode(
            &self.text_encoder,
            self.normal_prompt_learner.context(features.clone()),
            self.abnormal_prompt_learner.context(features.clone()),
        )
    }

    /// Outputs of all map heads, each `[batch, patches, embed_dim]`: linear ones, then MMCI.
    pub fn decode(&self, tokens: &ImageTokens<B>) -> Vec<Tensor<B, 3>> {
        let streams = std::iter::once(&tokens.value_value).chain(&tokens.ordinary);
        let linear = self.decoder_linear.fc.iter().zip(streams).map(|(fc, stream)| {
            let out = project(fc, without_class_token(stream.clone()));
            same_format(out, stream.dtype())
        });
        linear.chain(self.mmci.forward(tokens.value_value.clone())).collect()
    }

    /// Everything after the image tower.
    pub fn score(
        &self,
        encoding: &ImageEncoding<B>,
        prompts: &PreparedPrompts<B>,
    ) -> FiloOutput<B> {
        let prompts = self.encode_prompts(&encoding.features, prompts);
        let prompt_cosines = cosines(&encoding.features, normalize(prompts.abnormal.clone(), 2));
        let texts = text_pair(prompts);
        let heads = self.decode(&encoding.tokens);
        FiloOutput {
            prompt_cosines,
            similarities: similarities(heads, &texts),
            text_probs: text_probs(&encoding.features, texts),
        }
    }
}

/// The normal and the abnormal text of each image, `[batch, 2, embed_dim]`.
pub fn text_pair<B: Backend>(features: PromptFeatures<B>) -> Tensor<B, 3> {
    let mean = |prompts| normalize(normalize(prompts, 2).mean_dim(1), 2);
    scale_by_norm_of_the_pair(Tensor::cat(vec![mean(features.normal), mean(features.abnormal)], 1))
}

/// As [`text_pair`] where images differ in what they count: `prompts` `[batch, prompts,
/// embed_dim]`, `shares` `[batch, 2, prompts]` with the weight of each prompt in the normal (0) and
/// the abnormal (1) text.
pub fn weighted_text_pair<B: Backend>(prompts: Tensor<B, 3>, shares: Tensor<B, 3>) -> Tensor<B, 3> {
    scale_by_norm_of_the_pair(normalize(product(shares, normalize(prompts, 2)), 2))
}

/// Outputs of all map heads, each `[batch, patches, embed_dim]`, and texts `[batch, 2, embed_dim]`
/// → `[batch, heads, 2, patches]`.
pub fn similarities<B: Backend>(heads: Vec<Tensor<B, 3>>, texts: &Tensor<B, 3>) -> Tensor<B, 4> {
    let each = heads.into_iter().map(|head| similarity(head, texts));
    Tensor::stack(each.collect(), 1)
}

/// Features of images `[batch, embed_dim]` and their texts `[batch, 2, embed_dim]` → `[batch, 2]`.
pub fn text_probs<B: Backend>(features: &Tensor<B, 2>, texts: Tensor<B, 3>) -> Tensor<B, 2> {
    cosines(features, texts)
}

/// `[batch, embed_dim]` with `[batch, texts, embed_dim]` → `[batch, texts]`, times the lengths of both.
fn cosines<B: Backend>(features: &Tensor<B, 2>, texts: Tensor<B, 3>) -> Tensor<B, 2> {
    let image = features.clone().unsqueeze_dim::<3>(1);
    product(image, texts.swap_dims(1, 2)).squeeze_dim(1)
}

/// Published code divides the 2 × `embed_dim` matrix of two unit vectors by its norm as a whole,
/// which is √2. So the temperature of the maps is 100/√2 and the text "probabilities" are cosines
/// over √2; the heads were trained with that.
fn scale_by_norm_of_the_pair<B: Backend>(pair: Tensor<B, 3>) -> Tensor<B, 3> {
    pair / std::f64::consts::SQRT_2
}

/// `[batch, patches, embed_dim]` and texts `[batch, 2, embed_dim]` → `[batch, 2, patches]`.
fn similarity<B: Backend>(head: Tensor<B, 3>, texts: &Tensor<B, 3>) -> Tensor<B, 3> {
    product(texts.clone() * LOGIT_SCALE, normalize(head, 2).swap_dims(1, 2))
}

/// L2-normalises along `dim`.
pub fn normalize<B: Backend, const D: usize>(x: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
    let norm = x.clone().powi_scalar(2).sum_dim(dim).sqrt();
    x / norm
}
