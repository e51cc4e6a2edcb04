//! Writes large faultless surfaces of the generator, for measurements of large images.
//!
//! ```text
//! cargo bench --bench surfaces -- FOLDER SIDE COUNT
//! ```
//!
//! Writes `FOLDER/<surface>/<n>.png`, COUNT images of SIDE × SIDE pixels of each of three surfaces.

use std::path::PathBuf;

use filo::train::synthetic::{Recipe, Surface, scene};
use image::RgbImage;

const SURFACES: [Surface; 3] = [Surface::CeramicTile, Surface::Weave, Surface::BrushedMetal];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let [folder, side, count] = &arguments.collect::<Vec<_>>()[..] else {
        return Err("usage: cargo bench --bench surfaces -- FOLDER SIDE COUNT".into());
    };
    let (side, count) = (side.parse::<usize>()?, count.parse::<u64>()?);
    for (number, surface) in SURFACES.into_iter().enumerate() {
        let folder = PathBuf::from(folder).join(surface.as_str());
        std::fs::create_dir_all(&folder)?;
        let recipe = Recipe {
            surface: Some(surface),
            abnormal: 0.0,
            difficulty: 0.5,
            product: Some(number as u64),
            ..Recipe::new(side)
        };
        for n in 0..count {
            let drawn = scene(32, (number as u64) << 32 | n, &recipe);
            let side = drawn.size as u32;
            let image = RgbImage::from_raw(side, side, drawn.rgb).ok_or("a whole image")?;
            image.save(folder.join(format!("{n:03}.png")))?;
        }
    }
    Ok(())
}
