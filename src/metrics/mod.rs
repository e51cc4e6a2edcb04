//! Scores and truth in, metrics out: pure numbers, no file, no model, no table.
//!
//! Pixels never travel one by one. Maps become a sketch ([`PixelSketch`]): counts on a fixed grid of
//! scores, some hundred kilobytes however many maps there are. Sketches merge exactly, in any order,
//! and give every pixel metric with certified bounds ([`pixel_metrics`]). Images are few enough to be
//! ranked in memory ([`image_metrics`]).

mod aupimo;
mod aupro;
mod aupro_published;
mod bounds;
mod curve;
mod drift;
mod image;
mod influence;
mod map_pixels;
mod pixel;
mod pixel_summary;
mod ranking;
mod regions;
mod sketch;
mod spread;
mod sum;
mod summary;
mod thresholds;

pub use aupimo::aupimo;
pub use aupro::FprLimit;
pub use aupro_published::published_aupro;
pub use bounds::Bounded;
pub use curve::{Curve, PixelCurves, image_roc, pixel_curves};
pub use drift::{Drift, PSI_LIMIT};
pub use image::{ImageMetrics, ImageScore, Label, image_metrics};
pub use influence::Influences;
pub use map_pixels::MapPixels;
pub use pixel::{PixelMetrics, pixel_metrics};
pub use pixel_summary::PixelSummary;
pub use regions::{Connectivity, Regions, connected_regions, connected_regions_by};
pub use sketch::{PixelSketch, PixelTotals, ScoreBin};
pub use spread::{Effects, Spread};
pub use summary::{
    CategoryMetrics, Figure, IMAGE_METRICS, Metric, PIXEL_METRICS, mean_over_categories,
};
pub use thresholds::{ThresholdRule, Thresholds, image_thresholds, pixel_thresholds};
