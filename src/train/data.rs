//! What training learns from. A [`TrainingData`] gives images by number; a [`Draw`] says which
//! number comes when, and what is random about it, from the seed alone, so that a resumed training
//! sees what an uninterrupted one would have seen.

use fastrand::Rng;

use crate::error::Failure;
use crate::model::filo::descriptions::CategoryPrompts;

/// One image to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingPicture {
    /// Normalised, `[3, side, side]`.
    pub planes: Vec<f32>,
    /// `[side, side]`, 1 for defect.
    pub mask: Vec<f32>,
    pub anomalous: Anomalous,
    /// As its prompts name it.
    pub category: String,
    /// Of its category's details the one that names its defect.
    pub detail: Option<String>,
}

/// Whether an image shows a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anomalous {
    No,
    Yes,
}

/// A source of images: a folder, or a generator.
pub trait TrainingData: Send + Sync {
    /// Images in an epoch.
    fn pictures(&self) -> u64;

    /// The image at `index`; what is random about it comes from `rng`.
    ///
    /// # Errors
    /// If it cannot be read. The training warns and goes on with the next one.
    fn picture(&self, index: u64, rng: &mut Rng) -> Result<TrainingPicture, Failure>;

    /// Every category that an image may have.
    fn categories(&self) -> Vec<String>;

    /// The states that a category's prompts may have.
    fn prompts(&self, category: &str) -> CategoryPrompts;

    /// Digest of what the images are made of. A training goes on with the same ones only.
    fn digest(&self) -> String;
}

/// The order of images: every epoch a new permutation.
#[derive(Debug, Clone)]
pub struct Draw {
    seed: u64,
    pictures: u64,
    epoch: Option<u64>,
    order: Vec<u32>,
}

/// Largest set that is shuffled; a generator has no order to shuffle.
const MAX_SHUFFLED: u64 = 1 << 22;

impl Draw {
    /// `seed` tells trainings, and the stages of one, apart.
    pub fn new(seed: u64, pictures: u64) -> Self {
        Draw { seed, pictures, epoch: None, order: Vec::new() }
    }

    /// The image that is the `turn`-th of the training, from 0, and its source of chance.
    pub fn turn(&mut self, turn: u64) -> (u64, Rng) {
        let (epoch, place) = (turn / self.pictures, turn % self.pictures);
        let rng = Rng::with_seed(mixed(self.seed, turn));
        if self.pictures > MAX_SHUFFLED {
            return (place, rng);
        }
        if self.epoch != Some(epoch) {
            self.order = (0..self.pictures as u32).collect();
            Rng::with_seed(mixed(!self.seed, epoch)).shuffle(&mut self.order);
            self.epoch = Some(epoch);
        }
        (u64::from(self.order[place as usize]), rng)
    }
}

/// One number out of two, well mixed (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mixed(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_each_picture_once_in_an_order_of_its_own() {
        let mut draw = Draw::new(7, 20);
        let epoch = |draw: &mut Draw, n: u64| {
            (n * 20..n * 20 + 20).map(|turn| draw.turn(turn).0).collect::<Vec<_>>()
        };
        let (first, second) = (epoch(&mut draw, 0), epoch(&mut draw, 1));
        assert_ne!(first, second);
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        }
        // Started in the middle, as a resumed training does.
        let mut resumed = Draw::new(7, 20);
        assert_eq!(resumed.turn(33).0, second[13]);
        assert_eq!(resumed.turn(33).1.u64(..), draw.turn(33).1.u64(..));
    }
}
