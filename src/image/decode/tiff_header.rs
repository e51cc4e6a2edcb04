//! The one entry of a TIFF's first directory that the decoder must see otherwise. In: the bytes of a
//! file. Out: a copy in which indices into a palette are declared grey, since the `tiff` crate
//! refuses palettes; whoever asks looks the colours up. Nothing here reads pixels.

/// PhotometricInterpretation.
const PHOTOMETRIC: u16 = 262;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

/// Where the photometric interpretation stands in a file, and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    is_big_endian: bool,
    at: usize,
    photometric: u16,
}

impl Header {
    /// `None` for what is no TIFF or has no such entry in its first directory.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let is_big_endian = bytes.starts_with(b"MM");
        let number = |at: usize, length: usize| -> Option<u64> {
            let digits = bytes.get(at..at.checked_add(length)?)?;
            let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
            Some(match is_big_endian {
                true => digits.iter().fold(0, add),
                false => digits.iter().rev().fold(0, add),
            })
        };
        let is_big = number(2, 2)? == 43;
        let (offset, count_length, entry_length, value) =
            if is_big { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
        let directory = usize::try_from(offset).ok()?;
        let first = directory.checked_add(count_length)?;
        for index in 0..usize::try_from(number(directory, count_length)?).ok()? {
            let entry = first.checked_add(index.checked_mul(entry_length)?)?;
            if number(entry, 2)? == u64::from(PHOTOMETRIC) {
                let at = entry.checked_add(value)?;
                let photometric = u16::try_from(number(at, 2)?).ok()?;
                return Some(Header { is_big_endian, at, photometric });
            }
        }
        None
    }

    /// A copy of `bytes` that says grey where they say palette; `None` if they do not.
    pub(super) fn with_grey_indices(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.photometric != PALETTE {
            return None;
        }
        let mut copy = bytes.to_vec();
        let grey = match self.is_big_endian {
            true => BLACK_IS_ZERO.to_be_bytes(),
            false => BLACK_IS_ZERO.to_le_bytes(),
        };
        copy.get_mut(self.at..self.at + 2)?.copy_from_slice(&grey);
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_found_in_both_byte_orders_and_in_bigtiff() {
        let little = b"II*\0\x08\0\0\0\x01\0\x06\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
        let header = Header::read(little).unwrap();
        assert_eq!(header, Header { is_big_endian: false, at: 18, photometric: 3 });
        assert_eq!(header.with_grey_indices(little).unwrap()[18..20], [1, 0]);
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x06\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0";
        let header = Header::read(big).unwrap();
        assert_eq!(header, Header { is_big_endian: true, at: 18, photometric: 3 });
        assert_eq!(header.with_grey_indices(big).unwrap()[18..20], [0, 1]);
        let mut bigtiff = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bigtiff.extend(b"\x06\x01\x03\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        let header = Header::read(&bigtiff).unwrap();
        assert_eq!(header, Header { is_big_endian: false, at: 36, photometric: 2 });
        assert_eq!(header.with_grey_indices(&bigtiff), None);
    }

    #[test]
    fn a_directory_beyond_the_end_is_none() {
        assert_eq!(Header::read(b"II*\0\xFF\xFF\xFF\xFF"), None);
        assert_eq!(Header::read(b"II+\0\x08\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), None);
        assert_eq!(Header::read(b"II*\0\x08\0\0\0\xFF\xFF"), None);
        assert_eq!(Header::read(b""), None);
    }
}
