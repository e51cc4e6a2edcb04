//! Images while their tiles come. In: what the networks and the references say of a whole image, then of
//! its tiles, in their order. Out: the image with one map of all of its tiles, once the last one is there.
//! An image that failed, as a whole or in one of its tiles, is forgotten.

use std::collections::{HashMap, HashSet};

use super::batch::{Inferred, Shown};
use crate::image::Size;
use crate::reference::{Peaks, Raw};
use crate::tile::{Stitcher, TileGrid};

/// What is said of a tile.
pub struct TileMap {
    /// Index of the image in the shard, and of the tile in the image.
    pub order: usize,
    pub index: usize,
    /// As it becomes part of the image's map, of the side that [`OpenImages::add_image`] was told.
    pub map: Vec<f32>,
    /// The tile's score, with and without FiLo's own map; not squashed where there are references.
    pub peak: f64,
    pub without_text: f64,
    /// FiLo's own score.
    pub text_score: f32,
    /// Time of the networks, milliseconds.
    pub ms_infer: f32,
}

/// What all tiles of an image say.
pub struct Stitched {
    /// `[height, width]`.
    pub map: Vec<f32>,
    pub size: Size,
    /// Columns and rows of tiles.
    pub shape: Size,
    /// The highest of the tiles.
    pub text_score: f32,
    peak: f64,
    without_text: f64,
    /// Time of the networks for the tiles, milliseconds.
    pub ms_infer: f32,
}

/// The images of a shard that wait for tiles.
#[derive(Default)]
pub struct OpenImages {
    open: HashMap<usize, Open>,
    /// Those that failed.
    lost: HashSet<usize>,
}

struct Open {
    image: Inferred,
    stitcher: Stitcher,
    shape: Size,
    /// Tiles that have yet to come.
    left: usize,
    peak: f64,
    without_text: f64,
    text_score: f32,
    ms_infer: f32,
}

impl OpenImages {
    /// Takes in an image before its tiles, whose maps are of `side` × `side`.
    pub fn add_image(&mut self, image: Inferred, grid: &TileGrid, side: usize) {
        let order = image.shown.order();
        if self.lost.contains(&order) {
            return;
        }
        let open = Open {
            image,
            stitcher: Stitcher::new(grid, side),
            shape: grid.shape(),
            left: grid.len(),
            peak: f64::NEG_INFINITY,
            without_text: f64::NEG_INFINITY,
            text_score: f32::NEG_INFINITY,
            ms_infer: 0.0,
        };
        self.open.insert(order, open);
    }

    /// Takes in a tile; gives the image back if it was the last one.
    pub fn add_tile(&mut self, tile: TileMap) -> Option<(Inferred, Stitched)> {
        let open = self.open.get_mut(&tile.order)?;
        open.stitcher.add(tile.index, &tile.map);
        open.peak = open.peak.max(tile.peak);
        open.without_text = open.without_text.max(tile.without_text);
        open.text_score = open.text_score.max(tile.text_score);
        open.ms_infer += tile.ms_infer;
        open.left -= 1;
        if open.left > 0 {
            return None;
        }
        let Open { image, stitcher, shape, peak, without_text, text_score, ms_infer, .. } =
            self.open.remove(&tile.order)?;
        debug_assert!(matches!(image.shown, Shown::Image(_)));
        let (size, map) = (stitcher.size(), stitcher.finish());
        let stitched = Stitched { map, size, shape, text_score, peak, without_text, ms_infer };
        Some((image, stitched))
    }

    /// Forgets an image; returns whether it had not failed before.
    pub fn lose(&mut self, order: usize) -> bool {
        self.open.remove(&order);
        self.lost.insert(order)
    }
}

impl Stitched {
    /// The peaks of an image that as a whole is `raw`: with and without FiLo's own map.
    pub fn peaks(&self, raw: &Raw) -> [Peaks; 2] {
        let tiles = self.shape.area();
        [
            Peaks { whole: raw.peak, tile: self.peak, tiles },
            Peaks { whole: raw.without_text, tile: self.without_text, tiles },
        ]
    }
}
