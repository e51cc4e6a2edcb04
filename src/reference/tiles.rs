//! The score of an image that was tiled. In: raw scores of the image as a whole and of its tiles, and
//! those of references that were tiled as well. Out: one verdict on the scale of images that were not,
//! and the values of a map. More tiles have a higher highest score: what is to be expected of so many is
//! taken off, so that more tiles do not mean more false alarms.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use super::fusion::squashed;
use super::{NullScores, Origin, Reference, Verdict};

/// The rate at which scores of tiled images and of others mean the same exactly: the default rate of
/// false alarms.
const RATE: f64 = 0.01;

/// The highest raw scores of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Of the image as a whole.
    pub whole: f64,
    /// Of its tiles.
    pub tile: f64,
    /// How many there are.
    pub tiles: usize,
}

/// What is known of images whose tiles are references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Of the unusualness of images that were tiled to their last pixel.
    null: NullScores,
    /// The raw value of a tile's map at which masks begin.
    mask: f32,
}

impl Calibration {
    /// From the peaks of normal images, or of images that mostly are: `tiles` are references of tiles,
    /// `whole` of images.
    pub fn new(tiles: &Reference, whole: &Reference, peaks: &[Peaks], origin: Origin) -> Self {
        let unusual = peaks.iter().map(|of| unusualness(tiles, whole, *of)).collect::<Vec<_>>();
        let null = match origin {
            Origin::Normal => NullScores::normal(&unusual),
            Origin::Archive => NullScores::contaminated(&unusual),
        };
        // As for images: half way between what flags the image and what one cell in a hundred exceeds.
        let most = peaks.iter().map(|of| of.tiles).max().unwrap_or(1);
        let flags = null.score(null.standard_at(RATE)) + expected_highest(most);
        let usual = tiles.null().score(tiles.null().standard_at(RATE));
        let mask = tiles.raw_mask() + (tiles.null().score(flags) - usual).max(0.0) / 2.0;
        Calibration { null, mask: mask as f32 }
    }

    /// The verdict on an image with these peaks, and with `without_text`, those without FiLo's own map.
    pub fn verdict(
        &self,
        tiles: &Reference,
        whole: &Reference,
        with_text: Peaks,
        without_text: Peaks,
    ) -> Verdict {
        // Few images were tiled for the references, which makes their estimates wider.
        let narrower = whole.null().standard_at(RATE) / self.null.standard_at(RATE);
        let raw = |peaks| {
            let standard = self.null.standard(unusualness(tiles, whole, peaks));
            whole.null().score(standard * narrower)
        };
        whole.verdict_on(raw(with_text), raw(without_text))
    }

    /// A tile's map on the scale on which maps of `whole` images begin their masks.
    pub fn map(&self, whole: &Reference, raw: &[f64]) -> Vec<f32> {
        let shift = whole.raw_mask() - f64::from(self.mask);
        raw.iter().map(|value| squashed(value + shift)).collect()
    }
}

/// How unusual an image is, in deviations: as a whole or in its most unusual tile, whichever is more.
fn unusualness(tiles: &Reference, whole: &Reference, peaks: Peaks) -> f64 {
    let tile = tiles.null().standard(peaks.tile) - expected_highest(peaks.tiles);
    whole.null().standard(peaks.whole).max(tile)
}

/// The highest of `count` values of a standard normal distribution, about: the value that one in so many
/// exceeds.
fn expected_highest(count: usize) -> f64 {
    Normal::standard().inverse_cdf(1.0 - 1.0 / (count as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_tiles_are_expected_to_have_a_higher_peak() {
        assert!(expected_highest(1).abs() < 1e-12);
        let growing = [1, 4, 16, 256, 4096].map(expected_highest);
        assert!(growing.is_sorted() && growing[4] < 4.0, "{growing:?}");
    }
}
