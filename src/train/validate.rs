//! How well a network does on images that it does not learn from: scored as `filo score` does
//! without a detector, all nine positions averaged. In: a network and labelled images. Out: AUROC
//! of images and of pixels, means over categories.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use fastrand::Rng;

use super::data::{Anomalous, TrainingData, TrainingPicture};
use super::prompts::PromptEncoder;
use crate::device::{Backend, Device};
use crate::error::Error;
use crate::metrics::{ImageScore, PixelSketch, image_metrics, pixel_metrics};
use crate::model::config::FiloConfig;
use crate::model::filo::anomaly_map::{AnomalyMapper, image_score};
use crate::model::filo::position::Position;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, FiloScorer};

/// Images that go through the network together.
const BATCH: usize = 8;

/// A validation's result; `None` where no category has images, or pixels, of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Validation {
    pub pictures: u64,
    pub image_auroc: Option<f64>,
    pub pixel_auroc: Option<f64>,
}

impl Validation {
    /// One number to compare networks by: the mean of what there is.
    pub fn merit(&self) -> Option<f64> {
        mean([self.image_auroc, self.pixel_auroc].into_iter().flatten())
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// What a category's prompts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// What its descriptions say.
    Right,
    /// The generic states alone, as where nobody has described the category.
    Generic,
    /// Normal states as abnormal ones, and the other way round: a network that listens to words
    /// must then be wrong.
    Swapped,
}

/// What scores validation images.
pub struct Validator<'a> {
    pub config: &'a FiloConfig,
    pub encoder: &'a PromptEncoder,
    pub device: &'a Device,
    pub adapter: AdapterUse,
    pub wording: Wording,
}

impl Validator<'_> {
    /// Scores every image of `data` that can be read.
    ///
    /// # Errors
    /// If the network gives NaN or infinity.
    pub fn validate(
        &self,
        scorer: &FiloScorer<Backend>,
        data: &dyn TrainingData,
    ) -> Result<Validation, Error> {
        let mut by_category = BTreeMap::<String, Vec<TrainingPicture>>::new();
        for index in 0..data.pictures() {
            match data.picture(index, &mut Rng::with_seed(index)) {
                Ok(picture) => {
                    by_category.entry(picture.category.clone()).or_default().push(picture);
                }
                Err(failure) => tracing::warn!("validation leaves out: {}", failure.message),
            }
        }
        let pictures = by_category.values().map(|of| of.len() as u64).sum();
        let mut results = Vec::with_capacity(by_category.len());
        for (category, pictures) in by_category {
            results.push(self.category(scorer, data, &category, &pictures)?);
        }
        Ok(Validation {
            pictures,
            image_auroc: mean(results.iter().filter_map(|(image, _)| *image)),
            pixel_auroc: mean(results.iter().filter_map(|(_, pixel)| *pixel)),
        })
    }

    /// AUROC of images and of pixels.
    fn category(
        &self,
        scorer: &FiloScorer<Backend>,
        data: &dyn TrainingData,
        category: &str,
        pictures: &[TrainingPicture],
    ) -> Result<(Option<f64>, Option<f64>), Error> {
        let n_ctx = self.config.n_ctx;
        let mut states = data.prompts(category);
        match self.wording {
            Wording::Right => {}
            Wording::Generic => drop(states.abnormal.drain(..states.details.len())),
            Wording::Swapped => std::mem::swap(&mut states.normal, &mut states.abnormal),
        }
        let abnormal = states.abnormal_texts(n_ctx, &Position::ALL);
        let tree = self.encoder.tree(&states.normal_texts(n_ctx), &abnormal);
        let start = self.encoder.start_row();
        let prompts = PreparedPrompts::new(&[tree], start, &scorer.text_encoder);
        let side = self.config.vision.image_size;
        let mapper = AnomalyMapper::new(self.config.vision.grid(), side);
        let (mut scores, mut pixels) = (Vec::new(), PixelSketch::new());
        for batch in pictures.chunks(BATCH) {
            let planes = batch.iter().flat_map(|picture| &picture.planes).copied();
            let shape = [batch.len(), 3, side, side];
            let images = TensorData::new(planes.collect::<Vec<_>>(), shape);
            let images = Tensor::<Backend, 4>::from_data(images, self.device);
            let output = scorer.score(&scorer.encode_images(images, self.adapter), &prompts);
            let [_, heads, channels, patches] = output.similarities.dims();
            let similarities = floats(output.similarities);
            let text_probs = floats(output.text_probs);
            let of_pictures = similarities.chunks_exact(heads * channels * patches);
            for ((picture, similarities), text_probs) in
                batch.iter().zip(of_pictures).zip(text_probs.chunks_exact(2))
            {
                let map = mapper.map(similarities);
                let score = image_score(text_probs[1], &map, self.config.peak_share);
                let anomalous = matches!(picture.anomalous, Anomalous::Yes);
                scores.push(ImageScore::new(score, anomalous));
                let mask = picture.mask.iter().map(|value| u8::from(*value > 0.0));
                pixels.add_map(&map, Some(&mask.collect::<Vec<_>>()), side, side)?;
            }
        }
        let pixel = pixel_metrics(&pixels).auroc.map(|auroc| auroc.value);
        Ok((image_metrics(&scores)?.auroc, pixel))
    }
}

fn floats<const D: usize>(tensor: Tensor<Backend, D>) -> Vec<f32> {
    tensor.into_data().into_vec::<f32>().expect("training computes in f32")
}
