//! Defects that are lines: scratches, cracks, cuts, abrasion, threads, wrinkles, frayed fibres.

use fastrand::Rng;

use super::shape::{Blob, Knot, Walk, blobbed, centred, stroke, stroked, walk};
use super::{Mark, Site, local_level};
use crate::train::synthetic::math::{cos, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm};
use crate::train::synthetic::picture::Ink;
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;

/// Half of a line's width, pixels: hairlines too.
fn half_width(site: &Site, rng: &mut Rng) -> f32 {
    let most = 0.012 * site.size() as f32 + 0.6 * site.pixel;
    0.5 * rng.log_within(lerp(2.0, 1.1, site.effort) * site.pixel, 2.0 * most)
}

fn softness(rng: &mut Rng) -> f32 {
    rng.log_within(0.45, 1.6)
}

pub fn scratch(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let length = site.length(0.08, 0.9, rng);
    let step = (0.02 * size as f32).max(2.0);
    let bend = if rng.chance(0.4) { rng.within(-0.25, 0.25) * step / length } else { 0.0 };
    let half = half_width(site, rng);
    let jitter = if rng.chance(0.3) { 0.01 } else { 0.001 };
    let plan = Walk { length, step, bend, jitter, hold: 0.12, half, blunt: rng.within(0.3, 1.0) };
    let turns = rng.f32();
    let soft = softness(rng);
    let mut cover = Plane::filled(size, 0.0);
    let path = centred(walk(x, y, turns, plan, rng), x, y);
    let lines = if rng.chance(0.2) { rng.usize(2..4) } else { 1 };
    let (gx, gy) = (-sin(turns), cos(turns));
    let mut aside = 0.0;
    for _ in 0..lines {
        let moved = |k: &Knot| Knot { x: k.x + aside * gx, y: k.y + aside * gy, half: k.half };
        stroke(&mut cover, &path.iter().map(moved).collect::<Vec<_>>(), soft);
        aside += rng.within(2.5, 7.0);
    }
    // The tool jumped.
    if rng.chance(0.25) {
        let frame = Frame::even(0.25 * length + 4.0, rng);
        let gaps = fbm(size, frame, 2, 0.6, rng);
        cover = cover.with(&gaps, |c, g| c * smoothstep(-1.0, -0.4, g));
    }
    let cover = site.base.on_object(cover);
    let sign = rng.sign();
    let ink = site.contrasting(x, y, sign, rng);
    let mut after = site.before.clone().inked(ink, &cover);
    // The raised lip of a groove.
    if half > 0.8 && rng.chance(0.35) {
        let lip = cover.blurred(0.8).relief(gx, gy);
        after = after.lit(&lip, sign * rng.within(0.1, 0.5));
    }
    Mark::shaded(after, cover)
}

pub fn crack(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let step = rng.log_within(1.5, 0.05 * size as f32 + 1.5);
    let hairline = rng.chance(0.4);
    let plan = if hairline {
        // Long, hardly wider than a pixel, nearly straight.
        Walk {
            length: site.length(0.3, 1.3, rng),
            step,
            bend: 0.0,
            jitter: rng.within(0.01, 0.05),
            hold: rng.within(0.05, 0.4),
            half: site.pixel * rng.within(0.5, 0.9),
            blunt: rng.within(0.5, 1.0),
        }
    } else {
        Walk {
            length: site.length(0.1, 1.0, rng),
            step,
            bend: 0.0,
            jitter: rng.within(0.03, 0.12),
            hold: rng.within(0.2, 0.8),
            half: half_width(site, rng),
            blunt: rng.within(0.0, 0.7),
        }
    };
    let Walk { length, half, .. } = plan;
    let soft = softness(rng).min(1.0);
    // Cracks often start where the part ends.
    let ((x, y), turns, trunk) = if rng.chance(0.25) {
        let edge = site.edge(rng);
        let turns = edge.turns + 0.5 + rng.within(-0.15, 0.15);
        let trunk = walk(edge.x, edge.y, turns, plan, rng);
        (edge.inwards(0.1 * size as f32), turns, trunk)
    } else {
        let (at, turns) = (site.base.place(0.08, rng), rng.f32());
        let trunk = walk(at.0, at.1, turns, plan, rng);
        (at, turns, if rng.bool() { centred(trunk, at.0, at.1) } else { trunk })
    };
    let mut cover = stroked(size, &trunk, soft);
    if !hairline && rng.chance(0.2) {
        // A star: what a blow leaves.
        for arm in 1..rng.usize(3..5) {
            let side = turns + arm as f32 * 0.25 + rng.within(-0.06, 0.06);
            stroke(&mut cover, &walk(x, y, side, Walk { blunt: 0.1, ..plan }, rng), soft);
        }
    }
    for _ in 0..rng.usize(0..if hairline { 2 } else { 5 }) {
        let root = trunk[rng.usize(..trunk.len())];
        let side = turns + rng.sign() * rng.within(0.06, 0.2);
        let length = length * rng.within(0.1, 0.5);
        let branch = Walk { length, half: 0.75 * half, blunt: 0.2, ..plan };
        stroke(&mut cover, &walk(root.x, root.y, side, branch, rng), soft);
    }
    let cover = site.base.on_object(cover);
    let sign = if rng.chance(0.85) { -1.0 } else { 1.0 };
    let ink = site.contrasting(x, y, sign, rng);
    let mut after = site.before.clone().inked(ink, &cover);
    if rng.chance(0.2) {
        let lip = cover.blurred(1.0).relief(-sin(turns), cos(turns));
        after = after.lit(&lip, rng.within(-0.4, 0.4));
    }
    Mark::shaded(after, cover)
}

pub fn cut(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.15, rng);
    let length = site.length(0.08, 0.5, rng);
    let half = rng.log_within(0.9, 0.018 * size as f32 / site.pixel + 1.0) * site.pixel;
    let step = (0.05 * length).max(1.5);
    let bend = rng.within(-0.08, 0.08) * step / length;
    let plan = Walk { length, step, bend, jitter: 0.001, hold: 0.12, half, blunt: 0.0 };
    let turns = rng.f32();
    let path = centred(walk(x, y, turns, plan, rng), x, y);
    let cover = site.base.on_object(stroked(size, &path, rng.within(0.45, 0.9)));
    let ink = site.contrasting(x, y, if rng.chance(0.8) { -1.0 } else { 1.0 }, rng);
    // Cut edges stand up: light on one, shade on the other.
    let wide = cover.blurred(1.2);
    let lip = wide.relief(-sin(turns), cos(turns));
    let after = site.before.clone().lit(&lip, rng.within(-0.8, 0.8)).inked(ink, &cover);
    let shown = cover.with(&wide, |c, w| c.max((1.6 * w).min(0.45)));
    Mark::shaded(after, shown)
}

pub fn abrasion(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.15, rng);
    let radius = site.length(0.05, 0.25, rng);
    let (turns, spread) = (rng.f32(), rng.within(0.0, 0.06));
    let shape = Blob {
        x,
        y,
        radius,
        aspect: rng.log_within(0.6, 3.0),
        turns,
        ragged: 0.5,
        soft: 0.4 * radius,
    };
    let region = blobbed(size, shape, rng);
    let mut lines = Plane::filled(size, 0.0);
    for _ in 0..(radius * rng.within(0.8, 2.0)) as usize + 6 {
        let (px, py) = (x + radius * rng.within(-1.6, 1.6), y + radius * rng.within(-1.6, 1.6));
        let length = radius * rng.within(0.4, 1.8);
        let half = rng.log_within(0.35, 0.9) * site.pixel;
        let plan = Walk {
            length,
            step: 0.3 * length + 1.0,
            bend: 0.0,
            jitter: 0.004,
            hold: 0.12,
            half,
            blunt: 0.2,
        };
        let path = centred(walk(px, py, turns + spread * rng.normal(), plan, rng), px, py);
        stroke(&mut lines, &path, 0.7);
    }
    let lines = site.base.on_object(lines.with(&region, |l, r| l * r));
    let ink = site.contrasting(x, y, if rng.chance(0.7) { 1.0 } else { -1.0 }, rng);
    let dull = rng.within(0.0, 0.3);
    let veil = lines.blurred(1.5);
    let after = site.before.clone().inked(ink, &lines).inked(ink, &veil.clone().map(|v| dull * v));
    let cover = veil.with(&lines, |v, l| (2.6 * v).min(1.0).max(l));
    Mark::shaded(after, cover)
}

pub fn thread(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let length = site.length(0.15, 1.0, rng);
    let step = rng.log_within(2.0, 5.0);
    let plan = Walk {
        length,
        step,
        bend: rng.within(-0.8, 0.8) * step / length,
        jitter: rng.within(0.01, 0.04),
        hold: 0.08,
        half: half_width(site, rng).min(1.8 * site.pixel),
        blunt: 1.0,
    };
    let path = centred(walk(x, y, rng.f32(), plan, rng), x, y);
    let cover = stroked(size, &path, softness(rng).min(1.0));
    let sign = rng.sign();
    let ink = site.contrasting(x, y, sign, rng);
    let shift = rng.within(1.0, 4.0);
    let below = |k: &Knot| Knot { x: k.x + shift, y: k.y + shift, half: k.half + 0.7 };
    let shadow = stroked(size, &path.iter().map(below).collect::<Vec<_>>(), 2.0);
    let depth = 1.0 - if rng.bool() { rng.within(0.0, 0.3) } else { 0.0 };
    let after = site.before.clone().glazed(Ink::grey(depth), &shadow).inked(ink, &cover);
    Mark::shaded(after, cover)
}

pub fn wrinkle(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.15, rng);
    let length = site.length(0.2, 1.1, rng);
    let step = 0.04 * size as f32;
    let half = rng.log_within(1.2 * site.pixel, 0.03 * size as f32);
    let bend = rng.within(-0.3, 0.3) * step / length;
    let plan = Walk { length, step, bend, jitter: 0.012, hold: 0.12, half, blunt: 0.3 };
    let turns = rng.f32();
    let path = centred(walk(x, y, turns, plan, rng), x, y);
    let cover = site.base.on_object(stroked(size, &path, half.max(1.0)));
    let relief = cover.blurred(0.5 * half).relief(-sin(turns), cos(turns));
    let (slope, crest) =
        (half * rng.within(0.4, 1.2) * rng.sign(), rng.sign() * rng.within(0.02, 0.25));
    let after = site.before.clone().lit(&relief, slope).lit(&cover, crest);
    Mark::shaded(after, cover)
}

pub fn fray(site: &Site, rng: &mut Rng) -> Mark {
    if rng.chance(0.45) { worn_edge(site, rng) } else { fibres(site, rng) }
}

/// A ragged, rough band along a border: what rubs and crumbles.
fn worn_edge(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let edge = site.edge(rng);
    let radius = site.length(0.06, 0.28, rng);
    let (x, y) = edge.inwards(0.2 * radius);
    let shape = Blob {
        x,
        y,
        radius,
        aspect: rng.log_within(1.2, 4.0),
        turns: edge.turns + 0.25,
        ragged: rng.within(0.6, 1.0),
        soft: (radius * rng.within(0.08, 0.35)).max(0.7),
    };
    let cover = site.base.on_object(blobbed(size, shape, rng));
    let period = site.pixel * rng.log_within(1.2, 5.0);
    let along = Frame::new(edge.turns, period * rng.within(1.0, 4.0), period, rng);
    let grit = fbm(size, along, 3, 0.8, rng).with(&cover, |g, c| g * c);
    let level = local_level(site.before, x, y);
    let tone = Ink::grey(rng.one_of(&[0.6, 0.8, 1.0, 1.25, 1.6]));
    let after = site.before.clone().glazed(tone, &cover);
    Mark::shaded(after.lit(&grit, (0.15 + level) * rng.within(0.05, 0.25)), cover)
}

fn fibres(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.08, rng);
    let radius = site.length(0.04, 0.18, rng);
    let turns = rng.f32();
    let mut fibres = Plane::filled(size, 0.0);
    for _ in 0..(1.5 * radius) as usize + 8 {
        let along = radius * rng.normal();
        let (px, py) = (x - along * sin(turns), y + along * cos(turns));
        let length = radius * rng.within(0.4, 1.6);
        let step = 2.0;
        let bend = rng.within(-0.4, 0.4) * step / length;
        let half = rng.log_within(0.4, 1.0) * site.pixel;
        let plan = Walk { length, step, bend, jitter: 0.03, hold: 0.12, half, blunt: 0.5 };
        let heading = turns + 0.12 * rng.normal();
        stroke(&mut fibres, &walk(px, py, heading, plan, rng), 0.7);
    }
    let light = site.contrasting(x, y, 1.0, rng);
    let dark = site.contrasting(x, y, -1.0, rng);
    let veil = fibres.blurred(1.5);
    let ground = veil.clone().map(|v| (2.2 * v).min(1.0));
    let depth = rng.within(0.1, 0.6);
    let (under, over) = if rng.bool() { (dark, light) } else { (light, dark) };
    let after = site.before.clone().inked(under, &ground.clone().map(|v| depth * v));
    let after = after.inked(over, &fibres.clone().map(|v| 0.8 * v));
    Mark::shaded(after, ground.with(&fibres, f32::max))
}

/// A thread that is torn or pulled: a band along the weave.
pub fn broken_thread(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.12, rng);
    let length = site.length(0.1, 0.9, rng);
    let turns = site.base.grain + if rng.bool() { 0.25 } else { 0.0 };
    let most = 0.04 * size as f32;
    let half = (0.5 * site.base.pitch * rng.within(0.6, 1.6)).clamp(0.8 * site.pixel, most);
    let step = (0.1 * length).max(2.0);
    let plan = Walk { length, step, bend: 0.0, jitter: 0.002, hold: 0.12, half, blunt: 1.0 };
    let path = centred(walk(x, y, turns, plan, rng), x, y);
    let cover = site.base.on_object(stroked(size, &path, rng.within(0.5, 1.2)));
    // Without the thread the ground shows; a pulled one lies over its neighbours.
    match &site.base.under {
        Some(under) if rng.chance(0.7) => {
            let after = site.before.clone().covered(under, &cover);
            Mark::replaced(after, cover)
        }
        _ => {
            let ink = site.contrasting(x, y, if rng.chance(0.7) { -1.0 } else { 1.0 }, rng);
            let share = rng.within(0.5, 0.95);
            let after = site.before.clone().inked(ink, &cover.clone().map(|c| share * c));
            Mark::shaded(after, cover)
        }
    }
}
