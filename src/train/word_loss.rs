//! The defect's word: which of its category's words fits an image best. In: features of images and
//! prompts. Out: a loss on the gradient tape, or how well each word fits.

use burn::tensor::{Int, Tensor, TensorData};

use super::objective::{Contexts, StepBatch, TEMPERATURE, cross_entropy, encode_prompts};
use crate::device::TrainBackend;
use crate::model::filo::{AdapterUse, Filo, normalize};

/// Words whose prompts differ by less than this (unit vectors) are hardly told apart: their
/// difference is not blown up to a unit vector.
const SHORTEST_WORD: f64 = 0.05;

/// A logit whose exponential is 0 beside any other.
const FAR_BELOW: f32 = -1e9;

/// For every image whose defect has a word: the prompt with it must win over the other words of
/// the category, see [`WordLogits`]. `None` if no image of the batch has one.
pub(super) fn word_loss(
    features: &Tensor<TrainBackend, 2>,
    heads: &[Tensor<TrainBackend, 3>],
    prompts: &Tensor<TrainBackend, 3>,
    batch: &StepBatch,
) -> Option<Tensor<TrainBackend, 1>> {
    let WordLogits { pictures, logits } = word_logits(features, heads, prompts, batch)?;
    let right = pictures.iter().flat_map(|picture| [picture.right; 2]).collect::<Vec<_>>();
    Some(cross_entropy(logits.flatten(0, 1), &right))
}

/// An image whose defect has a word.
#[derive(Debug, Clone, Copy)]
struct Worded {
    /// Its place in the batch.
    index: usize,
    /// Of its category's words the one of its defect, and how many there are.
    right: usize,
    words: usize,
}

/// How well each word of its category fits each image whose defect has one. A word is what its
/// prompt has beyond the mean of the others: what they share (the context, the name, that something
/// is wrong) is most of each, and tells nothing here.
struct WordLogits {
    pictures: Vec<Worded>,
    /// `[pictures, 2, words]`: with the image feature, and with the mean of the heads' patches in
    /// the mask; far below all others where a category has fewer words.
    logits: Tensor<TrainBackend, 3>,
}

/// `None` if no image of the batch has a word.
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
    let shares = TensorData::new(shares.collect::<Vec<_>>(), [count, most, 1]);
    let missing = pictures
        .iter()
        .flat_map(|picture| (0..2 * most).map(move |place| !is_word(picture, place % most)));
    let missing = TensorData::new(missing.collect::<Vec<_>>(), [count, 2, most]);

    let words = prompts.clone().flatten::<2>(0, 1).select(0, rows).reshape([count, most, width]);
    let words = normalize(words, 2);
    // No product: a GPU would round its operands, and words differ by little.
    let mean = (words.clone() * Tensor::from_data(shares, &device)).sum_dim(1);
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

/// How well the words of a category fit an image's defect.
#[derive(Debug, Clone, PartialEq)]
pub struct WordFit {
    /// The word of what was drawn.
    pub right: usize,
    /// Of each word with the masked patches.
    pub patches: Vec<f32>,
    /// Of each word with the image feature.
    pub image: Vec<f32>,
}

/// How well the words fit, for every image of the batch whose defect has one.
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
    use burn::tensor::Distribution;

    use super::super::prompts::{PicturePrompts, PromptEncoder, Vocabulary};
    use super::*;
    use crate::device::cpu;
    use crate::model::clip::tokenizer::ClipTokenizer;

    /// Images of a batch have different numbers of words; one has none.
    #[test]
    fn words_fit_a_picture_of_a_batch_as_they_fit_it_alone() {
        let encoder = PromptEncoder::new(ClipTokenizer::embedded().unwrap(), Vocabulary::Full, 1);
        let prompts = |details: usize, right: Option<usize>| {
            let texts = ["X crack.", "X hole.", "X stain."];
            let texts =
                |count: usize| texts[..count].iter().map(|&text| text.to_string()).collect();
            PicturePrompts { normal: texts(1), abnormal: texts(details), details, right }
        };
        let batch = |pictures: &[PicturePrompts]| StepBatch {
            images: Tensor::zeros([pictures.len(), 3, 4, 4], &cpu()),
            masks: (0..pictures.len() * 16).map(|i| f32::from(u8::from(i % 3 == 0))).collect(),
            labels: vec![1; pictures.len()],
            prompts: encoder.batch(pictures.to_vec(), &cpu()),
        };
        let pictures = [prompts(3, Some(1)), prompts(2, None), prompts(2, Some(0))];
        let random = |shape: [usize; 3]| {
            let spread = Distribution::Normal(0.0, 1.0);
            Tensor::<TrainBackend, 3>::random(shape, spread, &cpu())
        };
        let (features, encoded) = (random([3, 1, 6]).squeeze_dim::<2>(1), random([3, 4, 6]));
        let heads = [random([3, 1, 6]), random([3, 1, 6])];
        let all = word_logits(&features, &heads, &encoded, &batch(&pictures)).unwrap();
        assert_eq!(all.pictures.iter().map(|of| of.index).collect::<Vec<_>>(), [0, 2]);
        for (place, of) in all.pictures.iter().enumerate() {
            let heads = heads.clone().map(|head| head.narrow(0, of.index, 1));
            let features = features.clone().narrow(0, of.index, 1);
            let encoded = encoded.clone().narrow(0, of.index, 1);
            let own = batch(&pictures[of.index..=of.index]);
            let own = word_logits(&features, &heads, &encoded, &own).unwrap().logits;
            let shared = all.logits.clone().narrow(0, place, 1).narrow(2, 0, of.words);
            assert_eq!(own.dims(), [1, 2, of.words]);
            assert!((own - shared).abs().max().into_scalar() < 1e-4, "image {}", of.index);
        }
        let beyond = all.logits.narrow(0, 1, 1).narrow(2, 2, 1).max().into_scalar();
        assert_eq!(beyond, FAR_BELOW);
    }
}
