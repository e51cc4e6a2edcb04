//! Batches through the network: the one thread that owns the device. In: prepared pictures. Out:
//! similarities and text probabilities on the CPU. A batch that breaks is tried picture by
//! picture, so that one bad picture costs one row.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};

use super::batch::{Batch, Inferred, Lost, Prepared};
use crate::device::{Backend, Device};
use crate::error::{Failure, FailureCode, Stage};
use crate::model::clip::tokenizer::{ClipTokenizer, START_ID};
use crate::model::config::FiloConfig;
use crate::model::filo::descriptions::Descriptions;
use crate::model::filo::position::Position;
use crate::model::filo::prompt_tree::PromptTree;
use crate::model::filo::prompts::PreparedPrompts;
use crate::model::filo::{AdapterUse, FiloScorer};
use crate::source::Category;

/// The network with all that turns a category's name into prompts.
pub struct Inferencer {
    pub config: FiloConfig,
    pub scorer: FiloScorer<Backend>,
    pub tokenizer: ClipTokenizer,
    pub descriptions: Descriptions,
    pub device: Device,
    prompts: HashMap<Category, PreparedPrompts<Backend>>,
}

/// Numbers of one picture, straight from the network.
struct Numbers {
    similarities: Vec<f32>,
    text_probs: [f32; 2],
}

impl Inferencer {
    /// Ready to infer; prompts are prepared when their category first comes up.
    pub fn new(
        config: FiloConfig,
        scorer: FiloScorer<Backend>,
        tokenizer: ClipTokenizer,
        descriptions: Descriptions,
        device: Device,
    ) -> Self {
        Inferencer { config, scorer, tokenizer, descriptions, device, prompts: HashMap::new() }
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
                Ok(Numbers { similarities, text_probs }) => {
                    done.push(Inferred { subject, similarities, text_probs, ms_infer });
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
            Ok(numbers) => numbers.into_iter().map(finite).collect(),
            Err(failure) if pictures.len() == 1 => vec![Err(failure)],
            Err(_) => {
                pictures.chunks(1).flat_map(|one| self.numbers_or_singly(category, one)).collect()
            }
        }
    }

    /// The network, with a panic of the backend turned into a failure.
    fn numbers(
        &mut self,
        category: &Category,
        pictures: &[Prepared],
    ) -> Result<Vec<Numbers>, Failure> {
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

    fn forward(&mut self, category: &Category, pictures: &[Prepared]) -> Vec<Numbers> {
        let prompts = self.prompts_of(category);
        let size = self.config.vision.image_size;
        let planes = pictures.iter().flat_map(|picture| &picture.planes).copied().collect();
        let images = TensorData::new::<f32, _>(planes, [pictures.len(), 3, size, size]);
        let images = Tensor::<Backend, 4>::from_data(images, &self.device);
        let encoding = self.scorer.encode_images(images, AdapterUse::Applied);
        let output = self.scorer.score(&encoding, &prompts);
        let [_, heads, channels, patches] = output.similarities.dims();
        let similarities = to_vec(output.similarities.into_data());
        let text_probs = to_vec(output.text_probs.into_data());
        similarities
            .chunks_exact(heads * channels * patches)
            .zip(text_probs.chunks_exact(2))
            .map(|(similarities, probs)| Numbers {
                similarities: similarities.to_vec(),
                text_probs: [probs[0], probs[1]],
            })
            .collect()
    }

    fn prompts_of(&mut self, category: &Category) -> PreparedPrompts<Backend> {
        if let Some(prompts) = self.prompts.get(category) {
            return prompts.clone();
        }
        let texts = self.descriptions.prompts(category.as_str());
        let n_ctx = self.config.n_ctx;
        let encode = |texts: Vec<String>| {
            texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Vec<_>>()
        };
        let tree = PromptTree::new(
            n_ctx,
            &encode(texts.normal_texts(n_ctx)),
            &encode(texts.abnormal_texts(n_ctx, &Position::ALL)),
        );
        let prompts = PreparedPrompts::new(&tree, START_ID, &self.scorer.text_encoder);
        self.prompts.insert(category.clone(), prompts.clone());
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
