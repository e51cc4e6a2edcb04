//! BMP and WebP, through the `image` crate. In: the bytes of a file. Out: samples in the mode of the
//! file. Of several frames the first.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::ImageError;
use image::metadata::Orientation;
use image::{ColorType, ExtendedColorType, ImageDecoder, Limits};

use super::{DecodeLimits, Decoded, beyond_memory, corrupt, unreadable_kind};
use crate::error::Failure;
use crate::image::Size;
use crate::image::colour::drop_alpha;
use crate::image::samples::Samples;

/// Palette and 1-bit images keep their mark, except a palette that is just the greys in order:
/// Pillow reads that as grey, and industrial cameras write it.
pub(super) fn decode_bmp(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let file = File { format: "BMP", limits };
    let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(|error| file.failed(error))?;
    let palette = decoder.get_palette().map(<[[u8; 3]]>::to_vec);
    let size = file.admit(&mut decoder)?;
    let samples = match (palette, file.samples(decoder)?) {
        (Some(palette), Samples::Rgb8(pixels)) if is_grey_ramp(&palette) => {
            Samples::Grey8(pixels.into_iter().step_by(3).collect())
        }
        (Some(_), Samples::Rgb8(pixels)) => Samples::PaletteRgb8(pixels),
        // The fourth byte is often filling that a header calls alpha: nothing at all would be shown.
        (_, Samples::Rgba8(pixels))
            if pixels.iter().skip(3).step_by(4).all(|alpha| *alpha == 0) =>
        {
            Samples::Rgb8(drop_alpha::<4>(&pixels))
        }
        (_, samples) => samples,
    };
    Ok(Decoded { size, samples, orientation: Orientation::NoTransforms })
}

/// A palette entry i is the grey i; what is not used is black.
fn is_grey_ramp(palette: &[[u8; 3]]) -> bool {
    let used = palette.iter().rposition(|colour| *colour != [0; 3]).map_or(0, |last| last + 1);
    (0u8..=255).zip(&palette[..used]).all(|(i, colour)| *colour == [i; 3])
}

pub(super) fn decode_webp(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let file = File { format: "WebP", limits };
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|error| file.failed(error))?;
    let size = file.admit(&mut decoder)?;
    if !has_whole_exif(bytes) {
        return Err(corrupt(file.format, "EXIF cut off"));
    }
    let orientation = decoder.orientation().map_err(|error| file.failed(error))?;
    Ok(Decoded { size, samples: file.samples(decoder)?, orientation })
}

/// Whether all of the EXIF is there, if there is any: the decoder makes room for what its header
/// promises, up to 4 GiB.
fn has_whole_exif(webp: &[u8]) -> bool {
    let mut rest = webp.get(12..).unwrap_or_default();
    while let Some((&[name @ .., a, b, c, d], body)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if name == *b"EXIF" {
            return length <= body.len();
        }
        rest = body.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    true
}

/// What the steps of one file share.
struct File<'a> {
    format: &'static str,
    limits: &'a DecodeLimits,
}

impl File<'_> {
    /// Checks the header against the limits, and hands the decoder the one for memory.
    fn admit(&self, decoder: &mut impl ImageDecoder) -> Result<Size, Failure> {
        let (width, height) = decoder.dimensions();
        let bytes_per_pixel = u64::from(decoder.color_type().bytes_per_pixel());
        let size = self.limits.check(width, height, bytes_per_pixel)?;
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.limits.max_bytes);
        decoder.set_limits(limits).map_err(|error| self.failed(error))?;
        Ok(size)
    }

    fn samples(&self, decoder: impl ImageDecoder) -> Result<Samples, Failure> {
        let color = decoder.color_type();
        let is_bilevel = decoder.original_color_type() == ExtendedColorType::L1;
        let mut raw = vec![0; decoder.total_bytes() as usize];
        decoder.read_image(&mut raw).map_err(|error| self.failed(error))?;
        Ok(match color {
            ColorType::L8 if is_bilevel => Samples::Bilevel(raw),
            ColorType::L8 => Samples::Grey8(raw),
            ColorType::L16 => Samples::Grey16(native_u16(&raw).collect()),
            ColorType::La8 => Samples::GreyAlpha8(raw),
            ColorType::La16 => Samples::GreyAlpha8(high_bytes(&raw)),
            ColorType::Rgb8 => Samples::Rgb8(raw),
            ColorType::Rgb16 => Samples::Rgb8(high_bytes(&raw)),
            ColorType::Rgba8 => Samples::Rgba8(raw),
            ColorType::Rgba16 => Samples::Rgba8(high_bytes(&raw)),
            other => {
                return Err(unreadable_kind(
                    self.format,
                    format!("{other:?} samples are not read"),
                ));
            }
        })
    }

    fn failed(&self, error: ImageError) -> Failure {
        match error {
            ImageError::Unsupported(what) => unreadable_kind(self.format, what),
            ImageError::Limits(_) => beyond_memory(self.format, self.limits),
            error => corrupt(self.format, error),
        }
    }
}

fn native_u16(raw: &[u8]) -> impl Iterator<Item = u16> {
    raw.as_chunks::<2>().0.iter().map(|&pair| u16::from_ne_bytes(pair))
}

/// 16 bits to 8 as Pillow reads images of several channels.
fn high_bytes(raw: &[u8]) -> Vec<u8> {
    native_u16(raw).map(|value| (value >> 8) as u8).collect()
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    #[test]
    fn a_webp_whose_exif_promises_gigabytes_is_refused_before_there_is_room_for_them() {
        let mut plain = Cursor::new(Vec::new());
        RgbImage::new(3, 2).write_to(&mut plain, ImageFormat::WebP).unwrap();
        let chunks = &plain.get_ref()[12..];
        let with_exif = |length: u32| {
            let extended = b"VP8X\x0a\0\0\0\x08\0\0\0\x02\0\0\x01\0\0";
            let exif = [b"EXIF", &length.to_le_bytes()[..], b"II*\0\x08\0\0\0\0\0"].concat();
            let all = [&b"WEBP"[..], extended, chunks, &exif].concat();
            [b"RIFF", &(all.len() as u32).to_le_bytes()[..], &all].concat()
        };
        let limits = DecodeLimits::default();
        let decoded = decode_webp(&with_exif(10), &limits).unwrap();
        assert_eq!(decoded.size, Size { width: 3, height: 2 });
        for length in [11, 1 << 31, u32::MAX] {
            let failure = decode_webp(&with_exif(length), &limits).err().unwrap();
            assert!(failure.message.contains("EXIF cut off"), "{}", failure.message);
        }
    }
}
