//! The hottest part of a large image, which is too small to be seen in the whole. In: a row of `scores`
//! and its map. Out: where the part is, and what was found there.

use super::layers::Findings;
use crate::draw::HeatScale;
use crate::image::{Mask, Rect, Size};
use crate::tables::{RawMap, ShownScore};

/// The part around the highest value of `map`, about as large as a tile.
pub fn hottest_part(row: &ShownScore, map: &RawMap) -> Rect {
    let of = [row.width, row.height].map(|side| usize::try_from(side).unwrap_or_default().max(1));
    let [width, height] = of;
    let grid = row.tile_grid.as_deref().and_then(|grid| grid.split_once('x'));
    let count = |text: &str| text.parse::<usize>().unwrap_or(1).max(1);
    let (columns, rows) = grid.map_or((1, 1), |(columns, rows)| (count(columns), count(rows)));
    let size = Size { width: width.div_ceil(columns), height: height.div_ceil(rows) };
    let mut values = map.values.iter().enumerate();
    let first = values.next().unwrap_or((0, &0.0));
    let (at, _) = values.fold(first, |most, other| if other.1 > most.1 { other } else { most });
    let wide = map.size.width.max(1);
    // The middle of the cell, in pixels of the image.
    let middle =
        |cell: usize, cells: usize, side: usize| (2 * cell + 1) * side / (2 * cells.max(1));
    let (x, y) = (middle(at % wide, wide, width), middle(at / wide, map.size.height, height));
    let edge =
        |middle: usize, part: usize, side: usize| middle.saturating_sub(part / 2).min(side - part);
    Rect { x: edge(x, size.width, width), y: edge(y, size.height, height), size }
}

/// What was found in a part of an image.
pub struct Cropped {
    map: Option<RawMap>,
    scale: HeatScale,
    truth: Option<Mask>,
    prediction: Option<Mask>,
}

impl Cropped {
    /// Of what was found in an image of size `of`, which has the part.
    pub fn of(findings: Findings, of: Size, part: Rect) -> Self {
        let mask = |mask: &Mask| {
            let Size { width, .. } = of;
            let values = cropped(mask.values(), width, part);
            Mask::new(part.size, values)
        };
        Cropped {
            map: findings.map.map(|map| cropped_map(map, of, part)),
            scale: findings.scale,
            truth: findings.truth.and_then(mask),
            prediction: findings.prediction.and_then(mask),
        }
    }

    pub fn findings(&self) -> Findings<'_> {
        Findings {
            map: self.map.as_ref(),
            scale: self.scale,
            truth: self.truth.as_ref(),
            prediction: self.prediction.as_ref(),
        }
    }
}

/// The cells of a map that the part touches.
fn cropped_map(map: &RawMap, of: Size, part: Rect) -> RawMap {
    let cells = |from: usize, length: usize, cells: usize, side: usize| {
        let first = (from * cells / side).min(cells.saturating_sub(1));
        let last = ((from + length) * cells).div_ceil(side).clamp(first + 1, cells.max(first + 1));
        (first, last - first)
    };
    let (x, width) = cells(part.x, part.size.width, map.size.width, of.width);
    let (y, height) = cells(part.y, part.size.height, map.size.height, of.height);
    let part = Rect { x, y, size: Size { width, height } };
    RawMap { size: part.size, values: cropped(&map.values, map.size.width, part) }
}

/// The values of a part of a plane of this width.
fn cropped<T: Copy>(values: &[T], width: usize, part: Rect) -> Vec<T> {
    let rows = values.chunks(width.max(1)).skip(part.y).take(part.size.height);
    rows.flat_map(|row| &row[part.x..part.x + part.size.width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ShownScore {
        ShownScore {
            width: 1000,
            height: 600,
            tile_grid: Some("5x3".into()),
            ..ShownScore::default()
        }
    }

    #[test]
    fn the_part_is_around_the_highest_value_and_inside_the_image() {
        let mut map = RawMap { size: Size { width: 100, height: 60 }, values: vec![0.0; 6000] };
        map.values[30 * 100 + 50] = 1.0;
        let part = hottest_part(&row(), &map);
        assert_eq!(part, Rect { x: 405, y: 205, size: Size::square(200) });
        map.values[99] = 2.0;
        assert_eq!(hottest_part(&row(), &map), Rect { x: 800, y: 0, size: Size::square(200) });
    }

    #[test]
    fn findings_are_cut_where_the_image_is() {
        let of = Size { width: 1000, height: 600 };
        let mut map = RawMap { size: Size { width: 100, height: 60 }, values: vec![0.0; 6000] };
        map.values[30 * 100 + 50] = 1.0;
        let inside =
            |x: usize, y: usize| u8::from((500..510).contains(&x) && (300..310).contains(&y));
        let mask = (0..of.area()).map(|i| inside(i % 1000, i / 1000)).collect();
        let mask = Mask::new(of, mask).unwrap();
        let scale = HeatScale { coldest: 0.0, hottest: 1.0 };
        let findings = Findings { map: Some(&map), scale, truth: Some(&mask), prediction: None };
        let part = Rect { x: 405, y: 205, size: Size::square(200) };
        let cropped = Cropped::of(findings, of, part);
        let own = cropped.findings();
        assert_eq!(own.truth.unwrap().area_px(), 100);
        let values = own.truth.unwrap().values();
        assert_eq!(values[95 * 200 + 95], 1);
        let map = own.map.unwrap();
        assert_eq!(map.size, Size::square(21));
        assert_eq!(map.values[10 * 21 + 10], 1.0);
    }
}
