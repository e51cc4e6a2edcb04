//! How each kind of defect changes a faultless scene. In: the scene and its structure. Out: the
//! scene as it would be at full strength, and how much of each pixel is defect.

mod areas;
mod foreign;
mod lines;
mod shape;
mod spots;
mod structure;

use fastrand::Rng;

use super::base::Base;
use super::defect::Defect;
use super::math::{cos, lerp, sin};
use super::picture::{Ink, Picture};
use super::plane::Plane;
use super::random::Draw;
use super::textures::Textures;

/// A defect at full strength.
pub struct Mark {
    pub after: Picture,
    /// 1 = defect; half marks its border.
    pub cover: Plane,
    /// Replaced rather than shaded: cannot be made much fainter without looking like a ghost.
    pub opaque: bool,
}

impl Mark {
    fn shaded(after: Picture, cover: Plane) -> Self {
        Mark { after, cover, opaque: false }
    }

    fn replaced(after: Picture, cover: Plane) -> Self {
        Mark { after, cover, opaque: true }
    }
}

/// Where and how large a defect is drawn.
pub struct Site<'a> {
    pub base: &'a Base,
    /// The scene so far: other defects may be in it.
    pub before: &'a Picture,
    pub textures: Option<&'a Textures>,
    /// 0 = large ones only.
    pub effort: f32,
    /// Edge length of what will be one pixel when the image is looked at: finer things are not seen.
    pub pixel: f32,
}

impl Site<'_> {
    fn size(&self) -> usize {
        self.before.size()
    }

    /// A length between shares `low` and `high` of the image's side, pixels.
    fn length(&self, low: f32, high: f32, rng: &mut Rng) -> f32 {
        let low = lerp(low.max(0.5 * high), low, self.effort.min(1.0));
        rng.log_within(low, high) * self.size() as f32
    }

    /// A place on the border of the object, or else of the image.
    fn edge(&self, rng: &mut Rng) -> Edge {
        let last = self.size() as f32 - 2.0;
        // Borders are mostly upright or level.
        let turns = 0.25 * rng.usize(..4) as f32 + 0.05 * rng.normal();
        let (dx, dy) = (cos(turns), sin(turns));
        let (mut x, mut y) = self.base.place(0.05, rng);
        let inside = |x: f32, y: f32| x.min(y) > 1.0 && x.max(y) < last;
        let object = self.base.object.as_ref();
        while inside(x, y) && object.is_none_or(|(object, _)| object.at(x, y) > 0.5) {
            (x, y) = (x + dx, y + dy);
        }
        Edge { x, y, turns }
    }

    /// A colour darker (−1) or lighter (1) than the surface around a place.
    fn contrasting(&self, x: f32, y: f32, sign: f32, rng: &mut Rng) -> Ink {
        let level = local_level(self.before, x, y);
        let (bright, dark) =
            (lerp(level, 1.0, rng.within(0.5, 1.0)), level * rng.within(0.05, 0.5));
        // A bright place has nothing brighter, a dark one nothing darker.
        let tone = match level {
            0.85.. if sign > 0.0 => level * 0.6,
            ..0.1 if sign < 0.0 => level + 0.35,
            _ if sign > 0.0 => bright,
            _ => dark,
        };
        if rng.chance(0.3) {
            Ink::hued(tone, rng.f32(), rng.within(0.0, 0.6))
        } else {
            Ink::grey(tone)
        }
    }
}

/// A place where something ends, and the direction that leads out of it.
#[derive(Clone, Copy)]
struct Edge {
    x: f32,
    y: f32,
    turns: f32,
}

impl Edge {
    /// `depth` pixels back from the edge.
    fn inwards(&self, depth: f32) -> (f32, f32) {
        (self.x - depth * cos(self.turns), self.y - depth * sin(self.turns))
    }
}

/// Mean brightness of the 9 × 9 pixels around a place.
fn local_level(picture: &Picture, x: f32, y: f32) -> f32 {
    let offsets = [-4.0, -2.0, 0.0, 2.0, 4.0];
    let near = |plane: &Plane| {
        let row = |dy: f32| offsets.iter().map(|dx| plane.at(x + dx, y + dy)).sum::<f32>();
        offsets.iter().map(|dy| row(*dy)).sum::<f32>() / 25.0
    };
    picture.planes.iter().map(near).sum::<f32>() / picture.planes.len() as f32
}

/// Draws `defect` somewhere; nothing if the place drawn has no room for it.
pub fn draw(defect: Defect, site: &Site, rng: &mut Rng) -> Option<Mark> {
    Some(match defect {
        Defect::Scratch => lines::scratch(site, rng),
        Defect::Crack => lines::crack(site, rng),
        Defect::Cut => lines::cut(site, rng),
        Defect::Abrasion => lines::abrasion(site, rng),
        Defect::Thread => lines::thread(site, rng),
        Defect::Wrinkle => lines::wrinkle(site, rng),
        Defect::Fray => lines::fray(site, rng),
        Defect::BrokenThread => lines::broken_thread(site, rng),
        Defect::Hole => spots::hole(site, rng),
        Defect::Pore => spots::pores(site, rng),
        Defect::Dent => spots::dent(site, rng),
        Defect::Bump => spots::bump(site, rng),
        Defect::Contamination => spots::contamination(site, rng),
        Defect::ForeignMaterial => foreign::foreign(site, rng),
        Defect::Stain => areas::stain(site, rng),
        Defect::Discoloration => areas::discoloration(site, rng),
        Defect::Burn => areas::burn(site, rng),
        Defect::Corrosion => areas::corrosion(site, rng),
        Defect::DarkArea => areas::dark_area(site, rng),
        Defect::UnevenTexture => areas::uneven(site, rng),
        Defect::Peeling => areas::peeling(site, rng),
        Defect::Smear => areas::smear(site, rng),
        Defect::MissingPart => return structure::missing(site, rng),
        Defect::Misplaced => return structure::misplaced(site, rng),
        Defect::Misprint => return structure::misprint(site, rng),
        Defect::Break => structure::broken(site, rng),
        Defect::Chip => structure::chip(site, rng),
        Defect::Deformation => structure::deformation(site, rng),
    })
}
