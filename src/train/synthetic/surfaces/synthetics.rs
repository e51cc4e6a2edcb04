//! Polymers and glass: plastic, rubber, foam, glass.

use fastrand::Rng;

use super::metal::{direction, slope};
use super::{Part, Sheet};
use crate::train::synthetic::cells::Cells;
use crate::train::synthetic::math::{cos, fract, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

pub fn plastic(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.1, 0.85);
    let grain = fbm(size, Frame::even(rng.log_within(1.5, 9.0), rng), 3, 0.6, rng);
    let turns = rng.f32();
    let relief = grain.relief(cos(turns), sin(turns)).standardised();
    let strength = rng.log_within(0.003, 0.05);
    let tone = slope(size, rng.within(0.0, 0.2), rng).map(|v| level + v);
    Sheet::plain(tone.plus(&relief, strength))
}

pub fn rubber(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.06, 0.35);
    let turn = direction(rng);
    let pitch = rng.log_within(5.0, 0.2 * size as f32);
    let frame = Frame::new(turn, pitch, pitch, rng);
    let (depth, share) = (level * rng.within(0.1, 0.7), rng.within(0.2, 0.42));
    let studs = rng.bool();
    let edge = 1.0 / pitch;
    let height = Plane::from_fn(size, |x, y| {
        let (u, v) = frame.at(x, y);
        let (du, dv) = (fract(u) - 0.5, fract(v) - 0.5);
        let far = if studs { (du * du + dv * dv).sqrt() } else { dv.abs() };
        1.0 - smoothstep(share - edge, share + edge, far)
    });
    let light = rng.f32();
    let relief = height.relief(cos(light), sin(light));
    let skin = fbm(size, Frame::even(2.5, rng), 3, 0.8, rng);
    let tone =
        height.map(|v| level + depth * (v - 0.5)).plus(&relief, level * rng.within(0.2, 1.2));
    let tone = tone.plus(&skin, level * rng.log_within(0.02, 0.1)).map(|v| v.max(0.02));
    let mut sheet = Sheet::grained(tone, turn, pitch);
    // Upright studs can be missing.
    if studs && cos(2.0 * turn).abs() > 0.99 {
        let flat = skin.map(|v| level - 0.5 * depth + 0.03 * level * v);
        sheet.parts = stud_parts(size, frame, pitch);
        sheet.under = Some(flat);
    }
    sheet
}

/// Boxes around the studs, found by following the frame.
fn stud_parts(size: usize, frame: Frame, pitch: f32) -> Vec<Part> {
    let mut parts = Vec::new();
    let half = 0.5 * pitch;
    let mut y = half;
    while y < size as f32 - half {
        let mut x = half;
        while x < size as f32 - half {
            let (u, v) = frame.at(x, y);
            let (du, dv) = (fract(u) - 0.5, fract(v) - 0.5);
            // Moves to the stud's middle: u and v run along the rows or the columns.
            let (ux, uy) = frame.pixels(du, dv);
            parts.push(Part { x: x - ux, y: y - uy, rx: half, ry: half });
            x += pitch;
        }
        y += pitch;
    }
    parts
}

pub fn foam(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(3.0, 16.0);
    let cells = Cells::new(Frame::even(period, rng), 0.9, rng);
    let level = rng.within(0.35, 0.85);
    let depth = level * rng.log_within(0.05, 0.4);
    let (wall, dark) = (rng.within(0.1, 0.35), rng.bool());
    let tone = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        let pore = smoothstep(0.0, wall, cell.border) * (0.75 + 0.25 * cell.value);
        if dark { level - depth * pore } else { level - depth + depth * pore }
    });
    let skin = fbm(size, Frame::even(3.0, rng), 2, 0.7, rng);
    Sheet::plain(tone.plus(&skin, rng.log_within(0.004, 0.03)).blurred(0.4))
}

pub fn glass(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.1, 0.9);
    let haze = fbm(size, Frame::even(rng.within(0.2, 0.8) * size as f32, rng), 2, 0.4, rng);
    let tone = slope(size, rng.within(0.0, 0.35), rng).map(|v| level + v);
    let tone = tone.plus(&haze, rng.log_within(0.003, 0.04));
    // The mirrored edge of a window or lamp is no defect.
    let tone = if rng.chance(0.3) {
        let frame = Frame::even(rng.within(0.5, 1.2) * size as f32, rng);
        let gleam = rng.within(0.02, 0.15);
        let soft = rng.within(0.01, 0.1);
        let band = Plane::from_fn(size, |x, y| {
            smoothstep(0.0, soft, (fract(frame.at(x, y).0) - 0.5).abs() - 0.2)
        });
        tone.plus(&band, gleam)
    } else {
        tone
    };
    Sheet::plain(tone.map(|v| v.clamp(0.02, 0.98)))
}
