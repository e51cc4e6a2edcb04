//! Large images → their tiles, ready for the networks. In: the bytes of an image that is tiled. Out: the
//! image as a whole and its tiles, in batches that may mix those of several images. One image is decoded
//! at a time, and as many tiles are made as go through the networks together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::batch::{Lost, Prepared, Shown, TileOf, Work};
use super::caught;
use super::prepare::{Ends, PrepareSettings, prepared};
use super::timings::{Part, Timings};
use crate::error::{Failure, Stage};
use crate::image::{ChannelStats, Picture, Size, normalize};
use crate::reference::Digest;
use crate::source::{Category, Fetched, Sample};
use crate::tile::TileGrid;

/// The tiles of large images, on their way in batches; those of one image may be in several, and one may
/// have those of several images.
pub(super) struct TileBatches<'a> {
    ends: &'a Ends<'a>,
    settings: &'a PrepareSettings,
    /// The batch that is being filled.
    category: Option<Category>,
    waiting: Vec<Prepared>,
    /// `None` when nobody wants more.
    wanted: Option<()>,
}

impl<'a> TileBatches<'a> {
    pub fn new(ends: &'a Ends<'a>, settings: &'a PrepareSettings) -> Self {
        TileBatches { ends, settings, category: None, waiting: Vec::new(), wanted: Some(()) }
    }

    /// Sends a large image and its tiles, while they are made.
    pub fn add(&mut self, order: usize, sample: Sample, fetched: &Fetched) {
        if self.wanted.is_none() {
            return;
        }
        self.category = Some(sample.category.clone());
        let batch_size = self.settings.batch_size;
        let done = each_tile(order, &sample, fetched, self.settings, self.ends.timings, |some| {
            self.waiting.extend(some);
            while self.waiting.len() >= batch_size && self.wanted.is_some() {
                let later = self.waiting.split_off(batch_size);
                self.send(later);
            }
            self.wanted
        });
        if let Err(failure) = done {
            let lost = Lost::new(order, &sample, failure);
            self.wanted = self.ends.clock.send(self.ends.out, Work::Failed(lost));
        }
    }

    /// Sends what waits; `later` waits then.
    fn send(&mut self, later: Vec<Prepared>) {
        let batch = std::mem::replace(&mut self.waiting, later);
        if let Some(category) = self.category.clone() {
            self.wanted = self.ends.send(category, batch);
        }
    }

    /// Sends the rest.
    pub fn finish(mut self) -> Option<()> {
        self.wanted?;
        self.send(Vec::new());
        self.wanted
    }
}

/// Decodes a large image and hands it to `take` and then its tiles, as many at a time as go through the
/// networks together, until it wants no more. An image that turns out not to be tiled comes alone.
pub(super) fn each_tile(
    order: usize,
    sample: &Sample,
    fetched: &Fetched,
    settings: &PrepareSettings,
    timings: &Timings,
    mut take: impl FnMut(Vec<Prepared>) -> Option<()>,
) -> Result<(), Failure> {
    let (image, tiles) = Tiles::open(order, sample, fetched, settings, timings)?;
    let mut wanted = take(vec![image]);
    let Some(tiles) = tiles else { return Ok(()) };
    tell_of_tiles(sample, &tiles.grid);
    let mut first = 0;
    while first < tiles.grid.len() && wanted.is_some() {
        let some = first..tiles.grid.len().min(first + settings.batch_size);
        first = some.end;
        let made = some.into_par_iter().map(|index| tiles.tile(index, settings, timings));
        wanted = take(caught(Stage::Decode, || made.collect())?);
    }
    Ok(())
}

/// A large image as a whole and one of its tiles, the one that its digest says; no tile where it turns out
/// not to be tiled.
pub(super) fn with_one_tile(
    order: usize,
    sample: &Sample,
    fetched: &Fetched,
    settings: &PrepareSettings,
    timings: &Timings,
) -> Result<(Prepared, Option<Prepared>), Failure> {
    let (image, tiles) = Tiles::open(order, sample, fetched, settings, timings)?;
    let one = |of: Tiles| of.tile(of.digest.choose(of.grid.len()), settings, timings);
    Ok((image, tiles.map(one)))
}

/// The tiles of a large image that was decoded.
struct Tiles {
    picture: Picture,
    grid: TileGrid,
    order: usize,
    sample: Arc<Sample>,
    digest: Digest,
}

impl Tiles {
    /// Decodes an image. With it as a whole come its tiles, if it has any.
    fn open(
        order: usize,
        sample: &Sample,
        fetched: &Fetched,
        settings: &PrepareSettings,
        timings: &Timings,
    ) -> Result<(Prepared, Option<Self>), Failure> {
        let whole = caught(Stage::Decode, || prepared(order, sample, fetched, settings, timings));
        let (image, picture) = whole??;
        let grid = match &image.shown {
            Shown::Image(subject) => subject.tiles.clone(),
            Shown::Tile(_) => None,
        };
        let (sample, digest) = (Arc::new(sample.clone()), image.shown.digest());
        let tiles = grid.map(|grid| Tiles { picture, grid, order, sample, digest });
        Ok((image, tiles))
    }

    /// One of them, ready for the networks.
    fn tile(&self, index: usize, settings: &PrepareSettings, timings: &Timings) -> Prepared {
        let Tiles { order, digest, .. } = *self;
        let of = TileOf { order, sample: Arc::clone(&self.sample), digest, index };
        timings.part(Part::Resize, || {
            let part = self.picture.crop(self.grid.tile(index));
            Prepared {
                shown: Shown::Tile(of),
                referred: settings.referred.as_ref().map(|wanted| wanted.of(&part)),
                planes: normalize(&part.clip_pixels(settings.side), &ChannelStats::CLIP),
                detector: None,
            }
        })
    }
}

/// Says once that images are tiled, which takes time.
fn tell_of_tiles(sample: &Sample, grid: &TileGrid) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        let Size { width, height } = grid.image();
        tracing::info!(
            "large images are scored in tiles as well: {} is {width} × {height}, {} tiles; \
             --tile-scale 0.5 takes a quarter of them, --tile off none",
            sample.image_id,
            grid.len()
        );
    }
}
