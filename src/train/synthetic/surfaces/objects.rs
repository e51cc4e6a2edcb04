//! Objects before a background: a machined part, a plate with screws, a pack of pills.

use fastrand::Rng;

use super::metal::{brushed, ground, painted, stamp};
use super::{Part, Sheet};
use crate::train::synthetic::math::{cos, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// What lies behind an object.
pub fn backdrop(size: usize, rng: &mut Rng) -> Plane {
    let level = rng.one_of(&[0.03, 0.08, 0.2, 0.5, 0.8, 0.95]);
    let skin = fbm(size, Frame::even(rng.log_within(2.0, 60.0), rng), 3, 0.6, rng);
    let strength = rng.log_within(0.003, 0.03);
    skin.map(|v| (level + strength * v).clamp(0.0, 1.0))
}

/// `tone` where `object` is, `back` elsewhere; the object's rim catches light or lies in shade.
pub fn before(tone: &Plane, object: &Plane, back: &Plane, rng: &mut Rng) -> Plane {
    let turns = rng.f32();
    let rim = object.blurred(rng.within(0.6, 2.0)).relief(cos(turns), sin(turns));
    let strength = rng.within(0.0, 0.5);
    let data = tone.data.iter().zip(&object.data).zip(&back.data).zip(&rim.data);
    let data = data.map(|(((t, o), b), r)| lerp(*b, *t + strength * r, *o)).collect();
    Plane { size: tone.size, data }
}

/// A disc, ring or block of bare metal with holes in a regular layout.
pub fn machined(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let face = if rng.bool() { ground(rng, size) } else { brushed(rng, size) };
    let (cx, cy) = (side * rng.within(0.42, 0.58), side * rng.within(0.42, 0.58));
    let outer = side * rng.within(0.3, 0.46);
    let inner = if rng.bool() { outer * rng.within(0.15, 0.6) } else { -2.0 };
    let square = rng.chance(0.35);
    let corner = rng.within(0.0, 0.5) * outer;
    let object = Plane::from_fn(size, |x, y| {
        let (dx, dy) = (x - cx, y - cy);
        let round = (dx * dx + dy * dy).sqrt();
        let far = if square {
            let (ax, ay) =
                ((dx.abs() - outer + corner).max(0.0), (dy.abs() - outer + corner).max(0.0));
            (ax * ax + ay * ay).sqrt() - corner
        } else {
            round - outer
        };
        (1.0 - smoothstep(-0.7, 0.7, far)) * smoothstep(-0.7, 0.7, round - inner)
    });
    let step = rng.within(-0.12, 0.12);
    let turned = outer * rng.within(0.6, 0.95);
    let tone = Plane::from_fn(size, |x, y| {
        let round = ((x - cx) * (x - cx) + (y - cy) * (y - cy)).sqrt();
        face.tone.at(x, y) + step * smoothstep(turned - 0.8, turned + 0.8, round)
    });
    let back = backdrop(size, rng);
    let under = before(&tone, &object, &back, rng);
    let mut tone = under.clone();
    let mut parts = Vec::new();
    let (places, spacing) = bores(outer, inner.max(0.0), square, rng);
    let wall = if inner > 0.0 { 0.32 * (outer - inner) } else { outer };
    let radius = (side * rng.within(0.04, 0.085)).min(wall).min(0.36 * spacing);
    let (depth, chamfer) = (rng.within(0.0, 0.2), rng.within(-0.1, 0.25));
    let bevel = 1.0 + 0.2 * radius;
    for (dx, dy) in places {
        let reach = radius + bevel + 1.5;
        let part = Part { x: cx + dx, y: cy + dy, rx: reach, ry: reach };
        parts.push(part);
        stamp(&mut tone, &part, |dx, dy, old| {
            let far = (dx * dx + dy * dy).sqrt() - radius;
            let edge = chamfer * (1.0 - smoothstep(bevel - 0.7, bevel + 0.7, far));
            lerp(old + edge, depth + 0.08 * dx / radius, 1.0 - smoothstep(-0.7, 0.7, far))
        });
    }
    Sheet { under: Some(under), parts, object: Some((object, back)), tone, ..face }
}

/// Places of drilled holes from the middle of a part, and their distance: a circle of them, or the
/// corners of a block, as drawings have them; some parts have none.
fn bores(outer: f32, inner: f32, square: bool, rng: &mut Rng) -> (Vec<(f32, f32)>, f32) {
    if rng.chance(0.2) {
        return (Vec::new(), outer);
    }
    if square {
        let at = lerp(inner, outer, rng.within(0.6, 0.75)) * 0.9;
        let corners = [(-at, -at), (at, -at), (-at, at), (at, at)];
        return (corners.to_vec(), 2.0 * at);
    }
    let ring = lerp(inner, outer, rng.within(0.48, 0.65));
    let (count, start) = (rng.usize(3..9), rng.f32());
    let place = |i: usize| {
        let turns = start + i as f32 / count as f32;
        (ring * cos(turns), ring * sin(turns))
    };
    ((0..count).map(place).collect(), ring * 6.0 / count as f32)
}

/// A plate with screws in a regular layout.
pub fn screw_plate(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let face = match rng.u32(..3) {
        0 => painted(rng, size),
        1 => ground(rng, size),
        _ => brushed(rng, size),
    };
    let count = rng.usize(2..5);
    let step = side / count as f32;
    let radius = step * rng.within(0.12, 0.3);
    let (shade, slot) = (rng.within(-0.2, 0.25), rng.within(0.1, 0.22) * radius);
    let (crossed, aligned) = (rng.bool(), rng.f32());
    let jitter = rng.f32() * 0.5;
    let mut tone = face.tone.clone();
    let mut parts = Vec::new();
    for row in 0..count {
        for column in 0..count {
            let (x, y) = ((column as f32 + 0.5) * step, (row as f32 + 0.5) * step);
            let part = Part { x, y, rx: radius * 1.25 + 1.0, ry: radius * 1.25 + 1.0 };
            parts.push(part);
            let turns = aligned + jitter * rng.f32();
            let (c, s) = (cos(turns), sin(turns));
            stamp(&mut tone, &part, |dx, dy, old| {
                let far = (dx * dx + dy * dy).sqrt();
                let (a, b) = ((dx * c + dy * s).abs(), (dy * c - dx * s).abs());
                let dome = shade + 0.15 * (dx + dy) / radius;
                let head = 1.0 - smoothstep(radius - 0.7, radius + 0.7, far);
                let ring = 1.0 - smoothstep(0.0, 0.12 * radius + 0.8, (far - 1.05 * radius).abs());
                let cut = if crossed { a.min(b) } else { b };
                let groove = (1.0 - smoothstep(slot - 0.6, slot + 0.6, cut))
                    * (1.0 - smoothstep(0.7 * radius, 0.8 * radius, far));
                old + dome * head - 0.18 * ring - 0.3 * groove
            });
        }
    }
    let tone = tone.map(|v| v.clamp(0.01, 0.99));
    Sheet { under: Some(face.tone.clone()), parts, tone, ..face }
}

/// Rows of pills in their blisters.
pub fn pill_pack(rng: &mut Rng, size: usize) -> Sheet {
    let side = size as f32;
    let level = rng.within(0.3, 0.75);
    let foil = fbm(size, Frame::even(rng.log_within(3.0, 25.0), rng), 3, 0.6, rng);
    let strength = rng.log_within(0.005, 0.05);
    let under = foil.map(|v| level + strength * v);
    let count = rng.usize(2..6);
    let step = side / (count as f32 + 0.3);
    let (rx, ry) = if rng.bool() { (0.36 * step, 0.36 * step) } else { (0.42 * step, 0.2 * step) };
    let pill = (level + rng.sign() * rng.within(0.15, 0.5)).clamp(0.06, 0.97);
    let shade = rng.within(0.05, 0.25);
    let (line, light) = (rng.bool(), rng.f32());
    let (lx, ly) = (cos(light), sin(light));
    let mut tone = under.clone();
    let mut region = Plane::filled(size, 0.0);
    let mut parts = Vec::new();
    let shift = rng.within(-0.2, 0.2) * step;
    for row in 0..=count {
        for column in 0..=count {
            let (x, y) = (shift + (column as f32 + 0.5) * step, shift + (row as f32 + 0.5) * step);
            let part = Part { x, y, rx: rx + 3.0, ry: ry + 3.0 };
            parts.push(part);
            let far = |dx: f32, dy: f32| {
                let long = (dx.abs() - (rx - ry)).max(0.0);
                (long * long + dy * dy).sqrt() - ry
            };
            let cover = |dx, dy| 1.0 - smoothstep(-0.7, 0.7, far(dx, dy));
            stamp(&mut tone, &part, |dx, dy, old| {
                let round = shade * (dx * lx + dy * ly) / ry;
                let score = if line { 0.15 * (1.0 - smoothstep(0.5, 1.5, dx.abs())) } else { 0.0 };
                let rim = 0.12 * (1.0 - smoothstep(0.0, 1.6, (far(dx, dy) - 1.4).abs()));
                lerp(old - rim, pill + round - score, cover(dx, dy))
            });
            stamp(&mut region, &part, |dx, dy, old| old.max(cover(dx, dy)));
        }
    }
    let tone = tone.map(|v| v.clamp(0.01, 0.99));
    Sheet { region: Some(region), under: Some(under), parts, ..Sheet::grained(tone, 0.0, step) }
}
