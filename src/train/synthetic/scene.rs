//! One labelled image from a seed, an index and a recipe. Surface, defect, light and camera have
//! random streams of their own, so that an image and its faultless twin differ by the defect.

use fastrand::Rng;

use super::base::{self, Base};
use super::camera::Camera;
use super::contrast::Eye;
use super::defect::Defect;
use super::defects::{self, Site};
use super::light::{self, Light};
use super::math::mix;
use super::picture::Picture;
use super::plane::Plane;
use super::random::Draw;
use super::surface::Surface;
use super::textures::Textures;

/// Smaller images show nothing.
pub const SMALLEST_SIDE: usize = 32;

/// Places tried before a defect is given up.
const TRIES: usize = 24;
/// Kinds tried before a scene stays faultless.
const KINDS_TRIED: usize = 6;

/// What to draw.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    /// Edge length of the images, pixels; less than [`SMALLEST_SIDE`] counts as that.
    pub size: usize,
    /// How many times smaller the image will be looked at, by means of squares: a defect is seen
    /// there, or it is none. `size` is a multiple of it.
    pub reduction: usize,
    /// 0 = large, strong defects on calm surfaces; 1 = the full range.
    pub difficulty: f32,
    /// Share of images with a defect.
    pub abnormal: f32,
    /// Photographs to use as surfaces, if any, and their share.
    pub textures: Option<&'a Textures>,
    pub photographic: f32,
    /// Fixed kinds, for sets that must have each; otherwise drawn.
    pub surface: Option<Surface>,
    pub defect: Option<Defect>,
    /// Images of one number show one surface, in other light; otherwise each shows its own.
    pub product: Option<u64>,
}

impl Recipe<'_> {
    /// The full range at `size` pixels, half of it abnormal, no photographs.
    pub fn new(size: usize) -> Self {
        Recipe {
            size,
            reduction: 1,
            difficulty: 1.0,
            abnormal: 0.5,
            textures: None,
            photographic: 0.5,
            surface: None,
            defect: None,
            product: None,
        }
    }
}

/// A labelled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Side, pixels.
    pub size: usize,
    /// `[size, size, 3]`, row after row.
    pub rgb: Vec<u8>,
    /// `[size, size]`: 1 where the surface is defective.
    pub mask: Vec<u8>,
    pub surface: Surface,
    /// `None`: faultless.
    pub defect: Option<Defect>,
}

/// Which part of a scene a random stream is for.
#[derive(Clone, Copy)]
enum Stream {
    Choice,
    Surface,
    Light,
    Defect,
    Noise,
}

fn stream(seed: u64, index: u64, of: Stream) -> Rng {
    Rng::with_seed(mix(mix(mix(seed) ^ index) ^ of as u64))
}

/// The scene `index` of the series `seed`: the same arguments always give the same bytes.
pub fn scene(seed: u64, index: u64, recipe: &Recipe) -> Scene {
    let raw = raw(seed, index, recipe);
    let mut noise = stream(seed, index, Stream::Noise);
    let size = raw.picture.size();
    let mut rgb = raw.camera.develop(raw.picture, &raw.light, &mut noise);
    if let Some((inside, shade)) = &raw.padding {
        let pixels = rgb.chunks_exact_mut(3).zip(&inside.data);
        pixels.filter(|(_, inside)| **inside == 0.0).for_each(|(pixel, _)| pixel.fill(*shade));
    }
    Scene { size, rgb, mask: raw.mask, surface: raw.surface, defect: raw.defect }
}

/// A scene before light and camera.
pub(super) struct Raw {
    pub picture: Picture,
    pub mask: Vec<u8>,
    pub surface: Surface,
    pub defect: Option<Defect>,
    /// Where the image is (1) and the shade of the margin around it.
    padding: Option<(Plane, u8)>,
    light: Light,
    camera: Camera,
}

pub(super) fn raw(seed: u64, index: u64, recipe: &Recipe) -> Raw {
    let size = recipe.size.max(SMALLEST_SIDE);
    let mut choice = stream(seed, index, Stream::Choice);
    let difficulty = recipe.difficulty.clamp(0.0, 1.0);
    // Full difficulty still shows plain cases, mostly hard ones.
    let effort = difficulty * choice.f32().sqrt();
    // What the surface looks like is the product's, not the image's.
    let surface_effort = match recipe.product {
        Some(product) => difficulty * stream(seed, product, Stream::Choice).f32().sqrt(),
        None => effort,
    };
    let abnormal = choice.chance(recipe.abnormal);
    let photos = recipe.textures.filter(|textures| !textures.is_empty());
    let photo = photos.filter(|_| recipe.surface.is_none() && choice.chance(recipe.photographic));
    let mut paint = stream(seed, recipe.product.unwrap_or(index), Stream::Surface);
    let (surface, base) = match photo {
        Some(textures) => {
            let photo = textures.one(&mut paint);
            (photo.surface, base::photographed(photo, size, surface_effort, &mut paint))
        }
        None => {
            let surface = recipe.surface.unwrap_or_else(|| pick(difficulty, &mut choice));
            (surface, base::base(surface, size, surface_effort, &mut paint))
        }
    };
    let mut lamp = stream(seed, index, Stream::Light);
    let light = light::draw(size, effort, &mut lamp);
    let lit = base.picture.luma().with(&light.factor, |v, f| v * f).mean();
    let camera = Camera::draw(effort, &mut lamp).exposed(lit);
    let mut rng = stream(seed, index, Stream::Defect);
    let reduction = recipe.reduction.max(1);
    let eye = Eye { light: &light, camera: &camera, effort, reduction };
    let damaged = if abnormal {
        let possible = match (recipe.defect, photo) {
            (Some(defect), _) => vec![defect],
            (None, Some(_)) => photographed_defects(surface),
            (None, None) => surface.defects(),
        };
        // A kind that this scene has no place for gives way to another one.
        (0..KINDS_TRIED).find_map(|_| {
            let defect = choose(&possible, &mut rng);
            let (picture, mask) = damage(&base, defect, &eye, recipe, &mut rng)?;
            Some((picture, mask, defect))
        })
    } else {
        None
    };
    let object = base.object.as_ref().map(|(object, _)| object.clone());
    let padding = object.zip(base.padding);
    let (picture, mask, defect) = match damaged {
        Some((picture, mask, defect)) => (picture, mask, Some(defect)),
        None => (base.picture, vec![0; size * size], None),
    };
    Raw { picture, mask, surface, defect, padding, light, camera }
}

/// Easy images show calm surfaces only; from the middle on all are as likely.
fn pick(difficulty: f32, rng: &mut Rng) -> Surface {
    loop {
        let surface = rng.one_of(&Surface::ALL);
        if surface.is_plain() || rng.chance(2.0 * difficulty) {
            return surface;
        }
    }
}

/// Structural defects need surfaces of a certain kind: more often than their number, there.
fn choose(possible: &[Defect], rng: &mut Rng) -> Defect {
    let structural = |defect: &&Defect| defect.is_structural();
    let special = possible.iter().copied().filter(|d| structural(&d)).collect::<Vec<_>>();
    if !special.is_empty() && rng.chance(0.25) {
        rng.one_of(&special)
    } else {
        rng.one_of(possible)
    }
}

/// A photograph has no parts or threads that are known.
fn photographed_defects(surface: Surface) -> Vec<Defect> {
    let bent = |defect: &Defect| *defect == Defect::Deformation || !defect.is_structural();
    surface.defects().into_iter().filter(bent).collect()
}

/// One to five defects of one kind, mostly one. Nothing if none can be made visible.
fn damage(
    base: &Base,
    defect: Defect,
    eye: &Eye,
    recipe: &Recipe,
    rng: &mut Rng,
) -> Option<(Picture, Vec<u8>)> {
    let wanted = match rng.u32(..10) {
        0..6 => 1,
        6..8 => 2,
        8 => 3,
        _ => rng.usize(4..6),
    };
    // What is missing or misplaced is so among its like.
    let wanted = if defect.is_structural() { wanted.min(1 + base.parts.len() / 4) } else { wanted };
    let mut picture = base.picture.clone();
    let mut mask = vec![0; picture.size() * picture.size()];
    let (mut made, mut failed) = (0, 0);
    while made < wanted && failed < TRIES {
        let site = Site {
            base,
            before: &picture,
            textures: recipe.textures,
            effort: eye.effort,
            pixel: eye.reduction as f32,
        };
        let drawn = defects::draw(defect, &site, rng);
        let fitted = drawn.and_then(|mark| {
            let fitted = eye.fitted(&picture, &mark, failed, rng)?;
            Some((fitted, mark.cover))
        });
        match fitted {
            Some((after, cover)) => {
                picture = after;
                mask.iter_mut()
                    .zip(&cover.data)
                    .filter(|(_, c)| **c >= 0.5)
                    .for_each(|(m, _)| *m = 1);
                made += 1;
            }
            // One that is there already is enough.
            None if made > 0 => break,
            None => failed += 1,
        }
    }
    (made > 0).then_some((picture, mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brightness of each pixel before light and camera.
    fn tones(index: u64, abnormal: f32) -> (Raw, Vec<f32>) {
        let raw = raw(11, index, &Recipe { abnormal, ..Recipe::new(96) });
        let tones = raw.picture.luma().data;
        (raw, tones)
    }

    #[test]
    fn before_the_camera_a_defect_changes_its_mask_and_a_soft_border() {
        let (mut inside, mut outside) = (0.0, 0.0);
        for index in 0..120 {
            let ((raw, after), (_, before)) = (tones(index, 1.0), tones(index, 0.0));
            let changes = after.iter().zip(&before).map(|(a, b)| (a - b).abs());
            let (mut own_inside, mut own_outside) = (0.0, 0.0);
            for (change, marked) in changes.zip(&raw.mask) {
                if *marked == 1 { own_inside += change } else { own_outside += change }
            }
            assert_eq!(raw.defect.is_some(), own_inside > 0.0, "{index}");
            assert!(raw.defect.is_some() || own_outside == 0.0, "{index}");
            inside += own_inside;
            outside += own_outside;
        }
        assert!(outside < 0.15 * inside, "{inside} {outside}");
    }

    #[test]
    fn light_and_camera_do_not_know_of_the_defect() {
        for index in 0..40 {
            let ((bad, _), (good, _)) = (tones(index, 1.0), tones(index, 0.0));
            assert_eq!(bad.light.factor, good.light.factor);
            assert_eq!(bad.camera, good.camera);
        }
    }
}
