//! The 8-bit resampler. In: interleaved pixels of C channels, two sizes, a filter. Out: interleaved
//! pixels, equal to Pillow 10.2 byte for byte: horizontal pass first, 22-bit weights, 8 bits between
//! the passes. Rows stream through a ring; an image between the passes never exists.
//!
//! How it is fast: eight rows are resized at once, one per SIMD lane, and two taps are weighed by
//! one 16-bit multiply-add. A 22-bit weight does not fit in 16 bits, so it is split into a high and
//! a low part; high · 2¹¹ + low is put together again after the sum, which loses nothing.

use wide::{i16x8, i16x16, i32x8};

use super::Size;
use super::filter::{Filter, Window, windows};

/// Bits behind the point of a weight.
const WEIGHT_BITS: u32 = 22;
/// Bits of the low part of a split weight.
const LOW_BITS: u32 = 11;
/// Rows of the source that the horizontal pass takes at once.
const BLOCK_ROWS: usize = 8;
const BLOCK_PAIRS: usize = BLOCK_ROWS / 2;

/// Values that are weighed at once: rows in the horizontal pass, neighbours in the vertical one.
const LANES: usize = 8;

/// Two neighbouring samples for each lane: first and second of lane 0, of lane 1, …
type Cell = [i16; 2 * LANES];

const EMPTY_CELL: Cell = [0; 2 * LANES];

/// Resizes `source` (`from.height` × `from.width` × C bytes) with `filter`. Both sizes must be at
/// least 1 × 1. Equal sizes give a copy.
pub fn resize<const C: usize>(source: &[u8], from: Size, to: Size, filter: Filter) -> Vec<u8> {
    if from == to {
        return source.to_vec();
    }
    let columns: Vec<PairWindow> = pair_windows(filter, from.width, to.width).collect();
    let rows: Vec<PairWindow> = pair_windows(filter, from.height, to.height).collect();
    let row_len = to.width * C;
    let mut block = Block::<C>::new(from.width);
    let mut strip = Strip::new(row_len, &rows);
    let mut out = vec![0; row_len * to.height];
    for (window, out_row) in rows.iter().zip(out.chunks_exact_mut(row_len)) {
        while strip.ready < window.end_pair() {
            block.load(source, strip.ready * 2);
            block.narrow(&columns, &mut strip);
        }
        strip.weigh_row(window, out_row);
    }
    out
}

/// The weights of two neighbouring inputs, repeated for every lane, split in high and low part.
struct PairTap {
    high: i16x16,
    low: i16x16,
}

impl PairTap {
    fn new(weights: [f64; 2]) -> Self {
        let fixed = weights.map(fixed_point);
        let high = fixed.map(|weight| (weight >> LOW_BITS) as i16);
        let low = fixed.map(|weight| (weight & ((1 << LOW_BITS) - 1)) as i16);
        let for_all_lanes = |pair: [i16; 2]| {
            i16x16::from(std::array::from_fn::<i16, { 2 * LANES }, _>(|i| pair[i % 2]))
        };
        PairTap { high: for_all_lanes(high), low: for_all_lanes(low) }
    }
}

/// A weight as an integer, rounded half away from zero. Its size stays below 1.2 · 2²² (the most a
/// border window of the cubic can reach), so its high part fits in 16 bits.
fn fixed_point(weight: f64) -> i32 {
    (weight * f64::from(1 << WEIGHT_BITS) + 0.5f64.copysign(weight)) as i32
}

/// A window over pairs of inputs: pair p is the inputs 2p and 2p + 1.
struct PairWindow {
    first_pair: usize,
    taps: Vec<PairTap>,
}

impl PairWindow {
    /// Starts at an even input; a weight of 0 stands for an input outside the window.
    fn new(window: &Window) -> Self {
        let lead = window.first % 2;
        let weight = |k: usize| {
            k.checked_sub(lead).and_then(|k| window.weights.get(k)).copied().unwrap_or(0.0)
        };
        let pairs = (lead + window.weights.len()).div_ceil(2);
        PairWindow {
            first_pair: window.first / 2,
            taps: (0..pairs).map(|p| PairTap::new([weight(2 * p), weight(2 * p + 1)])).collect(),
        }
    }

    fn end_pair(&self) -> usize {
        self.first_pair + self.taps.len()
    }
}

fn pair_windows(filter: Filter, from: usize, to: usize) -> impl Iterator<Item = PairWindow> {
    windows(filter, from, to).map(|window| PairWindow::new(&window))
}

/// The weighted sums of all lanes, rounded to 0..=255.
#[inline]
fn weigh<'a>(taps: &[PairTap], cells: impl Iterator<Item = &'a Cell>) -> [i16; LANES] {
    let (mut high, mut low) = (i32x8::splat(0), i32x8::splat(0));
    for (tap, cell) in taps.iter().zip(cells) {
        let samples = i16x16::from(*cell);
        high += samples.dot(tap.high);
        low += samples.dot(tap.low);
    }
    let sum = (high << LOW_BITS) + low + i32x8::splat(1 << (WEIGHT_BITS - 1));
    let values = i16x8::from_i32x8_saturate(sum >> WEIGHT_BITS);
    values.max(i16x8::splat(0)).min(i16x8::splat(255)).to_array()
}

/// Eight rows of the source, turned so that a lane is a row: `[pair of columns, channel]` cells.
struct Block<const C: usize> {
    width: usize,
    cells: Vec<Cell>,
}

impl<const C: usize> Block<C> {
    fn new(width: usize) -> Self {
        Block { width, cells: vec![EMPTY_CELL; width.div_ceil(2) * C] }
    }

    /// Takes the rows from `first_row` on. Below the last row the block keeps what it held; such
    /// rows have weight 0 in the vertical pass.
    fn load(&mut self, source: &[u8], first_row: usize) {
        let row_len = self.width * C;
        let rows = source[first_row * row_len..].chunks_exact(row_len).take(BLOCK_ROWS);
        for (lane, row) in rows.enumerate() {
            let (pixels, _) = row.as_chunks::<C>();
            let (pairs, last) = pixels.as_chunks::<2>();
            let (cells, _) = self.cells.as_chunks_mut::<C>();
            for (cells, [first, second]) in cells.iter_mut().zip(pairs) {
                for c in 0..C {
                    cells[c][2 * lane] = i16::from(first[c]);
                    cells[c][2 * lane + 1] = i16::from(second[c]);
                }
            }
            if let [only] = last {
                for (cell, sample) in self.cells[pairs.len() * C..].iter_mut().zip(only) {
                    cell[2 * lane] = i16::from(*sample);
                }
            }
        }
    }

    /// The horizontal pass: appends the eight resized rows, as four pairs of rows, to `strip`.
    fn narrow(&self, columns: &[PairWindow], strip: &mut Strip) {
        let mut pair_rows = strip.next_block();
        let mut value = 0;
        for window in columns {
            for c in 0..C {
                let cells = self.cells[window.first_pair * C + c..].iter().step_by(C);
                let rows = weigh(&window.taps, cells);
                let slot = value % LANES * 2;
                for (pair_row, pair) in pair_rows.iter_mut().zip(rows.as_chunks::<2>().0) {
                    pair_row[value / LANES][slot..slot + 2].copy_from_slice(pair);
                }
                value += 1;
            }
        }
    }
}

/// A ring of horizontally resized pairs of rows, as long as the highest vertical window needs. A
/// cell holds eight neighbouring values of both rows of its pair.
struct Strip {
    cells_per_pair: usize,
    pairs: usize,
    /// Pairs 0 .. `ready` have been computed; the last `pairs` of them are still there.
    ready: usize,
    cells: Vec<Cell>,
}

impl Strip {
    fn new(row_len: usize, rows: &[PairWindow]) -> Self {
        let highest = rows.iter().map(|window| window.taps.len()).max().unwrap_or(0);
        let cells_per_pair = row_len.div_ceil(LANES);
        let pairs = (highest + BLOCK_PAIRS).next_multiple_of(BLOCK_PAIRS);
        Strip { cells_per_pair, pairs, ready: 0, cells: vec![EMPTY_CELL; cells_per_pair * pairs] }
    }

    /// The next four pairs of rows, to be filled; they replace the four oldest.
    fn next_block(&mut self) -> Vec<&mut [Cell]> {
        let start = self.ready % self.pairs * self.cells_per_pair;
        let block = &mut self.cells[start..start + BLOCK_PAIRS * self.cells_per_pair];
        self.ready += BLOCK_PAIRS;
        block.chunks_exact_mut(self.cells_per_pair).collect()
    }

    /// The vertical pass of one output row.
    fn weigh_row(&self, window: &PairWindow, out_row: &mut [u8]) {
        let pair_rows: Vec<&[Cell]> = (window.first_pair..window.end_pair())
            .map(|pair| &self.cells[pair % self.pairs * self.cells_per_pair..])
            .collect();
        for (i, out) in out_row.chunks_mut(LANES).enumerate() {
            let values = weigh(&window.taps, pair_rows.iter().map(|cells| &cells[i]));
            for (byte, value) in out.iter_mut().zip(values) {
                *byte = value as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shrinks_by_weighted_neighbours_and_channels_stay_apart() {
        let row = [10, 200, 20, 200, 30, 200, 40, 200];
        let (from, to) = (Size { width: 4, height: 1 }, Size { width: 2, height: 1 });
        assert_eq!(resize::<2>(&row, from, to, Filter::Bilinear), [17, 200, 33, 200]);
    }

    #[test]
    fn a_column_is_rounded_to_eight_bits_and_clamped() {
        let (from, to) = (Size { width: 1, height: 2 }, Size { width: 1, height: 4 });
        assert_eq!(resize::<1>(&[0, 255], from, to, Filter::Bicubic), [0, 53, 202, 255]);
    }

    #[test]
    fn one_colour_stays_one_colour_whatever_the_sizes() {
        for (width, height) in [(1, 3000), (3000, 1), (17, 9), (8, 8), (1, 1)] {
            let source = vec![77; width * height];
            let to = Size { width: 5, height: 13 };
            let resized = resize::<1>(&source, Size { width, height }, to, Filter::Bicubic);
            assert_eq!(resized, vec![77; 65]);
        }
    }
}
