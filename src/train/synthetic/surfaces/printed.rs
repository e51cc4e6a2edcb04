//! Printed surfaces: repeated motifs on a ground, and labels with rows of marks like text.

use fastrand::Rng;

use super::metal::stamp;
use super::{Part, Sheet};
use crate::train::synthetic::math::{fract, lerp, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

#[derive(Clone, Copy)]
enum Motif {
    Disc,
    Ring,
    Square,
    Cross,
    Diamond,
    Bar,
}

const MOTIFS: [Motif; 6] =
    [Motif::Disc, Motif::Ring, Motif::Square, Motif::Cross, Motif::Diamond, Motif::Bar];

impl Motif {
    /// Distance in pixels from the edge, negative inside, of a motif of radius `r`.
    fn edge(self, dx: f32, dy: f32, r: f32) -> f32 {
        let round = (dx * dx + dy * dy).sqrt();
        match self {
            Motif::Disc => round - r,
            Motif::Ring => (round - 0.75 * r).abs() - 0.22 * r,
            Motif::Square => dx.abs().max(dy.abs()) - 0.85 * r,
            Motif::Cross => {
                let (a, b) = (dx.abs(), dy.abs());
                (a.max(b) - r).max(a.min(b) - 0.28 * r)
            }
            Motif::Diamond => 0.707 * (dx.abs() + dy.abs() - r),
            Motif::Bar => (dx.abs() - r).max(dy.abs() - 0.35 * r),
        }
    }
}

fn ground(size: usize, level: f32, rng: &mut Rng) -> Plane {
    let skin = fbm(size, Frame::even(rng.log_within(2.0, 12.0), rng), 3, 0.7, rng);
    let strength = rng.log_within(0.003, 0.03);
    skin.map(|v| level + strength * v)
}

pub fn pattern(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.15, 0.9);
    let under = ground(size, level, rng);
    let ink = (level + rng.sign() * rng.within(0.12, 0.6)).clamp(0.04, 0.97);
    let step = rng.log_within(0.08, 0.35) * size as f32;
    let radius = step * rng.within(0.2, 0.42);
    let motifs = [rng.one_of(&MOTIFS), rng.one_of(&MOTIFS)];
    let staggered = rng.bool();
    let (x0, y0) = (rng.within(0.0, step), rng.within(0.0, step));
    let mut tone = under.clone();
    let mut region = Plane::filled(size, 0.0);
    let mut parts = Vec::new();
    let count = (size as f32 / step) as i32 + 2;
    for row in -1..count {
        for column in -1..count {
            let shift = if staggered && row & 1 == 1 { 0.5 * step } else { 0.0 };
            let (x, y) = (x0 + column as f32 * step + shift, y0 + row as f32 * step);
            let part = Part { x, y, rx: radius + 1.5, ry: radius + 1.5 };
            let motif = motifs[((row + column) & 1) as usize];
            let cover = |dx, dy| 1.0 - smoothstep(-0.7, 0.7, motif.edge(dx, dy, radius));
            stamp(&mut tone, &part, |dx, dy, old| lerp(old, ink, cover(dx, dy)));
            stamp(&mut region, &part, |dx, dy, old| old.max(cover(dx, dy)));
            parts.push(part);
        }
    }
    Sheet { region: Some(region), under: Some(under), parts, ..Sheet::grained(tone, 0.0, step) }
}

/// Characters of a made-up script on a grid; a few of them repeat row by row.
pub fn label(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.2, 0.92);
    let under = ground(size, level, rng);
    let ink =
        if level > 0.5 { level * rng.within(0.08, 0.6) } else { level + rng.within(0.2, 0.45) };
    let height = rng.log_within(7.0, 0.16 * size as f32);
    let width = 0.62 * height;
    let stroke = (0.12 * height).max(1.0);
    let alphabet = (0..rng.usize(2..7)).map(|_| glyph(rng)).collect::<Vec<_>>();
    let word = rng.usize(1..alphabet.len() + 3);
    let leading = height * rng.within(1.3, 2.2);
    let (x0, y0) = (rng.within(0.0, width), rng.within(0.0, height));
    let mut tone = under.clone();
    let mut parts = Vec::new();
    let rows = (size as f32 / leading) as usize + 1;
    let columns = (size as f32 / (1.25 * width)) as usize + 1;
    for row in 0..rows {
        for column in 0..columns {
            if column % (word + 1) == word {
                continue;
            }
            let letter = &alphabet[(column % (word + 1)) % alphabet.len()];
            let (x, y) = (x0 + column as f32 * 1.25 * width, y0 + row as f32 * leading);
            let part = Part { x, y, rx: 0.5 * width + 1.5, ry: 0.5 * height + 1.5 };
            parts.push(part);
            stamp(&mut tone, &part, |dx, dy, old| {
                let far = letter
                    .iter()
                    .map(|s| distance(dx / width, dy / height, *s, width, height))
                    .fold(f32::MAX, f32::min);
                lerp(old, ink, 1.0 - smoothstep(0.5 * stroke - 0.6, 0.5 * stroke + 0.6, far))
            });
        }
    }
    // Some labels have a frame or ruled lines.
    let ruled = rng.chance(0.4);
    let tone = Plane::from_fn(size, |x, y| {
        let far = (fract((y - y0) / leading) - 0.5).abs() * leading;
        let share = if ruled { 1.0 - smoothstep(0.4, 1.3, far) } else { 0.0 };
        lerp(tone.at(x, y), ink, 0.6 * share)
    });
    Sheet { under: Some(under), parts, ..Sheet::grained(tone, 0.0, leading) }
}

/// A line from (x0, y0) to (x1, y1) in units of a character's box, its middle at 0.
#[derive(Clone, Copy)]
struct Stroke {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
}

/// Two to four lines between points of a 2 × 3 grid.
fn glyph(rng: &mut Rng) -> Vec<Stroke> {
    let knot = |rng: &mut Rng| (rng.one_of(&[-0.38, 0.38]), rng.one_of(&[-0.42, 0.0, 0.42]));
    let (mut x0, mut y0) = knot(rng);
    let mut strokes = Vec::new();
    for _ in 0..rng.usize(3..6) {
        let (x1, y1) = knot(rng);
        if (x1, y1) != (x0, y0) {
            strokes.push(Stroke { x0, y0, x1, y1 });
        }
        (x0, y0) = (x1, y1);
    }
    if strokes.is_empty() {
        strokes.push(Stroke { x0: -0.38, y0: 0.42, x1: 0.38, y1: -0.42 });
    }
    strokes
}

/// Pixels from a point to a stroke.
fn distance(x: f32, y: f32, s: Stroke, width: f32, height: f32) -> f32 {
    let (ax, ay) = ((s.x1 - s.x0) * width, (s.y1 - s.y0) * height);
    let (px, py) = ((x - s.x0) * width, (y - s.y0) * height);
    let t = ((px * ax + py * ay) / (ax * ax + ay * ay)).clamp(0.0, 1.0);
    let (dx, dy) = (px - t * ax, py - t * ay);
    (dx * dx + dy * dy).sqrt()
}
