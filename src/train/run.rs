//! The loop: steps, validations, checkpoints, stage by stage. In: a network, data, a job. Out:
//! reports while it runs, and how it ended. Where it stands is a number of steps; all that is random
//! follows from it and the seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::averaging::Averaging;
use super::checkpoint::Standing;
use super::data::TrainingData;
use super::keep::optimizer;
use super::loader::{Loader, Plan};
use super::log::{LogRow, SinceRow};
use super::network::with_values;
use super::optimizer::AdamW;
use super::spec::TrainSpec;
use super::start::Setup;
use super::validate::{Validation, Validator, Wording};
use super::workers::Workers;
use crate::device::take_fault;
use crate::error::{Error, TrainError};
use crate::model::filo::AdapterUse;

/// Stages of the recipe.
pub(super) const STAGES: u8 = 2;

/// What the loop says after each step, and after each validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    pub stage: u8,
    /// Steps of the stage that are done, and how many there are.
    pub step: u64,
    pub steps: u64,
    pub loss: f64,
    /// Of the last validation of the stage.
    pub validation: Option<Validation>,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// Both stages are done; the last validation, if there is validation data.
    Done(Option<Validation>),
    /// It was told to stop; the state is written, and the weights as they are.
    Stopped,
}

/// A training, at some step.
pub struct Training {
    pub(super) setup: Setup,
    pub(super) spec: TrainSpec,
    pub(super) data: Arc<dyn TrainingData>,
    pub(super) validation: Option<Arc<dyn TrainingData>>,
    pub(super) out: PathBuf,
    pub(super) standing: Standing,
    pub(super) optimizer: AdamW,
    pub(super) average: Averaging,
    pub(super) rows: Vec<LogRow>,
    pub(super) last: Option<Validation>,
}

impl Training {
    /// Trains to the end, or until `stop` is set. `report` hears of every step.
    ///
    /// # Errors
    /// If a loss is not finite (the last state stays as it is), no image can be read, or a file
    /// cannot be written.
    pub fn run(
        mut self,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Report),
    ) -> Result<Ending, Error> {
        while self.standing.stage <= STAGES {
            let stage = self.standing.stage;
            let steps = self.spec.stages[usize::from(stage) - 1]
                .steps(self.data.pictures(), self.spec.batch_size);
            if self.stage(steps, stop, report)? == Stage::Stopped {
                self.write_state()?;
                self.write_last()?;
                return Ok(Ending::Stopped);
            }
            if steps > 0 {
                self.end_stage(steps)?;
            }
            let made_of = std::mem::take(&mut self.standing.made_of);
            self.standing =
                Standing { made_of, stage: stage + 1, step: 0, best: None, stale: 0, averaged: 0 };
            self.optimizer = optimizer(&self.spec);
            self.average = Averaging::new(self.spec.average);
            self.write_state()?;
        }
        Ok(Ending::Done(self.last))
    }

    fn stage(
        &mut self,
        steps: u64,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Report),
    ) -> Result<Stage, Error> {
        let stage = self.standing.stage;
        let rates = self.spec.rates(stage);
        self.setup.network = rates.freeze(self.setup.network.clone());
        let (data, config, done) = (self.data.as_ref(), &self.setup.config, self.standing.step);
        let plan = Plan::of(&self.spec, data, config, stage, done, steps);
        let loader = Loader::start(self.data.clone(), plan)?;
        let mut since = SinceRow::default();
        for batch in loader {
            if stop.load(Ordering::Relaxed) {
                return Ok(Stage::Stopped);
            }
            let started = Instant::now();
            let workers = Workers::of(&self.setup, &self.spec, stage, self.standing.step);
            let (losses, mut gradients) = workers.step(&self.setup.network, batch?);
            let norm = gradients.clip(self.spec.norm_limit());
            if let Some(what) = take_fault() {
                return Err(TrainError::Device { stage, step: self.standing.step + 1, what }.into());
            }
            if !losses.loss.is_finite() || !norm.is_finite() {
                let (step, loss) = (self.standing.step + 1, losses.loss);
                return Err(TrainError::NotFinite { stage, step, loss }.into());
            }
            let factor = self.spec.factor(stage, self.standing.step, steps);
            let network = self.setup.network.clone();
            self.setup.network = self.optimizer.step(network, &gradients, &rates, factor);
            if self.spec.average > 0.0 {
                let learned = self.learned(stage);
                self.average.add(&learned);
            }
            self.standing.step += 1;
            since.add(&losses, norm, started.elapsed().as_secs_f64());
            self.after_step(steps, factor, &mut since)?;
            report(&Report {
                stage,
                step: self.standing.step,
                steps,
                loss: losses.loss,
                validation: self.last,
            });
            if self.spec.patience > 0 && self.standing.stale >= self.spec.patience {
                tracing::info!(stage, step = self.standing.step, "no better for long: stage ends");
                break;
            }
        }
        Ok(Stage::Done)
    }

    /// Log, validation and checkpoint, each in its turn.
    fn after_step(&mut self, steps: u64, factor: f64, since: &mut SinceRow) -> Result<(), Error> {
        let step = self.standing.step;
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        if due(self.spec.log_every) || step == steps {
            let row = self.row();
            self.rows.push(since.row(row, factor));
            *since = SinceRow::default();
        }
        // At the last step the end of the stage validates.
        if due(self.spec.validate_every) && step < steps {
            self.validate()?;
        }
        if due(self.spec.checkpoint_every) {
            if self.validation.is_none() {
                self.write_weights()?;
            }
            self.write_state()?;
        }
        Ok(())
    }

    fn row(&self) -> LogRow {
        let Standing { stage, step, .. } = self.standing;
        let pictures = (step * self.spec.batch_size as u64) as i64;
        LogRow { stage: i64::from(stage), step: step as i64, pictures, ..LogRow::default() }
    }

    /// Validates, and goes on from the best weights of the stage.
    fn end_stage(&mut self, steps: u64) -> Result<(), Error> {
        self.validate()?;
        if self.validation.is_none() {
            self.write_weights()?;
        }
        match self.standing.stale {
            0 => self.remove_last()?,
            _ => self.write_last()?,
        }
        let best = self.best_weights()?;
        self.setup.network = with_values(self.setup.network.clone(), &best);
        let Standing { stage, step, .. } = self.standing;
        tracing::info!(stage, step, steps, "stage done");
        Ok(())
    }

    /// Validates if there is data for it, and writes the weights if they are the best so far.
    fn validate(&mut self) -> Result<(), Error> {
        let Some(data) = self.validation.clone() else { return Ok(()) };
        if self.rows.last().is_some_and(|last| last.is_validation_at(&self.row())) {
            return Ok(());
        }
        let adapter = match self.standing.stage {
            1 => AdapterUse::Skipped,
            _ => AdapterUse::Applied,
        };
        let validator = Validator {
            config: &self.setup.config,
            encoder: &self.setup.encoder,
            device: &self.setup.device,
            adapter,
            wording: Wording::Right,
        };
        let scorer = self.setup.scorer(&self.shown()).into_scorer();
        let result = validator.validate(&scorer, data.as_ref())?;
        let row = self.row();
        self.rows.push(LogRow {
            image_auroc: result.image_auroc,
            pixel_auroc: result.pixel_auroc,
            ..row
        });
        let printed = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        tracing::info!(
            stage = self.standing.stage,
            step = self.standing.step,
            image_auroc = printed(result.image_auroc),
            pixel_auroc = printed(result.pixel_auroc),
            "validated"
        );
        self.last = Some(result);
        let better = match (result.merit(), self.standing.best) {
            (Some(now), Some(best)) => now > best,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        if better {
            self.standing.best = result.merit();
            self.standing.stale = 0;
            self.write_weights()?;
        } else {
            self.standing.stale += 1;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Done,
    Stopped,
}
