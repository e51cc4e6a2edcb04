//! References of tiles, of categories most of whose references are large. In: one tile of each large
//! reference, and the images themselves once more. Out: the references of the category with those of its
//! tiles, and with what scores some of the images have that are tiled to their last pixel.

use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::make::{Only, ReferenceMaker};
use crate::error::Error;
use crate::pipeline::batch::{Batch, Inferred, Prepared, Shown};
use crate::pipeline::finish::observe;
use crate::pipeline::tiles::each_tile;
use crate::pipeline::timings::Timings;
use crate::reference::{MIN_REFERENCES, Peaks, Reference, ReferenceImage, Shows};
use crate::source::{Category, Fetched, Sample};

/// Images that are tiled to their last pixel, to know the scores of such images.
const TILED_IMAGES: usize = 32;

impl ReferenceMaker<'_> {
    /// `reference` with the references of `tiles`, if they are enough; `None` where a signal came first.
    pub(super) fn of_tiles<I: Iterator<Item = (usize, Sample, Fetched)>>(
        &mut self,
        category: &Category,
        tiles: Vec<ReferenceImage>,
        reference: Reference,
        images: impl Fn(Only) -> I,
    ) -> Result<Option<Reference>, Error> {
        let count = tiles.len();
        if count == 0 {
            return Ok(Some(reference));
        }
        let tiled = tiles.iter().map(|tile| tile.image_id.clone()).take(TILED_IMAGES);
        let tiled = Only::some(tiled);
        // Scores and maps of a category are compared with each other: it is tiled or it is not.
        let needed = MIN_REFERENCES.max(reference.count().div_ceil(2));
        let of_tiles = (count >= needed)
            .then(|| {
                let (origin, made_by) = (reference.origin(), self.made_by.clone());
                Reference::build(tiles, Vec::new(), origin, made_by, Shows::Tiles)
            })
            .flatten();
        let Some(of_tiles) = of_tiles else {
            tracing::warn!(
                "category {category}: {count} of its {} references are large enough to be tiled, \
                 {needed} are needed: its images are scored as a whole only",
                reference.count()
            );
            return Ok(Some(reference));
        };
        tracing::info!("scoring {} references of {category} in tiles", tiled.count());
        let timings = Timings::default();
        let mut peaks = Vec::with_capacity(tiled.count());
        for (order, sample, fetched) in images(tiled) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mut seen = Peaks { whole: 0.0, tile: f64::NEG_INFINITY, tiles: 0 };
            let prepare = self.prepare;
            // One that fails is told of where it is scored.
            let _ = each_tile(order, &sample, &fetched, prepare, &timings, |some| {
                self.look(category, some, &reference, &of_tiles, &mut seen, &timings);
                Some(())
            });
            if seen.tiles > 0 {
                peaks.push(seen);
            }
        }
        Ok(Some(match peaks.len() < MIN_REFERENCES {
            true => reference,
            false => reference.with_tiles(of_tiles, &peaks),
        }))
    }

    /// Adds what is seen of an image and its tiles.
    fn look(
        &mut self,
        category: &Category,
        some: Vec<Prepared>,
        reference: &Reference,
        of_tiles: &Reference,
        peaks: &mut Peaks,
        timings: &Timings,
    ) {
        let batch = Batch { category: category.clone(), pictures: some };
        let (done, _) = self.infer.infer(batch, timings);
        let finish = self.finish;
        let seen = done.par_iter().map(|inferred: &Inferred| {
            let is_tile = matches!(inferred.shown, Shown::Tile(_));
            let of = if is_tile { of_tiles } else { reference };
            let seen = observe(inferred, finish)?;
            let distances = of.distances(&seen.features, seen.digest);
            Some((is_tile, of.raw(&distances, &seen.text).peak))
        });
        for (is_tile, peak) in seen.collect::<Vec<_>>().into_iter().flatten() {
            match is_tile {
                true => {
                    peaks.tile = peaks.tile.max(peak);
                    peaks.tiles += 1;
                }
                false => peaks.whole = peak,
            }
        }
    }
}
