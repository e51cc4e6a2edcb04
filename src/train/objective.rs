//! What a step minimises. In: a network and a prepared batch. Out: one loss on the gradient tape
//! and its parts for the log. Stage 1 teaches maps, stage 2 the adapter; training from scratch adds
//! the picture's label and the defect's word to stage 1.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor, TensorData};
use fastrand::Rng;

use super::data::mixed;
use super::loader::Loaded;
use super::map_loss::{HeadLoss, MapWeights, Truth, map_loss};
use super::prompts::{PromptBatch, PromptEncoder};
use super::spec::TrainSpec;
use crate::device::{Device, TrainBackend};
use crate::model::filo::{
    AdapterUse, Filo, FiloScorer, normalize, similarities, text_probs, weighted_text_pair,
};

/// What text probabilities are divided by before the softmax of stage 2.
const TEMPERATURE: f64 = 0.07;

/// Words whose prompts differ by less than this (unit vectors) are hardly told apart: their
/// difference is not blown up to a unit vector.
const SHORTEST_WORD: f64 = 0.05;

/// Pictures and truths of a step.
#[derive(Debug)]
pub struct StepBatch {
    /// Normalised, `[batch, 3, size, size]`.
    pub images: Tensor<TrainBackend, 4>,
    /// `[batch, size²]`, 1 for defect.
    pub masks: Vec<f32>,
    /// 1 for a picture with a defect.
    pub labels: Vec<u8>,
    pub prompts: PromptBatch,
}

impl StepBatch {
    /// The batch of `loaded` pictures of `side` pixels.
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
    /// Order of the batch's pictures by each of their two texts, see `rank_loss`.
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
    pub(super) fn of(spec: &TrainSpec, stage: u8, done: u64) -> Self {
        let mut rng = Rng::with_seed(mixed(mixed(spec.seed, u64::from(stage)), !done));
        Extras {
            maps: MapWeights {
                focal: spec.focal_weight,
                defect: spec.defect_weight,
                peak: spec.peak_loss,
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

fn encode_prompts(
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
fn cross_entropy(logits: Tensor<TrainBackend, 2>, right: &[usize]) -> Tensor<TrainBackend, 1> {
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

/// Over all pairs of a picture with a defect and one without: the abnormal text must fit the first
/// better than the second, the normal text worse; the logistic loss of each difference. The score
/// of a picture has the abnormal text's fit in it and not the normal one's, and cross-entropy looks
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

/// For every picture whose defect has a word: the prompt with it must win over the other words of
/// the category, see [`WordLogits`]. `None` if no picture of the batch has one.
fn word_loss(
    features: &Tensor<TrainBackend, 2>,
    heads: &[Tensor<TrainBackend, 3>],
    prompts: &Tensor<TrainBackend, 3>,
    batch: &StepBatch,
) -> Option<Tensor<TrainBackend, 1>> {
    let WordLogits { pictures, logits } = word_logits(features, heads, prompts, batch)?;
    let right = pictures.iter().flat_map(|picture| [picture.right; 2]).collect::<Vec<_>>();
    Some(cross_entropy(logits.flatten(0, 1), &right))
}

/// A picture whose defect has a word.
#[derive(Debug, Clone, Copy)]
struct Worded {
    /// Its place in the batch.
    index: usize,
    /// Of its category's words the one of its defect, and how many there are.
    right: usize,
    words: usize,
}

/// How well each word of its category fits each picture whose defect has one. A word is what its
/// prompt has beyond the mean of the others: what they share (the context, the name, that something
/// is wrong) is most of each, and tells nothing here.
struct WordLogits {
    pictures: Vec<Worded>,
    /// `[pictures, 2, words]`: with the image feature, and with the mean of the heads' patches in
    /// the mask; far below all others where a category has fewer words.
    logits: Tensor<TrainBackend, 3>,
}

/// `None` if no picture of the batch has a word.
fn word_logits(
    features: &Tensor<TrainBackend, 2>,
    heads: &[Tensor<TrainBackend, 3>],
    prompts: &Tensor<TrainBackend, 3>,
    batch: &StepBatch,
) -> Option<WordLogits> {
    let pictures = batch.prompts.pictures.iter().enumerate();
    let pictures = pictures.filter_map(|(index, picture)| {
        // One word alone has nothing to win against.
        let right = picture.right.filter(|_| picture.details > 1)?;
        Some(Worded { index, right, words: picture.details })
    });
    let pictures = pictures.collect::<Vec<_>>();
    let (count, most) = (pictures.len(), pictures.iter().map(|picture| picture.words).max()?);
    let ([_, of_each, width], device) = (prompts.dims(), prompts.device());
    let rows = pictures.iter().flat_map(|picture| {
        let first = picture.index * of_each + batch.prompts.pictures[picture.index].normal.len();
        (0..most).map(move |word| (first + word.min(picture.words - 1)) as i64)
    });
    let rows = Tensor::<_, 1, Int>::from_data(&rows.collect::<Vec<_>>()[..], &device);
    let is_word = |picture: &Worded, word: usize| word < picture.words;
    let shares = pictures.iter().flat_map(|picture| {
        let share = 1.0 / picture.words as f32;
        (0..most).map(move |word| if is_word(picture, word) { share } else { 0.0 })
    });
    let shares = TensorData::new(shares.collect::<Vec<_>>(), [count, 1, most]);
    let missing = pictures
        .iter()
        .flat_map(|picture| (0..2 * most).map(move |place| !is_word(picture, place % most)));
    let missing = TensorData::new(missing.collect::<Vec<_>>(), [count, 2, most]);

    let words = prompts.clone().flatten::<2>(0, 1).select(0, rows).reshape([count, most, width]);
    let words = normalize(words, 2);
    let mean = Tensor::<_, 3>::from_data(shares, &device).matmul(words.clone());
    let words = words - mean;
    let length = (words.clone().powi_scalar(2).sum_dim(2) + SHORTEST_WORD.powi(2)).sqrt();
    let words = words / length;

    let places = pictures.iter().map(|picture| picture.index as i64).collect::<Vec<_>>();
    let places = Tensor::<_, 1, Int>::from_data(&places[..], &device);
    let image = features.clone().select(0, places.clone()).unsqueeze_dim(1);
    let patches = normalize(masked_mean(heads, batch), 2).select(0, places);
    let sides = Tensor::cat(vec![image, patches], 1);
    let logits = sides.matmul(words.swap_dims(1, 2)) / TEMPERATURE;
    let logits = logits.mask_fill(Tensor::from_data(missing, &device), FAR_BELOW);
    Some(WordLogits { pictures, logits })
}

/// A logit whose exponential is 0 beside any other.
const FAR_BELOW: f32 = -1e9;

/// How well the words of a category fit a picture's defect.
#[derive(Debug, Clone, PartialEq)]
pub struct WordFit {
    /// The word of what was drawn.
    pub right: usize,
    /// Of each word with the masked patches.
    pub patches: Vec<f32>,
    /// Of each word with the image feature.
    pub image: Vec<f32>,
}

/// How well the words fit, for every picture of the batch whose defect has one.
pub fn word_fits(network: &Filo<TrainBackend>, batch: &StepBatch) -> Vec<WordFit> {
    let scorer = network.clone().into_scorer();
    let encoding = scorer.encode_images(batch.images.clone(), AdapterUse::Skipped);
    let prompts = encode_prompts(&scorer, batch, encoding.features.clone(), Contexts::Own);
    let heads = scorer.decode(&encoding.tokens);
    let Some(WordLogits { pictures, logits }) =
        word_logits(&encoding.features, &heads, &prompts, batch)
    else {
        return Vec::new();
    };
    let most = logits.dims()[2];
    let values = logits.inner().into_data().into_vec::<f32>().expect("training computes in f32");
    let fits = values.chunks_exact(2 * most).zip(pictures).map(|(values, picture)| {
        let Worded { right, words, .. } = picture;
        let (image, patches) = values.split_at(most);
        WordFit { right, patches: patches[..words].to_vec(), image: image[..words].to_vec() }
    });
    fits.collect()
}

/// Mean over heads and masked patches of the normalised outputs, `[batch, 1, embed_dim]`; over all
/// patches where the mask is empty.
fn masked_mean(heads: &[Tensor<TrainBackend, 3>], batch: &StepBatch) -> Tensor<TrainBackend, 3> {
    let ([pictures, .., size], patches) = (batch.images.dims(), heads[0].dims()[1]);
    let shares = batch.masks.chunks_exact(size * size).flat_map(|mask| cells(mask, size, patches));
    let shares = TensorData::new(shares.collect::<Vec<_>>(), [pictures, 1, patches]);
    let shares = Tensor::<TrainBackend, 3>::from_data(shares, &batch.images.device());
    let outputs = heads.iter().map(|head| normalize(head.clone(), 2));
    let sum = outputs.reduce(|sum, head| sum + head).expect("a network has two heads or more");
    shares.matmul(sum)
}

/// Share of each patch in the defect, summing to 1; equal shares where there is none.
fn cells(mask: &[f32], size: usize, patches: usize) -> Vec<f32> {
    let grid = patches.isqrt();
    let side = size / grid;
    let mut cells = vec![0.0f32; patches];
    for (y, row) in mask.chunks_exact(size).enumerate() {
        for (x, value) in row.iter().enumerate() {
            cells[(y / side).min(grid - 1) * grid + (x / side).min(grid - 1)] += value;
        }
    }
    let sum = cells.iter().sum::<f32>();
    match sum > 0.0 {
        true => cells.iter_mut().for_each(|cell| *cell /= sum),
        false => cells.fill(1.0 / patches as f32),
    }
    cells
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
