//! What the parts of a step of stage 1 cost. In: a network, data, a job. Out: seconds.

use std::sync::Arc;
use std::time::Instant;

use super::data::TrainingData;
use super::keep::optimizer;
use super::loader::{Loader, Plan};
use super::spec::TrainSpec;
use super::start::Setup;
use super::workers::Workers;
use crate::error::TrainError;

/// Seconds of one step's parts; each is the fastest of its runs, with nothing beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSeconds {
    /// Images of a step.
    pub pictures: usize,
    /// Drawing them and choosing their prompts, on all cores.
    pub pictures_drawn: f64,
    /// Forward, losses and backward, in the job's workers.
    pub gradients: f64,
    /// The optimiser.
    pub update: f64,
}

/// The one stage that is timed.
const STAGE: u8 = 1;

impl Setup {
    /// Times `repeat` steps of `spec` over `data`, after one that is not counted.
    ///
    /// # Errors
    /// If no image can be read, or the system gives no more threads.
    pub fn time_step(
        mut self,
        data: Arc<dyn TrainingData>,
        spec: &TrainSpec,
        repeat: u32,
    ) -> Result<StepSeconds, TrainError> {
        let rates = spec.rates(STAGE);
        self.network = rates.freeze(self.network);
        let mut optimizer = optimizer(spec);
        let mut fastest = StepSeconds {
            pictures: spec.batch_size,
            pictures_drawn: f64::MAX,
            gradients: f64::MAX,
            update: f64::MAX,
        };
        for step in 0..=u64::from(repeat) {
            let plan = Plan::of(spec, data.as_ref(), &self.config, STAGE, step, step + 1);
            let started = Instant::now();
            let mut loader = Loader::start(data.clone(), plan)?;
            let batch = loader.next().expect("a plan of one step gives one batch")?;
            let pictures_drawn = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let workers = Workers::of(&self, spec, STAGE, step);
            let (_, mut gradients) = workers.step(&self.network, batch);
            gradients.clip(spec.norm_limit());
            let of_gradients = started.elapsed().as_secs_f64();
            let started = Instant::now();
            self.network = optimizer.step(self.network, &gradients, &rates, 1.0);
            let update = started.elapsed().as_secs_f64();
            if step > 0 {
                fastest.pictures_drawn = fastest.pictures_drawn.min(pictures_drawn);
                fastest.gradients = fastest.gradients.min(of_gradients);
                fastest.update = fastest.update.min(update);
            }
        }
        Ok(fastest)
    }
}
