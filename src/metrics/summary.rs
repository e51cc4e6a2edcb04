//! Image-level and pixel-level metrics in, one row of figures out: of a category, of a kind, of the
//! whole set, or the plain mean over categories that papers print.
//!
//! The row of the whole set as one pool is no mean of rows: it is a row like that of a category,
//! from the images of all categories and the merge of all their sketches.

use super::bounds::Bounded;
use super::image::ImageMetrics;
use super::pixel::PixelMetrics;
use super::spread::Effects;
use super::sum::mean;

/// The metrics, in the order in which papers print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    ImageAuroc,
    ImageAp,
    ImageF1max,
    PixelAuroc,
    PixelAp,
    PixelF1max,
    /// Up to FPR 0.3.
    Aupro,
    /// Up to FPR 0.05.
    Aupro05,
    /// Mean over images, from FPR 1e-5 to 1e-4 of images without defects.
    Aupimo,
}

/// The metrics of images come first.
pub const IMAGE_METRICS: usize = 3;

/// And then as many of pixels, those of the same kind in the same order. AUPIMO comes last: it is of other
/// pixels, and its standard error is not known.
pub const PIXEL_METRICS: usize = 5;

impl Metric {
    /// All metrics, in the order of this enum.
    pub const ALL: [Metric; IMAGE_METRICS + PIXEL_METRICS + 1] = [
        Metric::ImageAuroc,
        Metric::ImageAp,
        Metric::ImageF1max,
        Metric::PixelAuroc,
        Metric::PixelAp,
        Metric::PixelF1max,
        Metric::Aupro,
        Metric::Aupro05,
        Metric::Aupimo,
    ];

    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::ImageAuroc => "image_auroc",
            Metric::ImageAp => "image_ap",
            Metric::ImageF1max => "image_f1max",
            Metric::PixelAuroc => "pixel_auroc",
            Metric::PixelAp => "pixel_ap",
            Metric::PixelF1max => "pixel_f1max",
            Metric::Aupro => "aupro",
            Metric::Aupro05 => "aupro_05",
            Metric::Aupimo => "aupimo",
        }
    }
}

/// 95 % of a normal distribution lie within so many standard deviations.
const Z_95: f64 = 1.959_963_984_540_054;

/// One metric of one set, in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figure {
    pub value: f64,
    /// Between what the metric of the very scores lies for certain; `None` where `value` is exact,
    /// or a procedure that has no bounds.
    pub bounds: Option<[f64; 2]>,
    /// How much another set of such images would differ; `None` where that is not known.
    pub standard_error: Option<f64>,
}

impl From<Bounded> for Figure {
    fn from(Bounded { value, lower, upper }: Bounded) -> Self {
        Figure { value, bounds: Some([lower, upper]), standard_error: None }
    }
}

impl Figure {
    /// What is to be added to and taken from the value for an interval of 95 %, where it is a
    /// difference, which may have either sign.
    pub fn reach(&self) -> Option<f64> {
        self.standard_error.map(|error| Z_95 * error)
    }

    /// Where with 95 % confidence the figure of another set of such images is expected, from a
    /// normal distribution of its log odds, which keeps it in 0..=1. A figure of 0 or 1 has errors
    /// that no set of scores tells, and no interval.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let odds = self.value * (1.0 - self.value);
        let error = self.standard_error.filter(|_| odds > 0.0)?;
        let (log_odds, reach) = ((self.value / (1.0 - self.value)).ln(), Z_95 * error / odds);
        Some([log_odds - reach, log_odds + reach].map(|x| 1.0 / (1.0 + (-x).exp())))
    }

    /// The plain mean; `None` of nothing. Errors of different categories are independent, those of
    /// bounds are not.
    pub fn mean(figures: &[Figure]) -> Option<Figure> {
        let bound = |end: usize| {
            mean(figures.iter().map(|figure| figure.bounds.map_or(figure.value, |b| b[end])))
        };
        let has_bounds = figures.iter().any(|figure| figure.bounds.is_some());
        let variances = figures.iter().map(|figure| Some(figure.standard_error?.powi(2)));
        let variance = variances.sum::<Option<f64>>();
        Some(Figure {
            value: mean(figures.iter().map(|figure| figure.value))?,
            bounds: if has_bounds { Some([bound(0)?, bound(1)?]) } else { None },
            standard_error: variance.map(|sum| sum.sqrt() / figures.len() as f64),
        })
    }

    /// A figure that is known exactly.
    fn exact(value: f64) -> Self {
        Figure { value, bounds: None, standard_error: None }
    }
}

/// Metrics of one category, of the whole set, or the mean over categories; `None` where one is not
/// defined (see [`ImageMetrics`] and [`PixelMetrics`]).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CategoryMetrics {
    /// Labelled images.
    pub n_images: u64,
    /// Those with a defect.
    pub n_anomalous: u64,
    figures: [Option<Figure>; Metric::ALL.len()],
}

impl CategoryMetrics {
    /// One row. Without masks there are no pixel metrics: pass `PixelMetrics::default()`. AUPIMO, which is of
    /// other pixels, is [set](Self::set).
    pub fn new(image: &ImageMetrics, pixel: &PixelMetrics) -> Self {
        let figures = Metric::ALL.map(|metric| match metric {
            Metric::ImageAuroc => image.auroc.map(Figure::exact),
            Metric::ImageAp => image.ap.map(Figure::exact),
            Metric::ImageF1max => image.f1max.map(Figure::exact),
            Metric::PixelAuroc => pixel.auroc.map(Figure::from),
            Metric::PixelAp => pixel.ap.map(Figure::from),
            Metric::PixelF1max => pixel.f1max.map(Figure::from),
            Metric::Aupro => pixel.aupro.map(Figure::from),
            Metric::Aupro05 => pixel.aupro_05.map(Figure::from),
            Metric::Aupimo => None,
        });
        CategoryMetrics { n_images: image.n_images, n_anomalous: image.n_anomalous, figures }
    }

    /// One of the metrics.
    pub fn get(&self, metric: Metric) -> Option<Figure> {
        self.figures[metric as usize]
    }

    /// Notes how much the image metrics of other images would differ.
    pub fn set_image_errors(&mut self, errors: Option<Effects>) {
        set_errors(&mut self.figures[..IMAGE_METRICS], errors);
    }

    /// Notes how much the pixel metrics of other images would differ.
    pub fn set_pixel_errors(&mut self, errors: Option<Effects>) {
        set_errors(&mut self.figures[IMAGE_METRICS..IMAGE_METRICS + PIXEL_METRICS], errors);
    }

    /// Changes one of the metrics.
    pub fn set(&mut self, metric: Metric, figure: Option<Figure>) {
        self.figures[metric as usize] = figure;
    }
}

fn set_errors(figures: &mut [Option<Figure>], errors: Option<Effects>) {
    for (place, figure) in figures.iter_mut().enumerate() {
        if let Some(figure) = figure {
            figure.standard_error = errors.map(|errors| errors[place]);
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
    CategoryMetrics {
        n_images: categories.iter().map(|c| c.n_images).sum(),
        n_anomalous: categories.iter().map(|c| c.n_anomalous).sum(),
        figures: Metric::ALL.map(|metric| {
            let of = categories.iter().filter_map(|category| category.get(metric));
            Figure::mean(&of.collect::<Vec<_>>())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(n_images: u64, figures: &[(Metric, Figure)]) -> CategoryMetrics {
        let mut metrics = CategoryMetrics { n_images, ..CategoryMetrics::default() };
        figures.iter().for_each(|(metric, figure)| metrics.set(*metric, Some(*figure)));
        metrics
    }

    #[test]
    fn categories_weigh_the_same_and_gaps_are_left_out() {
        let error = |value, error| Figure { standard_error: Some(error), ..Figure::exact(value) };
        let bounded = Figure { bounds: Some([0.7, 0.8]), ..Figure::exact(0.75) };
        let screw = with(160, &[(Metric::ImageAuroc, error(0.5, 0.3)), (Metric::Aupro, bounded)]);
        let toothbrush = with(42, &[(Metric::ImageAuroc, error(1.0, 0.4))]);
        let mean = mean_over_categories(&[screw, toothbrush]);
        let expected =
            with(202, &[(Metric::ImageAuroc, error(0.75, 0.25)), (Metric::Aupro, bounded)]);
        for metric in Metric::ALL {
            assert_eq!(mean.get(metric), expected.get(metric), "{metric:?}");
        }
        assert_eq!(mean.n_images, 202);
    }

    #[test]
    fn the_mean_of_no_category_is_empty() {
        assert_eq!(mean_over_categories(&[]), CategoryMetrics::default());
    }
}
