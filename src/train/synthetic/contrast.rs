//! How visible a defect is. In: a scene before and after, light and camera. Out: the change made
//! weaker or stronger, so that it stands out from texture and noise by a chosen factor, or
//! nothing if that cannot be had.

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

pub struct Eye<'a> {
    pub light: &'a Light,
    pub camera: &'a Camera,
    /// 0 = plain defects only, 1 = down to what a trained eye just sees.
    pub effort: f32,
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
        let frame = Area::of(&mark.cover)?;
        let old = before.luma();
        let seen = self.change(before, &mark.after, &frame);
        let area = mark.cover.data.iter().filter(|c| **c >= 0.5).count() as f32;
        if area < 8.0 {
            return None;
        }
        let sum: f32 =
            seen.iter().zip(&frame.cover).map(|(d, c)| if *c >= 0.5 { *d } else { 0.0 }).sum();
        let change = sum / area;
        let noise = self.unrest(&old, &frame);
        let needed = (self.needed(area) * noise).max(lerp(0.12, 0.0, self.effort.min(1.0)));
        let wanted = needed * rng.log_within(1.0, lerp(4.0, 8.0, self.effort));
        let most = if mark.opaque { 1.0 } else { 1.6 + 0.5 * tries as f32 };
        let least = if mark.opaque { 0.55 } else { 0.12 };
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
        let left = self.change(before, &fitted, &frame);
        let sum: f32 =
            left.iter().zip(&frame.cover).map(|(d, c)| if *c >= 0.5 { *d } else { 0.0 }).sum();
        (sum / area >= needed).then_some(fitted)
    }

    /// By how much a defect of `area` pixels must exceed the unrest around it.
    fn needed(&self, area: f32) -> f32 {
        let base = lerp(3.0, 1.2, self.effort.min(1.0));
        base * (100.0 / area).sqrt().sqrt().clamp(0.55, 1.5)
    }

    /// Size of the change at each pixel of `frame` as the camera sees it.
    fn change(&self, before: &Picture, after: &Picture, frame: &Area) -> Vec<f32> {
        let size = before.size();
        let mut sum = Plane::filled(size, 0.0);
        let weights: &[f32] = if before.planes.len() == 1 { &[1.0] } else { &[0.4, 0.6, 0.25] };
        for ((new, old), weight) in after.planes.iter().zip(&before.planes).zip(weights) {
            let pixels = new.data.iter().zip(&old.data).zip(&mut sum.data);
            pixels.for_each(|((n, o), s)| *s += weight * (n - o).abs());
        }
        let seen = sum.blurred(self.camera.blur);
        frame
            .pixels(size)
            .map(|i| self.camera.slope() * seen.data[i] * self.light.factor.data[i])
            .collect()
    }

    /// Deviation of texture and noise around a defect, as the camera sees it.
    fn unrest(&self, old: &Plane, frame: &Area) -> f32 {
        let size = old.size;
        let gain = self.camera.slope() * self.camera.slope();
        let (mut sum, mut count) = (0.0, 0.0);
        for i in frame.pixels(size) {
            // Pixels three apart: texture counts, slow shading does not.
            if i % size + 3 < size && i / size + 3 < size {
                let across = old.data[i] - old.data[i + 3];
                let down = old.data[i] - old.data[i + 3 * size];
                let light = self.light.factor.data[i];
                sum += 0.25 * (across * across + down * down) * light * light;
                count += 1.0;
            }
        }
        let texture = gain * sum / f32::max(count, 1.0);
        (texture + self.camera.noise * self.camera.noise + FLOOR * FLOOR).sqrt()
    }
}

/// The box around a defect with a few pixels more, and the cover in it.
struct Area {
    x0: usize,
    x1: usize,
    y0: usize,
    y1: usize,
    cover: Vec<f32>,
}

impl Area {
    /// Nothing if the cover never reaches one half.
    fn of(cover: &Plane) -> Option<Area> {
        let n = cover.size;
        let (mut x0, mut x1, mut y0, mut y1) = (n, 0, n, 0);
        for (i, value) in cover.data.iter().enumerate() {
            if *value >= 0.5 {
                let (x, y) = (i % n, i / n);
                (x0, x1, y0, y1) = (x0.min(x), x1.max(x), y0.min(y), y1.max(y));
            }
        }
        if x0 > x1 {
            return None;
        }
        let (x0, y0) = (x0.saturating_sub(4), y0.saturating_sub(4));
        let (x1, y1) = ((x1 + 4).min(n - 1), (y1 + 4).min(n - 1));
        let mut area = Area { x0, x1, y0, y1, cover: Vec::new() };
        area.cover = area.pixels(n).map(|i| cover.data[i]).collect();
        Some(area)
    }

    fn pixels(&self, size: usize) -> impl Iterator<Item = usize> + use<> {
        let (x0, x1) = (self.x0, self.x1);
        (self.y0..=self.y1).flat_map(move |y| (x0..=x1).map(move |x| y * size + x))
    }
}
