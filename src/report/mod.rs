//! What a run found, for people to look at: one HTML page that needs nothing else. In: a committed
//! run and the pictures that it scored. Out: text. Nothing is computed here that a table should hold.
//!
//! ```text
//! scores, failures → summary (counts, picks) → fetch, layers (pictures) ┐
//! partials → curves → charts (SVG) ─────────────────────────────────────┴→ page → HTML
//! ```
//! The page's text is in `templates/report.html`, beside its style and its script.

mod build;
mod charts;
mod fetch;
mod heat;
mod layers;
mod outline;
mod page;
mod page_category;
mod page_pictures;
mod page_tables;
mod picks;
mod summary;

pub use build::{Drifted, DriftedCategory, Request, page};
