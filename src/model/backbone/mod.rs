//! The pretrained network whose features tell patches of images apart: EfficientNet-Lite. In:
//! normalised images. Out: what some of its blocks give, from fine to coarse. Never here: where
//! weights lie, gradients of a fused form.
//!
//! - `config` has every dimension, `lite` the network on any backend, `fused` its form for a CPU.

pub mod config;
mod fused;
mod lite;

pub use config::BackboneConfig;
pub use lite::{Backbone, Block, DepthwiseConv, PointwiseConv, StemConv};
