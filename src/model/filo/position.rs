//! From accepted boxes to the place of the defect. In: detections, the side of a square map. Out:
//! one of nine positions for the prompts, and the map damped outside of the boxes. No tensor, no
//! phrase is looked at here: whoever calls has chosen the boxes.

use std::ops::Range;

use crate::image::Size;
use crate::model::grounding::phrases::{Detection, NormalizedBox, printed_score};

/// What the map is multiplied by outside of all boxes.
const DAMPING: f32 = 0.7;

/// A ninth of the image, in the order of the prompts: row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    TopLeft,
    Top,
    TopRight,
    Left,
    Center,
    Right,
    BottomLeft,
    Bottom,
    BottomRight,
}

impl Position {
    /// All nine, in the order of the prompts.
    pub const ALL: [Position; 9] = [
        Position::TopLeft,
        Position::Top,
        Position::TopRight,
        Position::Left,
        Position::Center,
        Position::Right,
        Position::BottomLeft,
        Position::Bottom,
        Position::BottomRight,
    ];

    /// Its words in a prompt and in the `scores` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Position::TopLeft => "top left",
            Position::Top => "top",
            Position::TopRight => "top right",
            Position::Left => "left",
            Position::Center => "center",
            Position::Right => "right",
            Position::BottomLeft => "bottom left",
            Position::Bottom => "bottom",
            Position::BottomRight => "bottom right",
        }
    }
}

/// A box in pixels; corners may lie outside of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBox {
    pub x0: f32,
    pub y0: f32,
    pub x1: f32,
    pub y1: f32,
}

impl PixelBox {
    /// `bbox` in an image of `width` × `height` pixels.
    pub fn new(bbox: NormalizedBox, width: usize, height: usize) -> Self {
        let (box_width, box_height) = (bbox.width * width as f32, bbox.height * height as f32);
        let x0 = bbox.cx * width as f32 - box_width / 2.0;
        let y0 = bbox.cy * height as f32 - box_height / 2.0;
        PixelBox { x0, y0, x1: x0 + box_width, y1: y0 + box_height }
    }

    /// Centre as (x, y).
    pub fn center(&self) -> (f32, f32) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }
}

/// The detection that decides the position: the largest score after it was cut to two decimals,
/// and the last of equal ones, as the published release chooses.
pub fn best_detection(accepted: &[Detection]) -> Option<&Detection> {
    accepted.iter().max_by(|a, b| printed_value(a).total_cmp(&printed_value(b)))
}

/// A print is a number by construction; were it none, it would count as the least.
fn printed_value(detection: &Detection) -> f32 {
    printed_score(detection.probability).parse().unwrap_or(0.0)
}

/// The ninth that holds the centre of the best box, for a square map of `size` pixels a side.
/// `None` if the centre lies in a gap between ninths or outside: all nine positions then count.
pub fn choose_position(accepted: &[Detection], size: usize) -> Option<Position> {
    match best_detection(accepted) {
        Some(best) => position_of(PixelBox::new(best.bbox, size, size).center(), size),
        None => Some(center_where_no_box_is_accepted()),
    }
}

/// The published release sets the centre to (259, 259) of 518 where it found no box.
fn center_where_no_box_is_accepted() -> Position {
    Position::Center
}

fn position_of((x, y): (f32, f32), size: usize) -> Option<Position> {
    let column = third_of(x, size)?;
    let row = third_of(y, size)?;
    Some(Position::ALL[3 * row + column])
}

fn third_of(coordinate: f32, size: usize) -> Option<usize> {
    thirds_with_gaps(size).iter().position(|&[first, last]| (first..=last).contains(&coordinate))
}

/// First and last coordinate of each third. The published ones are whole pixels, both inclusive:
/// [0, 172], [173, 344], [345, 517] of 518. Centres are fractions, so one at 172.5 belongs to
/// none. Other sizes follow the same rule: the outer thirds are `size`/3 pixels, rounded.
fn thirds_with_gaps(size: usize) -> [[f32; 2]; 3] {
    let outer = ((size + 1) / 3) as f32;
    let size = size as f32;
    [[0.0, outer - 1.0], [outer, size - outer - 1.0], [size - outer, size - 1.0]]
}

/// Multiplies `map`, `[height, width]`, by 0.7 wherever no box of `boxes` covers it. Without a box, or
/// if no box covers anything, that is the whole map.
pub fn damp_outside(map: &mut [f32], size: Size, boxes: &[PixelBox]) {
    if size.area() == 0 {
        return;
    }
    let mut inside = vec![false; map.len()];
    for bbox in boxes {
        let columns = covered(bbox.x0, bbox.x1, size.width);
        let rows = covered(bbox.y0, bbox.y1, size.height);
        for row in inside.chunks_exact_mut(size.width).skip(rows.start).take(rows.len()) {
            row[columns.clone()].fill(true);
        }
    }
    for (value, _) in map.iter_mut().zip(inside).filter(|(_, inside)| !inside) {
        *value *= DAMPING;
    }
}

/// Pixels from `first` to `last` of `size`, cut to whole numbers towards zero, the end exclusive.
/// Negative ends count from the far side, as slices of the published code do: a box that sticks
/// out on the left or the top by a pixel or more covers nothing, or a strip on the other side.
fn covered(first: f32, last: f32, size: usize) -> Range<usize> {
    let end = |coordinate: f32| {
        let size = size as i64;
        // Casting cuts towards zero and saturates.
        let whole = coordinate as i64;
        let from_start = if whole < 0 { whole.saturating_add(size) } else { whole };
        from_start.clamp(0, size) as usize
    };
    let start = end(first);
    start..end(last).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirds_of_518_are_the_published_ones_and_others_are_even() {
        assert_eq!(thirds_with_gaps(518), [[0.0, 172.0], [173.0, 344.0], [345.0, 517.0]]);
        assert_eq!(thirds_with_gaps(126), [[0.0, 41.0], [42.0, 83.0], [84.0, 125.0]]);
        assert_eq!(thirds_with_gaps(224), [[0.0, 74.0], [75.0, 148.0], [149.0, 223.0]]);
    }

    #[test]
    fn a_centre_between_two_thirds_has_no_position() {
        assert_eq!(position_of((41.5, 60.0), 126), None);
        assert_eq!(position_of((42.0, 90.0), 126), Some(Position::Bottom));
        assert_eq!(position_of((-0.1, 60.0), 126), None);
        assert_eq!(position_of((f32::NAN, 60.0), 126), None);
    }

    #[test]
    fn without_a_box_the_position_is_the_centre() {
        assert_eq!(choose_position(&[], 126), Some(Position::Center));
    }

    #[test]
    fn ranges_cut_towards_zero_and_count_negative_ends_from_the_far_side() {
        assert_eq!(covered(-0.9, 2.9, 9), 0..2);
        assert_eq!(covered(-5.2, 3.0, 9), 4..4);
        assert_eq!(covered(-2.6, 20.0, 9), 7..9);
        assert_eq!(covered(f32::NAN, f32::INFINITY, 9), 0..9);
    }

    #[test]
    fn the_map_is_damped_where_no_box_covers_it() {
        let mut map = [1.0; 9];
        damp_outside(&mut map, Size::square(3), &[PixelBox { x0: 1.0, y0: 0.5, x1: 3.0, y1: 1.0 }]);
        assert_eq!(map, [0.7, 1.0, 1.0, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]);
    }

    #[test]
    fn a_map_of_another_size_breaks_nothing() {
        let mut map = [1.0; 4];
        damp_outside(&mut map, Size::square(3), &[PixelBox { x0: 0.0, y0: 0.0, x1: 3.0, y1: 3.0 }]);
        assert_eq!(map, [1.0, 1.0, 1.0, 0.7]);
        damp_outside(&mut [], Size::square(0), &[]);
    }
}
