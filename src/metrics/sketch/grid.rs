//! Scores in, places on a fixed grid out. A score's *key* is a `u32` that orders as scores do; the
//! top nine bits of a key are its *octave*, the rest its place inside. At level `l` the octave is
//! cut into bins of 2^l neighbouring keys, so every grid is a coarser copy of the one below it.
//! Never here: counts.

use std::ops::RangeInclusive;

/// Keys of one octave: all floats of one sign and exponent.
const KEY_BITS: u32 = 23;

/// The level at which an octave is one bin.
pub(super) const MAX_LEVEL: u8 = KEY_BITS as u8;

/// Signs × exponents.
pub(super) const OCTAVES: usize = 1 << (u32::BITS - KEY_BITS);

const SIGN: u32 = 1 << 31;

/// A finite score as an integer of the same order. −0.0 and 0.0 share one key, as they are one
/// threshold.
pub(in crate::metrics) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    // Positive floats already order as integers; negative ones in reverse.
    let negative = (bits as i32 >> 31) as u32;
    bits ^ (negative | SIGN)
}

/// The score of a key.
pub(in crate::metrics) fn score_of(key: u32) -> f32 {
    let positive = key & SIGN != 0;
    f32::from_bits(if positive { key ^ SIGN } else { !key })
}

/// Which octave a key is in, below [`OCTAVES`].
pub(super) fn octave_of(key: u32) -> usize {
    (key >> KEY_BITS) as usize
}

/// The bin of a key inside its octave.
pub(super) fn code_of(key: u32, level: u8) -> u32 {
    (key & ((1 << KEY_BITS) - 1)) >> level
}

/// Bins that an octave has at a level.
pub(super) fn bins_at(level: u8) -> u32 {
    1 << (KEY_BITS - u32::from(level))
}

/// Smallest and largest score that fall into a bin.
pub(super) fn scores_of(octave: usize, level: u8, code: u32) -> RangeInclusive<f32> {
    let first = (octave as u32) << KEY_BITS | code << level;
    score_of(first)..=score_of(first | ((1 << level) - 1))
}

/// Whether all scores of an octave are finite.
pub(super) fn is_finite(octave: usize) -> bool {
    octave != 0 && octave != OCTAVES - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_scores_do_and_give_them_back() {
        let scores =
            [f32::MIN, -1.5, -1e-45, 0.0, 1e-45, f32::MIN_POSITIVE, 0.5, 0.75, 1.5, f32::MAX];
        let keys = scores.map(key_of);
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert_eq!(keys.map(score_of), scores);
        assert_eq!(key_of(-0.0), key_of(0.0));
        assert!(keys.iter().all(|&key| is_finite(octave_of(key))));
        assert!(!is_finite(octave_of(key_of(f32::INFINITY))));
        assert!(!is_finite(octave_of(key_of(f32::NEG_INFINITY))));
    }

    #[test]
    fn a_bin_holds_the_scores_between_its_ends() {
        for (score, level) in [(0.7f32, 0), (0.7, 9), (-0.7, 9), (3e-40, 9), (-12.5, MAX_LEVEL)] {
            let key = key_of(score);
            let bin = scores_of(octave_of(key), level, code_of(key, level));
            assert!(bin.contains(&score), "{score} in {bin:?}");
            let place = |score| (octave_of(key_of(score)), code_of(key_of(score), level));
            assert_eq!(place(*bin.start()), place(*bin.end()));
            assert_ne!(place(bin.start().next_down()), place(*bin.start()));
            assert_ne!(place(bin.end().next_up()), place(*bin.end()));
        }
        assert_eq!(scores_of(octave_of(key_of(0.5)), MAX_LEVEL, 0), 0.5..=1.0f32.next_down());
        assert_eq!(bins_at(9), 1 << 14);
    }
}
