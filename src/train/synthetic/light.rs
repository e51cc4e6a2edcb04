//! How a scene is lit: slopes, spots, vignettes, dark borders, uneven patches, shadows with soft
//! or hard edges. Out: one factor per pixel, and gleams to add. The same for all scenes.

use fastrand::Rng;

use super::math::{cos, exp2, lerp, sin, smoothstep};
use super::noise::{Frame, coarse, rough};
use super::plane::Plane;
use super::random::Draw;

pub struct Light {
    /// Multiplies; 1 at the brightest places.
    pub factor: Plane,
    /// Added afterwards.
    pub gleam: Option<Plane>,
}

pub fn draw(size: usize, effort: f32, rng: &mut Rng) -> Light {
    let side = size as f32;
    let half = 0.5 * side;
    let strong = lerp(0.4, 1.0, effort.min(1.0));
    let mut factor = slope(size, strong, rng);
    if rng.chance(0.4) {
        // A vignette, not always about the middle.
        let depth = strong * rng.within(0.05, 0.8);
        let (cx, cy) = (half + rng.within(-0.2, 0.2) * side, half + rng.within(-0.2, 0.2) * side);
        let squash = rng.log_within(0.5, 2.0);
        let ring = coarse(size, |x, y| {
            let (dx, dy) = ((x - cx) / half * squash, (y - cy) / half);
            1.0 - depth * (0.5 * (dx * dx + dy * dy)).min(1.0)
        });
        factor = factor.with(&ring, |a, b| a * b);
    }
    if rng.chance(0.3) {
        factor = factor.with(&dark_border(size, strong, rng), |a, b| a * b);
    }
    if rng.chance(0.3) {
        // Slow: a smaller patch would be a defect.
        let frame = Frame::even(rng.within(0.4, 1.0) * side, rng);
        let depth = strong * rng.within(0.05, 0.4);
        let uneven = rough(size, frame, 2, 0.5, rng);
        factor = factor.with(&uneven, |a, v| a * (1.0 + depth * v).max(0.1));
    }
    if rng.chance(0.15 * effort) {
        factor = factor.with(&shadow(size, rng), |a, b| a * b);
    }
    let gleam = rng.chance(0.15 * effort).then(|| gleam(size, rng));
    Light { factor: factor.map(|v| v.max(0.04)), gleam }
}

fn slope(size: usize, strong: f32, rng: &mut Rng) -> Plane {
    let depth = strong * if rng.bool() { rng.within(0.0, 0.15) } else { rng.within(0.0, 0.75) };
    let turns = rng.f32();
    let side = size as f32;
    let (dx, dy) = (cos(turns) / side, sin(turns) / side);
    let start = 0.5 + 0.5 * (dx.abs() + dy.abs()) * side * 0.7;
    coarse(size, |x, y| {
        let t = (x - 0.5 * side) * dx + (y - 0.5 * side) * dy;
        1.0 - depth * (start - 0.5 + t).clamp(0.0, 1.0)
    })
}

/// Shade that deepens towards one to four sides: curved or tilted faces.
fn dark_border(size: usize, strong: f32, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let mut one = || {
        let depth = if rng.chance(0.5) { strong * rng.within(0.1, 0.85) } else { 0.0 };
        (depth, rng.log_within(0.03, 0.35) * side)
    };
    let sides = [one(), one(), one(), one()];
    let profile = |places: [usize; 2], at: f32| {
        let [a, b] = places.map(|i| sides[i]);
        let fall = |(depth, reach): (f32, f32), far: f32| {
            1.0 - depth * (1.0 - smoothstep(0.0, reach, far))
        };
        fall(a, at) * fall(b, side - 1.0 - at)
    };
    let across = (0..size).map(|x| profile([0, 1], x as f32)).collect::<Vec<_>>();
    let down = (0..size).map(|y| profile([2, 3], y as f32)).collect::<Vec<_>>();
    let mut data = Vec::with_capacity(size * size);
    for y in &down {
        data.extend(across.iter().map(|x| x * y));
    }
    Plane { size, data }
}

/// Of something outside the image: a straight or bowed edge, soft.
fn shadow(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let turns = rng.f32();
    let away = rng.log_within(1.0, 8.0) * side;
    let (cx, cy) = (0.5 * side + away * cos(turns), 0.5 * side + away * sin(turns));
    let radius = away + rng.within(-0.35, 0.35) * side;
    let soft = rng.log_within(1.0, 0.25 * side);
    let depth = rng.within(0.1, 0.6);
    Plane::from_fn(size, |x, y| {
        let far = ((x - cx) * (x - cx) + (y - cy) * (y - cy)).sqrt() - radius;
        1.0 - depth * (1.0 - smoothstep(-soft, soft, far))
    })
}

/// A soft mirrored lamp: a spot or a band.
fn gleam(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let (cx, cy) = (rng.within(-0.1, 1.1) * side, rng.within(-0.1, 1.1) * side);
    let turns = rng.f32();
    let (c, s) = (cos(turns), sin(turns));
    let short = rng.log_within(0.08, 0.5) * side;
    let long = if rng.bool() { 8.0 * side } else { short * rng.within(1.0, 2.0) };
    let strength = rng.within(0.03, 0.35);
    coarse(size, |x, y| {
        let a = ((x - cx) * c + (y - cy) * s) / long;
        let b = ((y - cy) * c - (x - cx) * s) / short;
        strength * exp2(-2.0 * (a * a + b * b).min(20.0))
    })
}
