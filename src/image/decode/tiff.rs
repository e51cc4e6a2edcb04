//! TIFF and BigTIFF, the first page. In: the bytes of a file. Out: samples in the mode of the file as
//! Pillow shows them: strips or tiles, planes one after another, palettes, CMYK, streams of JPEG. What is
//! not read is refused by its name.

mod kept;

use std::borrow::Cow;
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::ops::Range;

use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use super::tiff_header::{Header, PALETTE, reverse_bits};
use super::{DecodeLimits, Decoded, beyond_memory, corrupt, jpeg, unpacked, unreadable_kind};
use crate::error::Failure;
use crate::image::Size;
use crate::image::colour::unpremultiply;
use crate::image::orientation::oriented_size;
use crate::image::samples::Samples;

pub(super) use kept::{Kept, decode_as_kept};

/// Bytes that a decoder holds per pixel: the file's planes of up to five 16-bit samples, and what is
/// made of them.
const BYTES_PER_PIXEL: u64 = 12;
/// Entries of a directory, such as the offsets of strips.
const MAX_ENTRY_BYTES: usize = 32 << 20;
/// The kind of extra sample that the colours are multiplied by.
const ASSOCIATED_ALPHA: u16 = 1;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, Failure> {
    let header = Header::read(bytes);
    let (bytes, is_palette) = readable(bytes, header.as_ref(), limits)?;
    let mut file = File::open(&bytes, limits)?;
    let orientation = file.orientation()?;
    let samples = match is_palette {
        true => {
            let (indices, palette) = file.indices()?;
            let colour = |index| palette.get(usize::from(index)).copied().unwrap_or_default();
            Samples::PaletteRgb8(indices.into_iter().flat_map(colour).collect())
        }
        false => file.samples()?,
    };
    // The orientation of a TIFF is part of the image: Pillow applies it whatever the mode.
    Ok(Decoded {
        size: oriented_size(file.size, orientation),
        samples: samples.oriented(file.size, orientation),
        orientation: Orientation::NoTransforms,
        has_more_pages: header.is_some_and(|header| header.has_more_pages),
    })
}

/// `bytes` as the `tiff` crate reads them, and whether their samples are indices. It refuses palettes,
/// so indices are declared grey, and takes no notice of FillOrder.
fn readable<'a>(
    bytes: &'a [u8],
    header: Option<&Header>,
    limits: &DecodeLimits,
) -> Result<(Cow<'a, [u8]>, bool), Failure> {
    let mut bytes = Cow::Borrowed(bytes);
    let Some(header) = header else { return Ok((bytes, false)) };
    let is_palette = header.photometric == PALETTE;
    if is_palette {
        header.declare_grey(bytes.to_mut());
    }
    if header.is_lowest_bit_first {
        let mut file = File::open(&bytes, limits)?;
        // As in libtiff: what is compressed is turned round as it lies in the file, JPEG is not.
        if !file.is_jpeg()? {
            let parts = file.parts()?;
            reverse_bits(bytes.to_mut(), parts);
        }
    }
    Ok((bytes, is_palette))
}

/// Width and height that the first page claims.
pub(super) fn claimed_size(bytes: &[u8]) -> Option<Size> {
    let mut file = Decoder::new(Cursor::new(bytes)).ok()?;
    let (width, height) = file.dimensions().ok()?;
    Some(Size { width: width as usize, height: height as usize })
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

    /// Indices and palette of a file that is read as grey.
    fn indices(&mut self) -> Result<(Vec<u8>, Vec<[u8; 3]>), Failure> {
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
        let colour = |index: usize| {
            [red, green, blue].map(|map| map.get(index).map_or(0, |value| (value >> 8) as u8))
        };
        Ok((self.unpacked(&packed, bits)?, (0..entries).map(colour).collect()))
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

    fn is_jpeg(&mut self) -> Result<bool, Failure> {
        let method = self.inner.find_tag_unsigned::<u16>(Tag::Compression);
        let method = method.map_err(|error| self.failed(error))?.unwrap_or(1);
        Ok(CompressionMethod::from_u16_exhaustive(method) == CompressionMethod::ModernJPEG)
    }

    /// Where the strips or tiles stand in the file.
    fn parts(&mut self) -> Result<Vec<Range<usize>>, Failure> {
        let failed = |error| failed(error, self.limits);
        let (offsets, lengths) = match self.inner.get_chunk_type() {
            tiff::decoder::ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            tiff::decoder::ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let offsets = self.inner.get_tag_u64_vec(offsets).map_err(failed)?;
        let lengths = self.inner.get_tag_u64_vec(lengths).map_err(failed)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let parts = offsets.iter().zip(&lengths);
        Ok(parts.map(|(at, length)| place(*at)..place(at.saturating_add(*length))).collect())
    }

    /// Samples of a file whose strips or tiles are JPEG streams: decoded as JPEG files are, each by
    /// itself, as libtiff does. `None` for other files.
    fn jpeg_samples(&mut self) -> Result<Option<Samples>, Failure> {
        if !self.is_jpeg()? {
            return Ok(None);
        }
        let failed = |error| failed(error, self.limits);
        let planar = self.inner.find_tag_unsigned::<u16>(Tag::PlanarConfiguration);
        if planar.map_err(failed)?.unwrap_or(1) != 1 {
            return Err(unreadable_kind("TIFF", "JPEG streams in planes are not read"));
        }
        let photometric =
            self.inner.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(failed)?;
        let photometric = photometric.and_then(PhotometricInterpretation::from_u16);
        let is_ycbcr = photometric == Some(PhotometricInterpretation::YCbCr);
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
        if photometric == Some(PhotometricInterpretation::WhiteIsZero) {
            values.iter_mut().for_each(|value| *value = 255 - *value);
        }
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
        let parts = self.parts()?;
        let failed = |error| failed(error, self.limits);
        let tables = self.inner.find_tag(Tag::JPEGTables).map_err(failed)?;
        let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(failed)?;
        let (wide, high) = self.inner.chunk_dimensions();
        let (wide, high) = (wide as usize, (high as usize).min(self.size.height));
        if wide == 0 || high == 0 {
            return Err(corrupt("TIFF", "its strips are empty"));
        }
        let across = self.size.width.div_ceil(wide);
        if parts.len() < across * self.size.height.div_ceil(high) {
            return Err(corrupt("TIFF", "it has too few strips or tiles"));
        }
        for (index, part) in parts.into_iter().enumerate() {
            let (x, y) = (index % across * wide, index / across * high);
            if y >= self.size.height {
                break;
            }
            let stream = self
                .bytes
                .get(part)
                .ok_or_else(|| corrupt("TIFF", "a strip lies beyond its end"))?;
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
