//! Large images in tiles. In: the size of an image, then a map for each of its tiles. Out: where the
//! tiles lie, and one map of the whole image. Pure numbers; pixels and networks are elsewhere.

mod grid;
mod stitch;

pub use grid::{MAX_TILES, TileGrid, Tiling};
pub use stitch::{Stitcher, stitched_size};
