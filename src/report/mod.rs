//! What a run found, for people to look at: one HTML page that needs nothing else. In: a committed
//! run and the images that it scored. Out: text. Nothing is computed here that a table should hold.
//!
//! ```text
//! scores, failures → summary (counts, picks) → images (fetch, layers) ┐
//! references → their own scores ┐                                     │
//! partials → curves ────────────┴→ charts (SVG) ──────────────────────┴→ page → HTML
//! ```
//! The page's text is in `templates/report.html`, beside its style and its script.

mod build;
mod charts;
mod fetch;
mod images;
mod layers;
mod page;
mod page_category;
mod page_decision;
mod page_images;
mod page_tables;
mod picks;
mod references;
mod summary;

pub use build::{Drifted, DriftedCategory, Request, page};
pub(crate) use fetch::archive_in;
pub(crate) use images::{columns_of, mode_of};
pub use page::grouped;
