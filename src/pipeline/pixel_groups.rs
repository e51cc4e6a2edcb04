//! Pixels of the images of one shard, or of all shards, by what is true of them. In: anomaly maps
//! with their truth, or rows of `partials`. Out: one sketch per kind of defect, and their rows.

use std::collections::BTreeMap;

use crate::error::MetricsError;
use crate::metrics::{MapPixels, PixelSketch};
use crate::tables::PartialRow;

/// Pixels of images whose defects are known. Those outside of defects are one group of images with defects
/// and one of the others; those inside one per kind.
#[derive(Debug, Clone, Default)]
pub struct PixelGroups(BTreeMap<Group, Pixels>);

/// What is true of pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// Of the defects; `None` outside of them, and where it is not known.
    kind: Option<String>,
    /// Whether the images have defects; `None` if images of both sorts were counted together.
    of_anomalous: Option<bool>,
}

#[derive(Debug, Clone, Default)]
struct Pixels {
    n_images: u64,
    sketch: PixelSketch,
    /// The defects alone, those of an image as one region.
    by_image: PixelSketch,
}

impl PixelGroups {
    /// Adds a map with the kind of its defects.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn add_map(&mut self, kind: Option<&str>, pixels: &MapPixels) -> Result<(), MetricsError> {
        let of_anomalous = Some(pixels.n_regions() > 0);
        let all = self.0.entry(Group { kind: None, of_anomalous }).or_default();
        all.sketch.add_normal_pixels(pixels)?;
        all.n_images += 1;
        if pixels.n_regions() > 0 {
            let kind = kind.map(str::to_string);
            let is_known = kind.is_some();
            let of_kind = self.0.entry(Group { kind, of_anomalous }).or_default();
            of_kind.sketch.add_regions(pixels)?;
            of_kind.by_image.add_defects(pixels)?;
            of_kind.n_images += u64::from(is_known);
        }
        Ok(())
    }

    /// Adds what is in a row.
    ///
    /// # Errors
    /// The row is damaged, or the sums overflow.
    pub fn add_row(&mut self, row: PartialRow) -> Result<(), MetricsError> {
        let group = Group { kind: row.kind, of_anomalous: row.of_anomalous };
        let pixels = self.0.entry(group).or_default();
        pixels.sketch.merge_encoded(&row.sketch)?;
        if let Some(sketch) = &row.image_sketch {
            pixels.by_image.merge_encoded(sketch)?;
        }
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
        for (group, pixels) in other.0 {
            let ours = self.0.entry(group).or_default();
            ours.sketch.merge(&pixels.sketch)?;
            ours.by_image.merge(&pixels.by_image)?;
            ours.add_images(pixels.n_images)?;
        }
        Ok(())
    }

    /// All pixels.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn whole(&self) -> Result<PixelSketch, MetricsError> {
        self.merged(None, |_, pixels| &pixels.sketch)
    }

    /// All normal pixels and those in defects of one kind.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn of_kind(&self, kind: &str) -> Result<PixelSketch, MetricsError> {
        self.merged(Some(kind), |_, pixels| &pixels.sketch)
    }

    /// The pixels of images without defects, and the defects of each other image as one region, of all of
    /// them or of one kind. `None` if images were counted together that have defects and that have none.
    ///
    /// # Errors
    /// The sums overflow.
    pub fn by_image(&self, kind: Option<&str>) -> Result<Option<PixelSketch>, MetricsError> {
        if self.0.keys().any(|group| group.of_anomalous.is_none()) {
            return Ok(None);
        }
        let sketch = self.merged(kind, |group, pixels| match group.of_anomalous {
            Some(false) => &pixels.sketch,
            _ => &pixels.by_image,
        });
        sketch.map(Some)
    }

    /// Sketches of groups as one: of all, or without defects of other kinds than `kind`.
    fn merged<'a>(
        &'a self,
        kind: Option<&str>,
        sketch_of: impl Fn(&Group, &'a Pixels) -> &'a PixelSketch,
    ) -> Result<PixelSketch, MetricsError> {
        let mut sketch = PixelSketch::new();
        for (group, pixels) in &self.0 {
            let is_other = kind.is_some() && group.kind.is_some() && group.kind.as_deref() != kind;
            if !is_other {
                sketch.merge(sketch_of(group, pixels))?;
            }
        }
        Ok(sketch)
    }

    /// One row per group.
    pub fn into_rows(self) -> Vec<PartialRow> {
        let row = |(group, pixels): (Group, Pixels)| {
            let totals = pixels.sketch.totals();
            let has_defects = pixels.by_image.totals().n_regions > 0;
            PartialRow {
                kind: group.kind,
                of_anomalous: group.of_anomalous,
                n_images: pixels.n_images,
                n_normal: totals.n_normal,
                n_anomalous: totals.n_anomalous,
                n_regions: totals.n_regions,
                score_min: totals.min,
                score_max: totals.max,
                sketch: pixels.sketch.encode(),
                image_sketch: has_defects.then(|| pixels.by_image.encode()),
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
