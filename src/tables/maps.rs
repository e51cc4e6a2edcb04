//! Raw anomaly maps as NumPy files, one per image.
//!
//! A map comes in, `maps/<shard id>/<n>.npy` goes out, in the format that NumPy calls
//! version 1.0, and is read back. Values are stored as they are, or rounded to 16 bits; nothing is
//! scaled.

use bytes::Bytes;
use half::f16;

use super::partition::check_id;
use crate::error::TableError;
use crate::image::Size;
use crate::store::Store;

/// The number type of a stored map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapsFormat {
    F32,
    /// Half the size; figures that are computed from such maps differ from the run's.
    F16,
}

impl MapsFormat {
    /// NumPy's name of the type: little-endian, float, bytes.
    fn descr(self) -> &'static str {
        match self {
            MapsFormat::F32 => "<f4",
            MapsFormat::F16 => "<f2",
        }
    }
}

/// A map as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RawMap {
    pub size: Size,
    /// `[height, width]`.
    pub values: Vec<f32>,
}

/// Bytes before the header's text: magic, version, length.
const PREFIX_BYTES: usize = 10;

/// The file of the map of image `n` of a shard: `values` is `[height, width]`. Its path is
/// relative to the output, for `scores.map_path`.
///
/// # Errors
/// If the map is not of this size, or the id none.
pub fn map_npy(
    shard_id: &str,
    n: u64,
    values: &[f32],
    size: Size,
    format: MapsFormat,
) -> Result<(String, Bytes), TableError> {
    check_id("shard id", shard_id)?;
    if size.area() != values.len() {
        let shard_id = shard_id.to_string();
        return Err(TableError::BadMap { shard_id, n, len: values.len(), size });
    }
    Ok((format!("maps/{shard_id}/{n}.npy"), encode_npy(values, size, format).into()))
}

fn encode_npy(values: &[f32], size: Size, format: MapsFormat) -> Vec<u8> {
    let descr = format.descr();
    let Size { width, height } = size;
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // The data starts at a multiple of 64; a line end closes the header.
    let text_bytes = (PREFIX_BYTES + header.len() + 1).next_multiple_of(64) - PREFIX_BYTES;
    header.push_str(&" ".repeat(text_bytes - header.len() - 1));
    header.push('\n');

    let mut out = Vec::with_capacity(PREFIX_BYTES + text_bytes + values.len() * 4);
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    // At most two numbers of 20 digits are in the text, so its length fits the two bytes.
    out.extend_from_slice(&(text_bytes as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    match format {
        MapsFormat::F32 => values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        MapsFormat::F16 => {
            values.iter().for_each(|&v| out.extend_from_slice(&f16::from_f32(v).to_le_bytes()))
        }
    }
    out
}

/// Reads a map of the output, whose `path` is that of `scores.map_path`.
///
/// # Errors
/// If the file is gone, or is none that [`map_npy`] made.
pub fn read_map_npy(store: &Store, path: &str) -> Result<RawMap, TableError> {
    let map = decode_npy(&store.get(path)?);
    map.ok_or_else(|| TableError::BadMapFile { path: store.display(path) })
}

fn decode_npy(file: &[u8]) -> Option<RawMap> {
    let after_magic = file.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = after_magic.split_first_chunk::<2>()?;
    let (header, data) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let header = std::str::from_utf8(header).ok()?;
    let format =
        [MapsFormat::F32, MapsFormat::F16].into_iter().find(|f| header.contains(f.descr()))?;
    let (_, shape) = header.split_once("'shape': (")?;
    let (shape, _) = shape.split_once(')')?;
    let (height, width) = shape.split_once(',')?;
    let side = |text: &str| text.trim().parse::<usize>().ok().filter(|&side| side > 0);
    let size = Size { width: side(width)?, height: side(height)? };
    let values = match format {
        MapsFormat::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        MapsFormat::F16 => {
            data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
        }
    };
    let map = RawMap { size, values };
    // Written again it must be the same file: so nothing in it is taken for something else.
    (size.width.checked_mul(size.height) == Some(map.values.len())
        && encode_npy(&map.values, size, format) == file)
        .then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_numpy_writes() {
        let file = encode_npy(&[0.0, 0.25, 0.5, 1.0], Size::square(2), MapsFormat::F32);
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&file[10..128]).unwrap();
        assert_eq!(
            text.trim_end_matches(' ').trim_end(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
        );
        assert!(text.ends_with(" \n"));
        assert_eq!(file[128..], [0, 0, 0, 0, 0, 0, 128, 62, 0, 0, 0, 63, 0, 0, 128, 63]);
    }

    #[test]
    fn half_floats_take_two_bytes() {
        let file = encode_npy(&[0.0, 0.25, 0.5, 1.0], Size::square(2), MapsFormat::F16);
        assert_eq!(file[128..], [0, 0, 0, 52, 0, 56, 0, 60]);
    }

    #[test]
    fn a_stored_map_is_read_back_and_a_damaged_one_refused() {
        let values = vec![0.0, 0.25, 0.5, 1.0];
        for format in [MapsFormat::F32, MapsFormat::F16] {
            let file = encode_npy(&values, Size::square(2), format);
            let map = RawMap { size: Size::square(2), values: values.clone() };
            assert_eq!(decode_npy(&file), Some(map));
            for end in [0, 9, 60, 128, file.len() - 1] {
                assert_eq!(decode_npy(&file[..end]), None, "{end} bytes");
            }
            let other = String::from_utf8_lossy(&file[10..128]).replace("(2, 2)", "(4, 1)");
            let other = [&file[..10], other.as_bytes(), &file[128..]].concat();
            let wide = RawMap { size: Size { width: 1, height: 4 }, values: values.clone() };
            assert_eq!(decode_npy(&other), Some(wide));
            for shape in ["(4, 2)", "(0, 4)", "(4)   ", "(2,2,)"] {
                let other = String::from_utf8_lossy(&file[10..128]).replace("(2, 2)", shape);
                let other = [&file[..10], other.as_bytes(), &file[128..]].concat();
                assert_eq!(decode_npy(&other), None, "{shape}");
            }
        }
    }

    #[test]
    fn a_map_of_another_size_is_refused() {
        let size = Size { width: 3, height: 2 };
        assert!(map_npy("s", 0, &[0.0; 6], size, MapsFormat::F32).is_ok());
        let error = map_npy("s", 0, &[0.0; 5], size, MapsFormat::F32).unwrap_err();
        assert!(matches!(error, TableError::BadMap { len: 5, .. }));
    }
}
