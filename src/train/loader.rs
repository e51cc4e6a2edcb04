//! Batches, made ahead by threads of their own. In: data and the number of the first image. Out:
//! batches in the order of the seed, however many threads made them.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use fastrand::Rng;
use rayon::prelude::*;

use super::compose::PromptChoice;
use super::data::{Draw, TrainingData, TrainingPicture, mixed};
use super::prompts::PicturePrompts;
use super::spec::TrainSpec;
use crate::error::TrainError;
use crate::model::config::FiloConfig;

/// Batches that wait for the network.
const AHEAD: usize = 2;

/// An image and the prompts of this step.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub picture: TrainingPicture,
    pub prompts: PicturePrompts,
}

/// Which batches are made.
#[derive(Debug, Clone)]
pub struct Plan {
    pub draw: Draw,
    pub batch_size: usize,
    pub choice: PromptChoice,
    /// Images that were seen already.
    pub first: u64,
    pub steps: u64,
}

impl Plan {
    /// The steps of a stage of `spec` that come after those that are done, of `steps` in all.
    pub fn of(
        spec: &TrainSpec,
        data: &dyn TrainingData,
        config: &FiloConfig,
        stage: u8,
        done: u64,
        steps: u64,
    ) -> Self {
        Plan {
            draw: Draw::new(mixed(spec.seed, u64::from(stage)), data.pictures()),
            batch_size: spec.batch_size,
            choice: PromptChoice {
                positions: spec.positions,
                loose_positions: spec.loose_positions,
                details_per_step: spec.details_per_step,
                normal_per_step: spec.normal_per_step,
                generic_per_step: spec.generic_per_step,
                generic_only: spec.generic_only,
                n_ctx: config.n_ctx,
            },
            first: done * spec.batch_size as u64,
            steps: steps.saturating_sub(done),
        }
    }
}

/// Batches of a stage, as an iterator.
pub struct Loader {
    batches: Receiver<Result<Vec<Loaded>, TrainError>>,
    /// Ends when the receiver is gone.
    _thread: JoinHandle<()>,
}

impl Loader {
    /// Starts making batches.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn start(data: Arc<dyn TrainingData>, plan: Plan) -> Result<Self, TrainError> {
        let (send, batches) = bounded(AHEAD);
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|n| format!("images {n}"))
            .build()
            .map_err(|error| TrainError::Threads { why: std::io::Error::other(error) })?;
        let work = move || {
            let Plan { mut draw, batch_size, choice, first, steps } = plan;
            for step in 0..steps {
                let turns = (0..batch_size as u64)
                    .map(|n| draw.turn(first + step * batch_size as u64 + n))
                    .collect::<Vec<_>>();
                let load = |(index, rng)| load(data.as_ref(), &choice, index, rng);
                let batch = pool.install(|| turns.into_par_iter().map(load).collect());
                if send.send(batch).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".to_string());
        let thread = thread.spawn(work).map_err(|why| TrainError::Threads { why })?;
        Ok(Loader { batches, _thread: thread })
    }
}

impl Iterator for Loader {
    type Item = Result<Vec<Loaded>, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.recv().ok()
    }
}

/// The image at `index`, or the next one that can be read.
fn load(
    data: &dyn TrainingData,
    choice: &PromptChoice,
    index: u64,
    mut rng: Rng,
) -> Result<Loaded, TrainError> {
    let mut why = String::new();
    for offset in 0..data.pictures() {
        match data.picture((index + offset) % data.pictures(), &mut rng) {
            Ok(picture) => {
                let states = data.prompts(&picture.category);
                let prompts = choice.prompts(&picture, &states, &mut rng);
                return Ok(Loaded { picture, prompts });
            }
            Err(failure) => {
                tracing::warn!("an image is left out: {}", failure.message);
                why = failure.message;
            }
        }
    }
    Err(TrainError::Unreadable { uri: format!("image {index}"), why })
}
