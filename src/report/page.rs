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
use super::page_images::{Drawings, ImageView};
use super::page_tables::{DriftView, MetricsView, headline};
use super::references::OwnScores;
use super::summary::{ANOMALOUS, CategorySummary, Counts, Failures, NORMAL, UNLABELLED};
use crate::metrics::PixelCurves;
use crate::tables::{CategoryMetrics, FailureRow, Manifest, ThresholdRow};

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

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
    /// All categories, and those with scores; those below may be fewer.
    pub n_categories: usize,
    pub n_scored: usize,
    pub categories: Vec<CategoryData<'a>>,
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
    title: String,
    run_id: &'a str,
    run_date: String,
    categories_total: String,
    /// Empty for a single run.
    runs: Vec<String>,
    extent: &'a [String],
    counts: CountsView,
    notes: Vec<String>,
    headline: Vec<Figures>,
    headline_of: &'static str,
    facts: Vec<Fact>,
    metrics: MetricsView,
    drift: Option<DriftView>,
    categories: Vec<CategoryView<'a>>,
    hidden_categories: String,
    failures: Vec<FailureView<'a>>,
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
    failed: String,
    normal: String,
    anomalous: String,
    unlabelled: String,
    flagged: String,
    not_flagged: String,
    /// Empty where all is decided.
    undecided: String,
    rows: Vec<ClassView>,
}

/// Images of one class: flagged ones and others, and those that are not decided on, if there are any.
struct ClassView {
    name: &'static str,
    cells: Vec<Outcome>,
}

struct Outcome {
    n: String,
    name: &'static str,
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
    let categories = data.categories.iter().enumerate();
    let categories = categories.map(|(i, of)| CategoryView::new(anchor(i), of, data, &drawings));
    let categories = categories.collect::<Vec<_>>();
    let anchors = data.categories.iter().enumerate().map(|(i, of)| (of.name, anchor(i)));
    let hidden = data.n_scored.saturating_sub(data.categories.len());
    let (headline_of, headline) = headline(data.metrics);
    let page = Page {
        policy: policy(),
        version: env!("CARGO_PKG_VERSION"),
        style: STYLE,
        script: SCRIPT,
        title: match text_of(manifest, "input") {
            input if input.is_empty() => format!("Run {}", manifest.run_id),
            input => short(&input),
        },
        run_id: &manifest.run_id,
        run_date: manifest.run_date.to_string(),
        categories_total: grouped(data.n_categories as u64),
        runs: runs_of(&data.runs),
        extent: data.extent,
        counts: counts_view(&data.counts, data.failures),
        notes: notes(data.thresholds, manifest),
        headline,
        headline_of,
        facts: facts_of(manifest),
        metrics: MetricsView::new(data.metrics, &anchors.collect()),
        drift: data.drift.map(DriftView::new),
        categories,
        hidden_categories: match hidden {
            0 => String::new(),
            _ => format!(
                "{} of {} categories: those with the most images, or those asked for. \
                 --category NAME shows others.",
                grouped(data.categories.len() as u64),
                grouped(data.n_scored as u64)
            ),
        },
        failures: failure_views(data.failures),
        images: drawings.views(),
    };
    page.render()
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
    let rows = [
        (NORMAL, "normal", ["false alarms", ""]),
        (ANOMALOUS, "anomalous", ["", "missed"]),
        (UNLABELLED, "no label", ["", ""]),
    ];
    let rows = rows.into_iter().filter(|(class, ..)| counts.of(*class) > 0);
    let undecided = counts.undecided.iter().sum::<u64>();
    let row = |(class, name, [flagged, not_flagged]): (usize, _, [_; 2])| {
        let decided = [(counts.flagged[class], flagged), (counts.not_flagged[class], not_flagged)];
        let open = (undecided > 0).then_some((counts.undecided[class], ""));
        let cells = decided.into_iter().chain(open);
        ClassView { name, cells: cells.map(|(n, name)| Outcome { n: grouped(n), name }).collect() }
    };
    CountsView {
        listed: grouped(counts.scored() + failed),
        scored: grouped(counts.scored()),
        failed: grouped(failed),
        normal: grouped(counts.of(NORMAL)),
        anomalous: grouped(counts.of(ANOMALOUS)),
        unlabelled: grouped(counts.of(UNLABELLED)),
        flagged: grouped(counts.flagged.iter().sum()),
        not_flagged: grouped(counts.not_flagged.iter().sum()),
        undecided: if undecided > 0 { grouped(undecided) } else { String::new() },
        rows: rows.map(row).collect(),
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
