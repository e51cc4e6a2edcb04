//! The entries of a TIFF's first directory that the decoder must see otherwise. In: the bytes of a
//! file. Out: where they stand, what they say, and the same bytes with another photometric
//! interpretation or with the bits of each byte turned round. Nothing here reads pixels.

use std::ops::Range;

/// PhotometricInterpretation.
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
/// NewSubfileType, whose lowest bit says that a page is a smaller copy of another.
const SUBFILE: u16 = 254;

pub(super) const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
pub(super) const PALETTE: u16 = 3;
const LOWEST_BIT_FIRST: u64 = 2;

/// What the first directory of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    is_big_endian: bool,
    /// Where the photometric interpretation stands, and what it is.
    at: usize,
    pub photometric: u16,
    /// Whether the first pixel of a byte is its lowest bit (FillOrder 2), which the `tiff` crate does
    /// not know.
    pub is_lowest_bit_first: bool,
    /// Whether there is a second page that is no smaller copy of the first.
    pub has_more_pages: bool,
}

impl Header {
    /// `None` for what is no TIFF or has no photometric interpretation in its first directory.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let file = Numbers::of(bytes)?;
        let first = file.directory(file.number(file.first_at, file.wide)?)?;
        let (at, photometric) = first.entry(&file, PHOTOMETRIC)?;
        let fill_order = first.entry(&file, FILL_ORDER).map(|(_, order)| order);
        let second = file.number(first.end, file.wide).filter(|offset| *offset > 0);
        let second = second.and_then(|offset| file.directory(offset));
        let is_copy = |page: &Directory| {
            page.entry(&file, SUBFILE)
                .is_some_and(|(at, _)| file.number(at, 4).unwrap_or(0) & 1 == 1)
        };
        Some(Header {
            is_big_endian: file.is_big_endian,
            at,
            photometric: u16::try_from(photometric).ok()?,
            is_lowest_bit_first: fill_order == Some(LOWEST_BIT_FIRST),
            has_more_pages: second.is_some_and(|page| !is_copy(&page)),
        })
    }

    /// Makes `bytes` say that their samples are grey, and 0 is black.
    pub(super) fn declare_grey(&self, bytes: &mut [u8]) {
        let grey = match self.is_big_endian {
            true => BLACK_IS_ZERO.to_be_bytes(),
            false => BLACK_IS_ZERO.to_le_bytes(),
        };
        if let Some(entry) = bytes.get_mut(self.at..self.at + 2) {
            entry.copy_from_slice(&grey);
        }
    }
}

/// Turns the bits of each byte in `ranges` round, once where they overlap.
pub(super) fn reverse_bits(bytes: &mut [u8], mut ranges: Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut done = 0;
    for range in ranges {
        let (start, end) = (range.start.max(done), range.end.min(bytes.len()));
        if start < end {
            bytes[start..end].iter_mut().for_each(|byte| *byte = byte.reverse_bits());
            done = end;
        }
    }
}

/// How a file writes its numbers.
struct Numbers<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// Where the offset of the first directory stands, and the bytes of an offset.
    first_at: usize,
    wide: usize,
    /// Bytes of the number of entries, of an entry, and of an entry before its value.
    count: usize,
    entry: usize,
    value: usize,
}

/// Where the entries of a directory stand.
struct Directory {
    start: usize,
    end: usize,
}

impl<'a> Numbers<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let is_big_endian = bytes.starts_with(b"MM");
        let mut file =
            Numbers { bytes, is_big_endian, first_at: 4, wide: 4, count: 2, entry: 12, value: 8 };
        if file.number(2, 2)? == 43 {
            file = Numbers { first_at: 8, wide: 8, count: 8, entry: 20, value: 12, ..file };
        }
        Some(file)
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let digits = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(match self.is_big_endian {
            true => digits.iter().fold(0, add),
            false => digits.iter().rev().fold(0, add),
        })
    }

    fn directory(&self, offset: u64) -> Option<Directory> {
        let at = usize::try_from(offset).ok()?;
        let entries = usize::try_from(self.number(at, self.count)?).ok()?;
        let start = at.checked_add(self.count)?;
        Some(Directory { start, end: start.checked_add(entries.checked_mul(self.entry)?)? })
    }
}

impl Directory {
    /// Where the value of an entry stands, and its first two bytes as a number.
    fn entry(&self, file: &Numbers, tag: u16) -> Option<(usize, u64)> {
        for entry in (self.start..self.end).step_by(file.entry) {
            if file.number(entry, 2)? == u64::from(tag) {
                let at = entry.checked_add(file.value)?;
                return Some((at, file.number(at, 2)?));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> (usize, u16, bool, bool) {
        let header = Header::read(bytes).unwrap();
        (header.at, header.photometric, header.is_lowest_bit_first, header.has_more_pages)
    }

    #[test]
    fn the_entry_is_found_in_both_byte_orders_and_in_bigtiff() {
        let mut little = *b"II*\0\x08\0\0\0\x01\0\x06\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(found(&little), (18, 3, false, false));
        Header::read(&little).unwrap().declare_grey(&mut little);
        assert_eq!(little[18..20], [1, 0]);
        let mut big = *b"MM\0*\0\0\0\x08\0\x01\x01\x06\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0";
        assert_eq!(found(&big), (18, 3, false, false));
        Header::read(&big).unwrap().declare_grey(&mut big);
        assert_eq!(big[18..20], [0, 1]);
        let mut bigtiff = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        bigtiff.extend(b"\x06\x01\x03\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        bigtiff.extend(b"\x0a\x01\x03\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        assert_eq!(found(&bigtiff), (36, 2, true, false));
    }

    #[test]
    fn a_second_page_counts_unless_it_is_a_smaller_copy() {
        let page = |tag: u8, value: u8, next: u8| {
            [
                1,
                0,
                tag,
                if tag == 254 { 0 } else { 1 },
                4,
                0,
                1,
                0,
                0,
                0,
                value,
                0,
                0,
                0,
                next,
                0,
                0,
                0,
            ]
        };
        let file = |second: [u8; 18]| [&b"II*\0\x08\0\0\0"[..], &page(6, 1, 26), &second].concat();
        assert!(found(&file(page(254, 0, 0))).3);
        assert!(found(&file(page(254, 2, 0))).3);
        assert!(!found(&file(page(254, 1, 0))).3);
        // Beyond the end.
        assert!(!found(&file(page(254, 0, 0))[..26]).3);
    }

    #[test]
    fn bits_are_turned_round_once_where_strips_overlap() {
        let mut bytes = [1, 1, 1, 1, 1];
        reverse_bits(&mut bytes, vec![2..4, 1..3, 1..2, 4..99, 7..9]);
        assert_eq!(bytes, [1, 128, 128, 128, 128]);
    }

    #[test]
    fn a_directory_beyond_the_end_is_none() {
        assert_eq!(Header::read(b"II*\0\xFF\xFF\xFF\xFF"), None);
        assert_eq!(Header::read(b"II+\0\x08\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), None);
        assert_eq!(Header::read(b"II*\0\x08\0\0\0\xFF\xFF"), None);
        assert_eq!(Header::read(b""), None);
    }
}
