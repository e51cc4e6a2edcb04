//! Made-up images of made-up surfaces with made-up defects: training data without a camera, but
//! for photographs of materials where a recipe has some. In: a seed, an index, a recipe. Out: an
//! image, the exact mask of its defects, their name.
//! The same arguments give the same bytes on every machine. One core makes an image of 64 × 64
//! in 0.5 ms, of 128 × 128 in 2 ms, of 256 × 256 in 9 ms.

mod base;
mod camera;
mod cells;
mod contrast;
mod defect;
mod defects;
mod distractors;
mod jpeg;
mod light;
mod math;
mod noise;
mod picture;
mod plane;
mod random;
mod scene;
mod set;
mod surface;
mod surfaces;
mod surroundings;
mod textures;

pub use contrast::LEAST_AREA;
pub use defect::Defect;
pub use scene::{Recipe, SMALLEST_SIDE, Scene, scene};
pub use set::{Amount, write_set};
pub use surface::Surface;
pub use textures::Textures;
