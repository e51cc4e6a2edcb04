//! Scores and truth in, metrics out: pure numbers, no file, no model, no table.
//!
//! Pixels never travel one by one. Maps become a sketch ([`PixelSketch`]): counts on a fixed grid of
//! scores, some hundred kilobytes however many maps there are. Sketches merge exactly, in any order,
//! and give every pixel metric with certified bounds ([`pixel_metrics`]). Images are few enough to be
//! ranked in memory ([`image_metrics`]).

mod aupro;
mod aupro_published;
mod bounds;
mod image;
mod pixel;
mod ranking;
mod regions;
mod sketch;
mod sum;
mod summary;
mod thresholds;

pub use aupro::FprLimit;
pub use aupro_published::published_aupro;
pub use bounds::Bounded;
pub use image::{ImageMetrics, ImageScore, Label, image_metrics};
pub use pixel::{PixelMetrics, pixel_metrics};
pub use regions::{Connectivity, Regions, connected_regions, connected_regions_by};
pub use sketch::{MapPixels, PixelSketch, PixelTotals, ScoreBin};
pub use summary::{CategoryMetrics, Figure, Metric, mean_over_categories};
pub use thresholds::{ThresholdRule, Thresholds, image_thresholds, pixel_thresholds};
