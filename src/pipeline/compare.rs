//! Two runs in, or two sets of runs, out: how the metrics of each category differ, by how much that could be chance, and
//! whether the scores have drifted. Images that both runs have are compared one by one, so that
//! what is hard in both does not count as noise.

use std::collections::{BTreeMap, BTreeSet};

use super::data_set::DataSet;
use crate::error::{Error, MetricsError};
use crate::metrics::{
    CategoryMetrics, Drift, Effects, Figure, IMAGE_METRICS, ImageScore, Influences, Metric,
    PixelSketch, PixelSummary, Spread, aupimo, image_metrics, mean_over_categories, pixel_metrics,
};
use crate::tables::{ALL_CATEGORIES, ComparedScore, MEAN_OF_CATEGORIES, fold_set};

/// One category, in the first run and in the second.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Or all of them, without metrics, or the mean over them, without drift.
    pub category: String,
    /// Scored images.
    pub n_images: [u64; 2],
    /// Those that both runs have.
    pub n_paired: u64,
    pub metrics: [CategoryMetrics; 2],
    /// Second less first, by metric, with the standard error of the difference; `None` where one
    /// run lacks the metric.
    pub differences: [Option<Figure>; Metric::ALL.len()],
    pub drift: Option<Drift>,
}

/// Compares the categories of two runs; then all images as one set, and the mean over categories.
///
/// # Errors
/// If a part cannot be read, or what it holds does not add up.
pub fn compare(first: &DataSet, second: &DataSet) -> Result<Vec<Comparison>, Error> {
    let both = [first, second];
    let categories = both.iter().flat_map(|of| of.runs.categories()).collect::<BTreeSet<_>>();
    // Of sides with one place each, an image that was moved is the same image.
    let by_place = both.iter().any(|of| of.runs.counts().places > 1);
    let (mut comparisons, mut scores) = (Vec::new(), [Vec::new(), Vec::new()]);
    for category in categories {
        let sides =
            [Side::read(first, category, by_place)?, Side::read(second, category, by_place)?];
        comparisons.push(compare_sides(category, &sides));
        for (all, side) in scores.iter_mut().zip(sides) {
            all.extend(side.scores());
        }
    }
    let all = Comparison {
        category: ALL_CATEGORIES.to_string(),
        n_images: scores.each_ref().map(|scores| scores.len() as u64),
        n_paired: comparisons.iter().map(|of| of.n_paired).sum(),
        drift: Drift::between(&scores[0], &scores[1]),
        metrics: [CategoryMetrics::default(); 2],
        differences: [None; Metric::ALL.len()],
    };
    let mean = mean(&comparisons);
    comparisons.extend([all, mean]);
    Ok(comparisons)
}

/// The mean over the categories that both runs have.
fn mean(comparisons: &[Comparison]) -> Comparison {
    let of_run = |run: usize| {
        mean_over_categories(&comparisons.iter().map(|of| of.metrics[run]).collect::<Vec<_>>())
    };
    let differences = Metric::ALL.map(|metric| {
        let of_categories = comparisons.iter().filter_map(|of| of.differences[metric as usize]);
        Figure::mean(&of_categories.collect::<Vec<_>>())
    });
    Comparison {
        category: MEAN_OF_CATEGORIES.to_string(),
        n_images: [0, 1].map(|run| comparisons.iter().map(|of| of.n_images[run]).sum()),
        n_paired: comparisons.iter().map(|of| of.n_paired).sum(),
        metrics: [of_run(0), of_run(1)],
        differences,
        drift: None,
    }
}

/// What one run knows of a category.
struct Side {
    metrics: CategoryMetrics,
    pictures: BTreeMap<String, Picture>,
}

/// What one image is worth to its run.
struct Picture {
    score: f32,
    /// To image metrics: its effects, and whether it is anomalous.
    image: Option<(Effects, bool)>,
    /// To pixel metrics, the same.
    pixels: Option<(Effects, bool)>,
}

impl Side {
    fn read(data: &DataSet, category: &str, by_place: bool) -> Result<Self, Error> {
        let add = |rows: &mut Vec<(String, ComparedScore)>, run, more: Vec<ComparedScore>| {
            let name = |row: &mut ComparedScore| match by_place {
                false => std::mem::take(&mut row.image_id),
                true => format!("{}\0{}", data.runs.place(run), row.image_id),
            };
            rows.extend(more.into_iter().map(|mut row| (name(&mut row), row)));
            Ok(())
        };
        let merge = |rows: &mut Vec<_>, more| {
            rows.extend(more);
            Ok(())
        };
        let rows = fold_set(&data.runs, category, add, merge)?;
        let pixels = data.pixels(category)?;
        let by_image = pixels.as_ref().map(|pixels| pixels.by_image(None)).transpose()?.flatten();
        let sketch = pixels.map_or_else(|| Ok(PixelSketch::new()), |pixels| pixels.whole())?;
        let images =
            rows.iter().filter_map(|(_, row)| Some(ImageScore::new(row.score, row.label?)));
        let images = images.collect::<Vec<_>>();
        let mut metrics = CategoryMetrics::new(&image_metrics(&images)?, &pixel_metrics(&sketch));
        metrics.set(Metric::Aupimo, by_image.and_then(|of| aupimo(&of)).map(Figure::from));
        let of_images = Influences::of_images(&images)?;
        let of_pixels = Influences::new(&sketch);
        let picture = |(name, row): (String, ComparedScore)| {
            let image = of_images.as_ref().and_then(|influences| {
                let anomalous = row.label?;
                Some((influences.of_image(row.score, anomalous), anomalous))
            });
            let pixels = match (&of_pixels, &row.pixel_summary) {
                (Some(influences), Some(bytes)) => {
                    let pixels = PixelSummary::decode(bytes).ok_or(MetricsError::DamagedSketch)?;
                    Some((influences.of_pixels(&pixels), pixels.n_regions > 0))
                }
                _ => None,
            };
            Ok((name, Picture { score: row.score, image, pixels }))
        };
        let pictures = rows.into_iter().map(picture);
        Ok(Side { metrics, pictures: pictures.collect::<Result<_, MetricsError>>()? })
    }

    fn scores(&self) -> Vec<f32> {
        self.pictures.values().map(|picture| picture.score).collect()
    }
}

fn compare_sides(category: &str, sides: &[Side; 2]) -> Comparison {
    let paired = sides[0].pictures.keys().filter(|id| sides[1].pictures.contains_key(*id));
    let of_images = difference_errors(sides, |picture| picture.image);
    let of_pixels = difference_errors(sides, |picture| picture.pixels);
    let differences = Metric::ALL.map(|metric| {
        let [first, second] = sides.each_ref().map(|side| side.metrics.get(metric));
        let place = metric as usize;
        let standard_error = match place.checked_sub(IMAGE_METRICS) {
            None => of_images.map(|errors| errors[place]),
            Some(place) => of_pixels.and_then(|errors| errors.get(place).copied()),
        };
        let value = second?.value - first?.value;
        Some(Figure { value, standard_error, bounds: None })
    });
    Comparison {
        category: category.to_string(),
        n_images: sides.each_ref().map(|side| side.pictures.len() as u64),
        n_paired: paired.count() as u64,
        metrics: sides.each_ref().map(|side| side.metrics),
        differences,
        drift: Drift::between(&sides[0].scores(), &sides[1].scores()),
    }
}

/// Standard errors of the differences. Images of both runs, of the first and of the second alone
/// are drawn anew apart from each other.
fn difference_errors(
    sides: &[Side; 2],
    effects: impl Fn(&Picture) -> Option<(Effects, bool)>,
) -> Option<Effects> {
    let mut groups = [Spread::default(); 3];
    let [first, second] = sides.each_ref().map(|side| &side.pictures);
    for (id, picture) in first {
        let Some((of_first, anomalous)) = effects(picture) else { continue };
        match second.get(id).and_then(&effects) {
            Some((of_second, _)) => {
                let difference = std::array::from_fn(|place| of_second[place] - of_first[place]);
                groups[0].add(&difference, anomalous);
            }
            None => groups[1].add(&of_first, anomalous),
        }
    }
    for (id, picture) in second {
        if first.get(id).and_then(&effects).is_none()
            && let Some((of_second, anomalous)) = effects(picture)
        {
            groups[2].add(&of_second, anomalous);
        }
    }
    let errors = groups.iter().filter(|group| !group.is_empty()).map(Spread::standard_errors);
    let errors = errors.collect::<Option<Vec<_>>>().filter(|errors| !errors.is_empty())?;
    let squares = |place: usize| errors.iter().map(|of| of[place].powi(2)).sum::<f64>();
    Some(std::array::from_fn(|place| squares(place).sqrt()))
}
