//! Tensors in, tensors out: CLIP, FiLo, the detector and the backbone. Knows no file, no table, no command line.

pub mod attention;
pub mod backbone;
pub mod clip;
pub mod config;
pub mod cost;
mod derived;
pub mod filo;
pub mod grounding;
mod kept;
pub mod kernels;
pub mod layers;
mod layers_on_gpu;
pub mod linear;
pub mod norm;
pub mod precision;

pub use kept::forget as forget_kept;
