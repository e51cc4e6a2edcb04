//! `filo metrics --compare`: two runs in, or two sets of runs, a table of differences out, or one JSON document.

use serde_json::{Value, json};

use super::extent::Extent;
use super::runs::{Wanted, data_set};
use super::say::say;
use super::table::{aligned, percent};
use crate::error::Error;
use crate::metrics::{Drift, Figure, Metric};
use crate::pipeline::compare::{Comparison, compare};
use crate::tables::MEAN_OF_CATEGORIES;

/// Compares the runs at two places and prints what comes of it.
///
/// # Errors
/// If one of them cannot be read, or is not as `wanted`.
pub fn run(first: &str, second: &str, wanted: Wanted, as_json: bool) -> Result<(), Error> {
    let side = |name: &str| data_set(&[name.to_string()], wanted);
    let (of_first, of_second) = (side(first)?, side(second)?);
    let comparisons = compare(&of_first, &of_second)?;
    for side in [&of_first, &of_second] {
        Extent::of(side)?.log();
    }
    if as_json {
        let rows = comparisons.iter().map(document).collect::<Vec<_>>();
        return say(format_args!("{:#}", json!({ "runs": [first, second], "categories": rows })));
    }
    say(aligned(&differences(&comparisons)).trim_end())?;
    say("")?;
    say(aligned(&drifts(&comparisons)).trim_end())?;
    say("")?;
    say("second less first, in percent, with what a 95 % interval reaches to either side; * the \
         interval leaves 0 out")
}

/// The metrics that at least one category has in both runs.
fn shown(comparisons: &[Comparison]) -> Vec<Metric> {
    let has =
        |metric: &Metric| comparisons.iter().any(|of| of.differences[*metric as usize].is_some());
    Metric::ALL.into_iter().filter(has).collect()
}

/// A line per category with metrics.
fn differences(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let metrics = shown(comparisons);
    let mut lines = vec![vec!["category".to_string(), "in both".into()]];
    lines[0].extend(metrics.iter().map(|metric| heading(*metric)));
    let with_metrics = |of: &&Comparison| {
        of.category == MEAN_OF_CATEGORIES || of.differences.iter().any(Option::is_some)
    };
    for of in comparisons.iter().filter(with_metrics) {
        let mut line = vec![of.category.clone(), of.n_paired.to_string()];
        line.extend(metrics.iter().map(|metric| difference(of.differences[*metric as usize])));
        lines.push(line);
    }
    lines
}

/// `aupro_05` says its limit as a table does, not as a column is called.
fn heading(metric: Metric) -> String {
    match metric {
        Metric::Aupro05 => "aupro 5 %".to_string(),
        of => of.as_str().replace('_', " "),
    }
}

fn difference(figure: Option<Figure>) -> String {
    let Some(figure) = figure else { return "–".to_string() };
    let value = format!("{:+.1}", 100.0 * figure.value);
    match figure.reach() {
        None => format!("{value}  "),
        Some(reach) => {
            let mark = if figure.value.abs() > reach { '*' } else { ' ' };
            format!("{value} ±{}{mark}", percent(Some(reach)))
        }
    }
}

/// A line per category with scores in both runs.
fn drifts(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let heading = ["category", "first", "second", "PSI", "KS", "KS p", "scores"];
    let mut lines = vec![heading.map(str::to_string).to_vec()];
    for of in comparisons.iter().filter(|of| of.category != MEAN_OF_CATEGORIES) {
        let mut line = vec![of.category.clone()];
        line.extend(of.n_images.map(|n| n.to_string()));
        line.extend(match of.drift {
            None => ["–", "–", "–", "in one run only"].map(str::to_string),
            Some(drift) => [
                format!("{:.3}", drift.psi),
                format!("{:.3}", drift.ks),
                format!("{:.1e}", drift.ks_p),
                if drift.is_flagged() { "DRIFT" } else { "alike" }.to_string(),
            ],
        });
        lines.push(line);
    }
    lines
}

fn document(of: &Comparison) -> Value {
    let metrics = Metric::ALL.map(|metric| {
        let difference = of.differences[metric as usize];
        let [first, second] = of.metrics.map(|metrics| metrics.get(metric).map(|of| of.value));
        let ends = difference.and_then(|of| Some([of.value - of.reach()?, of.value + of.reach()?]));
        let value = json!({
            "first": first,
            "second": second,
            "difference": difference.map(|of| of.value),
            "ci_low": ends.map(|[low, _]| low),
            "ci_high": ends.map(|[_, high]| high),
        });
        (metric.as_str().to_string(), value)
    });
    let drift = of.drift.map(|drift| {
        let Drift { psi, ks, ks_p } = drift;
        json!({ "psi": psi, "ks": ks, "ks_p": ks_p, "flagged": drift.is_flagged() })
    });
    json!({
        "category": of.category,
        "n_images": of.n_images,
        "n_paired": of.n_paired,
        "metrics": serde_json::Map::from_iter(metrics),
        "drift": drift,
    })
}
