//! Scores and truth in, metrics out: pure numbers, no file, no model, no table.
//!
//! Pixels never travel one by one. A shard's maps become a sorted run of integer counts
//! ([`PixelCounts`]); runs merge exactly, in any order and in little memory ([`merge_runs`]); one
//! pass down the merged run gives every pixel metric ([`pixel_metrics`]). Images are few enough to
//! be ranked in memory ([`image_metrics`]).

mod aupro;
mod aupro_published;
mod counts;
mod image;
mod merge;
mod pixel;
mod ranking;
mod regions;
mod sum;
mod summary;
mod totals;

pub use aupro::FprLimit;
pub use counts::{PixelCount, PixelCounts};
pub use image::{ImageMetrics, ImageScore, Label, image_metrics};
pub use merge::{MergedRuns, merge_runs};
pub use pixel::{AuproProtocol, PixelMetrics, pixel_metrics};
pub use regions::{Connectivity, Regions, connected_regions, connected_regions_by};
pub use summary::{CategoryMetrics, mean_over_categories};
pub use totals::PixelTotals;
