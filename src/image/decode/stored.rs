//! The samples of a file as they are stored, for masks: bits, ids and palette indices that an image
//! for the eye would lose. In: the bytes of a file. Out: one number per pixel that is 0 where the
//! mask says nothing, and whether the encoding is lossy.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageResult};
use png::{ColorType, Transformations};

use super::png::Frame;
use super::tiff::{Kept, decode_as_kept};
use super::{DecodeLimits, Decoded, decode_as_stored, is_tiff};
use crate::error::Failure;
use crate::image::Size;
use crate::image::orientation::{orient, oriented_size};
use crate::image::samples::Samples;

/// Bytes of the header of a BMP file, before that of the image.
const BMP_FILE_HEADER: usize = 14;

/// Bytes of the header of an image of OS/2, whose palette has three bytes per colour.
const BMP_CORE_HEADER: usize = 12;

/// What a mask file holds.
pub(in crate::image) struct Stored {
    pub size: Size,
    /// 0 is background. Of a lossy file the brightness, else 1 for all that is not background.
    pub values: Vec<u8>,
    pub is_lossy: bool,
    /// What EXIF asks for; nothing was turned.
    pub orientation: Orientation,
}

/// Decodes a mask.
pub(in crate::image) fn decode_stored(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<Stored, Failure> {
    if is_tiff(bytes) {
        return tiff_stored(bytes, limits);
    }
    let format = image::guess_format(bytes).ok();
    if format == Some(ImageFormat::Png) {
        let frame = Frame::read(bytes, &limits, |_| Transformations::IDENTITY)?;
        let (size, orientation) = (frame.size, frame.orientation);
        return Ok(Stored { size, values: png_values(&frame), is_lossy: false, orientation });
    }
    let Decoded { size, samples, orientation, .. } = decode_as_stored(bytes, limits)?;
    let is_lossy = match format {
        Some(ImageFormat::Jpeg) => true,
        Some(ImageFormat::WebP) => has_lossy_chunk(bytes),
        _ => false,
    };
    // Only what samples of an image do not have is read once more.
    let indexed = match format {
        Some(ImageFormat::Bmp) => bmp_values(bytes).ok().flatten(),
        _ => None,
    };
    let values = match indexed.filter(|values| values.len() == size.area()) {
        _ if is_lossy => brightness(&samples),
        Some(values) => values,
        None => flags(&samples),
    };
    Ok(Stored { size, values, is_lossy, orientation })
}

/// Of a TIFF, whose orientation is part of the image: it is applied here.
fn tiff_stored(bytes: &[u8], limits: DecodeLimits) -> Result<Stored, Failure> {
    let (size, kept, turn) = decode_as_kept(bytes, &limits)?;
    let (values, is_lossy) = match kept {
        Kept::Indices { indices, palette } => (of_palette(&indices, &palette), false),
        Kept::Sixteen { values: raw, channels, colours } => {
            (values(&raw, channels, colours), false)
        }
        Kept::Samples(samples) => (flags(&samples), false),
        Kept::Lossy(samples) => (brightness(&samples), true),
    };
    let values = match turn {
        Orientation::NoTransforms => values,
        _ => orient::<1, _>(&values, size, turn),
    };
    let (size, orientation) = (oriented_size(size, turn), Orientation::NoTransforms);
    Ok(Stored { size, values, is_lossy, orientation })
}

/// Whether a WebP has a frame of its lossy kind.
fn has_lossy_chunk(bytes: &[u8]) -> bool {
    bytes.windows(4).take(1 << 16).any(|window| window == b"VP8 ")
}

/// What every decoder's samples tell: a colour other than black.
fn flags(samples: &Samples) -> Vec<u8> {
    match samples {
        Samples::Grey8(raw) | Samples::Bilevel(raw) => values(raw, 1, 1),
        Samples::Grey16(raw) => raw.iter().map(|value| u8::from(*value > 0)).collect(),
        Samples::GreyAlpha8(raw) => values(raw, 2, 1),
        Samples::Rgb8(raw) | Samples::PaletteRgb8(raw) => values(raw, 3, 3),
        Samples::Rgba8(raw) => values(raw, 4, 3),
        // No ink is white, all ink is black.
        Samples::Cmyk8(raw) => {
            let pixels = raw.as_chunks::<4>().0.iter();
            pixels.map(|p| u8::from(p[3] < 255 && p[..3] != [255; 3])).collect()
        }
    }
}

/// The brightest channel of each pixel.
fn brightness(samples: &Samples) -> Vec<u8> {
    fn brightest<const C: usize>(raw: &[u8], colours: usize) -> Vec<u8> {
        let brightest =
            |pixel: &[u8; C]| pixel[..colours].iter().copied().max().unwrap_or_default();
        raw.as_chunks::<C>().0.iter().map(brightest).collect()
    }
    match samples {
        Samples::Grey8(raw) | Samples::Bilevel(raw) => raw.clone(),
        Samples::Grey16(raw) => raw.iter().map(|value| (value >> 8) as u8).collect(),
        Samples::GreyAlpha8(raw) => brightest::<2>(raw, 1),
        Samples::Rgb8(raw) | Samples::PaletteRgb8(raw) => brightest::<3>(raw, 3),
        Samples::Rgba8(raw) => brightest::<4>(raw, 3),
        Samples::Cmyk8(raw) => raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|[c, m, y, k]| 255 - (*c).min(*m).min(*y).saturating_add(*k))
            .collect(),
    }
}

/// 1 where a pixel has a colour that is not 0; of each pixel's numbers the first `colours` are no
/// alpha. Where all pixels are of one colour and alpha is not, alpha is the mask.
fn values<T: Copy + PartialEq + Default>(raw: &[T], channels: usize, colours: usize) -> Vec<u8> {
    let pixels = || raw.chunks_exact(channels);
    let any = |numbers: &[T]| u8::from(numbers.iter().any(|number| *number != T::default()));
    let first = pixels().next().unwrap_or_default();
    if colours < channels
        && pixels().all(|pixel| pixel[..colours] == first[..colours])
        && !pixels().all(|pixel| pixel[colours..] == first[colours..])
    {
        return pixels().map(|pixel| any(&pixel[colours..])).collect();
    }
    pixels().map(|pixel| any(&pixel[..colours])).collect()
}

/// Of a BMP with a palette. The decoder hands out indices only where each has a byte of its own and is
/// not run-length coded; so each colour is replaced by its number, and these colours are decoded.
fn bmp_values(bytes: &[u8]) -> ImageResult<Option<Vec<u8>>> {
    let decoder = BmpDecoder::new(Cursor::new(bytes))?;
    let Some(mut palette) = decoder.get_palette().map(<[[u8; 3]]>::to_vec) else {
        return Ok(None);
    };
    let mut numbered = bytes.to_vec();
    let number_at = |at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.first_chunk());
        four.map_or(0, |four| u32::from_le_bytes(*four) as usize)
    };
    let (pixels, header) = (number_at(10), number_at(14));
    let (entry, depth_at) = if header == BMP_CORE_HEADER { (3, 24) } else { (4, 28) };
    // The decoder fills up to 256 colours.
    palette.truncate(1 << number_at(depth_at).to_le_bytes()[0].min(8));
    let colours =
        (BMP_FILE_HEADER.saturating_add(header)).min(bytes.len())..pixels.min(bytes.len());
    let colours = numbered.get_mut(colours).unwrap_or_default();
    for (number, colour) in colours.chunks_exact_mut(entry).take(palette.len()).enumerate() {
        colour[..3].fill(number as u8);
    }
    let decoder = BmpDecoder::new(Cursor::new(numbered))?;
    let channels = usize::from(decoder.color_type().channel_count());
    let mut colours = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut colours)?;
    let indices = colours.into_iter().step_by(channels).collect::<Vec<_>>();
    Ok(Some(of_palette(&indices, &palette)))
}

/// Index 0 is the background, whatever its colour; in an image of pure black and pure white only,
/// which is a bilevel mask stored with a palette, black is. An image of one colour is such a mask if its
/// palette is those two.
fn of_palette(indices: &[u8], palette: &[[u8; 3]]) -> Vec<u8> {
    const BLACK: [u8; 3] = [0; 3];
    const WHITE: [u8; 3] = [255; 3];
    let colour = |index: &u8| palette.get(usize::from(*index)).copied().unwrap_or_default();
    let shows = |wanted| indices.iter().any(|index| colour(index) == wanted);
    let by_colour = match palette {
        [BLACK, WHITE] | [WHITE, BLACK] => true,
        _ => {
            let is_bilevel = indices.iter().all(|index| [BLACK, WHITE].contains(&colour(index)));
            is_bilevel && shows(BLACK) && shows(WHITE)
        }
    };
    let is_defect = |index: &u8| if by_colour { colour(index) != BLACK } else { *index != 0 };
    indices.iter().map(|index| u8::from(is_defect(index))).collect()
}

fn png_values(frame: &Frame) -> Vec<u8> {
    let bits = frame.depth as usize;
    match frame.color {
        // What cannot be seen is no defect, be it white.
        ColorType::Indexed if frame.is_first_transparent => {
            frame.unpacked().map(|index| u8::from(index > 0)).collect()
        }
        ColorType::Indexed => of_palette(&frame.unpacked().collect::<Vec<_>>(), &frame.palette),
        ColorType::Grayscale if bits < 8 => frame.unpacked().map(|v| u8::from(v > 0)).collect(),
        color => {
            let (channels, bytes) = (color.samples(), bits / 8);
            let has_alpha = matches!(color, ColorType::GrayscaleAlpha | ColorType::Rgba);
            values(&frame.raw, channels * bytes, (channels - usize::from(has_alpha)) * bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_of_a_palette_is_its_first_colour_unless_it_is_black_and_white() {
        let (black, white, red) = ([0; 3], [255; 3], [255, 0, 0]);
        assert_eq!(of_palette(&[0, 1, 2], &[black, red, red]), [0, 1, 1]);
        // Ids that no colour tells from each other, a background that is shown in red.
        assert_eq!(of_palette(&[0, 1, 3], &[black; 4]), [0, 1, 1]);
        assert_eq!(of_palette(&[0, 0, 1], &[red, black]), [0, 0, 1]);
        assert_eq!(of_palette(&[0, 1, 1], &[white, black]), [1, 0, 0]);
        assert_eq!(of_palette(&[1, 1, 1], &[white, black]), [0, 0, 0]);
        // Two colours that are one say nothing.
        assert_eq!(of_palette(&[0, 1, 1], &[black, black]), [0, 1, 1]);
        assert_eq!(of_palette(&[0, 1, 1], &[white, white]), [0, 1, 1]);
    }

    /// A BMP of 5 x 2 pixels with indices 0, 1, 1, 0, 1 in its lower row and 1, 0, 0, 0, 0 above.
    fn bmp(depth: u8, is_core: bool, palette: &[[u8; 3]]) -> Vec<u8> {
        let rows = [[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]];
        let mut out = b"BM\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        let compression = if depth == 0 { 1 } else { 0 };
        let depth = if depth == 0 { 8 } else { depth };
        if is_core {
            out.extend([12, 0, 0, 0, 5, 0, 2, 0, 1, 0, depth, 0]);
        } else {
            out.extend([40, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1, 0, depth, 0, compression, 0, 0, 0]);
            out.extend([0; 12]);
            out.extend([palette.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        }
        for colour in palette {
            out.extend(colour);
            out.extend(vec![0; usize::from(!is_core)]);
        }
        out.extend(vec![0; if is_core { 3 * ((1 << depth) - palette.len()) } else { 0 }]);
        out[10] = out.len() as u8;
        out[11] = (out.len() >> 8) as u8;
        for row in rows {
            if compression == 1 {
                // Runs of one pixel, then the end of the row.
                out.extend(row.iter().flat_map(|index| [1, *index]).chain([0, 0]));
                continue;
            }
            let per_byte = usize::from(8 / depth);
            let mut bytes = row
                .chunks(per_byte)
                .map(|part| {
                    let shift = |n: usize| usize::from(depth) * (per_byte - 1 - n);
                    part.iter().enumerate().fold(0, |byte, (n, index)| byte | index << shift(n))
                })
                .collect::<Vec<u8>>();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            out.extend(bytes);
        }
        out.extend([0, 1]);
        out
    }

    #[test]
    fn a_bmp_with_a_palette_is_its_indices_whatever_their_depth_and_coding() {
        let (black, white, red) = ([0; 3], [255; 3], [0, 0, 255]);
        let expected = [1, 0, 0, 0, 0, 0, 1, 1, 0, 1];
        let all = [(1, false), (1, true), (4, false), (4, true), (8, false), (8, true), (0, false)];
        for (depth, is_core) in all {
            for palette in [[black, white], [red, black], [white, red]] {
                let bytes = bmp(depth, is_core, &palette);
                let stored = decode_stored(&bytes, DecodeLimits::default()).unwrap();
                assert_eq!(stored.values, expected, "{depth} bits, {is_core}, {palette:?}");
            }
            // Ids that no colour tells from each other.
            let bytes = bmp(depth, is_core, &vec![black; if depth == 1 { 2 } else { 3 }]);
            let stored = decode_stored(&bytes, DecodeLimits::default()).unwrap();
            assert_eq!(stored.values, expected, "{depth} bits, {is_core}");
            let bytes = bmp(depth, is_core, &[white, black]);
            let stored = decode_stored(&bytes, DecodeLimits::default()).unwrap();
            assert_eq!(stored.values, expected.map(|value| 1 - value), "{depth} bits, {is_core}");
        }
    }

    #[test]
    fn alpha_is_the_mask_only_where_colour_says_nothing() {
        assert_eq!(values(&[255u8, 0, 255, 9, 255, 255], 2, 1), [0, 1, 1]);
        assert_eq!(values(&[255u8, 0, 0, 9, 255, 255], 2, 1), [1, 0, 1]);
        assert_eq!(values(&[255u8, 255, 255, 255], 2, 1), [1, 1]);
        // 16 bits: the low byte counts.
        assert_eq!(values(&[0u8, 1, 0, 0], 2, 2), [1, 0]);
    }
}
