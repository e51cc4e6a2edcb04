//! Large pieces of a file that is read from its beginning to its end, perhaps more than once. In:
//! ranges. Out: their bytes. Of a bucket the next pieces are on their way while one is read, and small
//! neighbouring files of an archive come with one request. What is held is bounded.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::open_file::{Begun, OpenFile};
use crate::error::{Failure, FailureCode, Stage};

/// Bytes of a piece.
const PIECE: u64 = 4 << 20;
/// Pieces that are held or on their way, and how many of them are asked for ahead.
const HELD: usize = 16;
const AHEAD: u64 = 4;
/// Bytes that are read where the reader jumps: a header and the small files behind it.
const SMALL: u64 = 64 << 10;

/// The pieces of one file that were read last.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By number, the one that was used last at the back.
    held: VecDeque<(u64, Piece)>,
    /// What was read where the reader jumped to, and where that begins.
    small: (u64, Bytes),
}

#[derive(Debug)]
enum Piece {
    Here(Bytes),
    Coming(Begun),
}

impl Pieces {
    /// The bytes of `range` of `file`, which lie inside of it.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn read(&self, file: &OpenFile, range: Range<u64>) -> Result<Bytes, Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = part(&state.small, &range) {
            return Ok(bytes);
        }
        let (first, last) = (range.start / PIECE, range.end.saturating_sub(1) / PIECE);
        // Small members follow each other; between large ones only headers are wanted at first.
        if range.end - range.start <= SMALL && !state.is_near(first) && range.start > 0 {
            let end = file.size().min(range.start + SMALL);
            state.small = (range.start, file.read(range.start..end)?);
            return part(&state.small, &range).ok_or_else(ended);
        }
        state.ask_for(file, first..=last, range.start % PIECE);
        if first == last {
            let piece = state.piece(file, first)?;
            return part(&(first * PIECE, piece), &range).ok_or_else(ended);
        }
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        for number in first..=last {
            let piece = state.piece(file, number)?;
            let begins = number * PIECE;
            let wanted = range.start.max(begins)..range.end.min(begins + PIECE);
            bytes.extend_from_slice(&part(&(begins, piece), &wanted).ok_or_else(ended)?);
        }
        Ok(bytes.freeze())
    }

    /// The piece that holds the byte `at`, and where it begins.
    ///
    /// # Errors
    /// A [`Failure`] of the stage `fetch`.
    pub fn piece_at(&self, file: &OpenFile, at: u64) -> Result<(u64, Bytes), Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = at / PIECE;
        state.ask_for(file, number..=number, at % PIECE);
        Ok((number * PIECE, state.piece(file, number)?))
    }
}

impl State {
    fn is_held(&self, number: u64) -> bool {
        self.held.iter().any(|(held, _)| *held == number)
    }

    /// Whether the reader comes from there or from just before.
    fn is_near(&self, number: u64) -> bool {
        self.is_held(number) || number.checked_sub(1).is_some_and(|before| self.is_held(before))
    }

    /// Begins to read pieces, and those behind them if the reader seems to go on; it begins `inside` of
    /// the first one.
    fn ask_for(&mut self, file: &OpenFile, wanted: std::ops::RangeInclusive<u64>, inside: u64) {
        let (first, last) = wanted.into_inner();
        let comes_from_before = first.checked_sub(1).is_some_and(|before| self.is_held(before));
        let goes_on_inside = self.is_held(first) && inside > SMALL;
        let goes_on = comes_from_before || goes_on_inside || first < last;
        let end = if goes_on { last + AHEAD } else { last };
        let end = end.min(file.size().saturating_sub(1) / PIECE).min(first + HELD as u64 - 1);
        // What is wanted is not what goes to make room.
        for number in first..=last {
            let held = self.take(number);
            self.held.extend(held);
        }
        for number in first..=end {
            if !self.is_held(number)
                && let Some(begun) = file.begin(range_of(file, number))
            {
                self.hold(number, Piece::Coming(begun));
            }
        }
    }

    fn take(&mut self, number: u64) -> Option<(u64, Piece)> {
        let at = self.held.iter().position(|(held, _)| *held == number)?;
        self.held.remove(at)
    }

    /// The piece, which becomes the one that was used last.
    fn piece(&mut self, file: &OpenFile, number: u64) -> Result<Bytes, Failure> {
        let bytes = match self.take(number) {
            Some((_, Piece::Here(bytes))) => bytes,
            Some((_, Piece::Coming(begun))) => {
                futures::executor::block_on(begun).map_err(|error| {
                    Failure::new(Stage::Fetch, FailureCode::Internal, error.to_string())
                })??
            }
            None => file.read(range_of(file, number))?,
        };
        self.hold(number, Piece::Here(bytes.clone()));
        Ok(bytes)
    }

    fn hold(&mut self, number: u64, piece: Piece) {
        if self.held.len() == HELD
            && let Some((_, Piece::Coming(unused))) = self.held.pop_front()
        {
            unused.abort();
        }
        self.held.push_back((number, piece));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for (_, piece) in &self.held {
            if let Piece::Coming(unused) = piece {
                unused.abort();
            }
        }
    }
}

fn range_of(file: &OpenFile, number: u64) -> Range<u64> {
    let start = number * PIECE;
    start..file.size().min(start + PIECE)
}

/// The bytes of `range` out of a piece, if it has them all.
fn part((start, bytes): &(u64, Bytes), range: &Range<u64>) -> Option<Bytes> {
    let at = |place: u64| usize::try_from(place.checked_sub(*start)?).ok();
    let (from, to) = (at(range.start)?, at(range.end)?);
    (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
}

fn ended() -> Failure {
    let what = "the file is shorter than it was: write it again";
    Failure::new(Stage::Fetch, FailureCode::CorruptArchive, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_range_has_the_bytes_of_the_file(
            size in 1u64..(6 * PIECE),
            reads in prop::collection::vec((any::<u64>(), 1u64..(2 * PIECE)), 1..8),
        ) {
            let byte = |at: u64| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
            let bytes = (0..size).map(byte).collect::<Vec<_>>();
            let file = OpenFile::of_bytes(bytes.clone());
            let pieces = Pieces::default();
            for (start, length) in reads {
                let start = start % size;
                let end = size.min(start + length);
                let found = pieces.read(&file, start..end).unwrap();
                prop_assert!(found == bytes[start as usize..end as usize]);
                let (begins, piece) = pieces.piece_at(&file, start).unwrap();
                prop_assert_eq!(piece[(start - begins) as usize], byte(start));
                prop_assert!(pieces.0.lock().unwrap().held.len() <= HELD);
            }
        }
    }
}
