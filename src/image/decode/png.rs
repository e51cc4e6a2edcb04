//! PNG. In: the bytes of a file. Out: samples in the mode of the file; transparency that is not a
//! channel is ignored, as Pillow's conversion to RGB ignores it. Of an animation the first frame.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, DecodingError, Transformations};

use super::{DecodeLimits, Decoded, beyond_memory, corrupt, unpacked};
use crate::error::Failure;
use crate::image::Size;
use crate::image::samples::Samples;

/// Bytes that a decoder holds per pixel: at most 16-bit RGBA.
const BYTES_PER_PIXEL: u64 = 8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let frame = Frame::read(bytes, limits, depth_to_read)?;
    Ok(Decoded {
        size: frame.size,
        samples: frame.samples(),
        orientation: frame.orientation,
        has_more_pages: frame.is_animated,
    })
}

/// A frame as it is in the file.
pub(super) struct Frame {
    pub size: Size,
    /// Samples of `depth` bits, packed; each row begins with a byte of its own.
    pub raw: Vec<u8>,
    row_bytes: usize,
    pub color: ColorType,
    pub depth: BitDepth,
    pub palette: Vec<[u8; 3]>,
    /// Whether index 0 of the palette is wholly transparent.
    pub is_first_transparent: bool,
    /// Whether it is the first of several.
    is_animated: bool,
    /// What EXIF asks for.
    pub orientation: Orientation,
}

impl Frame {
    /// The first frame, with what `changed` says is done to samples of a colour type.
    pub(super) fn read(
        bytes: &[u8],
        limits: &DecodeLimits,
        changed: impl Fn(ColorType) -> Transformations,
    ) -> Result<Self, Failure> {
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
        let transformations = changed(header.color_type);
        decoder.set_transformations(transformations);
        let mut reader = decoder.read_info().map_err(failed)?;
        let length = reader.output_buffer_size().ok_or_else(|| beyond_memory("PNG", limits))?;
        let mut raw = vec![0; length];
        let frame = reader.next_frame(&mut raw).map_err(failed)?;
        if (frame.width as usize, frame.height as usize) != (size.width, size.height) {
            let what = "the first frame has another size than the header says";
            return Err(corrupt("PNG", what));
        }
        let info = reader.info();
        let orientation = info.exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
        Ok(Frame {
            size,
            raw,
            row_bytes: frame.line_size,
            color: frame.color_type,
            depth: frame.bit_depth,
            is_first_transparent: info.trns.as_deref().and_then(|alpha| alpha.first()) == Some(&0),
            is_animated: info.animation_control().is_some_and(|animation| animation.num_frames > 1),
            palette: info.palette.as_deref().unwrap_or_default().as_chunks().0.to_vec(),
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    fn samples(&self) -> Samples {
        match (self.color, self.depth) {
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
                let colour =
                    |index| self.palette.get(usize::from(index)).copied().unwrap_or_default();
                Samples::PaletteRgb8(self.unpacked().flat_map(colour).collect())
            }
            (ColorType::GrayscaleAlpha, _) => Samples::GreyAlpha8(self.raw.to_vec()),
            (ColorType::Rgb, _) => Samples::Rgb8(self.raw.to_vec()),
            (ColorType::Rgba, _) => Samples::Rgba8(self.raw.to_vec()),
        }
    }

    /// Samples of 1, 2, 4 or 8 bits of one channel, one by one.
    pub(super) fn unpacked(&self) -> impl Iterator<Item = u8> {
        unpacked(&self.raw, self.row_bytes, self.size.width, self.depth as usize)
    }
}

/// 16 bits are kept for grey alone; Pillow reads only the high byte of the rest.
fn depth_to_read(color: ColorType) -> Transformations {
    match color {
        ColorType::Grayscale => Transformations::IDENTITY,
        _ => Transformations::STRIP_16,
    }
}
