//! Photographs of materials as backgrounds. In: a folder of PNG and JPEG files. Out: crops at any
//! scale and angle of 90°. Which file is where in the list depends on its name alone.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::math::lerp;
use super::picture::{Colour, Picture};
use super::plane::Plane;
use super::random::Draw;
use super::surface::Surface;

/// Larger files are reduced to this side.
const LARGEST: u32 = 1024;

pub struct Textures {
    photos: Vec<Photo>,
    digest: String,
}

/// A photograph at full size, half, quarter …
pub struct Photo {
    pub surface: Surface,
    levels: Vec<Level>,
}

struct Level {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// Words in file names and the surfaces that they name.
const WORDS: [(&str, Surface); 26] = [
    ("brick", Surface::Brick),
    ("gravel", Surface::Gravel),
    ("pebble", Surface::Gravel),
    ("grass", Surface::Grass),
    ("wood", Surface::Wood),
    ("plank", Surface::Wood),
    ("parquet", Surface::Wood),
    ("timber", Surface::Wood),
    ("leather", Surface::Leather),
    ("cork", Surface::Cork),
    ("paper", Surface::Paper),
    ("carpet", Surface::Carpet),
    ("fabric", Surface::Weave),
    ("linen", Surface::Weave),
    ("cloth", Surface::Weave),
    ("weave", Surface::Weave),
    ("denim", Surface::Twill),
    ("knit", Surface::Knit),
    ("marble", Surface::Marble),
    ("granite", Surface::Granite),
    ("concrete", Surface::Concrete),
    ("asphalt", Surface::Asphalt),
    ("tile", Surface::CeramicTile),
    ("plastic", Surface::Plastic),
    ("rubber", Surface::Rubber),
    ("metal", Surface::RolledSteel),
];

impl Textures {
    /// All PNG and JPEG files of `dir`, in the order of their names.
    ///
    /// # Errors
    /// The folder, or the first file that is no image, with the reason.
    pub fn load(dir: &Path) -> Result<Self, (PathBuf, String)> {
        let failed = |error: std::io::Error| (dir.to_path_buf(), error.to_string());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            if matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg")) {
                paths.push(path);
            }
        }
        paths.sort();
        let photos = paths.iter().map(|path| Photo::read(path)).collect::<Result<Vec<_>, _>>()?;
        let mut digest = blake3::Hasher::new();
        for photo in &photos {
            digest.update(photo.surface.as_str().as_bytes());
            digest.update(&photo.levels[0].rgb);
        }
        Ok(Textures { photos, digest: digest.finalize().to_hex().to_string() })
    }

    /// Digest of all pixels.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn len(&self) -> usize {
        self.photos.len()
    }

    pub fn is_empty(&self) -> bool {
        self.photos.is_empty()
    }

    /// One of them; there must be one.
    pub fn one(&self, rng: &mut Rng) -> &Photo {
        &self.photos[rng.usize(..self.photos.len())]
    }
}

impl Photo {
    fn read(path: &Path) -> Result<Self, (PathBuf, String)> {
        let picture = image::open(path).map_err(|error| (path.to_path_buf(), error.to_string()))?;
        let picture = if picture.width().max(picture.height()) > LARGEST {
            picture.resize(LARGEST, LARGEST, image::imageops::FilterType::Triangle)
        } else {
            picture
        };
        let rgb = picture.to_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        let mut levels = vec![Level { width, height, rgb: rgb.into_raw() }];
        while let Some(half) =
            levels.last().filter(|l| l.width.min(l.height) >= 64).map(Level::half)
        {
            levels.push(half);
        }
        let name = path.file_stem().map(|s| s.to_string_lossy().to_ascii_lowercase());
        let name = name.unwrap_or_default();
        let known = WORDS.iter().find(|(word, _)| name.contains(word));
        Ok(Photo { surface: known.map_or(Surface::TexturedSurface, |(_, s)| *s), levels })
    }

    /// A crop of `size` pixels a side: any place, scale, quarter turn and mirror image.
    pub fn crop(&self, size: usize, colour: Colour, rng: &mut Rng) -> Picture {
        let short = self.levels[0].width.min(self.levels[0].height) as f32;
        // Pixels of the photograph per pixel of the crop.
        let most = (short - 2.0) / size as f32;
        let scale = rng.log_within((0.35 * most).clamp(0.05, 0.5), most.clamp(0.1, 4.0));
        let mut level = 0;
        while level + 1 < self.levels.len() && scale / (2 << level) as f32 > 0.75 {
            level += 1;
        }
        let level_ref = &self.levels[level];
        let scale = scale / (1 << level) as f32;
        let span = scale * size as f32;
        let x0 = rng.f32() * (level_ref.width as f32 - span - 1.0).max(0.0);
        let y0 = rng.f32() * (level_ref.height as f32 - span - 1.0).max(0.0);
        let (turned, left, up) = (rng.bool(), rng.bool(), rng.bool());
        let channels = if colour == Colour::Grey { 1 } else { 3 };
        let mut planes = vec![Plane::filled(size, 0.0); channels];
        for y in 0..size {
            for x in 0..size {
                let (a, b) = if turned { (y, x) } else { (x, y) };
                let a = if left { size - 1 - a } else { a };
                let b = if up { size - 1 - b } else { b };
                let [r, g, b] = level_ref.at(x0 + scale * a as f32, y0 + scale * b as f32);
                let i = y * size + x;
                match planes.as_mut_slice() {
                    [grey] => grey.data[i] = 0.3 * r + 0.59 * g + 0.11 * b,
                    planes => planes.iter_mut().zip([r, g, b]).for_each(|(p, v)| p.data[i] = v),
                }
            }
        }
        Picture { planes }
    }
}

impl Level {
    /// Mean of each four pixels.
    fn half(&self) -> Level {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    let at = |dx, dy| {
                        u32::from(self.rgb[((2 * y + dy) * self.width + 2 * x + dx) * 3 + c])
                    };
                    rgb.push(((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1) + 2) / 4) as u8);
                }
            }
        }
        Level { width, height, rgb }
    }

    /// Between pixels, 0..1.
    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let (x0, y0) = ((x as usize).min(self.width - 1), (y as usize).min(self.height - 1));
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let value =
            |x: usize, y: usize, c: usize| f32::from(self.rgb[(y * self.width + x) * 3 + c]);
        std::array::from_fn(|c| {
            let top = lerp(value(x0, y0, c), value(x1, y0, c), fx);
            let low = lerp(value(x0, y1, c), value(x1, y1, c), fx);
            lerp(top, low, fy.min(1.0)) / 255.0
        })
    }
}
