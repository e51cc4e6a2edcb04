//! One decoded image and the pixels that each network sees of it. In: the bytes of a file. Out:
//! 8-bit RGB at the size of a network. Normalising is the next step, in `normalize`.

use std::borrow::Cow;

use image::metadata::Orientation;

use super::colour::{
    clip_grey16_at_255, cmyk_to_rgb, drop_alpha, grey_to_rgb, premultiply, unpremultiply,
};
use super::decode::{Decoded, claimed_size, decode};
use super::filter::Filter;
use super::orientation::oriented_size;
use super::resize::resize;
use super::resize_published::{resize_grey16, resize_nearest};
use super::samples::Samples;
use super::{DecodeLimits, Preprocess, Rect, Size};
use crate::error::Failure;

/// 8-bit RGB, `[height, width, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    size: Size,
    bytes: Vec<u8>,
}

impl Rgb8 {
    /// `None` unless there are height × width × 3 `bytes`.
    pub fn new(size: Size, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == size.area() * 3).then_some(Rgb8 { size, bytes })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Red, green, blue of the first pixel of the first row, and so on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How large the detector wants an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorSide {
    /// The shorter side becomes this long, in pixels …
    pub shorter: usize,
    /// … unless the longer one would then be longer than this.
    pub longest: usize,
}

impl DetectorSide {
    /// The size that an image of `size` gets, aspect kept. The longer side is truncated to whole
    /// pixels; a limited shorter side is rounded half to even (both as the published code does).
    /// Where that gives a side of 0, on which the published code fails, it is 1.
    pub fn size_for(&self, size: Size) -> Size {
        let short = size.width.min(size.height) as f64;
        let long = size.width.max(size.height) as f64;
        let wanted = self.shorter as f64;
        let (shorter, longer) = if long / short * wanted > self.longest as f64 {
            let shorter = (self.longest as f64 * short / long).round_ties_even();
            if shorter < 1.0 {
                (1.0, self.longest as f64)
            } else {
                (shorter, shorter * long / short)
            }
        } else {
            (wanted, wanted * long / short)
        };
        let (shorter, longer) = (shorter as usize, longer as usize);
        if size.width < size.height {
            Size { width: shorter, height: longer }
        } else {
            Size { width: longer, height: shorter }
        }
    }
}

/// A decoded image. Its pixels are still in the mode of the file, because the published code
/// resizes for CLIP before it converts to RGB.
#[derive(Debug, Clone)]
pub struct Picture {
    size: Size,
    samples: Samples,
    frame: Frame,
    /// Whether transparent pixels weigh less when it is resized.
    alpha_weighs: bool,
    has_more_pages: bool,
}

/// The frames that a mask may be drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The turn between the pixels of the file and those that are used.
    pub turned: Orientation,
    /// The size in the file.
    pub stored: Size,
    /// The size that is used.
    pub shown: Size,
}

impl Picture {
    /// Decodes a PNG, JPEG, BMP, TIFF or WebP file, recognised by its content; of several frames or
    /// pages the first.
    ///
    /// # Errors
    /// At stage `Decode`: `EmptyFile`, `UnknownFormat` (no image, or a kind of image that is not
    /// read), `CorruptImage` (broken or cut off) or `TooLarge` (beyond `limits`, which are checked
    /// against the header before pixels are allocated).
    pub fn decode(bytes: &[u8], mode: Preprocess, limits: DecodeLimits) -> Result<Self, Failure> {
        let Decoded { size, samples, orientation, has_more_pages } = decode(bytes, mode, limits)?;
        let turned = match mode {
            Preprocess::Published => Orientation::NoTransforms,
            Preprocess::Sensible => orientation,
        };
        // A turn by a quarter swaps the sides back.
        let frame = Frame { turned, stored: oriented_size(size, turned), shown: size };
        let alpha_weighs = mode == Preprocess::Published;
        Ok(Picture { size, samples, frame, alpha_weighs, has_more_pages })
    }

    /// Width and height that the header of a file claims, without decoding it; EXIF may swap them. `None`
    /// where it claims nothing.
    pub fn claimed_size(bytes: &[u8]) -> Option<Size> {
        claimed_size(bytes)
    }

    pub(super) fn frame(&self) -> Frame {
        self.frame
    }

    /// Whether the file has pages or frames beyond the first. Smaller copies in a TIFF are none.
    pub fn has_more_pages(&self) -> bool {
        self.has_more_pages
    }

    /// Width and height in pixels, after EXIF orientation where the mode applies it.
    pub fn size(&self) -> Size {
        self.size
    }

    /// A part of the image, which lies inside it, as an image of its own.
    pub fn crop(&self, part: Rect) -> Picture {
        let samples = self.samples.cropped(self.size.width, part);
        let frame =
            Frame { turned: Orientation::NoTransforms, stored: part.size, shown: part.size };
        Picture { size: part.size, samples, frame, ..*self }
    }

    /// The image stretched to `side` × `side` (at least 1) with the bicubic filter, as CLIP sees it.
    ///
    /// Published code differs from what one expects: it resizes in the mode of the file and then
    /// converts to RGB. So transparent pixels weigh less before alpha is dropped (unless the image has
    /// the wanted size already), 16-bit grey is clipped only afterwards, and palette and 1-bit images
    /// get no filter at all. A sensible reading drops alpha first: it never changes the colours under it.
    pub fn clip_pixels(&self, side: usize) -> Rgb8 {
        let (from, to) = (self.size, Size::square(side));
        let bytes = match &self.samples {
            Samples::Grey8(grey) => grey_to_rgb(&resize::<1>(grey, from, to, Filter::Bicubic)),
            Samples::Grey16(grey) => grey_to_rgb(&resize_then_clip_grey16(grey, from, to)),
            Samples::Bilevel(grey) => grey_to_rgb(&resize_nearest::<1>(grey, from, to)),
            Samples::GreyAlpha8(pixels) if self.alpha_weighs => {
                grey_to_rgb(&drop_alpha::<2>(&resize_premultiplied::<2>(pixels, from, to)))
            }
            Samples::GreyAlpha8(pixels) => {
                grey_to_rgb(&resize::<1>(&drop_alpha::<2>(pixels), from, to, Filter::Bicubic))
            }
            Samples::Rgb8(pixels) => resize::<3>(pixels, from, to, Filter::Bicubic),
            Samples::PaletteRgb8(pixels) => resize_nearest::<3>(pixels, from, to),
            Samples::Rgba8(pixels) if self.alpha_weighs => {
                drop_alpha::<4>(&resize_premultiplied::<4>(pixels, from, to))
            }
            Samples::Rgba8(pixels) => {
                resize::<3>(&drop_alpha::<4>(pixels), from, to, Filter::Bicubic)
            }
            Samples::Cmyk8(pixels) => cmyk_to_rgb(&resize::<4>(pixels, from, to, Filter::Bicubic)),
        };
        Rgb8 { size: to, bytes }
    }

    /// The image with its aspect kept, resized with the bilinear filter, as the detector sees it.
    /// Here the published code converts to RGB first.
    pub fn detector_pixels(&self, side: &DetectorSide) -> Rgb8 {
        let (from, to) = (self.size, side.size_for(self.size));
        let bytes = match self.opaque() {
            Opaque::Grey(grey) => grey_to_rgb(&resize::<1>(&grey, from, to, Filter::Bilinear)),
            Opaque::Rgb(pixels) => resize::<3>(&pixels, from, to, Filter::Bilinear),
        };
        Rgb8 { size: to, bytes }
    }

    /// The image as RGB at its own size.
    pub fn rgb_pixels(&self) -> Rgb8 {
        let bytes = match self.opaque() {
            Opaque::Grey(grey) => grey_to_rgb(&grey),
            Opaque::Rgb(pixels) => pixels.into_owned(),
        };
        Rgb8 { size: self.size, bytes }
    }

    fn opaque(&self) -> Opaque<'_> {
        match &self.samples {
            Samples::Grey8(grey) | Samples::Bilevel(grey) => Opaque::Grey(grey.into()),
            Samples::Grey16(grey) => Opaque::Grey(clip_grey16_at_255(grey).into()),
            Samples::GreyAlpha8(pixels) => Opaque::Grey(drop_alpha::<2>(pixels).into()),
            Samples::Rgb8(pixels) | Samples::PaletteRgb8(pixels) => Opaque::Rgb(pixels.into()),
            Samples::Rgba8(pixels) => Opaque::Rgb(drop_alpha::<4>(pixels).into()),
            Samples::Cmyk8(pixels) => Opaque::Rgb(cmyk_to_rgb(pixels).into()),
        }
    }
}

/// An image without alpha; one channel stands for three equal ones.
enum Opaque<'a> {
    Grey(Cow<'a, [u8]>),
    Rgb(Cow<'a, [u8]>),
}

/// Resizes with colours weighed by alpha, the last of C channels. Equal sizes leave it all alone.
fn resize_premultiplied<const C: usize>(pixels: &[u8], from: Size, to: Size) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let mut resized = resize::<C>(&premultiply::<C>(pixels), from, to, Filter::Bicubic);
    unpremultiply::<C>(&mut resized);
    resized
}

/// 16-bit grey on the CLIP side of the published code: resized at full range, then everything above
/// 255 is white.
fn resize_then_clip_grey16(grey: &[u16], from: Size, to: Size) -> Vec<u8> {
    let resized = resize_grey16(grey, from, to, Filter::Bicubic);
    resized.into_iter().map(|value| value.clamp(0, 255) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: DetectorSide = DetectorSide { shorter: 518, longest: 1333 };

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    #[test]
    fn the_shorter_side_sets_the_size_and_the_longer_one_is_cut_to_whole_pixels() {
        assert_eq!(SIDE.size_for(size(150, 90)), size(863, 518));
        assert_eq!(SIDE.size_for(size(640, 900)), size(518, 728));
        assert_eq!(SIDE.size_for(size(518, 518)), size(518, 518));
    }

    #[test]
    fn a_long_picture_is_limited_by_its_longer_side() {
        assert_eq!(SIDE.size_for(size(700, 200)), size(1333, 381));
        assert_eq!(SIDE.size_for(size(1, 10_000)), size(1, 1333));
    }
}
