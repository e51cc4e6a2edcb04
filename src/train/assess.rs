//! Whether a trained network listens to words. In: a network and labelled images whose defects
//! have words. Out: its AUROC with the right descriptions, without any and with swapped ones, and how
//! often the word of the defect beats the other words of its category.

use fastrand::Rng;

use super::compose::PromptChoice;
use super::data::TrainingData;
use super::loader::Loaded;
use super::objective::StepBatch;
use super::spec::PositionChoice;
use super::start::Setup;
use super::validate::{Validation, Validator, Wording};
use super::word_loss::{WordFit, word_fits};
use crate::error::Error;
use crate::model::filo::AdapterUse;

/// Images that go through the network together.
const BATCH: usize = 16;

/// What [`Setup::assess`] finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    pub right: Validation,
    pub generic: Validation,
    pub swapped: Validation,
    pub words: Words,
}

/// How often the right word fits best; shares of `pictures`, NaN if there are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Words {
    /// Images whose defect has a word.
    pub pictures: u64,
    /// With the patches in the mask.
    pub top_1_patches: f64,
    /// With the whole image.
    pub top_1_image: f64,
    /// What guessing comes to: the mean of 1/words.
    pub chance: f64,
}

impl Setup {
    /// Holds the network against `data`: AUROC as it is scored, with its adapter; words as they are
    /// taught, without it.
    ///
    /// # Errors
    /// If the network gives NaN or infinity.
    pub fn assess(&self, data: &dyn TrainingData) -> Result<Assessment, Error> {
        let scorer = self.scorer(&super::network::named_values(&self.network)).into_scorer();
        let validate = |wording| {
            let validator = Validator {
                config: &self.config,
                encoder: &self.encoder,
                device: &self.device,
                adapter: AdapterUse::Applied,
                wording,
            };
            validator.validate(&scorer, data)
        };
        Ok(Assessment {
            right: validate(Wording::Right)?,
            generic: validate(Wording::Generic)?,
            swapped: validate(Wording::Swapped)?,
            words: words(&self.fits(data)),
        })
    }

    fn fits(&self, data: &dyn TrainingData) -> Vec<WordFit> {
        let choice = PromptChoice {
            positions: PositionChoice::Known,
            loose_positions: 0.0,
            details_per_step: 0,
            normal_per_step: 1,
            generic_per_step: 1,
            generic_only: 0.0,
            n_ctx: self.config.n_ctx,
        };
        let mut loaded = (0..data.pictures()).filter_map(|index| {
            let mut rng = Rng::with_seed(index);
            let picture = data.picture(index, &mut rng).ok()?;
            picture.detail.as_ref()?;
            let prompts = choice.prompts(&picture, &data.prompts(&picture.category), &mut rng);
            Some(Loaded { picture, prompts })
        });
        let side = self.config.vision.image_size;
        let mut fits = Vec::new();
        // A batch in memory at a time.
        loop {
            let part = loaded.by_ref().take(BATCH).collect::<Vec<_>>();
            if part.is_empty() {
                return fits;
            }
            let batch = StepBatch::of(&part, side, &self.encoder, &self.device);
            fits.extend(word_fits(&self.network, &batch));
        }
    }
}

fn words(fits: &[WordFit]) -> Words {
    let best = |fit: &[f32]| (0..fit.len()).max_by(|&a, &b| fit[a].total_cmp(&fit[b]));
    let share = |of: &dyn Fn(&WordFit) -> f64| fits.iter().map(of).sum::<f64>() / fits.len() as f64;
    let hit = |fit: &[f32], right| f64::from(u8::from(best(fit) == Some(right)));
    Words {
        pictures: fits.len() as u64,
        top_1_patches: share(&|fit| hit(&fit.patches, fit.right)),
        top_1_image: share(&|fit| hit(&fit.image, fit.right)),
        chance: share(&|fit| 1.0 / fit.patches.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_fits_best_counts() {
        let fit = |right, patches: [f32; 4], image: [f32; 4]| WordFit {
            right,
            patches: patches.to_vec(),
            image: image.to_vec(),
        };
        let fits = [
            fit(1, [0.0, 2.0, 1.0, 1.0], [0.0, 2.0, 3.0, 1.0]),
            fit(0, [0.0, 2.0, 1.0, 1.0], [9.0, 2.0, 3.0, 1.0]),
        ];
        let words = words(&fits);
        assert_eq!((words.pictures, words.chance), (2, 0.25));
        assert_eq!((words.top_1_patches, words.top_1_image), (0.5, 0.5));
    }
}
