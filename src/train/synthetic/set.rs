//! A labelled set in the MVTec layout, for the demo and for held-out evaluation. In: a folder and
//! a seed. Out: PNG files, and `descriptions.json` with the words for what each category can have.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageError, Luma, Rgb, RgbImage};

use super::defect::Defect;
use super::scene::{Recipe, Scene, scene};
use super::surface::Surface;
use crate::store::why_unwritable;

/// Edge length of an image, pixels.
const SIZE: usize = 256;

/// Images of a category are windows of one surface, which is larger by this many pixels.
const ROOM: usize = 64;

/// Share of a defect's pixels that its window must show.
const SHOWN: f64 = 0.7;

/// How much to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount<'a> {
    pub surfaces: &'a [Surface],
    /// Normal images per surface.
    pub good: usize,
    /// Images per defect of a surface.
    pub bad: usize,
    /// Kinds of defects per surface, the first ones of its list.
    pub kinds: usize,
}

/// Writes a labelled set below `root`. Returns the number of images.
///
/// # Errors
/// The first file that cannot be written, with its path and what to do.
pub fn write_set(root: &Path, seed: u64, amount: Amount) -> Result<usize, (PathBuf, String)> {
    let mut written = 0;
    for (number, surface) in amount.surfaces.iter().enumerate() {
        let category = root.join(surface.as_str());
        let recipe = Recipe {
            surface: Some(*surface),
            difficulty: 0.5,
            product: Some(number as u64),
            ..Recipe::new(SIZE + ROOM)
        };
        let mut index = (number as u64) << 32;
        let good = Recipe { abnormal: 0.0, ..recipe };
        for n in 0..amount.good {
            let scene = windowed(scene(seed, index, &good), index);
            save(picture(&scene), &category.join(format!("test/good/{n:03}.png")))?;
            (written, index) = (written + 1, index + 1);
        }
        for defect in surface.defects().into_iter().take(amount.kinds) {
            let bad = Recipe { abnormal: 1.0, defect: Some(defect), ..recipe };
            let kind = defect.as_str();
            let mut n = 0;
            // A place may be too restless for a kind: the next one will do.
            for _ in 0..4 * amount.bad {
                let scene = windowed(scene(seed, index, &bad), index);
                index += 1;
                if n == amount.bad || scene.defect.is_none() {
                    continue;
                }
                save(picture(&scene), &category.join(format!("test/{kind}/{n:03}.png")))?;
                save(mask(&scene), &category.join(format!("ground_truth/{kind}/{n:03}_mask.png")))?;
                (written, n) = (written + 1, n + 1);
            }
        }
    }
    let path = root.join("descriptions.json");
    std::fs::write(&path, descriptions(amount)).map_err(|error| (path, why_unwritable(&error)))?;
    Ok(written)
}

/// A window of the scene: where it lies follows from `index`. One that shows too little of a defect
/// gives way to another; after a few the scene counts as one without.
fn windowed(scene: Scene, index: u64) -> Scene {
    const WINDOWS: usize = 16;
    let mut rng = fastrand::Rng::with_seed(index);
    let whole = scene.mask.iter().map(|value| u64::from(*value)).sum::<u64>() as f64;
    for _ in 0..WINDOWS {
        let (left, top) = (rng.usize(..=ROOM), rng.usize(..=ROOM));
        let cut = |values: &[u8], channels: usize| {
            let row = |y: usize| ((top + y) * scene.size + left) * channels;
            let rows = (0..SIZE).flat_map(|y| &values[row(y)..][..SIZE * channels]);
            rows.copied().collect::<Vec<_>>()
        };
        let mask = cut(&scene.mask, 1);
        let shown = mask.iter().map(|value| u64::from(*value)).sum::<u64>() as f64;
        if shown >= SHOWN * whole {
            return Scene { size: SIZE, rgb: cut(&scene.rgb, 3), mask, ..scene };
        }
    }
    Scene { defect: None, ..scene }
}

fn picture(scene: &Scene) -> DynamicImage {
    let side = scene.size as u32;
    let pixel = |x: u32, y: u32| {
        let i = 3 * (y * side + x) as usize;
        Rgb([scene.rgb[i], scene.rgb[i + 1], scene.rgb[i + 2]])
    };
    RgbImage::from_fn(side, side, pixel).into()
}

/// White where the surface is defective.
fn mask(scene: &Scene) -> DynamicImage {
    let side = scene.size as u32;
    let pixel = |x: u32, y: u32| Luma([255 * scene.mask[(y * side + x) as usize]]);
    GrayImage::from_fn(side, side, pixel).into()
}

fn save(picture: DynamicImage, path: &Path) -> Result<(), (PathBuf, String)> {
    let failed = |why: String| (path.to_path_buf(), why);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(why_unwritable(&error)))?;
    }
    picture.save(path).map_err(|error| match error {
        ImageError::IoError(error) => failed(why_unwritable(&error)),
        error => failed(error.to_string()),
    })
}

/// JSON by hand: its words are ours and have nothing to escape.
fn descriptions(amount: Amount) -> String {
    let category = |surface: &Surface| {
        let kinds = surface.defects();
        let words = kinds.iter().take(amount.kinds).flat_map(|kind: &Defect| kind.details());
        let words = words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        format!("  \"{}\": [{words}]", surface.as_str())
    };
    let categories = amount.surfaces.iter().map(category).collect::<Vec<_>>();
    format!("{{\n{}\n}}\n", categories.join(",\n"))
}
