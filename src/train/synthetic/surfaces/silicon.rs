//! Cells and chips: luminescence images of solar cells, wafers of dies, circuit boards.

use fastrand::Rng;

use super::metal::stamp;
use super::{Bars, Part, Sheet};
use crate::train::synthetic::cells::Cells;
use crate::train::synthetic::math::{floor, fract, lerp, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice, coarse, fbm, streaks, white};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// Luminescence: crystals glow unevenly, fingers are fine lines, bus bars broad dark ones.
pub fn solar_cell(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let level = rng.within(0.3, 0.75);
    let tone = if rng.chance(0.7) { crystals(size, level, rng) } else { single(size, level, rng) };
    // Dimmer towards the edges of the cell.
    let (fall, reach) = (rng.within(0.0, 0.5), rng.within(0.02, 0.25) * side);
    let tone = tone.with(
        &coarse(size, |x, y| {
            let edge = x.min(y).min(side - x).min(side - y);
            1.0 - fall * (1.0 - smoothstep(0.0, reach, edge))
        }),
        |t, f| t * f,
    );
    let upright = rng.bool();
    let tilt = rng.within(-0.02, 0.02);
    let pitch = rng.log_within(2.5, 9.0);
    let fine = rng.within(0.0, 0.12);
    let count = rng.usize(0..6);
    let (width, dark) = (rng.within(1.0, 0.022 * side + 1.5), rng.within(0.25, 0.9));
    let (start, gap) = (rng.within(-0.03, 0.03) * side, side / count.max(1) as f32);
    let bars = Bars { upright, tilt, start, gap };
    let tone = tone.with(
        &Plane::from_fn(size, |x, y| {
            let (across, along) = bars.at(x, y);
            let finger = (fract(along / pitch) - 0.5).abs() * pitch;
            let thin = 1.0 - fine * (1.0 - smoothstep(0.3, 1.0, finger));
            if count == 0 {
                return thin;
            }
            let bar = (fract(across + 0.5) - 0.5).abs() * gap;
            thin * (1.0 - dark * (1.0 - smoothstep(0.5 * width, 0.5 * width + 1.2, bar)))
        }),
        |t, f| t * f,
    );
    let grain = if upright { 0.0 } else { 0.25 };
    let mut sheet = Sheet::grained(tone, grain, pitch);
    sheet.bars = (count > 0).then_some(bars);
    if rng.chance(0.3) {
        let frame = margin(size, rng);
        let black = Plane::filled(size, rng.within(0.0, 0.08));
        sheet.tone =
            sheet.tone.with(&frame, |t, f| t * f).plus(&frame.clone().map(|f| 1.0 - f), 0.03);
        sheet.object = Some((frame, black));
    }
    sheet
}

fn crystals(size: usize, level: f32, rng: &mut Rng) -> Plane {
    let period = rng.log_within(5.0, 0.22 * size as f32);
    let turn = rng.f32();
    let frame = Frame::new(turn, period, period * rng.within(0.6, 1.0), rng);
    let cells = Cells::new(frame, 1.0, rng);
    let bend = fbm(size, Frame::even(0.7 * period, rng), 3, 0.6, rng);
    let wobble = period * rng.within(0.0, 0.2);
    let (between, border) = (rng.log_within(0.02, 0.3), rng.within(0.0, 0.2));
    let edge = rng.within(0.05, 0.2);
    let clouds = fbm(size, Frame::even(rng.within(0.08, 0.4) * size as f32, rng), 4, 0.65, rng);
    let fine = fbm(size, Frame::even(3.0, rng), 2, 0.8, rng);
    // Dislocations: dark tangles that many crystals have.
    let tangle = fbm(size, Frame::even(rng.log_within(5.0, 25.0), rng), 4, 0.7, rng);
    let tangled = if rng.bool() { rng.within(0.02, 0.2) } else { 0.0 };
    let tone = Plane::from_fn(size, |x, y| {
        let b = bend.at(x, y) * wobble;
        let cell = cells.at(x + b, y - b);
        let dislocated = smoothstep(0.4, 1.5, tangle.at(x, y)) * (0.5 + 0.5 * cell.other);
        1.0 + between * cell.value
            - border * (1.0 - smoothstep(0.0, edge, cell.border))
            - tangled * dislocated
    });
    let tone =
        tone.plus(&clouds, rng.log_within(0.01, 0.14)).plus(&fine, rng.log_within(0.005, 0.03));
    tone.map(|v| level * v)
}

fn single(size: usize, level: f32, rng: &mut Rng) -> Plane {
    let clouds = fbm(size, Frame::even(0.4 * size as f32, rng), 4, 0.5, rng);
    let grain = rng.one_of(&[0.0, 0.25]);
    let lines = streaks(size, grain, 200.0, rng.log_within(1.5, 10.0), rng);
    let tone = clouds.map(|v| 1.0 + 0.05 * v).plus(&lines, rng.within(0.0, 0.03));
    tone.map(|v| level * v)
}

/// 1 inside a rectangle with cut corners a little smaller than the image.
fn margin(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let (inset, corner) = (rng.within(1.0, 0.06 * side), rng.one_of(&[0.0, 0.0, 0.12]) * side);
    Plane::from_fn(size, |x, y| {
        let (dx, dy) = (x.min(side - 1.0 - x) - inset, y.min(side - 1.0 - y) - inset);
        let cut = (dx + dy - corner) * 0.707;
        smoothstep(-0.7, 0.7, dx.min(dy).min(cut))
    })
}

pub fn wafer(rng: &mut Rng, size: usize) -> Sheet {
    let step = rng.log_within(0.09, 0.4) * size as f32;
    let (dw, dh) = (step, step * rng.within(0.7, 1.0));
    let street = rng.within(1.2, 3.5);
    let turn = rng.within(-0.012, 0.012);
    let frame = Frame::new(turn, 1.0, 1.0, rng);
    let (level, line) = (rng.within(0.2, 0.6), rng.within(0.05, 0.9));
    // Blocks of one die, repeated in all of them.
    let blocks = (0..rng.usize(3..9))
        .map(|_| {
            let (x, y) = (rng.within(0.05, 0.8), rng.within(0.05, 0.8));
            (x, y, x + rng.within(0.05, 0.5), y + rng.within(0.05, 0.5), rng.within(-0.2, 0.25))
        })
        .collect::<Vec<_>>();
    let soft = 0.8;
    let tone = Plane::from_fn(size, |x, y| {
        let (u, v) = frame.at(x, y);
        let (fu, fv) = (fract(u / dw), fract(v / dh));
        let mut value = level;
        for (x0, y0, x1, y1, shade) in &blocks {
            let inside = ((fu - x0) * dw)
                .min((x1.min(0.95) - fu) * dw)
                .min((fv - y0) * dh)
                .min((y1.min(0.95) - fv) * dh);
            value += shade * smoothstep(-soft, soft, inside);
        }
        let edge = (fu.min(1.0 - fu) * dw).min(fv.min(1.0 - fv) * dh);
        lerp(line, value, smoothstep(0.5 * street - 0.6, 0.5 * street + 0.6, edge))
    });
    let skin = fbm(size, Frame::even(3.0, rng), 2, 0.8, rng);
    Sheet::grained(tone.plus(&skin, rng.log_within(0.003, 0.03)), turn, step)
}

pub fn board(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let (level, copper) = (rng.within(0.15, 0.45), rng.within(0.08, 0.4));
    let skin = fbm(size, Frame::even(rng.log_within(2.0, 5.0), rng), 2, 0.7, rng);
    let base = skin.map(|v| level + 0.012 * v);
    let pitch = rng.log_within(5.0, 16.0);
    let width = pitch * rng.within(0.25, 0.55);
    let lattice = Lattice::new(rng);
    let step = pitch * rng.usize(3..7) as f32;
    // Tracks run in parallel and change lanes together at an angle.
    let bend = |x: f32| {
        let lane = x / (4.0 * step);
        2.0 * pitch * smoothstep(0.3, 0.5, fract(lane)) * (1.0 - smoothstep(0.8, 1.0, fract(lane)))
    };
    let upright = rng.bool();
    let mut region = Plane::filled(size, 0.0);
    let tracks = Plane::from_fn(size, |x, y| {
        let (a, b) = if upright { (x, y) } else { (y, x) };
        let across = (b + bend(a)) / pitch;
        let index = floor(across);
        let seen = if lattice.cell(index, 3) > -0.5 { 1.0 } else { 0.0 };
        let far = (fract(across) - 0.5).abs() * pitch;
        let share = seen * (1.0 - smoothstep(0.5 * width - 0.7, 0.5 * width + 0.7, far));
        region.data[y as usize * size + x as usize] = share;
        share
    });
    let under = base.plus(&tracks, copper * rng.within(0.3, 1.0));
    let mut tone = under.clone();
    let radius = pitch * rng.within(0.45, 0.8);
    let mut parts = Vec::new();
    let bright = (level + copper + rng.within(0.1, 0.3)).min(0.95);
    let (sx, sy) = (rng.within(0.0, step), rng.within(0.0, step));
    let count = (side / step) as i32 + 1;
    for row in 0..=count {
        for column in 0..=count {
            let part = Part {
                x: sx + column as f32 * step,
                y: sy + row as f32 * step,
                rx: radius + 2.0,
                ry: radius + 2.0,
            };
            parts.push(part);
            stamp(&mut tone, &part, |dx, dy, old| {
                let far = (dx * dx + dy * dy).sqrt();
                let pad = lerp(old, bright, 1.0 - smoothstep(radius - 0.7, radius + 0.7, far));
                lerp(pad, 0.06, 1.0 - smoothstep(0.4 * radius - 0.7, 0.4 * radius + 0.7, far))
            });
        }
    }
    let grit = white(size, rng).blurred(0.5);
    let (tone, under) = (tone.plus(&grit, 0.01), under.plus(&grit, 0.01));
    Sheet { region: Some(region), under: Some(under), parts, ..Sheet::grained(tone, 0.0, pitch) }
}
