//! One step's loss and gradients, shared by threads: each has a part of the images and a tape of
//! its own, which uses several cores far better than the operators do by themselves. In: a network
//! and loaded images. Out: mean losses and gradients; the same for the same number of workers.

use super::loader::Loaded;
use super::objective::{Extras, StepBatch, StepLoss, stage_1, stage_2};
use super::optimizer::Gradients;
use super::parts::Rates;
use super::prompts::PromptEncoder;
use super::spec::TrainSpec;
use super::start::Setup;
use crate::device::{Device, TrainBackend};
use crate::model::filo::Filo;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Losses {
    /// What is minimised.
    pub loss: f64,
    pub maps: f64,
    pub image: f64,
    pub rank: f64,
    pub words: f64,
}

/// What every worker needs.
pub struct Workers<'a> {
    encoder: &'a PromptEncoder,
    device: &'a Device,
    /// Edge length of the images.
    side: usize,
    count: usize,
    stage: u8,
    extras: Extras,
    rates: Rates,
}

impl<'a> Workers<'a> {
    /// Those of the step that comes after `done` ones of `stage`.
    pub fn of(setup: &'a Setup, spec: &TrainSpec, stage: u8, done: u64) -> Self {
        Workers {
            encoder: &setup.encoder,
            device: &setup.device,
            side: setup.config.vision.image_size,
            count: spec.workers,
            stage,
            extras: Extras::of(spec, &setup.config, stage, done),
            rates: spec.rates(stage),
        }
    }

    /// Means over the images of `batch`.
    pub fn step(&self, network: &Filo<TrainBackend>, batch: Vec<Loaded>) -> (Losses, Gradients) {
        let pictures = batch.len();
        let per_worker = pictures.div_ceil(self.count).max(1);
        let parts = batch.chunks(per_worker).collect::<Vec<_>>();
        // Leaves of its own: tapes that share a leaf wait for each other.
        let own = || match parts.len() {
            1 => network.clone(),
            _ => self.rates.freeze(network.clone()),
        };
        let parts_of = parts.iter().map(|part| (own(), *part)).collect();
        // All forward before any backward: at its end a backward pass drops, of every tape, what
        // nothing refers to, and of a tape that grows at that moment that may be what it needs.
        let forward = side_by_side(parts_of, |(network, part)| self.forward(network, part));
        let results = side_by_side(forward, |(network, step)| {
            let gradients = Gradients::of(&step.loss, &network);
            let StepLoss { loss, maps, image, rank, words, .. } = step;
            let loss = f64::from(loss.inner().into_scalar());
            (Losses { loss, maps, image, rank, words }, gradients)
        });
        let (mut losses, mut gradients) = (Losses::default(), Gradients::default());
        for ((loss, of_part), part) in results.into_iter().zip(parts) {
            let share = part.len() as f64 / pictures as f64;
            losses.loss += share * loss.loss;
            losses.maps += share * loss.maps;
            losses.image += share * loss.image;
            losses.rank += share * loss.rank;
            losses.words += share * loss.words;
            gradients.add(of_part, share as f32);
        }
        (losses, gradients)
    }

    fn forward(
        &self,
        network: Filo<TrainBackend>,
        part: &[Loaded],
    ) -> (Filo<TrainBackend>, StepLoss) {
        let batch = StepBatch::of(part, self.side, self.encoder, self.device);
        let step = match self.stage {
            1 => stage_1(&network, &batch, self.extras),
            _ => stage_2(&network, &batch),
        };
        (network, step)
    }
}

/// What `work` makes of each item, in their order; several on a thread each.
fn side_by_side<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let started = items.into_iter().map(|item| scope.spawn(move || work(item)));
        let started = started.collect::<Vec<_>>();
        let ended = started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect()
    })
}
