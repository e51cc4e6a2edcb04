//! A run → its page. In: the tables of a run, its metrics, its references, its images where they can
//! still be read. Out: HTML text. How many categories and images are shown is bounded, and the page
//! says what it leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::fetch::{AT_ONCE, on_threads};
use super::images::images;
use super::page::{CategoryData, PageData, render};
use super::references::{OwnScores, Place, ReferenceSource};
use super::summary::{
    CategorySummary, Counts, Failures, curves_of_pixels, failures_of, merge_failures,
};
use crate::error::{Error, ReportError};
use crate::metrics::{Drift, Figure, Metric};
use crate::source::Input;
use crate::tables::{CategoryMetrics, RunReader, Table};

/// Categories with charts and images, unless some are asked for.
const DETAILED: usize = 60;

/// What a page is made of.
pub struct Request<'a> {
    pub run: &'a RunReader,
    /// Its metrics table.
    pub metrics: &'a [CategoryMetrics],
    /// What an earlier run has that differs.
    pub drift: Option<Drifted>,
    /// Where its images are, or why they cannot be read.
    pub input: Result<Input, String>,
    /// Whether that is another place than where they were scored.
    pub moved: bool,
    /// Categories to show in detail; without any, those with the most images.
    pub only: &'a [String],
    /// Images of a gallery.
    pub most: usize,
    /// Is told what is being done, now and then.
    pub tell: &'a (dyn Fn(String) + Sync),
}

/// A run beside an earlier one.
pub struct Drifted {
    /// Where the earlier one is.
    pub against: String,
    pub categories: Vec<DriftedCategory>,
}

/// One category in both runs.
pub struct DriftedCategory {
    pub category: String,
    /// Scored images, of the earlier run and of this one.
    pub n_images: [u64; 2],
    pub n_paired: u64,
    pub drift: Option<Drift>,
    /// This run less the earlier one, by metric.
    pub differences: [Option<Figure>; Metric::ALL.len()],
}

/// The page of a run.
///
/// # Errors
/// If a table cannot be read, its rows are not as many as the manifest says, or a category that is
/// asked for is not there, or too many are. An image or a reference that cannot be read is none.
pub fn page(request: &Request) -> Result<String, Error> {
    let run = request.run;
    let names = run.categories();
    let thresholds = run.thresholds()?;
    if let Some(category) = request.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(ReportError::NoCategory { category: category.clone() }.into());
    }
    if request.only.len() > DETAILED {
        return Err(ReportError::TooManyCategories { most: DETAILED }.into());
    }
    let detailed = detailed(run, request.only, &names);
    // Each is a few requests to a bucket, which let wait.
    let done = AtomicUsize::new(0);
    let read = |category: &&str| {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        (request.tell)(format!("reading category {n} of {}", names.len()));
        let most = detailed.contains(category).then_some(request.most);
        let summary = CategorySummary::read(run, category, thresholds.get(*category), most)?;
        let references = most.and_then(|_| OwnScores::read(run, category));
        Ok((summary, references, failures_of(run, category)?))
    };
    let all = || names.par_iter().map(read).collect::<Result<Vec<_>, Error>>();
    let read = on_threads(AT_ONCE, all)?;
    let (mut counts, mut failures) = (Counts::default(), Failures::new());
    let mut summaries = BTreeMap::new();
    for (category, (summary, references, lost)) in names.iter().zip(read) {
        counts.merge(&summary.counts);
        merge_failures(&mut failures, lost);
        if summary.counts.scored() > 0 {
            summaries.insert(*category, (summary, references));
        }
    }
    check_counts(run, counts.scored(), failures.values().map(|group| group.n).sum())?;
    let n_scored = summaries.len();
    summaries.retain(|name, _| detailed.contains(name));
    let source = ReferenceSource::of(&run.manifest().spec);
    let place = |name: &str, of: &Option<OwnScores>| -> Place {
        source.place(name, of.as_ref().map(|of| of.origin))
    };
    let places = summaries.iter().map(|(name, (_, of))| (*name, place(name, of))).collect();
    let shown = summaries.iter().map(|(name, (summary, _))| (*name, summary)).collect();
    let images = images(request, &shown, &places)?;
    let mut categories = Vec::new();
    for ((name, (summary, references)), n) in summaries.iter().zip(1..) {
        (request.tell)(format!("curves of category {n} of {}", summaries.len()));
        categories.push(CategoryData {
            name,
            summary,
            pixels: curves_of_pixels(run, name)?,
            decided: thresholds.get(*name),
            references: references.as_ref(),
        });
    }
    let page = PageData {
        manifest: run.manifest(),
        counts,
        n_categories: names.len(),
        n_scored,
        categories,
        thresholds: &thresholds,
        metrics: request.metrics,
        drift: request.drift.as_ref(),
        failures: &failures,
        images: &images,
    };
    Ok(render(&page).map_err(|error| ReportError::Page { why: error.to_string() })?)
}

/// Nothing may be lost on the way to the page either.
fn check_counts(run: &RunReader, scored: u64, failed: u64) -> Result<(), ReportError> {
    let Some(totals) = &run.manifest().totals else { return Ok(()) };
    let said = [Table::Scores, Table::Failures].map(|table| totals.rows_of(table));
    match said == [scored, failed] && totals.entries == scored + failed {
        true => Ok(()),
        false => Err(ReportError::Counts { listed: totals.entries, said, found: [scored, failed] }),
    }
}

/// The categories that are shown in detail, by name.
fn detailed<'a>(run: &RunReader, only: &'a [String], names: &[&'a str]) -> BTreeSet<&'a str> {
    if !only.is_empty() {
        return only.iter().map(String::as_str).collect();
    }
    let rows = run.scored_rows();
    let scored = names.iter().map(|name| (rows.get(name).copied().unwrap_or(0), *name));
    let mut scored = scored.collect::<Vec<_>>();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(DETAILED).map(|(_, name)| name).collect()
}
