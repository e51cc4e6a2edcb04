//! One run, or several as one set, ready to be measured. In: the runs. Out: their rows and the pixels
//! of each category. Sketches hold the pixels of whole shards: where a newer run replaces some images
//! of a shard, the sketch is made again of the raw maps of the others, if the run kept them. What
//! cannot be made is unknown, and is never guessed.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::pixel_groups::PixelGroups;
use crate::error::{Error, MetricsError};
use crate::image::Rle;
use crate::metrics::{MapPixels, PixelSummary};
use crate::tables::{MappedScore, MixedPixels, PartialRow, RunSet, fold_set, read_map_npy};

/// What a job says that keeps maps as they were counted.
const EXACT_MAPS: &str = "f32";

/// A set of images that were scored alike.
#[derive(Debug)]
pub struct DataSet {
    pub runs: RunSet,
    /// By category: pixels of shards of which only some images count.
    rest: BTreeMap<String, Rest>,
}

/// What is left of shards of which some images do not count.
#[derive(Debug, Default)]
struct Rest {
    pixels: PixelGroups,
    unknown: Option<Unknown>,
}

/// Why the pixels of a category are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Shards whose sketches cannot be taken apart.
    pub shards: u64,
    /// Images in them that do not count any more.
    pub images: u64,
    /// Why not, for one of them.
    pub why: &'static str,
}

impl DataSet {
    /// Takes the runs of `runs` as one set.
    ///
    /// # Errors
    /// If a table or a raw map cannot be read.
    pub fn new(runs: RunSet) -> Result<Self, Error> {
        let mut rest = BTreeMap::new();
        for category in runs.categories() {
            let mixed = runs.mixed_pixels(category);
            if mixed.is_empty() {
                continue;
            }
            // Merged as they come: sketches of all shards are more than memory may hold.
            let of_category = mixed
                .par_iter()
                .try_fold(Rest::default, |rest, mixed| rest.merge(Rest::of(mixed)?))
                .try_reduce(Rest::default, Rest::merge)?;
            rest.insert(category.to_string(), of_category);
        }
        Ok(DataSet { runs, rest })
    }

    /// Categories whose pixels are not known.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &Unknown)> {
        let rest = self.rest.iter();
        rest.filter_map(|(category, rest)| Some((category.as_str(), rest.unknown.as_ref()?)))
    }

    /// The pixels of a category; `None` where they are not known.
    ///
    /// # Errors
    /// If a part cannot be read, or is damaged.
    pub fn pixels(&self, category: &str) -> Result<Option<PixelGroups>, Error> {
        let rest = self.rest.get(category);
        if rest.is_some_and(|rest| rest.unknown.is_some()) {
            return Ok(None);
        }
        let add = |groups: &mut PixelGroups, _, rows: Vec<PartialRow>| {
            rows.into_iter().try_for_each(|row| groups.add_row(row))
        };
        let mut pixels = fold_set(&self.runs, category, add, PixelGroups::merge)?;
        if let Some(rest) = rest {
            pixels.merge(rest.pixels.clone())?;
        }
        Ok(Some(pixels))
    }
}

impl Rest {
    /// Of one shard.
    fn of(mixed: &MixedPixels) -> Result<Self, Error> {
        Ok(match rest_of(mixed)? {
            Ok(pixels) => Rest { pixels, unknown: None },
            Err(why) => {
                let unknown = Unknown { shards: 1, images: mixed.lost, why };
                Rest { unknown: Some(unknown), ..Rest::default() }
            }
        })
    }

    fn merge(mut self, other: Self) -> Result<Self, Error> {
        self.unknown = match (self.unknown, other.unknown) {
            (Some(ours), Some(other)) => Some(Unknown {
                shards: ours.shards + other.shards,
                images: ours.images + other.images,
                why: ours.why,
            }),
            (one, other) => one.or(other),
        };
        match self.unknown {
            None => self.pixels.merge(other.pixels)?,
            // They will not be asked for.
            Some(_) => self.pixels = PixelGroups::default(),
        }
        Ok(self)
    }
}

/// The pixels of the images of a part that count, or why they are not known.
fn rest_of(mixed: &MixedPixels) -> Result<Result<PixelGroups, &'static str>, Error> {
    if mixed.run.manifest().spec["maps"] != EXACT_MAPS {
        return Ok(Err("the run that scored them first kept no raw maps of 32 bits (--maps f32)"));
    }
    let mut pixels = PixelGroups::default();
    for row in mixed.rows::<MappedScore>()? {
        let Some(counted) = &row.pixel_summary else { continue };
        let summary = PixelSummary::decode(counted).ok_or(MetricsError::DamagedSketch)?;
        let Some(path) = &row.map_path else { return Ok(Err("a raw map was not kept")) };
        if !mixed.run.store().exists(path)? {
            return Ok(Err("a raw map of the run is gone"));
        }
        let map = read_map_npy(mixed.run.store(), path)?;
        let mask = match (summary.n_anomalous, row.true_mask) {
            (0, _) => None,
            (_, None) => return Ok(Err("the run is of a version that did not keep true masks")),
            (_, Some(counts)) => match Rle::from_counts(map.size, counts) {
                Ok(rle) => Some(rle.decode()),
                Err(_) => return Ok(Err("a true mask has another size than its raw map")),
            },
        };
        let mask = mask.as_ref().map(|mask| mask.values());
        let of_image = MapPixels::new(&map.values, mask, map.size.width, map.size.height)?;
        // Whoever changed a map changed what was measured.
        if PixelSummary::new(&of_image).encode() != *counted {
            return Ok(Err("a raw map is not the one that was counted"));
        }
        pixels.add_map(row.kind.as_deref(), &of_image)?;
    }
    Ok(Ok(pixels))
}
