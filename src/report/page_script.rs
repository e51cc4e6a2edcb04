//! What the page's script works with, as JSON: thresholds that can be chosen and what each would flag,
//! and the rows of the table of flagged images. In: summaries. Out: text that may stand inside a script
//! element, whatever the names of images are. Its length is bounded.

use std::collections::BTreeMap;

use serde::Serialize;

use super::candidates::fair_shares;
use super::charts;
use super::links::link_of;
use super::page::{PageData, short};
use super::page_images::Drawings;
use super::picks::SeenScore;
use super::stops::{STEPS, Stops};
use super::summary::{Counts, class};

/// Bytes of all rows; the page says how many it leaves out.
const ROW_BYTES: usize = 1_500_000;

/// Longer links are left out.
const LONGEST_LINK: usize = 2000;

/// All that the script works with.
#[derive(Serialize)]
struct Script<'a> {
    /// What rows refer to by number: categories, descriptions, references.
    words: Vec<&'a str>,
    categories: Vec<Adjustable>,
    /// Images by class of categories that are not shown in detail, those of them that are flagged, and
    /// those that are decided on.
    others: [[u64; 3]; 3],
    rows: Vec<Row>,
}

/// A category whose threshold can be moved.
#[derive(Serialize)]
struct Adjustable {
    /// Images by class, those of them that are flagged, and those that are decided on.
    n: [u64; 3],
    flagged: [u64; 3],
    decided: [u64; 3],
    /// The threshold in force; `None` where nothing is flagged, or each run has its own.
    threshold: Option<f32>,
    /// The step closest to it.
    at: usize,
    stops: Vec<f32>,
    above: [Vec<u64>; 3],
}

/// A row of the table of flagged images.
#[derive(Serialize)]
struct Row {
    /// Among the adjustable categories.
    of: Option<usize>,
    category: usize,
    id: String,
    link: Option<String>,
    score: f32,
    p: Option<f32>,
    /// Pixels of the predicted mask, and of the image.
    area: Option<i64>,
    pixels: i64,
    description: Option<usize>,
    reference: Option<usize>,
    class: usize,
    flagged: bool,
    /// Its drawing on the page.
    drawing: Option<usize>,
}

/// Words by number, each once.
#[derive(Default)]
struct Words<'a> {
    words: Vec<&'a str>,
    numbers: BTreeMap<&'a str, usize>,
}

impl<'a> Words<'a> {
    fn number(&mut self, word: &'a str) -> usize {
        *self.numbers.entry(word).or_insert_with(|| {
            self.words.push(word);
            self.words.len() - 1
        })
    }
}

/// The JSON of a page.
///
/// # Errors
/// None is known.
pub fn script_data(data: &PageData, drawings: &Drawings) -> Result<String, serde_json::Error> {
    let mut words = Words::default();
    let places = data.categories.iter().zip(0..).map(|(of, at)| (of.name, at));
    let places = places.collect::<BTreeMap<_, usize>>();
    let mut others = [[0; 3]; 3];
    let hidden = data.counts_by_category.iter().filter(|(name, _)| !places.contains_key(**name));
    for (_, counts) in hidden {
        let of = [0, 1, 2].map(|class| counts.of(class));
        for (sums, counts) in others.iter_mut().zip([of, counts.flagged, decided(counts)]) {
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
    }
    let categories = data.categories.iter().map(|of| {
        let summary = of.summary;
        let references = of.references.map_or(&[][..], |of| &of.scores);
        adjustable(&summary.scores, &summary.counts, references, summary.thresholds)
    });
    let categories = categories.collect();
    let rows = rows_of(data, &places, drawings, &mut words);
    let script = Script { categories, others, rows, words: words.words };
    Ok(inside_script(&serde_json::to_string(&script)?))
}

/// Images by class that are flagged or are not.
fn decided(counts: &Counts) -> [u64; 3] {
    [0, 1, 2].map(|class| counts.flagged[class] + counts.not_flagged[class])
}

fn adjustable(
    scores: &[Vec<f32>; 3],
    counts: &Counts,
    references: &[f32],
    limits: Option<(f32, f32)>,
) -> Adjustable {
    let threshold = limits.filter(|(low, high)| low == high).map(|(low, _)| low);
    let range = charts::range_of(scores, references, limits);
    let stops = Stops::new(scores, &range.unwrap_or(0.0..1.0));
    Adjustable {
        n: [0, 1, 2].map(|class| counts.of(class)),
        flagged: counts.flagged,
        decided: decided(counts),
        threshold,
        at: limits.map_or(STEPS, |(_, high)| stops.closest(high)),
        stops: stops.thresholds,
        above: stops.above,
    }
}

fn rows_of<'a>(
    data: &'a PageData,
    places: &BTreeMap<&str, usize>,
    drawings: &Drawings,
    words: &mut Words<'a>,
) -> Vec<Row> {
    let all = data.rows.iter().map(|(_, rows)| *rows).collect::<Vec<_>>();
    let shares = fair_shares(&all);
    // The first of each category, then the second of each.
    let mut order = Vec::new();
    for (at, share) in shares.iter().enumerate() {
        order.extend((0..*share).map(|i| (i, at)));
    }
    order.sort_unstable();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (i, at) in order {
        let (category, seen) = (data.rows[at].0, &data.rows[at].1[i]);
        let row = row_of(seen, category, places.get(category).copied(), data, drawings, words);
        // References of many rows are one word: this is more than it takes.
        let of_reference = seen.row.reference_id.as_ref().map_or(0, String::len);
        bytes += 160 + row.id.len() + row.link.as_ref().map_or(0, String::len) + of_reference;
        if bytes > ROW_BYTES {
            break;
        }
        rows.push(row);
    }
    rows
}

fn row_of<'a>(
    seen: &'a SeenScore,
    category: &'a str,
    of: Option<usize>,
    data: &PageData,
    drawings: &Drawings,
    words: &mut Words<'a>,
) -> Row {
    let row = &seen.row;
    let uri = match data.moved.get(seen.run).and_then(Option::as_ref) {
        Some(input) => input.uri_of(&row.image_id),
        None => row.uri.clone(),
    };
    Row {
        of,
        category: words.number(category),
        id: short(&row.image_id),
        link: link_of(&uri).filter(|link| link.len() <= LONGEST_LINK),
        score: row.score,
        p: row.p_value,
        area: data.areas.get(&(seen.run, row.image_id.clone())).copied(),
        pixels: i64::from(row.width) * i64::from(row.height),
        description: row.top_description.as_deref().map(|text| words.number(text)),
        reference: row.reference_id.as_deref().map(|text| words.number(text)),
        class: class(row.label),
        flagged: row.is_flagged(),
        drawing: drawings.of(seen).map(|drawn| drawn.id),
    }
}

/// JSON that ends no script element and begins no comment in one.
fn inside_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_script_element() {
        let name = "</script><script>alert(1)</script><!-- & \u{2028}\"'\\";
        let json = serde_json::to_string(name).unwrap();
        let text = inside_script(&json);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }

    #[test]
    fn a_category_begins_at_the_threshold_in_force() {
        let scores = [vec![0.1, 0.2], vec![0.9], vec![]];
        let counts = Counts { flagged: [0, 1, 0], not_flagged: [2, 0, 0], undecided: [0; 3] };
        let of = adjustable(&scores, &counts, &[], Some((0.5, 0.5)));
        assert!((of.stops[of.at] - 0.5).abs() < 0.005 && of.threshold == Some(0.5));
        assert_eq!(of.above[1][of.at], 1);
        let none = adjustable(&scores, &counts, &[], None);
        assert_eq!((none.at, none.threshold), (none.stops.len() - 1, None));
        let several = adjustable(&scores, &counts, &[], Some((0.2, 0.5)));
        assert_eq!(several.threshold, None);
    }
}
