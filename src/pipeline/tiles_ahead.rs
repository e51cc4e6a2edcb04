//! How many tiles a run would have, before it begins. In: the plan of a run. Out: what the sizes of a few
//! of its images say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::caught;
use super::plan::Plan;
use crate::error::Stage;
use crate::image::{Picture, Size};
use crate::reference::rank;
use crate::source::{Entry, Fetcher, FileNames};
use crate::tile::Tiling;

/// Images that are looked at; of archives, the first ones of one.
const LOOKED_AT: usize = 16;

/// What the sizes of a few images say about tiles.
#[derive(Debug, Default)]
pub struct TilesAhead {
    /// Images of the run; of archives it shows when they are read.
    pub images: Option<usize>,
    /// Images whose size could be read.
    pub looked_at: usize,
    /// Those of them that would be scored in tiles.
    pub tiled: usize,
    /// Their tiles.
    pub tiles: usize,
    /// Images that need more tiles than are scored, and how many the largest needs.
    pub too_many: Option<(usize, usize)>,
    /// The largest image with tiles, and how many it has.
    pub largest: Option<(Size, usize)>,
}

impl TilesAhead {
    /// Of the images of `plan`, which `fetcher` reads. What cannot be read is left out: the run says why.
    pub fn of(plan: &Plan, tiling: &Tiling, fetcher: &Fetcher) -> Self {
        let mut ahead = TilesAhead::default();
        let mut chosen = BTreeMap::new();
        for entry in plan.shards.iter().flat_map(|shard| &shard.entries) {
            chosen.insert(rank(entry.image_id()), entry);
            if chosen.len() > LOOKED_AT {
                chosen.pop_last();
            }
        }
        let files = chosen.values().filter_map(|entry| match entry {
            Entry::Sample(sample) => {
                let file = FileNames { masks: &[], ..FileNames::from(sample) };
                Some(((), file))
            }
            Entry::Archive(_) | Entry::Rejected(_) => None,
        });
        for ((), fetched) in fetcher.ahead(files) {
            if let Ok(image) = fetched.image {
                ahead.add(&image, tiling);
            }
        }
        let first = chosen.values().find_map(|entry| match entry {
            Entry::Archive(archive) => Some(archive),
            Entry::Sample(_) | Entry::Rejected(_) => None,
        });
        ahead.images = first.is_none().then(|| plan.pictures());
        if let Some(archive) = first
            && let Ok(open) = fetcher.open(
                &archive.image_id,
                archive.kind,
                archive.version.as_ref(),
                archive.bytes,
            )
        {
            let mut seen = 0;
            open.each(|member| {
                if let Ok(image) = &member.picture {
                    ahead.add(image, tiling);
                }
                seen += 1;
                if seen < LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        ahead
    }

    fn add(&mut self, file: &[u8], tiling: &Tiling) {
        let Ok(Some(size)) = caught(Stage::Decode, || Picture::claimed_size(file)) else { return };
        self.looked_at += 1;
        match tiling.grid(size) {
            Ok(None) => {}
            Ok(Some(grid)) => {
                self.tiled += 1;
                self.tiles += grid.len();
                if self.largest.is_none_or(|(_, most)| most < grid.len()) {
                    self.largest = Some((size, grid.len()));
                }
            }
            Err(tiles) => {
                let (images, most) = self.too_many.unwrap_or_default();
                self.too_many = Some((images + 1, most.max(tiles)));
            }
        }
    }
}
