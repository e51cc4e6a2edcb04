//! TIFF and BigTIFF, the first page. In: the bytes of a file. Out: samples in the mode of the file as
//! Pillow shows them: strips or tiles, planes one after another, palettes, CMYK, streams of JPEG. What is
//! not read is refused by its name.

use std::io::Cursor;
use std::num::NonZeroUsize;

use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::tiff_header::Header;
use super::{DecodeLimits, Decoded, beyond_memory, corrupt, jpeg, unpacked, unreadable_kind};
use crate::error::Failure;
use crate::image::Size;
use crate::image::colour::unpremultiply;
use crate::image::orientation::oriented_size;
use crate::image::samples::Samples;

/// Bytes that a decoder holds per pixel: the file's planes of up to five 16-bit samples, and what is
/// made of them.
const BYTES_PER_PIXEL: u64 = 12;
/// Entries of a directory, such as the offsets of strips.
const MAX_ENTRY_BYTES: usize = 32 << 20;
/// The kind of extra sample that the colours are multiplied by.
const ASSOCIATED_ALPHA: u16 = 1;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let header = Header::read(bytes);
    let grey_indices = header.as_ref().and_then(|header| header.with_grey_indices(bytes));
    let is_palette = grey_indices.is_some();
    let bytes = grey_indices.as_deref().unwrap_or(bytes);
    let mut file = File::open(bytes, limits)?;
    let orientation = file.orientation()?;
    let samples = match is_palette {
        true => file.palette_samples()?,
        false => file.samples()?,
    };
    // The orientation of a TIFF is part of the image: Pillow applies it whatever the mode.
    Ok(Decoded {
        size: oriented_size(file.size, orientation),
        samples: samples.oriented(file.size, orientation),
        orientation: Orientation::NoTransforms,
    })
}

struct File<'a> {
    bytes: &'a [u8],
    inner: Decoder<Cursor<&'a [u8]>>,
    size: Size,
    color: ColorType,
    limits: &'a DecodeLimits,
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8], limits: &'a DecodeLimits) -> Result<Self, Failure> {
        let max_bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
        let mut allowed = Limits::default();
        allowed.decoding_buffer_size = max_bytes;
        allowed.intermediate_buffer_size = max_bytes;
        allowed.ifd_value_size = MAX_ENTRY_BYTES.min(max_bytes);
        let failed = |error| failed(error, limits);
        let mut inner = Decoder::new(Cursor::new(bytes)).map_err(failed)?.with_limits(allowed);
        let (width, height) = inner.dimensions().map_err(failed)?;
        let size = limits.check(width, height, BYTES_PER_PIXEL)?;
        let color = inner.colortype().map_err(failed)?;
        Ok(File { bytes, inner, size, color, limits })
    }

    fn failed(&self, error: TiffError) -> Failure {
        failed(error, self.limits)
    }

    fn orientation(&mut self) -> Result<Orientation, Failure> {
        let found = self.inner.find_tag_unsigned::<u16>(Tag::Orientation);
        let value = found.map_err(|error| failed(error, self.limits))?.unwrap_or(1);
        let orientation = u8::try_from(value).ok().and_then(Orientation::from_exif);
        Ok(orientation.unwrap_or(Orientation::NoTransforms))
    }

    /// Samples of a file whose photometric interpretation says what they are.
    fn samples(&mut self) -> Result<Samples, Failure> {
        if let Some(samples) = self.jpeg_samples()? {
            return Ok(samples);
        }
        let (bits, area) = (self.color.bit_depth(), self.size.area());
        let values = self.values()?;
        let extra = self.inner.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        let extra = extra.map_err(|error| self.failed(error))?.unwrap_or_default();
        let is_premultiplied = extra.first() == Some(&ASSOCIATED_ALPHA);
        let channels = |count: usize| {
            let wanted = area * count;
            match &values {
                Values::Eight(values) => (values.len() == wanted).then(|| values.clone()),
                Values::Sixteen(values) => (values.len() == wanted)
                    .then(|| values.iter().map(|value| (value >> 8) as u8).collect()),
            }
            .ok_or_else(|| corrupt("TIFF", "it has too few samples"))
        };
        match (self.color, &values) {
            (ColorType::Gray(1), Values::Eight(packed)) => {
                let bits = self.unpacked(packed, 1)?;
                Ok(Samples::Bilevel(bits.into_iter().map(|bit| bit * 255).collect()))
            }
            (ColorType::Gray(2 | 4), Values::Eight(packed)) => {
                let white = u8::MAX >> (8 - bits);
                let values = self.unpacked(packed, bits)?;
                Ok(Samples::Grey8(values.into_iter().map(|v| v * (255 / white)).collect()))
            }
            (ColorType::Gray(8), _) => Ok(Samples::Grey8(channels(1)?)),
            (ColorType::Gray(16), Values::Sixteen(grey)) if grey.len() == area => {
                Ok(Samples::Grey16(grey.clone()))
            }
            (ColorType::GrayA(8 | 16), _)
            | (ColorType::Multiband { bit_depth: 8 | 16, num_samples: 2 }, _) => {
                Ok(Samples::GreyAlpha8(channels(2)?))
            }
            (ColorType::RGB(8 | 16), _) => Ok(Samples::Rgb8(channels(3)?)),
            (ColorType::RGBA(8 | 16), _) => {
                let mut pixels = channels(4)?;
                if is_premultiplied {
                    unpremultiply::<4>(&mut pixels);
                }
                Ok(Samples::Rgba8(pixels))
            }
            (ColorType::CMYK(8 | 16), _) => Ok(Samples::Cmyk8(channels(4)?)),
            (other, _) => Err(unreadable_kind("TIFF", format!("{other:?} samples are not read"))),
        }
    }

    /// Colours of a file of indices, which is read as grey.
    fn palette_samples(&mut self) -> Result<Samples, Failure> {
        let ColorType::Gray(bits @ (1 | 2 | 4 | 8)) = self.color else {
            let what = format!("a palette with {:?} is not read", self.color);
            return Err(unreadable_kind("TIFF", what));
        };
        let map = self.inner.get_tag_u16_vec(Tag::ColorMap).map_err(|error| self.failed(error))?;
        let entries = 1 << bits;
        let [red, green, blue] = [0, 1, 2].map(|channel| map.get(channel * entries..));
        let (Some(red), Some(green), Some(blue)) = (red, green, blue) else {
            return Err(corrupt("TIFF", "its palette is too short"));
        };
        let Values::Eight(packed) = self.values()? else {
            return Err(corrupt("TIFF", "its indices have more than 8 bits"));
        };
        let indices = self.unpacked(&packed, bits)?;
        let colour = |index: u8| {
            [red, green, blue].map(|map| map.get(usize::from(index)).map_or(0, |v| (v >> 8) as u8))
        };
        Ok(Samples::PaletteRgb8(indices.into_iter().flat_map(colour).collect()))
    }

    /// All samples, interleaved; those of less than 8 bits packed, with each row in whole bytes.
    fn values(&mut self) -> Result<Values, Failure> {
        self.check_kind()?;
        let mut result = DecodingResult::U8(Vec::new());
        let layout = self.inner.read_image_to_buffer(&mut result);
        let layout = layout.map_err(|error| failed(error, self.limits))?;
        let plane = layout.plane_stride.map_or(0, NonZeroUsize::get);
        match result {
            DecodingResult::U8(values) if values.len() >= layout.complete_len => {
                Ok(Values::Eight(interleaved(values, plane)))
            }
            DecodingResult::U16(values) if 2 * values.len() >= layout.complete_len => {
                Ok(Values::Sixteen(interleaved(values, plane / 2)))
            }
            DecodingResult::U8(_) | DecodingResult::U16(_) => {
                Err(beyond_memory("TIFF", self.limits))
            }
            _ => Err(unreadable_kind("TIFF", format!("{:?} samples are not read", self.color))),
        }
    }

    /// Refuses what would be read as something else: samples that are no plain numbers, and inks
    /// that are no CMYK.
    fn check_kind(&mut self) -> Result<(), Failure> {
        let formats = self.inner.find_tag_unsigned_vec::<u16>(Tag::SampleFormat);
        let formats = formats.map_err(|error| failed(error, self.limits))?.unwrap_or_default();
        match formats.first().map(|format| SampleFormat::from_u16_exhaustive(*format)) {
            None | Some(SampleFormat::Uint) => Ok(()),
            Some(SampleFormat::IEEEFP) => {
                Err(unreadable_kind("TIFF", "floating-point samples are not read"))
            }
            Some(other) => Err(unreadable_kind("TIFF", format!("{other:?} samples are not read"))),
        }
    }

    /// One by one, samples of `bits` that are packed.
    fn unpacked(&self, packed: &[u8], bits: u8) -> Result<Vec<u8>, Failure> {
        let bits = usize::from(bits);
        let row_bytes = (self.size.width * bits).div_ceil(8);
        if packed.len() < row_bytes * self.size.height {
            return Err(corrupt("TIFF", "it has too few samples"));
        }
        let packed = &packed[..row_bytes * self.size.height];
        Ok(unpacked(packed, row_bytes, self.size.width, bits).collect())
    }

    /// Samples of a file whose strips or tiles are JPEG streams: decoded as JPEG files are, each by
    /// itself, as libtiff does. `None` for other files.
    fn jpeg_samples(&mut self) -> Result<Option<Samples>, Failure> {
        let failed = |error| failed(error, self.limits);
        let method = self.inner.find_tag_unsigned::<u16>(Tag::Compression).map_err(failed)?;
        let method = CompressionMethod::from_u16_exhaustive(method.unwrap_or(1));
        if method != CompressionMethod::ModernJPEG {
            return Ok(None);
        }
        let planar = self.inner.find_tag_unsigned::<u16>(Tag::PlanarConfiguration);
        if planar.map_err(failed)?.unwrap_or(1) != 1 {
            return Err(unreadable_kind("TIFF", "JPEG streams in planes are not read"));
        }
        let photometric =
            self.inner.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(failed)?;
        let is_ycbcr = photometric.and_then(PhotometricInterpretation::from_u16)
            == Some(PhotometricInterpretation::YCbCr);
        let channels = match self.color {
            ColorType::Gray(8) => 1,
            ColorType::RGB(8) | ColorType::YCbCr(8) => 3,
            ColorType::CMYK(8) => 4,
            other => {
                return Err(unreadable_kind("TIFF", format!("JPEG streams of {other:?}")));
            }
        };
        let mut values = vec![0; self.size.area() * channels];
        self.fill_from_streams(&mut values, channels, is_ycbcr)?;
        Ok(Some(match channels {
            1 => Samples::Grey8(values),
            3 => Samples::Rgb8(values),
            _ => Samples::Cmyk8(values),
        }))
    }

    fn fill_from_streams(
        &mut self,
        values: &mut [u8],
        channels: usize,
        is_ycbcr: bool,
    ) -> Result<(), Failure> {
        let failed = |error| failed(error, self.limits);
        let (offsets, lengths) = match self.inner.get_chunk_type() {
            tiff::decoder::ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            tiff::decoder::ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let offsets = self.inner.get_tag_u64_vec(offsets).map_err(failed)?;
        let lengths = self.inner.get_tag_u64_vec(lengths).map_err(failed)?;
        let tables = self.inner.find_tag(Tag::JPEGTables).map_err(failed)?;
        let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(failed)?;
        let (wide, high) = self.inner.chunk_dimensions();
        let (wide, high) = (wide as usize, (high as usize).min(self.size.height));
        if wide == 0 || high == 0 {
            return Err(corrupt("TIFF", "its strips are empty"));
        }
        let across = self.size.width.div_ceil(wide);
        if offsets.len() < across * self.size.height.div_ceil(high) {
            return Err(corrupt("TIFF", "it has too few strips or tiles"));
        }
        for (index, (offset, length)) in offsets.iter().zip(&lengths).enumerate() {
            let (x, y) = (index % across * wide, index / across * high);
            if y >= self.size.height {
                break;
            }
            let end = usize::try_from(offset.saturating_add(*length)).unwrap_or(usize::MAX);
            let stream = usize::try_from(*offset).ok().and_then(|start| self.bytes.get(start..end));
            let stream = stream.ok_or_else(|| corrupt("TIFF", "a strip lies beyond its end"))?;
            let stream = with_tables(stream, tables.as_deref());
            let (size, pixels) = jpeg::decode_embedded(&stream, is_ycbcr, self.limits)?;
            let (columns, rows) = (wide.min(self.size.width - x), high.min(self.size.height - y));
            let row_length = size.width * channels;
            if size.width < columns
                || size.height < rows
                || pixels.len() != row_length * size.height
            {
                return Err(corrupt("TIFF", "a JPEG stream has another size than its strip"));
            }
            for (row, line) in pixels.chunks_exact(row_length).take(rows).enumerate() {
                let start = ((y + row) * self.size.width + x) * channels;
                values[start..][..columns * channels].copy_from_slice(&line[..columns * channels]);
            }
        }
        Ok(())
    }
}

/// A stream behind the tables that all streams of a file share: both begin with a start marker, and
/// the tables end with an end marker.
fn with_tables(stream: &[u8], tables: Option<&[u8]>) -> Vec<u8> {
    match (tables.and_then(|tables| tables.strip_suffix(b"\xFF\xD9")), stream.get(2..)) {
        (Some(tables), Some(rest)) => [tables, rest].concat(),
        _ => stream.to_vec(),
    }
}

enum Values {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

/// Samples of planes of `plane` values side by side; as they are if there is one plane.
fn interleaved<T: Copy>(values: Vec<T>, plane: usize) -> Vec<T> {
    if plane == 0 || values.len() <= plane {
        return values;
    }
    let planes: Vec<&[T]> = values.chunks_exact(plane).collect();
    (0..plane).flat_map(|i| planes.iter().map(move |plane| plane[i])).collect()
}

fn failed(error: TiffError, limits: &DecodeLimits) -> Failure {
    match error {
        TiffError::UnsupportedError(what) => unreadable_kind("TIFF", what),
        TiffError::LimitsExceeded => beyond_memory("TIFF", limits),
        error => corrupt("TIFF", error),
    }
}
