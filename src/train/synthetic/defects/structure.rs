//! Defects of what should be there: parts missing or misplaced, bad print, broken edges, chips,
//! bent patterns. They need to know how the scene is built.

use fastrand::Rng;

use super::shape::{Blob, beyond, blobbed, facet};
use super::{Edge, Mark, Site};
use crate::train::synthetic::math::{cos, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::picture::{Ink, Picture};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;
use crate::train::synthetic::surfaces::Part;

/// A part well inside the image.
fn a_part(site: &Site, rng: &mut Rng) -> Option<Part> {
    let side = site.size() as f32;
    let inside = |part: &&Part| {
        part.x > 0.4 * part.rx
            && part.y > 0.4 * part.ry
            && part.x < side - 0.4 * part.rx
            && part.y < side - 0.4 * part.ry
    };
    let parts = site.base.parts.iter().filter(inside).collect::<Vec<_>>();
    if parts.is_empty() { None } else { Some(*parts[rng.usize(..parts.len())]) }
}

/// 1 in a part's box.
fn boxed(size: usize, part: &Part) -> Plane {
    Plane::from_fn(size, |x, y| {
        let edge = (part.rx - (x - part.x).abs()).min(part.ry - (y - part.y).abs());
        smoothstep(-0.5, 0.5, edge)
    })
}

/// Where two images differ by more than a fifth of their largest difference, closed a little.
fn changed(before: &Picture, after: &Picture) -> Plane {
    let mut sum = Plane::filled(before.size(), 0.0);
    for (a, b) in after.planes.iter().zip(&before.planes) {
        for ((s, a), b) in sum.data.iter_mut().zip(&a.data).zip(&b.data) {
            *s += (a - b).abs();
        }
    }
    let sum = sum.blurred(0.7);
    let most = sum.data.iter().copied().fold(1e-4, f32::max);
    sum.map(|v| smoothstep(0.05, 0.35, v / most))
}

/// The whole place of a changed element: all between its first and its last changed pixel in each
/// row and in each column.
fn filled(changed: Plane) -> Plane {
    let n = changed.size;
    let mut whole = changed.clone();
    for line in 0..n {
        for (start, step) in [(line * n, 1), (line, n)] {
            let seen = |i: &usize| changed.data[start + i * step] >= 0.5;
            let (first, last) = ((0..n).find(seen), (0..n).rfind(seen));
            if let (Some(first), Some(last)) = (first, last) {
                (first..=last).for_each(|i| whole.data[start + i * step] = 1.0);
            }
        }
    }
    whole
}

pub fn missing(site: &Site, rng: &mut Rng) -> Option<Mark> {
    let under = site.base.under.as_ref()?;
    let part = a_part(site, rng)?;
    let mut gone = boxed(site.size(), &part);
    if rng.chance(0.2) {
        // Half of it is still there.
        let line = beyond(site.size(), part.x, part.y, rng.f32(), 0.2 * part.rx, rng);
        gone = gone.with(&line, |a, b| a * b);
    }
    let after = site.before.clone().covered(under, &gone);
    let cover = filled(changed(site.before, &after));
    Some(Mark::replaced(after, cover))
}

pub fn misplaced(site: &Site, rng: &mut Rng) -> Option<Mark> {
    let under = site.base.under.as_ref()?;
    let part = a_part(site, rng)?;
    let turns = rng.f32();
    let far = rng.within(0.3, 0.9) * part.rx.min(part.ry);
    let (dx, dy) = (far * cos(turns), far * sin(turns));
    let tilt = if rng.bool() { rng.within(-0.12, 0.12) } else { 0.0 };
    let (c, s) = (cos(tilt), sin(tilt));
    let gone = boxed(site.size(), &part);
    let without = site.before.clone().covered(under, &gone);
    let mut after = without.clone();
    let base = &site.base.picture;
    for ((plane, own), below) in after.planes.iter_mut().zip(&base.planes).zip(&under.planes) {
        let size = plane.size;
        for (i, value) in plane.data.iter_mut().enumerate() {
            let (px, py) = ((i % size) as f32 - part.x - dx, (i / size) as f32 - part.y - dy);
            let (qx, qy) = (px * c + py * s, py * c - px * s);
            if qx.abs() < part.rx && qy.abs() < part.ry {
                let (x, y) = (part.x + qx, part.y + qy);
                *value += own.between(x, y) - below.between(x, y);
            }
        }
    }
    // Where it should be, and where it is.
    let place = filled(changed(site.before, &without));
    let cover = filled(changed(&without, &after)).with(&place, f32::max);
    Some(Mark::replaced(after, cover))
}

pub fn misprint(site: &Site, rng: &mut Rng) -> Option<Mark> {
    let size = site.size();
    let under = site.base.under.as_ref();
    let (part, under) = match (a_part(site, rng), under) {
        (Some(part), Some(under)) if rng.chance(0.7) => (part, under),
        _ => return Some(ink_spill(site, rng)),
    };
    let radius = part.rx.max(part.ry) * rng.within(0.7, 2.5);
    let shape = Blob {
        x: part.x,
        y: part.y,
        radius,
        aspect: 1.0,
        turns: 0.0,
        ragged: 0.6,
        soft: 0.3 * radius,
    };
    let region = blobbed(size, shape, rng);
    let (dx, dy) = (rng.within(-0.7, 0.7) * part.rx, rng.within(-0.7, 0.7) * part.ry);
    let base = &site.base.picture;
    let after = match rng.u32(..3) {
        // Too little ink.
        0 => {
            let specks = fbm(size, Frame::even(2.5, rng), 3, 0.7, rng);
            let bias = rng.within(-0.3, 0.8);
            let bare = region.clone().with(&specks, |r, n| r * smoothstep(-0.2, 0.5, n + bias));
            site.before.clone().covered(under, &bare)
        }
        // Printed twice.
        1 => {
            let mut twice = site.before.clone();
            for ((plane, own), below) in
                twice.planes.iter_mut().zip(&base.planes).zip(&under.planes)
            {
                for (i, value) in plane.data.iter_mut().enumerate() {
                    let (x, y) = ((i % size) as f32 - dx, (i / size) as f32 - dy);
                    *value += region.data[i] * 0.7 * (own.between(x, y) - below.between(x, y));
                }
            }
            twice.map_planes(|plane| plane.map(|v| v.clamp(0.02, 1.0)))
        }
        // Smeared while wet.
        _ => {
            let mut wiped = site.before.clone();
            for (plane, own) in wiped.planes.iter_mut().zip(&base.planes) {
                for (i, value) in plane.data.iter_mut().enumerate() {
                    if region.data[i] > 0.01 {
                        let (x, y) = ((i % size) as f32, (i / size) as f32);
                        let trail = (0..8)
                            .map(|k| own.between(x - dx * k as f32 * 0.3, y - dy * k as f32 * 0.3));
                        *value = lerp(*value, trail.sum::<f32>() / 8.0, region.data[i]);
                    }
                }
            }
            wiped
        }
    };
    let cover = changed(site.before, &after);
    Some(Mark::replaced(after, cover))
}

/// Ink where none should be.
fn ink_spill(site: &Site, rng: &mut Rng) -> Mark {
    let (x, y) = site.base.place(0.1, rng);
    let radius = site.length(0.02, 0.12, rng);
    let shape = Blob {
        x,
        y,
        radius,
        aspect: rng.log_within(0.3, 3.0),
        turns: rng.f32(),
        ragged: rng.within(0.1, 0.7),
        soft: 0.7,
    };
    let cover = blobbed(site.size(), shape, rng);
    let sign = rng.sign();
    let ink = site.contrasting(x, y, sign, rng);
    Mark::shaded(site.before.clone().inked(ink, &cover), cover)
}

/// The rough face of a fracture, brighter or darker than the surface.
fn fracture(site: &Site, x: f32, y: f32, cover: &Plane, rng: &mut Rng) -> Picture {
    let size = site.size();
    let sign = rng.sign();
    let ink = site.contrasting(x, y, sign, rng);
    let Ink(tone) = ink;
    let frame = Frame::even(rng.log_within(3.0, 0.1 * size as f32 + 3.0), rng);
    let rough = fbm(size, frame, 4, 0.65, rng);
    let turns = rng.f32();
    let relief = rough.relief(cos(turns), sin(turns)).standardised().with(cover, |r, c| r * c);
    let after = site.before.clone().inked(ink, cover);
    after.lit(&relief, (0.1 + tone[1]) * rng.within(0.03, 0.2))
}

/// A corner or side broken off.
pub fn broken(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let side = size as f32;
    let (edge, line) = if site.base.object.is_some() || rng.bool() {
        let edge = site.edge(rng);
        let (x, y) = edge.inwards(side * rng.log_within(0.04, 0.3));
        let turns = edge.turns + rng.within(-0.08, 0.08);
        (edge, beyond(size, x, y, turns, rng.within(0.5, 0.05 * side), rng))
    } else {
        let turns = rng.f32();
        let (dx, dy) = (cos(turns), sin(turns));
        let far = side * (0.5 * dx.abs().max(dy.abs()) - rng.within(0.03, 0.25));
        let (x, y) = (0.5 * side + far * dx, 0.5 * side + far * dy);
        let line = beyond(size, x, y, turns, rng.within(0.5, 0.05 * side), rng);
        let slide = rng.within(-0.25, 0.25) * side;
        (Edge { x: x + 4.0 * dx - slide * dy, y: y + 4.0 * dy + slide * dx, turns }, line)
    };
    // A piece of the side, not all of it.
    let Edge { x, y, .. } = edge;
    let radius = site.length(0.12, 0.45, rng);
    let shape = Blob { x, y, radius, aspect: 1.0, turns: 0.0, ragged: 0.4, soft: 1.0 };
    let piece =
        if rng.chance(0.75) { line.with(&blobbed(size, shape, rng), |a, b| a * b) } else { line };
    let cover = site.base.on_object(piece);
    match &site.base.object {
        Some((_, behind)) if rng.chance(0.6) => {
            Mark::replaced(site.before.clone().covered(behind, &cover), cover)
        }
        _ if rng.chance(0.4) => {
            let dark = Ink::grey(rng.within(0.0, 0.12));
            Mark::shaded(site.before.clone().inked(dark, &cover), cover)
        }
        _ => {
            let (x, y) = edge.inwards(0.3 * radius);
            Mark::shaded(fracture(site, x, y, &cover, rng), cover)
        }
    }
}

/// A shell-shaped flake, at an edge of the object if there is one.
pub fn chip(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) =
        if rng.chance(0.75) { site.edge(rng).inwards(2.0) } else { site.base.place(0.05, rng) };
    let radius = site.length(0.025, 0.18, rng).max(2.0 * site.pixel);
    let soft = rng.log_within(0.5, 1.2);
    let cover = if rng.bool() {
        facet(size, x, y, radius, soft, rng)
    } else {
        let (aspect, turns) = (rng.log_within(0.6, 1.8), rng.f32());
        blobbed(size, Blob { x, y, radius, aspect, turns, ragged: 0.45, soft }, rng)
    };
    let cover = site.base.on_object(cover);
    match &site.base.object {
        Some((_, behind)) if rng.bool() => {
            Mark::replaced(site.before.clone().covered(behind, &cover), cover)
        }
        _ => {
            let after = fracture(site, x, y, &cover, rng);
            let edge = cover.blurred(0.8).relief(0.6, 0.8);
            Mark::shaded(after.lit(&edge, rng.within(-0.5, 0.5)), cover)
        }
    }
}

/// The pattern pushed aside around a place.
pub fn deformation(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.15, rng);
    // Less than two rows bent by half a row would not be noticed.
    let radius = site.length(0.08, 0.28, rng).max(2.0 * site.base.pitch);
    let turns = rng.f32();
    let push = rng.within(0.25, 0.6) * radius;
    let swirl = if rng.chance(0.3) { rng.within(-0.15, 0.15) } else { 0.0 };
    let (dx, dy) = (push * cos(turns), push * sin(turns));
    let window = Plane::from_fn(size, |px, py| {
        let square = ((px - x) * (px - x) + (py - y) * (py - y)) / (radius * radius);
        (1.0 - square).max(0.0) * (1.0 - square).max(0.0)
    });
    let bend = |plane: Plane| {
        let mut bent = plane.clone();
        for (i, value) in bent.data.iter_mut().enumerate() {
            let weight = window.data[i];
            if weight > 0.0 {
                let (px, py) = ((i % size) as f32, (i / size) as f32);
                let (c, s) = (cos(swirl * weight), sin(swirl * weight));
                let (qx, qy) = (px - x, py - y);
                let (rx, ry) = (qx * c - qy * s, qx * s + qy * c);
                *value = plane.between(x + rx - dx * weight, y + ry - dy * weight);
            }
        }
        bent
    };
    let after = site.before.clone().map_planes(bend);
    // Bent material leaves its plane and takes the light otherwise.
    let slope = window.relief(cos(turns), sin(turns));
    let after = after.lit(&slope, radius * rng.within(0.0, 0.35));
    // Half strength of the window lies at 54 % of its radius; most of the visible bend is inside
    // a third of its weight.
    let cover = window.map(|w| smoothstep(0.08, 0.42, w));
    Mark::replaced(after, cover)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_ring_is_a_disc_and_that_of_a_cross_a_cross() {
        let far = |x: f32, y: f32| ((x - 10.0) * (x - 10.0) + (y - 10.0) * (y - 10.0)).sqrt();
        let ring = Plane::from_fn(21, |x, y| f32::from((5.0..=7.0).contains(&far(x, y))));
        let disc = Plane::from_fn(21, |x, y| f32::from(far(x, y) <= 7.0));
        assert_eq!(filled(ring), disc);
        let arm = |v: f32| (v - 10.0).abs() <= 1.0;
        let cross = Plane::from_fn(21, |x, y| f32::from(arm(x) || arm(y)));
        assert_eq!(filled(cross.clone()), cross);
    }
}
