//! Image-level and pixel-level metrics in, rows of the metrics table out: one per category, and
//! the plain mean over categories that papers print.
//!
//! The row of the whole set as one pool is no mean of rows: it is a row like that of a category,
//! from [`image_metrics`](super::image_metrics) over the images of all categories and
//! [`pixel_metrics`](super::pixel_metrics) over [`merge_runs`](super::merge_runs) of all their
//! runs, with their totals merged.

use super::image::ImageMetrics;
use super::pixel::PixelMetrics;
use super::sum::mean;

/// Metrics of one category, of the whole set, or the mean over categories. Each metric is in
/// 0..=1, or `None` where it is not defined (see [`ImageMetrics`] and [`PixelMetrics`]).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CategoryMetrics {
    /// Labelled images.
    pub n_images: u64,
    /// Those with a defect.
    pub n_anomalous: u64,
    pub image_auroc: Option<f64>,
    pub image_ap: Option<f64>,
    pub image_f1max: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub pixel_ap: Option<f64>,
    pub pixel_f1max: Option<f64>,
    /// Up to the FPR limit, and by the protocol, that the pixel metrics were computed with.
    pub aupro: Option<f64>,
}

impl CategoryMetrics {
    /// One row. Without masks there are no pixel metrics: pass `PixelMetrics::default()`.
    pub fn new(image: &ImageMetrics, pixel: &PixelMetrics) -> Self {
        CategoryMetrics {
            n_images: image.n_images,
            n_anomalous: image.n_anomalous,
            image_auroc: image.auroc,
            image_ap: image.ap,
            image_f1max: image.f1max,
            pixel_auroc: pixel.auroc,
            pixel_ap: pixel.ap,
            pixel_f1max: pixel.f1max,
            aupro: pixel.aupro,
        }
    }
}

/// The plain mean over categories, each with the same weight whatever its size; image counts are
/// added up.
///
/// A category that lacks a metric is left out of the mean of that metric only; `None` when every
/// category lacks it. So one category without a defect does not take the whole mean away, and its
/// own row shows the gap. (The published code would print NaN, or stop.)
pub fn mean_over_categories(categories: &[CategoryMetrics]) -> CategoryMetrics {
    let mean_of =
        |metric: fn(&CategoryMetrics) -> Option<f64>| mean(categories.iter().filter_map(metric));
    CategoryMetrics {
        n_images: categories.iter().map(|c| c.n_images).sum(),
        n_anomalous: categories.iter().map(|c| c.n_anomalous).sum(),
        image_auroc: mean_of(|c| c.image_auroc),
        image_ap: mean_of(|c| c.image_ap),
        image_f1max: mean_of(|c| c.image_f1max),
        pixel_auroc: mean_of(|c| c.pixel_auroc),
        pixel_ap: mean_of(|c| c.pixel_ap),
        pixel_f1max: mean_of(|c| c.pixel_f1max),
        aupro: mean_of(|c| c.aupro),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_weigh_the_same_and_gaps_are_left_out() {
        let screw = CategoryMetrics {
            n_images: 160,
            n_anomalous: 119,
            image_auroc: Some(0.5),
            aupro: Some(0.75),
            ..Default::default()
        };
        let toothbrush = CategoryMetrics {
            n_images: 42,
            n_anomalous: 30,
            image_auroc: Some(1.0),
            ..Default::default()
        };
        let mean = mean_over_categories(&[screw, toothbrush]);
        let expected = CategoryMetrics {
            n_images: 202,
            n_anomalous: 149,
            image_auroc: Some(0.75),
            aupro: Some(0.75),
            ..Default::default()
        };
        assert_eq!(mean, expected);
    }

    #[test]
    fn the_mean_of_no_category_is_empty() {
        assert_eq!(mean_over_categories(&[]), CategoryMetrics::default());
    }
}
