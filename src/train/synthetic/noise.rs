//! Smooth random fields over a turned, stretched frame of the image. Slow octaves are computed
//! on every fourth pixel and stretched: they have nothing to show in between.

use fastrand::Rng;

use super::math::{cos, floor, lerp, sin};
use super::plane::Plane;
use super::random::Draw;

/// Edge length of the lattice of random values, which repeats. A power of two.
const SIDE: usize = 64;
/// Octaves at least this slow (pixels per lattice cell) are computed coarsely.
const SLOW: f32 = 14.0;
/// Of the coarse computation, pixels.
const STEP: usize = 4;

/// Pattern coordinates (u, v) of a pixel: turned, stretched and shifted.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    ux: f32,
    uy: f32,
    vx: f32,
    vy: f32,
    u0: f32,
    v0: f32,
}

impl Frame {
    /// u runs along the direction `turns`; one unit of u (v) is `along` (`across`) pixels long.
    pub fn new(turns: f32, along: f32, across: f32, rng: &mut Rng) -> Self {
        let (c, s) = (cos(turns), sin(turns));
        let (u0, v0) = (rng.within(0.0, SIDE as f32), rng.within(0.0, SIDE as f32));
        Frame { ux: c / along, uy: s / along, vx: -s / across, vy: c / across, u0, v0 }
    }

    /// As wide as long, in any direction.
    pub fn even(period: f32, rng: &mut Rng) -> Self {
        let turns = rng.f32();
        Frame::new(turns, period, period, rng)
    }

    pub fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.u0 + self.ux * x + self.uy * y, self.v0 + self.vx * x + self.vy * y)
    }

    /// Pixels to go for a step of (du, dv).
    pub fn pixels(&self, du: f32, dv: f32) -> (f32, f32) {
        let area = self.ux * self.vy - self.uy * self.vx;
        ((du * self.vy - dv * self.uy) / area, (dv * self.ux - du * self.vx) / area)
    }

    /// The shorter of the two units, pixels.
    fn period(&self) -> f32 {
        let u = (self.ux * self.ux + self.uy * self.uy).sqrt();
        let v = (self.vx * self.vx + self.vy * self.vy).sqrt();
        1.0 / u.max(v)
    }

    /// The same frame with both units divided by `by`.
    fn finer(&self, by: f32) -> Self {
        let Frame { ux, uy, vx, vy, u0, v0 } = *self;
        Frame {
            ux: ux * by,
            uy: uy * by,
            vx: vx * by,
            vy: vy * by,
            u0: u0 * by + 17.3,
            v0: v0 * by + 5.7,
        }
    }
}

/// Random values at whole coordinates, smooth between.
pub struct Lattice {
    values: Vec<f32>,
}

impl Lattice {
    pub fn new(rng: &mut Rng) -> Self {
        Lattice { values: (0..SIDE * SIDE).map(|_| 2.0 * rng.f32() - 1.0).collect() }
    }

    /// The value of the cell that holds whole coordinates (u, v), −1..1.
    pub fn cell(&self, u: i32, v: i32) -> f32 {
        let wrap = SIDE as i32 - 1;
        self.values[((v & wrap) as usize) * SIDE + (u & wrap) as usize]
    }

    /// −1..1, with a continuous slope.
    pub fn at(&self, u: f32, v: f32) -> f32 {
        let (iu, iv) = (floor(u), floor(v));
        let (fu, fv) = (u - iu as f32, v - iv as f32);
        let (su, sv) = (fu * fu * (3.0 - 2.0 * fu), fv * fv * (3.0 - 2.0 * fv));
        let wrap = SIDE - 1;
        let (u0, v0) = (iu as usize & wrap, (iv as usize & wrap) * SIDE);
        let (u1, v1) = ((u0 + 1) & wrap, (v0 + SIDE) & (SIDE * SIDE - 1));
        let top = lerp(self.values[v0 + u0], self.values[v0 + u1], su);
        let low = lerp(self.values[v1 + u0], self.values[v1 + u1], su);
        lerp(top, low, sv)
    }
}

/// Sum of `octaves` fields, each twice as fine as the one before and `gain` times as strong;
/// mean 0, deviation 1 over the image.
pub fn fbm(size: usize, frame: Frame, octaves: usize, gain: f32, rng: &mut Rng) -> Plane {
    rough(size, frame, octaves, gain, rng).standardised()
}

/// As [`fbm`], not standardised: for fields far slower than the image is wide.
pub fn rough(size: usize, frame: Frame, octaves: usize, gain: f32, rng: &mut Rng) -> Plane {
    let lattice = Lattice::new(rng);
    let mut weight = 1.0;
    let mut frames = Vec::with_capacity(octaves);
    for octave in 0..octaves {
        let frame = frame.finer((1 << octave) as f32);
        // Nothing that the pixels could not show.
        if octave == 0 || frame.period() > 0.7 {
            frames.push((frame, weight));
        }
        weight *= gain;
    }
    let (slow, fast): (Vec<_>, Vec<_>) = frames.into_iter().partition(|f| f.0.period() > SLOW);
    let mut plane = if slow.is_empty() {
        Plane::filled(size, 0.0)
    } else {
        coarse(size, |x, y| sum(&lattice, &slow, x, y))
    };
    for (frame, weight) in fast {
        for (y, row) in plane.data.chunks_exact_mut(size).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let (u, v) = frame.at(x as f32, y as f32);
                *value += weight * lattice.at(u, v);
            }
        }
    }
    plane
}

fn sum(lattice: &Lattice, frames: &[(Frame, f32)], x: f32, y: f32) -> f32 {
    let part = |(frame, weight): &(Frame, f32)| {
        let (u, v) = frame.at(x, y);
        weight * lattice.at(u, v)
    };
    frames.iter().map(part).sum()
}

/// A slow function of the place, computed at every fourth pixel and stretched bilinearly.
pub fn coarse(size: usize, value: impl Fn(f32, f32) -> f32) -> Plane {
    let side = size.div_ceil(STEP) + 1;
    let knot = |i: usize| (i * STEP) as f32;
    let mut knots = Vec::with_capacity(side * side);
    for y in 0..side {
        knots.extend((0..side).map(|x| value(knot(x), knot(y))));
    }
    let mut data = Vec::with_capacity(size * size);
    let mut line = vec![0.0; side];
    for y in 0..size {
        let (row, t) = (y / STEP * side, (y % STEP) as f32 / STEP as f32);
        for (x, out) in line.iter_mut().enumerate() {
            *out = lerp(knots[row + x], knots[row + side + x], t);
        }
        for x in 0..size {
            let (i, t) = (x / STEP, (x % STEP) as f32 / STEP as f32);
            data.push(lerp(line[i], line[i + 1], t));
        }
    }
    Plane { size, data }
}

/// Streaks along the direction `turns`: `along` pixels long, `across` pixels wide.
pub fn streaks(size: usize, turns: f32, along: f32, across: f32, rng: &mut Rng) -> Plane {
    let frame = Frame::new(turns, along, across, rng);
    fbm(size, frame, 3, 0.7, rng)
}

/// Independent normal values.
pub fn white(size: usize, rng: &mut Rng) -> Plane {
    Plane { size, data: (0..size * size).map(|_| rng.normal()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_computation_agrees_with_the_full_one_on_slow_functions() {
        let value = |x: f32, y: f32| 0.3 * x - 0.2 * y + 1.0;
        let full = Plane::from_fn(30, value);
        let fast = coarse(30, value);
        let worst =
            full.data.iter().zip(&fast.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn a_lattice_gives_its_cell_values_at_whole_coordinates() {
        let lattice = Lattice::new(&mut Rng::with_seed(3));
        assert_eq!(lattice.at(5.0, -2.0), lattice.cell(5, -2));
        assert_eq!(lattice.at(5.0 + SIDE as f32, 7.0), lattice.cell(5, 7));
    }
}
