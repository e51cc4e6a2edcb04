//! Batches through the network: the one thread that owns the device. In: prepared pictures. Out:
//! similarities, text probabilities and boxes on the CPU. A batch that breaks is tried picture by
//! picture, so that one bad picture costs one row.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};

use super::batch::{Batch, Inferred, Lost, Prepared};
use super::localise::{Localisation, Localiser};
use crate::device::{Backend, Device};
use crate::error::{Failure, FailureCode, ModelError, Stage};
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::config::FiloConfig;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::filo::prompt_tree::PromptTree;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, FiloScorer, ImageEncoding};
use crate::source::Category;

/// The networks with all that turns a category's name into prompts.
pub struct Inferencer {
    pub config: FiloConfig,
    pub scorer: FiloScorer<Backend>,
    pub localiser: Localiser,
    pub tokenizer: ClipTokenizer,
    pub descriptions: Descriptions,
    pub device: Device,
    /// Made when they are first needed. The second part of the key is the position that they
    /// name; `None`: all nine.
    pub prompts: HashMap<(Category, Option<Position>), PreparedPrompts<Backend>>,
}

/// Numbers of one picture, straight from the networks.
struct Numbers {
    similarities: Vec<f32>,
    text_probs: [f32; 2],
    localisation: Option<Localisation>,
}

impl Inferencer {
    /// Reads what is read once per category; to be called before the first batch, so that a
    /// category that cannot be scored stops the run before it starts.
    ///
    /// # Errors
    /// If the detector cannot read the caption; names the category.
    pub fn read_captions<'a>(
        &mut self,
        categories: impl IntoIterator<Item = &'a Category>,
    ) -> Result<(), ModelError> {
        let Localiser::GroundingDino(detector) = &mut self.localiser else { return Ok(()) };
        categories
            .into_iter()
            .try_for_each(|category| detector.read_caption(category, &self.descriptions))
    }

    /// Every picture of `batch` comes back on one of the two sides.
    pub fn infer(&mut self, batch: Batch) -> (Vec<Inferred>, Vec<Lost>) {
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
        catch_unwind(AssertUnwindSafe(|| self.forward(category, pictures))).map_err(|panic| {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Failure::new(
                Stage::Infer,
                FailureCode::Internal,
                format!("the network broke ({what}): please report this picture"),
            )
        })
    }

    fn forward(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Vec<Result<Numbers, Failure>> {
        let encoding = self.encode(pictures);
        let mut results = self.localise(category, pictures);
        // Pictures whose boxes chose the same position share their prompts.
        let mut by_position = BTreeMap::<Option<Position>, Vec<usize>>::new();
        for (i, localisation) in results.iter().enumerate() {
            if let Ok(found) = localisation {
                let position = found.as_ref().and_then(|found| found.position);
                by_position.entry(position).or_default().push(i);
            }
        }
        let mut scored = HashMap::new();
        for (position, members) in by_position {
            let numbers = self.score(category, position, &encoding.select(&members));
            scored.extend(members.into_iter().zip(numbers));
        }
        let with_numbers = results.drain(..).enumerate().map(|(i, localisation)| {
            let localisation = localisation?;
            let (similarities, text_probs) = scored.remove(&i).unwrap_or_default();
            finite(Numbers { similarities, text_probs, localisation })
        });
        with_numbers.collect()
    }

    fn encode(&self, pictures: &[Prepared]) -> ImageEncoding<Backend> {
        let size = self.config.vision.image_size;
        let planes = pictures.iter().flat_map(|picture| &picture.planes).copied().collect();
        let images = TensorData::new::<f32, _>(planes, [pictures.len(), 3, size, size]);
        let images = Tensor::<Backend, 4>::from_data(images, &self.device);
        self.scorer.encode_images(images, AdapterUse::Applied)
    }

    /// `Ok(None)` for every picture without a detector.
    fn localise(
        &self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Vec<Result<Option<Localisation>, Failure>> {
        let planes = pictures.iter().filter_map(|picture| picture.detector.as_ref());
        match &self.localiser {
            Localiser::None => pictures.iter().map(|_| Ok(None)).collect(),
            Localiser::GroundingDino(detector) => detector
                .localise(category, &planes.collect::<Vec<_>>())
                .into_iter()
                .map(|found| found.map(Some))
                .collect(),
        }
    }

    /// Similarities and text probabilities of each picture in `encoding`.
    fn score(
        &mut self,
        category: &Category,
        position: Option<Position>,
        encoding: &ImageEncoding<Backend>,
    ) -> Vec<(Vec<f32>, [f32; 2])> {
        let prompts = self.prompts_of(category, position);
        let output = self.scorer.score(encoding, &prompts);
        let [_, heads, channels, patches] = output.similarities.dims();
        let similarities = to_vec(output.similarities.into_data());
        let text_probs = to_vec(output.text_probs.into_data());
        let (text_probs, _) = text_probs.as_chunks::<2>();
        similarities
            .chunks_exact(heads * channels * patches)
            .map(<[f32]>::to_vec)
            .zip(text_probs.iter().copied())
            .collect()
    }

    fn prompts_of(
        &mut self,
        category: &Category,
        position: Option<Position>,
    ) -> PreparedPrompts<Backend> {
        let key = (category.clone(), position);
        if let Some(prompts) = self.prompts.get(&key) {
            return prompts.clone();
        }
        let texts = self.descriptions.prompts(category.as_str());
        let n_ctx = self.config.n_ctx;
        let positions = position.as_ref().map_or(&Position::ALL[..], std::slice::from_ref);
        let encode = |texts: Vec<String>| {
            texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Vec<_>>()
        };
        let tree = PromptTree::new(
            n_ctx,
            &encode(texts.normal_texts(n_ctx)),
            &encode(texts.abnormal_texts(n_ctx, positions)),
        );
        let prompts = PreparedPrompts::new(&tree, START_ID, &self.scorer.text_encoder);
        self.prompts.insert(key, prompts.clone());
        prompts
    }
}

fn to_vec(data: TensorData) -> Vec<f32> {
    data.convert::<f32>().into_vec().expect("the data was just converted to f32")
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
