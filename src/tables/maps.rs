//! Raw anomaly maps as NumPy files, one per picture.
//!
//! A square map comes in, `maps/<shard id>/<n>.npy` goes out, in the format that NumPy calls
//! version 1.0. Values are stored as they are, or rounded to 16 bits; nothing is scaled.

use half::f16;

use super::partition::check_id;
use super::store::OutputStore;
use crate::error::TableError;

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

/// Bytes before the header's text: magic, version, length.
const PREFIX_BYTES: usize = 10;

/// Writes the map of picture `n` of a shard: `values` is `[side, side]`, row by row. Returns the
/// file's path relative to the output, for `scores.map_path`.
pub fn write_map_npy(
    store: &OutputStore,
    shard_id: &str,
    n: u64,
    values: &[f32],
    side: usize,
    format: MapsFormat,
) -> Result<String, TableError> {
    check_id("shard id", shard_id)?;
    if side.checked_mul(side) != Some(values.len()) {
        let shard_id = shard_id.to_string();
        return Err(TableError::BadMap { shard_id, n, len: values.len(), side });
    }
    let path = format!("maps/{shard_id}/{n}.npy");
    store.put(&path, encode_npy(values, side, format))?;
    Ok(path)
}

fn encode_npy(values: &[f32], side: usize, format: MapsFormat) -> Vec<u8> {
    let descr = format.descr();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({side}, {side}), }}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_numpy_writes() {
        let file = encode_npy(&[0.0, 0.25, 0.5, 1.0], 2, MapsFormat::F32);
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
        let file = encode_npy(&[0.0, 0.25, 0.5, 1.0], 2, MapsFormat::F16);
        assert_eq!(file[128..], [0, 0, 0, 52, 0, 56, 0, 60]);
    }

    #[test]
    fn a_map_that_is_no_square_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = OutputStore::open(folder.path().to_str().unwrap()).unwrap();
        let error = write_map_npy(&store, "s", 0, &[0.0; 5], 2, MapsFormat::F32).unwrap_err();
        assert!(matches!(error, TableError::BadMap { len: 5, side: 2, .. }));
    }
}
