//! How a training goes: the keys of its job file. A file goes in as a [`RawTrainSpec`], is checked
//! once and comes out as a [`TrainSpec`]. Without a file it is the published recipe.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::choices::{PositionChoice, Schedule, Unfreeze};
use super::parts::Rates;
use crate::error::{JobError, TrainError};
use crate::job::file::from_file;

/// A training job file. Every key may be left out; the defaults are the published recipe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TrainSpec")]
pub struct RawTrainSpec {
    /// Decides the order of images, what is drawn at random, and random weights [default: 0].
    pub seed: Option<u64>,
    /// Images of one step [default: 1].
    pub batch_size: Option<usize>,
    /// Threads that share the images of a step, each with its own copy of the activations
    /// [default: 1].
    pub workers: Option<usize>,
    /// Passes over the data in stage 1 [default: 15].
    pub stage_1_epochs: Option<u64>,
    /// Passes over the data in stage 2 [default: 5].
    pub stage_2_epochs: Option<u64>,
    /// Steps of stage 1, in place of epochs.
    pub stage_1_steps: Option<u64>,
    /// Steps of stage 2, in place of epochs.
    pub stage_2_steps: Option<u64>,
    /// Learning rate of linear heads and MMCI [default: 1e-4].
    pub rate_heads: Option<f64>,
    /// Learning rate of both prompt learners [default: 1e-3].
    pub rate_prompts: Option<f64>,
    /// Learning rate of the adapter, in stage 2 [default: 1e-5].
    pub rate_adapter: Option<f64>,
    /// Learning rate of both towers, with --unfreeze backbone [default: 1e-3].
    pub rate_backbone: Option<f64>,
    /// Learning rate of the text tower, with --unfreeze backbone [default: rate_backbone].
    pub rate_text: Option<f64>,
    /// AdamW's decay of all weights [default: 0.01].
    pub weight_decay: Option<f64>,
    /// Decay of AdamW's mean of gradients [default: 0.5].
    pub beta_1: Option<f64>,
    /// Decay of AdamW's mean of squared gradients [default: 0.999].
    pub beta_2: Option<f64>,
    /// Steps over which the rates of stage 1 rise from zero [default: 0].
    pub warmup_steps: Option<u64>,
    /// How the rates of stage 1 go on after that [default: constant].
    pub schedule: Option<Schedule>,
    /// Longest gradient, over all parameters; 0 for no limit [default: 0].
    pub clip_norm: Option<f64>,
    /// Decay of the running mean of weights that is validated and written; 0 for none [default: 0].
    pub average: Option<f64>,
    /// Which positions abnormal prompts name [default: all].
    pub positions: Option<PositionChoice>,
    /// Share of images whose normal prompts name a position, and of those whose abnormal ones do
    /// not, so that having a position does not tell one from the other [default: 0].
    pub loose_positions: Option<f64>,
    /// Details of the category that an image's prompts have in a step, drawn at random; 0 for all
    /// [default: 0].
    pub details_per_step: Option<usize>,
    /// Normal states that an image's prompts have in a step, drawn at random; 0 for all
    /// [default: 0].
    pub normal_per_step: Option<usize>,
    /// Generic abnormal states that an image's prompts have in a step, drawn at random; 0 for all
    /// [default: 0].
    pub generic_per_step: Option<usize>,
    /// Share of images whose abnormal prompts have no details in a step, as those of a category
    /// without descriptions [default: 0].
    pub generic_only: Option<f64>,
    /// Weight of the focal loss beside the dice losses in stage 1 [default: 1].
    pub focal_weight: Option<f64>,
    /// Weight of a defect's pixels in the focal loss, beside that of others [default: 1].
    pub defect_weight: Option<f64>,
    /// Weight in stage 1 of the label's cross-entropy by the highest cells of the map, a share of
    /// them as the configuration's `peak_share` says, or else 1/32 [default: 0].
    pub peak_loss: Option<f64>,
    /// Share of the steps of stage 1 in which both learners' contexts change places, so that the
    /// words have to tell normal from abnormal [default: 0].
    pub context_swap: Option<f64>,
    /// Weight of the label's cross-entropy in stage 1 [default: 0].
    pub image_loss: Option<f64>,
    /// Weight in stage 1 of the order of a step's images: those with a defect must fit the
    /// abnormal text better than those without, and the normal text worse [default: 0].
    pub rank_loss: Option<f64>,
    /// Weight of the defect word's cross-entropy in stage 1 [default: 0].
    pub word_loss: Option<f64>,
    /// Share of images replaced by a mosaic of four [default: 0.2 with layout mvtec, else 0].
    pub mosaic: Option<f64>,
    /// Share of the data that is kept for validation [default: 0.1].
    pub validation: Option<f64>,
    /// Steps between two validations; 0 for only at the end of a stage [default: 0].
    pub validate_every: Option<u64>,
    /// Validations without a better result after which a stage ends; 0 for never [default: 0].
    pub patience: Option<u64>,
    /// Steps between two checkpoints [default: 500].
    pub checkpoint_every: Option<u64>,
    /// Steps between two rows of the log [default: 50].
    pub log_every: Option<u64>,
}

/// A checked training job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TrainSpec {
    pub seed: u64,
    pub batch_size: usize,
    pub workers: usize,
    pub stages: [StageLength; 2],
    pub rate_heads: f64,
    pub rate_prompts: f64,
    pub rate_adapter: f64,
    /// `None`: frozen.
    pub rate_backbone: Option<f64>,
    /// `None`: frozen.
    pub rate_text: Option<f64>,
    pub weight_decay: f64,
    pub beta_1: f64,
    pub beta_2: f64,
    pub warmup_steps: u64,
    pub schedule: Schedule,
    pub clip_norm: f64,
    pub average: f64,
    pub positions: PositionChoice,
    pub loose_positions: f64,
    pub details_per_step: usize,
    pub normal_per_step: usize,
    pub generic_per_step: usize,
    pub generic_only: f64,
    pub focal_weight: f64,
    pub defect_weight: f64,
    pub peak_loss: f64,
    pub context_swap: f64,
    pub image_loss: f64,
    pub rank_loss: f64,
    pub word_loss: f64,
    /// `None`: as the layout has it.
    pub mosaic: Option<f64>,
    pub validation: f64,
    pub validate_every: u64,
    pub patience: u64,
    pub checkpoint_every: u64,
    pub log_every: u64,
}

/// How long a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageLength {
    Epochs(u64),
    Steps(u64),
}

impl StageLength {
    /// Steps of `batch_size` images, with `pictures` in an epoch.
    pub fn steps(self, pictures: u64, batch_size: usize) -> u64 {
        match self {
            StageLength::Steps(steps) => steps,
            StageLength::Epochs(epochs) => {
                epochs.saturating_mul(pictures).div_ceil(batch_size as u64)
            }
        }
    }
}

impl RawTrainSpec {
    /// Reads the job file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, has an unknown key, or a value of another type.
    pub fn from_file(path: &Path) -> Result<Self, JobError> {
        from_file(path)
    }

    /// Checks every value and fills in the defaults.
    ///
    /// # Errors
    /// Names the key, what it holds and what it may hold.
    pub fn validate(self, unfreeze: Unfreeze) -> Result<TrainSpec, TrainError> {
        let length = |steps: Option<u64>, epochs: Option<u64>, published| match (steps, epochs) {
            (Some(steps), _) => StageLength::Steps(steps),
            (None, epochs) => StageLength::Epochs(epochs.unwrap_or(published)),
        };
        let backbone = self.rate_backbone.unwrap_or(1e-3);
        let spec = TrainSpec {
            seed: self.seed.unwrap_or(0),
            batch_size: self.batch_size.unwrap_or(1),
            workers: self.workers.unwrap_or(1),
            stages: [
                length(self.stage_1_steps, self.stage_1_epochs, 15),
                length(self.stage_2_steps, self.stage_2_epochs, 5),
            ],
            rate_heads: self.rate_heads.unwrap_or(1e-4),
            rate_prompts: self.rate_prompts.unwrap_or(1e-3),
            rate_adapter: self.rate_adapter.unwrap_or(1e-5),
            rate_backbone: (unfreeze == Unfreeze::Backbone).then_some(backbone),
            rate_text: (unfreeze == Unfreeze::Backbone)
                .then_some(self.rate_text.unwrap_or(backbone)),
            weight_decay: self.weight_decay.unwrap_or(0.01),
            beta_1: self.beta_1.unwrap_or(0.5),
            beta_2: self.beta_2.unwrap_or(0.999),
            warmup_steps: self.warmup_steps.unwrap_or(0),
            schedule: self.schedule.unwrap_or_default(),
            clip_norm: self.clip_norm.unwrap_or(0.0),
            average: self.average.unwrap_or(0.0),
            positions: self.positions.unwrap_or_default(),
            loose_positions: self.loose_positions.unwrap_or(0.0),
            details_per_step: self.details_per_step.unwrap_or(0),
            normal_per_step: self.normal_per_step.unwrap_or(0),
            generic_per_step: self.generic_per_step.unwrap_or(0),
            generic_only: self.generic_only.unwrap_or(0.0),
            focal_weight: self.focal_weight.unwrap_or(1.0),
            defect_weight: self.defect_weight.unwrap_or(1.0),
            peak_loss: self.peak_loss.unwrap_or(0.0),
            context_swap: self.context_swap.unwrap_or(0.0),
            image_loss: self.image_loss.unwrap_or(0.0),
            rank_loss: self.rank_loss.unwrap_or(0.0),
            word_loss: self.word_loss.unwrap_or(0.0),
            mosaic: self.mosaic,
            validation: self.validation.unwrap_or(0.1),
            validate_every: self.validate_every.unwrap_or(0),
            patience: self.patience.unwrap_or(0),
            checkpoint_every: self.checkpoint_every.unwrap_or(500),
            log_every: self.log_every.unwrap_or(50),
        };
        spec.check()?;
        Ok(spec)
    }
}

impl TrainSpec {
    fn check(&self) -> Result<(), TrainError> {
        let positive = |key, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(bad(key, value, "a number above 0")),
        };
        let at_least_0 = |key, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(bad(key, value, "0 or more")),
        };
        let below_1 = |key, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(bad(key, value, "0 or more, and below 1")),
        };
        let from_1 = |key, value: u64| match value {
            0 => Err(bad(key, value, "a whole number from 1")),
            _ => Ok(()),
        };
        from_1("batch_size", self.batch_size as u64)?;
        from_1("workers", self.workers as u64)?;
        from_1("checkpoint_every", self.checkpoint_every)?;
        from_1("log_every", self.log_every)?;
        positive("rate_heads", self.rate_heads)?;
        positive("rate_prompts", self.rate_prompts)?;
        positive("rate_adapter", self.rate_adapter)?;
        positive("rate_backbone", self.rate_backbone.unwrap_or(1.0))?;
        positive("rate_text", self.rate_text.unwrap_or(1.0))?;
        at_least_0("weight_decay", self.weight_decay)?;
        at_least_0("clip_norm", self.clip_norm)?;
        at_least_0("focal_weight", self.focal_weight)?;
        at_least_0("defect_weight", self.defect_weight)?;
        at_least_0("peak_loss", self.peak_loss)?;
        at_least_0("image_loss", self.image_loss)?;
        at_least_0("rank_loss", self.rank_loss)?;
        at_least_0("word_loss", self.word_loss)?;
        below_1("beta_1", self.beta_1)?;
        below_1("beta_2", self.beta_2)?;
        below_1("average", self.average)?;
        below_1("loose_positions", self.loose_positions)?;
        below_1("context_swap", self.context_swap)?;
        below_1("generic_only", self.generic_only)?;
        below_1("validation", self.validation)?;
        match self.mosaic {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(bad("mosaic", share, "from 0 to 1"))
            }
            _ if self.loose_positions > 0.0 && self.positions != PositionChoice::Known => Err(bad(
                "loose_positions",
                self.loose_positions,
                "0 unless positions is \"known\", where there is one to leave out",
            )),
            _ if self.word_loss > 0.0 && self.positions == PositionChoice::All => Err(bad(
                "word_loss",
                self.word_loss,
                "0 unless positions is \"none\" or \"known\", where a detail has one prompt",
            )),
            _ => Ok(()),
        }
    }

    /// Longest gradient; infinity where there is no limit.
    pub fn norm_limit(&self) -> f64 {
        if self.clip_norm > 0.0 { self.clip_norm } else { f64::INFINITY }
    }

    /// What learns in `stage` (1 or 2), and how fast.
    pub fn rates(&self, stage: u8) -> Rates {
        match stage {
            1 => Rates {
                heads: Some(self.rate_heads),
                prompts: Some(self.rate_prompts),
                backbone: self.rate_backbone,
                text: self.rate_text,
                adapter: None,
            },
            _ => Rates { adapter: Some(self.rate_adapter), ..Rates::STAGE_2 },
        }
    }

    /// What the rates of `step` (from 0) of `steps` are multiplied by. Stage 2 has no schedule.
    pub fn factor(&self, stage: u8, step: u64, steps: u64) -> f64 {
        if stage != 1 {
            return 1.0;
        }
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let length = steps.saturating_sub(self.warmup_steps).max(1) as f64;
                let turn = std::f64::consts::PI * (step - self.warmup_steps) as f64 / length;
                0.01 + 0.99 * 0.5 * (1.0 + turn.cos())
            }
        }
    }
}

fn bad(key: &'static str, value: impl ToString, allowed: &'static str) -> TrainError {
    TrainError::BadKey { key, value: value.to_string(), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_it_is_the_published_recipe() {
        let spec = RawTrainSpec::default().validate(Unfreeze::Nothing).unwrap();
        assert_eq!(spec.rates(1), Rates::STAGE_1);
        assert_eq!(spec.rates(2), Rates::STAGE_2);
        assert_eq!(spec.stages, [StageLength::Epochs(15), StageLength::Epochs(5)]);
        assert_eq!(spec.stages[0].steps(10, 4), 38);
        assert_eq!((spec.factor(1, 0, 10), spec.factor(1, 9, 10)), (1.0, 1.0));
    }

    #[test]
    fn rates_rise_and_then_follow_the_cosine() {
        let raw = RawTrainSpec {
            warmup_steps: Some(4),
            schedule: Some(Schedule::Cosine),
            ..RawTrainSpec::default()
        };
        let spec = raw.validate(Unfreeze::Backbone).unwrap();
        assert_eq!(spec.rates(1).backbone, Some(1e-3));
        assert_eq!((spec.factor(1, 0, 104), spec.factor(1, 3, 104)), (0.25, 1.0));
        assert!((spec.factor(1, 54, 104) - 0.505).abs() < 1e-9);
        assert!(spec.factor(1, 103, 104) < 0.011);
    }

    #[test]
    fn words_are_taught_only_where_a_detail_has_one_prompt() {
        let raw = RawTrainSpec { word_loss: Some(1.0), ..RawTrainSpec::default() };
        let error = raw.validate(Unfreeze::Nothing).unwrap_err().to_string();
        assert!(error.starts_with("`word_loss = 1` is not allowed"), "{error}");
    }
}
