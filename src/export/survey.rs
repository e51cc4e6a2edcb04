//! One look at all scores before anything is written. In: a set of runs, and what is wanted of it. Out:
//! names of files, colours of heat, and which images have the highest scores. Holds some 20 bytes of
//! each image, and the names of as many images of a category as the highest are to be.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use super::names::{FileNames, ImageName};
use super::selection::Choice;
use crate::draw::HeatScale;
use crate::error::TableError;
use crate::store::try_at_once;
use crate::tables::{RankedScore, RunSet, SetThresholds, ShardImages};

/// What is to be known of all images before the first is exported.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    pub names: bool,
    pub heat: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    names: FileNames,
    heat: BTreeMap<String, HeatScale>,
    /// Of a choice of the highest scores: which images these are.
    top: HashSet<RowKey>,
    places: Vec<String>,
}

/// A row of a part of `scores`: run, shard, category and row.
type RowKey = (u32, u32, u32, u32);

/// An image among those with the highest scores, the highest first; equal ones by name.
type Rank = (std::cmp::Reverse<i32>, String, RowKey);

#[derive(Default)]
struct Counted {
    names: FileNames,
    maps: BTreeMap<String, (Vec<f32>, f32)>,
    top: BTreeMap<String, BTreeSet<Rank>>,
}

impl Survey {
    /// Of the images of `set` in `categories`, sorted, all there are.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn of(
        set: &RunSet,
        categories: &[&str],
        thresholds: &SetThresholds,
        choice: &Choice,
        needs: Needs,
    ) -> Result<Self, TableError> {
        let places = (0..set.runs().len()).map(|run| set.place(run)).collect::<Vec<_>>();
        let none = Survey { places, ..Survey::default() };
        if !needs.names && !needs.heat && choice.top.is_none() {
            return Ok(none);
        }
        // Names are told apart from those of all images, exported or not.
        let wanted =
            |part: &ShardImages| needs.names || categories.binary_search(&part.category).is_ok();
        let parts = set.images().filter(wanted).collect::<Vec<_>>();
        let counted = Mutex::new(Counted::default());
        try_at_once(&parts, |part| {
            let rows = part.scores::<RankedScore>()?.collect::<Result<Vec<_>, _>>()?;
            let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            let chosen = categories.binary_search(&part.category).ok();
            for (at, mut row) in rows {
                let image_id = &row.image_id;
                let (place, category) = (none.places[part.run].as_str(), part.category);
                if needs.names {
                    counted.names.add(ImageName { place, category, image_id });
                }
                let Some(chosen) = chosen else { continue };
                if needs.heat {
                    let maps = counted.maps.entry(category.to_string()).or_default();
                    maps.0.push(row.map_mean);
                    maps.1 = maps.1.max(row.map_max);
                }
                let limit = thresholds.limit(part.run, category);
                limit.decide(&mut row.is_anomalous, &mut row.threshold, row.score);
                if let Some(most) = choice.top.filter(|_| choice.is_wanted(row.is_anomalous)) {
                    let key = (part.run as u32, part.shard as u32, chosen as u32, at);
                    counted.rank(category, most, row, key);
                }
            }
            Ok::<_, TableError>(())
        })?;
        let counted = counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let scale = |(category, (means, hottest))| (category, HeatScale::of_maps(means, hottest));
        let top = counted.top.into_values().flatten().map(|(_, _, key)| key);
        Ok(Survey {
            names: counted.names,
            heat: counted.maps.into_iter().map(scale).collect(),
            top: top.collect(),
            ..none
        })
    }

    /// Whether a row is among the highest.
    pub fn is_top(&self, part: &ShardImages, categories: &[&str], at: u32) -> bool {
        let category = categories.binary_search(&part.category).unwrap_or(usize::MAX);
        self.top.contains(&(part.run as u32, part.shard as u32, category as u32, at))
    }

    /// The file of an image, relative to the folder of the export.
    pub fn name(&self, run: usize, category: &str, image_id: &str) -> String {
        let place = self.places.get(run).map_or("", String::as_str);
        self.names.of(ImageName { place, category, image_id })
    }

    /// The colours of the maps of a category.
    pub fn heat(&self, category: &str) -> Option<HeatScale> {
        self.heat.get(category).copied()
    }
}

impl Counted {
    fn rank(&mut self, category: &str, most: usize, row: RankedScore, key: RowKey) {
        let ranks = self.top.entry(category.to_string()).or_default();
        ranks.insert((std::cmp::Reverse(order_of(row.score)), row.image_id, key));
        if ranks.len() > most {
            ranks.pop_last();
        }
    }
}

/// A number that is the higher the higher `score` is, as `f32::total_cmp` has it.
fn order_of(score: f32) -> i32 {
    let bits = score.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_scores_is_that_of_their_numbers() {
        let scores = [-2.5, -1.0, -0.0, 0.0, 1e-30, 0.5, 0.75, 3.0];
        assert!(scores.map(order_of).is_sorted_by(|a, b| a < b));
    }
}
