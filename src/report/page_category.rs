//! A category on the page. In: its summary, its curves, drawn images. Out: charts and cards as text.
//! Never here: HTML, which is the template's.

use super::charts;
use super::images::Shown;
use super::page::{CategoryData, Fact, PageData, grouped, short};
use super::page_decision::{p_digits, p_words, sentence};
use super::page_images::{Compared, Drawings, Drawn};
use super::page_summary::{in_short, is_labelled};
use super::picks::{Picks, SeenScore};
use super::summary::{CategorySummary, Wins, class};
use super::trend::TrendView;
use crate::draw::HeatScale;
use crate::image::Rect;
use crate::tables::BoxRow;

/// Descriptions that a category shows.
const WINS: usize = 6;

pub struct CategoryView<'a> {
    pub anchor: String,
    pub name: &'a str,
    pub open: bool,
    /// What it comes to, in a few words.
    pub in_short: String,
    pub about: String,
    /// That of the scores, where thresholds can be moved; `None` without scores.
    pub histogram: Option<ChartView>,
    pub charts: Vec<ChartView>,
    pub wins: Vec<WinView<'a>>,
    /// Whether any image has a label.
    pub labelled: bool,
    pub trend: Option<TrendView>,
    /// The ends of the scale of colours; empty without maps.
    pub heat: Vec<String>,
    pub galleries: Vec<GalleryView<'a>>,
}

pub struct ChartView {
    pub title: &'static str,
    pub alt: String,
    pub svg: String,
    pub keys: Vec<Key>,
}

/// An entry of a legend.
pub struct Key {
    pub class: &'static str,
    pub name: String,
}

pub struct WinView<'a> {
    pub description: &'a str,
    pub all: String,
    pub anomalous: String,
}

pub struct GalleryView<'a> {
    pub key: &'static str,
    pub title: &'static str,
    /// How many images belong here, shown or not.
    pub of: u64,
    pub about: String,
    pub cards: Vec<CardView<'a>>,
    /// Whether its images are compared with references.
    pub compares: bool,
}

pub struct CardView<'a> {
    pub image_id: String,
    /// The score and the class, for the script.
    pub raw: String,
    pub class: usize,
    pub flagged: bool,
    pub label: String,
    pub alt: String,
    pub shown: Option<Drawn>,
    pub why: String,
    /// The hottest part of an image with tiles.
    pub close_up: Option<Drawn>,
    pub compared: Option<Compared>,
    pub score: String,
    /// Empty without references.
    pub p_value: String,
    pub truth: String,
    pub description: &'a str,
    pub facts: Vec<Fact>,
}

impl<'a> CategoryView<'a> {
    pub fn new(
        anchor: String,
        open: bool,
        category: &'a CategoryData,
        data: &'a PageData,
        drawings: &Drawings,
    ) -> Self {
        let summary = category.summary;
        let trend = TrendView::new(category.name, &summary.nights, &data.night_names);
        CategoryView {
            anchor,
            name: category.name,
            open,
            in_short: in_short(&summary.counts),
            about: about(category, data),
            labelled: is_labelled(&summary.counts),
            // Of a single category the whole says the rest.
            trend: trend.filter(|trend| !trend.charts.is_empty()),
            histogram: histogram(category),
            charts: charts_of(category),
            wins: wins_of(summary),
            heat: heat_of(summary, data),
            galleries: galleries(summary, data, drawings),
        }
    }
}

/// How the images of a category were decided on.
fn about(category: &CategoryData, data: &PageData) -> String {
    let counts = &category.summary.counts;
    let origin = category.references.map(|of| of.origin);
    let limits = category.summary.thresholds;
    let sentence = sentence(category.decided, limits, origin, data.manifest);
    let flagged = counts.flagged.iter().sum::<u64>();
    match counts.undecided.iter().sum::<u64>() {
        0 => sentence,
        // What is decided already was decided by the rows.
        n if flagged == 0 && n == counts.scored() => {
            "Which images are flagged is decided when the run ends.".to_string()
        }
        n => format!("{} images are not decided on until their run ends. {sentence}", grouped(n)),
    }
}

const CLASS_NAMES: [(&str, &str); 3] =
    [("normal", "normal"), ("anomalous", "anomalous"), ("unlabelled", "no label")];

/// What a class is called; without labels there is one of images.
fn class_name(class: usize, labelled: bool) -> &'static str {
    if labelled { CLASS_NAMES[class].1 } else { "images" }
}

fn histogram(category: &CategoryData) -> Option<ChartView> {
    let summary = category.summary;
    let labelled = is_labelled(&summary.counts);
    let references = category.references.map_or(&[][..], |of| &of.scores);
    let svg = charts::histogram(&summary.scores, references, summary.thresholds)?;
    let there = (0..3).filter(|class| !summary.scores[*class].is_empty());
    let key = |class: usize| Key {
        class: CLASS_NAMES[class].0,
        name: class_name(class, labelled).into(),
    };
    let mut keys = there.map(key).collect::<Vec<_>>();
    if !references.is_empty() {
        keys.push(Key { class: "references", name: "references".into() });
    }
    if summary.thresholds.is_some() {
        keys.push(Key { class: "threshold", name: "threshold".into() });
    }
    let classes = (0..3).map(|class| (class_name(class, labelled), &summary.scores[class][..]));
    let medians = classes.chain([("references", references)]).filter_map(|(name, scores)| {
        let mut scores = scores.to_vec();
        scores.sort_unstable_by(f32::total_cmp);
        let median = scores.get(scores.len() / 2)?;
        Some(format!("{name}: median {median:.3}"))
    });
    let alt = format!(
        "Histogram of the scores of {}. {}.",
        category.name,
        medians.collect::<Vec<_>>().join(", ")
    );
    Some(ChartView { title: "Scores", alt, svg, keys })
}

fn charts_of(category: &CategoryData) -> Vec<ChartView> {
    let summary = category.summary;
    let mut views = Vec::new();
    let roc = summary.roc();
    let pixels = category.pixels.as_ref();
    if let Some(svg) = charts::roc(roc.as_ref(), pixels.map(|curves| &curves.roc)) {
        let mut keys = Vec::new();
        if roc.is_some() {
            keys.push(Key { class: "first", name: "images".into() });
        }
        if pixels.is_some() {
            keys.push(Key { class: "second", name: "pixels".into() });
        }
        let alt =
            format!("ROC curves of {}; the areas are in the table of metrics.", category.name);
        views.push(ChartView { title: "ROC", alt, svg, keys });
    }
    if let Some(svg) = pixels.and_then(|curves| charts::pro(&curves.pro)) {
        let alt = format!(
            "Overlap per region of {} up to a false-positive rate of 0.3; the area is in the table of metrics.",
            category.name
        );
        let keys = vec![Key { class: "second", name: "up to FPR 0.3".into() }];
        views.push(ChartView { title: "PRO", alt, svg, keys });
    }
    views
}

fn wins_of<'a>(summary: &'a CategorySummary) -> Vec<WinView<'a>> {
    let mut wins = summary.wins.iter().collect::<Vec<_>>();
    wins.sort_by(|a, b| b.1.all.cmp(&a.1.all).then(a.0.cmp(b.0)));
    let labelled = is_labelled(&summary.counts);
    let view = |(description, wins): (&'a String, &Wins)| WinView {
        description,
        all: grouped(wins.all),
        anomalous: match labelled {
            true => grouped(wins.anomalous),
            false => String::new(),
        },
    };
    wins.into_iter().take(WINS).map(view).collect()
}

/// The ends of the scale, if any image of the category has a map.
fn heat_of(summary: &CategorySummary, data: &PageData) -> Vec<String> {
    let rows = summary.picks.iter().flat_map(|picks| picks.rows());
    let mut layers =
        rows.filter_map(|seen| data.images.of(seen)).filter_map(|shown| shown.layers.as_ref().ok());
    match layers.any(|layers| layers.heat.is_some()) {
        true => {
            let HeatScale { coldest, hottest } = summary.heat();
            [coldest, hottest].map(|end| format!("{end:.3}")).to_vec()
        }
        false => Vec::new(),
    }
}

fn galleries<'a>(
    summary: &'a CategorySummary,
    data: &'a PageData,
    drawings: &Drawings,
) -> Vec<GalleryView<'a>> {
    let labelled = is_labelled(&summary.counts);
    let view = |picks: &'a Picks| {
        let kind = picks.kind();
        let shown = picks
            .rows()
            .iter()
            .filter_map(|seen| Some(card(seen, data.images.of(seen)?, labelled, drawings)));
        let cards = shown.collect::<Vec<_>>();
        let compares = cards.iter().any(|card| card.compared.is_some());
        let (key, title) = (kind.key(), kind.title(labelled));
        GalleryView { key, title, of: picks.of(), about: kind.about().into(), cards, compares }
    };
    // Empty ones, too: another threshold may fill them.
    summary.picks.iter().map(view).collect()
}

fn card<'a>(
    seen: &'a SeenScore,
    shown: &'a Shown,
    labelled: bool,
    drawings: &Drawings,
) -> CardView<'a> {
    let row = &seen.row;
    let truth = match (row.label, row.kind.as_deref()) {
        // Where no image has a label, none is worth a word.
        (None, _) if !labelled => String::new(),
        (None, _) => "no label".to_string(),
        (Some(false), _) => "normal".to_string(),
        (Some(true), None) => "anomalous".to_string(),
        (Some(true), Some(kind)) => format!("anomalous: {}", short(kind)),
    };
    let score = format!("{:.3}", row.score);
    let decision = match (row.threshold, row.is_flagged()) {
        (None, _) => "not decided on".to_string(),
        (Some(threshold), true) => format!("flagged: above the threshold of {threshold:.3}"),
        (Some(threshold), false) => {
            format!("not flagged: not above the threshold of {threshold:.3}")
        }
    };
    let compared = shown.reference.as_ref().map(|reference| drawings.compared(reference));
    let mut facts = vec![("score", format!("{score}, {decision}"))];
    if !truth.is_empty() {
        facts.push(("truth", truth.clone()));
    }
    facts.push(("map", format!("highest {:.3}, mean {:.3}", row.map_max, row.map_mean)));
    if let Some(p) = row.p_value {
        facts.push(("p-value", format!("{}: {}", p_digits(p), p_words(p))));
        let parts = [("text score", row.text_score), ("reference score", row.reference_score)];
        let parts = parts.into_iter().filter_map(|(name, part)| Some((name, part?)));
        facts.extend(parts.map(|(name, part)| (name, format!("{part:.3}"))));
    }
    if let Some(compared) = &compared {
        facts.push(("nearest reference", compared.image_id.clone()));
    }
    if let (Some(description), Some(cosine)) = (&row.top_description, row.top_similarity) {
        facts.push(("most like", format!("{description} (cosine {cosine:.3})")));
    }
    if let Some(position) = &row.position {
        facts.push(("position", position.clone()));
    }
    if !shown.boxes.is_empty() {
        let one = |of: &BoxRow| format!("{} ({:.2})", of.phrase, of.logit);
        facts.push(("boxes", short(&shown.boxes.iter().map(one).collect::<Vec<_>>().join(", "))));
    }
    facts.push(("size", format!("{} × {}", row.width, row.height)));
    let mut layers = Vec::new();
    if let Ok(of) = &shown.layers {
        let all = [
            (of.heat.is_some(), "heat map"),
            (of.prediction.is_some(), "predicted mask"),
            (of.truth.is_some(), "true mask"),
            (!shown.boxes.is_empty(), "boxes"),
        ];
        layers.extend(all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name));
    }
    let alt = match layers.is_empty() {
        true => "The same without findings".to_string(),
        false => format!("The same under its {}", layers.join(", ")),
    };
    if let Some(close_up) = &shown.close_up {
        let Rect { x, y, size } = close_up.part;
        let part = format!("{} × {} pixels at {x}, {y}", size.width, size.height);
        facts.push(("hottest part", part));
    }
    let image_id = short(&row.image_id);
    let why = shown.layers.as_ref().err().map_or(String::new(), |why| short(why));
    let gone = if why.is_empty() { String::new() } else { format!(" (no image: {why})") };
    let known = if truth.is_empty() { String::new() } else { format!(", {truth}") };
    CardView {
        label: format!("{image_id}: score {score}{known}{gone}"),
        image_id,
        raw: row.score.to_string(),
        class: class(row.label),
        flagged: row.is_flagged(),
        alt,
        shown: drawings.of(seen),
        why,
        close_up: drawings.close_up(seen),
        compared,
        score,
        p_value: row.p_value.map_or(String::new(), p_digits),
        truth,
        description: row.top_description.as_deref().unwrap_or_default(),
        facts: facts.into_iter().map(|(name, value)| Fact { name: name.into(), value }).collect(),
    }
}
