//! Pixels of the images of one shard, or of all shards, by what is true of them. In: anomaly maps
//! with their truth, or rows of `partials`. Out: one sketch per kind of defect, and their rows.

use std::collections::BTreeMap;

use crate::error::MetricsError;
use crate::metrics::{MapPixels, PixelSketch};
use crate::tables::PartialRow;

/// Pixels of images whose defects are known. Those outside of defects are one group, whatever the
/// kind of the image; those inside one per kind. Defects without a kind are in the first group.
#[derive(Debug, Clone, Default)]
pub struct PixelGroups(BTreeMap<Option<String>, Pixels>);

#[derive(Debug, Clone, Default)]
struct Pixels {
    n_images: u64,
    sketch: PixelSketch,
}

impl PixelGroups {
    /// Adds a map with the kind of its defects.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn add_map(&mut self, kind: Option<&str>, pixels: &MapPixels) -> Result<(), MetricsError> {
        let all = self.0.entry(None).or_default();
        all.sketch.add_normal_pixels(pixels)?;
        all.n_images += 1;
        if pixels.n_regions() > 0 {
            let of_kind = self.0.entry(kind.map(str::to_string)).or_default();
            of_kind.sketch.add_regions(pixels)?;
            of_kind.n_images += u64::from(kind.is_some());
        }
        Ok(())
    }

    /// Adds what is in a row.
    ///
    /// # Errors
    /// The row is damaged, or the sums overflow.
    pub fn add_row(&mut self, row: PartialRow) -> Result<(), MetricsError> {
        let pixels = self.0.entry(row.kind).or_default();
        pixels.sketch.merge_encoded(&row.sketch)?;
        pixels.add_images(row.n_images)
    }

    /// Adds all of `other`.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn merge(&mut self, other: Self) -> Result<(), MetricsError> {
        if self.0.is_empty() {
            *self = other;
            return Ok(());
        }
        for (kind, pixels) in other.0 {
            let ours = self.0.entry(kind).or_default();
            ours.sketch.merge(&pixels.sketch)?;
            ours.add_images(pixels.n_images)?;
        }
        Ok(())
    }

    /// All pixels.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn whole(&self) -> Result<PixelSketch, MetricsError> {
        self.sketch_of(self.0.keys())
    }

    /// All normal pixels and those in defects of one kind.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn of_kind(&self, kind: &str) -> Result<PixelSketch, MetricsError> {
        self.sketch_of([&None, &Some(kind.to_string())])
    }

    fn sketch_of<'a>(
        &self,
        kinds: impl IntoIterator<Item = &'a Option<String>>,
    ) -> Result<PixelSketch, MetricsError> {
        let mut sketch = PixelSketch::new();
        for pixels in kinds.into_iter().filter_map(|kind| self.0.get(kind)) {
            sketch.merge(&pixels.sketch)?;
        }
        Ok(sketch)
    }

    /// One row per group.
    pub fn into_rows(self) -> Vec<PartialRow> {
        let row = |(kind, pixels): (Option<String>, Pixels)| {
            let totals = pixels.sketch.totals();
            PartialRow {
                kind,
                n_images: pixels.n_images,
                n_normal: totals.n_normal,
                n_anomalous: totals.n_anomalous,
                n_regions: totals.n_regions,
                score_min: totals.min,
                score_max: totals.max,
                sketch: pixels.sketch.encode(),
            }
        };
        self.0.into_iter().map(row).collect()
    }
}

impl Pixels {
    fn add_images(&mut self, n: u64) -> Result<(), MetricsError> {
        self.n_images = self.n_images.checked_add(n).ok_or(MetricsError::CountOverflow)?;
        Ok(())
    }
}
