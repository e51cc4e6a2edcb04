//! The metrics table as text, CSV and JSON. Rows in, a string out.

use super::extent::Extent;
use crate::metrics::Metric;
use crate::tables::{CategoryMetrics, MetricCells, MetricsRow, RunSet};

/// The metrics, in the order in which papers print them.
fn metrics() -> [&'static str; 9] {
    Metric::ALL.map(Metric::as_str)
}

/// All rows with the category they belong to.
fn all(categories: &[CategoryMetrics]) -> impl Iterator<Item = (&str, &MetricsRow)> {
    categories.iter().flat_map(|of| of.rows.iter().map(|row| (of.category.as_str(), row)))
}

/// In two lines, so that the table is no wider than it must be.
const HEADINGS: [[&str; 15]; 2] = [
    ["", "", "", "", "", "", "image", "", "", "pixel", "", "", "", "", ""],
    [
        "category",
        "images",
        "anomalous",
        "flagged",
        "precision",
        "recall",
        "auroc",
        "ap",
        "f1max",
        "auroc",
        "ap",
        "f1max",
        "aupro",
        "aupro 5 %",
        "aupimo",
    ],
];

/// Says in which unit a text is, and what its shorter headings mean.
const LEGEND: &str = "precision, recall and metrics in percent; aupro counts false-positive rates up \
                      to 30 %, aupro 5 % those up to 5 %, aupimo those from 0.001 % to 0.01 %";

/// What numbers of a CSV file lie between: they have no unit there.
const SCALE: &str = "0 to 1";

/// What a metric is printed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Value,
    /// And the ends of its 95 % interval.
    Interval,
}

/// Aligned columns, metrics in percent; `–` where one is not defined. Kinds are set in below their
/// category. What it all means is below.
pub fn text(categories: &[CategoryMetrics], detail: Detail) -> String {
    let mut lines = HEADINGS.map(|headings| headings.map(str::to_string).to_vec()).to_vec();
    for (category, row) in all(categories) {
        let name = row.kind.as_ref().map_or(category.to_string(), |kind| format!("  {kind}"));
        let flagged = row.n_flagged.map_or("–".to_string(), |flagged| flagged.to_string());
        let mut line = vec![name, row.n_images.to_string(), row.n_anomalous.to_string(), flagged];
        line.extend([row.precision, row.recall].map(percent));
        line.extend(metrics().map(|name| cell(row.metric(name), detail)));
        lines.push(line);
    }
    format!("{}\n{LEGEND}\n", aligned(&lines))
}

/// The rows of whole categories alone.
pub fn without_kinds(mut categories: Vec<CategoryMetrics>) -> Vec<CategoryMetrics> {
    categories.iter_mut().for_each(|of| of.rows.retain(|row| row.kind.is_none()));
    categories
}

fn cell(cells: MetricCells, detail: Detail) -> String {
    let value = percent(cells.value);
    match (detail, cells.interval) {
        (Detail::Interval, [Some(low), Some(high)]) => {
            format!("{value} ({}–{})", percent(Some(low)), percent(Some(high)))
        }
        _ => value,
    }
}

/// In percent with one decimal.
pub fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_string(), |value| format!("{:.1}", 100.0 * value))
}

/// Lines of cells, the first column left-aligned, the others right-aligned. All lines have as many
/// cells as the first.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut out = String::new();
    for line in lines {
        for (c, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let gap = if c == 0 { "" } else { "  " };
            let (before, after) =
                if c == 0 { ("", padding.as_str()) } else { (padding.as_str(), "") };
            out.push_str(&format!("{gap}{before}{cell}{after}"));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A header and one line per row, full precision; empty where a metric is not defined. Columns are
/// called as in the stored table; the last says between what the numbers lie.
pub fn csv(categories: &[CategoryMetrics]) -> String {
    let mut out = format!(
        "category,kind,n_images,n_anomalous,n_flagged,precision,recall,{},protocol,unfinished,scale\n",
        metrics().join(",")
    );
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for (category, row) in all(categories) {
        let value = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        out.push_str(&format!(
            "{},{},{},{},{},{},{},{},{},{},{SCALE}\n",
            quoted(category),
            row.kind.as_deref().map_or(String::new(), quoted),
            row.n_images,
            row.n_anomalous,
            row.n_flagged.map_or(String::new(), |flagged| flagged.to_string()),
            value(row.precision),
            value(row.recall),
            metrics().map(|name| value(row.metric(name).value)).join(","),
            row.protocol,
            row.unfinished.map_or(String::new(), |unfinished| unfinished.to_string()),
        ));
    }
    out
}

/// One document: `{"metrics": [{category, kind, n_images, …}], "runs": […], "rows": {…}, "notes": […]}`,
/// with all columns of the table, the runs that it is of, and how many of their rows count.
pub fn json(categories: &[CategoryMetrics], set: &RunSet, extent: &Extent) -> String {
    let counts = set.counts();
    let [scores, failures] = counts.replaced;
    let runs = set.runs().iter().map(|run| {
        let manifest = run.manifest();
        serde_json::json!({
            "uri": run.store().uri(),
            "run_id": manifest.run_id,
            "run_date": manifest.run_date,
            "finished": manifest.totals.is_some(),
        })
    });
    let document = serde_json::json!({
        "metrics": metrics_json(categories),
        "runs": runs.collect::<Vec<_>>(),
        "rows": {
            "all": counts.rows,
            "replaced_scores": scores,
            "replaced_failures": failures,
            "failed_since": counts.failed_since,
        },
        "notes": extent.notes,
    });
    format!("{document:#}\n")
}

fn metrics_json(categories: &[CategoryMetrics]) -> Vec<serde_json::Value> {
    let row_json = |(category, row): (&str, &MetricsRow)| {
        let mut object = serde_json::Map::new();
        object.insert("category".into(), category.into());
        object.insert("kind".into(), row.kind.clone().into());
        object.insert("n_images".into(), row.n_images.into());
        object.insert("n_anomalous".into(), row.n_anomalous.into());
        object.insert("n_flagged".into(), row.n_flagged.into());
        object.insert("precision".into(), row.precision.into());
        object.insert("recall".into(), row.recall.into());
        for name in metrics() {
            let MetricCells { value, bounds: [min, max], interval: [low, high] } = row.metric(name);
            object.insert(name.into(), value.into());
            if !name.starts_with("image") {
                object.insert(format!("{name}_min"), min.into());
                object.insert(format!("{name}_max"), max.into());
            }
            if name != Metric::Aupimo.as_str() {
                object.insert(format!("{name}_ci_low"), low.into());
                object.insert(format!("{name}_ci_high"), high.into());
            }
        }
        for (name, threshold) in row.thresholds() {
            object.insert(name.into(), threshold.into());
        }
        object.insert("protocol".into(), row.protocol.clone().into());
        object.insert("unfinished".into(), row.unfinished.into());
        serde_json::Value::Object(object)
    };
    all(categories).map(row_json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [CategoryMetrics; 1] {
        let row = MetricsRow {
            n_images: 12,
            n_anomalous: 3,
            n_flagged: Some(2),
            precision: Some(0.5),
            recall: Some(1.0 / 3.0),
            image_auroc: Some(0.98765),
            protocol: "exact".into(),
            ..MetricsRow::default()
        };
        [CategoryMetrics { category: "metal_nut".into(), rows: vec![row] }]
    }

    #[test]
    fn columns_line_up_and_gaps_show() {
        let text = text(&rows(), Detail::Value);
        let lines = text.lines().collect::<Vec<_>>();
        let start = "category   images  anomalous  flagged  precision  recall  auroc";
        assert!(lines[1].starts_with(start), "{text}");
        let under_each_other = |of: &str| lines[0].find(of).unwrap() + of.len();
        assert_eq!(under_each_other("image"), lines[1].find("auroc").unwrap() + 5, "{text}");
        assert_eq!(under_each_other("pixel"), lines[1].rfind("auroc").unwrap() + 5, "{text}");
        let start = "metal_nut      12          3        2       50.0    33.3   98.8";
        assert!(lines[2].starts_with(start), "{text}");
        assert!(
            lines[2].ends_with('–') && lines[1].ends_with(" aupro  aupro 5 %  aupimo"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "\n\nprecision, recall and metrics in percent; aupro counts \
            false-positive rates up to 30 %, aupro 5 % those up to 5 %, aupimo those from \
            0.001 % to 0.01 %\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn intervals_stand_beside_their_values() {
        let mut rows = rows();
        let row = &mut rows[0].rows[0];
        (row.image_auroc_ci_low, row.image_auroc_ci_high) = (Some(0.95), Some(0.999));
        let text = text(&rows, Detail::Interval);
        assert!(text.contains("98.8 (95.0–99.9)"), "{text}");
    }

    #[test]
    fn csv_and_json_keep_full_precision() {
        let csv = csv(&rows());
        assert!(csv.contains("\"metal_nut\",,12,3,2,0.5,0.3333333333333333,0.98765,,"), "{csv}");
        let ends = csv.lines().map(|line| line.rsplit(',').next()).collect::<Vec<_>>();
        assert_eq!(ends, [Some("scale"), Some("0 to 1")]);
        let rows = metrics_json(&rows());
        assert_eq!(rows[0]["image_auroc"], 0.98765);
        assert!(rows[0]["aupro"].is_null());
    }
}
