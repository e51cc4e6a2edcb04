//! A run, or several as one set → their page. In: the tables, its metrics, its references, its images where they can
//! still be read. Out: HTML text. How many categories and images are shown is bounded, and the page
//! says what it leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::candidates::most_of;
use super::fetch::{AT_ONCE, on_threads};
use super::images::images;
use super::page::{CategoryData, PageData, render};
use super::picks::SeenScore;
use super::references::{OwnScores, Place, ReferenceSource};
use super::summary::{CategorySummary, Counts, Extent, Failures, failures_of, merge_failures};
use super::trend::{Night, names_of};
use super::what_if::WhatIf;
use crate::error::{Error, ReportError};
use crate::metrics::{Drift, Figure, Metric, pixel_curves};
use crate::pipeline::data_set::DataSet;
use crate::source::Input;
use crate::tables::{CategoryMetrics, MaskArea, RunSet, SetThresholds, Table, fold_set};

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
        let is_detailed = detailed.contains(category);
        let extent = Extent {
            most: is_detailed.then_some(request.most),
            rows: most_of(names.len(), is_detailed),
        };
        let summary = CategorySummary::read(set, category, &thresholds, extent)?;
        let of_runs = set.runs().iter();
        let of_runs = of_runs.map(|run| is_detailed.then(|| OwnScores::read(run, category))?);
        Ok((summary, of_runs.collect::<Vec<_>>(), failures_of(set, category)?))
    };
    let all = || names.par_iter().map(read).collect::<Result<Vec<_>, Error>>();
    let read = on_threads(AT_ONCE, all)?;
    let (mut counts, mut failures) = (Counts::default(), Failures::new());
    let (mut what_if, mut nights) = (WhatIf::default(), Vec::new());
    let mut summaries = BTreeMap::new();
    for (category, (summary, references, lost)) in names.iter().zip(read) {
        counts.merge(&summary.counts);
        what_if.merge(&summary.what_if);
        for (run, night) in summary.nights.iter().enumerate() {
            Night::of(&mut nights, run).count(night);
        }
        merge_failures(&mut failures, lost);
        if summary.counts.scored() > 0 {
            summaries.insert(*category, (summary, references));
        }
    }
    check_counts(set, counts.scored(), failures.values().map(|group| group.n).sum())?;
    let counts_by_category =
        summaries.iter().map(|(name, (summary, _))| (*name, summary.counts)).collect();
    let mut other_rows = BTreeMap::new();
    for (name, (summary, _)) in &mut summaries {
        if !detailed.contains(name) {
            other_rows.insert(*name, std::mem::take(&mut summary.rows));
        }
    }
    summaries.retain(|name, _| detailed.contains(name));
    let of_detailed = summaries.iter().map(|(name, (summary, _))| (*name, &summary.rows[..]));
    let rows = of_detailed.chain(other_rows.iter().map(|(name, rows)| (*name, &rows[..])));
    let rows = rows.filter(|(_, rows)| !rows.is_empty()).collect::<Vec<_>>();
    let areas = areas_of(set, &rows)?;
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
    let moved =
        |input: &Result<Input, String>| input.as_ref().ok().filter(|_| request.moved).cloned();
    let dates = set.runs().iter().map(|run| run.manifest().run_date.to_string());
    let dates = dates.collect::<Vec<_>>();
    let page = PageData {
        manifest: set.newest().manifest(),
        runs: set.runs().iter().map(|run| run.store().uri().to_string()).collect(),
        extent: &request.extent,
        counts,
        counts_by_category,
        what_if,
        nights,
        night_names: names_of(&dates),
        n_categories: names.len(),
        categories,
        rows,
        areas,
        moved: request.inputs.iter().map(moved).collect(),
        thresholds: &decided,
        metrics: request.metrics,
        drift: request.drift.as_ref(),
        failures: &failures,
        images: &images,
    };
    Ok(render(&page).map_err(|error| ReportError::Page { why: error.to_string() })?)
}

/// Pixels of the predicted masks of `rows`, by run and image.
fn areas_of(
    set: &RunSet,
    rows: &[(&str, &[SeenScore])],
) -> Result<BTreeMap<(usize, String), i64>, Error> {
    let mut areas = BTreeMap::new();
    for (category, rows) in rows {
        let wanted = rows.iter().map(|seen| (seen.run, seen.row.image_id.as_str()));
        let wanted = wanted.collect::<BTreeSet<_>>();
        let add = |areas: &mut BTreeMap<_, _>, run, rows: Vec<MaskArea>| {
            let rows =
                rows.into_iter().filter(|row| wanted.contains(&(run, row.image_id.as_str())));
            areas.extend(rows.map(|row| ((run, row.image_id), row.area)));
            Ok(())
        };
        let merge = |areas: &mut BTreeMap<_, _>, mut other: BTreeMap<_, _>| {
            areas.append(&mut other);
            Ok(())
        };
        areas.append(&mut fold_set(set, category, add, merge)?);
    }
    Ok(areas)
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
