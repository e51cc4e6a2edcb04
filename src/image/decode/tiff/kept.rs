//! A TIFF as a mask is made from it: samples as they are stored, not as they are shown. In: the bytes of a
//! file. Out: indices, or samples with all their bits.

use image::metadata::Orientation;
use tiff::ColorType;

use super::super::tiff_header::{Header, WHITE_IS_ZERO};
use super::super::{DecodeLimits, corrupt};
use super::{File, Values, readable};
use crate::error::Failure;
use crate::image::Size;
use crate::image::samples::Samples;

/// What a mask is made from.
pub(in crate::image::decode) enum Kept {
    Indices {
        indices: Vec<u8>,
        palette: Vec<[u8; 3]>,
    },
    /// Interleaved; the first `colours` of a pixel's `channels` are no alpha.
    Sixteen {
        values: Vec<u16>,
        channels: usize,
        colours: usize,
    },
    Samples(Samples),
    /// Of streams of JPEG.
    Lossy(Samples),
}

/// The samples as they are stored, before the orientation is applied: indices are no colours yet, and
/// greys of more than one bit are not inverted where 0 is white (ImageJ stores masks so). One bit is,
/// since whoever writes bits (fax above all) chooses between black and white, not between 0 and 1.
pub(in crate::image::decode) fn decode_as_kept(
    bytes: &[u8],
    limits: &DecodeLimits,
) -> Result<(Size, Kept, Orientation), Failure> {
    let header = Header::read(bytes);
    let (mut bytes, is_palette) = readable(bytes, header.as_ref(), limits)?;
    if let Some(header) = header.filter(|header| header.photometric == WHITE_IS_ZERO)
        && File::open(&bytes, limits)?.color != ColorType::Gray(1)
    {
        header.declare_grey(bytes.to_mut());
    }
    let mut file = File::open(&bytes, limits)?;
    let orientation = file.orientation()?;
    let kept = if is_palette {
        let (indices, palette) = file.indices()?;
        Kept::Indices { indices, palette }
    } else if let Some(samples) = file.jpeg_samples()? {
        Kept::Lossy(samples)
    } else {
        file.kept()?
    };
    Ok((file.size, kept, orientation))
}

impl File<'_> {
    /// Samples for a mask: those of colours keep their 16 bits.
    fn kept(&mut self) -> Result<Kept, Failure> {
        let (channels, colours) = match self.color {
            ColorType::GrayA(16) | ColorType::Multiband { bit_depth: 16, num_samples: 2 } => (2, 1),
            ColorType::RGB(16) => (3, 3),
            ColorType::RGBA(16) => (4, 3),
            _ => return Ok(Kept::Samples(self.samples()?)),
        };
        match self.values()? {
            Values::Sixteen(values) if values.len() == self.size.area() * channels => {
                Ok(Kept::Sixteen { values, channels, colours })
            }
            _ => Err(corrupt("TIFF", "it has too few samples")),
        }
    }
}
