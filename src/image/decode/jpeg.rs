//! JPEG. In: the bytes of a file. Out: grey, RGB or CMYK samples, bit for bit those of libjpeg-turbo
//! as Pillow uses it. A file that lacks pixels is a failure, never grey filling: a decoder that
//! fills would give a score to an image nobody took.

use std::borrow::Cow;

use image::metadata::Orientation;
use libjpeg_turbo_rs::{
    ColorSpace, DecodeLimits as DecoderLimits, Decoder, JpegError, PixelFormat,
};

use super::jpeg_outline::Outline;
use super::jpeg_planes::{self, ycc_to_rgb};
use super::{DecodeLimits, Decoded, beyond_memory, corrupt, not_read, unreadable_kind};
use crate::error::Failure;
use crate::image::Size;
use crate::image::samples::Samples;

/// Bytes that the decoder holds per pixel: four channels, and for progressive files their 16-bit
/// coefficients too.
const BYTES_PER_PIXEL: u64 = 12;
/// More scans than any encoder writes; each costs a pass over all coefficients.
const MAX_SCANS: usize = 500;
/// Zeros at the end of the pixels that are worth a closer look.
const MANY_ZEROS: usize = 16;
const END: [u8; 2] = [0xFF, 0xD9];

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let outline = Outline::of(bytes);
    if let Some(name) = outline.coding_not_read() {
        return Err(not_read(&name));
    }
    let data = whole_data(bytes, outline.end, limits)?;
    let decoder = Pixels::open(&data, limits)?;
    if !outline.has_all_scans() {
        return Err(corrupt("JPEG", "its last scans are missing"));
    }
    let orientation = decoder.inner.exif_data().and_then(Orientation::from_exif_chunk);
    Ok(Decoded {
        size: decoder.size,
        samples: decoder.samples()?,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        has_more_pages: false,
    })
}

/// The file as it must hold all pixels, with `end` where its end marker stands.
///
/// Zeros are valid codes, so a file whose tail was never written decodes to the end. Without an end
/// marker zeros are therefore no data: they may only follow the last pixel. Before an end marker
/// they are data, unless there are more of them than pixels are missing without them.
fn whole_data<'a>(
    bytes: &'a [u8],
    end: Option<usize>,
    limits: &DecodeLimits,
) -> Result<Cow<'a, [u8]>, Failure> {
    let before_end = &bytes[..end.unwrap_or(bytes.len())];
    let zeros = before_end.iter().rev().take_while(|byte| **byte == 0).count();
    let without = |count: usize| [&before_end[..before_end.len() - count], &END].concat();
    if end.is_none() {
        return match zeros {
            0 => Err(corrupt("JPEG", "its end marker is missing")),
            _ => Ok(without(zeros).into()),
        };
    }
    let has_all_pixels =
        |data: Vec<u8>| Pixels::open(&data, limits).and_then(Pixels::samples).is_ok();
    if zeros >= MANY_ZEROS && !has_all_pixels(without(zeros)) && has_all_pixels(without(2)) {
        return Err(corrupt("JPEG", "zeros stand where its last pixels should be"));
    }
    Ok(bytes.into())
}

/// A stream inside another file: the size and the decoded values without a change of colours, unless
/// they are luma and chroma and `as_rgb` is set.
pub(super) fn decode_embedded(
    bytes: &[u8],
    as_rgb: bool,
    limits: &DecodeLimits,
) -> Result<(Size, Vec<u8>), Failure> {
    let outline = Outline::of(bytes);
    if let Some(name) = outline.coding_not_read() {
        return Err(not_read(&format!("TIFF with {name}")));
    }
    if !outline.has_all_scans() {
        return Err(corrupt("TIFF", "scans of a JPEG stream are missing"));
    }
    let mut pixels = Pixels::open(bytes, limits)?;
    if !as_rgb && pixels.wanted == ColorSpace::YCbCr {
        pixels.inner.set_output_colorspace(ColorSpace::YCbCr);
        pixels.wanted = ColorSpace::Unknown;
    }
    let size = pixels.size;
    Ok((size, pixels.values()?))
}

/// A file whose header is read and allowed.
struct Pixels<'a> {
    inner: Decoder<'a>,
    size: Size,
    /// What is converted to RGB or CMYK where it is luma and chroma, and left alone elsewhere.
    wanted: ColorSpace,
    limits: &'a DecodeLimits,
}

impl<'a> Pixels<'a> {
    fn open(bytes: &'a [u8], limits: &'a DecodeLimits) -> Result<Self, Failure> {
        // Our limits on sizes are checked below, in one place for all formats.
        let decoder_limits = DecoderLimits {
            max_width: usize::MAX,
            max_height: usize::MAX,
            max_pixels: u64::MAX,
            max_scans: MAX_SCANS,
            max_memory: None,
        };
        let mut inner = Decoder::new_with_limits(bytes, decoder_limits)
            .map_err(|error| failed(error, limits))?;
        // Both are 16-bit numbers in the file.
        let (width, height) = (inner.header().width() as u32, inner.header().height() as u32);
        let size = limits.check(width, height, BYTES_PER_PIXEL)?;
        let colours = inner.jpeg_color_space();
        inner.set_output_format(match colours {
            ColorSpace::Grayscale => PixelFormat::Grayscale,
            ColorSpace::Cmyk | ColorSpace::Ycck => PixelFormat::Cmyk,
            ColorSpace::Rgb | ColorSpace::YCbCr => PixelFormat::Rgb,
            other => return Err(unreadable_kind("JPEG", format!("its colours are {other:?}"))),
        });
        Ok(Pixels { inner, size, wanted: colours, limits })
    }

    /// Samples as they are stored, except that luma and chroma become RGB where that is wanted.
    fn values(self) -> Result<Vec<u8>, Failure> {
        if !self.has_usual_factors() {
            return self.values_of_planes();
        }
        let image = self.inner.decode_image().map_err(|error| failed(error, self.limits))?;
        Ok(image.data)
    }

    /// Grey, and colours whose chroma has the factors 1 × 1: what the decoder reads in one go. The rest
    /// it reads wrongly or not at all.
    fn has_usual_factors(&self) -> bool {
        matches!(self.factors()[..], [_] | [_, (1, 1), (1, 1)])
    }

    fn factors(&self) -> Vec<(u8, u8)> {
        let components = self.inner.header().components.iter();
        components.map(|one| (one.horizontal_sampling, one.vertical_sampling)).collect()
    }

    fn values_of_planes(self) -> Result<Vec<u8>, Failure> {
        let (factors, colours, size) = (self.factors(), self.wanted, self.size);
        let raw = self.inner.decode_raw().map_err(|error| failed(error, self.limits))?;
        let mut values = jpeg_planes::interleaved(&raw, &factors, size).ok_or_else(|| {
            unreadable_kind("JPEG", format!("its sampling factors are {factors:?}"))
        })?;
        match colours {
            ColorSpace::YCbCr => ycc_to_rgb::<3>(&mut values),
            // Ink is what is left of light; black is stored as it is.
            ColorSpace::Ycck => {
                ycc_to_rgb::<4>(&mut values);
                for pixel in values.as_chunks_mut::<4>().0 {
                    pixel[..3].iter_mut().for_each(|value| *value = 255 - *value);
                }
            }
            _ => {}
        }
        Ok(values)
    }

    /// Names the decoded bytes. Adobe stores inks upside down, and Pillow assumes that of every file.
    fn samples(self) -> Result<Samples, Failure> {
        let colours = self.wanted;
        let mut values = self.values()?;
        Ok(match colours {
            ColorSpace::Grayscale => Samples::Grey8(values),
            ColorSpace::Cmyk | ColorSpace::Ycck => {
                values.iter_mut().for_each(|ink| *ink = 255 - *ink);
                Samples::Cmyk8(values)
            }
            _ => Samples::Rgb8(values),
        })
    }
}

fn failed(error: JpegError, limits: &DecodeLimits) -> Failure {
    match error {
        JpegError::Unsupported(what) => unreadable_kind("JPEG", what),
        JpegError::AllocationFailed { .. } => beyond_memory("JPEG", limits),
        error => corrupt("JPEG", error),
    }
}
