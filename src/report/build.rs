//! A run → its page. In: the tables of a run, its metrics, its pictures where they can still be read.
//! Out: HTML text. How many categories and pictures are shown is bounded, and the page says what it
//! leaves out.

use std::collections::{BTreeMap, BTreeSet};

use super::fetch::{self, Fetched};
use super::layers::{Findings, HeatScale, Layers, draw};
use super::page::{CategoryData, PageData, Shown, render};
use super::picks::Picks;
use super::summary::{
    CategorySummary, Counts, Failures, curves_of_pixels, failures_of, merge_failures,
};
use crate::error::{Error, ReportError};
use crate::image::{DecodeLimits, Mask, Picture, Preprocess, Rle, Size};
use crate::metrics::{Drift, Figure, Metric};
use crate::source::Input;
use crate::tables::{
    BoxRow, CategoryMetrics, MaskRow, RunReader, ShownScore, Table, fold_parts, read_map_npy,
};

/// Categories with charts and pictures, unless some are asked for.
const DETAILED: usize = 60;

/// Pictures on a page.
const PICTURES: usize = 400;

/// Bytes of all pictures, before they become text, which is a third longer.
const PICTURE_BYTES: usize = 8_000_000;

/// Bytes of a picture where there are few.
const MOST_BYTES: usize = 60_000;

/// What a page is made of.
pub struct Request<'a> {
    pub run: &'a RunReader,
    /// Its metrics table.
    pub metrics: &'a [CategoryMetrics],
    /// What an earlier run has that differs.
    pub drift: Option<Drifted>,
    /// Where its pictures are, or why they cannot be read.
    pub input: Result<Input, String>,
    /// Categories to show in detail; without any, those with the most pictures.
    pub only: &'a [String],
    /// Pictures of a gallery.
    pub most: usize,
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
    /// Scored pictures, of the earlier run and of this one.
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
/// asked for is not there. A picture that cannot be read is none.
pub fn page(request: &Request) -> Result<String, Error> {
    let run = request.run;
    let names = run.categories();
    if let Some(category) = request.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(ReportError::NoCategory { category: category.clone() }.into());
    }
    let (mut counts, mut failures) = (Counts::default(), Failures::new());
    let mut summaries = BTreeMap::new();
    for category in &names {
        let summary = CategorySummary::read(run, category, request.most)?;
        counts.merge(&summary.counts);
        merge_failures(&mut failures, failures_of(run, category)?);
        summaries.insert(*category, summary);
    }
    check_counts(run, counts.scored(), failures.values().map(|group| group.n).sum())?;
    let detailed = detailed(request.only, &summaries);
    let picked = picked(&detailed, &summaries);
    let pictures = pictures(request, &detailed, &summaries, &picked)?;
    let mut categories = Vec::new();
    for name in detailed {
        let pixels = curves_of_pixels(run, name)?;
        categories.push(CategoryData { name, summary: &summaries[name], pixels });
    }
    let page = PageData {
        manifest: run.manifest(),
        counts,
        n_categories: summaries.len(),
        categories,
        metrics: request.metrics,
        drift: request.drift.as_ref(),
        failures: &failures,
        pictures: &pictures,
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
fn detailed<'a>(
    only: &'a [String],
    summaries: &BTreeMap<&'a str, CategorySummary>,
) -> BTreeSet<&'a str> {
    if !only.is_empty() {
        return only.iter().map(String::as_str).collect();
    }
    let scored = summaries.iter().filter(|(_, summary)| summary.counts.scored() > 0);
    let mut names =
        scored.map(|(name, summary)| (summary.counts.scored(), *name)).collect::<Vec<_>>();
    names.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    names.into_iter().take(DETAILED).map(|(_, name)| name).collect()
}

/// The pictures of the galleries: the first of each, then the second of each, until there are as many
/// as a page may have. Each with the scale of its category.
fn picked<'a>(
    detailed: &BTreeSet<&str>,
    summaries: &'a BTreeMap<&str, CategorySummary>,
) -> BTreeMap<&'a str, (&'a ShownScore, HeatScale)> {
    let shown = summaries.iter().filter(|(name, _)| detailed.contains(**name));
    let shown = shown.map(|(_, summary)| (summary.heat(), summary)).collect::<Vec<_>>();
    let longest = shown.iter().flat_map(|(_, summary)| &summary.picks).map(|of| of.rows().len());
    let mut picked = BTreeMap::new();
    for round in 0..longest.max().unwrap_or(0) {
        for (heat, summary) in &shown {
            let rows = summary.picks.iter().filter_map(|picks: &Picks| picks.rows().get(round));
            for row in rows {
                if picked.len() < PICTURES || picked.contains_key(row.image_id.as_str()) {
                    picked.insert(row.image_id.as_str(), (row, *heat));
                }
            }
        }
    }
    picked
}

/// Rows of a table about some pictures, by picture.
type ByPicture<R> = BTreeMap<String, Vec<R>>;

/// Reads and draws the picked pictures.
fn pictures(
    request: &Request,
    detailed: &BTreeSet<&str>,
    summaries: &BTreeMap<&str, CategorySummary>,
    picked: &BTreeMap<&str, (&ShownScore, HeatScale)>,
) -> Result<BTreeMap<String, Shown>, Error> {
    let run = request.run;
    let (mut masks, mut boxes) = (ByPicture::new(), ByPicture::new());
    for category in detailed.iter().filter(|name| summaries[**name].counts.scored() > 0) {
        masks.append(&mut rows_of(run, category, picked, |row: &MaskRow| &row.image_id)?);
        boxes.append(&mut rows_of(run, category, picked, |row: &BoxRow| &row.image_id)?);
    }
    let nothing = |why: &str| Shown { layers: Err(why.to_string()), boxes: Vec::new() };
    let input = match &request.input {
        Ok(input) => input,
        Err(why) => {
            return Ok(picked.keys().map(|id| (id.to_string(), nothing(why))).collect());
        }
    };
    let mode = run.manifest().spec.get("preprocess").cloned();
    let mode = mode.and_then(|mode| serde_json::from_value(mode).ok()).unwrap_or_default();
    let limits = DecodeLimits::default();
    let limit = (PICTURE_BYTES / picked.len().max(1)).min(MOST_BYTES);
    let wanted = picked.keys().copied().collect();
    let drawn = fetch::each(run, input, &wanted, limits.max_bytes, |id, fetched| {
        let Some((row, scale)) = picked.get(id).copied() else { return nothing("not asked for") };
        let mask = masks.get(id).and_then(|rows| rows.first());
        let drawing = Drawing { run, row, scale, mask, mode, limit };
        let layers = fetched.and_then(|fetched| drawing.layers(&fetched));
        Shown { layers, boxes: boxes.get(id).cloned().unwrap_or_default() }
    })?;
    Ok(drawn)
}

fn rows_of<R: crate::tables::Row + Sync>(
    run: &RunReader,
    category: &str,
    wanted: &BTreeMap<&str, (&ShownScore, HeatScale)>,
    image_id: impl Fn(&R) -> &String + Sync + Send,
) -> Result<ByPicture<R>, Error> {
    let add = |rows: &mut ByPicture<R>, part: Vec<R>| {
        for row in part.into_iter().filter(|row| wanted.contains_key(image_id(row).as_str())) {
            rows.entry(image_id(&row).clone()).or_default().push(row);
        }
        Ok(())
    };
    let merge = |rows: &mut ByPicture<R>, mut other: ByPicture<R>| {
        rows.append(&mut other);
        Ok(())
    };
    fold_parts(run, category, add, merge)
}

/// What is needed to draw a picture.
struct Drawing<'a> {
    run: &'a RunReader,
    row: &'a ShownScore,
    scale: HeatScale,
    mask: Option<&'a MaskRow>,
    mode: Preprocess,
    limit: usize,
}

impl Drawing<'_> {
    /// The layers, or why there are none.
    fn layers(&self, fetched: &Fetched) -> Result<Layers, String> {
        let (row, limits) = (self.row, DecodeLimits::default());
        let picture = Picture::decode(&fetched.picture, self.mode, limits);
        let picture = picture.map_err(|failure| failure.message)?;
        let Size { width, height } = picture.size();
        if (i64::from(row.width), i64::from(row.height)) != (width as i64, height as i64) {
            let (was, high) = (row.width, row.height);
            return Err(format!("it is {width} × {height} now and was scored as {was} × {high}"));
        }
        // Without its map or a mask, a picture is still worth showing.
        let told = |what: &str, why: &dyn std::fmt::Display| {
            tracing::warn!(image_id = row.image_id, "the {what} is not shown: {why}");
        };
        let map = row.map_path.as_ref().and_then(|path| {
            read_map_npy(self.run.store(), path).map_err(|why| told("map", &why)).ok()
        });
        let truth = fetched.mask.as_ref().and_then(|bytes| {
            let mask = Mask::decode(bytes, self.mode, limits);
            mask.map_err(|failure| told("true mask", &failure.message)).ok()
        });
        let prediction = self.mask.and_then(|mask| {
            let rle = Rle::from_counts(picture.size(), mask.counts.clone());
            rle.map(|rle| rle.decode()).map_err(|why| told("predicted mask", &why)).ok()
        });
        let findings = Findings {
            map: map.as_ref(),
            scale: self.scale,
            truth: truth.as_ref(),
            prediction: prediction.as_ref(),
        };
        draw(&picture.rgb_pixels(), findings, self.limit).ok_or_else(|| "it cannot be drawn".into())
    }
}
