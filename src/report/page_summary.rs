//! What the page says first: how many images are flagged, what that misses, what another threshold
//! would give, and the same of each category. In: counts. Out: text.

use std::collections::BTreeMap;

use super::page::grouped;
use super::page_decision::percent;
use super::summary::{ANOMALOUS, Counts, NORMAL, UNLABELLED};
use super::what_if::{Flagged, Rule, WhatIf};
use crate::tables::ThresholdRow;

/// Rows of the table of categories.
const MOST_ROWS: usize = 1000;

/// A number with its name, large.
pub struct Tile {
    /// What the script knows it by.
    pub key: &'static str,
    pub name: &'static str,
    pub value: String,
    pub about: String,
}

/// Numbers in columns, by rule or by category.
pub struct TableView {
    pub columns: Vec<&'static str>,
    pub rows: Vec<RowView>,
    /// What is not shown.
    pub hidden: String,
}

pub struct RowView {
    pub name: String,
    /// Of a rule: the flag of `filo score` that makes it.
    pub flag: String,
    /// Where the page has more; empty where it has not.
    pub anchor: String,
    pub cells: Vec<CellView>,
}

pub struct CellView {
    /// For sorting; empty where nothing is known.
    pub raw: String,
    pub text: String,
}

/// How well flags and labels agree.
struct Agreement {
    missed: u64,
    false_alarms: u64,
    hits: u64,
    anomalous: u64,
}

impl Agreement {
    fn new(flagged: &Flagged, counts: &Counts) -> Self {
        let anomalous = counts.flagged[ANOMALOUS] + counts.not_flagged[ANOMALOUS];
        let hits = flagged[ANOMALOUS];
        let missed = anomalous.saturating_sub(hits);
        Agreement { missed, false_alarms: flagged[NORMAL], hits, anomalous }
    }

    fn precision(&self) -> Option<f64> {
        share(self.hits, self.hits + self.false_alarms)
    }

    fn recall(&self) -> Option<f64> {
        share(self.hits, self.anomalous)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// With one decimal, or a dash.
fn in_percent(share: Option<f64>) -> String {
    share.map_or("–".to_string(), |share| format!("{:.1} %", 100.0 * share))
}

/// Whether any image has a label.
pub fn is_labelled(counts: &Counts) -> bool {
    counts.of(NORMAL) + counts.of(ANOMALOUS) > 0
}

/// The figures at the threshold in force.
pub fn tiles(counts: &Counts) -> Vec<Tile> {
    let flagged = counts.flagged.iter().sum::<u64>();
    let of =
        format!("of {}, {}", grouped(counts.scored()), in_percent(share(flagged, counts.scored())));
    let tile = |key, name, value: u64, about| Tile { key, name, value: grouped(value), about };
    let mut tiles = vec![tile("flagged", "flagged", flagged, of)];
    if is_labelled(counts) {
        let agreement = Agreement::new(&counts.flagged, counts);
        let decided = |class: usize| counts.flagged[class] + counts.not_flagged[class];
        if decided(ANOMALOUS) > 0 {
            let about = format!("of {} anomalous", grouped(counts.of(ANOMALOUS)));
            tiles.push(tile("missed", "missed", agreement.missed, about));
        }
        if decided(NORMAL) > 0 {
            let about = format!("of {} normal", grouped(counts.of(NORMAL)));
            tiles.push(tile("false-alarms", "false alarms", agreement.false_alarms, about));
        }
        let figures = [
            ("precision", agreement.precision(), "of the flags are right"),
            ("recall", agreement.recall(), "of the defects are found"),
        ];
        tiles.extend(figures.map(|(key, figure, about)| Tile {
            key,
            name: key,
            value: in_percent(figure),
            about: about.to_string(),
        }));
    }
    let undecided = counts.undecided.iter().sum::<u64>();
    if undecided > 0 {
        let about = "until their run ends".to_string();
        tiles.push(tile("undecided", "not decided yet", undecided, about));
    }
    tiles
}

/// What is in force, and what other thresholds would give.
pub fn rules(what_if: &WhatIf, counts: &Counts) -> TableView {
    let labelled = is_labelled(counts);
    let mut columns = vec!["threshold", "flagged"];
    columns.extend(match labelled {
        true => &["missed", "false alarms", "precision", "recall"][..],
        false => &["share"],
    });
    let row = |name: &str, flag: String, flagged: &Flagged| {
        let all = flagged.iter().sum::<u64>();
        let mut cells = vec![number(all)];
        cells.extend(match labelled {
            true => agreed(flagged, counts),
            false => vec![figure(share(all, counts.scored()))],
        });
        RowView { name: name.to_string(), flag, anchor: String::new(), cells }
    };
    let mut rows = vec![row("in force", String::new(), &counts.flagged)];
    rows.extend(what_if.rules(counts).iter().map(|(rule, flagged)| match rule {
        Rule::FalseAlarmRate(rate) => row("", format!("--false-alarm-rate {rate}"), flagged),
        Rule::FlagTop(share) => row("", format!("--flag-top {}", as_typed(*share)), flagged),
        Rule::NoFalseAlarm => row("no false alarm", String::new(), flagged),
        Rule::BestF1 => row("best F1 in each category", String::new(), flagged),
        Rule::NoneMissed => row("no defect missed", String::new(), flagged),
    }));
    TableView { columns, rows, hidden: String::new() }
}

/// A share in percent, as it is typed.
fn as_typed(share: f64) -> String {
    percent(share).replace(' ', "")
}

fn agreed(flagged: &Flagged, counts: &Counts) -> Vec<CellView> {
    let agreement = Agreement::new(flagged, counts);
    vec![
        number(agreement.missed),
        number(agreement.false_alarms),
        figure(agreement.precision()),
        figure(agreement.recall()),
    ]
}

fn number(n: u64) -> CellView {
    CellView { raw: n.to_string(), text: grouped(n) }
}

fn figure(share: Option<f64>) -> CellView {
    CellView {
        raw: share.map_or(String::new(), |share| share.to_string()),
        text: in_percent(share),
    }
}

/// A row for each category, those with the most flagged images first; `None` of a single one. `anchors`
/// are of those that the page has more about.
pub fn categories(
    all: &BTreeMap<&str, Counts>,
    thresholds: &BTreeMap<String, ThresholdRow>,
    anchors: &BTreeMap<&str, String>,
) -> Option<TableView> {
    if all.len() < 2 {
        return None;
    }
    let labelled = all.values().any(is_labelled);
    let mut columns = vec!["category", "scored", "flagged", "share"];
    if labelled {
        columns.extend(["missed", "false alarms", "precision", "recall"]);
    }
    columns.push("threshold");
    let mut sorted = all.iter().collect::<Vec<_>>();
    let flagged = |counts: &Counts| counts.flagged.iter().sum::<u64>();
    sorted.sort_by(|a, b| flagged(b.1).cmp(&flagged(a.1)).then(a.0.cmp(b.0)));
    let hidden = sorted.len().saturating_sub(MOST_ROWS);
    // Those that the page has more about are the way to them.
    sorted.sort_by_key(|(name, _)| !anchors.contains_key(**name));
    sorted.truncate(MOST_ROWS);
    sorted.sort_by(|a, b| flagged(b.1).cmp(&flagged(a.1)).then(a.0.cmp(b.0)));
    let rows = sorted.into_iter().map(|(name, counts)| {
        let n = flagged(counts);
        let mut cells = vec![number(counts.scored()), number(n), figure(share(n, counts.scored()))];
        if labelled && is_labelled(counts) {
            cells.extend(agreed(&counts.flagged, counts));
        } else if labelled {
            cells.extend((0..4).map(|_| figure(None)));
        }
        let threshold = thresholds.get(*name).and_then(|row| row.threshold);
        cells.push(CellView {
            raw: threshold.map_or(String::new(), |at| at.to_string()),
            text: threshold.map_or("–".to_string(), |at| format!("{at:.3}")),
        });
        let anchor = anchors.get(name).cloned().unwrap_or_default();
        RowView { name: name.to_string(), flag: String::new(), anchor, cells }
    });
    Some(TableView {
        columns,
        rows: rows.collect(),
        hidden: match hidden {
            0 => String::new(),
            n => format!("{} more categories are in the table scores.", grouped(n as u64)),
        },
    })
}

/// So many of something.
pub fn several(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// What a category comes to, in a few words.
pub fn in_short(counts: &Counts) -> String {
    let mut text = several(counts.scored(), "image");
    let flagged = counts.flagged.iter().sum::<u64>();
    text.push_str(&format!(", {} flagged", grouped(flagged)));
    if counts.of(ANOMALOUS) > 0 {
        text.push_str(&format!(", {} missed", grouped(counts.not_flagged[ANOMALOUS])));
    }
    if counts.of(NORMAL) > 0 {
        text.push_str(&format!(", {}", several(counts.flagged[NORMAL], "false alarm")));
    }
    if counts.of(UNLABELLED) > 0 && is_labelled(counts) {
        text.push_str(&format!(", {} without label", grouped(counts.of(UNLABELLED))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: Counts =
        Counts { flagged: [3, 6, 1], not_flagged: [17, 2, 11], undecided: [0; 3] };
    const UNKNOWN: Counts =
        Counts { flagged: [0, 0, 5], not_flagged: [0, 0, 95], undecided: [0; 3] };

    fn texts(cells: &[CellView]) -> Vec<&str> {
        cells.iter().map(|cell| cell.text.as_str()).collect()
    }

    #[test]
    fn the_first_card_says_what_labels_say_and_no_more() {
        let said = tiles(&MIXED);
        let said = said.iter().map(|tile| (tile.name, tile.value.as_str()));
        let expected = [
            ("flagged", "10"),
            ("missed", "2"),
            ("false alarms", "3"),
            ("precision", "66.7 %"),
            ("recall", "75.0 %"),
        ];
        assert_eq!(said.collect::<Vec<_>>(), expected);
        let unknown = tiles(&UNKNOWN);
        assert_eq!((unknown.len(), unknown[0].about.as_str()), (1, "of 100, 5.0 %"));
        assert_eq!(in_short(&UNKNOWN), "100 images, 5 flagged");
        let all = "40 images, 10 flagged, 2 missed, 3 false alarms, 12 without label";
        assert_eq!(in_short(&MIXED), all);
    }

    #[test]
    fn rules_and_categories_have_the_columns_that_there_are() {
        let rules = rules(&WhatIf::default(), &UNKNOWN);
        assert_eq!(rules.columns, ["threshold", "flagged", "share"]);
        assert_eq!(texts(&rules.rows[0].cells), ["5", "5.0 %"]);
        assert_eq!(rules.rows[1].flag, "--flag-top 1%");
        let all = BTreeMap::from([("a", UNKNOWN), ("b", MIXED)]);
        let anchors = BTreeMap::from([("a", "x".to_string())]);
        let view = categories(&all, &BTreeMap::new(), &anchors).unwrap();
        assert_eq!((view.rows[0].name.as_str(), view.rows[1].anchor.as_str()), ("b", "x"));
        let cells = ["40", "10", "25.0 %", "2", "3", "66.7 %", "75.0 %", "–"];
        assert_eq!(texts(&view.rows[0].cells), cells);
        assert_eq!(texts(&view.rows[1].cells)[3..], ["–"; 5]);
        let one = BTreeMap::from([("a", MIXED)]);
        assert!(categories(&one, &BTreeMap::new(), &anchors).is_none());
    }
}
