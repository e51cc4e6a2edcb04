//! HQ-Loc's first half: where to look. In: a batch's images as the detector reads them. Out: for
//! each image the boxes whose phrases name an anomaly of its category, and the position they
//! choose. Without a detector there are neither, and all nine positions count.

use std::collections::HashMap;

use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend as AnyBackend;
use burn::tensor::{Tensor, TensorData};

use super::batch::DetectorPlanes;
use crate::device::{Device, NetworkBackend};
use crate::error::{Failure, FailureCode, ModelError, Stage};
use crate::image::DetectorSide;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::{Position, choose_position};
use crate::model::grounding::caption::{CaptionTokenizer, CaptionWords};
use crate::model::grounding::phrases::{
    Detection, DetectionThresholds, NormalizedBox, PhraseFilter, QueryOutputs, select_detections,
};
use crate::model::grounding::{
    CaptionToken, EncodedCaption, GroundingConfig, GroundingDino, ImageBatch, TextBatch,
};
use crate::source::Category;

/// What the published code resizes images to before they are detected in.
pub const DETECTOR_SIDE: DetectorSide = DetectorSide { shorter: 518, longest: 1333 };

/// Where positions and boxes come from.
pub enum Localiser<B: NetworkBackend> {
    GroundingDino(Box<Detector<B>>),
    /// The weights have no detector, or the user wants none.
    None,
}

/// What a detector found in one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Localisation {
    /// Boxes whose phrase names an anomaly of the category, in the order of the queries.
    pub accepted: Vec<Detection>,
    /// `None`: all nine positions count.
    pub position: Option<Position>,
}

/// Grounding DINO with the captions it has read so far.
pub struct Detector<B: NetworkBackend> {
    net: GroundingDino<B>,
    config: GroundingConfig,
    tokenizer: CaptionTokenizer,
    thresholds: DetectionThresholds,
    device: B::Device,
    /// By text: categories that nobody described share one.
    captions: HashMap<String, Caption<B>>,
}

/// A category's caption: read by BERT once, used for every image.
#[derive(Clone)]
struct Caption<B: NetworkBackend> {
    tokens: Vec<CaptionToken>,
    filter: PhraseFilter,
    encoded: EncodedCaption<B>,
}

impl<B: NetworkBackend> Detector<B> {
    /// # Errors
    /// If the embedded vocabulary is damaged.
    pub fn new(
        net: GroundingDino<B>,
        config: GroundingConfig,
        thresholds: DetectionThresholds,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let device = B::own(device);
        let tokenizer = CaptionTokenizer::embedded()?;
        let captions = HashMap::new();
        Ok(Detector { net, config, tokenizer, thresholds, device, captions })
    }

    /// The network's dimensions.
    pub fn config(&self) -> &GroundingConfig {
        &self.config
    }

    /// Reads the caption of `category`, once.
    ///
    /// # Errors
    /// If the caption is longer than the detector reads, or its words are no words of these
    /// weights; names the category.
    pub fn read_caption(
        &mut self,
        category: &Category,
        descriptions: &Descriptions,
    ) -> Result<(), ModelError> {
        let words = descriptions.caption_words(category.as_str());
        let text = words.caption();
        if self.captions.contains_key(&text) {
            return Ok(());
        }
        // Cutting is the published code's way with long captions; a lost description would be
        // silent, so the length is checked instead.
        let tokens = self.tokenizer.encode(&text, usize::MAX);
        let batch = TextBatch::new(&[&tokens], &self.config, &self.device).map_err(|error| {
            ModelError::Caption { category: category.to_string(), reason: error.to_string() }
        })?;
        let caption = Caption {
            filter: PhraseFilter::new(&words, &self.tokenizer),
            encoded: self.net.encode_caption(batch),
            tokens,
        };
        self.captions.insert(text, caption);
        Ok(())
    }

    /// Looks for what `words` name in each image; the caption must have been read. Positions are
    /// those of a map of `map_side` pixels a side.
    ///
    /// Only images of one size go through the network together: its backbone knows nothing of
    /// padding, so an image filled up to a larger one's size would get other boxes than alone.
    pub fn localise(
        &self,
        words: &CaptionWords,
        pictures: &[&DetectorPlanes],
        map_side: usize,
    ) -> Vec<Result<Localisation, Failure>> {
        let text = words.caption();
        let Some(caption) = self.captions.get(&text) else {
            let what = format!("the caption {text:?} was not read: please report this");
            let failure = Failure::new(Stage::Infer, FailureCode::Internal, what);
            return vec![Err(failure); pictures.len()];
        };
        let mut order = (0..pictures.len()).collect::<Vec<_>>();
        let size = |&i: &usize| (pictures[i].size.height, pictures[i].size.width);
        order.sort_by_key(size);
        let mut found = Vec::with_capacity(pictures.len());
        for of_one_size in order.chunk_by(|a, b| size(a) == size(b)) {
            let group = of_one_size.iter().map(|&i| pictures[i]).collect::<Vec<_>>();
            let localised = self.localise_equal(caption, &group, map_side);
            found.extend(of_one_size.iter().copied().zip(localised));
        }
        found.sort_by_key(|(i, _)| *i);
        found.into_iter().map(|(_, localisation)| localisation).collect()
    }

    /// Images of one size.
    fn localise_equal(
        &self,
        caption: &Caption<B>,
        pictures: &[&DetectorPlanes],
        map_side: usize,
    ) -> Vec<Result<Localisation, Failure>> {
        let planes = pictures.iter().map(|picture| {
            let shape = [3, picture.size.height, picture.size.width];
            let data = TensorData::new(picture.planes.clone(), shape);
            Tensor::<B, 3>::from_data(data, &self.device)
        });
        let Some(batch) = ImageBatch::new(planes.collect()) else { return Vec::new() };
        let raw = self.net.forward(batch, &caption.encoded);
        let [_, queries, tokens] = raw.logits.dims();
        let probabilities = floats(sigmoid(raw.logits));
        let boxes = floats(raw.boxes);
        probabilities
            .chunks_exact(queries * tokens)
            .zip(boxes.chunks_exact(queries * 4))
            .map(|(probabilities, boxes)| {
                let accepted = self.accepted(caption, probabilities, boxes)?;
                let position = choose_position(&accepted, map_side);
                Ok(Localisation { accepted, position })
            })
            .collect()
    }

    /// The boxes of one image whose phrase names an anomaly.
    fn accepted(
        &self,
        caption: &Caption<B>,
        probabilities: &[f32],
        boxes: &[f32],
    ) -> Result<Vec<Detection>, Failure> {
        if probabilities.iter().chain(boxes).any(|value| !value.is_finite()) {
            return Err(Failure::new(
                Stage::Infer,
                FailureCode::NonFinite,
                "the detector returned NaN or infinity: check its weights, or use --grounding off",
            ));
        }
        let (boxes, _) = boxes.as_chunks::<4>();
        let boxes = boxes.iter().map(|&corners| NormalizedBox::from(corners)).collect::<Vec<_>>();
        let outputs = QueryOutputs { probabilities, boxes: &boxes };
        let kept = select_detections(outputs, &caption.tokens, self.thresholds, &self.tokenizer);
        Ok(kept.into_iter().filter(|found| caption.filter.accepts(found)).collect())
    }
}

/// The numbers of a tensor, row-major.
pub fn floats<B: AnyBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().expect("the data was just converted to f32")
}
