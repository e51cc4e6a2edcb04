//! Committed rows → the metrics table. Image metrics from `scores`, pixel metrics from the sorted
//! runs in `partials`, merged as a stream: memory does not grow with the number of pictures' pixels.

use crate::error::{Error, MetricsError, TableError};
use crate::metrics::{
    AuproProtocol, CategoryMetrics, FprLimit, ImageScore, Label, PixelCount, PixelMetrics,
    PixelTotals, image_metrics, mean_over_categories, merge_runs, pixel_metrics,
};
use crate::tables::{
    self, ALL_CATEGORIES, CategoryScores, MEAN_OF_CATEGORIES, MetricsRow, PartialRow, RunReader,
};

/// The metrics of every category, of all pictures as one set (`__all__`) and the plain mean over
/// categories (`__mean__`), in this order.
///
/// # Errors
/// If a part cannot be read, or what it holds does not add up.
pub fn reduce(
    run: &RunReader,
    protocol: AuproProtocol,
) -> Result<Vec<tables::CategoryMetrics>, Error> {
    let scores = run.read_scores()?;
    let mut rows = Vec::with_capacity(scores.len() + 2);
    for category in &scores {
        let metrics = metrics_of(run, &[category], protocol)?;
        rows.push((category.category.clone(), metrics));
    }
    let of_categories = rows.iter().map(|(_, metrics)| *metrics).collect::<Vec<_>>();
    let pooled = metrics_of(run, &scores.iter().collect::<Vec<_>>(), protocol)?;
    rows.push((ALL_CATEGORIES.to_string(), pooled));
    rows.push((MEAN_OF_CATEGORIES.to_string(), mean_over_categories(&of_categories)));
    let table = rows.into_iter().map(|(category, metrics)| tables::CategoryMetrics {
        category,
        row: row(&metrics, protocol),
    });
    Ok(table.collect())
}

/// Metrics over the pictures and pixels of `categories` as one set.
fn metrics_of(
    run: &RunReader,
    categories: &[&CategoryScores],
    protocol: AuproProtocol,
) -> Result<CategoryMetrics, Error> {
    let images = categories.iter().flat_map(|category| &category.scores).filter_map(|score| {
        let label = if score.label? { Label::Anomalous } else { Label::Normal };
        Some(ImageScore { score: f64::from(score.score), label })
    });
    let images = image_metrics(&images.collect::<Vec<_>>())?;
    let totals = PixelTotals::gather(pixels(run, categories)?)?;
    let pixels = match totals.n_normal + totals.n_anomalous {
        0 => PixelMetrics::default(),
        _ => pixel_metrics(pixels(run, categories)?, &totals, protocol, FprLimit::DEFAULT)?,
    };
    Ok(CategoryMetrics::new(&images, &pixels))
}

/// The pixel counts of `categories` as one run.
fn pixels(
    run: &RunReader,
    categories: &[&CategoryScores],
) -> Result<impl Iterator<Item = Result<PixelCount, PixelError>>, TableError> {
    let mut runs = Vec::new();
    for category in categories {
        for rows in run.partial_runs(&category.category)? {
            runs.push(rows.map(|row| row.map(count).map_err(PixelError::Table)));
        }
    }
    Ok(merge_runs(runs))
}

fn count(row: PartialRow) -> PixelCount {
    PixelCount { score: row.score, region_px: row.region_px, n: row.n }
}

/// Trouble while counts are merged: with a part, or with what it holds.
enum PixelError {
    Table(TableError),
    Metrics(MetricsError),
}

impl From<MetricsError> for PixelError {
    fn from(error: MetricsError) -> Self {
        PixelError::Metrics(error)
    }
}

impl From<PixelError> for Error {
    fn from(error: PixelError) -> Self {
        match error {
            PixelError::Table(error) => error.into(),
            PixelError::Metrics(error) => error.into(),
        }
    }
}

fn row(metrics: &CategoryMetrics, protocol: AuproProtocol) -> MetricsRow {
    MetricsRow {
        n_images: metrics.n_images as i64,
        n_anomalous: metrics.n_anomalous as i64,
        image_auroc: metrics.image_auroc,
        image_ap: metrics.image_ap,
        image_f1max: metrics.image_f1max,
        pixel_auroc: metrics.pixel_auroc,
        pixel_ap: metrics.pixel_ap,
        pixel_f1max: metrics.pixel_f1max,
        aupro: metrics.aupro,
        protocol: match protocol {
            AuproProtocol::Exact => "exact".to_string(),
            AuproProtocol::Published => "published".to_string(),
        },
    }
}
