//! Which work a run has: that of the run in its output, or a new listing of the input. In: a job spec.
//! Out: listings and plans, and what to say where the two differ.

use super::plan::Plan;
use super::references::choose::Start;
use crate::device::give_back_freed;
use crate::error::{Error, ListingChanges, SpecDifference, TableError};
use crate::job::{JobSpec, RetryMode};
use crate::source::{Input, Layout, LayoutChoice, Listing, list};
use crate::store::{Store, both};
use crate::tables::{Manifest, Skipped};

/// The listing of a job, with what was detected in the log.
///
/// # Errors
/// If the input cannot be listed to its end.
pub fn listed(spec: &JobSpec) -> Result<Listing, Error> {
    let mut options = spec.list_options();
    if !spec.skip_scored.is_empty() {
        // It counts what is left.
        options.filter.limit = None;
    }
    let listing = list(&spec.input, &options)?;
    // Of a million images that is as much as the listing itself.
    give_back_freed();
    let (entries, shards) = (listing.n_entries, listing.shards.len());
    match listing.layout {
        // How many images they have shows when they are read.
        Layout::Webdataset | Layout::Parquet => tracing::info!(
            archives = entries,
            shards,
            ignored = ?listing.ignored,
            "{}",
            listing.why
        ),
        Layout::Folder | Layout::Mvtec | Layout::Visa | Layout::Table => tracing::info!(
            images = entries,
            categories = listing.categories.len(),
            shards,
            labelled = listing.n_labelled,
            masks = listing.n_masks,
            ignored = ?listing.ignored,
            "{}",
            listing.why
        ),
    }
    Ok(listing)
}

/// Hands the plan of the run in the output to `with`, or that of a new listing.
pub(super) fn with_plan<T>(
    spec: &JobSpec,
    with: impl Fn(Plan, Start) -> Result<T, Error>,
) -> Result<T, Error> {
    let begun = |there: &Option<InOutput>| match there {
        Some(there) => there.begun(spec),
        None => Ok(None),
    };
    let there = InOutput::of(spec)?;
    if let Some(plan) = begun(&there)? {
        return with(plan, Start::Again);
    }
    let plan = Plan::from(listed(spec)?);
    let recorded = match there {
        Some(there) => there.recorded(spec)?,
        None => None,
    };
    let changes = recorded.as_ref().map(|recorded| recorded.changes(&plan));
    if let (Some(recorded), true) = (recorded, changes.as_ref().is_some_and(|c| c.is_empty())) {
        // The same files, in the shards in which they were listed: some may have been replaced.
        changes.iter().for_each(warn_of_touched);
        return with(recorded, Start::Again);
    }
    match with(plan, Start::First) {
        // Another worker began the run meanwhile, from another state of the input.
        Err(Error::Table(TableError::OtherRun { uri, differences })) => {
            match begun(&InOutput::of(spec)?)? {
                Some(plan) => with(plan, Start::Again),
                None => Err(other_run(uri, differences, changes).into()),
            }
        }
        ended => ended,
    }
}

/// The run that the output holds, as it was when this was asked.
struct InOutput {
    store: Store,
    manifest: Manifest,
}

impl InOutput {
    /// `None` if it holds none.
    fn of(spec: &JobSpec) -> Result<Option<Self>, Error> {
        if spec.output.disk().is_some_and(|folder| !folder.exists()) {
            return Ok(None);
        }
        let store = Store::open(&spec.output)?;
        let (answers, manifest) = both(|| store.check(), || Manifest::read(&store));
        answers?;
        let manifest = manifest?;
        Ok(manifest.map(|manifest| InOutput { store, manifest }))
    }

    /// The plan of the run, if it is not finished. A finished one is compared with what there is now:
    /// images that came since must not go unnoticed. One that left out what others had scored is not: what
    /// came since is left to the next run.
    fn begun(&self, spec: &JobSpec) -> Result<Option<Plan>, Error> {
        let retry = spec.retry_failed == RetryMode::RetryFailed;
        let finished = self.manifest.totals.is_some();
        let skips = !spec.skip_scored.is_empty() && Skipped::of(&self.manifest.spec).is_some();
        if finished && !retry && !skips {
            return Ok(None);
        }
        let plan = self.recorded(spec)?;
        if finished && !retry {
            tracing::info!(
                "the run here is finished: images that were added since are not in it, a run into \
                 another --output scores them"
            );
        } else if let Some(plan) = &plan {
            tracing::info!(
                pictures = plan.pictures(),
                shards = plan.shards.len(),
                "resuming the run that was started here: images that were added since are not in it"
            );
        }
        Ok(plan)
    }

    /// The plan of the run, whether or not it is finished.
    fn recorded(&self, spec: &JobSpec) -> Result<Option<Plan>, Error> {
        let Some(entry) = &self.manifest.plan else { return Ok(None) };
        let recorded = self.manifest.spec["layout"].as_str().unwrap_or_default().to_string();
        let layout = match spec.layout {
            LayoutChoice::Auto => recorded,
            chosen => chosen.to_string(),
        };
        let mut plan = Plan::read(&self.store, entry, Input::open(&spec.input)?, layout)?;
        // A run that is told to skip nothing is another one.
        plan.skipped = Skipped::of(&self.manifest.spec).filter(|_| !spec.skip_scored.is_empty());
        Ok(Some(plan))
    }
}

/// Says of a run that goes on which of its files may have been replaced: scored ones stay as they are.
fn warn_of_touched(changes: &ListingChanges) {
    if let Some(one) = changes.touched.first() {
        tracing::warn!(
            files = changes.touched.len(),
            "files have another time or etag than when they were scored, {one} for one: they are not \
             scored again; another --output scores what is there now"
        );
    }
}

/// Says of another listing what differs, where only digests are compared.
fn other_run(
    uri: String,
    mut differences: Vec<SpecDifference>,
    changes: Option<ListingChanges>,
) -> TableError {
    match changes.filter(|changes| !changes.is_empty()) {
        Some(changes) => {
            differences.retain(|of| of.key != "listing");
            TableError::OtherListing { uri, changes: Box::new(changes), differences }
        }
        None => TableError::OtherRun { uri, differences },
    }
}
