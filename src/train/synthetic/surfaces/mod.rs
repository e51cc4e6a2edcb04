//! How each kind of surface looks without a defect. In: a random stream and a size. Out: a sheet
//! of tones with what the defects need to know about its structure. No light, no camera.

mod fabric;
mod metal;
pub mod objects;
mod organic;
mod printed;
mod silicon;
mod stone;
mod synthetics;

use fastrand::Rng;

use super::plane::Plane;
use super::surface::Surface;

/// A regular element of a surface, in a box of pixels: what can be missing or misplaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub x: f32,
    pub y: f32,
    /// Half the width and half the height of the box.
    pub rx: f32,
    pub ry: f32,
}

/// Bus bars of a solar cell: parallel and evenly spaced.
#[derive(Debug, Clone, Copy)]
pub struct Bars {
    /// From top to bottom, else from left to right.
    pub upright: bool,
    /// Pixels aside per pixel along.
    pub tilt: f32,
    pub start: f32,
    /// From bar to bar, pixels.
    pub gap: f32,
}

impl Bars {
    /// Place across the bars, whole on a bar's middle, and along them in pixels.
    pub fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let (a, b) = if self.upright { (x, y) } else { (y, x) };
        ((a + self.tilt * b + self.start) / self.gap + 0.5, b)
    }
}

/// Of surfaces that have no rows, pixels.
pub const DEFAULT_PITCH: f32 = 4.0;

/// A faultless surface, in tones of 0..1.
pub struct Sheet {
    pub tone: Plane,
    /// Share of a second colour.
    pub region: Option<Plane>,
    /// The tones without the regular elements.
    pub under: Option<Plane>,
    pub parts: Vec<Part>,
    /// Direction of streaks, threads or rows, turns.
    pub grain: f32,
    /// Distance of threads or rows, pixels.
    pub pitch: f32,
    pub bars: Option<Bars>,
    /// An object before a background: where it is, and the tones of the background.
    pub object: Option<(Plane, Plane)>,
}

impl Sheet {
    /// A surface without structure.
    pub fn plain(tone: Plane) -> Self {
        Sheet {
            tone,
            region: None,
            under: None,
            parts: Vec::new(),
            grain: 0.0,
            pitch: DEFAULT_PITCH,
            bars: None,
            object: None,
        }
    }

    /// With a direction and a distance of its rows.
    pub fn grained(tone: Plane, grain: f32, pitch: f32) -> Self {
        Sheet { grain, pitch, ..Sheet::plain(tone) }
    }
}

/// Draws `surface`. A photographic surface has its own source; here it looks like stone.
pub fn draw(surface: Surface, rng: &mut Rng, size: usize) -> Sheet {
    match surface {
        Surface::BrushedMetal => metal::brushed(rng, size),
        Surface::CastMetal => metal::cast(rng, size),
        Surface::RolledSteel => metal::rolled(rng, size),
        Surface::GroundMetal => metal::ground(rng, size),
        Surface::FerritePlate => metal::ferrite(rng, size),
        Surface::PaintedMetal => metal::painted(rng, size),
        Surface::GalvanizedSheet => metal::galvanized(rng, size),
        Surface::PerforatedSheet => metal::perforated(rng, size),
        Surface::Ceramic => stone::ceramic(rng, size),
        Surface::CeramicTile => stone::tiles(rng, size),
        Surface::Concrete => stone::concrete(rng, size),
        Surface::Asphalt => stone::asphalt(rng, size),
        Surface::Granite => stone::granite(rng, size),
        Surface::Marble => stone::marble(rng, size),
        Surface::Brick => stone::brick(rng, size),
        Surface::Gravel => stone::gravel(rng, size),
        Surface::Weave => fabric::weave(rng, size),
        Surface::Twill => fabric::twill(rng, size),
        Surface::Knit => fabric::knit(rng, size),
        Surface::Carpet => fabric::carpet(rng, size),
        Surface::WireMesh => fabric::mesh(rng, size),
        Surface::Wood => organic::wood(rng, size),
        Surface::Leather => organic::leather(rng, size),
        Surface::Cork => organic::cork(rng, size),
        Surface::Paper => organic::paper(rng, size),
        Surface::Grass => organic::grass(rng, size),
        Surface::SolarCell => silicon::solar_cell(rng, size),
        Surface::SiliconWafer => silicon::wafer(rng, size),
        Surface::CircuitBoard => silicon::board(rng, size),
        Surface::Plastic => synthetics::plastic(rng, size),
        Surface::Rubber => synthetics::rubber(rng, size),
        Surface::Foam => synthetics::foam(rng, size),
        Surface::Glass => synthetics::glass(rng, size),
        Surface::PrintedPattern => printed::pattern(rng, size),
        Surface::PrintedLabel => printed::label(rng, size),
        Surface::MachinedPart => objects::machined(rng, size),
        Surface::ScrewPlate => objects::screw_plate(rng, size),
        Surface::PillPack => objects::pill_pack(rng, size),
        Surface::TexturedSurface => stone::textured(rng, size),
    }
}
