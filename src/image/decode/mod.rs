//! Bytes to samples. In: the bytes of one file, the mode, the limits. Out: samples in the mode of
//! the file and their size, or a [`Failure`] that says why not. The name of the file plays no part,
//! and nothing large is allocated before the header has been checked.

mod jpeg;
mod jpeg_outline;
mod jpeg_planes;
mod not_image;
mod others;
mod png;
mod stored;
mod tiff;
mod tiff_header;

use std::io::Cursor;

use image::ImageFormat;
use image::metadata::Orientation;

pub(super) use stored::{Stored, decode_stored};

use super::orientation::oriented_size;
use super::samples::Samples;
use super::{Preprocess, Size};
use crate::error::{Failure, FailureCode, Stage};

/// What an image may cost before it is refused as too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Width times height. The default is [`MAX_PIXELS`].
    pub max_pixels: u64,
    /// Width and height. The weights of the resampler grow with the longer one.
    pub max_side: u64,
    /// Bytes that the decoder of one image may hold. The default is 2 GiB, enough for the default
    /// number of pixels in any kind of JPEG.
    pub max_bytes: u64,
}

/// The most that a decoder of JPEGs needs for a pixel: four channels, each decoded and as it is shown.
const BYTES_PER_PIXEL: u64 = 12;

/// Pillow's limit for decompression bombs times two, where Pillow turns its warning into an error.
pub const MAX_PIXELS: u64 = 178_956_970;

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { max_pixels: MAX_PIXELS, max_side: 1 << 18, max_bytes: 2 << 30 }
    }
}

impl DecodeLimits {
    /// For images of up to so many pixels in any kind of JPEG.
    pub fn of_pixels(max_pixels: u64) -> Self {
        let default = DecodeLimits::default();
        let bytes = max_pixels.saturating_mul(BYTES_PER_PIXEL);
        DecodeLimits { max_pixels, max_bytes: default.max_bytes.max(bytes), ..default }
    }

    /// Checks a size that a header claims, for a decoder that needs `bytes_per_pixel`.
    fn check(&self, width: u32, height: u32, bytes_per_pixel: u64) -> Result<Size, Failure> {
        if width == 0 || height == 0 {
            return Err(failure(
                FailureCode::CorruptImage,
                format!("the header says {width} × {height} pixels: write the file again"),
            ));
        }
        let (wide, high) = (u64::from(width), u64::from(height));
        let pixels = wide * high;
        let bytes = pixels.saturating_mul(bytes_per_pixel);
        if pixels > self.max_pixels || wide.max(high) > self.max_side || bytes > self.max_bytes {
            return Err(failure(
                FailureCode::TooLarge,
                format!(
                    "{width} × {height} pixels need {bytes} bytes; the limits are {} pixels, {} on a \
                     side and {} bytes: --max-pixels allows more, where there is memory for it",
                    self.max_pixels, self.max_side, self.max_bytes
                ),
            ));
        }
        Ok(Size { width: width as usize, height: height as usize })
    }
}

/// Width and height that the header of a file claims, as it is stored; `None` where it claims nothing.
/// Decoding checks them.
pub(super) fn claimed_size(bytes: &[u8]) -> Option<Size> {
    if is_tiff(bytes) {
        return tiff::claimed_size(bytes);
    }
    let reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some(Size { width: width as usize, height: height as usize })
}

/// What a decoder found in a file.
pub(super) struct Decoded {
    pub size: Size,
    pub samples: Samples,
    /// What EXIF asks for, whether it was applied or not.
    pub orientation: Orientation,
    /// Whether the file has pages or frames beyond the first, which is the one that is read.
    pub has_more_pages: bool,
}

/// Decodes `bytes` and applies what `mode` asks for.
pub(super) fn decode(
    bytes: &[u8],
    mode: Preprocess,
    limits: DecodeLimits,
) -> Result<Decoded, Failure> {
    let decoded = decode_as_stored(bytes, limits)?;
    let Decoded { size, orientation, .. } = decoded;
    Ok(match mode {
        Preprocess::Published => decoded,
        Preprocess::Sensible => Decoded {
            size: oriented_size(size, orientation),
            samples: decoded.samples.into_shown().oriented(size, orientation),
            ..decoded
        },
    })
}

fn decode_as_stored(bytes: &[u8], limits: DecodeLimits) -> Result<Decoded, Failure> {
    if bytes.is_empty() {
        return Err(failure(
            FailureCode::EmptyFile,
            "the file has no bytes: fetch it again from its source, then --retry-failed",
        ));
    }
    if is_tiff(bytes) {
        return tiff::decode(bytes, &limits);
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => png::decode(bytes, &limits),
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, &limits),
        Ok(ImageFormat::Bmp) => others::decode_bmp(bytes, &limits),
        Ok(ImageFormat::WebP) => others::decode_webp(bytes, &limits),
        _ => Err(not_image::failure_of(bytes)),
    }
}

/// BigTIFF too, which `image` does not recognise.
fn is_tiff(bytes: &[u8]) -> bool {
    matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..])
}

/// Samples of 1, 2, 4 or 8 `bits` of one channel, one by one. Each of the rows, of `row_bytes` and with
/// `width` samples, begins with a byte of its own.
fn unpacked(
    packed: &[u8],
    row_bytes: usize,
    width: usize,
    bits: usize,
) -> impl Iterator<Item = u8> {
    let most = u8::MAX >> (8 - bits);
    packed.chunks_exact(row_bytes).flat_map(move |row| {
        (0..width).map(move |x| {
            let bit = x * bits;
            row[bit / 8] >> (8 - bits - bit % 8) & most
        })
    })
}

fn failure(code: FailureCode, message: impl AsRef<str>) -> Failure {
    Failure::new(Stage::Decode, code, message)
}

/// The format is known, the content is not what the format promises.
fn corrupt(format: &str, what: impl ToString) -> Failure {
    let what = in_one_line(what);
    failure(
        FailureCode::CorruptImage,
        format!(
            "{format} broken or cut off ({what}): fetch it again from its source, then --retry-failed"
        ),
    )
}

/// A kind of image that exists and is not read.
fn unreadable_kind(format: &str, what: impl ToString) -> Failure {
    let what = in_one_line(what);
    failure(FailureCode::UnknownFormat, format!("{format} ({what}): save it as an 8-bit PNG"))
}

/// A format that is complete and that no decoder here takes.
fn not_read(name: &str) -> Failure {
    failure(FailureCode::UnknownFormat, format!("{name} is not read: save it as an 8-bit PNG"))
}

/// The decoder hit a limit of its own.
fn beyond_memory(format: &str, limits: &DecodeLimits) -> Failure {
    failure(
        FailureCode::TooLarge,
        format!("{format} needs more than {} bytes to decode: scale it down", limits.max_bytes),
    )
}

/// Decoders do not promise messages of one line; failures do.
fn in_one_line(message: impl ToString) -> String {
    message.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
