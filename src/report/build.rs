//! A run → its page. In: the tables of a run, its metrics, its pictures where they can still be read.
//! Out: HTML text. How many categories and pictures are shown is bounded, and the page says what it
//! leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::fetch::{self, AT_ONCE, Fetched, Pictures, on_threads};
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

/// Bytes of all pictures, before they become text, which is a third longer. With as many categories,
/// rows and cards as there may be, the page then has less than 15 MB.
const PICTURE_BYTES: usize = 6_500_000;

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
    /// Whether that is another place than where they were scored.
    pub moved: bool,
    /// Categories to show in detail; without any, those with the most pictures.
    pub only: &'a [String],
    /// Pictures of a gallery.
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
/// asked for is not there, or too many are. A picture that cannot be read is none.
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
        let decided = thresholds.get(*category);
        Ok((CategorySummary::read(run, category, decided, most)?, failures_of(run, category)?))
    };
    let all = || names.par_iter().map(read).collect::<Result<Vec<_>, Error>>();
    let read = on_threads(AT_ONCE, all)?;
    let (mut counts, mut failures) = (Counts::default(), Failures::new());
    let mut summaries = BTreeMap::new();
    for (category, (summary, lost)) in names.iter().zip(read) {
        counts.merge(&summary.counts);
        merge_failures(&mut failures, lost);
        if summary.counts.scored() > 0 {
            summaries.insert(*category, summary);
        }
    }
    check_counts(run, counts.scored(), failures.values().map(|group| group.n).sum())?;
    let detailed: BTreeSet<_> =
        detailed.into_iter().filter(|name| summaries.contains_key(name)).collect();
    let picked = picked(&detailed, &summaries);
    let pictures = pictures(request, &detailed, &picked)?;
    let mut categories = Vec::new();
    for (name, n) in detailed.iter().zip(1..) {
        (request.tell)(format!("curves of category {n} of {}", detailed.len()));
        let pixels = curves_of_pixels(run, name)?;
        categories.push(CategoryData { name, summary: &summaries[name], pixels });
    }
    let page = PageData {
        manifest: run.manifest(),
        counts,
        n_categories: names.len(),
        n_scored: summaries.len(),
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
    picked: &BTreeMap<&str, (&ShownScore, HeatScale)>,
) -> Result<BTreeMap<String, Shown>, Error> {
    let run = request.run;
    let (mut masks, mut boxes) = (ByPicture::new(), ByPicture::new());
    for category in detailed {
        masks.append(&mut rows_of(run, category, picked, |row: &MaskRow| &row.image_id)?);
        boxes.append(&mut rows_of(run, category, picked, |row: &BoxRow| &row.image_id)?);
    }
    let shown =
        |id: &str, layers| Shown { layers, boxes: boxes.get(id).cloned().unwrap_or_default() };
    let input = match &request.input {
        Ok(input) => input,
        Err(why) => {
            let nothing = |id: &&str| (id.to_string(), shown(id, Err(why.clone())));
            return Ok(picked.keys().map(nothing).collect());
        }
    };
    let mode = run.manifest().spec.get("preprocess").cloned();
    let mode = mode.and_then(|mode| serde_json::from_value(mode).ok()).unwrap_or_default();
    let limits = DecodeLimits::default();
    let limit = (PICTURE_BYTES / picked.len().max(1)).min(MOST_BYTES);
    let wanted = picked.keys().copied().collect::<BTreeSet<_>>();
    let pictures = Pictures { input, moved: request.moved };
    let done = AtomicUsize::new(0);
    Ok(fetch::each(run, pictures, &wanted, limits.max_bytes, |id, fetched| {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        (request.tell)(format!("picture {n} of {}", wanted.len()));
        let layers = fetched.and_then(|fetched| {
            let (row, scale) = *picked.get(id).ok_or("it was not asked for")?;
            let mask = masks.get(id).and_then(|rows| rows.first());
            Drawing { run, row, scale, mask, mode, limit }.layers(&fetched)
        });
        shown(id, layers)
    })?)
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
            let mask = mask.map_err(|failure| told("true mask", &failure.message)).ok()?;
            let fits = mask.size() == picture.size();
            if !fits {
                told("true mask", &"it has another size than its picture");
            }
            fits.then_some(mask)
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
