//! Mineral surfaces: glazed ceramic, tiles, concrete, asphalt, granite, marble, brick, gravel.

use fastrand::Rng;

use super::Sheet;
use super::metal::slope;
use crate::train::synthetic::cells::Cells;
use crate::train::synthetic::math::{cos, floor, fract, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice, fbm, white};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

pub fn ceramic(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.3, 0.85);
    let tone = slope(size, rng.within(0.0, 0.15), rng).map(|v| v + level);
    let frame = Frame::even(rng.log_within(2.0, 30.0), rng);
    let clouds = fbm(size, frame, 3, 0.6, rng);
    let tone = tone.plus(&clouds, rng.log_within(0.003, 0.03));
    // Speckles all over belong to some glazes.
    let tone = if rng.chance(0.35) {
        let period = rng.log_within(4.0, 12.0);
        let cells = Cells::new(Frame::even(period, rng), 1.0, rng);
        let (most, depth) = (rng.within(0.1, 0.3), rng.within(-0.3, 0.1));
        let dots = Plane::from_fn(size, |x, y| {
            let cell = cells.at(x, y);
            let radius = most * (0.5 + 0.5 * cell.value);
            1.0 - smoothstep(radius - 0.6 / period, radius + 0.6 / period, cell.near)
        });
        tone.plus(&dots, depth)
    } else {
        tone
    };
    Sheet::plain(tone)
}

pub fn tiles(rng: &mut Rng, size: usize) -> Sheet {
    let side = rng.log_within(0.12, 0.6) * size as f32;
    let aspect = rng.one_of(&[1.0, 1.0, 2.0, 3.0]);
    let offset = rng.one_of(&[0.0, 0.0, 0.5]);
    masonry(size, side, side * aspect, offset, rng)
}

pub fn brick(rng: &mut Rng, size: usize) -> Sheet {
    let height = rng.log_within(0.08, 0.3) * size as f32;
    masonry(size, height, height * rng.within(2.0, 3.2), 0.5, rng)
}

/// Blocks in rows with joints between; odd rows shifted by `offset` of a block.
fn masonry(size: usize, height: f32, width: f32, offset: f32, rng: &mut Rng) -> Sheet {
    let joint = (height * rng.log_within(0.02, 0.12)).max(1.2);
    let rough = offset > 0.0 && rng.bool();
    let turn = if rng.chance(0.3) { rng.within(0.0, 0.25) } else { rng.within(-0.008, 0.008) };
    let frame = Frame::new(turn, 1.0, 1.0, rng);
    let lattice = Lattice::new(rng);
    let (block, varied) = (rng.within(0.25, 0.85), rng.log_within(0.005, 0.08));
    let gap = (block + rng.sign() * rng.within(0.08, 0.4)).clamp(0.05, 0.95);
    let edge = if rough { 1.5 } else { 0.6 };
    let grain_frame = Frame::even(rng.log_within(2.0, 12.0), rng);
    let skin = fbm(size, grain_frame, 3, 0.7, rng);
    let skin_strength =
        if rough { rng.log_within(0.02, 0.08) } else { rng.log_within(0.003, 0.03) };
    let bevel = rng.within(-0.12, 0.12);
    let mut region = Plane::filled(size, 0.0);
    let tone = Plane::from_fn(size, |x, y| {
        let (u, v) = frame.at(x, y);
        let row = floor(v / height);
        let shift = offset * (row & 1) as f32;
        let column = floor(u / width + shift);
        let wobble = if rough { 1.2 * lattice.at(0.15 * u, 0.15 * v) } else { 0.0 };
        let du = (0.5 - (fract(u / width + shift) - 0.5).abs()) * width;
        let dv = (0.5 - (fract(v / height) - 0.5).abs()) * height;
        let inside = du.min(dv) - 0.5 * joint + wobble;
        let share = smoothstep(-edge, edge, inside);
        region.data[y as usize * size + x as usize] = 1.0 - share;
        let rim = bevel * (1.0 - smoothstep(0.0, 0.6 * joint + 2.0, inside));
        lerp(gap, block + varied * lattice.cell(column, row) + rim, share)
    });
    let tone = tone.plus(&skin, skin_strength);
    Sheet { region: Some(region), ..Sheet::grained(tone, turn, height) }
}

pub fn concrete(rng: &mut Rng, size: usize) -> Sheet {
    let level = rng.within(0.3, 0.75);
    let frame = Frame::even(rng.within(0.1, 0.5) * size as f32, rng);
    let clouds = fbm(size, frame, 6, rng.within(0.5, 0.75), rng);
    let grit = white(size, rng).blurred(0.6);
    let strength = rng.log_within(0.01, 0.06);
    let tone = clouds.map(|v| level + strength * v);
    let tone = tone.plus(&grit, rng.log_within(0.02, 0.12));
    // Small pores everywhere.
    let strength = if rng.bool() { rng.within(0.05, 0.25) } else { 0.0 };
    let period = rng.log_within(5.0, 14.0);
    let cells = Cells::new(Frame::even(period, rng), 1.0, rng);
    let pores = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        let radius = 0.18 * (0.5 + 0.5 * cell.value);
        1.0 - smoothstep(radius - 0.1, radius + 0.05, cell.near)
    });
    Sheet::plain(tone.plus(&pores, -strength))
}

pub fn asphalt(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(3.0, 12.0);
    stones(size, period, 0.3, rng)
}

pub fn gravel(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(7.0, 0.18 * size as f32);
    stones(size, period, 0.1, rng)
}

/// Stones in a dark bed, some of them under the bed.
fn stones(size: usize, period: f32, buried: f32, rng: &mut Rng) -> Sheet {
    let cells = Cells::new(Frame::even(period, rng), 0.95, rng);
    let bed = rng.within(0.08, 0.35);
    let (stone, varied) = (bed + rng.within(0.08, 0.35), rng.within(0.04, 0.18));
    let turns = rng.f32();
    let mut places = Vec::with_capacity(size * size);
    let heights = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        places.push(cell);
        let seen = if 0.5 + 0.5 * cell.other < buried { 0.0 } else { 1.0 };
        seen * smoothstep(0.02, 0.45, cell.border)
    });
    let light = heights.relief(cos(turns), sin(turns));
    let frame = Frame::even(2.5, rng);
    let grit = fbm(size, frame, 2, 0.8, rng);
    let mut region = heights.clone();
    let mut tone = heights;
    for ((cell, share), value) in places.iter().zip(&mut region.data).zip(&mut tone.data) {
        *share = 0.5 + 0.5 * cell.value;
        *value = lerp(bed, stone + varied * cell.value, *value);
    }
    let tone = tone.plus(&light, rng.within(0.1, 0.7)).plus(&grit, rng.log_within(0.02, 0.07));
    Sheet { region: Some(region), ..Sheet::plain(tone) }
}

pub fn granite(rng: &mut Rng, size: usize) -> Sheet {
    let period = rng.log_within(2.5, 10.0);
    let frame = Frame::even(period, rng);
    let cells = Cells::new(frame, 1.0, rng);
    let level = rng.within(0.3, 0.7);
    let strength = rng.log_within(0.05, 0.25);
    let mut region = Plane::filled(size, 0.0);
    let tone = Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        region.data[y as usize * size + x as usize] = if cell.other > 0.3 { 1.0 } else { 0.0 };
        level + strength * cell.value
    });
    let fine = Frame::even(2.0, rng);
    let grit = fbm(size, fine, 2, 0.8, rng);
    let blur = rng.within(0.4, 1.0);
    let tone = tone.plus(&grit, 0.4 * strength).blurred(blur);
    Sheet { region: Some(region), ..Sheet::plain(tone) }
}

pub fn marble(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let level = rng.within(0.35, 0.85);
    let turn = rng.f32();
    let (along, across) = (rng.within(0.3, 0.9) * side, rng.within(0.12, 0.4) * side);
    let bend = Frame::new(turn, along, across, rng);
    let field = fbm(size, bend, 4, 0.5, rng);
    let second = fbm(size, Frame::even(0.3 * side, rng), 5, 0.6, rng);
    let (depth, width) = (rng.within(0.03, 0.2), rng.within(0.5, 1.4));
    let tone = field.map(|v| level - depth * (1.0 - smoothstep(0.0, width, v.abs())));
    Sheet::grained(tone.plus(&second, rng.log_within(0.01, 0.05)), turn, 6.0)
}

pub fn textured(rng: &mut Rng, size: usize) -> Sheet {
    let frame = Frame::new(rng.f32(), rng.log_within(3.0, 40.0), rng.log_within(3.0, 20.0), rng);
    let level = rng.within(0.25, 0.75);
    let strength = rng.log_within(0.02, 0.15);
    let gain = rng.within(0.4, 0.9);
    Sheet::plain(fbm(size, frame, 5, gain, rng).map(|v| level + strength * v))
}
