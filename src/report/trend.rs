//! How the runs of a set differ, night after night. In: of each run the scores of a category, those rows
//! that count. Out: shares, quantiles and drift by night, as numbers and as small charts. Never here:
//! scores of different categories together, which are on no common scale.

use super::charts::{self, Line, Series};
use super::page::grouped;
use super::page_category::{ChartView, Key};
use crate::metrics::{Drift, PSI_LIMIT};
use crate::reference::quantile;
use crate::tables::ShownScore;

/// Nights that are shown; of more, the newest.
const MOST: usize = 60;

/// Shares of the scores that are below each quantile.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// One run of a category.
#[derive(Debug, Clone, Default)]
pub struct Night {
    pub n: u64,
    pub flagged: u64,
    /// Not decided on until the run ends.
    pub undecided: u64,
    pub scores: Vec<f32>,
}

impl Night {
    /// That of a run, which is made if it is not there.
    pub fn of(nights: &mut Vec<Night>, run: usize) -> &mut Night {
        if nights.len() <= run {
            nights.resize_with(run + 1, Night::default);
        }
        &mut nights[run]
    }

    /// Takes an image in.
    pub fn add(&mut self, row: &ShownScore) {
        self.n += 1;
        self.flagged += u64::from(row.is_flagged());
        self.undecided += u64::from(row.is_anomalous.is_none());
        self.scores.push(row.score);
    }

    /// Takes in what another part of the night has.
    pub fn merge(&mut self, other: Night) {
        self.count(&other);
        self.scores.extend(other.scores);
    }

    /// Adds counts alone.
    pub fn count(&mut self, other: &Night) {
        self.n += other.n;
        self.flagged += other.flagged;
        self.undecided += other.undecided;
    }

    /// Leaves the counts.
    pub fn forget_scores(&mut self) {
        self.scores = Vec::new();
    }

    /// The share of flagged images; `None` where that is not known.
    fn share(&self) -> Option<f64> {
        (self.n > 0 && self.undecided == 0).then(|| self.flagged as f64 / self.n as f64)
    }

    fn quantiles(&self) -> Option<[f64; QUANTILES.len()]> {
        let mut sorted = self.scores.iter().map(|score| f64::from(*score)).collect::<Vec<_>>();
        sorted.sort_unstable_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| QUANTILES.map(|share| quantile(&sorted, share)))
    }
}

/// Nights as charts and as a table.
pub struct TrendView {
    pub charts: Vec<ChartView>,
    pub columns: Vec<&'static str>,
    pub rows: Vec<TrendRow>,
    /// What is not shown.
    pub hidden: String,
}

pub struct TrendRow {
    pub night: String,
    pub cells: Vec<String>,
}

/// What a night is called: its date, and its number where several have one.
pub fn names_of(dates: &[String]) -> Vec<String> {
    let name = |(i, date): (usize, &String)| {
        let before = dates[..i].iter().filter(|other| *other == date).count();
        match (before, dates.iter().filter(|other| *other == date).count()) {
            (_, 1) => date.clone(),
            (n, _) => format!("{date} ({})", n + 1),
        }
    };
    dates.iter().enumerate().map(name).collect()
}

impl TrendView {
    /// Of the nights of `of`; `None` unless there are several. Without scores only shares.
    pub fn new(of: &str, nights: &[Night], names: &[String]) -> Option<Self> {
        if nights.len() < 2 {
            return None;
        }
        let hidden = nights.len().saturating_sub(MOST);
        let first = nights.iter().find(|night| !night.scores.is_empty());
        let drift = |night: &Night| {
            let first = first.filter(|first| !std::ptr::eq(*first, night))?;
            Drift::between(&first.scores, &night.scores).map(|drift| drift.psi)
        };
        let nights = &nights[hidden..];
        let names = &names[hidden.min(names.len())..];
        let shares = nights.iter().map(Night::share).collect::<Vec<_>>();
        let quantiles = nights.iter().map(Night::quantiles).collect::<Vec<_>>();
        let psi = nights.iter().map(drift).collect::<Vec<_>>();
        let mut columns = vec!["night", "scored", "flagged", "share flagged"];
        if first.is_some() {
            columns.extend(["10 % of scores below", "median", "90 % of scores below", "PSI"]);
        }
        let row = |i: usize| {
            let digits = |value: Option<f64>, decimals: usize| {
                value.map_or("–".to_string(), |value| format!("{value:.decimals$}"))
            };
            let share = shares[i].map(|share| 100.0 * share);
            let mut cells = vec![grouped(nights[i].n), grouped(nights[i].flagged)];
            cells.push(share.map_or("–".to_string(), |share| format!("{share:.2} %")));
            if first.is_some() {
                cells.extend((0..QUANTILES.len()).map(|q| digits(quantiles[i].map(|of| of[q]), 4)));
                cells.push(digits(psi[i], 3));
            }
            TrendRow { night: names.get(i).cloned().unwrap_or_default(), cells }
        };
        Some(TrendView {
            charts: charts_of(of, names, &shares, &quantiles, &psi),
            columns,
            rows: (0..nights.len()).map(row).collect(),
            hidden: match hidden {
                0 => String::new(),
                n => format!("{} earlier nights are not shown.", grouped(n as u64)),
            },
        })
    }
}

fn charts_of(
    of: &str,
    names: &[String],
    shares: &[Option<f64>],
    quantiles: &[Option<[f64; QUANTILES.len()]>],
    psi: &[Option<f64>],
) -> Vec<ChartView> {
    let key = |class, name: &str| Key { class, name: name.to_string() };
    let percent = shares.iter().map(|share| share.map(|share| 100.0 * share)).collect();
    let lines = [Line::Third, Line::First, Line::Second].into_iter().enumerate();
    let of_quantiles = lines.map(|(q, line)| Series {
        line,
        values: quantiles.iter().map(|of| of.map(|of| of[q])).collect(),
    });
    let first = |values| vec![Series { line: Line::First, values }];
    let all = [
        ("Share flagged", "% of the images", first(percent), Vec::new()),
        (
            "Scores",
            "score",
            of_quantiles.collect(),
            vec![key("third", "10 %"), key("first", "median"), key("second", "90 %")],
        ),
        ("Drift", "PSI", first(psi.to_vec()), vec![key("threshold", "0.2: drift")]),
    ];
    let charts = all.into_iter().filter_map(|(title, y_name, series, keys)| {
        let limit = (title == "Drift").then_some(PSI_LIMIT);
        let svg = charts::trend(&series, names, y_name, limit)?;
        let alt =
            format!("{title} of {of}, night after night; the figures are in the table below.");
        Some(ChartView { title, alt, svg, keys })
    });
    charts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night(scores: &[f32], flagged: u64) -> Night {
        Night { n: scores.len() as u64, flagged, undecided: 0, scores: scores.to_vec() }
    }

    #[test]
    fn nights_have_shares_quantiles_and_drift() {
        let scores = (0..=100).map(|i| i as f32 / 128.0).collect::<Vec<_>>();
        let nights = [night(&scores, 1), night(&scores, 101), night(&[], 0)];
        let names = names_of(&["a".to_string(), "b".to_string(), "b".to_string()]);
        assert_eq!(names, ["a", "b (1)", "b (2)"]);
        let view = TrendView::new("nut", &nights, &names).unwrap();
        // numpy.quantile of 0, 1/128, … 100/128: 10/128, 50/128, 90/128.
        let first = ["101", "1", "0.99 %", "0.0781", "0.3906", "0.7031", "–"];
        assert_eq!(view.rows[0].cells, first);
        assert_eq!(view.rows[1].cells[6], "0.000", "the same scores do not drift");
        assert_eq!(view.rows[2].cells[2..], ["–", "–", "–", "–", "–"]);
        assert_eq!((view.charts.len(), view.rows[2].night.as_str()), (3, "b (2)"));
        assert!(TrendView::new("nut", &nights[..1], &names).is_none());
    }

    #[test]
    fn without_scores_there_are_shares_alone() {
        let mut nights = [night(&[0.5; 4], 1), night(&[0.5; 2], 1)];
        nights.iter_mut().for_each(Night::forget_scores);
        let view = TrendView::new("all", &nights, &names_of(&["a".into(), "b".into()])).unwrap();
        assert_eq!((view.columns.len(), view.charts.len()), (4, 1));
        assert_eq!(view.rows[1].cells, ["2", "1", "50.00 %"]);
    }
}
