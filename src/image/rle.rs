//! COCO's compressed run-length encoding of masks. In: a [`Mask`], or the text of an encoding. Out:
//! text equal to pycocotools byte for byte, or a mask. Text that would not decode never becomes an
//! [`Rle`].
//!
//! Runs go down the columns, zeros first. Each is written as the difference to the run two before it
//! (from the fourth on), in groups of five bits, lowest first, one character from '0' (48) on per
//! group; bit 5 says that more groups follow, bit 4 of the last group is the sign.

use std::ops::Range;

use super::{Mask, Size};
use crate::error::RleError;

const FIRST_CHARACTER: u8 = b'0';
const GROUP_BITS: u32 = 5;
const GROUP: i64 = (1 << GROUP_BITS) - 1;
const SIGN: i64 = 1 << (GROUP_BITS - 1);
const MORE: i64 = 1 << GROUP_BITS;
/// Runs from this index on are written as a difference.
const FIRST_DIFFERENCE: usize = 3;

/// A mask as text. It always decodes: the runs fill the mask exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rle {
    size: Size,
    counts: String,
    /// What `counts` says. Even runs are good pixels, odd ones defect.
    runs: Vec<u64>,
}

/// A box of whole pixels: `x`, `y` is its first column and row. All 0 where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PixelBox {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Rle {
    /// Encodes `mask`.
    pub fn encode(mask: &Mask) -> Self {
        let mut runs = Vec::new();
        let mut last = 0;
        for_each_change(mask, |position| {
            runs.push((position - last) as u64);
            last = position;
        });
        runs.push((mask.size().area() - last) as u64);
        Rle { size: mask.size(), counts: to_text(&runs), runs }
    }

    /// Takes the text `counts` for a mask of `size`.
    ///
    /// # Errors
    /// If the mask has more than 2³² − 1 pixels (what pycocotools can count), or `counts` has another
    /// character than '0'..='o', a run that does not end or is negative, or runs that do not add up
    /// to the pixels of the mask.
    pub fn from_counts(size: Size, counts: String) -> Result<Self, RleError> {
        let Size { width, height } = size;
        let expected = (width as u64).saturating_mul(height as u64);
        if expected > u64::from(u32::MAX) {
            return Err(RleError::TooLarge { width, height });
        }
        let runs = from_text(&counts)?;
        let found = runs.iter().fold(0, |sum: u64, run| sum.saturating_add(*run));
        if found != expected {
            return Err(RleError::WrongLength { found, expected });
        }
        Ok(Rle { size, counts, runs })
    }

    /// Width and height of the mask in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The compressed text, as pycocotools writes it.
    pub fn counts(&self) -> &str {
        &self.counts
    }

    /// The mask.
    pub fn decode(&self) -> Mask {
        let Size { width, height } = self.size;
        let mut values = vec![0; self.size.area()];
        for run in self.defect_runs() {
            let (mut x, mut y) = (run.start / height, run.start % height);
            for _ in run {
                values[y * width + x] = 1;
                y += 1;
                if y == height {
                    (x, y) = (x + 1, 0);
                }
            }
        }
        Mask::from_flags(self.size, values)
    }

    /// The number of defect pixels.
    pub fn area_px(&self) -> u64 {
        self.runs.iter().skip(1).step_by(2).sum()
    }

    /// The smallest box around all defect pixels; all 0 where there are none.
    pub fn bbox(&self) -> PixelBox {
        let height = self.size.height;
        let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
        for run in self.defect_runs() {
            let last = run.end - 1;
            let (first_column, last_column) = (run.start / height, last / height);
            // A run over two columns goes through the foot of one and the head of the next.
            let is_one_column = first_column == last_column;
            let rows =
                if is_one_column { run.start % height..last % height + 1 } else { 0..height };
            (left, right) = (left.min(first_column), right.max(last_column + 1));
            (top, bottom) = (top.min(rows.start), bottom.max(rows.end));
        }
        if right == 0 {
            return PixelBox::default();
        }
        PixelBox { x: left, y: top, width: right - left, height: bottom - top }
    }

    /// The runs of defect that are not empty, as positions down the columns.
    fn defect_runs(&self) -> impl Iterator<Item = Range<usize>> {
        let ends = self.runs.iter().scan(0, |end, run| {
            *end += *run as usize;
            Some(*end)
        });
        let runs = self.runs.iter().zip(ends).map(|(run, end)| end - *run as usize..end);
        runs.skip(1).step_by(2).filter(|run| !run.is_empty())
    }
}

/// Calls `found` with each position, counted down the columns, where the value changes; the value
/// before the first pixel is 0. The mask is read along its rows, as it lies in memory.
fn for_each_change(mask: &Mask, mut found: impl FnMut(usize)) {
    let Size { width, height } = mask.size();
    if width == 0 || height == 0 {
        return;
    }
    let values = mask.values();
    let changes = changes_inside_columns(values, width);
    let (first_row, last_row) = (&values[..width], &values[values.len() - width..]);
    let mut above = 0;
    for (x, rows) in changes.iter().enumerate() {
        if first_row[x] != above {
            found(x * height);
        }
        rows.iter().for_each(|y| found(x * height + y));
        above = last_row[x];
    }
}

/// For each column the rows whose value differs from the row above.
fn changes_inside_columns(values: &[u8], width: usize) -> Vec<Vec<usize>> {
    /// Most neighbouring rows are equal over long stretches; so many bytes are compared at once.
    const STRETCH: usize = 64;
    let mut changes = vec![Vec::new(); width];
    let pairs = values.chunks_exact(width).zip(values[width..].chunks_exact(width));
    for (y, (above, row)) in pairs.enumerate() {
        let stretches = above.chunks(STRETCH).zip(row.chunks(STRETCH)).enumerate();
        for (i, (above, row)) in stretches.filter(|(_, (above, row))| above != row) {
            for (x, _) in above.iter().zip(row).enumerate().filter(|(_, (a, b))| a != b) {
                changes[i * STRETCH + x].push(y + 1);
            }
        }
    }
    changes
}

fn to_text(runs: &[u64]) -> String {
    let mut text = String::new();
    for (i, run) in runs.iter().enumerate() {
        let before = if i >= FIRST_DIFFERENCE { runs[i - 2] } else { 0 };
        let mut rest = *run as i64 - before as i64;
        loop {
            let group = rest & GROUP;
            rest >>= GROUP_BITS;
            let done = rest == if group & SIGN == 0 { 0 } else { -1 };
            let code = if done { group } else { group | MORE };
            text.push(char::from(FIRST_CHARACTER + code as u8));
            if done {
                break;
            }
        }
    }
    text
}

fn from_text(text: &str) -> Result<Vec<u64>, RleError> {
    /// Groups of a run that still fit in 64 bits.
    const MOST_GROUPS: u32 = i64::BITS / GROUP_BITS;
    let mut runs: Vec<u64> = Vec::new();
    let (mut value, mut groups) = (0i64, 0);
    for (position, byte) in text.bytes().enumerate() {
        let run = runs.len();
        let code = match byte.checked_sub(FIRST_CHARACTER) {
            Some(code) if i64::from(code) < 2 * MORE => i64::from(code),
            _ => return Err(RleError::BadCharacter { position }),
        };
        if groups == MOST_GROUPS {
            return Err(RleError::BadRun { run });
        }
        value |= (code & GROUP) << (groups * GROUP_BITS);
        groups += 1;
        if code & MORE != 0 {
            continue;
        }
        if code & SIGN != 0 {
            value |= -1 << (groups * GROUP_BITS);
        }
        let before = if run >= FIRST_DIFFERENCE { runs[run - 2] } else { 0 };
        runs.push(before.checked_add_signed(value).ok_or(RleError::BadRun { run })?);
        (value, groups) = (0, 0);
    }
    if groups > 0 {
        return Err(RleError::BadRun { run: runs.len() });
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rle(counts: &str, width: usize, height: usize) -> Result<Rle, RleError> {
        Rle::from_counts(Size { width, height }, counts.to_string())
    }

    #[test]
    fn runs_go_down_the_columns() {
        let mask = Mask::new(Size { width: 3, height: 2 }, vec![0, 1, 0, 1, 1, 0]).unwrap();
        let rle = Rle::encode(&mask);
        assert_eq!(rle.runs, [1, 3, 2]);
        assert_eq!(rle.counts(), "132");
        assert_eq!(rle.area_px(), 3);
        assert_eq!(rle.bbox(), PixelBox { x: 0, y: 0, width: 2, height: 2 });
        assert_eq!(rle.decode(), mask);
    }

    #[test]
    fn text_that_would_not_decode_is_refused() {
        assert_eq!(rle("1 2", 3, 2), Err(RleError::BadCharacter { position: 1 }));
        assert_eq!(rle("13p", 3, 2), Err(RleError::BadCharacter { position: 2 }));
        assert_eq!(rle("13é", 3, 2), Err(RleError::BadCharacter { position: 2 }));
        assert_eq!(rle("13R", 3, 2), Err(RleError::BadRun { run: 2 }));
        assert_eq!(rle("17O", 3, 2), Err(RleError::BadRun { run: 2 }));
        assert_eq!(rle(&"o".repeat(40), 3, 2), Err(RleError::BadRun { run: 0 }));
        assert_eq!(rle("133", 3, 2), Err(RleError::WrongLength { found: 7, expected: 6 }));
        assert_eq!(rle("", 3, 2), Err(RleError::WrongLength { found: 0, expected: 6 }));
    }
}
