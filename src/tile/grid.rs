//! Where the tiles of an image lie. In: a rule and the size of an image. Out: rectangles of one size,
//! row by row, that cover it; the last ones are shifted inwards, so that none hangs over an edge.

use crate::image::{Rect, Size};

/// Most tiles of one image.
pub const MAX_TILES: usize = 1 << 16;

/// Which images are tiled, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiling {
    /// Of a tile, in pixels of the image.
    pub tile: Size,
    /// Share of a tile's side that it has in common with the next, at least.
    pub overlap: f64,
    /// Only images of more pixels than this on a side are tiled.
    pub beyond: Size,
}

/// The tiles of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrid {
    image: Size,
    tile: Size,
    /// Left edges of the columns, upper edges of the rows.
    left: Vec<usize>,
    upper: Vec<usize>,
}

impl Tiling {
    /// The tiles of an image of this size; `None` where it is scored as a whole only. `Err` says how many
    /// tiles it would take, if these are more than [`MAX_TILES`].
    pub fn grid(&self, image: Size) -> Result<Option<TileGrid>, usize> {
        if image.width <= self.beyond.width && image.height <= self.beyond.height {
            return Ok(None);
        }
        let tile = Size {
            width: self.tile.width.min(image.width),
            height: self.tile.height.min(image.height),
        };
        let columns = count(image.width, tile.width, self.overlap);
        let rows = count(image.height, tile.height, self.overlap);
        let tiles = columns.saturating_mul(rows);
        if tiles > MAX_TILES {
            return Err(tiles);
        }
        let left = edges(image.width, tile.width, columns, self.overlap);
        let upper = edges(image.height, tile.height, rows, self.overlap);
        Ok((tiles > 1).then_some(TileGrid { image, tile, left, upper }))
    }
}

/// Pixels from one tile to the next.
fn step(tile: usize, overlap: f64) -> usize {
    tile.saturating_sub((tile as f64 * overlap).round() as usize).max(1)
}

fn count(side: usize, tile: usize, overlap: f64) -> usize {
    1 + (side - tile).div_ceil(step(tile, overlap))
}

fn edges(side: usize, tile: usize, count: usize, overlap: f64) -> Vec<usize> {
    let step = step(tile, overlap);
    (0..count).map(|i| (i * step).min(side - tile)).collect()
}

impl TileGrid {
    /// How many tiles there are, more than one.
    #[expect(clippy::len_without_is_empty, reason = "a grid has two tiles at least")]
    pub fn len(&self) -> usize {
        self.left.len() * self.upper.len()
    }

    /// Columns and rows.
    pub fn shape(&self) -> Size {
        Size { width: self.left.len(), height: self.upper.len() }
    }

    /// Size of the image.
    pub fn image(&self) -> Size {
        self.image
    }

    /// Where a tile lies, counted row by row.
    pub fn tile(&self, index: usize) -> Rect {
        let columns = self.left.len();
        Rect { x: self.left[index % columns], y: self.upper[index / columns], size: self.tile }
    }

    pub(super) fn left(&self) -> &[usize] {
        &self.left
    }

    pub(super) fn upper(&self) -> &[usize] {
        &self.upper
    }

    pub(super) fn tile_size(&self) -> Size {
        self.tile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(tile: usize, overlap: f64) -> Tiling {
        Tiling { tile: Size::square(tile), overlap, beyond: Size::square(tile) }
    }

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    #[test]
    fn tiles_cover_every_pixel_and_stay_inside() {
        for (width, height) in [(300, 256), (1000, 700), (257, 1), (5000, 300), (256, 513)] {
            for overlap in [0.0, 0.125, 0.5] {
                let grid = tiling(256, overlap).grid(size(width, height)).unwrap().unwrap();
                let mut covered = vec![0u32; width * height];
                for tile in (0..grid.len()).map(|i| grid.tile(i)) {
                    assert!(tile.x + tile.size.width <= width, "{tile:?}");
                    assert!(tile.y + tile.size.height <= height, "{tile:?}");
                    for y in tile.y..tile.y + tile.size.height {
                        for x in tile.x..tile.x + tile.size.width {
                            covered[y * width + x] += 1;
                        }
                    }
                }
                assert!(covered.iter().all(|count| *count > 0), "{width} × {height}, {overlap}");
            }
        }
    }

    #[test]
    fn neighbours_share_what_was_asked_for() {
        let grid = tiling(256, 0.125).grid(size(1000, 256)).unwrap().unwrap();
        assert_eq!(grid.left(), [0, 224, 448, 672, 744]);
        assert_eq!(grid.shape(), size(5, 1));
        assert_eq!(grid.tile(4), Rect { x: 744, y: 0, size: size(256, 256) });
    }

    #[test]
    fn what_is_no_larger_is_not_tiled() {
        let tiling = Tiling { beyond: Size::square(512), ..tiling(256, 0.125) };
        assert_eq!(tiling.grid(size(512, 512)), Ok(None));
        assert_eq!(tiling.grid(size(1, 1)), Ok(None));
        assert_eq!(tiling.grid(size(513, 1)).unwrap().unwrap().shape(), size(3, 1));
    }

    #[test]
    fn too_many_tiles_are_counted_and_refused() {
        let tiles = tiling(16, 0.5).grid(size(1 << 18, 1 << 18)).unwrap_err();
        assert_eq!(tiles, 32767 * 32767);
        assert_eq!(tiling(1, 0.5).grid(size(1 << 18, 2)), Err(1 << 19));
    }
}
