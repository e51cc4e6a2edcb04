//! Committed rows → the metrics table. Image metrics from `scores`, pixel metrics from the sketches
//! in `partials`; parts are read ahead and merged on all cores as they come, so memory does not
//! grow with the number of images' pixels. Figures of pixels that are not known are left out, those
//! that span categories too.

use std::collections::BTreeSet;

use super::data_set::DataSet;
use super::pixel_groups::PixelGroups;
use crate::error::{Error, MetricsError};
use crate::metrics::{
    CategoryMetrics, Figure, FprLimit, IMAGE_METRICS, ImageScore, Influences, Label, Metric,
    PixelSketch, PixelSummary, Spread, ThresholdRule, Thresholds, aupimo, image_metrics,
    image_thresholds, mean_over_categories, pixel_metrics, pixel_thresholds, published_aupro,
};
use crate::tables::{
    self, ALL_CATEGORIES, LabelledScore, MEAN_OF_CATEGORIES, MetricCells, MetricsRow, RunSet,
    SetThresholds, fold_set,
};

/// How the area under the curve of per-region overlap is measured. The other metrics are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuproProtocol {
    /// The definition (Bergmann et al. 2020): every distinct score is a threshold, the curve
    /// starts at (0, 0), is cut at the limit, and its area is divided by the limit.
    #[default]
    Exact,
    /// As the published code does it: 200 equal steps from the smallest to the largest score, FPR
    /// below the limit, kept FPRs stretched to 0..1. Only to compare with printed figures.
    Published,
}

impl AuproProtocol {
    /// The name in tables.
    fn as_str(self) -> &'static str {
        match self {
            AuproProtocol::Exact => "exact",
            AuproProtocol::Published => "published",
        }
    }
}

/// The metrics of every category and kind, of all images as one set (`__all__`) and the plain mean
/// over categories (`__mean__`), in this order.
///
/// # Errors
/// If a part cannot be read, or what it holds does not add up.
pub fn reduce(
    data: &DataSet,
    protocol: AuproProtocol,
) -> Result<Vec<tables::CategoryMetrics>, Error> {
    let thresholds = SetThresholds::read(&data.runs)?;
    let (mut of_categories, mut table) = (Vec::new(), Vec::new());
    let mut whole = Pictures { pixels: Some(PixelGroups::default()), ..Pictures::default() };
    for category in data.runs.categories() {
        let pictures = Pictures::read(data, category, &thresholds)?;
        let of_category = pictures.measure(None, protocol)?;
        let mut rows = vec![of_category.row(None)];
        let kinds = pictures.kinds();
        // A single kind is the category.
        for kind in kinds.iter().filter(|_| kinds.len() > 1) {
            rows.push(pictures.measure(Some(kind), protocol)?.row(Some(kind.to_string())));
        }
        let pictures = pictures.without_summaries();
        of_categories.push(of_category.metrics);
        table.push(tables::CategoryMetrics { category: category.to_string(), rows });
        whole.merge(pictures)?;
    }
    let pixels_are_known = whole.pixels.is_some();
    let whole = whole.measure_all(&data.runs, protocol)?;
    let mut mean = mean_over_categories(&of_categories);
    if !pixels_are_known {
        // The mean over the others would be one over fewer categories.
        Metric::ALL[IMAGE_METRICS..].iter().for_each(|metric| mean.set(*metric, None));
    }
    let mean = Measured { metrics: mean, protocol, ..Measured::default() };
    for (category, measured) in [(ALL_CATEGORIES, whole), (MEAN_OF_CATEGORIES, mean)] {
        let rows = vec![measured.row(None)];
        table.push(tables::CategoryMetrics { category: category.to_string(), rows });
    }
    let unfinished = !data.runs.is_finished();
    table.iter_mut().flat_map(|of| &mut of.rows).for_each(|row| row.unfinished = Some(unfinished));
    Ok(table)
}

/// Scored images.
#[derive(Default)]
struct Pictures {
    scores: Vec<LabelledScore>,
    /// `None` if they are not known.
    pixels: Option<PixelGroups>,
}

impl Pictures {
    /// Where a row does not say whether its image is flagged, the threshold of its run does.
    fn read(data: &DataSet, category: &str, thresholds: &SetThresholds) -> Result<Self, Error> {
        let add = |scores: &mut Vec<LabelledScore>, run, rows: Vec<LabelledScore>| {
            let limit = thresholds.limit(run, category);
            scores.extend(rows.into_iter().map(|mut row| {
                row.is_anomalous = limit.flags(row.is_anomalous, row.score);
                row
            }));
            Ok(())
        };
        let merge = |scores: &mut Vec<LabelledScore>, more| {
            scores.extend(more);
            Ok(())
        };
        let scores = fold_set(&data.runs, category, add, merge)?;
        Ok(Pictures { scores, pixels: data.pixels(category)? })
    }

    /// The kinds of anomalous images.
    fn kinds(&self) -> BTreeSet<&str> {
        let anomalous = self.scores.iter().filter(|score| score.label == Some(true));
        anomalous.filter_map(|score| score.kind.as_deref()).collect()
    }

    /// Metrics of all images as one set; or of those of one kind and the normal ones, and of the
    /// pixels in defects of that kind and all normal pixels.
    fn measure(
        &self,
        kind: Option<&str>,
        protocol: AuproProtocol,
    ) -> Result<Measured, MetricsError> {
        let sketch = match (&self.pixels, kind) {
            (None, _) => PixelSketch::new(),
            (Some(pixels), None) => pixels.whole()?,
            (Some(pixels), Some(kind)) => pixels.of_kind(kind)?,
        };
        let mut measured = Measured::new(&self.labelled(kind), &sketch, protocol)?;
        measured.flagged = self.flagged(kind);
        measured.metrics.set(Metric::Aupimo, self.aupimo(kind)?);
        if let Some(influences) = Influences::new(&sketch) {
            let mut spread = Spread::default();
            let mut add = |row| add_pixels(&mut spread, row, &influences, kind);
            self.scores.iter().try_for_each(&mut add)?;
            measured.set_pixel_errors(spread);
        }
        Ok(measured)
    }

    /// Metrics of all images as one set, whose summaries are not in memory.
    fn measure_all(&self, set: &RunSet, protocol: AuproProtocol) -> Result<Measured, Error> {
        let whole = self.pixels.as_ref().map(PixelGroups::whole).transpose()?;
        let sketch = whole.unwrap_or_default();
        let mut measured = Measured::new(&self.labelled(None), &sketch, protocol)?;
        measured.flagged = self.flagged(None);
        measured.metrics.set(Metric::Aupimo, self.aupimo(None)?);
        if let Some(influences) = Influences::new(&sketch) {
            let mut spread = Spread::default();
            for category in set.categories() {
                let add = |spread: &mut Spread, _, rows: Vec<LabelledScore>| {
                    rows.iter().try_for_each(|row| add_pixels(spread, row, &influences, None))
                };
                spread.merge(fold_set(set, category, add, merge_spread)?);
            }
            measured.set_pixel_errors(spread);
        }
        Ok(measured)
    }

    /// AUPIMO of all anomalous images, or of those of one kind.
    fn aupimo(&self, kind: Option<&str>) -> Result<Option<Figure>, MetricsError> {
        let by_image = self.pixels.as_ref().map(|pixels| pixels.by_image(kind)).transpose()?;
        Ok(by_image.flatten().and_then(|sketch| aupimo(&sketch)).map(Figure::from))
    }

    /// The normal images and the anomalous ones, of one kind or of all.
    fn labelled(&self, kind: Option<&str>) -> Vec<ImageScore> {
        let images = self.scores.iter().filter_map(|row| {
            let anomalous = row.label?;
            (!anomalous || is_of(row, kind)).then(|| ImageScore::new(row.score, anomalous))
        });
        images.collect()
    }

    /// How many of the images that [`Self::labelled`] gives are flagged; `None` if that is not decided
    /// of all of them.
    fn flagged(&self, kind: Option<&str>) -> Option<Flagged> {
        let mut flagged = Flagged::default();
        for row in &self.scores {
            let Some(anomalous) = row.label else { continue };
            if !anomalous || is_of(row, kind) {
                let above = row.is_anomalous?;
                flagged.all += u64::from(above);
                flagged.hits += u64::from(above && anomalous);
                flagged.anomalous += u64::from(anomalous);
            }
        }
        Some(flagged)
    }

    /// The scores without what takes the most memory.
    fn without_summaries(mut self) -> Self {
        self.scores.iter_mut().for_each(|row| row.pixel_summary = None);
        self
    }

    fn merge(&mut self, other: Self) -> Result<(), MetricsError> {
        self.scores.extend(other.scores);
        match (&mut self.pixels, other.pixels) {
            (Some(ours), Some(others)) => ours.merge(others)?,
            _ => self.pixels = None,
        }
        Ok(())
    }
}

/// Whether an image is of a kind; every image is of none in particular.
fn is_of(row: &LabelledScore, kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| row.kind.as_deref() == Some(kind))
}

/// Adds what the pixels of an image change of the metrics of a set: with `kind` a set that has the
/// defects of that kind only.
fn add_pixels(
    spread: &mut Spread,
    row: &LabelledScore,
    influences: &Influences,
    kind: Option<&str>,
) -> Result<(), MetricsError> {
    let Some(bytes) = &row.pixel_summary else { return Ok(()) };
    let mut pixels = PixelSummary::decode(bytes).ok_or(MetricsError::DamagedSketch)?;
    if !is_of(row, kind) {
        pixels = pixels.without_regions();
    }
    spread.add(&influences.of_pixels(&pixels), pixels.n_regions > 0);
    Ok(())
}

fn merge_spread(spread: &mut Spread, other: Spread) -> Result<(), MetricsError> {
    spread.merge(other);
    Ok(())
}

/// What the scores of images change of their metrics.
fn image_spread(images: &[ImageScore]) -> Result<Option<Spread>, MetricsError> {
    Ok(Influences::of_images(images)?.map(|influences| {
        let mut spread = Spread::default();
        for image in images {
            let anomalous = image.label == Label::Anomalous;
            spread.add(&influences.of_image(image.score as f32, anomalous), anomalous);
        }
        spread
    }))
}

fn published(sketch: &PixelSketch, limit: FprLimit) -> Option<Figure> {
    published_aupro(sketch, limit).map(|value| Figure { value, ..Figure::default() })
}

/// Images that are flagged, and those among them that are anomalous, of so many.
#[derive(Default, Clone, Copy)]
struct Flagged {
    all: u64,
    hits: u64,
    anomalous: u64,
}

/// What a row of the table says.
#[derive(Default)]
struct Measured {
    metrics: CategoryMetrics,
    /// `None` for a mean over categories.
    flagged: Option<Flagged>,
    of_images: Thresholds,
    of_pixels: Thresholds,
    protocol: AuproProtocol,
}

impl Measured {
    fn new(
        images: &[ImageScore],
        sketch: &PixelSketch,
        protocol: AuproProtocol,
    ) -> Result<Self, MetricsError> {
        let (of_images, of_pixels) = (image_metrics(images)?, pixel_metrics(sketch));
        let mut metrics = CategoryMetrics::new(&of_images, &of_pixels);
        if protocol == AuproProtocol::Published {
            metrics.set(Metric::Aupro, published(sketch, FprLimit::DEFAULT));
            metrics.set(Metric::Aupro05, published(sketch, FprLimit::STRICT));
        }
        let errors = image_spread(images)?.and_then(|spread| spread.standard_errors());
        metrics.set_image_errors(errors);
        Ok(Measured {
            metrics,
            flagged: None,
            of_images: image_thresholds(images, &of_images),
            of_pixels: pixel_thresholds(sketch, &of_pixels),
            protocol,
        })
    }

    /// The published AUPRO is another figure, whose errors are not known.
    fn set_pixel_errors(&mut self, spread: Spread) {
        self.metrics.set_pixel_errors(spread.standard_errors());
        if self.protocol == AuproProtocol::Published {
            for metric in [Metric::Aupro, Metric::Aupro05] {
                let figure = self.metrics.get(metric);
                let unknown = |figure| Figure { standard_error: None, ..figure };
                self.metrics.set(metric, figure.map(unknown));
            }
        }
    }

    fn row(&self, kind: Option<String>) -> MetricsRow {
        use ThresholdRule::{F1max, Fpr0_1Pct, Fpr1Pct, Fpr5Pct};
        let (of_images, of_pixels) = (self.of_images, self.of_pixels);
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let Flagged { all, hits, anomalous } = self.flagged.unwrap_or_default();
        let mut row = MetricsRow {
            kind,
            n_images: self.metrics.n_images as i64,
            n_anomalous: self.metrics.n_anomalous as i64,
            n_flagged: self.flagged.map(|flagged| flagged.all as i64),
            precision: share(hits, all),
            recall: share(hits, anomalous),
            image_threshold_f1max: of_images.get(F1max),
            image_threshold_fpr_0_1pct: of_images.get(Fpr0_1Pct),
            image_threshold_fpr_1pct: of_images.get(Fpr1Pct),
            image_threshold_fpr_5pct: of_images.get(Fpr5Pct),
            pixel_threshold_f1max: of_pixels.get(F1max),
            pixel_threshold_fpr_0_1pct: of_pixels.get(Fpr0_1Pct),
            pixel_threshold_fpr_1pct: of_pixels.get(Fpr1Pct),
            pixel_threshold_fpr_5pct: of_pixels.get(Fpr5Pct),
            protocol: self.protocol.as_str().to_string(),
            ..MetricsRow::default()
        };
        for metric in Metric::ALL {
            let figure = self.metrics.get(metric);
            row.set_metric(metric.as_str(), figure.map(cells).unwrap_or_default());
        }
        row
    }
}

fn cells(figure: Figure) -> MetricCells {
    let pair = |pair: Option<[f64; 2]>| pair.map_or([None; 2], |ends| ends.map(Some));
    MetricCells {
        value: Some(figure.value),
        bounds: pair(figure.bounds),
        interval: pair(figure.interval()),
    }
}
