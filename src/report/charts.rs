//! Charts as SVG text. In: scores and curves. Out: SVG that holds numbers and words of this file only;
//! its colours are stand-ins, which the style sheet of the page replaces by those of its theme.

use std::ops::Range;

use plotters::prelude::*;

use crate::metrics::Curve;

/// Width and height of a chart, in units of its own.
const SIZE: (u32, u32) = (440, 280);

/// Bars of a histogram.
const BINS: usize = 40;

/// Up to this false-positive rate the area under the curve of overlap counts.
const PRO_LIMIT: f64 = 0.3;

/// Stand-ins: the style sheet knows each by its value.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// Normal, anomalous, unlabelled: the order of [`Counts`](super::summary::Counts).
const CLASSES: [RGBColor; 3] = [RGBColor(3, 3, 3), RGBColor(4, 4, 4), RGBColor(5, 5, 5)];
const FIRST: RGBColor = CLASSES[0];
const SECOND: RGBColor = CLASSES[1];

/// The references' own scores.
const REFERENCES: RGBColor = RGBColor(6, 6, 6);

const LINE: u32 = 2;

/// A line of a chart, as its legend shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    First,
    /// Dashed.
    Second,
    /// Thin.
    Third,
}

/// A value for each night, or none.
pub struct Series {
    pub line: Line,
    pub values: Vec<Option<f64>>,
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The shares of each class at each score, with the thresholds from lowest to highest. `scores` are
/// by class, `references` are the references' own. `None` where there is nothing to draw.
pub fn histogram(
    scores: &[Vec<f32>; 3],
    references: &[f32],
    thresholds: Option<(f32, f32)>,
) -> Option<String> {
    let range = range_of(scores, references, thresholds)?;
    let of_references = shares(references, &range);
    let shares = scores.each_ref().map(|scores| shares(scores, &range));
    let highest = shares.iter().flatten().chain(&of_references).copied().fold(0.0, f64::max);
    let n_classes = shares.iter().filter(|shares| !shares.is_empty()).count();
    let bin = (range.end - range.start) / BINS as f64;
    let steps = |shares: &[f64]| {
        let step = |(i, share): (usize, &f64)| {
            let left = range.start + bin * i as f64;
            [(left, *share), (left + bin, *share)]
        };
        shares.iter().enumerate().flat_map(step).collect::<Vec<_>>()
    };
    svg(|area| {
        let axes = Axes { x: range.clone(), y: 0.0..highest * 1.08 };
        let whole = if n_classes > 1 { "% of its class" } else { "% of the images" };
        let mut chart = axes.on(area, "score", whole)?;
        for (class, shares) in shares.iter().enumerate().filter(|(_, shares)| !shares.is_empty()) {
            let colour = CLASSES[class];
            let border = colour.stroke_width(LINE);
            let area = AreaSeries::new(steps(shares), 0.0, colour.mix(0.3));
            chart.draw_series(area.border_style(border))?;
        }
        // An outline alone: in an archive the references are images of the classes, and cover them.
        let outline = LineSeries::new(steps(&of_references), REFERENCES.stroke_width(LINE));
        chart.draw_series(outline)?;
        if let Some((low, high)) = thresholds {
            for at in [low, high].map(f64::from) {
                let line = [(at, 0.0), (at, highest * 1.08)];
                chart.draw_series(DashedLineSeries::new(line, 6, 4, INK.stroke_width(LINE)))?;
            }
        }
        Ok(())
    })
}

/// True-positive over false-positive rate, of images and of pixels.
pub fn roc(pictures: Option<&Curve>, pixels: Option<&Curve>) -> Option<String> {
    pictures.or(pixels)?;
    svg(|area| {
        let axes = Axes { x: 0.0..1.0, y: 0.0..1.0 };
        let mut chart = axes.on(area, "false-positive rate", "true-positive rate")?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], GRID.stroke_width(1)))?;
        if let Some(curve) = pixels {
            let points = curve.points().iter().copied();
            chart.draw_series(DashedLineSeries::new(points, 8, 4, SECOND.stroke_width(LINE)))?;
        }
        if let Some(curve) = pictures {
            let points = curve.points().iter().copied();
            chart.draw_series(LineSeries::new(points, FIRST.stroke_width(LINE)))?;
        }
        Ok(())
    })
}

/// Mean recalled share of a region over the false-positive rate of pixels, up to the usual limit.
pub fn pro(curve: &Curve) -> Option<String> {
    let curve = curve.up_to(PRO_LIMIT);
    svg(|area| {
        let axes = Axes { x: 0.0..PRO_LIMIT, y: 0.0..1.0 };
        let mut chart = axes.on(area, "false-positive rate", "overlap per region")?;
        let points = curve.points().iter().copied();
        let border = SECOND.stroke_width(LINE);
        chart.draw_series(AreaSeries::new(points, 0.0, SECOND.mix(0.2)).border_style(border))?;
        Ok(())
    })
}

/// Values night after night, from 0 or their lowest to their highest; `limit` is a line across. `None`
/// where there is nothing to draw.
pub fn trend(
    series: &[Series],
    names: &[String],
    y_name: &str,
    limit: Option<f64>,
) -> Option<String> {
    let values = series.iter().flat_map(|of| of.values.iter().flatten().copied());
    let ends = values.filter(|value| value.is_finite()).chain(limit);
    let (low, high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if series.iter().all(|of| of.values.iter().all(Option::is_none)) || low > high {
        return None;
    }
    let margin = (0.08 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
    // Shares begin at zero, scores where they are.
    let low = if series.len() > 1 { low - margin } else { low.min(0.0) };
    let last = names.len().saturating_sub(1).max(1) as f64;
    svg(|area| {
        let axes = Axes { x: -0.05 * last..1.05 * last, y: low..high + margin };
        let name = |x: &f64| {
            let at = x.round();
            let is_night = (x - at).abs() < 1e-6 && at >= 0.0;
            // The year is in the table.
            let name = is_night.then(|| names.get(at as usize)).flatten();
            name.map_or(String::new(), |name| name.get(5..).unwrap_or(name).to_string())
        };
        let mut chart = axes.with_names(area, "night", y_name, names.len().min(6), &name)?;
        if let Some(limit) = limit {
            let line = [(-0.05 * last, limit), (1.05 * last, limit)];
            chart.draw_series(DashedLineSeries::new(line, 6, 4, INK.stroke_width(LINE)))?;
        }
        for Series { line, values } in series {
            let points = (0..).zip(values).filter_map(|(i, v)| Some((f64::from(i), (*v)?)));
            let points = points.collect::<Vec<_>>();
            let (colour, width) = match line {
                Line::First => (FIRST, LINE),
                Line::Second => (SECOND, LINE),
                Line::Third => (CLASSES[2], 1),
            };
            let style = colour.stroke_width(width);
            match line {
                Line::Second => {
                    chart.draw_series(DashedLineSeries::new(points.iter().copied(), 8, 4, style))?
                }
                _ => chart.draw_series(LineSeries::new(points.iter().copied(), style))?,
            };
            let dots = points.iter().map(|at| Circle::new(*at, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        Ok(())
    })
}

/// From the lowest to the highest score or threshold, a little wider.
pub fn range_of(
    scores: &[Vec<f32>; 3],
    references: &[f32],
    thresholds: Option<(f32, f32)>,
) -> Option<Range<f64>> {
    let ends = thresholds.map(|(low, high)| [low, high]);
    let all = scores.iter().flatten().chain(references).copied();
    let all = all.chain(ends.into_iter().flatten());
    let (low, high) = all.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), score| {
        (low.min(score), high.max(score))
    });
    let has_scores = scores.iter().any(|scores| !scores.is_empty());
    if !has_scores || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let (low, high) = (f64::from(low), f64::from(high));
    let margin = (0.02 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
    Some(low - margin..high + margin)
}

/// The share of `scores` in each bin, in percent; empty without scores.
fn shares(scores: &[f32], range: &Range<f64>) -> Vec<f64> {
    if scores.is_empty() {
        return Vec::new();
    }
    let mut counts = vec![0u64; BINS];
    for score in scores {
        let at = (f64::from(*score) - range.start) / (range.end - range.start);
        counts[((at * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    counts.iter().map(|count| 100.0 * *count as f64 / scores.len() as f64).collect()
}

/// As many decimals as tell the labels of an axis apart that is `span` long.
fn decimals(span: f64) -> usize {
    (1.0 - span.log10()).ceil().clamp(0.0, 9.0) as usize
}

/// A label without zeros at its end.
fn label(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

struct Axes {
    x: Range<f64>,
    y: Range<f64>,
}

impl Axes {
    fn on<'a, 'b>(
        self,
        area: &'a Area<'b>,
        x_name: &str,
        y_name: &str,
    ) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
        let of_x = decimals(self.x.end - self.x.start);
        self.with_names(area, x_name, y_name, 6, &|x| label(*x, of_x))
    }

    /// With so many labels below, at most, each named by `name`.
    fn with_names<'a, 'b>(
        self,
        area: &'a Area<'b>,
        x_name: &str,
        y_name: &str,
        x_labels: usize,
        name: &dyn Fn(&f64) -> String,
    ) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
        let of_y = decimals(self.y.end - self.y.start);
        let text = ("sans-serif", 18).into_font().color(&INK);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(self.x, self.y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(x_labels)
            .y_labels(5)
            .x_label_formatter(&name)
            .y_label_formatter(&|y| label(*y, of_y))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_desc(x_name)
            .y_desc(y_name)
            .draw()?;
        Ok(chart)
    }
}

/// The text of a chart; `None` if it cannot be drawn, for which there is no known reason.
fn svg(draw: impl FnOnce(&Area) -> Drawn) -> Option<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    draw(&area).ok()?;
    area.present().ok()?;
    drop(area);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ImageScore, image_roc};

    #[test]
    fn the_shares_of_a_class_add_up_to_all_of_it() {
        let scores = [vec![0.1, 0.2, 0.2, 0.9], vec![0.5; 3], Vec::new()];
        let range = range_of(&scores, &[1.9], Some((0.0, 1.5))).unwrap();
        assert!(range.start < 0.0 && range.end > 1.9);
        for (scores, whole) in scores.iter().zip([100.0, 100.0, 0.0]) {
            let sum = shares(scores, &range).iter().sum::<f64>();
            assert!((sum - whole).abs() < 1e-9, "{sum}");
        }
        assert_eq!(range_of(&[Vec::new(), Vec::new(), Vec::new()], &[0.5], Some((0.5, 0.5))), None);
    }

    #[test]
    fn labels_are_told_apart_however_long_the_axis() {
        for (span, step) in [(1.0, 0.2), (0.03, 0.005), (3.0, 0.5), (60.0, 20.0), (2e-5, 5e-6)] {
            let labels = (0..4).map(|i| label(0.5 + step * f64::from(i), decimals(span)));
            let labels = labels.collect::<std::collections::BTreeSet<_>>();
            assert_eq!(labels.len(), 4, "{labels:?}");
        }
        assert_eq!([0.0, 0.25, 100.0, -1e-9].map(|v| label(v, 2)), ["0", "0.25", "100", "0"]);
    }

    #[test]
    fn nights_are_named_and_gaps_are_left_out() {
        let names = ["2026-11-24", "2026-11-25", "2026-11-26"].map(String::from);
        let series = [Series { line: Line::First, values: vec![Some(1.0), None, Some(3.0)] }];
        let chart = trend(&series, &names, "%", Some(0.2)).unwrap();
        for part in ["11-24", "11-26", "#030303", "<circle"] {
            assert!(chart.contains(part), "{part}: {chart}");
        }
        assert_eq!(chart.matches("<circle").count(), 2);
        let none = [Series { line: Line::First, values: vec![None; 3] }];
        assert_eq!(trend(&none, &names, "%", Some(0.2)), None);
    }

    #[test]
    fn equal_scores_have_a_histogram() {
        let chart =
            histogram(&[vec![0.5; 4], Vec::new(), Vec::new()], &[], Some((0.5, 0.5))).unwrap();
        assert!(chart.starts_with("<svg") && chart.contains("score"), "{chart}");
        assert_eq!(histogram(&Default::default(), &[0.5], None), None);
    }

    #[test]
    fn curves_are_drawn_in_the_colours_that_the_page_knows() {
        let scores = [(0.9, true), (0.2, false)].map(|(s, a)| ImageScore::new(s, a));
        let curve = image_roc(&scores).unwrap();
        let chart = roc(Some(&curve), Some(&curve)).unwrap();
        let style = include_str!("../../templates/report.css");
        for hex in ["#010101", "#020202", "#030303", "#040404"] {
            assert!(chart.contains(hex) && style.contains(hex), "{hex}");
        }
        let of = |references: &[f32]| {
            histogram(&[Vec::new(), Vec::new(), vec![0.5]], references, None).unwrap()
        };
        assert!(of(&[]).contains("#050505") && style.contains("#050505"));
        assert!(of(&[0.4]).contains("#060606") && style.contains("#060606"));
        assert!(!of(&[]).contains("#060606"));
        assert!(pro(&curve).unwrap().contains("overlap per region"));
        assert_eq!(roc(None, None), None);
    }
}
