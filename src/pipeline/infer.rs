//! Batches through the network: the one thread that owns the device. In: prepared pictures. Out:
//! similarities, text probabilities and boxes on the CPU. A batch that breaks is tried picture by
//! picture, so that one bad picture costs one row.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};

use super::batch::{Batch, Inferred, Lost, Prepared};
use super::caught;
use super::localise::{Localisation, Localiser, floats};
use super::networks::Networks;
use crate::device::{Backend, Device};
use crate::error::{Failure, FailureCode, ModelError, Stage};
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::filo::descriptions::{DescriptionSource, Descriptions};
use crate::model::filo::position::Position;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, ImageEncoding};
use crate::model::grounding::caption::CaptionWords;
use crate::source::Category;

/// The networks with all that turns a category's name into prompts.
pub struct Inferencer {
    networks: Networks,
    tokenizer: ClipTokenizer,
    descriptions: Descriptions,
    device: Device,
    current: Option<CurrentCategory>,
    /// Categories whose words were read.
    read: HashSet<Category>,
}

/// What is kept of the category at hand. Batches come category by category, so one is enough, and
/// memory does not grow with the number of categories.
struct CurrentCategory {
    category: Category,
    words: CaptionWords,
    /// Made when they are first needed, by the position that they name; `None`: all nine.
    prompts: HashMap<Option<Position>, PreparedPrompts<Backend>>,
}

/// Numbers of one picture, straight from the networks.
struct Numbers {
    similarities: Vec<f32>,
    text_probs: [f32; 2],
    localisation: Option<Localisation>,
}

impl Inferencer {
    /// Ready to infer.
    ///
    /// # Errors
    /// If the embedded vocabulary is damaged.
    pub fn new(
        networks: Networks,
        descriptions: Descriptions,
        device: Device,
    ) -> Result<Self, ModelError> {
        let tokenizer = ClipTokenizer::embedded()?;
        Ok(Inferencer {
            networks,
            tokenizer,
            descriptions,
            device,
            current: None,
            read: HashSet::new(),
        })
    }

    /// Reads what is read once per category; to be called before the first batch, so that a
    /// category that cannot be scored stops the run before it starts.
    ///
    /// # Errors
    /// If a prompt or the detector's caption is too long; names the category.
    pub fn read_words<'a>(
        &mut self,
        categories: impl IntoIterator<Item = &'a Category>,
    ) -> Result<(), ModelError> {
        for category in categories {
            let prompts = self.descriptions.prompts(category.as_str());
            if prompts.source == DescriptionSource::File
                && let Some(text) = prompts.too_long(&self.tokenizer, self.networks.config.n_ctx)
            {
                return Err(ModelError::Prompt { category: category.to_string(), text });
            }
            if let Localiser::GroundingDino(detector) = &mut self.networks.localiser {
                detector.read_caption(category, &self.descriptions)?;
            }
            self.read.insert(category.clone());
        }
        Ok(())
    }

    /// Every picture of `batch` comes back on one of the two sides.
    pub fn infer(&mut self, batch: Batch) -> (Vec<Inferred>, Vec<Lost>) {
        // Categories of pictures in archives show when they come.
        if !self.read.contains(&batch.category)
            && let Err(error) = self.read_words([&batch.category])
        {
            let lost = batch.pictures.into_iter().map(|picture| {
                let failure = Failure::new(Stage::Infer, FailureCode::Words, error.to_string());
                Lost::new(picture.subject.order, &picture.subject.sample, failure)
            });
            return (Vec::new(), lost.collect());
        }
        let started = Instant::now();
        let numbers = self.numbers_or_singly(&batch.category, &batch.pictures);
        let ms_infer = started.elapsed().as_secs_f32() * 1e3 / batch.pictures.len() as f32;
        let (mut done, mut lost) = (Vec::new(), Vec::new());
        for (picture, numbers) in batch.pictures.into_iter().zip(numbers) {
            let subject = picture.subject;
            match numbers {
                Ok(Numbers { similarities, text_probs, localisation }) => {
                    done.push(Inferred {
                        subject,
                        similarities,
                        text_probs,
                        localisation,
                        ms_infer,
                    });
                }
                Err(failure) => lost.push(Lost::new(subject.order, &subject.sample, failure)),
            }
        }
        (done, lost)
    }

    fn numbers_or_singly(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Vec<Result<Numbers, Failure>> {
        match self.numbers(category, pictures) {
            Ok(numbers) => numbers,
            Err(failure) if pictures.len() == 1 => vec![Err(failure)],
            Err(_) => {
                pictures.chunks(1).flat_map(|one| self.numbers_or_singly(category, one)).collect()
            }
        }
    }

    /// The networks, with a panic of the backend turned into a failure.
    fn numbers(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Result<Vec<Result<Numbers, Failure>>, Failure> {
        caught(Stage::Infer, || self.forward(category, pictures))
    }

    fn forward(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Vec<Result<Numbers, Failure>> {
        self.turn_to(category);
        let encoding = self.encode(pictures);
        let found = self.localise(pictures);
        // Pictures whose boxes chose the same position share their prompts.
        let mut by_position = BTreeMap::<Option<Position>, Vec<usize>>::new();
        for (i, localisation) in found.iter().enumerate() {
            if let Ok(localisation) = localisation {
                let position = localisation.as_ref().and_then(|found| found.position);
                by_position.entry(position).or_default().push(i);
            }
        }
        let mut scored = HashMap::new();
        for (position, members) in by_position {
            let numbers = self.score(position, &encoding.select(&members));
            scored.extend(members.into_iter().zip(numbers));
        }
        let numbers = found.into_iter().enumerate().map(|(i, localisation)| {
            let localisation = localisation?;
            let (similarities, text_probs) =
                scored.remove(&i).expect("every localised picture was scored");
            finite(Numbers { similarities, text_probs, localisation })
        });
        numbers.collect()
    }

    fn turn_to(&mut self, category: &Category) {
        if self.current.as_ref().is_some_and(|current| current.category == *category) {
            return;
        }
        self.current = Some(CurrentCategory {
            category: category.clone(),
            words: self.descriptions.caption_words(category.as_str()),
            prompts: HashMap::new(),
        });
    }

    fn encode(&self, pictures: &[Prepared]) -> ImageEncoding<Backend> {
        let size = self.networks.config.vision.image_size;
        let planes = pictures.iter().flat_map(|picture| &picture.planes).copied().collect();
        let images = TensorData::new::<f32, _>(planes, [pictures.len(), 3, size, size]);
        let images = Tensor::<Backend, 4>::from_data(images, &self.device);
        self.networks.scorer.encode_images(images, AdapterUse::Applied)
    }

    /// `Ok(None)` for every picture without a detector.
    fn localise(&self, pictures: &[Prepared]) -> Vec<Result<Option<Localisation>, Failure>> {
        let (Localiser::GroundingDino(detector), Some(current)) =
            (&self.networks.localiser, &self.current)
        else {
            return pictures.iter().map(|_| Ok(None)).collect();
        };
        let planes = pictures.iter().map(|picture| {
            picture.detector.as_ref().expect("pictures are prepared for the detector there is")
        });
        let map_side = self.networks.config.vision.image_size;
        let found = detector.localise(&current.words, &planes.collect::<Vec<_>>(), map_side);
        found.into_iter().map(|found| found.map(Some)).collect()
    }

    /// Similarities and text probabilities of each picture in `encoding`.
    fn score(
        &mut self,
        position: Option<Position>,
        encoding: &ImageEncoding<Backend>,
    ) -> Vec<(Vec<f32>, [f32; 2])> {
        let prompts = self.prompts_for(position);
        let output = self.networks.scorer.score(encoding, &prompts);
        let [_, heads, channels, patches] = output.similarities.dims();
        let similarities = floats(output.similarities);
        let text_probs = floats(output.text_probs);
        let (text_probs, _) = text_probs.as_chunks::<2>();
        similarities
            .chunks_exact(heads * channels * patches)
            .map(<[f32]>::to_vec)
            .zip(text_probs.iter().copied())
            .collect()
    }

    fn prompts_for(&mut self, position: Option<Position>) -> PreparedPrompts<Backend> {
        let current = self.current.as_mut().expect("a batch turns to its category first");
        let category = &current.category;
        let prepare = || {
            let positions = position.as_ref().map_or(&Position::ALL[..], std::slice::from_ref);
            let texts = self.descriptions.prompts(category.as_str());
            let trees = texts.trees(&self.tokenizer, self.networks.config.n_ctx, positions);
            PreparedPrompts::new(&trees, START_ID, &self.networks.scorer.text_encoder)
        };
        current.prompts.entry(position).or_insert_with(prepare).clone()
    }
}

fn finite(numbers: Numbers) -> Result<Numbers, Failure> {
    let mut all = numbers.similarities.iter().chain(&numbers.text_probs);
    if all.all(|value| value.is_finite()) {
        return Ok(numbers);
    }
    Err(Failure::new(
        Stage::Infer,
        FailureCode::NonFinite,
        "the network returned NaN or infinity: check the weights, or use --precision f32",
    ))
}
