//! A faultless scene before light and camera: a surface in its colours, now and then before a
//! background or with marks that are normal. In: a random stream. Out: images and structure.

use fastrand::Rng;

use super::distractors;
use super::math::lerp;
use super::picture::{Colour, Palette, Picture, coloured};
use super::plane::Plane;
use super::random::Draw;
use super::surface::Surface;
use super::surfaces::{self, Bars, Part, Sheet, objects};
use super::surroundings::{self, Surroundings};
use super::textures::Photo;

pub struct Base {
    pub picture: Picture,
    /// Without the regular elements.
    pub under: Option<Picture>,
    pub parts: Vec<Part>,
    /// Direction of streaks, threads or rows, turns.
    pub grain: f32,
    /// Distance of threads or rows, pixels.
    pub pitch: f32,
    pub bars: Option<Bars>,
    /// Where the object is (1) and what is behind it.
    pub object: Option<(Plane, Picture)>,
    /// What is not the object was added to the image afterwards, in this shade of grey.
    pub padding: Option<u8>,
}

impl Base {
    /// Somewhere on the object, away from the image's border by `margin` of its side if it can
    /// be had.
    pub fn place(&self, margin: f32, rng: &mut Rng) -> (f32, f32) {
        let side = self.picture.size() as f32;
        let mut at = (0.5 * side, 0.5 * side);
        for _ in 0..20 {
            at = (rng.within(margin, 1.0 - margin) * side, rng.within(margin, 1.0 - margin) * side);
            if self.object.as_ref().is_none_or(|(object, _)| object.at(at.0, at.1) > 0.9) {
                break;
            }
        }
        at
    }

    /// `cover` where the object is.
    pub fn on_object(&self, cover: Plane) -> Plane {
        match &self.object {
            None => cover,
            Some((object, _)) => cover.with(object, |c, o| c * o),
        }
    }
}

/// Draws `surface`; `effort` of 0 gives calm ones without disturbance.
pub fn base(surface: Surface, size: usize, effort: f32, rng: &mut Rng) -> Base {
    let mut sheet = surfaces::draw(surface, rng, size);
    let calm = lerp(rng.within(0.2, 0.6), 1.0, effort.min(1.0));
    let mean = sheet.tone.mean();
    let quiet = |plane: Plane| plane.map(|v| lerp(mean, v, calm));
    // Structure stays: only what has no parts is calmed.
    if sheet.under.is_none() && sheet.object.is_none() {
        sheet.tone = quiet(sheet.tone);
    }
    let colour = if rng.chance(0.6) { Colour::Grey } else { Colour::Full };
    let palettes = palettes(surface, rng);
    let framed = effort * if surface.is_often_framed() { 0.5 } else { 0.25 };
    let mut padding = None;
    if sheet.object.is_none() && rng.chance(framed) {
        padding = frame(&mut sheet, rng);
    }
    Base { padding, ..finish(sheet, colour, &palettes, effort, rng) }
}

/// The scene of a photographed surface.
pub fn photographed(photo: &Photo, size: usize, effort: f32, rng: &mut Rng) -> Base {
    let colour = if rng.chance(0.6) { Colour::Grey } else { Colour::Full };
    let picture = photo.crop(size, colour, rng);
    let contrast = lerp(rng.within(0.2, 0.6), rng.within(0.4, 1.3), effort.min(1.0));
    let level = rng.within(0.2, 0.75);
    let mean = picture.luma().mean();
    let picture =
        picture.map_planes(|plane| plane.map(|v| (level + contrast * (v - mean)).clamp(0.0, 1.0)));
    let mut base = Base {
        picture,
        under: None,
        parts: Vec::new(),
        grain: rng.f32(),
        pitch: surfaces::DEFAULT_PITCH,
        bars: None,
        object: None,
        padding: None,
    };
    if rng.chance(0.2 * effort) {
        for change in distractors::draw(size, rng) {
            base.picture = change.apply(base.picture);
        }
    }
    if rng.chance(0.25 * effort) {
        let Surroundings { object, back, padding } = surroundings::draw(size, rng);
        base.padding = padding;
        let behind = coloured(&back, None, colour, &palettes_of_any(rng));
        let kept = object.clone().map(|o| 1.0 - o);
        base.picture = base.picture.covered(&behind, &kept);
        base.object = Some((object, behind));
    }
    base
}

fn palettes_of_any(rng: &mut Rng) -> [Palette; 2] {
    let saturation = rng.within(0.0, 0.6);
    let hue = rng.f32();
    [Palette::near(hue, saturation, rng), Palette::near(rng.f32(), saturation, rng)]
}

fn palettes(surface: Surface, rng: &mut Rng) -> [Palette; 2] {
    match surface.tint() {
        Some((hue, saturation)) if rng.chance(0.75) => {
            let second = hue + rng.within(-0.1, 0.1);
            [Palette::near(hue, saturation, rng), Palette::near(second, saturation, rng)]
        }
        _ => palettes_of_any(rng),
    }
}

/// Puts the surface before a background. Returns the shade of a padding.
fn frame(sheet: &mut Sheet, rng: &mut Rng) -> Option<u8> {
    let size = sheet.tone.size;
    let Surroundings { object, back, padding } = surroundings::draw(size, rng);
    // Both get the same rim.
    let mut twin = rng.clone();
    sheet.tone = objects::before(&sheet.tone, &object, &back, rng);
    if let Some(under) = &mut sheet.under {
        *under = objects::before(under, &object, &back, &mut twin);
    }
    sheet.object = Some((object, back));
    padding
}

fn finish(
    sheet: Sheet,
    colour: Colour,
    palettes: &[Palette; 2],
    effort: f32,
    rng: &mut Rng,
) -> Base {
    let size = sheet.tone.size;
    let paint = |tone: &Plane| coloured(tone, sheet.region.as_ref(), colour, palettes);
    let mut base = Base {
        picture: paint(&sheet.tone),
        under: sheet.under.as_ref().map(paint),
        parts: sheet.parts,
        grain: sheet.grain,
        pitch: sheet.pitch,
        bars: sheet.bars,
        padding: None,
        object: sheet
            .object
            .map(|(object, back)| (object, coloured(&back, None, colour, palettes))),
    };
    if rng.chance(0.35 * effort) {
        for change in distractors::draw(size, rng) {
            base.picture = change.apply(base.picture);
            base.under = base.under.map(|under| change.apply(under));
        }
    }
    base
}
