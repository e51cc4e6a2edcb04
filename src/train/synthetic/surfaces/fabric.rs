//! Woven and knitted surfaces, carpet and wire mesh: threads in two directions.

use fastrand::Rng;

use super::Sheet;
use super::metal::direction;
use crate::train::synthetic::math::{floor, fract, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice, fbm, white};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// Which thread lies on top at the crossing of warp `i` and weft `j`.
type Binding = fn(i32, i32) -> Top;

#[derive(Clone, Copy, PartialEq)]
enum Top {
    Warp,
    Weft,
}

pub fn weave(rng: &mut Rng, size: usize) -> Sheet {
    let binding: Binding = if rng.chance(0.25) {
        |i, j| if ((i >> 1) + (j >> 1)) & 1 == 0 { Top::Warp } else { Top::Weft }
    } else {
        |i, j| if (i + j) & 1 == 0 { Top::Warp } else { Top::Weft }
    };
    woven(size, binding, rng)
}

pub fn twill(rng: &mut Rng, size: usize) -> Sheet {
    let binding: Binding = if rng.bool() {
        |i, j| if (i + j) & 3 < 2 { Top::Warp } else { Top::Weft }
    } else {
        |i, j| if (i - j).rem_euclid(3) == 0 { Top::Warp } else { Top::Weft }
    };
    woven(size, binding, rng)
}

fn woven(size: usize, binding: Binding, rng: &mut Rng) -> Sheet {
    let turn = direction(rng);
    let pitch = rng.log_within(2.6, 0.12 * size as f32);
    let frame = Frame::new(turn, pitch, pitch * rng.within(0.8, 1.25), rng);
    let bend = rough_bend(size, rng);
    let lattice = Lattice::new(rng);
    let level = rng.within(0.25, 0.7);
    let depth = level * rng.within(0.15, 0.6);
    let (contrast, uneven) = (rng.within(-0.15, 0.15), rng.log_within(0.005, 0.05));
    let gap = rng.within(0.0, 0.5);
    let mut region = Plane::filled(size, 0.0);
    let tone = Plane::from_fn(size, |x, y| {
        let at = y as usize * size + x as usize;
        let (u, v) = frame.at(x, y);
        let (u, v) = (u + bend.data[at], v - bend.data[at]);
        let (i, j) = (floor(u), floor(v));
        let (du, dv) = (u - i as f32 - 0.5, v - j as f32 - 0.5);
        let top = binding(i, j);
        let (across, along, colour, thread) = match top {
            Top::Warp => (du, dv, contrast, lattice.cell(i, 7)),
            Top::Weft => (dv, du, -contrast, lattice.cell(j, 31)),
        };
        region.data[at] = if top == Top::Warp { 0.0 } else { 1.0 };
        let round = 1.0 - 4.0 * across * across;
        let bow = 1.0 - 2.0 * along * along;
        level - depth + depth * round * bow - gap * depth * (1.0 - round) + colour + uneven * thread
    });
    let fibre = white(size, rng).blurred(0.5);
    let tone =
        tone.plus(&fibre, rng.log_within(0.01, 0.08)).blurred(if pitch < 5.0 { 0.5 } else { 0.3 });
    Sheet { region: Some(region), ..Sheet::grained(tone, turn, pitch) }
}

/// Cloth is never quite straight; in threads.
fn rough_bend(size: usize, rng: &mut Rng) -> Plane {
    let amount = rng.within(0.0, 0.5);
    let frame = Frame::even(0.6 * size as f32, rng);
    fbm(size, frame, 2, 0.4, rng).map(|v| amount * v)
}

pub fn knit(rng: &mut Rng, size: usize) -> Sheet {
    let turn = direction(rng);
    let pitch = rng.log_within(4.0, 0.14 * size as f32);
    let frame = Frame::new(turn, pitch, 0.8 * pitch, rng);
    let bend = rough_bend(size, rng);
    let level = rng.within(0.3, 0.7);
    let depth = level * rng.within(0.2, 0.6);
    let slant = rng.within(0.5, 1.1);
    let tone = Plane::from_fn(size, |x, y| {
        let at = y as usize * size + x as usize;
        let (u, v) = frame.at(x, y);
        let across = fract(u + 0.3 * bend.data[at]) - 0.5;
        // Two legs of each loop lean towards each other.
        let leg = fract(v + 0.3 * bend.data[at] + slant * across.abs()) - 0.5;
        let thick = 1.0 - 4.0 * leg * leg;
        let middle =
            smoothstep(0.0, 0.16, across.abs()) * smoothstep(0.0, 0.12, 0.5 - across.abs());
        level - depth * (1.0 - thick * (0.4 + 0.6 * middle))
    });
    let fibre = white(size, rng).blurred(0.6);
    Sheet::grained(tone.plus(&fibre, rng.log_within(0.02, 0.1)), turn, pitch)
}

pub fn carpet(rng: &mut Rng, size: usize) -> Sheet {
    let turn = direction(rng);
    let pitch = rng.log_within(2.5, 8.0);
    let tuft = Frame::new(turn, pitch * rng.within(1.0, 2.0), pitch, rng);
    let level = rng.within(0.2, 0.6);
    let strength = level * rng.log_within(0.1, 0.4);
    let pile = fbm(size, tuft, 3, 0.8, rng);
    let rows = rng.within(0.0, 0.5) * strength;
    let frame = Frame::new(turn, pitch, pitch * 1.5, rng);
    let ribs = Plane::from_fn(size, |x, y| sin(frame.at(x, y).1));
    let tone = pile.map(|v| level + strength * v).plus(&ribs, rows);
    Sheet::grained(tone, turn, 1.5 * pitch)
}

pub fn mesh(rng: &mut Rng, size: usize) -> Sheet {
    let turn = if rng.bool() { direction(rng) } else { 0.125 };
    let pitch = rng.log_within(6.0, 0.2 * size as f32);
    let wire = rng.within(0.12, 0.3);
    let frame = Frame::new(turn, pitch, pitch, rng);
    let behind = Frame::even(rng.log_within(4.0, 60.0), rng);
    let back = rng.within(0.03, 0.6);
    let level = (back + rng.sign() * rng.within(0.25, 0.6)).clamp(0.12, 0.95);
    let under = fbm(size, behind, 2, 0.5, rng).map(|v| back + 0.02 * v);
    let edge = 0.7 / pitch;
    let tone = Plane::from_fn(size, |x, y| {
        let (u, v) = frame.at(x, y);
        let (du, dv) = (fract(u) - 0.5, fract(v) - 0.5);
        let raised = if (floor(u) + floor(v)) & 1 == 0 { du } else { dv };
        let thin = |d: f32| 1.0 - smoothstep(wire - edge, wire + edge, d.abs() * 2.0 - 0.02);
        let share = thin(du).max(thin(dv));
        let shape = 1.0 - (raised / wire) * (raised / wire);
        let shade = level * lerp(0.55, 1.0, shape.clamp(0.0, 1.0));
        lerp(under.at(x, y), shade, share)
    });
    let grit = white(size, rng).blurred(0.6);
    let tone = tone.plus(&grit, rng.log_within(0.005, 0.04));
    Sheet { under: Some(under), ..Sheet::grained(tone, turn, pitch) }
}
