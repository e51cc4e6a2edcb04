//! What a run found, for people to look at. In: a committed run with its raw maps, and the pictures
//! that it scored. Out: PNG files. [`overlay`] draws one picture, [`gallery`] those of a run.
//! Nothing is computed here that a table should hold.

pub mod gallery;
mod heat;
mod outline;
pub mod overlay;
