//! What a run found, for people to look at: one HTML page that needs nothing else. In: a committed
//! run and the images that it scored. Out: text. Nothing is computed here that a table should hold.
//!
//! ```text
//! scores, failures → summary (counts, picks, candidates, what_if, trend) → images (fetch, layers) ┐
//! references → their own scores ┐                                                                │
//! partials → curves ────────────┴→ charts (SVG) ─────────────────────────────────────────────────┴→ page → HTML
//! ```
//! The page's text is in `templates/report.html`, beside its style and its scripts, which work with what
//! `page_script` gives them.

mod build;
mod candidates;
mod charts;
mod close_up;
mod fetch;
mod images;
mod layers;
mod links;
mod page;
mod page_category;
mod page_decision;
mod page_images;
mod page_script;
mod page_summary;
mod page_tables;
mod picks;
mod references;
mod stops;
mod summary;
mod trend;
mod what_if;

pub use build::{Drifted, DriftedCategory, Request, page};
pub(crate) use fetch::archive_in;
pub use page::grouped;
