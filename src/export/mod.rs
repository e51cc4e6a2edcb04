//! What a run found, for other programs: rows as CSV and JSON Lines, masks as COCO and as PNG, images
//! with what was found drawn on them. In: a committed run, or several as one set, and the images that it
//! scored. Out: files on a disk or in a bucket. Nothing is computed here that a table should hold, and
//! memory grows by some 50 bytes an image at most.
//!
//! ```text
//! scores ── survey (names, colours, top N) ┐
//! scores + masks + boxes ── selection ─────┴→ run ─┬→ cells → csv, json_lines
//!                                                  ├→ coco
//!                                                  └→ masks, overlays (fetch, drawing) → writers → folder
//! ```

mod cells;
mod coco;
mod csv;
mod fetch;
mod folder;
mod json_lines;
mod masks;
mod names;
mod out_file;
mod overlay;
mod rows;
mod run;
mod selection;
mod survey;
mod target;
mod writers;

pub use folder::Folder;
pub use out_file::OutFile;
pub use run::{Done, Request, export};
pub use selection::Choice;
pub use target::{FileKind, Target};
