//! Pictures of made-up surfaces with made-up defects and their exact masks, in the MVTec layout.
//! In: a seed. Out: PNG files; the same seed gives the same bytes. No network is involved.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

/// Side of a picture, pixels.
const SIZE: u32 = 256;

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    BrushedMetal,
    CeramicTile,
    Weave,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    Scratch,
    Hole,
    Stain,
}

impl Surface {
    pub const ALL: [Surface; 3] = [Surface::BrushedMetal, Surface::CeramicTile, Surface::Weave];

    /// The category's folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Surface::BrushedMetal => "brushed_metal",
            Surface::CeramicTile => "ceramic_tile",
            Surface::Weave => "weave",
        }
    }
}

impl Defect {
    pub const ALL: [Defect; 3] = [Defect::Scratch, Defect::Hole, Defect::Stain];

    /// The kind's folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Hole => "hole",
            Defect::Stain => "stain",
        }
    }
}

/// Writes a labelled set below `root`: for each surface `good` normal pictures and one picture of
/// each defect. Returns the number of pictures.
///
/// # Errors
/// The first file that cannot be written, with its path.
pub fn write_set(root: &Path, seed: u64, good: usize) -> Result<usize, (PathBuf, String)> {
    let mut rng = Rng::with_seed(seed);
    let mut written = 0;
    for surface in Surface::ALL {
        let category = root.join(surface.as_str());
        for n in 0..good {
            let path = category.join(format!("test/good/{n:03}.png"));
            save(render(surface, &mut rng), &path)?;
            written += 1;
        }
        for defect in Defect::ALL {
            let mut picture = render(surface, &mut rng);
            let mask = damage(&mut picture, defect, &mut rng);
            let kind = defect.as_str();
            save(picture, &category.join(format!("test/{kind}/000.png")))?;
            save(mask, &category.join(format!("ground_truth/{kind}/000_mask.png")))?;
            written += 1;
        }
    }
    Ok(written)
}

fn save(picture: impl Into<DynamicImage>, path: &Path) -> Result<(), (PathBuf, String)> {
    let failed = |error: String| (path.to_path_buf(), error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    }
    picture.into().save(path).map_err(|error| failed(error.to_string()))
}

/// A clean surface.
fn render(surface: Surface, rng: &mut Rng) -> RgbImage {
    let mut noise = || rng.f32() - 0.5;
    let streaks = (0..SIZE).map(|_| 14.0 * noise()).collect::<Vec<_>>();
    RgbImage::from_fn(SIZE, SIZE, |x, y| {
        let (u, v) = (x as f32, y as f32);
        let light = 12.0 * (u / SIZE as f32 - 0.5);
        let grain = 6.0 * noise();
        let [r, g, b] = match surface {
            Surface::BrushedMetal => [150.0 + streaks[y as usize]; 3],
            Surface::CeramicTile => {
                let joint = x % 64 < 3 || y % 64 < 3;
                if joint { [120.0, 116.0, 110.0] } else { [205.0, 200.0, 188.0] }
            }
            Surface::Weave => {
                let thread = 24.0 * ((u * 0.8).sin() * (v * 0.8).cos());
                [110.0 + thread, 96.0 + thread, 74.0 + thread]
            }
        };
        Rgb([r, g, b].map(|value| (value + light + grain).clamp(0.0, 255.0) as u8))
    })
}

/// Draws `defect` somewhere; returns its mask (255 = defect).
fn damage(picture: &mut RgbImage, defect: Defect, rng: &mut Rng) -> GrayImage {
    let mut mask = GrayImage::new(SIZE, SIZE);
    let size = SIZE as f32;
    let (cx, cy) = (size * (0.25 + 0.5 * rng.f32()), size * (0.25 + 0.5 * rng.f32()));
    let angle = rng.f32() * std::f32::consts::PI;
    let (sin, cos) = angle.sin_cos();
    let radius = 8.0 + 10.0 * rng.f32();
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let (dx, dy) = (x as f32 - cx, y as f32 - cy);
        let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let inside = match defect {
            Defect::Scratch => along.abs() < 4.0 * radius && across.abs() < 1.6,
            Defect::Hole => dx.hypot(dy) < radius,
            Defect::Stain => (along / 1.6).hypot(across) < 1.4 * radius,
        };
        if !inside {
            continue;
        }
        let shade = |value: u8, factor: f32, add: f32| (f32::from(value) * factor + add) as u8;
        pixel.0 = match defect {
            Defect::Scratch => pixel.0.map(|value| shade(value, 0.5, 110.0)),
            Defect::Hole => pixel.0.map(|value| shade(value, 0.15, 0.0)),
            Defect::Stain => {
                let [r, g, b] = pixel.0;
                [shade(r, 0.75, 20.0), shade(g, 0.6, 5.0), shade(b, 0.45, 0.0)]
            }
        };
        mask.put_pixel(x, y, Luma([255]));
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_changes_exactly_the_pixels_of_its_mask() {
        for defect in Defect::ALL {
            let mut rng = Rng::with_seed(7);
            let clean = render(Surface::CeramicTile, &mut rng);
            let mut picture = clean.clone();
            let mask = damage(&mut picture, defect, &mut rng);
            let marked = mask.pixels().filter(|pixel| pixel.0[0] == 255).count();
            assert!(marked > 100, "{defect:?}: {marked} pixels");
            for (x, y, pixel) in picture.enumerate_pixels() {
                let outside = mask.get_pixel(x, y).0[0] == 0;
                assert!(!outside || pixel == clean.get_pixel(x, y), "{defect:?} at {x},{y}");
            }
        }
    }
}
