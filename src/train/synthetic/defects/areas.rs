//! Defects that are areas: stains, colours, burns, rust, dead regions, other texture, peeled
//! coats, smears.

use fastrand::Rng;

use super::shape::{Blob, Walk, beyond, blobbed, centred, facet, stroked, walk};
use super::{Mark, Site, local_level};
use crate::train::synthetic::math::{cos, floor, lerp, sin, smoothstep};
use crate::train::synthetic::noise::{Frame, fbm, streaks};
use crate::train::synthetic::picture::{Colour, Ink};
use crate::train::synthetic::plane::Plane;
use crate::train::synthetic::random::Draw;
use crate::train::synthetic::surfaces::Bars;

/// A spot of any shape, from compact to torn, with its middle and radius.
fn spot(site: &Site, low: f32, high: f32, softest: f32, rng: &mut Rng) -> (Plane, f32, f32, f32) {
    let (x, y) = site.base.place(0.1, rng);
    let radius = site.length(low, high, rng);
    // Many large areas are no spots: islands with bays, several at once.
    if radius > 0.12 * site.size() as f32 && rng.chance(0.35) {
        return (islands(site, x, y, radius, softest, rng), x, y, radius);
    }
    let shape = Blob {
        x,
        y,
        radius,
        aspect: rng.log_within(0.45, 2.2),
        turns: rng.f32(),
        ragged: rng.within(0.05, 0.9),
        soft: rng.log_within(0.6, (softest * radius).max(0.7)),
    };
    let cover = site.base.on_object(blobbed(site.size(), shape, rng));
    (cover, x, y, radius)
}

/// Where a slow random field is high, around (x, y) and further off, up to half of the image.
fn islands(site: &Site, x: f32, y: f32, radius: f32, softest: f32, rng: &mut Rng) -> Plane {
    let along = rng.log_within(1.0, 3.5);
    let turns = if rng.bool() { site.base.grain } else { rng.f32() };
    let frame = Frame::new(turns, radius * along, radius / along.sqrt(), rng);
    let field = fbm(site.size(), frame, 4, rng.within(0.35, 0.7), rng);
    // Higher near the middle, so that it is one of the islands.
    let reach = radius * rng.within(1.5, 4.0);
    let near = |dx: f32, dy: f32| 1.0 - ((dx * dx + dy * dy) / (reach * reach)).min(1.0);
    let sea = rng.within(0.9, 1.5);
    let soft = rng.within(0.03, softest.max(0.1));
    let cover = Plane::from_fn(site.size(), |px, py| {
        let height = field.data[py as usize * field.size + px as usize];
        smoothstep(-soft, soft, height + 1.6 * near(px - x, py - y) - sea)
    });
    site.base.on_object(cover)
}

pub fn stain(site: &Site, rng: &mut Rng) -> Mark {
    let (cover, x, y, radius) = spot(site, 0.03, 0.3, 0.6, rng);
    let level = local_level(site.before, x, y);
    let darker = level > 0.2 && rng.chance(0.8);
    let tone = if darker { rng.within(0.3, 0.85) } else { rng.within(1.2, 2.2) };
    let ink = if rng.chance(0.6) {
        Ink::hued(tone, rng.within(0.03, 0.14), rng.within(0.1, 0.7))
    } else {
        Ink::hued(tone, rng.f32(), rng.within(0.0, 0.5))
    };
    let mut shade = cover.clone();
    if rng.chance(0.35) {
        // A dried rim.
        let inner = cover.blurred(0.15 * radius + 1.0);
        let weak = rng.within(0.2, 0.7);
        shade = shade.with(&inner, |c, i| c * lerp(1.0, weak, smoothstep(0.5, 1.0, i)));
    }
    if rng.bool() {
        let clouds = fbm(site.size(), Frame::even(0.5 * radius + 2.0, rng), 3, 0.6, rng);
        shade = shade.with(&clouds, |c, n| c * (1.0 + 0.2 * n).clamp(0.3, 1.4));
    }
    Mark::shaded(site.before.clone().glazed(ink, &shade), cover)
}

pub fn discoloration(site: &Site, rng: &mut Rng) -> Mark {
    let (cover, ..) = if rng.chance(0.7) {
        spot(site, 0.08, 0.4, 0.9, rng)
    } else {
        let (x, y) = site.base.place(0.2, rng);
        let turns = rng.f32();
        let cover = beyond(site.size(), x, y, turns, rng.within(0.0, 8.0), rng);
        let other = beyond(
            site.size(),
            x + 0.2 * site.size() as f32 * cos(turns),
            y + 0.2 * site.size() as f32 * sin(turns),
            turns,
            rng.within(0.0, 8.0),
            rng,
        );
        (site.base.on_object(cover.with(&other, |a, b| (a - b).max(0.0))), x, y, 0.0)
    };
    let colour = site.before.colour() == Colour::Full && rng.chance(0.7);
    let tone = if colour { rng.within(0.85, 1.15) } else { rng.one_of(&[0.6, 0.75, 1.3, 1.5]) };
    let ink = Ink::hued(
        tone,
        rng.f32(),
        if colour { rng.within(0.3, 0.8) } else { rng.within(0.0, 0.3) },
    );
    Mark::shaded(site.before.clone().glazed(ink, &cover), cover)
}

pub fn burn(site: &Site, rng: &mut Rng) -> Mark {
    let (cover, _, _, radius) = spot(site, 0.03, 0.2, 0.9, rng);
    let core = cover.blurred(0.3 * radius).map(|c| smoothstep(0.4, 1.0, c));
    let brown = Ink::hued(rng.within(0.4, 0.75), rng.within(0.02, 0.1), rng.within(0.3, 0.9));
    let black = Ink::grey(rng.within(0.05, 0.3));
    let after = site.before.clone().glazed(brown, &cover).glazed(black, &core);
    Mark::shaded(after, cover)
}

pub fn corrosion(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (region, x, y, radius) = spot(site, 0.05, 0.28, 0.8, rng);
    let grain = fbm(size, Frame::even((0.3 * radius).max(3.0), rng), 5, 0.7, rng);
    // Patchy: the spot's soft border shifts the threshold.
    let soft = rng.within(0.15, 0.6);
    let patchy = rng.within(0.3, 1.2);
    let cover = region.with(&grain, |r, g| smoothstep(-soft, soft, 2.4 * r - 1.2 + patchy * g * r));
    let cover = site.base.on_object(cover);
    let level = local_level(site.before, x, y);
    let tone = if level > 0.25 || rng.bool() { level * rng.within(0.3, 0.8) } else { level + 0.25 };
    let rust = Ink::hued(tone.max(0.04), rng.within(0.02, 0.1), rng.within(0.4, 0.85));
    let opaque = rng.within(0.5, 1.0);
    let after = site.before.clone().inked(rust, &cover.clone().map(|c| c * opaque));
    let skin = fbm(size, Frame::even(2.5, rng), 3, 0.8, rng).with(&cover, |n, c| n * c);
    Mark::shaded(after.lit(&skin, rng.within(0.02, 0.1) * (0.4 + level)), cover)
}

/// A region that stays dark, with straight or ragged borders.
pub fn dark_area(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let side = size as f32;
    if let Some(bars) = site.base.bars.filter(|_| rng.chance(0.6)) {
        let cover = site.base.on_object(between_bars(site, bars, rng));
        let depth = Ink::grey(rng.within(0.1, 0.85));
        return Mark::shaded(site.before.clone().glazed(depth, &cover), cover);
    }
    let (x, y) = site.base.place(0.08, rng);
    let soft = rng.log_within(0.6, 4.0);
    let cover = match rng.u32(..4) {
        0 => facet(size, x, y, site.length(0.06, 0.35, rng), soft, rng),
        1 => {
            // Cut off by a crack: all beyond a line, towards the nearer border.
            let turns =
                (site.base.grain * 4.0 + rng.usize(..4) as f32) * 0.25 + rng.within(-0.08, 0.08);
            let (dx, dy) = (cos(turns), sin(turns));
            let reach = side * rng.within(0.22, 0.42);
            beyond(
                size,
                0.5 * side + reach * dx,
                0.5 * side + reach * dy,
                turns,
                rng.within(0.0, 5.0),
                rng,
            )
        }
        2 => {
            // Along the grain, between two bars.
            let (w, h) = (site.length(0.05, 0.3, rng), site.length(0.03, 0.2, rng));
            let (c, s) = (cos(site.base.grain), sin(site.base.grain));
            Plane::from_fn(size, |px, py| {
                let (dx, dy) = (px - x, py - y);
                let edge = (w - (dx * c + dy * s).abs()).min(h - (dy * c - dx * s).abs());
                smoothstep(-soft, soft, edge)
            })
        }
        _ => spot(site, 0.06, 0.3, 0.5, rng).0,
    };
    let cover = site.base.on_object(cover);
    let depth = Ink::grey(rng.within(0.15, 0.8));
    Mark::shaded(site.before.clone().glazed(depth, &cover), cover)
}

/// What carries no current: the rectangle between two bars, whole or up to a line, or a few
/// fingers that are cut.
fn between_bars(site: &Site, bars: Bars, rng: &mut Rng) -> Plane {
    let side = site.size() as f32;
    let (x, y) = site.base.place(0.05, rng);
    let (u, v) = bars.at(x, y);
    let first = floor(u) as f32;
    let (mut u0, mut u1, v0, v1);
    let fade;
    if rng.chance(0.45) {
        // Interrupted fingers are dark from the cut to the next bar, or between two cuts.
        let half = (0.5 * site.base.pitch * rng.within(0.9, 3.0)).max(0.6 * site.pixel);
        (v0, v1) = (v - half, v + half);
        (u0, u1) = (first, first + 1.0);
        let part = rng.within(0.2, 1.0);
        match rng.u32(..3) {
            0 => u1 = first + part,
            1 => u0 = first + 1.0 - part,
            _ => (u0, u1) = (first + 0.5 - 0.5 * part, first + 0.5 + 0.5 * part),
        }
        fade = rng.log_within(0.6, 0.05 * side);
    } else {
        (u0, u1) = (first, first + if rng.chance(0.2) { 2.0 } else { 1.0 });
        (v0, v1) = match rng.u32(..4) {
            0 | 1 => (-side, 2.0 * side),
            2 => (-side, v),
            _ => (v, v + side * rng.within(0.1, 0.6)),
        };
        fade = rng.log_within(0.6, 1.6);
    }
    let soft = rng.log_within(0.6, 1.6);
    Plane::from_fn(site.size(), |x, y| {
        let (u, v) = bars.at(x, y);
        let across = (u - u0).min(u1 - u) * bars.gap;
        smoothstep(-fade, fade, across) * smoothstep(-soft, soft, (v - v0).min(v1 - v))
    })
}

/// Ground, polished or coated more than around it: brighter or darker with a soft border, along
/// the tool's way or not.
fn uneven_finish(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.1, rng);
    let radius = site.length(0.1, 0.32, rng);
    let along = rng.bool();
    let shape = Blob {
        x,
        y,
        radius,
        aspect: if along { rng.log_within(1.5, 5.0) } else { rng.log_within(0.6, 1.6) },
        turns: if along { site.base.grain } else { rng.f32() },
        ragged: rng.within(0.1, 0.6),
        soft: radius * rng.within(0.25, 0.8),
    };
    let cover = site.base.on_object(blobbed(size, shape, rng));
    let level = local_level(site.before, x, y);
    let (long, wide) = (rng.log_within(10.0, 80.0), site.pixel * rng.log_within(0.8, 3.0));
    let marks = streaks(size, site.base.grain, long, wide, rng).with(&cover, |m, c| m * c);
    let tone = Ink::grey(rng.one_of(&[0.5, 0.65, 0.8, 1.25, 1.45, 1.8]));
    let after = site.before.clone().glazed(tone, &cover);
    Mark::shaded(after.lit(&marks, (0.1 + level) * rng.within(0.0, 0.1)), cover)
}

/// A texture like the surface's own, but not it: other streaks, smoothed, roughened.
pub fn uneven(site: &Site, rng: &mut Rng) -> Mark {
    if rng.chance(0.35) {
        return uneven_finish(site, rng);
    }
    let size = site.size();
    let (cover, x, y, _) = spot(site, 0.07, 0.35, 0.5, rng);
    let level = local_level(site.before, x, y);
    let after = match rng.u32(..4) {
        0 => {
            let flat = rng.within(1.0, 0.03 * size as f32 + 1.2);
            let soft = site.before.clone().map_planes(|plane| plane.blurred(flat));
            site.before.clone().covered(&soft, &cover)
        }
        1 => {
            let turns = site.base.grain + rng.within(0.05, 0.45);
            let marks =
                streaks(size, turns, rng.log_within(10.0, 80.0), rng.log_within(0.8, 3.0), rng);
            let marks = marks.with(&cover, |m, c| m * c);
            site.before.clone().lit(&marks, (0.2 + level) * rng.within(0.05, 0.2))
        }
        2 => {
            let grit = fbm(size, Frame::even(rng.log_within(1.5, 8.0), rng), 3, 0.7, rng);
            let grit = grit.with(&cover, |m, c| m * c);
            site.before.clone().lit(&grit, (0.2 + level) * rng.within(0.05, 0.25))
        }
        _ => {
            // Bands across the grain: the tool chattered.
            let turns = site.base.grain + 0.25;
            let bands = streaks(size, turns, 0.5 * size as f32, rng.log_within(2.0, 10.0), rng);
            let bands = bands.with(&cover, |m, c| m * c);
            site.before.clone().lit(&bands, (0.2 + level) * rng.within(0.05, 0.2))
        }
    };
    let tone = Ink::grey(rng.one_of(&[0.7, 0.85, 0.95, 1.05, 1.15, 1.3]));
    Mark::shaded(after.glazed(tone, &cover), cover)
}

/// The coat is off: another layer with the shaded edge of the coat around it.
pub fn peeling(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    // A coat comes off at a border first.
    let (x, y) =
        if rng.chance(0.3) { site.edge(rng).inwards(2.0) } else { site.base.place(0.1, rng) };
    let radius = site.length(0.04, 0.28, rng);
    let soft = rng.log_within(0.5, 1.0);
    let cover = if rng.bool() {
        facet(size, x, y, radius, soft, rng)
    } else {
        let (aspect, turns, ragged) = (rng.log_within(0.5, 2.0), rng.f32(), rng.within(0.4, 1.0));
        blobbed(size, Blob { x, y, radius, aspect, turns, ragged, soft }, rng)
    };
    let cover = site.base.on_object(cover);
    let sign = rng.sign();
    let ink = site.contrasting(x, y, sign, rng);
    let skin = fbm(size, Frame::even(rng.log_within(2.0, 9.0), rng), 3, 0.7, rng)
        .with(&cover, |n, c| n * c);
    let turns = rng.f32();
    let edge = cover.blurred(0.9).relief(cos(turns), sin(turns));
    let after = site.before.clone().inked(ink, &cover).lit(&skin, rng.within(0.0, 0.05));
    Mark::shaded(after.lit(&edge, rng.within(0.1, 0.6)), cover)
}

/// Glue, oil or a finger's trace: drawn out, smoothing what is below.
pub fn smear(site: &Site, rng: &mut Rng) -> Mark {
    let size = site.size();
    let (x, y) = site.base.place(0.12, rng);
    let length = site.length(0.12, 0.6, rng);
    let half = site.length(0.012, 0.06, rng).max(1.8 * site.pixel);
    let step = 0.03 * size as f32;
    let bend = rng.within(-0.4, 0.4) * step / length;
    let plan = Walk { length, step, bend, jitter: 0.02, hold: 0.12, half, blunt: rng.f32() };
    let turns = rng.f32();
    let path = centred(walk(x, y, turns, plan, rng), x, y);
    let soft = half * rng.within(0.3, 0.9);
    let grain = streaks(size, turns, 0.5 * length, 0.4 * half + 1.0, rng);
    let uneven = rng.within(0.0, 0.45);
    let cover = site.base.on_object(stroked(size, &path, soft));
    let cover = cover.with(&grain, |c, g| (c * (1.0 + uneven * g)).clamp(0.0, 1.0));
    let sharp = rng.within(1.0, 3.0);
    let soft = site.before.clone().map_planes(|plane| plane.blurred(sharp));
    let tone = rng.one_of(&[0.6, 0.75, 0.88, 1.15, 1.35, 1.6]);
    let ink = Ink::hued(tone, rng.f32(), rng.within(0.0, 0.3));
    let after = site.before.clone().covered(&soft, &cover.clone().map(|c| 0.8 * c));
    Mark::shaded(after.glazed(ink, &cover), cover)
}
