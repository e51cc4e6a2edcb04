//! Training pictures that the generator makes as they are asked for: no two alike, no defect
//! from a camera. In: a seed, the side of the network's input, photographs of materials if there are any.
//! Out: pictures with masks, and the words of what was drawn.

use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;

use super::data::{Anomalous, TrainingData, TrainingPicture, mixed};
use super::synthetic::{Defect, Recipe, Surface, Textures, scene};
use crate::error::{Failure, ModelError};
use crate::image::ChannelStats;
use crate::model::filo::descriptions::{CategoryPrompts, Descriptions};

/// Pictures of an epoch; the next one has others.
const EPOCH: u64 = 1 << 20;

/// Names that a surface has now and then, so that the defect's words stand by themselves.
const GENERAL_NAMES: [&str; 8] =
    ["surface", "object", "material", "part", "product", "texture", "item", "thing"];

/// Share of pictures under such a name.
const GENERALLY_NAMED: f64 = 0.25;

/// Share of pictures drawn at twice the side and reduced, as photographs are.
const REDUCED: f64 = 0.5;

/// Pictures without end, or a fixed number of them.
pub struct Generated {
    seed: u64,
    side: usize,
    textures: Option<Arc<Textures>>,
    descriptions: Descriptions,
    kind: Kind,
}

enum Kind {
    Training,
    /// The same pictures every time.
    Validation {
        pictures: u64,
    },
}

impl Generated {
    /// Pictures to learn from; every turn has a new one.
    ///
    /// # Errors
    /// If the built-in descriptions are damaged.
    pub fn training(
        seed: u64,
        side: usize,
        textures: Option<Arc<Textures>>,
    ) -> Result<Self, ModelError> {
        let descriptions = words(|defect| defect.details())?;
        Ok(Generated { seed, side, textures, descriptions, kind: Kind::Training })
    }

    /// `pictures` that no training of another seed sees. Each defect has one description, which
    /// keeps the prompts few.
    ///
    /// # Errors
    /// If the built-in descriptions are damaged.
    pub fn validation(
        seed: u64,
        side: usize,
        textures: Option<Arc<Textures>>,
        pictures: u64,
    ) -> Result<Self, ModelError> {
        let descriptions = words(|defect| &defect.details()[..1])?;
        let kind = Kind::Validation { pictures };
        Ok(Generated { seed: mixed(!seed, 1), side, textures, descriptions, kind })
    }
}

/// What can be wrong with every surface, and with things in general.
fn words(details: impl Fn(&Defect) -> &'static [&'static str]) -> Result<Descriptions, ModelError> {
    let of = |defects: &[Defect]| defects.iter().flat_map(&details).copied().collect::<Vec<_>>();
    let surfaces = Surface::ALL.iter().map(|surface| (surface.as_str(), of(&surface.defects())));
    let general = GENERAL_NAMES.into_iter().map(|name| (name, of(&Defect::ALL)));
    let lists = surfaces.chain(general).collect::<std::collections::BTreeMap<_, _>>();
    let text = serde_json::json!(lists).to_string();
    Descriptions::built_in()?.with_file(Path::new("generated.json"), &text)
}

impl TrainingData for Generated {
    fn pictures(&self) -> u64 {
        match self.kind {
            Kind::Training => EPOCH,
            Kind::Validation { pictures } => pictures,
        }
    }

    fn picture(&self, index: u64, rng: &mut Rng) -> Result<TrainingPicture, Failure> {
        let index = match self.kind {
            Kind::Training => rng.u64(..),
            Kind::Validation { .. } => index,
        };
        let reduction = 1 + usize::from(rng.f64() < REDUCED);
        let recipe = Recipe {
            textures: self.textures.as_deref(),
            reduction,
            ..Recipe::new(reduction * self.side)
        };
        let scene = scene(self.seed, index, &recipe);
        let detail = scene.defect.map(|defect| match self.kind {
            Kind::Training => defect.details()[rng.usize(..defect.details().len())],
            Kind::Validation { .. } => defect.details()[0],
        });
        let general = matches!(self.kind, Kind::Training) && rng.f64() < GENERALLY_NAMED;
        let category = match general {
            true => GENERAL_NAMES[rng.usize(..GENERAL_NAMES.len())],
            false => scene.surface.as_str(),
        };
        let mask = reduced(&scene.mask, self.side, reduction, 0, 1);
        Ok(TrainingPicture {
            planes: planes(&scene.rgb, self.side, reduction),
            mask: mask.map(|share| f32::from(u8::from(share >= 0.5))).collect(),
            anomalous: match scene.defect {
                Some(_) => Anomalous::Yes,
                None => Anomalous::No,
            },
            category: category.to_string(),
            detail: detail.map(str::to_string),
        })
    }

    fn categories(&self) -> Vec<String> {
        let surfaces = Surface::ALL.iter().map(|surface| surface.as_str());
        let general = match self.kind {
            Kind::Training => &GENERAL_NAMES[..],
            Kind::Validation { .. } => &[],
        };
        surfaces.chain(general.iter().copied()).map(str::to_string).collect()
    }

    fn prompts(&self, category: &str) -> CategoryPrompts {
        self.descriptions.prompts(category)
    }
}

/// Normalised as the image tower takes them, `[3, side, side]`.
fn planes(rgb: &[u8], side: usize, reduction: usize) -> Vec<f32> {
    let ChannelStats { mean, std } = ChannelStats::CLIP;
    let plane = |channel: usize| {
        reduced(rgb, side, reduction, channel, 3)
            .map(move |value| (value / 255.0 - mean[channel]) / std[channel])
    };
    (0..3).flat_map(plane).collect()
}

/// One of `channels` interleaved channels of a square picture of `side · reduction`, each square of
/// `reduction` averaged.
fn reduced(
    values: &[u8],
    side: usize,
    reduction: usize,
    channel: usize,
    channels: usize,
) -> impl Iterator<Item = f32> {
    let row = side * reduction;
    let square = move |y: usize, x: usize| {
        let pixels = (0..reduction * reduction).map(move |n| {
            let (dy, dx) = (n / reduction, n % reduction);
            let at = (y * reduction + dy) * row + x * reduction + dx;
            f32::from(values[at * channels + channel])
        });
        pixels.sum::<f32>() / (reduction * reduction) as f32
    };
    (0..side * side).map(move |n| square(n / side, n % side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_with_its_words_and_again_for_the_same_turn() {
        let data = Generated::training(1, 32, None).unwrap();
        let mut abnormal = 0;
        for turn in 0..20 {
            let picture = data.picture(turn, &mut Rng::with_seed(turn)).unwrap();
            assert_eq!(picture, data.picture(turn, &mut Rng::with_seed(turn)).unwrap());
            assert_eq!((picture.planes.len(), picture.mask.len()), (3 * 32 * 32, 32 * 32));
            let marked = picture.mask.iter().filter(|m| **m == 1.0).count();
            assert_eq!(marked > 0, picture.detail.is_some());
            assert!(marked == 0 || marked >= 6, "{marked}");
            let Some(detail) = picture.detail else { continue };
            abnormal += 1;
            assert!(data.prompts(&picture.category).details.contains(&detail), "{detail}");
        }
        assert!((3..18).contains(&abnormal), "{abnormal} of 20");
    }

    #[test]
    fn a_square_of_four_pixels_becomes_its_mean() {
        let values = [0, 10, 2, 2, 20, 30, 2, 2, 1, 1, 0, 0, 1, 1, 0, 8];
        let means = reduced(&values, 2, 2, 0, 1).collect::<Vec<_>>();
        assert_eq!(means, [15.0, 2.0, 1.0, 2.0]);
    }
}
