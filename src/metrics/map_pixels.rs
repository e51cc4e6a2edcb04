//! An anomaly map with its mask in, checked; its pixels out, outside of regions and region by region.
//! Never here: counts.

use crate::error::MetricsError;

use super::regions::{Regions, check_plane, connected_regions};
use super::sketch::grid::key_of;

/// A map that has been looked at: all scores are finite, and the regions of its mask are known.
#[derive(Debug)]
pub struct MapPixels<'a> {
    map: &'a [f32],
    /// `None` where every pixel is normal.
    regions: Option<Regions>,
    /// Keys of the pixels in each region, highest scores first.
    keys_by_region: Vec<Vec<u32>>,
}

impl<'a> MapPixels<'a> {
    /// As [`PixelSketch::add_map`](super::PixelSketch::add_map).
    ///
    /// # Errors
    /// A score is NaN or infinite, or map or mask are not `width * height` long.
    pub fn new(
        map: &'a [f32],
        mask: Option<&[u8]>,
        width: usize,
        height: usize,
    ) -> Result<Self, MetricsError> {
        check_plane("map", map.len(), width, height)?;
        if let Some(index) = map.iter().position(|score| !score.is_finite()) {
            return Err(MetricsError::NonFinite { index, value: f64::from(map[index]) });
        }
        let regions = mask.map(|mask| connected_regions(mask, width, height)).transpose()?;
        let regions = regions.filter(|regions| regions.count() > 0);
        let keys_by_region = regions.as_ref().map_or_else(Vec::new, |of| keys_by_region(map, of));
        Ok(MapPixels { map, regions, keys_by_region })
    }

    /// How many defect regions there are.
    pub fn n_regions(&self) -> usize {
        self.keys_by_region.len()
    }

    /// Pixels of the map.
    pub(super) fn n_pixels(&self) -> u64 {
        self.map.len() as u64
    }

    /// Those in regions.
    pub(super) fn n_anomalous(&self) -> u64 {
        self.keys_by_region.iter().map(|keys| keys.len() as u64).sum()
    }

    /// Keys of the pixels in each region, highest scores first.
    pub(super) fn keys_by_region(&self) -> &[Vec<u32>] {
        &self.keys_by_region
    }

    /// Keys of the pixels outside of regions, row by row.
    pub(super) fn normal_keys(&self) -> impl Iterator<Item = u32> {
        let labels = self.regions.as_ref().map(Regions::labels);
        let normal = move |i: &usize| labels.is_none_or(|labels| labels[*i] == 0);
        (0..self.map.len()).filter(normal).map(|i| key_of(self.map[i]))
    }
}

fn keys_by_region(map: &[f32], regions: &Regions) -> Vec<Vec<u32>> {
    // Ascending: by region, then from the highest score down.
    let labelled = map.iter().zip(regions.labels()).filter(|(_, label)| **label > 0);
    let mut keys = labelled
        .map(|(score, label)| u64::from(*label) << 32 | u64::from(!key_of(*score)))
        .collect::<Vec<_>>();
    keys.sort_unstable();
    let of_region = keys.chunk_by(|a, b| a >> 32 == b >> 32);
    of_region.map(|region| region.iter().map(|key| !(*key as u32)).collect()).collect()
}
