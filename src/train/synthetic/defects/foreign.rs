//! Foreign material: a patch of another surface, of a photograph, or of the image itself from
//! elsewhere, blended in with a compact, angular or scattered outline.

use fastrand::Rng;

use super::shape::{Blob, blobbed, facet};
use super::{Mark, Site};
use crate::train::synthetic::math::smoothstep;
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::picture::{Palette, Picture, coloured};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;
use crate::train::synthetic::surface::Surface;
use crate::train::synthetic::surfaces;

/// A patch of something else: another surface, a photograph, or a piece of the image itself.
pub fn foreign(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let radius = site.length(0.04, 0.25, rng);
    let soft = rng.log_within(0.5, 0.15 * radius + 0.8);
    let cover = match rng.u32(..3) {
        0 => facet(size, x, y, radius, soft, rng),
        1 => {
            let (aspect, turns, ragged) =
                (rng.log_within(0.4, 2.5), rng.f32(), rng.within(0.0, 0.4));
            blobbed(size, Blob { x, y, radius, aspect, turns, ragged, soft }, rng)
        }
        _ => {
            // Islands of noise within a soft window.
            let noise =
                fbm(size, Frame::even(rng.within(0.5, 1.0) * radius + 4.0, rng), 2, 0.5, rng);
            let window = Blob {
                x,
                y,
                radius: 1.3 * radius,
                aspect: 1.0,
                turns: 0.0,
                ragged: 0.0,
                soft: radius,
            };
            let edge = 0.06 * soft;
            blobbed(size, window, rng)
                .with(&noise, |w, n| smoothstep(-edge, edge, 0.5 * (n + 2.6 * w - 2.0)))
        }
    };
    let cover = site.base.on_object(cover);
    let other = other_material(site, rng);
    Mark::replaced(site.before.clone().covered(&other, &cover), cover)
}

fn other_material(site: &Site, rng: &mut Rng) -> Picture {
    let size = site.size();
    let colour = site.before.colour();
    let photos = site.textures.filter(|textures| !textures.is_empty());
    let other = match (photos, rng.u32(..4)) {
        (Some(textures), 0 | 1) => textures.one(rng).crop(size, colour, rng),
        (_, 3) => shifted(site.before, rng),
        _ => {
            let kinds = [
                Surface::CastMetal,
                Surface::Plastic,
                Surface::Paper,
                Surface::Weave,
                Surface::Rubber,
                Surface::Wood,
                Surface::Granite,
                Surface::Foam,
                Surface::TexturedSurface,
            ];
            let tone = surfaces::draw(rng.one_of(&kinds), rng, size).tone;
            let hue = rng.f32();
            let palette = Palette::near(hue, rng.within(0.0, 0.7), rng);
            coloured(&tone, None, colour, &[palette, palette])
        }
    };
    // Nearly as bright as the surface, or not at all.
    let (mean, own) = (other.luma().mean(), site.before.luma().mean());
    let level = if rng.bool() { own + rng.within(-0.12, 0.12) } else { rng.within(0.05, 0.95) };
    let contrast = rng.log_within(0.4, 1.3);
    other.map_planes(|plane| plane.map(|v| (level + contrast * (v - mean)).clamp(0.0, 1.0)))
}

/// The image itself, from elsewhere and turned by a quarter.
fn shifted(picture: &Picture, rng: &mut Rng) -> Picture {
    let size = picture.size();
    let (dx, dy) = (rng.usize(size / 5..size * 4 / 5), rng.usize(size / 5..size * 4 / 5));
    picture.clone().map_planes(|plane| {
        let mut data = Vec::with_capacity(size * size);
        for y in 0..size {
            data.extend((0..size).map(|x| plane.data[(x + dx) % size * size + (y + dy) % size]));
        }
        Plane { size, data }
    })
}
