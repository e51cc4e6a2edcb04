//! JPEG. In: the bytes of a file. Out: grey, RGB or CMYK samples. A file that lacks its end is a
//! failure, never grey filling: a decoder that fills would give a score to a picture nobody took.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeLimits, Decoded, corrupt, unreadable_kind};
use crate::error::Failure;
use crate::image::samples::Samples;

/// Bytes that the decoder holds per pixel: four channels, and for progressive files their 16-bit
/// coefficients too.
const BYTES_PER_PIXEL: u64 = 12;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    if !has_end_marker(bytes) {
        return Err(corrupt("JPEG", "its end marker is missing"));
    }
    let failed = |error: DecodeErrors| match error {
        DecodeErrors::Unsupported(scheme) => unreadable_kind("JPEG", format!("{scheme:?}")),
        error => corrupt("JPEG", error),
    };
    // Our limits are checked below, in one place for all formats.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let header = decoder.info().ok_or_else(|| corrupt("JPEG", "it has no header"))?;
    let size = limits.check(header.width.into(), header.height.into(), BYTES_PER_PIXEL)?;
    let colours = decoder.input_colorspace().unwrap_or(ColorSpace::Unknown);
    let wanted = match colours {
        ColorSpace::Luma | ColorSpace::CMYK | ColorSpace::YCCK => colours,
        ColorSpace::RGB | ColorSpace::YCbCr => ColorSpace::RGB,
        other => return Err(unreadable_kind("JPEG", format!("its colours are {other:?}"))),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(failed)?;
    let orientation = header.exif_data.as_deref().and_then(Orientation::from_exif_chunk);
    Ok(Decoded {
        size,
        samples: samples(pixels, wanted),
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// Names the decoded bytes; inks are turned, see [`ycck_to_cmyk`].
fn samples(mut pixels: Vec<u8>, colours: ColorSpace) -> Samples {
    match colours {
        ColorSpace::Luma => Samples::Grey8(pixels),
        ColorSpace::CMYK => {
            pixels.iter_mut().for_each(|ink| *ink = 255 - *ink);
            Samples::Cmyk8(pixels)
        }
        ColorSpace::YCCK => {
            ycck_to_cmyk(&mut pixels);
            Samples::Cmyk8(pixels)
        }
        _ => Samples::Rgb8(pixels),
    }
}

/// Luma, chroma and black to inks, in place. Adobe stores all inks upside down and Pillow assumes
/// that of every file; so JFIF's conversion to RGB (libjpeg's, 16 bits behind the point) already
/// gives upright inks, and only black is turned.
fn ycck_to_cmyk(pixels: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    for [luma, blue, red, black] in pixels.as_chunks_mut::<4>().0 {
        let (y, cb, cr) = (i32::from(*luma), i32::from(*blue) - 128, i32::from(*red) - 128);
        let inks = [
            y + ((91_881 * cr + HALF) >> 16),
            y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16),
            y + ((116_130 * cb + HALF) >> 16),
        ];
        [*luma, *blue, *red] = inks.map(|ink| ink.clamp(0, 255) as u8);
        *black = 255 - *black;
    }
}

/// Walks over the segments to the end marker, so that a thumbnail's own end marker does not count.
fn has_end_marker(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut rest = bytes;
    loop {
        // Entropy-coded data lies before the next 0xFF; any number of 0xFF may precede a marker.
        let Some(start) = rest.iter().position(|&byte| byte == 0xFF) else { return false };
        let Some(code) = rest[start..].iter().position(|&byte| byte != 0xFF) else { return false };
        let after = &rest[start + code + 1..];
        rest = match rest[start + code] {
            END => return true,
            // An escaped 0xFF, a stand-alone marker, a restart marker or the start of the file.
            0x00 | 0x01 | 0xD0..=0xD8 => after,
            _ => {
                let Some(&[high, low]) = after.first_chunk::<2>() else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(next) = after.get(length..) else { return false };
                next
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_marker_of_the_file_itself_counts() {
        let thumbnail_has_one = [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9, 0x11, 0xFF, 0x00];
        assert!(!has_end_marker(&thumbnail_has_one));
        let whole = [0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 0x11, 0xFF, 0xD0, 0x11, 0xFF, 0xD9, 0x00];
        assert!(has_end_marker(&whole));
        assert!(!has_end_marker(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF, 0xFF]));
    }
}
