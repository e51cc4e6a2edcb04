//! The loop. In: a network, data, a job. Out: a folder with the weights that validate best, their
//! configuration, a log, and the state to resume from. Where it stands is a number of steps; all
//! that is random follows from it and the seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::averaging::Averaging;
use super::checkpoint::{Standing, State, state_file};
use super::compose::PromptChoice;
use super::data::{Draw, TrainingData, mixed};
use super::loader::{Loader, Plan};
use super::log::{LOG_FILE, LogRow, read_log, write_log};
use super::network::{NamedValues, named_values, with_values};
use super::objective::Extras;
use super::optimizer::AdamW;
use super::spec::TrainSpec;
use super::start::Setup;
use super::validate::{Validation, Validator};
use super::workers::{Losses, Workers};
use crate::error::{Error, TrainError};
use crate::model::filo::AdapterUse;
use crate::weights::save::{save_filo, write_whole};

const WEIGHTS_FILE: &str = "weights.safetensors";
const CONFIG_FILE: &str = "config.json";

/// Stages of the recipe.
const STAGES: u8 = 2;

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
    /// It was told to stop; the state is written.
    Stopped,
}

/// A training, at some step.
pub struct Training {
    setup: Setup,
    spec: TrainSpec,
    data: Arc<dyn TrainingData>,
    validation: Option<Arc<dyn TrainingData>>,
    out: PathBuf,
    standing: Standing,
    optimizer: AdamW,
    average: Averaging,
    rows: Vec<LogRow>,
    last: Option<Validation>,
}

/// Sums since the last row of the log.
#[derive(Default)]
struct SinceRow {
    losses: Losses,
    steps: u64,
    longest: f64,
    seconds: f64,
}

impl Training {
    /// A new training in the folder `out`.
    ///
    /// # Errors
    /// If `out` holds one already, or cannot be written.
    pub fn begin(
        setup: Setup,
        spec: TrainSpec,
        data: Arc<dyn TrainingData>,
        validation: Option<Arc<dyn TrainingData>>,
        out: &Path,
    ) -> Result<Self, Error> {
        if state_file(out).exists() || out.join(WEIGHTS_FILE).exists() {
            return Err(TrainError::Exists { path: out.into() }.into());
        }
        let folder = out.join("state");
        std::fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, &error))?;
        let standing = Standing {
            made_of: made_of(&setup, &spec, data.as_ref()),
            stage: 1,
            step: 0,
            best: None,
            stale: 0,
            averaged: 0,
        };
        let training = Training {
            optimizer: optimizer(&spec),
            average: Averaging::new(spec.average),
            out: out.to_path_buf(),
            rows: Vec::new(),
            last: None,
            setup,
            spec,
            data,
            validation,
            standing,
        };
        let config = format!("{:#}\n", serde_json::json!(training.setup.config));
        let path = out.join(CONFIG_FILE);
        write_whole(&path, config.as_bytes()).map_err(|error| unwritten(&path, &error))?;
        training.write_state()?;
        Ok(training)
    }

    /// The training in `out`, where its last state left it.
    ///
    /// # Errors
    /// If there is none, it was another, or its state is damaged.
    pub fn resume(
        setup: Setup,
        spec: TrainSpec,
        data: Arc<dyn TrainingData>,
        validation: Option<Arc<dyn TrainingData>>,
        out: &Path,
    ) -> Result<Self, Error> {
        let path = state_file(out);
        if !path.exists() {
            return Err(TrainError::NothingToResume { path: out.into() }.into());
        }
        let State { standing, weights, moments, average } = State::read(&path)?;
        let now = made_of(&setup, &spec, data.as_ref());
        let differs =
            now.iter().filter(|(what, digest)| standing.made_of.get(*what) != Some(digest));
        let differs = differs.map(|(what, _)| what.as_str()).collect::<Vec<_>>();
        if !differs.is_empty() {
            let what = differs.join(" and ");
            return Err(TrainError::OtherTraining { path: out.into(), what }.into());
        }
        let log = out.join(LOG_FILE);
        let mut rows = if log.exists() { read_log(&log)? } else { Vec::new() };
        let reached = (i64::from(standing.stage), standing.step as i64);
        rows.retain(|row| (row.stage, row.step) <= reached);
        let mut setup = setup;
        setup.network = with_values(setup.network, &weights);
        Ok(Training {
            optimizer: AdamW { moments, ..optimizer(&spec) },
            average: Averaging::resumed(spec.average, average, standing.averaged),
            out: out.to_path_buf(),
            last: None,
            setup,
            spec,
            data,
            validation,
            standing,
            rows,
        })
    }

    /// Trains to the end, or until `stop` is set. `report` hears of every step.
    ///
    /// # Errors
    /// If a loss is not finite (the last state stays as it is), no picture can be read, or a file
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
        let loader = Loader::start(self.data.clone(), self.plan(steps))
            .map_err(|error| unwritten(&self.out, &error))?;
        let mut since = SinceRow::default();
        for batch in loader {
            if stop.load(Ordering::Relaxed) {
                return Ok(Stage::Stopped);
            }
            let started = Instant::now();
            let workers = Workers {
                encoder: &self.setup.encoder,
                device: &self.setup.device,
                side: self.setup.config.vision.image_size,
                count: self.spec.workers,
                stage,
                extras: Extras { image: self.spec.image_loss, words: self.spec.word_loss },
                rates,
            };
            let (losses, mut gradients) = workers.step(&self.setup.network, batch?);
            let norm = gradients.norm();
            if !losses.loss.is_finite() || !norm.is_finite() {
                let (step, loss) = (self.standing.step + 1, losses.loss);
                return Err(TrainError::NotFinite { stage, step, loss }.into());
            }
            if self.spec.clip_norm > 0.0 {
                gradients.clip(self.spec.clip_norm);
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

    fn plan(&self, steps: u64) -> Plan {
        let Standing { stage, step, .. } = self.standing;
        let seed = mixed(self.spec.seed, u64::from(stage));
        Plan {
            draw: Draw::new(seed, self.data.pictures()),
            batch_size: self.spec.batch_size,
            choice: PromptChoice {
                positions: self.spec.positions,
                details_per_step: self.spec.details_per_step,
                n_ctx: self.setup.config.n_ctx,
            },
            first: step * self.spec.batch_size as u64,
            steps: steps.saturating_sub(step),
        }
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

    /// Parameters that learn in `stage`, as they are.
    fn learned(&self, stage: u8) -> NamedValues {
        let rates = self.spec.rates(stage);
        let mut values = named_values(&self.setup.network);
        values.retain(|path, _| rates.of(path).is_some());
        values
    }

    /// The weights that are validated and written: the mean, where there is one.
    fn shown(&self) -> NamedValues {
        let mut values = named_values(&self.setup.network);
        values.extend(self.average.values.clone());
        values
    }

    fn write_weights(&self) -> Result<(), Error> {
        let path = self.out.join(WEIGHTS_FILE);
        let network = self.setup.whole(&self.shown());
        save_filo(&network, &path).map_err(|error| unwritten(&path, &error))?;
        // In the shape in which it is trained, for the end of the stage.
        let best = State {
            standing: self.standing.clone(),
            weights: self.stored(self.shown()),
            moments: BTreeMap::new(),
            average: NamedValues::new(),
        };
        Ok(best.write(&self.best_file())?)
    }

    fn best_file(&self) -> PathBuf {
        state_file(&self.out).with_file_name("best.safetensors")
    }

    fn best_weights(&self) -> Result<NamedValues, Error> {
        Ok(State::read(&self.best_file())?.weights)
    }

    /// Of `values` those that any stage changes: all others come from the start again.
    fn stored(&self, mut values: NamedValues) -> NamedValues {
        let stages = [1, STAGES].map(|stage| self.spec.rates(stage));
        values.retain(|path, _| stages.iter().any(|rates| rates.of(path).is_some()));
        values
    }

    fn write_state(&self) -> Result<(), Error> {
        let standing = Standing { averaged: self.average.steps, ..self.standing.clone() };
        write_log(&self.out.join(LOG_FILE), &self.rows)?;
        let state = State {
            standing,
            weights: self.stored(named_values(&self.setup.network)),
            moments: self.optimizer.moments.clone(),
            average: self.average.values.clone(),
        };
        Ok(state.write(&state_file(&self.out))?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Done,
    Stopped,
}

impl SinceRow {
    fn add(&mut self, losses: &Losses, norm: f64, seconds: f64) {
        self.steps += 1;
        self.losses.loss += losses.loss;
        self.losses.maps += losses.maps;
        self.losses.image += losses.image;
        self.losses.words += losses.words;
        self.longest = self.longest.max(norm);
        self.seconds += seconds;
    }

    fn row(&self, row: LogRow, factor: f64) -> LogRow {
        let mean = |sum: f64| Some(sum / self.steps.max(1) as f64);
        LogRow {
            loss: mean(self.losses.loss),
            maps_loss: mean(self.losses.maps),
            image_loss: mean(self.losses.image),
            word_loss: mean(self.losses.words),
            gradient_norm: Some(self.longest),
            rate_factor: Some(factor),
            ms_per_step: mean(1e3 * self.seconds),
            ..row
        }
    }
}

fn optimizer(spec: &TrainSpec) -> AdamW {
    let published = AdamW::published();
    let betas = [spec.beta_1, published.betas[1]];
    AdamW { betas, weight_decay: spec.weight_decay, ..published }
}

/// What decides the numbers of a training.
fn made_of(setup: &Setup, spec: &TrainSpec, data: &dyn TrainingData) -> BTreeMap<String, String> {
    let digest = |text: String| blake3::hash(text.as_bytes()).to_hex().to_string();
    let prompts = data.categories().into_iter().map(|category| {
        let states = data.prompts(&category);
        format!("{category} {:?} {:?}", states.normal, states.abnormal)
    });
    let data = format!("{} {}", data.pictures(), prompts.collect::<String>());
    BTreeMap::from([
        ("job".to_string(), digest(serde_json::json!(spec).to_string())),
        ("network".to_string(), setup.digest.clone()),
        ("data".to_string(), digest(data)),
    ])
}

fn unwritten(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::File { path: path.into(), action: "written", why: error.to_string() }
}
