//! The segments of a JPEG, without its pixels. In: the bytes of a file. Out: which coding it uses,
//! where its end marker stands, and whether scans are missing. Bytes between segments, which some
//! cameras write as filling, are skipped, as libjpeg skips them.

const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;
/// A coefficient that no scan has brought.
const NEVER: u8 = u8::MAX;

/// What the markers of a file say.
#[derive(Debug, Default)]
pub(super) struct Outline {
    frame: Option<Frame>,
    /// Where the end marker of the file itself begins; a thumbnail's does not count.
    pub(super) end: Option<usize>,
}

#[derive(Debug)]
struct Frame {
    marker: u8,
    bits: u8,
    components: Vec<Component>,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// For each coefficient how many low bits are still to come, or [`NEVER`].
    missing_bits: [u8; 64],
}

impl Outline {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut outline = Outline::default();
        let mut at = 0;
        // Entropy-coded data lies before the next 0xFF; any number of 0xFF may precede a marker.
        while let Some(start) = bytes[at..].iter().position(|&byte| byte == 0xFF) {
            let first = at + start;
            let Some(fill) = bytes[first..].iter().position(|&byte| byte != 0xFF) else { break };
            let marker = bytes[first + fill];
            at = first + fill + 1;
            match marker {
                END => {
                    outline.end = Some(first);
                    break;
                }
                // An escaped 0xFF, a stand-alone marker, a restart marker or the start of the file.
                0x00 | 0x01 | 0xD0..=START => {}
                _ => {
                    let Some(&[high, low]) = bytes[at..].first_chunk::<2>() else { break };
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    let Some(segment) = bytes[at..].get(2..length) else { break };
                    outline.read(marker, segment);
                    at += length;
                }
            }
        }
        outline
    }

    fn read(&mut self, marker: u8, segment: &[u8]) {
        match (marker, &mut self.frame) {
            (0xC4 | 0xC8 | 0xCC, _) => {}
            (0xC0..=0xCF | 0xF7, None) => self.frame = Frame::read(marker, segment),
            (SCAN, Some(frame)) => frame.read_scan(segment),
            _ => {}
        }
    }

    /// The name of a coding that is not read: pixels of other depths and of rarer procedures. One
    /// rule whatever the decoder could do, so that a score does not depend on its version.
    pub(super) fn coding_not_read(&self) -> Option<String> {
        let frame = self.frame.as_ref()?;
        let name = match frame.marker {
            0xC3 => "lossless JPEG",
            0xC5..=0xC7 => "hierarchical JPEG",
            0xC9 | 0xCA => "JPEG with arithmetic coding",
            0xCB => "lossless JPEG with arithmetic coding",
            0xCD..=0xCF => "hierarchical JPEG with arithmetic coding",
            0xF7 => "JPEG-LS",
            _ if frame.bits != 8 => return Some(format!("{}-bit JPEG", frame.bits)),
            _ => return None,
        };
        Some(name.to_owned())
    }

    /// Whether all scans came that the pixels need. A progressive file that was cut between two scans
    /// decodes without complaint, with the coarse pixels of the first.
    pub(super) fn has_all_scans(&self) -> bool {
        let components = self.frame.iter().flat_map(|frame| &frame.components);
        components.flat_map(|component| component.missing_bits).all(|bits| bits == 0)
    }
}

impl Frame {
    fn read(marker: u8, segment: &[u8]) -> Option<Self> {
        let (&[bits, _, _, _, _, _], components) = segment.split_first_chunk::<6>()?;
        let components = components.as_chunks::<3>().0.iter();
        let components =
            components.map(|&[id, ..]| Component { id, missing_bits: [NEVER; 64] }).collect();
        Some(Frame { marker, bits, components })
    }

    /// Notes what one scan brings: of each of its components the coefficients `first..=last`, down to
    /// bit `low`. In sequential files these are 0, 63 and 0, whatever is written there.
    fn read_scan(&mut self, segment: &[u8]) {
        let Some((&count, rest)) = segment.split_first() else { return };
        let Some((listed, range)) = rest.split_at_checked(2 * usize::from(count)) else { return };
        let &[first, last, bits] = range.first_chunk::<3>().unwrap_or(&[0, 63, 0]);
        let is_progressive = self.marker == 0xC2;
        let (first, last, low) = if is_progressive { (first, last, bits & 15) } else { (0, 63, 0) };
        for &[id, _] in listed.as_chunks::<2>().0 {
            let Some(component) = self.components.iter_mut().find(|known| known.id == id) else {
                continue;
            };
            if let Some(range) = component.missing_bits.get_mut(first.into()..=last.into()) {
                range.fill(low);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start, a frame of one component, what `rest` adds.
    fn file(marker: u8, bits: u8, rest: &[u8]) -> Vec<u8> {
        let frame = [0xFF, 0xD8, 0xFF, marker, 0, 11, bits, 0, 8, 0, 8, 1, 7, 0x11, 0];
        [&frame, rest].concat()
    }

    /// A scan of that component.
    fn scan(first: u8, last: u8, bits: u8) -> Vec<u8> {
        vec![0xFF, SCAN, 0, 8, 1, 7, 0, first, last, bits, 0x2A]
    }

    #[test]
    fn only_an_end_marker_of_the_file_itself_counts() {
        let thumbnail_has_one = [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9, 0x11, 0xFF, 0x00];
        assert_eq!(Outline::of(&thumbnail_has_one).end, None);
        let whole = [0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 0x11, 0xFF, 0xD0, 0x11, 0xFF, 0xD9, 0x00];
        assert_eq!(Outline::of(&whole).end, Some(10));
        assert_eq!(Outline::of(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF, 0xFF]).end, None);
        assert_eq!(Outline::of(&[]).end, None);
    }

    #[test]
    fn a_progressive_file_needs_every_bit_of_every_coefficient() {
        let whole = [scan(0, 0, 1), scan(1, 63, 0), scan(0, 0, 0x10)];
        assert!(Outline::of(&file(0xC2, 8, &whole.concat())).has_all_scans());
        for cut in 0..3 {
            assert!(!Outline::of(&file(0xC2, 8, &whole[..cut].concat())).has_all_scans(), "{cut}");
        }
        // Ranges beyond 63 bring nothing and are no panic.
        assert!(!Outline::of(&file(0xC2, 8, &scan(9, 255, 0))).has_all_scans());
        assert!(!Outline::of(&file(0xC2, 8, &scan(63, 0, 0))).has_all_scans());
        assert!(Outline::of(&file(0xC0, 8, &scan(0, 0, 0))).has_all_scans());
    }

    #[test]
    fn rarer_codings_are_named() {
        let name = |marker, bits| Outline::of(&file(marker, bits, &[])).coding_not_read();
        assert_eq!(name(0xC0, 8), None);
        assert_eq!(name(0xC1, 12).as_deref(), Some("12-bit JPEG"));
        assert_eq!(name(0xC3, 16).as_deref(), Some("lossless JPEG"));
        assert_eq!(name(0xC9, 8).as_deref(), Some("JPEG with arithmetic coding"));
        assert_eq!(name(0xF7, 8).as_deref(), Some("JPEG-LS"));
    }
}
