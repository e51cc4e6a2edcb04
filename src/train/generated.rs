//! Training images that the generator makes as they are asked for: no two alike, no defect
//! from a camera. In: a seed, the side of the network's input, photographs of materials if there are any.
//! Out: images with masks, and the words of what was drawn.

use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;

use super::data::{Anomalous, TrainingData, TrainingPicture, mixed};
use super::synthetic::{Defect, LEAST_AREA, Recipe, Scene, Surface, Textures, scene};
use crate::error::{Failure, ModelError};
use crate::image::ChannelStats;
use crate::model::filo::descriptions::{CategoryPrompts, Descriptions};

/// Images of an epoch; the next one has others.
const EPOCH: u64 = 1 << 20;

/// Names that a surface has now and then, so that the defect's words stand by themselves.
const GENERAL_NAMES: [&str; 8] =
    ["surface", "object", "material", "part", "product", "texture", "item", "thing"];

/// Share of images under such a name.
const GENERALLY_NAMED: f64 = 0.25;

/// Share of images drawn at twice the side and reduced, as photographs are.
const REDUCED: f64 = 0.6;

/// Share of those of which a part is taken, of any proportions: archives are not square.
const CUT: f64 = 0.7;

/// Images without end, or a fixed number of them.
pub struct Generated {
    seed: u64,
    side: usize,
    textures: Option<Arc<Textures>>,
    descriptions: Descriptions,
    kind: Kind,
}

enum Kind {
    Training,
    /// The same images every time.
    Validation {
        pictures: u64,
    },
}

impl Generated {
    /// Images to learn from; every turn has a new one.
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
        let whole = Window::whole(scene.size);
        let window = match reduction > 1 && rng.f64() < CUT {
            true => window(&scene, self.side, rng).unwrap_or(whole),
            false => whole,
        };
        let detail = scene.defect.map(|defect| match self.kind {
            Kind::Training => defect.details()[rng.usize(..defect.details().len())],
            Kind::Validation { .. } => defect.details()[0],
        });
        let general = matches!(self.kind, Kind::Training) && rng.f64() < GENERALLY_NAMED;
        let category = match general {
            true => GENERAL_NAMES[rng.usize(..GENERAL_NAMES.len())],
            false => scene.surface.as_str(),
        };
        Ok(TrainingPicture {
            planes: planes(&scene.rgb, scene.size, window, self.side),
            mask: mask(&scene, window, self.side),
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

    fn digest(&self) -> String {
        self.textures.as_ref().map_or_else(String::new, |textures| textures.digest().to_string())
    }
}

/// Part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Window {
    fn whole(size: usize) -> Self {
        Window { left: 0, top: 0, width: size, height: size }
    }
}

/// Windows tried before the whole image is taken.
const WINDOWS_TRIED: usize = 4;

/// A part of any proportions, `side` pixels or more each way, with most of the defect in it if
/// there is one. `None` if that cannot be had.
fn window(scene: &Scene, side: usize, rng: &mut Rng) -> Option<Window> {
    let marked = |window: Window| {
        let rows = scene.mask.chunks_exact(scene.size).skip(window.top).take(window.height);
        let inside = rows.map(|row| &row[window.left..][..window.width]);
        inside.flatten().filter(|marked| **marked == 1).count()
    };
    let all = marked(Window::whole(scene.size));
    (0..WINDOWS_TRIED).find_map(|_| {
        let mut length = || {
            let stretch = (scene.size as f64 / side as f64).powf(rng.f64());
            ((side as f64 * stretch) as usize).min(scene.size)
        };
        let (width, height) = (length(), length());
        let left = rng.usize(..=scene.size - width);
        let top = rng.usize(..=scene.size - height);
        let window = Window { left, top, width, height };
        let seen = all == 0
            || (2 * marked(window) > all
                && mask(scene, window, side).iter().filter(|m| **m == 1.0).count() >= LEAST_AREA);
        seen.then_some(window)
    })
}

/// 1 where the surface is defective, `[side²]`.
fn mask(scene: &Scene, window: Window, side: usize) -> Vec<f32> {
    let shares = reduced(&scene.mask, scene.size, window, side, 0, 1);
    shares.into_iter().map(|share| f32::from(u8::from(share >= 0.5))).collect()
}

/// Normalised as the image tower takes them, `[3, side, side]`.
fn planes(rgb: &[u8], size: usize, window: Window, side: usize) -> Vec<f32> {
    let ChannelStats { mean, std } = ChannelStats::CLIP;
    let plane = |channel: usize| {
        let values = reduced(rgb, size, window, side, channel, 3).into_iter();
        values.map(move |value| (value / 255.0 - mean[channel]) / std[channel])
    };
    (0..3).flat_map(plane).collect()
}

/// One of `channels` interleaved channels of the part of a square image of `size` pixels a side,
/// brought to `side · side` pixels: each has the mean of the area that it covers.
fn reduced(
    values: &[u8],
    size: usize,
    window: Window,
    side: usize,
    channel: usize,
    channels: usize,
) -> Vec<f32> {
    let (columns, rows) = (areas(window.width, side), areas(window.height, side));
    let mut narrow = vec![0.0f32; window.height * side];
    for (y, line) in narrow.chunks_exact_mut(side).enumerate() {
        let row = &values[((window.top + y) * size + window.left) * channels..];
        for (out, (first, shares)) in line.iter_mut().zip(&columns) {
            let pixels = row[first * channels + channel..].iter().step_by(channels);
            *out = pixels.zip(shares).map(|(value, share)| f32::from(*value) * share).sum();
        }
    }
    let mut out = vec![0.0; side * side];
    for (line, (first, shares)) in out.chunks_exact_mut(side).zip(&rows) {
        for (row, share) in narrow[first * side..].chunks_exact(side).zip(shares) {
            line.iter_mut().zip(row).for_each(|(out, value)| *out += value * share);
        }
    }
    out
}

/// For each of `to` pixels in place of `from`: the first one that it covers, and the share of each
/// from there on, which sum to 1.
fn areas(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let area = |i: usize| {
        // In units of 1/to of a pixel: exact.
        let (low, high) = (i * from, (i + 1) * from);
        let first = low / to;
        let covered = |pixel: usize| ((pixel + 1) * to).min(high) - (pixel * to).max(low);
        let shares = (first..high.div_ceil(to)).map(|p| covered(p) as f32 / from as f32);
        (first, shares.collect())
    };
    (0..to).map(area).collect()
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
        let means = reduced(&values, 4, Window::whole(4), 2, 0, 1);
        assert_eq!(means, [15.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn a_part_is_squeezed_by_the_areas_of_its_pixels() {
        let values = (0..36).collect::<Vec<u8>>();
        // Columns 1..4 of rows 2..4 of six by six, to two by two.
        let window = Window { left: 1, top: 2, width: 3, height: 2 };
        let values = reduced(&values, 6, window, 2, 0, 1);
        let expected = [(13.0 + 7.0) / 1.5, (15.0 + 7.0) / 1.5, 19.0 + 1.0 / 3.0, 20.0 + 2.0 / 3.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{values:?}");
        }
    }

    #[test]
    fn a_window_has_most_of_the_defect() {
        let mut cut = 0;
        for index in 0..20 {
            let scene = scene(3, index, &Recipe { reduction: 2, abnormal: 1.0, ..Recipe::new(64) });
            let all = scene.mask.iter().filter(|marked| **marked == 1).count();
            let Some(found) = window(&scene, 32, &mut Rng::with_seed(index)) else { continue };
            assert!((32..=64).contains(&found.width) && (32..=64).contains(&found.height));
            let rows = (found.top..found.top + found.height).map(|y| y * 64);
            let marked = rows.flat_map(|row| &scene.mask[row + found.left..][..found.width]);
            assert!(2 * marked.filter(|m| **m == 1).count() >= all);
            cut += 1;
        }
        assert!(cut > 10, "{cut}");
    }
}
