//! Training: the published recipe in two stages, and training from scratch. In: images with
//! labels and masks, a network, a job. Out: a folder with weights, a log, and a state from which
//! the training goes on to the same numbers. [`Training`] is the loop; all else are its parts.

mod assess;
mod averaging;
mod checkpoint;
mod choices;
mod compose;
pub mod data;
mod generated;
mod keep;
mod loader;
mod log;
pub mod losses;
pub mod map_loss;
pub mod network;
pub mod objective;
pub mod optimizer;
pub mod parts;
mod pictures;
pub mod prompts;
mod run;
pub mod spec;
mod start;
pub mod synthetic;
mod timing;
mod validate;
mod word_loss;
mod workers;

pub use assess::{Assessment, Words};
pub use generated::Generated;
pub use log::{LOG_FILE, LogRow, read_log};
pub use pictures::{Mosaic, PictureSet, Sets};
pub use run::{Ending, Report, Training};
pub use start::{Init, Setup};
pub use timing::StepSeconds;
pub use validate::Validation;
