//! What the camera does to a lit scene: tone, blur, lost resolution, sharpening, noise, banding,
//! compression, eight bits. Drawn before the defect and without knowing of it.

use fastrand::Rng;

use super::jpeg;
use super::light::Light;
use super::math::{lerp, pow, smoothstep};
use super::picture::Picture;
use super::plane::Plane;
use super::random::Draw;

/// How a sensor is read out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bands {
    Rows,
    Columns,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Deviation of the lens' blur, pixels.
    pub blur: f32,
    /// Mean brightness that the exposure aims at, if it is not left as it is.
    aim: Option<f32>,
    exposure: f32,
    /// Contrast and darkest level.
    gain: f32,
    black: f32,
    gamma: f32,
    sharpen: f32,
    /// Deviation of the noise, of 1.
    pub noise: f32,
    /// Blur of the noise: cameras that interpolate or denoise.
    noise_blur: f32,
    /// Share of the noise that grows with the light.
    shot: f32,
    /// Deviation of whole rows or columns.
    banding: f32,
    bands: Bands,
    quality: Option<u8>,
    /// Levels for light of 0..1.25, in steps finer than eight bits.
    curve: Vec<f32>,
}

/// Steps of the curve per unit of light.
const STEPS: f32 = 1024.0;

impl Camera {
    pub fn draw(effort: f32, rng: &mut Rng) -> Self {
        let effort = effort.min(1.0);
        let blur = if rng.chance(0.6) { rng.within(0.0, 0.6) } else { rng.within(0.5, 1.8) };
        let low_contrast = rng.chance(0.3);
        let gain = if low_contrast { rng.within(0.2, 0.6) } else { rng.within(0.6, 1.0) };
        let black =
            rng.within(0.0, 0.12) + if rng.chance(0.1) { rng.within(0.0, 0.3) } else { 0.0 };
        let noise =
            if rng.chance(0.1) { 0.0 } else { rng.log_within(0.003, lerp(0.012, 0.06, effort)) };
        let quality = rng.chance(0.25).then(|| rng.u8(35..95));
        let camera = Camera {
            blur: blur * lerp(0.5, 1.0, effort),
            aim: rng.chance(0.75).then(|| rng.within(0.12, 0.75)),
            exposure: 1.0,
            gain: lerp(0.8, gain, effort),
            black,
            gamma: rng.log_within(0.65, 1.6),
            sharpen: if rng.chance(0.25) { rng.within(0.2, 1.5) } else { 0.0 },
            noise,
            noise_blur: if rng.chance(0.35) { rng.within(0.35, 0.9) } else { 0.0 },
            shot: rng.f32(),
            banding: if rng.chance(0.15) { rng.log_within(0.002, 0.012) } else { 0.0 },
            bands: rng.one_of(&[Bands::Rows, Bands::Columns]),
            quality,
            curve: Vec::new(),
        };
        Camera { curve: camera.curve(), ..camera }
    }

    fn curve(&self) -> Vec<f32> {
        let level = |i: u16| {
            let light = f32::from(i) / STEPS;
            // The shoulder keeps highlights from ending in a plain edge.
            let soft =
                if light > 0.85 { 0.85 + 0.15 * smoothstep(0.85, 1.25, light) } else { light };
            self.black + self.gain * pow(soft, self.gamma)
        };
        (0..=1281).map(level).collect()
    }

    /// Exposed for a scene of this mean brightness.
    pub fn exposed(self, mean: f32) -> Self {
        let exposure = self.aim.map_or(1.0, |aim| (aim / mean.max(0.02)).clamp(0.4, 6.0));
        Camera { exposure, ..self }
    }

    /// One plane of a scene in this light, through the lens and the curve; no noise yet.
    pub fn exposure_of(&self, scene: Plane, factor: &Plane, gleam: Option<&Plane>) -> Plane {
        let lit = scene.with(factor, |v, f| v * f * self.exposure);
        let lit = match gleam {
            None => lit,
            Some(gleam) => lit.plus(gleam, 1.0),
        };
        lit.blurred(self.blur).map(|v| {
            let at = v.clamp(0.0, 1.25) * STEPS;
            let i = at as usize;
            lerp(self.curve[i], self.curve[i + 1], at - i as f32)
        })
    }

    /// RGB bytes, row after row.
    pub fn develop(&self, scene: Picture, light: &Light, rng: &mut Rng) -> Vec<u8> {
        let scene =
            scene.map_planes(|plane| self.exposure_of(plane, &light.factor, light.gleam.as_ref()));
        let scene = if self.sharpen > 0.0 { self.sharpened(scene) } else { scene };
        let noisy = self.noisy(scene, rng);
        let mut bytes = bytes_of(&noisy);
        if let Some(quality) = self.quality {
            jpeg::compress(&mut bytes, noisy.size(), quality);
        }
        bytes
    }

    fn sharpened(&self, scene: Picture) -> Picture {
        scene.map_planes(|plane| {
            let soft = plane.blurred(1.2);
            plane.with(&soft, |v, s| v + self.sharpen * (v - s))
        })
    }

    fn noisy(&self, scene: Picture, rng: &mut Rng) -> Picture {
        let size = scene.size();
        let mut shared = Plane { size, data: (0..size * size).map(|_| rng.normal()).collect() };
        if self.noise_blur > 0.0 {
            shared = shared.blurred(self.noise_blur).standardised();
        }
        let bands = (0..size).map(|_| self.banding * rng.normal()).collect::<Vec<_>>();
        let many = scene.planes.len() > 1;
        scene
            .map_planes(|mut plane| {
                for (i, (value, noise)) in plane.data.iter_mut().zip(&shared.data).enumerate() {
                    let grows = lerp(1.0, 0.4 + 1.2 * value.max(0.0), self.shot);
                    let line = match self.bands {
                        Bands::Rows => i / size,
                        Bands::Columns => i % size,
                    };
                    *value += self.noise * grows * noise + bands[line];
                }
                plane
            })
            .coloured_noise(if many { 0.5 * self.noise } else { 0.0 }, rng)
    }
}

impl Picture {
    /// Each channel of a colour camera has some noise of its own.
    fn coloured_noise(mut self, deviation: f32, rng: &mut Rng) -> Self {
        if deviation > 0.0 {
            for plane in &mut self.planes {
                plane.data.iter_mut().for_each(|value| *value += deviation * rng.normal());
            }
        }
        self
    }
}

fn bytes_of(picture: &Picture) -> Vec<u8> {
    let last = picture.planes.len() - 1;
    let byte = |plane: usize, i: usize| {
        (picture.planes[plane].data[i] * 255.0 + 0.5).clamp(0.0, 255.0) as u8
    };
    let pixel = |i| [byte(0, i), byte(1.min(last), i), byte(2.min(last), i)];
    (0..picture.size() * picture.size()).flat_map(pixel).collect()
}
