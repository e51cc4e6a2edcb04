//! Grown things and their products: wood, leather, cork, paper, grass.

use fastrand::Rng;

use super::Sheet;
use super::metal::direction;
use crate::train::synthetic::cells::Cells;
use crate::train::synthetic::math::{cos, fract, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice, fbm, streaks, white};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

pub fn wood(rng: &mut Rng, size: usize) -> Sheet {
    let grain = direction(rng);
    let side = size as f32;
    let ring = rng.log_within(5.0, 0.2 * side);
    let bend =
        fbm(size, Frame::new(grain, side * rng.within(0.4, 1.5), 0.3 * side, rng), 3, 0.45, rng);
    let amount = rng.within(0.2, 2.5);
    let frame = Frame::new(grain, side, ring, rng);
    let lattice = Lattice::new(rng);
    let level = rng.within(0.25, 0.7);
    let depth = level * rng.log_within(0.04, 0.3);
    let sharp = rng.within(0.2, 0.8);
    let rings = Plane::from_fn(size, |x, y| {
        let v = frame.at(x, y).1 + amount * bend.at(x, y);
        let late = fract(v);
        // Late wood darkens slowly and ends at once.
        smoothstep(sharp, 1.0, late) * (1.0 - smoothstep(0.96, 1.0, late))
            + 0.4 * lattice.at(3.0, v)
    });
    let fibre = streaks(size, grain, rng.log_within(15.0, 80.0), rng.log_within(0.8, 2.0), rng);
    let tone = rings.map(|v| level - depth * v).plus(&fibre, level * rng.log_within(0.02, 0.1));
    Sheet::grained(tone, grain, ring)
}

pub fn leather(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(4.0, 18.0);
    let turn = rng.f32();
    let frame = Frame::new(turn, period * rng.within(1.0, 1.7), period, rng);
    let cells = Cells::new(frame, 0.9, rng);
    let crease = rng.within(0.12, 0.4);
    let height = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        smoothstep(0.0, crease, cell.border) * (0.8 + 0.2 * cell.value)
    });
    let level = rng.within(0.15, 0.65);
    let light = rng.f32();
    let relief = height.relief(cos(light), sin(light));
    let fold = fbm(size, Frame::even(0.4 * size as f32, rng), 3, 0.5, rng);
    let skin = white(size, rng).blurred(0.7);
    let depth = level * rng.within(0.05, 0.4);
    let tone =
        height.map(|v| level - depth + depth * v).plus(&relief, level * rng.within(0.1, 0.7));
    let tone = tone.plus(&fold, level * rng.within(0.0, 0.06));
    Sheet::grained(tone.plus(&skin, level * rng.log_within(0.02, 0.08)), turn, period)
}

pub fn cork(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(4.0, 14.0);
    let cells = Cells::new(Frame::even(period, rng), 1.0, rng);
    let bend = fbm(size, Frame::even(period, rng), 3, 0.6, rng);
    let level = rng.within(0.35, 0.65);
    let (strength, crack) = (rng.log_within(0.03, 0.14), rng.within(0.05, 0.25));
    let tone = Plane::from_fn(size, |x, y| {
        let b = bend.at(x, y);
        let cell = cells.at(x + 0.25 * period * b, y - 0.2 * period * b);
        let speck = if cell.other > 0.75 { -1.5 } else { cell.value };
        level + strength * (speck + 0.5 * b) - crack * (1.0 - smoothstep(0.0, 0.15, cell.border))
    });
    Sheet::plain(tone.blurred(0.5))
}

pub fn paper(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.5, 0.9);
    let fibre = fbm(size, Frame::even(rng.log_within(3.0, 20.0), rng), 4, 0.75, rng);
    let cloud = fbm(size, Frame::even(0.3 * size as f32, rng), 3, 0.5, rng);
    let tone = fibre.map(|v| level + 0.02 * v).plus(&cloud, rng.log_within(0.004, 0.03));
    let grain = direction(rng);
    let tone = if rng.chance(0.4) {
        // Corrugated or ruled board.
        let pitch = rng.log_within(4.0, 24.0);
        let frame = Frame::new(grain, pitch, pitch, rng);
        let depth = rng.log_within(0.01, 0.08);
        let ribs = Plane::from_fn(size, |x, y| sin(frame.at(x, y).1));
        tone.plus(&ribs, depth)
    } else {
        tone
    };
    Sheet::grained(tone, grain, 8.0)
}

pub fn grass(rng: &mut Rng, size: usize) -> Sheet {
    // Layers of short blades, each layer with its own direction.
    let level = rng.within(0.2, 0.5);
    let width = rng.log_within(1.2, 3.0);
    let mut tone = Plane::filled(size, level);
    for _ in 0..3 {
        let turns = rng.f32();
        let blades =
            fbm(size, Frame::new(turns, width * rng.within(6.0, 12.0), width, rng), 2, 0.7, rng);
        tone = tone.plus(&blades, level * rng.within(0.1, 0.3));
    }
    let patches = fbm(size, Frame::even(0.2 * size as f32, rng), 3, 0.6, rng);
    Sheet::plain(tone.plus(&patches, level * rng.within(0.03, 0.2)))
}
