//! A sketch in, bytes out, and back. The same pixels give the same bytes. Reading trusts nothing:
//! bytes that no sketch gives are an error. Compression is left to the table.
//!
//! ```text
//! version | octaves | regions | smallest, largest score (f32, little-endian; if there are octaves)
//! octave, level, bins                    for each octave, lowest scores first
//! bytes of each of these but the last
//! unoccupied bins before it              for each bin of each octave
//! normal pixels less those of the bin before it, zigzag
//! anomalous pixels
//! weight                                 for each bin with anomalous pixels
//! ```
//! Whole numbers are LEB128. Kinds of numbers are kept apart because each compresses best among its
//! like.

use super::grid::{MAX_LEVEL, OCTAVES, bins_at, code_of, is_finite, key_of, octave_of};
use super::octave::{Bin, Counts, MAX_BINS};
use super::{PixelSketch, PixelTotals, WEIGHT_PARTS};
use crate::error::MetricsError;

/// Changes with every change of the format.
const VERSION: u64 = 1;

impl PixelSketch {
    /// The sketch as bytes, to be kept in a table.
    pub fn encode(&self) -> Vec<u8> {
        let octaves = self.octaves().collect::<Vec<_>>();
        let mut bytes = Vec::new();
        put(&mut bytes, VERSION);
        put(&mut bytes, octaves.len() as u64);
        put(&mut bytes, self.totals.n_regions);
        if !octaves.is_empty() {
            bytes.extend(self.totals.min.to_le_bytes());
            bytes.extend(self.totals.max.to_le_bytes());
        }
        for (octave, level, bins) in &octaves {
            put(&mut bytes, *octave as u64);
            put(&mut bytes, u64::from(*level));
            put(&mut bytes, bins.len() as u64);
        }
        let (mut gaps, mut normal, mut anomalous) = (Vec::new(), Vec::new(), Vec::new());
        let mut weights = Vec::new();
        let mut before = 0;
        for (_, _, bins) in &octaves {
            let mut next = 0;
            for Bin { code, counts } in bins {
                put(&mut gaps, u64::from(code - next));
                next = code + 1;
                put(&mut normal, zigzag(counts.normal.wrapping_sub(before)));
                before = counts.normal;
                put(&mut anomalous, counts.anomalous);
                if counts.anomalous > 0 {
                    put(&mut weights, counts.weight);
                }
            }
        }
        for stream in [&gaps, &normal, &anomalous] {
            put(&mut bytes, stream.len() as u64);
        }
        [bytes, gaps, normal, anomalous, weights].concat()
    }

    /// Adds the sketch that `bytes` are.
    ///
    /// # Errors
    /// The bytes are no sketch, or the sums of both overflow; nothing has been added then.
    pub fn merge_encoded(&mut self, bytes: &[u8]) -> Result<(), MetricsError> {
        let sketch = read(bytes).ok_or(MetricsError::DamagedSketch)?;
        self.totals = self.totals.merge(&sketch.totals)?;
        let mut rest = &sketch.bins[..];
        for Section { octave, level, n_bins } in sketch.sections {
            let (bins, others) = rest.split_at(n_bins);
            rest = others;
            self.add_bins(octave, level, bins);
        }
        Ok(())
    }
}

/// What bytes say, checked.
struct Decoded {
    totals: PixelTotals,
    sections: Vec<Section>,
    /// Those of all sections.
    bins: Vec<Bin>,
}

struct Section {
    octave: usize,
    level: u8,
    n_bins: usize,
}

fn read(bytes: &[u8]) -> Option<Decoded> {
    let mut bytes = Bytes(bytes);
    if bytes.number()? != VERSION {
        return None;
    }
    let n_octaves = usize::try_from(bytes.number()?).ok().filter(|n| *n <= OCTAVES)?;
    let n_regions = bytes.number()?;
    let mut totals = PixelTotals { n_regions, ..PixelTotals::default() };
    if n_octaves > 0 {
        totals.min = bytes.score()?;
        totals.max = bytes.score()?;
    }
    let sections = read_sections(&mut bytes, n_octaves)?;
    let bins = Streams::read(&mut bytes)?.bins(&sections)?;
    for Bin { counts, .. } in &bins {
        totals.n_normal = totals.n_normal.checked_add(counts.normal)?;
        totals.n_anomalous = totals.n_anomalous.checked_add(counts.anomalous)?;
    }
    let weight = bins.iter().try_fold(0u64, |sum, bin| sum.checked_add(bin.counts.weight))?;
    let whole = n_regions.checked_mul(WEIGHT_PARTS)? == weight && n_regions <= totals.n_anomalous;
    let ends = ends_fit(&totals, &sections, &bins);
    (whole && ends).then_some(Decoded { totals, sections, bins })
}

fn read_sections(bytes: &mut Bytes, n_octaves: usize) -> Option<Vec<Section>> {
    let mut sections = Vec::with_capacity(n_octaves);
    let mut next = 0;
    for _ in 0..n_octaves {
        let octave = usize::try_from(bytes.number()?).ok()?;
        let level = u8::try_from(bytes.number()?).ok().filter(|level| *level <= MAX_LEVEL)?;
        let n_bins = usize::try_from(bytes.number()?).ok()?;
        let ordered = octave >= next && octave < OCTAVES && is_finite(octave);
        if !ordered || n_bins == 0 || n_bins > MAX_BINS.min(bins_at(level) as usize) {
            return None;
        }
        next = octave + 1;
        sections.push(Section { octave, level, n_bins });
    }
    Some(sections)
}

/// The numbers of all bins, by what they mean.
struct Streams<'a> {
    gaps: Bytes<'a>,
    normal: Bytes<'a>,
    anomalous: Bytes<'a>,
    weights: Bytes<'a>,
}

impl<'a> Streams<'a> {
    /// All that is left of the bytes.
    fn read(bytes: &mut Bytes<'a>) -> Option<Self> {
        let [gaps, normal, anomalous] = [bytes.number()?, bytes.number()?, bytes.number()?];
        Some(Streams {
            gaps: bytes.take(gaps)?,
            normal: bytes.take(normal)?,
            anomalous: bytes.take(anomalous)?,
            weights: Bytes(bytes.0),
        })
    }

    /// The bins; nothing may be left over.
    fn bins(mut self, sections: &[Section]) -> Option<Vec<Bin>> {
        // No more room than bytes could fill.
        let expected = sections.iter().map(|section| section.n_bins).sum::<usize>();
        let mut bins = Vec::with_capacity(expected.min(self.gaps.0.len()));
        let mut normal = 0u64;
        for section in sections {
            let mut next = 0;
            for _ in 0..section.n_bins {
                let code = u32::try_from(self.gaps.number()?).ok()?.checked_add(next)?;
                normal = normal.wrapping_add(unzigzag(self.normal.number()?));
                let anomalous = self.anomalous.number()?;
                let weight = if anomalous > 0 { self.weights.number()? } else { 0 };
                if code >= bins_at(section.level) || (normal == 0 && anomalous == 0) {
                    return None;
                }
                bins.push(Bin { code, counts: Counts { normal, anomalous, weight } });
                next = code + 1;
            }
        }
        let left = [self.gaps, self.normal, self.anomalous, self.weights];
        left.iter().all(|stream| stream.0.is_empty()).then_some(bins)
    }
}

/// The smallest and the largest score lie in the first and the last bin.
fn ends_fit(totals: &PixelTotals, sections: &[Section], bins: &[Bin]) -> bool {
    let fits = |score: f32, section: Option<&Section>, bin: Option<&Bin>| match (section, bin) {
        (Some(section), Some(bin)) => {
            let key = key_of(score);
            octave_of(key) == section.octave && code_of(key, section.level) == bin.code
        }
        _ => sections.is_empty(),
    };
    fits(totals.min, sections.first(), bins.first())
        && fits(totals.max, sections.last(), bins.last())
        && (sections.is_empty() || totals.min <= totals.max)
}

/// Bytes that are yet to be read.
pub(in crate::metrics) struct Bytes<'a>(pub(in crate::metrics) &'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, n: u64) -> Option<Self> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = rest;
        Some(Bytes(taken))
    }

    #[inline]
    pub(in crate::metrics) fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 { Some(u64::from(first)) } else { self.long_number(first) }
    }

    fn long_number(&mut self, first: u8) -> Option<u64> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return None;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(in crate::metrics) fn score(&mut self) -> Option<f32> {
        let (score, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(f32::from_le_bytes(*score)).filter(|score| score.is_finite())
    }
}

/// Appends a number as LEB128.
pub(in crate::metrics) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small differences of either sign as small numbers.
fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch() -> PixelSketch {
        let mut sketch = PixelSketch::new();
        sketch.add_map(&[0.5, -0.25, 0.5, 0.7, 3.0, 0.9], Some(&[1, 0, 0, 1, 0, 0]), 3, 2).unwrap();
        sketch.add_map(&[0.5, 1e-9], None, 2, 1).unwrap();
        sketch
    }

    fn decoded(bytes: &[u8]) -> Result<PixelSketch, MetricsError> {
        let mut sketch = PixelSketch::new();
        sketch.merge_encoded(bytes)?;
        Ok(sketch)
    }

    #[test]
    fn bytes_give_the_sketch_back() {
        assert_eq!(decoded(&sketch().encode()).unwrap(), sketch());
        assert_eq!(decoded(&PixelSketch::new().encode()).unwrap(), PixelSketch::new());
        let numbers = [0, 1, 127, 128, 300, u64::MAX - 1, u64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|&n| put(&mut bytes, n));
        let mut bytes = Bytes(&bytes);
        assert!(numbers.iter().all(|&n| bytes.number() == Some(n)));
        assert!(numbers.iter().all(|&n| unzigzag(zigzag(n)) == n));
        assert_eq!(Bytes(&[0xff; 11]).number(), None);
    }

    #[test]
    fn damage_never_panics_and_what_is_cut_off_is_refused() {
        let whole = sketch().encode();
        for end in 0..whole.len() {
            assert!(decoded(&whole[..end]).is_err(), "{end}");
        }
        assert!(decoded(&[&whole[..], &[0]].concat()).is_err());
        for place in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = whole.clone();
                damaged[place] = byte;
                // What still reads is a sketch like any other.
                if let Ok(sketch) = decoded(&damaged) {
                    assert_eq!(decoded(&sketch.encode()).unwrap(), sketch);
                }
            }
        }
    }

    #[test]
    fn sums_beyond_64_bits_are_refused() {
        let mut bytes = Vec::new();
        for number in [VERSION, 1, 0] {
            put(&mut bytes, number);
        }
        bytes.extend([1.0f32.to_le_bytes(), 1.0f32.to_le_bytes()].concat());
        // One bin; of its streams the first has one byte, the second ten, the third one.
        for number in [octave_of(key_of(1.0)) as u64, 0, 1, 1, 10, 1, 0, u64::MAX, 0] {
            put(&mut bytes, number);
        }
        let mut twice = decoded(&bytes).unwrap();
        assert_eq!(twice.totals().n_normal, 1 << 63);
        assert!(matches!(twice.merge_encoded(&bytes), Err(MetricsError::CountOverflow)));
        assert_eq!(twice, decoded(&bytes).unwrap());
    }
}
