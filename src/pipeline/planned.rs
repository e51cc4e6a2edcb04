//! Which work a run has: that of the run in its output, or a new listing of the input. In: a job spec.
//! Out: listings and plans, and what to say where the two differ.

use super::plan::Plan;
use crate::device::give_back_freed;
use crate::error::{Error, ListingChanges, SpecDifference, TableError};
use crate::job::{JobSpec, RetryMode};
use crate::source::{Input, Layout, LayoutChoice, Listing, list};
use crate::store::Store;
use crate::tables::Manifest;

/// The listing of a job, with what was detected in the log.
///
/// # Errors
/// If the input cannot be listed to its end.
pub fn listed(spec: &JobSpec) -> Result<Listing, Error> {
    let listing = list(&spec.input, &spec.list_options())?;
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

/// The run that the output holds, as it was when this was asked.
pub(super) struct InOutput {
    store: Store,
    manifest: Manifest,
}

impl InOutput {
    /// `None` if it holds none.
    pub(super) fn of(spec: &JobSpec) -> Result<Option<Self>, Error> {
        if spec.output.disk().is_some_and(|folder| !folder.exists()) {
            return Ok(None);
        }
        let store = Store::open(&spec.output)?;
        store.check()?;
        let manifest = Manifest::read(&store)?;
        Ok(manifest.map(|manifest| InOutput { store, manifest }))
    }

    /// The plan of the run, if it is not finished. A finished one is compared with what there is now:
    /// images that came since must not go unnoticed.
    pub(super) fn begun(&self, spec: &JobSpec) -> Result<Option<Plan>, Error> {
        let retry = spec.retry_failed == RetryMode::RetryFailed;
        if !retry && self.manifest.totals.is_some() {
            return Ok(None);
        }
        let plan = self.recorded(spec)?;
        if let Some(plan) = &plan {
            tracing::info!(
                pictures = plan.pictures(),
                shards = plan.shards.len(),
                "resuming the run that was started here: images that were added since are not in it"
            );
        }
        Ok(plan)
    }

    /// The plan of the run, whether or not it is finished.
    pub(super) fn recorded(&self, spec: &JobSpec) -> Result<Option<Plan>, Error> {
        let Some(entry) = &self.manifest.plan else { return Ok(None) };
        let recorded = self.manifest.spec["layout"].as_str().unwrap_or_default().to_string();
        let layout = match spec.layout {
            LayoutChoice::Auto => recorded,
            chosen => chosen.to_string(),
        };
        Ok(Some(Plan::read(&self.store, entry, Input::open(&spec.input)?, layout)?))
    }
}

/// Says of a run that goes on which of its files may have been replaced: scored ones stay as they are.
pub(super) fn warn_of_touched(changes: &ListingChanges) {
    if let Some(one) = changes.touched.first() {
        tracing::warn!(
            files = changes.touched.len(),
            "files have another time or etag than when they were scored, {one} for one: they are not \
             scored again; another --output scores what is there now"
        );
    }
}

/// Says of another listing what differs, where only digests are compared.
pub(super) fn other_run(
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
