//! From a map to the pixels of the original image. In: a map, the size of
//! the image, a threshold. Out: scores or a [`Mask`] at that size, made row by row, so that a mask
//! of a large image costs one byte per pixel and no scores.
//!
//! How a map is read at a pixel is our decision, since the published code never leaves 518 × 518:
//! bilinear between map cells, both grids aligned at their outer edges (half-pixel centres), clamped
//! at the border. It is the inverse of the stretch that made the network's input.

use super::{Mask, Size};

/// The scores of `map`, `[height, width]` of `of`, at every pixel of an image of `size`.
///
/// # Panics
/// If `map` has not as many values as `of` says, or none.
pub fn upsample_map(map: &[f32], of: Size, size: Size) -> Vec<f32> {
    let grid = Grid::new(map, of, size);
    let mut row = vec![0.0; of.width];
    let mut scores = Vec::with_capacity(size.area());
    for y in 0..size.height {
        grid.blend_rows(y, &mut row);
        scores.extend(grid.columns.iter().map(|column| column.read(|x| row[x])));
    }
    scores
}

/// The pixels of an image of `size` at which `map` is above `threshold`: [`upsample_map`] compared
/// pixel by pixel, without ever holding the scores.
///
/// # Panics
/// As [`upsample_map`].
pub fn mask_from_map(map: &[f32], of: Size, size: Size, threshold: f32) -> Mask {
    let grid = Grid::new(map, of, size);
    let mut row = vec![0.0; of.width];
    let mut values = Vec::with_capacity(size.area());
    for y in 0..size.height {
        grid.blend_rows(y, &mut row);
        // Blending never leaves the range of its inputs, so such a row has no defect.
        if row.iter().all(|score| *score <= threshold) {
            values.resize(values.len() + size.width, 0);
        } else {
            let scores = grid.columns.iter().map(|column| column.read(|x| row[x]));
            values.extend(scores.map(|score| u8::from(score > threshold)));
        }
    }
    Mask::from_flags(size, values)
}

/// A map laid over the pixels of an image.
struct Grid<'a> {
    map: &'a [f32],
    width: usize,
    columns: Vec<Between>,
    rows: Vec<Between>,
}

impl<'a> Grid<'a> {
    fn new(map: &'a [f32], of: Size, size: Size) -> Self {
        assert!(of.area() > 0 && map.len() == of.area(), "a map of {of:?}: {}", map.len());
        let axis = |length: usize, side: usize| {
            (0..length).map(|i| Between::new(i, length, side)).collect()
        };
        let (columns, rows) = (axis(size.width, of.width), axis(size.height, of.height));
        Grid { map, width: of.width, columns, rows }
    }

    /// The map at the height of pixel row `y`, still with the map's own columns.
    fn blend_rows(&self, y: usize, row: &mut [f32]) {
        let at = self.rows[y];
        let above = &self.map[at.first * self.width..][..self.width];
        let below = &self.map[at.second * self.width..][..self.width];
        for ((value, above), below) in row.iter_mut().zip(above).zip(below) {
            *value = blend(*above, *below, at.weight);
        }
    }
}

/// A place on one axis of a map: between two neighbours, or on one of them.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    first: usize,
    second: usize,
    /// Of the second, 0..1.
    weight: f32,
}

impl Between {
    /// Where the centre of pixel `i` of `length` lies among `side` cells.
    fn new(i: usize, length: usize, side: usize) -> Self {
        Between::at((i as f64 + 0.5) * side as f64 / length as f64 - 0.5, side)
    }

    /// A place on an axis of `side` cells, at least 1, whose centres lie at 0, 1, …; beyond the first and
    /// last of them it is on these.
    pub fn at(centre: f64, side: usize) -> Self {
        let centre = centre.clamp(0.0, (side - 1) as f64);
        let first = centre as usize;
        Between { first, second: (first + 1).min(side - 1), weight: (centre - first as f64) as f32 }
    }

    /// The value there, of what is at the cells.
    pub fn read(&self, value: impl Fn(usize) -> f32) -> f32 {
        blend(value(self.first), value(self.second), self.weight)
    }
}

/// Between `a` (weight 0) and `b` (weight 1). Rounding never takes it out of that range.
fn blend(a: f32, b: f32, weight: f32) -> f32 {
    (a + (b - a) * weight).max(a.min(b)).min(a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: [f32; 4] = [0.0, 1.0, 0.5, 0.5];

    #[test]
    fn pixels_lie_between_the_centres_of_map_cells() {
        let scores = upsample_map(&MAP, Size::square(2), Size { width: 4, height: 2 });
        assert_eq!(scores, [0.0, 0.25, 0.75, 1.0, 0.5, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn a_map_of_the_same_size_is_left_alone() {
        assert_eq!(upsample_map(&MAP, Size::square(2), Size::square(2)), MAP);
    }

    #[test]
    fn a_mask_is_the_upsampled_map_compared_with_the_threshold() {
        let map: Vec<f32> = (0..49).map(|i| ((i * 37) % 49) as f32 / 49.0).collect();
        for size in [Size { width: 31, height: 17 }, Size { width: 3, height: 5 }] {
            for threshold in [-1.0, 0.0, 0.3, 0.7, 47.0 / 49.0, 1.0] {
                let scores = upsample_map(&map, Size::square(7), size);
                let expected: Vec<u8> = scores.iter().map(|s| u8::from(*s > threshold)).collect();
                assert_eq!(
                    mask_from_map(&map, Size::square(7), size, threshold).values(),
                    expected
                );
            }
        }
    }
}
