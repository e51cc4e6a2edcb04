//! Batches through the network: the one thread that owns the device. In: prepared images. Out:
//! similarities, text probabilities and boxes on the CPU. A batch that breaks is halved and tried
//! again, so that one bad image costs one row; where it was too large for the device's memory, later
//! ones are no larger than what fits.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::batch::{Batch, Inferred, Lost, Prepared, TopDescription};
use super::caught;
use super::features::FeatureMaker;
use super::localise::{Localisation, Localiser, floats};
use super::networks::Networks;
use super::timings::{Part, Timings};
use crate::device::{Device, NetworkBackend, cpu, release_freed, take_fault};
use crate::error::{Failure, FailureCode, ModelError, Stage};
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::filo::descriptions::{DescriptionSource, Descriptions};
use crate::model::filo::position::Position;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, ImageEncoding};
use crate::model::forget_kept;
use crate::model::grounding::caption::CaptionWords;
use crate::source::Category;

/// The networks with all that turns a category's name into prompts.
pub struct Inferencer<B: NetworkBackend> {
    networks: Networks<B>,
    /// `None` without references.
    features: Option<FeatureMaker<B>>,
    tokenizer: ClipTokenizer,
    descriptions: Descriptions,
    device: Device,
    /// Most images that fit the device's memory together, once more did not.
    room: Option<usize>,
    /// Whether a batch has been computed.
    warm: bool,
    current: Option<CurrentCategory<B>>,
    /// Categories whose words were read.
    read: HashSet<Category>,
}

/// What is kept of the category at hand. Batches come category by category, so one is enough, and
/// memory does not grow with the number of categories.
struct CurrentCategory<B: NetworkBackend> {
    category: Category,
    /// Abnormal states, in the order of their prompts.
    states: Vec<Arc<str>>,
    words: CaptionWords,
    /// Made when they are first needed, by the position that they name; `None`: all nine.
    prompts: HashMap<Option<Position>, PreparedPrompts<B>>,
}

/// What backends say when their memory is used up.
const NO_ROOM: [&str; 3] = ["can't allocate buffer", "out of memory", "OutOfMemory"];

/// By the position that they name; `None`: all nine.
type PromptsByPosition<B> = BTreeMap<Option<Position>, PreparedPrompts<B>>;

/// Numbers of one image, straight from the networks.
struct Numbers {
    scored: Scored,
    localisation: Option<Localisation>,
}

/// What is said of an image beside its boxes.
struct Scored {
    similarities: Vec<f32>,
    /// Patch features, where there are references.
    features: Option<Vec<f32>>,
    text_probs: [f32; 2],
    top: TopDescription,
}

/// What a run asks of an [`Inferencer`], whatever backend it computes on.
pub trait Infer: Send {
    /// Reads what is read once per category; to be called before the first batch, so that a
    /// category that cannot be scored stops the run before it starts.
    ///
    /// # Errors
    /// If a prompt or the detector's caption is too long; names the category.
    fn read_words(
        &mut self,
        categories: &mut dyn Iterator<Item = &Category>,
    ) -> Result<(), ModelError>;

    /// Every image of `batch` comes back on one of the two sides.
    fn infer(&mut self, batch: Batch, timings: &Timings) -> (Vec<Inferred>, Vec<Lost>);
}

impl<B: NetworkBackend> Inferencer<B> {
    /// Ready to infer.
    ///
    /// # Errors
    /// If the embedded vocabulary is damaged.
    pub fn new(
        networks: Networks<B>,
        features: Option<FeatureMaker<B>>,
        descriptions: Descriptions,
        device: Device,
    ) -> Result<Self, ModelError> {
        let tokenizer = ClipTokenizer::embedded()?;
        Ok(Inferencer {
            networks,
            features,
            tokenizer,
            descriptions,
            device,
            room: None,
            warm: false,
            current: None,
            read: HashSet::new(),
        })
    }
}

impl<B: NetworkBackend> Infer for Inferencer<B> {
    fn read_words(
        &mut self,
        categories: &mut dyn Iterator<Item = &Category>,
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

    fn infer(&mut self, batch: Batch, timings: &Timings) -> (Vec<Inferred>, Vec<Lost>) {
        // Categories of images in archives show when they come.
        if !self.read.contains(&batch.category)
            && let Err(error) = self.read_words(&mut std::iter::once(&batch.category))
        {
            let lost = batch.pictures.into_iter().map(|picture| {
                let failure = Failure::new(Stage::Infer, FailureCode::Words, error.to_string());
                Lost::new(picture.shown.order(), picture.shown.sample(), failure)
            });
            return (Vec::new(), lost.collect());
        }
        let started = Instant::now();
        let numbers = self.numbers_or_halved(&batch.category, &batch.pictures, timings);
        let seconds = started.elapsed().as_secs_f32();
        if !std::mem::replace(&mut self.warm, true) && self.device != cpu() {
            tracing::info!(
                pictures = batch.pictures.len(),
                "first batch: {seconds:.1} s, in which kernels were loaded, or made where there \
                 were none"
            );
        }
        let ms_infer = seconds * 1e3 / batch.pictures.len() as f32;
        let (mut done, mut lost) = (Vec::new(), Vec::new());
        for (picture, numbers) in batch.pictures.into_iter().zip(numbers) {
            let shown = picture.shown;
            match numbers {
                Ok(Numbers { scored, localisation }) => {
                    let Scored { similarities, features, text_probs, top } = scored;
                    // An image is not compared with itself.
                    let digest = picture.referred.map(|_| shown.digest());
                    done.push(Inferred {
                        shown,
                        features: digest.zip(features),
                        similarities,
                        text_probs,
                        top,
                        localisation,
                        ms_infer,
                    });
                }
                Err(failure) => lost.push(Lost::new(shown.order(), shown.sample(), failure)),
            }
        }
        (done, lost)
    }
}

impl<B: NetworkBackend> Inferencer<B> {
    fn numbers_or_halved(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
        timings: &Timings,
    ) -> Vec<Result<Numbers, Failure>> {
        let room = self.room.unwrap_or(pictures.len()).max(1);
        if pictures.len() > room {
            let parts = pictures.chunks(room);
            return parts
                .flat_map(|part| self.numbers_or_halved(category, part, timings))
                .collect();
        }
        match self.numbers(category, pictures, timings) {
            Ok(numbers) => numbers,
            Err(failure) if pictures.len() == 1 => vec![Err(failure)],
            Err(failure) => {
                let half = pictures.len().div_ceil(2);
                if failure.code == FailureCode::DeviceMemory {
                    tracing::warn!(
                        "{} images at once are too many for the device's memory: from here on \
                         {half}; --batch-size {half} starts with that",
                        pictures.len()
                    );
                    self.room = Some(half);
                    release_freed(&self.device);
                }
                let parts = pictures.chunks(half);
                parts.flat_map(|part| self.numbers_or_halved(category, part, timings)).collect()
            }
        }
    }

    /// The networks, with a panic of the backend turned into a failure.
    fn numbers(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
        timings: &Timings,
    ) -> Result<Vec<Result<Numbers, Failure>>, Failure> {
        // What an earlier batch has left was told with it.
        take_fault();
        let numbers = caught(Stage::Infer, || self.forward(category, pictures, timings));
        let fault = take_fault().or_else(|| numbers.as_ref().err().map(|f| f.message.clone()));
        match fault.inspect(|_| forget_kept()) {
            None => numbers,
            Some(fault) if NO_ROOM.iter().any(|text| fault.contains(text)) => Err(Failure::new(
                Stage::Infer,
                FailureCode::DeviceMemory,
                "the device has too little memory for this image: use another --device, or \
                 weights of a smaller image size",
            )),
            Some(fault) => Err(numbers.err().unwrap_or_else(|| {
                let message = format!("the device broke here ({fault}): please report this image");
                Failure::new(Stage::Infer, FailureCode::Internal, message)
            })),
        }
    }

    fn forward(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
        timings: &Timings,
    ) -> Vec<Result<Numbers, Failure>> {
        self.turn_to(category);
        let found = self.localise(pictures, timings);
        let positions = found.iter().flatten().map(position_of).collect::<BTreeSet<_>>();
        let prompts = positions.into_iter().map(|position| (position, self.prompts_for(position)));
        let prompts = timings.part(Part::Prompts, || prompts.collect::<PromptsByPosition<B>>());
        let scored = self.score_in_parts(pictures, &found, &prompts, timings);
        let numbers = found.into_iter().zip(scored).map(|(localisation, scored)| {
            let localisation = localisation?;
            let scored = scored.expect("every localised image was scored");
            finite(Numbers { scored, localisation })
        });
        numbers.collect()
    }

    /// As [`Inferencer::score`]; on a CPU one part per core, side by side: a network this small has
    /// steps between its products that keep one core busy. Where one image fills all cores, batches
    /// are of one image. Other devices are spoken to by this thread alone.
    fn score_in_parts(
        &self,
        pictures: &[Prepared],
        found: &[Result<Option<Localisation>, Failure>],
        prompts: &PromptsByPosition<B>,
        timings: &Timings,
    ) -> Vec<Option<Scored>> {
        if self.device != cpu() || pictures.len() < 2 {
            return self.score(pictures, found, prompts, timings);
        }
        let at_once = pictures.len().div_ceil(rayon::current_num_threads());
        let parts = pictures.par_chunks(at_once).zip(found.par_chunks(at_once));
        let scored = parts.map(|(pictures, found)| self.score(pictures, found, prompts, timings));
        scored.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn turn_to(&mut self, category: &Category) {
        if self.current.as_ref().is_some_and(|current| current.category == *category) {
            return;
        }
        self.current = Some(CurrentCategory {
            category: category.clone(),
            states: self.descriptions.prompts(category.as_str()).abnormal_states(),
            words: self.descriptions.caption_words(category.as_str()),
            prompts: HashMap::new(),
        });
    }

    fn encode(&self, pictures: &[Prepared]) -> ImageEncoding<B> {
        let size = self.networks.config.vision.image_size;
        let planes = pictures.iter().flat_map(|picture| &picture.planes).copied().collect();
        let images = TensorData::new::<f32, _>(planes, [pictures.len(), 3, size, size]);
        let images = Tensor::<B, 4>::from_data(images, &B::own(&self.device));
        self.networks.scorer.encode_images(images, AdapterUse::Applied)
    }

    /// `Ok(None)` for tiles, and for every image without a detector.
    fn localise(
        &self,
        pictures: &[Prepared],
        timings: &Timings,
    ) -> Vec<Result<Option<Localisation>, Failure>> {
        let (Localiser::GroundingDino(detector), Some(current)) =
            (&self.networks.localiser, &self.current)
        else {
            return pictures.iter().map(|_| Ok(None)).collect();
        };
        let planes = pictures.iter().filter_map(|picture| picture.detector.as_ref());
        let planes = planes.collect::<Vec<_>>();
        let map_side = self.networks.config.vision.image_size;
        let localise = || detector.localise(&current.words, &planes, map_side);
        let mut found = timings.part(Part::Detector, localise).into_iter();
        let of_each = pictures.iter().map(|picture| match &picture.detector {
            Some(_) => found.next().expect("each image has an answer").map(Some),
            None => Ok(None),
        });
        of_each.collect()
    }

    /// Similarities and text probabilities of each image that was localised.
    fn score(
        &self,
        pictures: &[Prepared],
        found: &[Result<Option<Localisation>, Failure>],
        prompts: &PromptsByPosition<B>,
        timings: &Timings,
    ) -> Vec<Option<Scored>> {
        let encoding = timings.part(Part::Encoder, || self.encode(pictures));
        let features = self.features.as_ref().map(|maker| {
            let make = || maker.features(pictures, &encoding.tokens, &self.device);
            timings.part(Part::Features, make)
        });
        let mut features = features.map(Vec::into_iter);
        let mut features = pictures.iter().map(|_| features.as_mut()?.next()).collect::<Vec<_>>();
        // Images whose boxes chose the same position share their prompts.
        let mut by_position = BTreeMap::<Option<Position>, Vec<usize>>::new();
        for (i, localisation) in found.iter().enumerate() {
            if let Ok(localisation) = localisation {
                by_position.entry(position_of(localisation)).or_default().push(i);
            }
        }
        let mut scored = pictures.iter().map(|_| None).collect::<Vec<_>>();
        for (position, members) in by_position {
            let output =
                self.networks.scorer.score(&encoding.select(&members), &prompts[&position]);
            let [_, heads, channels, patches] = output.similarities.dims();
            let [_, prompts] = output.prompt_cosines.dims();
            let similarities = floats(output.similarities);
            let text_probs = floats(output.text_probs);
            let cosines = floats(output.prompt_cosines);
            let similarities = similarities.chunks_exact(heads * channels * patches);
            let (text_probs, _) = text_probs.as_chunks::<2>();
            let numbers = similarities.zip(text_probs).zip(cosines.chunks_exact(prompts));
            for (member, ((similarities, text_probs), cosines)) in members.into_iter().zip(numbers)
            {
                scored[member] = Some(Scored {
                    similarities: similarities.to_vec(),
                    features: features[member].take(),
                    text_probs: *text_probs,
                    top: self.top_description(cosines),
                });
            }
        }
        scored
    }

    /// The state of the largest of `cosines`, `[states · positions]`.
    fn top_description(&self, cosines: &[f32]) -> TopDescription {
        let states = &self.current.as_ref().expect("a batch turns to its category first").states;
        let largest = cosines.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (prompt, similarity) = largest.expect("every category has abnormal states");
        let state = states[prompt * states.len() / cosines.len()].clone();
        TopDescription { state, similarity: *similarity }
    }

    fn prompts_for(&mut self, position: Option<Position>) -> PreparedPrompts<B> {
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

/// The position whose prompts count; `None`: all nine.
fn position_of(localisation: &Option<Localisation>) -> Option<Position> {
    localisation.as_ref().and_then(|found| found.position)
}

fn finite(numbers: Numbers) -> Result<Numbers, Failure> {
    let Scored { similarities, features, text_probs, top } = &numbers.scored;
    let numbers_of_all = similarities.iter().chain(text_probs).chain(features.iter().flatten());
    let finite = numbers_of_all.copied().all(f32::is_finite);
    if finite && top.similarity.is_finite() {
        return Ok(numbers);
    }
    Err(Failure::new(
        Stage::Infer,
        FailureCode::NonFinite,
        "the network returned NaN or infinity: check the weights, or use --precision f32",
    ))
}
