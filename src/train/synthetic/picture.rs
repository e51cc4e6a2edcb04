//! An image before the camera: one plane if grey, three if in colour, 0 = black, 1 = white.

use fastrand::Rng;

use super::math::{fract, lerp};
use super::plane::Plane;
use super::random::Draw;

#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// One or three.
    pub planes: Vec<Plane>,
}

/// Whether images of a scene have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Grey,
    Full,
}

impl Picture {
    pub fn size(&self) -> usize {
        self.planes[0].size
    }

    pub fn colour(&self) -> Colour {
        if self.planes.len() == 1 { Colour::Grey } else { Colour::Full }
    }

    /// Brightness of each pixel.
    pub fn luma(&self) -> Plane {
        match self.planes.as_slice() {
            [r, g, b] => {
                let half = r.clone().with(g, |r, g| 0.3 * r + 0.59 * g);
                half.plus(b, 0.11)
            }
            _ => self.planes[0].clone(),
        }
    }

    /// Each plane changed alike.
    pub fn map_planes(self, change: impl Fn(Plane) -> Plane) -> Self {
        Picture { planes: self.planes.into_iter().map(change).collect() }
    }

    /// `other` where `cover` is 1, itself where it is 0.
    pub fn covered(mut self, other: &Picture, cover: &Plane) -> Self {
        for (own, other) in self.planes.iter_mut().zip(&other.planes) {
            for ((a, b), c) in own.data.iter_mut().zip(&other.data).zip(&cover.data) {
                *a += (*b - *a) * c;
            }
        }
        self
    }

    /// `ink` where `cover` is 1, itself where it is 0.
    pub fn inked(mut self, ink: Ink, cover: &Plane) -> Self {
        let channels = ink.channels(self.colour());
        for (own, value) in self.planes.iter_mut().zip(channels) {
            for (a, c) in own.data.iter_mut().zip(&cover.data) {
                *a += (value - *a) * c;
            }
        }
        self
    }

    /// Multiplied by `ink` where `cover` is 1: a filter over the surface.
    pub fn glazed(mut self, ink: Ink, cover: &Plane) -> Self {
        let channels = ink.channels(self.colour());
        for (own, value) in self.planes.iter_mut().zip(channels) {
            for (a, c) in own.data.iter_mut().zip(&cover.data) {
                *a *= 1.0 + (value - 1.0) * c;
            }
        }
        self
    }

    /// `amount` of `light` added to every plane.
    pub fn lit(self, light: &Plane, amount: f32) -> Self {
        self.map_planes(|plane| plane.plus(light, amount))
    }
}

/// One colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ink(pub [f32; 3]);

impl Ink {
    pub fn grey(tone: f32) -> Self {
        Ink([tone; 3])
    }

    /// Of brightness `tone`; `hue` in turns.
    pub fn hued(tone: f32, hue: f32, saturation: f32) -> Self {
        let channel = |shift: f32| {
            let t = fract(hue + shift) * 6.0;
            let full = ((t - 3.0).abs() - 1.0).clamp(0.0, 1.0);
            1.0 + saturation * (full - 1.0)
        };
        let raw = [channel(0.0), channel(2.0 / 3.0), channel(1.0 / 3.0)];
        let luma = 0.3 * raw[0] + 0.59 * raw[1] + 0.11 * raw[2];
        Ink(raw.map(|c| c * tone / luma))
    }

    /// In a grey image, its brightness.
    fn channels(self, colour: Colour) -> [f32; 3] {
        let [r, g, b] = self.0;
        match colour {
            Colour::Full => self.0,
            Colour::Grey => [0.3 * r + 0.59 * g + 0.11 * b; 3],
        }
    }
}

/// Turns tones into colours: dark and light tones have their own hue.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    dark: Ink,
    light: Ink,
}

impl Palette {
    /// Near `hue`, with at most `saturation`.
    pub fn near(hue: f32, saturation: f32, rng: &mut Rng) -> Self {
        let mut ink = |tone: f32| {
            let hue = hue + rng.within(-0.06, 0.06);
            Ink::hued(tone, hue, saturation * rng.within(0.3, 1.0))
        };
        Palette { dark: ink(0.3), light: ink(0.8) }
    }

    fn channel(&self, tone: f32, i: usize) -> f32 {
        let t = (tone - 0.3) * 2.0;
        tone * lerp(self.dark.0[i] / 0.3, self.light.0[i] / 0.8, t.clamp(0.0, 1.0))
    }
}

/// The image of `tone` where `region` tells how much of the second palette there is.
pub fn coloured(
    tone: &Plane,
    region: Option<&Plane>,
    colour: Colour,
    palettes: &[Palette; 2],
) -> Picture {
    if colour == Colour::Grey {
        return Picture { planes: vec![tone.clone()] };
    }
    let plane = |i: usize| match region {
        None => tone.clone().map(|t| palettes[0].channel(t, i)),
        Some(region) => tone.clone().with(region, |t, share| {
            lerp(palettes[0].channel(t, i), palettes[1].channel(t, i), share)
        }),
    };
    Picture { planes: (0..3).map(plane).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ink_has_the_brightness_it_was_made_with() {
        let Ink([r, g, b]) = Ink::hued(0.4, 0.02, 0.8);
        assert!((0.3 * r + 0.59 * g + 0.11 * b - 0.4).abs() < 1e-5);
        assert!(r > g && r > b, "{r} {g} {b}");
    }
}
