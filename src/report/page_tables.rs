//! The tables of the page: metrics and drift. In: rows of figures. Out: cells as text.

use std::collections::BTreeMap;

use super::build::{Drifted, DriftedCategory};
use super::page::{Figures, grouped, short};
use crate::metrics::{Figure, Metric};
use crate::tables::{
    ALL_CATEGORIES, CategoryMetrics, MEAN_OF_CATEGORIES, MetricCells, MetricsRow, is_of_all,
};

/// Rows in the table of metrics, defect types among them.
const MOST_ROWS: usize = 1000;

/// Rows in the table of drift.
const MOST_DRIFT: usize = 300;

/// Wider bounds than this show what is not known for certain.
const TIGHT: f64 = 5e-5;

/// Headings of the metrics, in their order.
const COLUMNS: [&str; Metric::ALL.len()] = [
    "image AUROC",
    "image AP",
    "image F1 max",
    "pixel AUROC",
    "pixel AP",
    "pixel F1 max",
    "AUPRO",
    "AUPRO 5 %",
    "AUPIMO",
];

/// The table of metrics.
pub struct MetricsView {
    pub has_any: bool,
    pub protocol: &'static str,
    pub columns: Vec<&'static str>,
    pub categories: Vec<CategoryRows>,
    /// Of all images, and the mean.
    pub totals: Vec<RowView>,
    /// What is not shown.
    pub hidden: String,
}

/// A category, its kinds below it.
pub struct CategoryRows {
    /// Where the page has more; empty where it has not.
    pub anchor: String,
    pub rows: Vec<RowView>,
}

/// One row.
pub struct RowView {
    pub name: String,
    pub is_kind: bool,
    pub n_images: i64,
    pub n_images_text: String,
    pub n_anomalous: i64,
    pub n_anomalous_text: String,
    pub cells: Vec<CellView>,
}

/// One figure.
pub struct CellView {
    /// For sorting: all digits, or nothing.
    pub raw: String,
    pub value: String,
    pub interval: String,
    pub bounds: String,
}

/// In percent with one decimal.
fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

impl CellView {
    fn new(cells: MetricCells) -> Self {
        let pair = |ends: [Option<f64>; 2]| Some([ends[0]?, ends[1]?]);
        let bounds = pair(cells.bounds).map_or(String::new(), |[low, high]| {
            if high - low < TIGHT {
                "exact".to_string()
            } else {
                format!("{:.2} to {:.2}", 100.0 * low, 100.0 * high)
            }
        });
        CellView {
            raw: cells.value.map_or(String::new(), |value| value.to_string()),
            value: cells.value.map_or("–".to_string(), percent),
            interval: interval(cells),
            bounds,
        }
    }
}

fn interval(cells: MetricCells) -> String {
    match cells.interval {
        [Some(low), Some(high)] => format!("{}–{}", percent(low), percent(high)),
        _ => String::new(),
    }
}

impl RowView {
    fn new(name: &str, row: &MetricsRow, columns: &[Metric]) -> Self {
        let text = |n: i64| grouped(n.max(0) as u64);
        RowView {
            name: row.kind.as_deref().map_or(name.to_string(), short),
            is_kind: row.kind.is_some(),
            n_images: row.n_images,
            n_images_text: text(row.n_images),
            n_anomalous: row.n_anomalous,
            // Of images without labels nobody knows how many are.
            n_anomalous_text: match row.n_images {
                0 => "unknown".to_string(),
                _ => text(row.n_anomalous),
            },
            cells: columns.iter().map(|of| CellView::new(row.metric(of.as_str()))).collect(),
        }
    }
}

/// The whole, then its kinds.
fn rows_of(of: &CategoryMetrics, columns: &[Metric]) -> Vec<RowView> {
    of.rows.iter().map(|row| RowView::new(name_of(&of.category), row, columns)).collect()
}

/// How a category is called; those that are none have words.
fn name_of(category: &str) -> &str {
    match category {
        ALL_CATEGORIES => "all images as one set",
        MEAN_OF_CATEGORIES => "mean of categories",
        other => other,
    }
}

impl MetricsView {
    /// `anchors` are of the categories that the page has more about.
    pub fn new(metrics: &[CategoryMetrics], anchors: &BTreeMap<&str, String>) -> Self {
        let (totals, categories): (Vec<_>, Vec<_>) =
            metrics.iter().partition(|of| is_of_all(&of.category));
        let all = metrics.iter().flat_map(|of| &of.rows);
        let published = all.clone().any(|row| row.protocol == "published");
        // Runs without masks have no figures of pixels.
        let has = |of: &Metric| all.clone().any(|row| row.metric(of.as_str()).value.is_some());
        let columns = Metric::ALL.into_iter().filter(has).collect::<Vec<_>>();
        let (categories, hidden) = shown(categories, anchors, &columns);
        MetricsView {
            has_any: !columns.is_empty(),
            protocol: match published {
                true => {
                    "AUPRO is by the published procedure, to compare with printed figures only."
                }
                false => "",
            },
            columns: columns.iter().map(|of| COLUMNS[*of as usize]).collect(),
            categories,
            totals: totals.into_iter().flat_map(|of| rows_of(of, &columns)).collect(),
            hidden,
        }
    }
}

/// The categories that the table has room for, by name, and what is left out: first categories, those
/// that the page has more about before others, then their kinds.
fn shown(
    mut categories: Vec<&CategoryMetrics>,
    anchors: &BTreeMap<&str, String>,
    columns: &[Metric],
) -> (Vec<CategoryRows>, String) {
    let left_out = categories.len().saturating_sub(MOST_ROWS);
    categories.sort_by_key(|of| !anchors.contains_key(of.category.as_str()));
    categories.truncate(MOST_ROWS);
    categories.sort_by(|a, b| a.category.cmp(&b.category));
    let mut room = MOST_ROWS - categories.len();
    let mut without_kinds = 0;
    let mut shown = Vec::with_capacity(categories.len());
    for of in categories {
        let mut rows = rows_of(of, columns);
        match room.checked_sub(rows.len().saturating_sub(1)) {
            Some(rest) => room = rest,
            None => {
                rows.truncate(1);
                without_kinds += 1;
            }
        }
        let anchor = anchors.get(of.category.as_str()).cloned().unwrap_or_default();
        shown.push(CategoryRows { anchor, rows });
    }
    let mut hidden = Vec::new();
    if left_out > 0 {
        hidden.push(format!("{} categories", grouped(left_out as u64)));
    }
    if without_kinds > 0 {
        hidden.push(format!("the defect types of {} categories", grouped(without_kinds)));
    }
    match hidden.is_empty() {
        true => (shown, String::new()),
        false => (shown, format!("Not here but in the table metrics: {}.", hidden.join(", "))),
    }
}

/// The figures of the whole, with what they are of: the mean where there are several categories.
pub fn headline(metrics: &[CategoryMetrics]) -> (&'static str, Vec<Figures>) {
    let several = metrics.len() > 3;
    let (name, category) = match several {
        true => ("Mean of categories", MEAN_OF_CATEGORIES),
        false => ("Metrics", ALL_CATEGORIES),
    };
    let row = metrics.iter().find(|of| of.category == category).and_then(|of| of.rows.first());
    let figures = [
        ("image AUROC", Metric::ImageAuroc),
        ("pixel AUROC", Metric::PixelAuroc),
        ("AUPRO", Metric::Aupro),
    ];
    let figures = figures.into_iter().filter_map(|(name, metric)| {
        let cells = row?.metric(metric.as_str());
        Some(Figures { name, value: percent(cells.value?), interval: interval(cells) })
    });
    (name, figures.collect())
}

/// The table of drift.
pub struct DriftView {
    pub against: String,
    pub columns: Vec<&'static str>,
    /// The whole first, then what has drifted.
    pub rows: Vec<DriftRow>,
    /// What is not shown.
    pub hidden: String,
}

/// One category in both runs.
pub struct DriftRow {
    pub name: String,
    pub cells: Vec<String>,
    pub class: &'static str,
    pub verdict: &'static str,
    pub differences: Vec<Figures>,
}

impl DriftView {
    pub fn new(drifted: &Drifted) -> Self {
        let has = |metric: &Metric| {
            drifted.categories.iter().any(|of| of.differences[*metric as usize].is_some())
        };
        let shown = Metric::ALL.into_iter().filter(has).collect::<Vec<_>>();
        let has_drifted = |of: &DriftedCategory| of.drift.is_some_and(|drift| drift.is_flagged());
        let mut categories = drifted.categories.iter().collect::<Vec<_>>();
        categories.sort_by_key(|of| (!is_of_all(&of.category), !has_drifted(of)));
        let rows = categories.iter().take(MOST_DRIFT).map(|of| {
            let [first, second] = of.n_images.map(grouped);
            let mut cells = vec![first, second, grouped(of.n_paired)];
            cells.extend(match of.drift {
                None => ["–", "–", "–"].map(str::to_string),
                Some(drift) => {
                    [format!("{:.3}", drift.psi), format!("{:.3}", drift.ks), chance(drift.ks_p)]
                }
            });
            let (class, verdict) = match of.drift {
                None => ("quiet", "–"),
                Some(drift) if drift.is_flagged() => ("drift", "drift"),
                Some(_) => ("alike", "alike"),
            };
            let differences =
                shown.iter().map(|metric| difference(of.differences[*metric as usize]));
            let differences = differences.collect();
            let name = name_of(&of.category).to_string();
            DriftRow { name, cells, class, verdict, differences }
        });
        DriftView {
            against: drifted.against.clone(),
            columns: shown.iter().map(|metric| COLUMNS[*metric as usize]).collect(),
            rows: rows.collect(),
            hidden: match categories.len().saturating_sub(MOST_DRIFT) {
                0 => String::new(),
                more => format!(
                    "{} more categories: filo metrics --compare prints them.",
                    grouped(more as u64)
                ),
            },
        }
    }
}

/// A probability with three decimals.
fn chance(p: f64) -> String {
    if p < 0.0005 { "< 0.001".to_string() } else { format!("{p:.3}") }
}

fn difference(figure: Option<Figure>) -> Figures {
    let value = figure.map_or("–".to_string(), |of| format!("{:+.1}", 100.0 * of.value));
    let reach = figure.and_then(|of| of.reach());
    Figures {
        name: "",
        value,
        interval: reach.map_or(String::new(), |reach| format!("±{}", percent(reach))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_what_is_known_and_no_more() {
        let cells = MetricCells {
            value: Some(0.98765),
            bounds: [Some(0.9871), Some(0.9882)],
            interval: [Some(0.95), Some(0.999)],
        };
        let cell = CellView::new(cells);
        let texts = [cell.raw, cell.value, cell.interval, cell.bounds];
        assert_eq!(texts, ["0.98765", "98.8", "95.0–99.9", "98.71 to 98.82"]);
        let none = CellView::new(MetricCells::default());
        assert_eq!([none.raw, none.value, none.interval, none.bounds], ["", "–", "", ""]);
    }

    #[test]
    fn small_chances_are_no_zeros() {
        assert_eq!([1.0, 0.0123, 1e-9].map(chance), ["1.000", "0.012", "< 0.001"]);
    }

    #[test]
    fn totals_stand_apart_and_too_many_categories_are_told_of() {
        let of = |category: String| CategoryMetrics {
            category,
            rows: vec![
                MetricsRow::default(),
                MetricsRow { kind: Some("a".into()), ..MetricsRow::default() },
            ],
        };
        let mut metrics = (0..MOST_ROWS + 2).map(|i| of(format!("{i:05}"))).collect::<Vec<_>>();
        metrics.push(of(ALL_CATEGORIES.into()));
        let view = MetricsView::new(&metrics, &BTreeMap::from([("00001", "x".to_string())]));
        assert_eq!((view.categories.len(), view.totals.len()), (MOST_ROWS, 2));
        let rows = view.categories.iter().map(|of| of.rows.len());
        assert_eq!(rows.sum::<usize>(), MOST_ROWS, "there is no room for kinds");
        assert_eq!(
            (view.categories[0].anchor.as_str(), view.categories[1].anchor.as_str()),
            ("", "x")
        );
        assert!(!view.has_any && view.hidden.contains("2 categories"), "{}", view.hidden);
        metrics.truncate(MOST_ROWS / 2 + 1);
        let view = MetricsView::new(&metrics, &BTreeMap::new());
        assert_eq!(view.categories[0].rows[1].name, "a");
        let rows = view.categories.iter().map(|of| of.rows.len());
        assert!(rows.sum::<usize>() == MOST_ROWS && view.hidden.contains("the defect types of 2 "));
    }
}
