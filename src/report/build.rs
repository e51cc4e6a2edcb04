//! A run, or several as one set → their page. In: the tables, its metrics, its references, its images where they can
//! still be read. Out: HTML text. How many categories and images are shown is bounded, and the page
//! says what it leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::fetch::{AT_ONCE, on_threads};
use super::images::images;
use super::page::{CategoryData, PageData, render};
use super::references::{OwnScores, Place, ReferenceSource};
use super::summary::{CategorySummary, Counts, Failures, failures_of, merge_failures};
use crate::error::{Error, ReportError};
use crate::metrics::{Drift, Figure, Metric, pixel_curves};
use crate::pipeline::data_set::DataSet;
use crate::source::Input;
use crate::tables::{CategoryMetrics, RunSet, SetThresholds, Table};

/// Categories with charts and images, unless some are asked for.
const DETAILED: usize = 60;

/// What a page is made of.
pub struct Request<'a> {
    pub data: &'a DataSet,
    /// Its metrics table.
    pub metrics: &'a [CategoryMetrics],
    /// What is to be said of the set before anything else: which rows count, what is not finished.
    pub extent: Vec<String>,
    /// What an earlier run has that differs.
    pub drift: Option<Drifted>,
    /// By run: where its images are, or why they cannot be read.
    pub inputs: Vec<Result<Input, String>>,
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
    let set = &request.data.runs;
    let names = set.categories();
    let thresholds = SetThresholds::read(set)?;
    if let Some(category) = request.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(ReportError::NoCategory { category: category.clone() }.into());
    }
    if request.only.len() > DETAILED {
        return Err(ReportError::TooManyCategories { most: DETAILED }.into());
    }
    let detailed = detailed(set, request.only, &names);
    // Each is a few requests to a bucket, which let wait.
    let done = AtomicUsize::new(0);
    let read = |category: &&str| {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        (request.tell)(format!("reading category {n} of {}", names.len()));
        let most = detailed.contains(category).then_some(request.most);
        let summary = CategorySummary::read(set, category, &thresholds, most)?;
        let of_runs =
            set.runs().iter().map(|run| most.and_then(|_| OwnScores::read(run, category)));
        Ok((summary, of_runs.collect::<Vec<_>>(), failures_of(set, category)?))
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
    check_counts(set, counts.scored(), failures.values().map(|group| group.n).sum())?;
    let n_scored = summaries.len();
    summaries.retain(|name, _| detailed.contains(name));
    let mut places = BTreeMap::<(usize, &str), Place>::new();
    for (index, run) in set.runs().iter().enumerate() {
        let source = ReferenceSource::of(&run.manifest().spec);
        for (name, (_, of_runs)) in &summaries {
            let origin = of_runs[index].as_ref().map(|of| of.origin);
            places.insert((index, name), source.place(index, name, origin));
        }
    }
    let shown = summaries.iter().map(|(name, (summary, _))| (*name, summary)).collect();
    let images = images(request, &shown, &places)?;
    let mut categories = Vec::new();
    let decided = thresholds.newest();
    for ((name, (summary, references)), n) in summaries.iter().zip(1..) {
        (request.tell)(format!("curves of category {n} of {}", summaries.len()));
        let pixels = request.data.pixels(name)?.map(|pixels| pixels.whole()).transpose()?;
        categories.push(CategoryData {
            name,
            summary,
            pixels: pixels.and_then(|sketch| pixel_curves(&sketch)),
            decided: decided.get(*name),
            references: references.iter().rev().find_map(Option::as_ref),
        });
    }
    let page = PageData {
        manifest: set.newest().manifest(),
        runs: set.runs().iter().map(|run| run.store().uri().to_string()).collect(),
        extent: &request.extent,
        counts,
        n_categories: names.len(),
        n_scored,
        categories,
        thresholds: &decided,
        metrics: request.metrics,
        drift: request.drift.as_ref(),
        failures: &failures,
        images: &images,
    };
    Ok(render(&page).map_err(|error| ReportError::Page { why: error.to_string() })?)
}

/// Nothing may be lost on the way to the page either.
fn check_counts(set: &RunSet, scored: u64, failed: u64) -> Result<(), ReportError> {
    let (mut said, mut listed) = ([0; 2], 0);
    for run in set.runs() {
        let Some(totals) = &run.manifest().totals else { return Ok(()) };
        said[0] += totals.rows_of(Table::Scores);
        said[1] += totals.rows_of(Table::Failures);
        listed += totals.entries;
    }
    let [scores, failures] = set.counts().replaced;
    let found = [scored + scores, failed + failures];
    match said == found && listed == found[0] + found[1] {
        true => Ok(()),
        false => Err(ReportError::Counts { listed, said, found }),
    }
}

/// The categories that are shown in detail, by name.
fn detailed<'a>(set: &RunSet, only: &'a [String], names: &[&'a str]) -> BTreeSet<&'a str> {
    if !only.is_empty() {
        return only.iter().map(String::as_str).collect();
    }
    let rows = set.scored_rows();
    let scored = names.iter().map(|name| (rows.get(name).copied().unwrap_or(0), *name));
    let mut scored = scored.collect::<Vec<_>>();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(DETAILED).map(|(_, name)| name).collect()
}
