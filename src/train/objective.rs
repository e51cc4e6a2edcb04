//! What a step minimises. In: a network and a prepared batch. Out: one loss on the gradient tape
//! and its parts for the log. Stage 1 teaches maps, stage 2 the adapter; training from scratch adds
//! the image's label and the defect's word to stage 1.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor, TensorData};
use fastrand::Rng;

use super::data::mixed;
use super::loader::Loaded;
use super::map_loss::{HeadLoss, MapWeights, PEAK_SHARE, Truth, map_loss};
use super::prompts::{PromptBatch, PromptEncoder};
use super::spec::TrainSpec;
use super::word_loss::word_loss;
use crate::device::{Device, TrainBackend};
use crate::model::config::FiloConfig;
use crate::model::filo::{
    AdapterUse, Filo, FiloScorer, similarities, text_probs, weighted_text_pair,
};

/// What text probabilities are divided by before the softmax of stage 2.
pub(super) const TEMPERATURE: f64 = 0.07;

/// Images and truths of a step.
#[derive(Debug)]
pub struct StepBatch {
    /// Normalised, `[batch, 3, size, size]`.
    pub images: Tensor<TrainBackend, 4>,
    /// `[batch, size²]`, 1 for defect.
    pub masks: Vec<f32>,
    /// 1 for an image with a defect.
    pub labels: Vec<u8>,
    pub prompts: PromptBatch,
}

impl StepBatch {
    /// The batch of `loaded` images of `side` pixels.
    pub(super) fn of(
        loaded: &[Loaded],
        side: usize,
        encoder: &PromptEncoder,
        device: &Device,
    ) -> Self {
        let planes = loaded.iter().map(|loaded| &loaded.picture.planes[..]).collect::<Vec<_>>();
        let masks = loaded.iter().map(|loaded| &loaded.picture.mask[..]).collect::<Vec<_>>();
        let images = TensorData::new(planes.concat(), [loaded.len(), 3, side, side]);
        let prompts = loaded.iter().map(|loaded| loaded.prompts.clone()).collect();
        StepBatch {
            images: Tensor::from_data(images, device),
            masks: masks.concat(),
            labels: loaded.iter().map(|loaded| loaded.picture.anomalous as u8).collect(),
            prompts: encoder.batch(prompts, device),
        }
    }
}

/// Whose context stands before the normal and before the abnormal words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contexts {
    /// Each learner's before its own words, as published.
    #[default]
    Own,
    /// Each learner's before the other's words. What is to be told stays the same, so it must be
    /// the words that tell it.
    Swapped,
}

/// What stage 1 may have beside the published losses; the default has nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extras {
    pub maps: MapWeights,
    pub contexts: Contexts,
    /// Cross-entropy of the label, as in stage 2.
    pub image: f64,
    /// Order of the batch's images by each of their two texts, see `rank_loss`.
    pub rank: f64,
    /// Cross-entropy of the defect's own word among the words of its category.
    pub words: f64,
}

impl Default for Extras {
    fn default() -> Self {
        Extras {
            maps: MapWeights::default(),
            contexts: Contexts::Own,
            image: 0.0,
            rank: 0.0,
            words: 0.0,
        }
    }
}

impl Extras {
    /// Those of the step that comes after `done` ones of `stage`.
    pub(super) fn of(spec: &TrainSpec, config: &FiloConfig, stage: u8, done: u64) -> Self {
        let mut rng = Rng::with_seed(mixed(mixed(spec.seed, u64::from(stage)), !done));
        Extras {
            maps: MapWeights {
                focal: spec.focal_weight,
                defect: spec.defect_weight,
                peak: spec.peak_loss,
                peak_share: config.peak_share.unwrap_or(PEAK_SHARE),
            },
            contexts: match rng.f64() < spec.context_swap {
                true => Contexts::Swapped,
                false => Contexts::Own,
            },
            image: spec.image_loss,
            rank: spec.rank_loss,
            words: spec.word_loss,
        }
    }
}

/// What a step minimises, and its parts before weighting; a part that is left out is 0.
#[derive(Debug)]
pub struct StepLoss {
    /// `[1]`.
    pub loss: Tensor<TrainBackend, 1>,
    pub maps: f64,
    pub image: f64,
    pub rank: f64,
    pub words: f64,
    pub heads: Vec<HeadLoss>,
}

/// Stage 1: focal and dice loss over all maps, from the un-adapted image feature.
pub fn stage_1(network: &Filo<TrainBackend>, batch: &StepBatch, extras: Extras) -> StepLoss {
    let scorer = network.clone().into_scorer();
    let size = batch.images.dims()[3];
    let encoding = scorer.encode_images(batch.images.clone(), AdapterUse::Skipped);
    let features = encoding.features.clone();
    let prompts = encode_prompts(&scorer, batch, features, extras.contexts);
    let texts = weighted_text_pair(prompts.clone(), batch.prompts.shares.clone());
    let heads = scorer.decode(&encoding.tokens);
    let truth = Truth { masks: &batch.masks, labels: &batch.labels, size };
    let maps = map_loss(similarities(heads.clone(), &texts), truth, extras.maps);
    let mut step = StepLoss {
        maps: number(&maps.loss),
        loss: maps.loss,
        image: 0.0,
        rank: 0.0,
        words: 0.0,
        heads: maps.heads,
    };
    let text_probs = text_probs(&encoding.features, texts);
    if extras.image > 0.0 {
        let loss = label_loss(text_probs.clone(), &batch.labels);
        step.image = number(&loss);
        step.loss = step.loss + loss * extras.image;
    }
    if extras.rank > 0.0
        && let Some(loss) = rank_loss(text_probs, &batch.labels)
    {
        step.rank = number(&loss);
        step.loss = step.loss + loss * extras.rank;
    }
    if extras.words > 0.0
        && let Some(loss) = word_loss(&encoding.features, &heads, &prompts, batch)
    {
        step.words = number(&loss);
        step.loss = step.loss + loss * extras.words;
    }
    step
}

/// Stage 2: cross-entropy of the text probabilities, from the adapted image feature. Prompts are
/// made from that feature without a gradient, so it reaches the adapter by the image side only.
pub fn stage_2(network: &Filo<TrainBackend>, batch: &StepBatch) -> StepLoss {
    let scorer = network.clone().into_scorer();
    let encoding = scorer.encode_images(batch.images.clone(), AdapterUse::Applied);
    let features = encoding.features.clone().detach();
    let prompts = encode_prompts(&scorer, batch, features, Contexts::Own);
    let texts = weighted_text_pair(prompts, batch.prompts.shares.clone());
    let loss = label_loss(text_probs(&encoding.features, texts), &batch.labels);
    let image = number(&loss);
    StepLoss { image, loss, maps: 0.0, rank: 0.0, words: 0.0, heads: Vec::new() }
}

fn number(loss: &Tensor<TrainBackend, 1>) -> f64 {
    f64::from(loss.clone().inner().into_scalar())
}

pub(super) fn encode_prompts(
    scorer: &FiloScorer<TrainBackend>,
    batch: &StepBatch,
    image_features: Tensor<TrainBackend, 2>,
    contexts: Contexts,
) -> Tensor<TrainBackend, 3> {
    let (normal, abnormal) = (&scorer.normal_prompt_learner, &scorer.abnormal_prompt_learner);
    let (normal, abnormal) = match contexts {
        Contexts::Own => (normal, abnormal),
        Contexts::Swapped => (abnormal, normal),
    };
    batch.prompts.encode(&scorer.text_encoder, normal, abnormal, image_features)
}

/// Mean of −log softmax at the right column: `logits` `[rows, columns]`.
pub(super) fn cross_entropy(
    logits: Tensor<TrainBackend, 2>,
    right: &[usize],
) -> Tensor<TrainBackend, 1> {
    let right = right.iter().map(|&column| column as i64).collect::<Vec<_>>();
    let rows = right.len();
    let right = TensorData::new(right, [rows, 1]);
    let right = Tensor::<TrainBackend, 2, Int>::from_data(right, &logits.device());
    -log_softmax(logits, 1).gather(1, right).mean()
}

fn label_loss(text_probs: Tensor<TrainBackend, 2>, labels: &[u8]) -> Tensor<TrainBackend, 1> {
    let right = labels.iter().map(|&label| usize::from(label)).collect::<Vec<_>>();
    cross_entropy(text_probs / TEMPERATURE, &right)
}

/// Over all pairs of an image with a defect and one without: the abnormal text must fit the first
/// better than the second, the normal text worse; the logistic loss of each difference. The score
/// of an image has the abnormal text's fit in it and not the normal one's, and cross-entropy looks
/// at their difference alone. `None` if all labels are alike.
fn rank_loss(
    text_probs: Tensor<TrainBackend, 2>,
    labels: &[u8],
) -> Option<Tensor<TrainBackend, 1>> {
    let pictures = labels.len();
    let pairs = labels.iter().flat_map(|&first| labels.iter().map(move |&second| (first, second)));
    let pairs = pairs.map(|pair| f32::from(u8::from(pair == (1, 0)))).collect::<Vec<_>>();
    let count = pairs.iter().sum::<f32>();
    if count == 0.0 {
        return None;
    }
    let pairs = TensorData::new(pairs, [pictures, pictures]);
    let pairs = Tensor::<TrainBackend, 2>::from_data(pairs, &text_probs.device());
    let of_text = |text: usize, sign: f64| {
        let fit = text_probs.clone().narrow(1, text, 1);
        let margins = (fit.clone() - fit.transpose()) * (sign / TEMPERATURE);
        -(log_sigmoid(margins) * pairs.clone()).sum() / count
    };
    Some((of_text(0, -1.0) + of_text(1, 1.0)) * 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn pictures_in_their_order_cost_little_and_in_the_other_much() {
        let fits = Tensor::<TrainBackend, 2>::from_floats([[0.1, 0.4], [0.3, -0.2]], &cpu());
        let loss = |labels: &[u8]| rank_loss(fits.clone(), labels).map(|loss| number(&loss));
        // Margins 0.2 by the normal text and 0.6 by the abnormal one, over 0.07.
        let logistic = |margin: f64| (1.0 + (-margin / TEMPERATURE).exp()).ln();
        let right = 0.5 * (logistic(0.2) + logistic(0.6));
        let wrong = 0.5 * (logistic(-0.2) + logistic(-0.6));
        assert!((loss(&[1, 0]).unwrap() - right).abs() < 1e-5);
        assert!((loss(&[0, 1]).unwrap() - wrong).abs() < 1e-4);
        assert_eq!(loss(&[1, 1]), None);
    }
}
