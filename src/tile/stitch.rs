//! One map of an image from the maps of its tiles. In: the tiles' maps, in any order. Out: a map of the
//! whole image, in which each tile weighs most in its middle and fades out over what it shares with its
//! neighbours, so that there are no seams. The sum is made in the order of the tiles: the same bits
//! whatever came first is up to whoever adds them in that order.

use super::TileGrid;
use crate::image::{Between, Size};

/// Pixels of a map along the longer side of a tile.
const PER_TILE: usize = 64;

/// Most pixels of a stitched map.
const MAX_PIXELS: usize = 1 << 22;

/// What a tile weighs at its edge, of what it weighs in its middle.
const EDGE: f64 = 1e-3;

/// The map of an image, while its tiles come.
#[derive(Debug)]
pub struct Stitcher {
    size: Size,
    columns: Vec<Axis>,
    rows: Vec<Axis>,
    side: usize,
    values: Vec<f32>,
}

/// Where a column or row of tiles lies on the map, along one axis.
#[derive(Debug)]
struct Axis {
    /// The first pixel of the map that it covers.
    first: usize,
    /// For each pixel from there: where in the tile's map it lies, and how much the tile counts; the
    /// weights of all tiles at a pixel sum to 1.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    at: Between,
    weight: f32,
}

impl Stitcher {
    /// For the tiles of `grid`, whose maps are of `side` × `side`.
    pub fn new(grid: &TileGrid, side: usize) -> Self {
        let (image, tile, size) = (grid.image(), grid.tile_size(), stitched_size(grid));
        let columns = axes(grid.left(), image.width, tile.width, size.width, side);
        let rows = axes(grid.upper(), image.height, tile.height, size.height, side);
        Stitcher { size, columns, rows, side, values: vec![0.0; size.area()] }
    }

    /// Size of the map.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Adds the map of a tile, `[side, side]`.
    pub fn add(&mut self, index: usize, map: &[f32]) {
        let side = self.side;
        let columns = &self.columns[index % self.columns.len()];
        let rows = &self.rows[index / self.columns.len()];
        for (y, row) in rows.places.iter().enumerate() {
            let line = &mut self.values[(rows.first + y) * self.size.width..][columns.first..];
            for (value, column) in line.iter_mut().zip(&columns.places) {
                let at = row.at.read(|y| column.at.read(|x| map[y * side + x]));
                *value += at * row.weight * column.weight;
            }
        }
    }

    /// The map, `[height, width]`.
    pub fn finish(self) -> Vec<f32> {
        self.values
    }
}

/// Size of the map of an image with these tiles: 64 pixels for the longer side of a tile, or less where
/// the image is so large that its map would be.
pub fn stitched_size(grid: &TileGrid) -> Size {
    let (image, tile) = (grid.image(), grid.tile_size());
    let scale = PER_TILE as f64 / tile.width.max(tile.height) as f64;
    let (wide, high) = (image.width as f64 * scale, image.height as f64 * scale);
    let shrink = (MAX_PIXELS as f64 / (wide * high)).sqrt().min(1.0);
    let side = |length: f64| ((length * shrink).round() as usize).max(1);
    Size { width: side(wide), height: side(high) }
}

/// The tiles that begin at `edges` of `pixels`, each `tile` long, on `length` pixels of the map.
fn axes(edges: &[usize], pixels: usize, tile: usize, length: usize, side: usize) -> Vec<Axis> {
    let centre = |i: usize| (i as f64 + 0.5) * pixels as f64 / length as f64;
    let mut sums = vec![0.0; length];
    let mut axes = Vec::with_capacity(edges.len());
    for (which, edge) in edges.iter().enumerate() {
        let (start, end) = (*edge as f64, (edge + tile) as f64);
        let shared = |other: Option<&usize>| {
            other.map_or(0.0, |other| tile as f64 - edge.abs_diff(*other) as f64)
        };
        let before = shared(which.checked_sub(1).map(|before| &edges[before]));
        let after = shared(edges.get(which + 1));
        let first = (0..length).find(|i| centre(*i) >= start).unwrap_or(length - 1);
        let mut weights = Vec::new();
        for i in (first..length).take_while(|i| centre(*i) < end) {
            let rise = |distance: f64, over: f64| match over > 0.0 {
                true => smooth(distance / over),
                false => 1.0,
            };
            let weight = rise(centre(i) - start, before).min(rise(end - centre(i), after));
            sums[i] += weight;
            let at = (centre(i) - start) * side as f64 / tile as f64 - 0.5;
            weights.push((Between::at(at, side), weight));
        }
        axes.push((first, weights));
    }
    let axis = |(first, weights): (usize, Vec<(Between, f64)>)| {
        let place = |(i, (at, weight)): (usize, (Between, f64))| Place {
            at,
            weight: (weight / sums[first + i]) as f32,
        };
        Axis { first, places: weights.into_iter().enumerate().map(place).collect() }
    };
    axes.into_iter().map(axis).collect()
}

/// From [`EDGE`] at 0 to 1 at 1, level at both ends.
fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    EDGE + (1.0 - EDGE) * x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::Tiling;

    const SIDE: usize = 32;

    fn grid(width: usize, height: usize, tile: usize, overlap: f64) -> TileGrid {
        let tiling = Tiling { tile: Size::square(tile), overlap, beyond: Size::square(tile) };
        tiling.grid(Size { width, height }).unwrap().unwrap()
    }

    /// The stitched map of tiles that show a function of the place in the image.
    fn stitched(grid: &TileGrid, of: impl Fn(f64, f64) -> f64) -> (Size, Vec<f32>) {
        let mut stitcher = Stitcher::new(grid, SIDE);
        for index in 0..grid.len() {
            let tile = grid.tile(index);
            let place = |i: usize, edge: usize, side: usize| {
                edge as f64 + (i as f64 + 0.5) * side as f64 / SIDE as f64
            };
            let map = (0..SIDE * SIDE).map(|i| {
                let x = place(i % SIDE, tile.x, tile.size.width);
                let y = place(i / SIDE, tile.y, tile.size.height);
                of(x, y) as f32
            });
            stitcher.add(index, &map.collect::<Vec<_>>());
        }
        (stitcher.size(), stitcher.finish())
    }

    #[test]
    fn a_constant_stays_constant() {
        for (width, height, overlap) in [(1000, 700, 0.125), (513, 100, 0.0), (257, 256, 0.5)] {
            let (size, map) = stitched(&grid(width, height, 256, overlap), |_, _| 0.7);
            assert_eq!(map.len(), size.area());
            assert!(map.iter().all(|value| (value - 0.7).abs() < 1e-5), "{width} × {height}");
        }
    }

    #[test]
    fn no_seam_shows_wherever_the_tiles_lie() {
        // A plane is what interpolation between cells keeps, but for half a cell at the border.
        let plane = |x: f64, y: f64| (x + 2.0 * y) / 3000.0;
        for (width, overlap) in [(1000, 0.125), (1024, 0.25), (900, 0.5)] {
            let (size, map) = stitched(&grid(width, 700, 256, overlap), plane);
            let border = 2;
            for y in border..size.height - border {
                for x in border..size.width - border {
                    let centre = |i: usize, pixels: usize, length: usize| {
                        (i as f64 + 0.5) * pixels as f64 / length as f64
                    };
                    let expected = plane(centre(x, width, size.width), centre(y, 700, size.height));
                    let value = f64::from(map[y * size.width + x]);
                    assert!((value - expected).abs() < 1e-4, "{x}, {y}: {value}, {expected}");
                }
            }
        }
    }

    #[test]
    fn a_map_of_a_huge_image_is_bounded() {
        let stitcher = Stitcher::new(&grid(20_000, 10_000, 256, 0.125), 128);
        let Size { width, height } = stitcher.size();
        assert!(width * height <= MAX_PIXELS + width && width == 2 * height, "{width} × {height}");
        let line = stitched_size(&grid(100_000, 3, 256, 0.0));
        assert_eq!(line, Size { width: 25_000, height: 1 });
    }
}
