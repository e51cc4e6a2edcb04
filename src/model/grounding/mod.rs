//! The detector: Grounding DINO with a Swin backbone and BERT, as the "OGC" configuration runs it.
//! In: images of any size and a caption. Out: one box and one logit per text token for every
//! query. [`net`] is the way in; [`config`] has every dimension; [`keys`] names checkpoint tensors.

pub mod attention;
pub mod bert;
pub mod boxes;
pub mod caption;
pub mod config;
mod cost;
pub mod decoder;
pub mod deformable;
pub mod enhancer;
pub mod feed_forward;
pub mod fusion;
pub mod images;
pub mod keys;
pub mod levels;
pub mod net;
pub mod phrases;
pub mod position_code;
pub mod queries;
mod ranking;
pub mod sampling;
pub mod swin;
pub mod text;
pub mod window;

pub use config::GroundingConfig;
pub use images::ImageBatch;
pub use net::{GroundingDino, RawDetections};
pub use text::{CaptionToken, EncodedCaption, TextBatch, TextError};
