//! How visible a defect is in the image that is looked at in the end, reduced if it will be.
//! In: a scene before and after, light and camera. Out: the change made weaker or stronger, so
//! that it stands out from texture and noise by a chosen factor, or nothing if that cannot be had.

use fastrand::Rng;

use super::camera::Camera;
use super::defects::Mark;
use super::light::Light;
use super::math::lerp;
use super::picture::Picture;
use super::plane::Plane;
use super::random::Draw;

/// Smallest change that eight bits and a screen still show.
const FLOOR: f32 = 0.014;
/// Smaller masks are no defects, pixels of the reduced image.
pub const LEAST_AREA: usize = 6;

pub struct Eye<'a> {
    pub light: &'a Light,
    pub camera: &'a Camera,
    /// 0 = plain defects only, 1 = down to what a trained eye just sees.
    pub effort: f32,
    /// How many times smaller the image is looked at.
    pub reduction: usize,
}

impl Eye<'_> {
    /// The scene with the change at its chosen strength. `tries` before this one failed: the more,
    /// the stronger the change may be made.
    pub fn fitted(
        &self,
        before: &Picture,
        mark: &Mark,
        tries: usize,
        rng: &mut Rng,
    ) -> Option<Picture> {
        let view = View::of(&mark.cover, self)?;
        if view.area < LEAST_AREA {
            return None;
        }
        let old = view.of_picture(before);
        let change = view.change(&old, &view.of_picture(&mark.after));
        let least = lerp(0.12, 0.0, self.effort.min(1.0));
        let needed = (self.needed(view.area) * view.unrest(&old)).max(least);
        let wanted = needed * rng.log_within(1.0, lerp(4.0, 8.0, self.effort));
        let most = if mark.opaque { 1.0 } else { 1.6 + 0.5 * tries as f32 };
        let least = if mark.opaque { 0.8 } else { 0.12 };
        let gain = (wanted / change.max(1e-6)).clamp(least, most);
        if change * gain < needed {
            return None;
        }
        let after = mark.after.planes.iter().zip(&before.planes);
        let planes = after
            .map(|(new, old)| {
                new.clone().with(old, |n, o| {
                    // What is not changed stays as it is, beyond white too.
                    if n == o { o } else { (o + gain * (n - o)).clamp(o.min(0.0), o.max(1.15)) }
                })
            })
            .collect();
        let fitted = Picture { planes };
        // Black cannot get darker: the change that is left after the limits must do.
        let left = view.change(&old, &view.of_picture(&fitted));
        (left >= needed).then_some(fitted)
    }

    /// By how much a defect of `area` pixels must exceed the unrest around it.
    fn needed(&self, area: usize) -> f32 {
        let base = lerp(3.0, 1.2, self.effort.min(1.0));
        base * (100.0 / area as f32).sqrt().sqrt().clamp(0.55, 1.5)
    }
}

/// The square around a defect with a few pixels more, as the camera sees it, reduced, and where
/// the defect is in it.
struct View<'a> {
    camera: &'a Camera,
    reduction: usize,
    /// Left and upper border and side, pixels of the scene.
    x0: usize,
    y0: usize,
    side: usize,
    factor: Plane,
    gleam: Option<Plane>,
    /// Which pixels of the reduced square the mask will have, and how many.
    marked: Vec<bool>,
    area: usize,
}

impl<'a> View<'a> {
    /// Nothing if the cover never reaches one half.
    fn of(cover: &Plane, eye: &Eye<'a>) -> Option<Self> {
        let n = cover.size;
        let (mut x0, mut x1, mut y0, mut y1) = (n, 0, n, 0);
        for (y, row) in cover.data.chunks_exact(n).enumerate() {
            let Some(first) = row.iter().position(|c| *c >= 0.5) else { continue };
            let last = row.iter().rposition(|c| *c >= 0.5).unwrap_or(first);
            (x0, x1, y0, y1) = (x0.min(first), x1.max(last), y0.min(y), y);
        }
        if x0 > x1 {
            return None;
        }
        let reduction = eye.reduction;
        // Whole squares of pixels that are reduced to one.
        let margin = 4 * reduction;
        let whole = n / reduction * reduction;
        let side = (x1 - x0).max(y1 - y0) + 1 + 2 * margin;
        let side = (side.div_ceil(reduction) * reduction).min(whole);
        let start = |low: usize| {
            let low = low.saturating_sub(margin) / reduction * reduction;
            low.min(whole - side)
        };
        let (x0, y0) = (start(x0), start(y0));
        let binary = cover.cropped(x0, y0, side).map(|c| if c >= 0.5 { 1.0 } else { 0.0 });
        let marked = binary.reduced(reduction).data.iter().map(|c| *c >= 0.5).collect::<Vec<_>>();
        let area = marked.iter().filter(|m| **m).count();
        let factor = eye.light.factor.cropped(x0, y0, side);
        let gleam = eye.light.gleam.as_ref().map(|gleam| gleam.cropped(x0, y0, side));
        Some(View { camera: eye.camera, reduction, x0, y0, side, factor, gleam, marked, area })
    }

    /// The square of each plane of a scene, without noise.
    fn of_picture(&self, picture: &Picture) -> Picture {
        let plane = |plane: &Plane| {
            let scene = plane.cropped(self.x0, self.y0, self.side);
            self.camera
                .exposure_of(scene, &self.factor, self.gleam.as_ref())
                .reduced(self.reduction)
        };
        Picture { planes: picture.planes.iter().map(plane).collect() }
    }

    /// Size of the change on the mask: the root of its mean square, since a part that is gone
    /// leaves much of its place as it was.
    fn change(&self, before: &Picture, after: &Picture) -> f32 {
        let weights: &[f32] = if before.planes.len() == 1 { &[1.0] } else { &[0.4, 0.6, 0.25] };
        let mut sum = 0.0;
        for (i, marked) in self.marked.iter().enumerate() {
            if *marked {
                let planes = after.planes.iter().zip(&before.planes).zip(weights);
                let step = planes.map(|((n, o), w)| w * (n.data[i] - o.data[i]).abs()).sum::<f32>();
                sum += step * step;
            }
        }
        (sum / self.area as f32).sqrt()
    }

    /// Deviation of texture and noise around the defect.
    fn unrest(&self, picture: &Picture) -> f32 {
        let old = picture.luma();
        let size = old.size;
        let (mut sum, mut count) = (0.0, 0.0);
        // Pixels three apart: texture counts, slow shading does not.
        for y in 0..size.saturating_sub(3) {
            for x in 0..size.saturating_sub(3) {
                let i = y * size + x;
                let across = old.data[i] - old.data[i + 3];
                let down = old.data[i] - old.data[i + 3 * size];
                sum += 0.25 * (across * across + down * down);
                count += 1.0;
            }
        }
        let texture = sum / f32::max(count, 1.0);
        let noise = self.camera.noise / self.reduction as f32;
        (texture + noise * noise + FLOOR * FLOOR).sqrt()
    }
}
