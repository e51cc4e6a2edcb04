//! What is in the image besides the object: a background at some sides or all around it, or a
//! plain margin where the image was cut or filled up. In: a size. Out: where the object is, and
//! the tones of the rest.

use fastrand::Rng;

use super::math::{cos, sin, smoothstep};
use super::plane::Plane;
use super::random::Draw;
use super::surfaces::objects;

/// Where an object ends within the image, and what is there instead.
pub struct Surroundings {
    /// 1 on the object.
    pub object: Plane,
    pub back: Plane,
    /// The shade of a margin that was added to the image afterwards.
    pub padding: Option<u8>,
}

pub fn draw(size: usize, rng: &mut Rng) -> Surroundings {
    let object = match rng.u32(..8) {
        0..3 => outline(size, rng),
        3 | 4 => strip(size, rng),
        5 => piece(size, rng),
        _ => {
            let object = cropped(size, rng);
            let shade = rng.one_of(&[0, 0, 0, 20, 128, 255]);
            let back = Plane::filled(size, f32::from(shade) / 255.0);
            return Surroundings { object, back, padding: Some(shade) };
        }
    };
    Surroundings { object, back: objects::backdrop(size, rng), padding: None }
}

/// A band through the image, as line cameras see a narrow part.
fn strip(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let (low, high) = (rng.log_within(0.02, 0.35) * side, rng.log_within(0.02, 0.35) * side);
    let (upright, tilt) = (rng.bool(), rng.within(-0.05, 0.05));
    let soft = rng.log_within(0.5, 3.0);
    Plane::from_fn(size, |x, y| {
        let (a, b) = if upright { (x, y) } else { (y, x) };
        let a = a + tilt * (b - 0.5 * side);
        smoothstep(-soft, soft, (a - low).min(side - 1.0 - high - a))
    })
}

/// A turned rectangle or an oval that leaves much of the image free.
fn piece(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let (cx, cy) = (side * rng.within(0.4, 0.6), side * rng.within(0.4, 0.6));
    let (rx, ry) = (side * rng.within(0.25, 0.48), side * rng.within(0.25, 0.48));
    let turns = if rng.bool() { 0.0 } else { rng.f32() };
    let (c, s) = (cos(turns), sin(turns));
    let oval = rng.bool();
    let soft = rng.log_within(0.5, 2.0);
    Plane::from_fn(size, |x, y| {
        let (dx, dy) = (x - cx, y - cy);
        let (a, b) = ((dx * c + dy * s).abs(), (dy * c - dx * s).abs());
        let edge = if oval {
            (1.0 - (a * a / (rx * rx) + b * b / (ry * ry)).sqrt()) * rx.min(ry)
        } else {
            (rx - a).min(ry - b)
        };
        smoothstep(-soft, soft, edge)
    })
}

/// The image without a plain margin at one side, at two opposite ones, or all around.
fn cropped(size: usize, rng: &mut Rng) -> Plane {
    let mut width = || (rng.log_within(0.02, 0.25) * size as f32) as usize + 1;
    let (first, second) = (width(), width());
    let (left, right, top, low) = match rng.u32(..6) {
        0 => (first, 0, 0, 0),
        1 => (0, first, 0, 0),
        2 => (0, 0, 0, first),
        3 => (first, second, 0, 0),
        4 => (0, 0, first, first),
        _ => (first, first, second, second),
    };
    let inside = |at: f32, low: usize, high: usize| (low..size - high).contains(&(at as usize));
    Plane::from_fn(size, |x, y| f32::from(inside(x, left, right) && inside(y, top, low)))
}

/// A rectangle that leaves one to four sides of the image to the background.
fn outline(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let mut inset = || if rng.chance(0.45) { rng.log_within(0.015, 0.22) * side } else { -9.0 };
    let (left, right, top, low) = (inset(), inset(), inset(), inset());
    let corner = if rng.chance(0.4) { rng.within(0.0, 0.2) * side } else { 0.0 };
    let tilt = rng.within(-0.03, 0.03);
    let soft = rng.log_within(0.5, 2.0);
    Plane::from_fn(size, |x, y| {
        let (x, y) = (x + tilt * y, y - tilt * x);
        let dx = (x - left).min(side - 1.0 - right - x);
        let dy = (y - top).min(side - 1.0 - low - y);
        let (ax, ay) = ((corner - dx).max(0.0), (corner - dy).max(0.0));
        let round =
            if ax > 0.0 && ay > 0.0 { corner - (ax * ax + ay * ay).sqrt() } else { dx.min(dy) };
        smoothstep(-soft, soft, round)
    })
}
