//! Metals: brushed, cast, rolled, ground, painted, galvanized, perforated; and dark ferrite.

use fastrand::Rng;

use super::{Part, Sheet};
use crate::train::synthetic::cells::Cells;
use crate::train::synthetic::math::{cos, fract, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice, coarse, fbm, rough, streaks, white};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// Slow unevenness of a sheet.
fn clouds(size: usize, rng: &mut Rng) -> Plane {
    let period = rng.within(0.25, 0.8) * size as f32;
    let frame = Frame::even(period, rng);
    rough(size, frame, 2, 0.5, rng)
}

/// Any direction, mostly along the rows or columns of the image.
pub fn direction(rng: &mut Rng) -> f32 {
    match rng.u32(..3) {
        0 => rng.within(0.0, 0.5),
        1 => rng.within(-0.01, 0.01),
        _ => 0.25 + rng.within(-0.01, 0.01),
    }
}

pub fn brushed(rng: &mut Rng, size: usize) -> Sheet {
    let grain = direction(rng);
    let length = rng.log_within(15.0, 400.0);
    let width = rng.log_within(0.6, 3.0);
    let strength = rng.log_within(0.012, 0.15);
    let level = rng.within(0.3, 0.7);
    let fine = streaks(size, grain, length, width, rng);
    let broad = streaks(size, grain, 4.0 * length, 6.0 * width, rng);
    let tone = fine.map(|v| level + strength * v).plus(&broad, strength * rng.within(0.2, 0.8));
    let tone = tone.plus(&clouds(size, rng), rng.within(0.0, 0.08));
    Sheet::grained(tone, grain, 2.0 * width)
}

pub fn cast(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(2.5, 12.0);
    let frame = Frame::even(period, rng);
    let gain = rng.within(0.5, 0.9);
    let height = fbm(size, frame, 4, gain, rng);
    let turns = rng.f32();
    let strength = rng.log_within(0.02, 0.12);
    let level = rng.within(0.22, 0.6);
    let relief = height.relief(cos(turns), sin(turns)).standardised();
    let tone = relief.map(|v| level + strength * v).plus(&height, 0.4 * strength);
    let tone = tone.plus(&clouds(size, rng), rng.within(0.0, 0.1));
    Sheet::plain(tone)
}

pub fn rolled(rng: &mut Rng, size: usize) -> Sheet {
    let grain = direction(rng);
    let width = rng.log_within(1.0, 5.0);
    let strength = rng.log_within(0.008, 0.08);
    let level = rng.within(0.25, 0.65);
    let long = streaks(size, grain, 30.0 * width, width, rng);
    let band_width = rng.within(0.08, 0.4) * size as f32;
    let bands = streaks(size, grain, 20.0 * size as f32, band_width, rng);
    let frame = Frame::even(2.0, rng);
    let skin = fbm(size, frame, 2, 0.8, rng);
    let tone = long.map(|v| level + strength * v).plus(&bands, strength * rng.within(0.0, 2.0));
    let tone = tone.plus(&skin, rng.log_within(0.005, 0.04));
    let tone = tone.plus(&clouds(size, rng), rng.within(0.0, 0.06));
    Sheet::grained(tone, grain, 2.0 * width)
}

pub fn ground(rng: &mut Rng, size: usize) -> Sheet {
    // Arcs around a far centre: what a grinding wheel leaves.
    let side = size as f32;
    let away = rng.log_within(0.6, 6.0) * side;
    let turns = rng.f32();
    let (cx, cy) = (0.5 * side + away * cos(turns), 0.5 * side + away * sin(turns));
    let width = rng.log_within(0.8, 3.5);
    let length = rng.log_within(20.0, 200.0);
    let lattice = Lattice::new(rng);
    let (dx, dy) = (-sin(turns) / length, cos(turns) / length);
    // A turning or milling tool leaves even grooves.
    let feed = rng.log_within(2.5, 0.12 * side);
    let grooves = if rng.chance(0.3) { rng.within(0.2, 1.5) } else { 0.0 };
    let mark = |x: f32, y: f32| {
        let radius = ((x - cx) * (x - cx) + (y - cy) * (y - cy)).sqrt() / width;
        let along = x * dx + y * dy;
        grooves * sin(radius * width / feed)
            + lattice.at(along, radius)
            + 0.6 * lattice.at(2.0 * along + 9.0, 2.1 * radius)
            + 0.5 * lattice.at(0.4 * along + 31.0, 0.21 * radius)
    };
    let marks = Plane::from_fn(size, mark).standardised();
    let strength = rng.log_within(0.01, 0.14);
    let level = rng.within(0.25, 0.65);
    let tone = marks.map(|v| level + strength * v);
    let tone = tone.plus(&clouds(size, rng), rng.within(0.0, 0.08));
    Sheet::grained(tone, turns + 0.25, 3.0 * width)
}

pub fn ferrite(rng: &mut Rng, size: usize) -> Sheet {
    // Sintered, dark, ground in one direction; a bowed face catches the light in broad bands.
    let grain = direction(rng);
    let width = rng.log_within(1.0, 4.0);
    let level = rng.within(0.16, 0.45);
    let strength = level * rng.log_within(0.02, 0.16);
    let fine = streaks(size, grain, rng.log_within(8.0, 80.0), width, rng);
    let band_width = rng.within(0.05, 0.5) * size as f32;
    let bands = streaks(size, grain, 5.0 * size as f32, band_width, rng);
    let frame = Frame::even(rng.log_within(1.5, 6.0), rng);
    let skin = fbm(size, frame, 3, 0.7, rng);
    let tone = fine.map(|v| level + strength * v);
    let tone = tone.plus(&bands, level * rng.within(0.0, 0.2));
    let tone = tone.plus(&skin, level * rng.log_within(0.02, 0.1));
    let tone = tone.plus(&clouds(size, rng), level * rng.within(0.0, 0.3));
    // A groove or two along the grain are made so.
    let tone = if rng.chance(0.25) { grooved(tone, grain, rng) } else { tone };
    Sheet::grained(tone.map(|v| v.max(0.02)), grain, 2.0 * width)
}

fn grooved(tone: Plane, grain: f32, rng: &mut Rng) -> Plane {
    let side = tone.size as f32;
    let pitch = rng.within(0.15, 0.5) * side;
    let width = rng.within(1.0, 4.0);
    let depth = rng.within(-0.5, 0.5);
    let (dx, dy) = (-sin(grain) / pitch, cos(grain) / pitch);
    let start = rng.f32();
    let groove = Plane::from_fn(tone.size, |x, y| {
        let t = fract(x * dx + y * dy + start) - 0.5;
        1.0 - smoothstep(0.5 * width, 0.5 * width + 1.2, t.abs() * pitch)
    });
    tone.with(&groove, |t, g| t * (1.0 + depth * g))
}

pub fn painted(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(3.0, 14.0);
    let frame = Frame::even(period, rng);
    let peel = fbm(size, frame, 2, 0.5, rng);
    let turns = rng.f32();
    let strength = rng.log_within(0.004, 0.04);
    let level = rng.within(0.15, 0.85);
    let relief = peel.relief(cos(turns), sin(turns)).standardised();
    let flakes = white(size, rng);
    let tone = relief.map(|v| level + strength * v);
    let tone = tone.plus(&flakes, if rng.chance(0.3) { rng.within(0.0, 0.05) } else { 0.0 });
    Sheet::plain(tone.plus(&clouds(size, rng), rng.within(0.0, 0.05)))
}

pub fn galvanized(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(6.0, 0.2 * size as f32);
    let frame = Frame::even(period, rng);
    let cells = Cells::new(frame, 0.95, rng);
    let level = rng.within(0.35, 0.7);
    let strength = rng.log_within(0.02, 0.14);
    let edge = rng.within(-0.06, 0.06);
    let feather = Lattice::new(rng);
    let tone = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        let (dx, dy) = (cos(0.5 * cell.other), sin(0.5 * cell.other));
        let lines = feather.at(0.7 * (x * dx + y * dy), 0.05 * (y * dx - x * dy));
        let border = edge * (1.0 - smoothstep(0.0, 1.5 / period, cell.border));
        level + strength * (cell.value + 0.3 * lines) + border
    });
    Sheet::plain(tone.plus(&clouds(size, rng), rng.within(0.0, 0.06)).blurred(0.5))
}

pub fn perforated(rng: &mut Rng, size: usize) -> Sheet {
    let base = match rng.u32(..3) {
        0 => brushed(rng, size),
        1 => painted(rng, size),
        _ => rolled(rng, size),
    };
    let pitch = rng.log_within(0.07, 0.33) * size as f32;
    let radius = pitch * rng.within(0.18, 0.38);
    let depth = rng.within(0.02, 0.5);
    let rim = rng.within(-0.08, 0.15);
    let square = rng.chance(0.2);
    let staggered = rng.bool();
    let (x0, y0) = (rng.within(0.0, pitch), rng.within(0.0, pitch));
    let mut parts = Vec::new();
    let mut tone = base.tone.clone();
    let rows = (size as f32 / pitch) as i32 + 2;
    for row in -1..rows {
        for column in -1..rows {
            let shift = if staggered && row & 1 == 1 { 0.5 * pitch } else { 0.0 };
            let (x, y) = (x0 + column as f32 * pitch + shift, y0 + row as f32 * pitch);
            let part = Part { x, y, rx: radius + 2.5, ry: radius + 2.5 };
            parts.push(part);
            stamp(&mut tone, &part, |dx, dy, old| {
                let round = (dx * dx + dy * dy).sqrt();
                let far = if square { dx.abs().max(dy.abs()) } else { round } - radius;
                let ring = 1.0 - smoothstep(0.0, 1.6, (far - 0.8).abs());
                let inside = 1.0 - smoothstep(-0.7, 0.7, far);
                let hole = depth * (0.5 + 0.25 * (dx - dy) / radius);
                old + rim * ring + (hole - old) * inside
            });
        }
    }
    let under = Some(base.tone.clone());
    Sheet { tone, under, parts, pitch, ..base }
}

/// Redraws the pixels of a part's box: `draw(dx, dy, old)` with the distance from its centre.
pub fn stamp(tone: &mut Plane, part: &Part, draw: impl Fn(f32, f32, f32) -> f32) {
    let last = tone.size as i32 - 1;
    let range = |centre: f32, reach: f32| {
        (((centre - reach) as i32).max(0), ((centre + reach) as i32 + 1).min(last))
    };
    let (x0, x1) = range(part.x, part.rx);
    let (y0, y1) = range(part.y, part.ry);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let value = &mut tone.data[y as usize * tone.size + x as usize];
            *value = draw(x as f32 - part.x, y as f32 - part.y, *value);
        }
    }
}

/// A slope of brightness across the sheet.
pub fn slope(size: usize, strength: f32, rng: &mut Rng) -> Plane {
    let turns = rng.f32();
    let (dx, dy) = (cos(turns) / size as f32, sin(turns) / size as f32);
    let half = 0.5 * size as f32;
    coarse(size, move |x, y| strength * ((x - half) * dx + (y - half) * dy))
}
