//! Outlines of defects as covers: strokes along paths, blobs, ragged patches, facets. Borders are
//! as soft as asked for; one half lies on the outline.

use fastrand::Rng;

use crate::train::synthetic::math::{cos, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, Lattice};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// A point of a path and the half width there.
#[derive(Debug, Clone, Copy)]
pub struct Knot {
    pub x: f32,
    pub y: f32,
    pub half: f32,
}

/// Adds the cover of a path to `cover`.
pub fn stroke(cover: &mut Plane, path: &[Knot], soft: f32) {
    let last = cover.size as i32 - 1;
    for pair in path.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let reach = a.half.max(b.half) + soft + 1.0;
        let range = |p: f32, q: f32| {
            (((p.min(q) - reach) as i32).max(0), ((p.max(q) + reach) as i32 + 1).min(last))
        };
        let ((x0, x1), (y0, y1)) = (range(a.x, b.x), range(a.y, b.y));
        let (ax, ay) = (b.x - a.x, b.y - a.y);
        let square = (ax * ax + ay * ay).max(1e-6);
        for y in y0..=y1 {
            for x in x0..=x1 {
                let (px, py) = (x as f32 - a.x, y as f32 - a.y);
                let t = ((px * ax + py * ay) / square).clamp(0.0, 1.0);
                let (dx, dy) = (px - t * ax, py - t * ay);
                let far = (dx * dx + dy * dy).sqrt();
                let half = lerp(a.half, b.half, t);
                if far < half + soft {
                    let value = 1.0 - smoothstep(half - soft, half + soft, far);
                    let own = &mut cover.data[y as usize * cover.size + x as usize];
                    *own = own.max(value);
                }
            }
        }
    }
}

/// The cover of one path.
pub fn stroked(size: usize, path: &[Knot], soft: f32) -> Plane {
    let mut cover = Plane::filled(size, 0.0);
    stroke(&mut cover, path, soft);
    cover
}

/// How a path goes on.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Length and step, pixels.
    pub length: f32,
    pub step: f32,
    /// Change of direction per step, turns: constant, and random from step to step.
    pub bend: f32,
    pub jitter: f32,
    /// Share of a random turn that the next step takes back: 0 = wanders off, 1 = zigzags.
    pub hold: f32,
    /// Half width in the middle, pixels.
    pub half: f32,
    /// 1: as wide as in the middle all the way; 0: pointed ends.
    pub blunt: f32,
}

/// A path that starts at (x, y) in the direction `turns`.
pub fn walk(x: f32, y: f32, turns: f32, plan: Walk, rng: &mut Rng) -> Vec<Knot> {
    let count = ((plan.length / plan.step) as usize).clamp(2, 400);
    let (mut x, mut y, mut heading) = (x, y, turns);
    let mut path = Vec::with_capacity(count + 1);
    for i in 0..=count {
        let t = i as f32 / count as f32;
        let bow = (4.0 * t * (1.0 - t)).sqrt();
        path.push(Knot { x, y, half: plan.half * lerp(bow, 1.0, plan.blunt) });
        x += plan.step * cos(heading);
        y += plan.step * sin(heading);
        heading += plan.bend;
        heading =
            lerp(heading, turns + plan.bend * i as f32, plan.hold) + plan.jitter * rng.normal();
    }
    path
}

/// Moves a path so that its middle lies at (x, y).
pub fn centred(mut path: Vec<Knot>, x: f32, y: f32) -> Vec<Knot> {
    let middle = path[path.len() / 2];
    for knot in &mut path {
        knot.x += x - middle.x;
        knot.y += y - middle.y;
    }
    path
}

/// A round, oval or ragged spot.
#[derive(Debug, Clone, Copy)]
pub struct Blob {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    /// Length by width, its direction in turns.
    pub aspect: f32,
    pub turns: f32,
    /// 0 = an ellipse, 1 = torn.
    pub ragged: f32,
    pub soft: f32,
}

/// Adds a blob to `cover`.
pub fn blob(cover: &mut Plane, shape: Blob, rng: &mut Rng) {
    let lattice = Lattice::new(rng);
    let coarse = Frame::even((0.8 * shape.radius).max(1.5), rng);
    let fine = Frame::even((0.25 * shape.radius).max(1.5), rng);
    let (c, s) = (cos(shape.turns), sin(shape.turns));
    let stretch = shape.aspect.sqrt();
    let reach = shape.radius * stretch.max(1.0 / stretch) * (1.0 + 0.8 * shape.ragged) + shape.soft;
    let last = cover.size as i32 - 1;
    let range = |at: f32| (((at - reach) as i32).max(0), ((at + reach) as i32 + 1).min(last));
    let ((x0, x1), (y0, y1)) = (range(shape.x), range(shape.y));
    for y in y0..=y1 {
        for x in x0..=x1 {
            let (px, py) = (x as f32, y as f32);
            let (dx, dy) = (px - shape.x, py - shape.y);
            let (a, b) = ((dx * c + dy * s) / stretch, (dy * c - dx * s) * stretch);
            let far = (a * a + b * b).sqrt();
            let mut edge = shape.radius - far;
            if shape.ragged > 0.0 {
                let ((u, v), (u2, v2)) = (coarse.at(px, py), fine.at(px, py));
                let noise = lattice.at(u, v) + 0.45 * lattice.at(u2, v2);
                edge += shape.ragged * 0.6 * shape.radius * noise;
            }
            let value = smoothstep(-shape.soft, shape.soft, edge);
            let own = &mut cover.data[y as usize * cover.size + x as usize];
            *own = own.max(value);
        }
    }
}

/// The cover of one blob.
pub fn blobbed(size: usize, shape: Blob, rng: &mut Rng) -> Plane {
    let mut cover = Plane::filled(size, 0.0);
    blob(&mut cover, shape, rng);
    cover
}

/// A shape with straight sides around (x, y), about `radius` wide.
pub fn facet(size: usize, x: f32, y: f32, radius: f32, soft: f32, rng: &mut Rng) -> Plane {
    let count = rng.usize(3..7);
    let start = rng.f32();
    let sides = (0..count)
        .map(|i| {
            let turns = start + (i as f32 + rng.within(-0.25, 0.25)) / count as f32;
            (cos(turns), sin(turns), radius * rng.within(0.45, 1.0))
        })
        .collect::<Vec<_>>();
    Plane::from_fn(size, |px, py| {
        let (dx, dy) = (px - x, py - y);
        if dx.abs().max(dy.abs()) > 3.0 * radius {
            return 0.0;
        }
        let edge = sides.iter().map(|(c, s, r)| r - dx * c - dy * s).fold(f32::MAX, f32::min);
        smoothstep(-soft, soft, edge)
    })
}

/// What lies beyond a ragged line near (x, y) with the normal `turns`.
pub fn beyond(size: usize, x: f32, y: f32, turns: f32, ragged: f32, rng: &mut Rng) -> Plane {
    let (nx, ny) = (cos(turns), sin(turns));
    let lattice = Lattice::new(rng);
    let period = rng.log_within(5.0, 0.3 * size as f32);
    let frame = Frame::even(period, rng);
    let soft = rng.log_within(0.5, 1.5);
    Plane::from_fn(size, |px, py| {
        let (u, v) = frame.at(px, py);
        let wave = lattice.at(u, v) + 0.4 * lattice.at(3.1 * u, 3.1 * v);
        smoothstep(-soft, soft, (px - x) * nx + (py - y) * ny + ragged * wave)
    })
}
