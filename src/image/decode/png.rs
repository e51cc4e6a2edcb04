//! PNG. In: the bytes of a file. Out: samples in the mode of the file; transparency that is not a
//! channel is ignored, as Pillow's conversion to RGB ignores it. Of an animation the first frame.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, DecodingError, Transformations};

use super::{DecodeLimits, Decoded, beyond_memory, corrupt};
use crate::error::Failure;
use crate::image::Size;
use crate::image::samples::Samples;

/// Bytes that a decoder holds per pixel: at most 16-bit RGBA.
const BYTES_PER_PIXEL: u64 = 8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let failed = |error: DecodingError| match error {
        DecodingError::LimitsExceeded => beyond_memory("PNG", limits),
        error => corrupt("PNG", error),
    };
    let max_bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: max_bytes });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(failed)?;
    let size = limits.check(header.width, header.height, BYTES_PER_PIXEL)?;
    let transformations = depth_to_read(header.color_type);
    decoder.set_transformations(transformations);
    let mut reader = decoder.read_info().map_err(failed)?;
    let length = reader.output_buffer_size().ok_or_else(|| beyond_memory("PNG", limits))?;
    let mut raw = vec![0; length];
    let frame = reader.next_frame(&mut raw).map_err(failed)?;
    if (frame.width as usize, frame.height as usize) != (size.width, size.height) {
        return Err(corrupt("PNG", "the first frame has another size than the header says"));
    }
    let info = reader.info();
    let exif = info.exif_metadata.as_deref();
    let palette = info.palette.as_deref().unwrap_or_default();
    let rows = Rows { raw: &raw, row_bytes: frame.line_size, size, depth: frame.bit_depth };
    Ok(Decoded {
        size,
        samples: rows.samples(frame.color_type, palette),
        orientation: exif
            .and_then(Orientation::from_exif_chunk)
            .unwrap_or(Orientation::NoTransforms),
    })
}

/// 16 bits are kept for grey alone; Pillow reads only the high byte of the rest.
fn depth_to_read(color: ColorType) -> Transformations {
    match color {
        ColorType::Grayscale => Transformations::IDENTITY,
        _ => Transformations::STRIP_16,
    }
}

/// The rows of a frame as they are in the file: samples of `depth` bits, packed.
struct Rows<'a> {
    raw: &'a [u8],
    row_bytes: usize,
    size: Size,
    depth: BitDepth,
}

impl Rows<'_> {
    fn samples(&self, color: ColorType, palette: &[u8]) -> Samples {
        match (color, self.depth) {
            (ColorType::Grayscale, BitDepth::One) => {
                Samples::Bilevel(self.unpacked().map(|bit| bit * 255).collect())
            }
            (ColorType::Grayscale, BitDepth::Sixteen) => Samples::Grey16(
                self.raw.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect(),
            ),
            (ColorType::Grayscale, depth) => {
                let white = u8::MAX >> (8 - depth as u8);
                Samples::Grey8(self.unpacked().map(|value| value * (255 / white)).collect())
            }
            (ColorType::Indexed, _) => {
                let (colours, _) = palette.as_chunks::<3>();
                let colour = |index| colours.get(usize::from(index)).copied().unwrap_or_default();
                Samples::PaletteRgb8(self.unpacked().flat_map(colour).collect())
            }
            (ColorType::GrayscaleAlpha, _) => Samples::GreyAlpha8(self.raw.to_vec()),
            (ColorType::Rgb, _) => Samples::Rgb8(self.raw.to_vec()),
            (ColorType::Rgba, _) => Samples::Rgba8(self.raw.to_vec()),
        }
    }

    /// Samples of 1, 2, 4 or 8 bits of one channel, one by one.
    fn unpacked(&self) -> impl Iterator<Item = u8> {
        let bits = self.depth as usize;
        let mask = u8::MAX >> (8 - bits);
        self.raw.chunks_exact(self.row_bytes).flat_map(move |row| {
            (0..self.size.width).map(move |x| {
                let bit = x * bits;
                row[bit / 8] >> (8 - bits - bit % 8) & mask
            })
        })
    }
}
