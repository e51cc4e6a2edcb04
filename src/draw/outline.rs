//! Outlines of masks. In: a mask, and pixels to draw on. Out: its edge as a line, with a casing on the
//! far side, so that it stands out from any background. One outline lies inside of its mask and one
//! outside, so two masks that agree show two lines.

use crate::image::{Mask, Size};

/// On which side of the edge a line lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On the last pixels of the mask.
    Inside,
    /// On the first pixels beside it.
    Outside,
}

/// Draws the outline of `mask` on `pixels`, which have its size: `line` on a line `width` pixels wide,
/// and `casing` on one pixel beside it.
pub fn outline(pixels: &mut [u8], mask: &Mask, side: Side, width: usize, line: u8, casing: u8) {
    // Seen from the other side, an inner line is an outer one.
    let start = mask.values().iter().map(|&value| (value == 1) == (side == Side::Outside));
    let mut covered = start.collect::<Vec<_>>();
    for ring in 0..=width {
        let grown = grown(&covered, mask.size());
        let colour = if ring < width { line } else { casing };
        let fresh = covered.iter().zip(&grown).map(|(before, after)| before != after);
        for (pixel, _) in pixels.iter_mut().zip(fresh).filter(|(_, fresh)| *fresh) {
            *pixel = colour;
        }
        covered = grown;
    }
}

/// The area with all pixels that touch it by an edge.
fn grown(area: &[bool], size: Size) -> Vec<bool> {
    let Size { width, height } = size;
    let mut grown = area.to_vec();
    for (i, _) in area.iter().enumerate().filter(|(_, covered)| **covered) {
        let (x, y) = (i % width, i / width);
        if x > 0 {
            grown[i - 1] = true;
        }
        if x + 1 < width {
            grown[i + 1] = true;
        }
        if y > 0 {
            grown[i - width] = true;
        }
        if y + 1 < height {
            grown[i + width] = true;
        }
    }
    grown
}

/// The mask at a smaller size. A pixel is in it if any of those that it stands for is: the smallest
/// defect must not vanish.
pub fn reduced(mask: &Mask, size: Size) -> Mask {
    let from = mask.size();
    let mut values = vec![0; size.area()];
    for (i, _) in mask.values().iter().enumerate().filter(|(_, value)| **value == 1) {
        let (x, y) = (i % from.width, i / from.width);
        values[y * size.height / from.height * size.width + x * size.width / from.width] = 1;
    }
    Mask::new(size, values).expect("one value per pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 7, height: 7 };

    /// A mask of the middle 3 × 3 pixels, outlined: `*` line, `#` casing, `.` untouched.
    fn drawn(side: Side) -> Vec<String> {
        let inside = |i: usize| (2..5).contains(&(i % 7)) && (2..5).contains(&(i / 7));
        let values = (0..49).map(|i| u8::from(inside(i))).collect();
        let mask = Mask::new(SIZE, values).unwrap();
        let mut pixels = vec![b'.'; 49];
        outline(&mut pixels, &mask, side, 1, b'*', b'#');
        let sign = |pixel: &u8| char::from(*pixel);
        pixels.chunks(7).map(|row| row.iter().map(sign).collect()).collect()
    }

    #[test]
    fn an_inner_line_lies_on_the_mask_and_its_casing_further_in() {
        let rows = [".......", ".......", "..***..", "..*#*..", "..***..", ".......", "......."];
        assert_eq!(drawn(Side::Inside), rows);
    }

    #[test]
    fn an_outer_line_lies_beside_the_mask_and_its_casing_further_out() {
        let rows = ["..###..", ".#***#.", "#*...*#", "#*...*#", "#*...*#", ".#***#.", "..###.."];
        assert_eq!(drawn(Side::Outside), rows);
    }
}
