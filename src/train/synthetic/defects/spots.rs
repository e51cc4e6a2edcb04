//! Defects that are spots: holes, pores, dents, bumps, specks of dirt.

use fastrand::Rng;

use super::shape::{Blob, Walk, blob, blobbed, facet, stroke, walk};
use super::{Mark, Site};
use crate::train::synthetic::math::{cos, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::picture::Ink;
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;
use crate::train::synthetic::surfaces::Part;

pub fn hole(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = off_the_pattern(site, rng);
    // Where holes are in order, the round ones are meant to be there.
    let ordered = !site.base.parts.is_empty();
    let radius = site.length(0.014, 0.14, rng).max(1.6 * site.pixel);
    let shape = Blob {
        x,
        y,
        radius,
        aspect: rng.log_within(0.6, 1.6),
        turns: rng.f32(),
        ragged: match rng.bool() {
            _ if ordered => rng.within(0.45, 0.9),
            true => rng.within(0.0, 0.2),
            false => rng.within(0.1, 0.6),
        },
        soft: rng.log_within(0.5, 0.35 * radius + 0.6),
    };
    let cover = site.base.on_object(blobbed(size, shape, rng));
    let sign = if rng.chance(0.85) { -1.0 } else { 1.0 };
    let ink = site.contrasting(x, y, sign, rng);
    let turns = rng.f32();
    let (c, s) = (cos(turns), sin(turns));
    let rim = cover.blurred(0.15 * radius + 0.7).relief(c, s);
    let lip = if rng.bool() { radius * rng.within(0.0, 0.25) } else { 0.0 };
    let after = site.before.clone().lit(&rim, lip.min(1.0)).inked(ink, &cover);
    // A wall of the hole catches light.
    let inner = Plane::from_fn(size, |px, py| ((px - x) * c + (py - y) * s) / radius)
        .with(&cover, |v, cover| v.clamp(-1.0, 1.0) * cover);
    Mark::shaded(after.lit(&inner, rng.within(0.0, 0.12)), cover)
}

/// A place between the regular elements, if a few tries find one.
fn off_the_pattern(site: &Site, rng: &mut Rng) -> (f32, f32) {
    let mut at = site.base.place(0.08, rng);
    for _ in 0..8 {
        let inside = |p: &Part| (at.0 - p.x).abs() < p.rx && (at.1 - p.y).abs() < p.ry;
        if !site.base.parts.iter().any(inside) {
            break;
        }
        at = site.base.place(0.08, rng);
    }
    at
}

pub fn pores(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let spread = site.length(0.03, 0.25, rng);
    let count = rng.log_within(1.3, 28.0) as usize;
    let most = rng.log_within(1.3, 0.02 * size as f32 / site.pixel + 1.6) * site.pixel;
    let soft = rng.log_within(0.5, 1.0);
    let mut cover = Plane::filled(size, 0.0);
    for _ in 0..count {
        let shape = Blob {
            x: x + spread * rng.normal(),
            y: y + spread * rng.normal(),
            radius: most * rng.within(0.75, 1.0),
            aspect: rng.log_within(0.7, 1.4),
            turns: rng.f32(),
            ragged: 0.2,
            soft,
        };
        blob(&mut cover, shape, rng);
    }
    let cover = site.base.on_object(cover);
    let ink = site.contrasting(x, y, if rng.chance(0.85) { -1.0 } else { 1.0 }, rng);
    let rim = cover.blurred(0.8).relief(0.7, 0.7);
    let after = site.before.clone().lit(&rim, rng.within(0.0, 0.3)).inked(ink, &cover);
    Mark::shaded(after, cover)
}

/// A hollow: one side in the light, the other in the shade.
pub fn dent(site: &Site, rng: &mut Rng) -> Mark {
    raised(site, -1.0, rng)
}

/// A blister: as a dent, the light on the other side, often with a gleam.
pub fn bump(site: &Site, rng: &mut Rng) -> Mark {
    raised(site, 1.0, rng)
}

fn raised(site: &Site, sign: f32, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let radius = site.length(0.025, 0.18, rng).max(3.0 * site.pixel);
    let aspect = rng.log_within(0.5, 2.0);
    let shape = Blob {
        x,
        y,
        radius,
        aspect,
        turns: rng.f32(),
        ragged: rng.within(0.0, 0.3),
        soft: 0.35 * radius,
    };
    let cover = site.base.on_object(blobbed(size, shape, rng));
    // Light falls mostly from above in photographs of parts.
    let turns = rng.within(0.5, 1.0);
    let height = cover.blurred(0.22 * radius);
    let relief = height.relief(cos(turns), sin(turns));
    let steep = -sign * radius * rng.within(0.3, 1.0);
    // Hollows are darker inside, bumps lighter.
    let inside = sign * rng.within(0.0, 0.12);
    let mut after = site.before.clone().lit(&relief, steep).lit(&cover, inside);
    if sign > 0.0 && rng.bool() {
        let (gx, gy) = (x + 0.35 * radius * cos(turns), y + 0.35 * radius * sin(turns));
        let spot = Blob {
            x: gx,
            y: gy,
            radius: 0.22 * radius,
            ragged: 0.2,
            soft: 0.15 * radius + 0.5,
            ..shape
        };
        after = after.inked(Ink::grey(1.0), &blobbed(size, spot, rng).map(|c| 0.5 * c));
    }
    if sign < 0.0 && rng.chance(0.3) {
        // The dent scuffed the surface.
        let scuff = fbm(size, Frame::even(2.5, rng), 2, 0.7, rng).with(&cover, |n, c| n * c);
        after = after.lit(&scuff, rng.within(0.01, 0.06));
    }
    // The slopes reach beyond the outline: what is lit or shaded is dented too.
    let most = relief.data.iter().fold(1e-6, |most: f32, v| most.max(v.abs()));
    let sloped = relief.map(|v| smoothstep(0.1, 0.5, v.abs() / most));
    Mark::shaded(after, cover.with(&sloped, f32::max))
}

pub fn contamination(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let spread = site.length(0.02, 0.22, rng);
    let count = rng.log_within(1.0, 30.0) as usize;
    let most = rng.log_within(1.4, 0.03 * size as f32 / site.pixel + 1.0);
    let most = lerp(most.max(3.0), most, site.effort) * site.pixel;
    let soft = rng.log_within(0.45, 1.4);
    let (angular, hairy) = (rng.bool(), rng.chance(0.3));
    let mut cover = Plane::filled(size, 0.0);
    for i in 0..count {
        let (px, py) = (x + spread * rng.normal(), y + spread * rng.normal());
        let radius = most * rng.within(0.65, 1.0);
        if angular && i < 4 {
            let shard = facet(size, px, py, 1.4 * radius, soft.min(0.8), rng);
            cover = cover.with(&shard, f32::max);
        } else if hairy && i % 3 == 0 {
            let plan = Walk {
                length: 5.0 * radius,
                step: 1.5,
                bend: 0.02,
                jitter: 0.03,
                hold: 0.12,
                half: 0.6 * site.pixel,
                blunt: 1.0,
            };
            let heading = rng.f32();
            stroke(&mut cover, &walk(px, py, heading, plan, rng), 0.6);
        } else {
            let shape = Blob {
                x: px,
                y: py,
                radius,
                aspect: rng.log_within(0.5, 2.0),
                turns: rng.f32(),
                ragged: 0.6,
                soft,
            };
            blob(&mut cover, shape, rng);
        }
    }
    let cover = site.base.on_object(cover);
    let ink = site.contrasting(x, y, if rng.chance(0.65) { -1.0 } else { 1.0 }, rng);
    let mut after = site.before.clone().inked(ink, &cover);
    let grit = fbm(size, Frame::even(2.0, rng), 2, 0.8, rng).with(&cover, |n, c| n * c);
    after = after.lit(&grit, rng.within(0.0, 0.08));
    if rng.chance(0.3) {
        // Particles lie on the surface and shade it.
        after = after.lit(&cover.blurred(1.0).relief(0.7, 0.7), rng.within(0.0, 0.4));
    }
    Mark::shaded(after, cover)
}
