//! Outlines of masks. In: a mask, and pixels to draw on. Out: its edge in a colour, cased in black
//! on the far side, so that it stands out from any background. One outline lies inside of its mask
//! and one outside, so two masks that agree show two lines.

use crate::image::{Mask, Size};

/// On which side of the edge a line lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On the last pixels of the mask.
    Inside,
    /// On the first pixels beside it.
    Outside,
}

/// What stands between a line and its surroundings, one pixel wide.
const CASING: [u8; 3] = [0; 3];

/// Draws the outline of `mask` on `pixels`, which have its size; the line is `width` pixels wide.
pub fn draw(pixels: &mut [[u8; 3]], mask: &Mask, side: Side, width: usize, colour: [u8; 3]) {
    // Seen from the other side, an inner line is an outer one.
    let start = mask.values().iter().map(|&value| (value == 1) == (side == Side::Outside));
    let mut covered = start.collect::<Vec<_>>();
    for ring in 0..=width {
        let grown = grown(&covered, mask.size());
        let colour = if ring < width { colour } else { CASING };
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 7, height: 7 };

    /// A mask of the middle 3 × 3 pixels, outlined: `*` line, `#` casing, `.` untouched.
    fn drawn(side: Side) -> Vec<String> {
        let inside = |i: usize| (2..5).contains(&(i % 7)) && (2..5).contains(&(i / 7));
        let values = (0..49).map(|i| u8::from(inside(i))).collect();
        let mask = Mask::new(SIZE, values).unwrap();
        let mut pixels = vec![[9; 3]; 49];
        draw(&mut pixels, &mask, side, 1, [255; 3]);
        let sign = |pixel: &[u8; 3]| match pixel[0] {
            255 => '*',
            0 => '#',
            _ => '.',
        };
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
