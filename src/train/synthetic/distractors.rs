//! Marks that are normal and must not be taken for defects: seams, steps of brightness, changes
//! of texture, rows of equal marks, screws in the corners. They run through or repeat: regular.

use fastrand::Rng;

use super::cells::Cells;
use super::math::{cos, fract, sin, smoothstep};
use super::noise::Frame;
use super::picture::Picture;
use super::plane::Plane;
use super::random::Draw;

/// One disturbance, to be applied alike to a surface and to what lies under its parts.
pub enum Change {
    /// Multiplies.
    Shade(Plane),
    /// Contrast of the texture where the plane is 1, times this.
    Contrast(Plane, f32),
}

impl Change {
    pub fn apply(&self, picture: Picture) -> Picture {
        match self {
            Change::Shade(shade) => picture.map_planes(|plane| plane.with(shade, |v, s| v * s)),
            Change::Contrast(region, factor) => picture.map_planes(|plane| {
                let mean = plane.mean();
                plane.with(region, |v, share| v + share * (factor - 1.0) * (v - mean))
            }),
        }
    }
}

/// One or two of them.
pub fn draw(size: usize, rng: &mut Rng) -> Vec<Change> {
    let count = if rng.chance(0.25) { 2 } else { 1 };
    (0..count)
        .map(|_| match rng.u32(..7) {
            0 => Change::Shade(seams(size, rng)),
            1 => Change::Shade(step(size, rng)),
            2 => {
                let region = half_plane(size, rng);
                Change::Contrast(region, rng.log_within(0.35, 2.0))
            }
            3 => Change::Shade(mark_row(size, rng)),
            4 => Change::Shade(screws(size, rng)),
            5 => Change::Shade(speckles(size, rng)),
            _ => Change::Shade(ribs(size, rng)),
        })
        .collect()
}

/// Mostly upright or level.
fn turn(rng: &mut Rng) -> f32 {
    match rng.u32(..3) {
        0 => rng.f32(),
        1 => rng.within(-0.01, 0.01),
        _ => 0.25 + rng.within(-0.01, 0.01),
    }
}

/// One to three parallel lines through the whole image, perhaps with a light edge.
fn seams(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let turns = turn(rng);
    let (nx, ny) = (-sin(turns), cos(turns));
    let count = rng.usize(1..4);
    let (first, gap) = (rng.within(-0.35, 0.35) * side, rng.within(0.04, 0.4) * side);
    let half = 0.5 * rng.log_within(1.0, 5.0);
    let soft = rng.log_within(0.5, 1.5);
    let depth = rng.sign() * rng.log_within(0.04, 0.5);
    let edge = rng.within(0.0, 0.7) * -depth;
    Plane::from_fn(size, |x, y| {
        let at = (x - 0.5 * side) * nx + (y - 0.5 * side) * ny - first;
        let mut shade = 1.0;
        for i in 0..count {
            let far = at - i as f32 * gap;
            shade += depth * (1.0 - smoothstep(half - soft, half + soft, far.abs()));
            shade += edge * (1.0 - smoothstep(0.0, soft + 1.0, (far - half - 1.0).abs()));
        }
        shade.max(0.05)
    })
}

/// 1 on one side of a straight line.
fn half_plane(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let turns = turn(rng);
    let (nx, ny) = (-sin(turns), cos(turns));
    let at = rng.within(-0.4, 0.4) * side;
    let soft = rng.log_within(0.7, 0.3 * side);
    let sign = rng.sign();
    Plane::from_fn(size, |x, y| {
        smoothstep(-soft, soft, sign * ((x - 0.5 * side) * nx + (y - 0.5 * side) * ny - at))
    })
}

fn step(size: usize, rng: &mut Rng) -> Plane {
    let depth = rng.sign() * rng.log_within(0.03, 0.5);
    half_plane(size, rng).map(|v| 1.0 + depth * v)
}

/// Equal small marks at equal distances, along one line or over all.
fn mark_row(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let pitch = rng.log_within(0.05, 0.25) * side;
    let radius = (pitch * rng.within(0.1, 0.25)).max(1.2);
    let depth = rng.sign() * rng.log_within(0.06, 0.6);
    let (x0, y0) = (rng.f32(), rng.within(0.1, 0.9) * side);
    let everywhere = rng.chance(0.3);
    let upright = rng.bool();
    let (long, square) = (rng.within(0.6, 1.8), rng.bool());
    Plane::from_fn(size, |x, y| {
        let (a, b) = if upright { (y, x) } else { (x, y) };
        let da = (fract(a / pitch + x0) - 0.5) * pitch;
        let db = if everywhere { (fract((b - y0) / pitch) - 0.5) * pitch } else { b - y0 };
        let db = db / long;
        let far = if square { da.abs().max(db.abs()) } else { (da * da + db * db).sqrt() };
        1.0 + depth * (1.0 - smoothstep(radius - 0.8, radius + 0.8, far))
    })
}

/// The same screw head or hole in two or four corners.
fn screws(size: usize, rng: &mut Rng) -> Plane {
    let side = size as f32;
    let inset = rng.within(0.08, 0.2) * side;
    let radius = inset * rng.within(0.25, 0.6);
    let (depth, ring) = (rng.within(-0.6, 0.4), rng.within(0.0, 0.5));
    let four = rng.bool();
    let slot = radius * rng.within(0.0, 0.25);
    Plane::from_fn(size, |x, y| {
        let (dx, dy) = (x.min(side - 1.0 - x) - inset, y.min(side - 1.0 - y) - inset);
        if !four && y > 0.5 * side {
            return 1.0;
        }
        let far = (dx * dx + dy * dy).sqrt();
        let head = 1.0 - smoothstep(radius - 0.8, radius + 0.8, far);
        let rim = 1.0 - smoothstep(0.0, 1.5, (far - radius).abs());
        let groove = head * (1.0 - smoothstep(slot - 0.5, slot + 0.7, dy.abs()));
        (1.0 + depth * head - ring * rim - 0.3 * groove).max(0.05)
    })
}

/// Specks of one kind all over: a dirty or grainy surface, not a defect at one place.
fn speckles(size: usize, rng: &mut Rng) -> Plane {
    let period = rng.log_within(5.0, 0.12 * size as f32);
    let frame = Frame::new(rng.f32(), period * rng.log_within(0.6, 1.8), period, rng);
    let cells = Cells::new(frame, 1.0, rng);
    let most = (rng.log_within(0.6, 2.2) / period).min(0.3);
    let (bare, depth) = (rng.within(0.0, 0.6), rng.sign() * rng.log_within(0.03, 0.35));
    let soft = rng.within(0.5, 1.0) / period;
    Plane::from_fn(size, |x, y| {
        let cell = cells.at(x, y);
        let radius = most * (0.75 + 0.25 * cell.other);
        let seen = if 0.5 + 0.5 * cell.value < bare { 0.0 } else { depth };
        1.0 + seen * (1.0 - smoothstep(radius - soft, radius + soft, cell.near))
    })
}

/// Even waves across the whole image.
fn ribs(size: usize, rng: &mut Rng) -> Plane {
    let turns = turn(rng);
    let pitch = rng.log_within(4.0, 0.3 * size as f32);
    let (nx, ny) = (-sin(turns) / pitch, cos(turns) / pitch);
    let depth = rng.log_within(0.01, 0.12);
    let start = rng.f32();
    Plane::from_fn(size, |x, y| 1.0 + depth * sin(x * nx + y * ny + start))
}
