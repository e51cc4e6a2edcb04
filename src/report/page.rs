//! The page. In: what was found, as numbers and rows. Out: HTML, every text in it escaped by the
//! template. Never here: reading anything.

use std::collections::BTreeMap;

use askama::Template;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::build::Drifted;
use super::images::Images;
use super::page_category::CategoryView;
use super::page_decision::{decision, notes};
use super::page_images::{Drawings, ImageView, Layer};
use super::page_script::script_data;
use super::page_summary::{TableView, Tile, categories, is_labelled, rules, tiles};
use super::page_tables::{DriftView, MetricsView, headline};
use super::picks::SeenScore;
use super::references::OwnScores;
use super::summary::{ANOMALOUS, CategorySummary, Counts, Failures, NORMAL, UNLABELLED};
use super::trend::{Night, TrendView};
use super::what_if::WhatIf;
use crate::metrics::PixelCurves;
use crate::source::Input;
use crate::tables::{CategoryMetrics, FailureRow, Manifest, ThresholdRow};

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = concat!(
    include_str!("../../templates/report.js"),
    include_str!("../../templates/report_flagged.js"),
    include_str!("../../templates/report_threshold.js"),
);

/// Characters of a text that is shown whole.
const LONGEST: usize = 200;

/// Runs of a set that are named.
const MOST_RUNS: usize = 40;

/// Items of a list that are shown.
const LISTED: usize = 3;

/// All that a page says.
pub struct PageData<'a> {
    /// That of the newest run.
    pub manifest: &'a Manifest,
    /// Where the runs are, the oldest first.
    pub runs: Vec<String>,
    /// Which rows count, and what is not finished.
    pub extent: &'a [String],
    pub counts: Counts,
    /// Of the categories with scores; those below may be fewer.
    pub counts_by_category: BTreeMap<&'a str, Counts>,
    pub what_if: WhatIf,
    /// Of all categories together, without scores.
    pub nights: Vec<Night>,
    /// What the nights are called.
    pub night_names: Vec<String>,
    /// All categories.
    pub n_categories: usize,
    pub categories: Vec<CategoryData<'a>>,
    /// By category: rows of the table of flagged images.
    pub rows: Vec<(&'a str, &'a [SeenScore])>,
    /// By run and image of these rows: pixels of the predicted mask.
    pub areas: BTreeMap<(usize, String), i64>,
    /// By run: where its images are now, if that is not where they were scored.
    pub moved: Vec<Option<Input>>,
    /// By category; empty for runs of versions that had none.
    pub thresholds: &'a BTreeMap<String, ThresholdRow>,
    pub metrics: &'a [CategoryMetrics],
    pub drift: Option<&'a Drifted>,
    pub failures: &'a Failures,
    pub images: &'a Images,
}

/// What a category says.
pub struct CategoryData<'a> {
    pub name: &'a str,
    pub summary: &'a CategorySummary,
    pub pixels: Option<PixelCurves>,
    /// How its images were decided on.
    pub decided: Option<&'a ThresholdRow>,
    pub references: Option<&'a OwnScores>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    policy: String,
    version: &'static str,
    style: &'static str,
    script: &'static str,
    data: String,
    title: String,
    run_id: &'a str,
    run_date: String,
    categories_total: String,
    /// Empty for a single run.
    runs: Vec<String>,
    extent: &'a [String],
    counts: CountsView,
    tiles: Vec<Tile>,
    rules: TableView,
    notes: Vec<String>,
    headline: Vec<Figures>,
    headline_of: &'static str,
    facts: Vec<Fact>,
    /// As it would be typed.
    export: String,
    metrics: MetricsView,
    drift: Option<DriftView>,
    trend: Option<TrendView>,
    overview: Option<TableView>,
    categories: Vec<CategoryView<'a>>,
    hidden_categories: String,
    failures: Vec<FailureView<'a>>,
    layers: Vec<Layer>,
    images: Vec<ImageView>,
}

/// A name and what it is.
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// A figure as text.
pub struct Figures {
    pub name: &'static str,
    pub value: String,
    pub interval: String,
}

struct CountsView {
    listed: String,
    scored: String,
    /// Empty where there are none.
    failed: String,
    /// What is known of the scored images; empty where nothing is.
    truth: Vec<Fact>,
}

struct FailureView<'a> {
    code: &'a str,
    stage: &'a str,
    n: String,
    examples: Vec<Fact>,
}

/// The text of the page.
///
/// # Errors
/// None is known.
pub fn render(data: &PageData) -> Result<String, askama::Error> {
    let manifest = data.manifest;
    let drawings = Drawings::new(data.images);
    // One or two are read at once; of more, people open those that they want.
    let open = data.categories.len() < 3;
    let views = data.categories.iter().enumerate();
    let views =
        views.map(|(i, of)| CategoryView::new(anchor(i), open, of, data, &drawings)).collect();
    let anchors = data.categories.iter().enumerate().map(|(i, of)| (of.name, anchor(i)));
    let anchors = anchors.collect::<BTreeMap<_, _>>();
    let hidden = data.counts_by_category.len().saturating_sub(data.categories.len());
    let (headline_of, headline) = headline(data.metrics);
    let json = script_data(data, &drawings).map_err(askama::Error::custom)?;
    let page = Page {
        policy: policy(),
        version: env!("CARGO_PKG_VERSION"),
        style: STYLE,
        script: SCRIPT,
        data: json,
        title: match text_of(manifest, "input") {
            input if input.is_empty() => format!("Run {}", manifest.run_id),
            input => short(&input),
        },
        run_id: &manifest.run_id,
        run_date: manifest.run_date.to_string(),
        categories_total: match data.n_categories {
            1 => "1 category".to_string(),
            n => format!("{} categories", grouped(n as u64)),
        },
        runs: runs_of(&data.runs),
        extent: data.extent,
        counts: counts_view(&data.counts, data.failures),
        tiles: tiles(&data.counts),
        rules: rules(&data.what_if, &data.counts),
        notes: notes(data.thresholds, manifest),
        headline,
        headline_of,
        facts: facts_of(manifest),
        export: format!("filo export --run {} --flagged --csv flagged.csv", newest(&data.runs)),
        metrics: MetricsView::new(data.metrics, &anchors),
        drift: data.drift.map(DriftView::new),
        trend: TrendView::new("all categories", &data.nights, &data.night_names),
        overview: categories(&data.counts_by_category, data.thresholds, &anchors),
        categories: views,
        hidden_categories: match hidden {
            0 => String::new(),
            _ => format!(
                "{} of {} categories: those with the most images, or those asked for. \
                 --category NAME shows others.",
                grouped(data.categories.len() as u64),
                grouped(data.counts_by_category.len() as u64)
            ),
        },
        failures: failure_views(data.failures),
        layers: drawings.layers(),
        images: drawings.views(),
    };
    page.render()
}

/// The runs of a set as they are typed: the first of several.
fn newest(places: &[String]) -> String {
    match places {
        [only] => short(only),
        [first, ..] => format!("{} --run …", short(first)),
        [] => "OUT".to_string(),
    }
}

/// The places of several runs, the oldest first; of very many the newest.
fn runs_of(places: &[String]) -> Vec<String> {
    if places.len() < 2 {
        return Vec::new();
    }
    let hidden = places.len().saturating_sub(MOST_RUNS);
    let more = (hidden > 0).then(|| format!("{} earlier ones", grouped(hidden as u64)));
    more.into_iter().chain(places[hidden..].iter().map(|place| short(place))).collect()
}

fn anchor(index: usize) -> String {
    format!("category-{index}")
}

/// Nothing from elsewhere, and no style or script but the page's own.
fn policy() -> String {
    let digest = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
    };
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
}

/// A whole number, its thousands set apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `text`, or its ends if it is very long: names from archives have no limit.
pub fn short(text: &str) -> String {
    let chars = text.chars().count();
    if chars <= LONGEST {
        return text.to_string();
    }
    let (head, tail) = (LONGEST / 3, LONGEST - LONGEST / 3);
    let start = text.chars().take(head);
    start.chain(['…']).chain(text.chars().skip(chars - tail)).collect()
}

/// A key of the job as text; empty where there is none.
fn text_of(manifest: &Manifest, key: &str) -> String {
    match manifest.spec.get(key) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn facts_of(manifest: &Manifest) -> Vec<Fact> {
    let keys = manifest.spec.as_object().into_iter().flat_map(|object| object.keys());
    let value = |key: &str| match manifest.spec.get(key) {
        // Thousands of categories, perhaps.
        Some(serde_json::Value::Array(items)) => {
            let first = items.iter().take(LISTED).filter_map(|item| item.as_str());
            let first = first.collect::<Vec<_>>().join(", ");
            match items.len().saturating_sub(LISTED) {
                0 => first,
                more => format!("{first} and {} more", grouped(more as u64)),
            }
        }
        Some(rule @ serde_json::Value::Object(_)) => decision(rule),
        _ => short(&text_of(manifest, key)),
    };
    let facts = keys.map(|key| Fact { name: key.replace('_', " "), value: value(key) });
    facts.filter(|fact| !fact.value.is_empty()).collect()
}

fn counts_view(counts: &Counts, failures: &Failures) -> CountsView {
    let failed = failures.values().map(|group| group.n).sum::<u64>();
    let classes = [(NORMAL, "normal"), (ANOMALOUS, "anomalous"), (UNLABELLED, "no label")];
    let classes = classes.into_iter().filter(|(class, _)| counts.of(*class) > 0);
    let truth = classes.filter(|_| is_labelled(counts));
    let truth = truth
        .map(|(class, name)| Fact { name: name.to_string(), value: grouped(counts.of(class)) });
    CountsView {
        listed: grouped(counts.scored() + failed),
        scored: grouped(counts.scored()),
        failed: if failed > 0 { grouped(failed) } else { String::new() },
        truth: truth.collect(),
    }
}

fn failure_views(failures: &Failures) -> Vec<FailureView<'_>> {
    let mut groups = failures.iter().collect::<Vec<_>>();
    groups.sort_by(|a, b| b.1.n.cmp(&a.1.n).then(a.0.cmp(b.0)));
    let example =
        |row: &FailureRow| Fact { name: short(&row.image_id), value: short(&row.message) };
    let views = groups.into_iter().map(|((stage, code), group)| FailureView {
        code,
        stage,
        n: grouped(group.n),
        examples: group.examples.iter().map(example).collect(),
    });
    views.collect()
}
