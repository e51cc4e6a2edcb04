//! FiLo: zero-shot anomaly detection over archives of inspection images.
//!
//! One image goes through these modules from top to bottom and never comes back up:
//!
//! - [`cli`] reads the command line, [`job`] holds all that a run is told.
//! - [`source`] lists shards of samples in the layouts people have.
//! - [`pipeline`] runs the stages: files → planes ([`image`]) → network ([`model`], filled by
//!   [`weights`], placed by [`device`]) → rows ([`tables`], committed shard by shard).
//! - [`mod@reference`] says what is normal from other images of the product, and how far an image
//!   is from it.
//! - [`metrics`] reduces scores and pixel counts to AUROC, AP, F1-max and AUPRO.
//! - [`report`] draws what a run found, [`export`] writes it for other programs; [`draw`] has the
//!   colours and lines of both.
//! - [`describe`] asks a language model what may be wrong with a thing.
//! - [`train`] teaches the network, from a folder of labelled images, and makes data.
//! - [`store`] has the files of all of them, on a disk or in a bucket.
//!
//! `cli` → `export` → `pipeline`, `train`, `report`, `describe` → `reference` → `source`, `image`,
//! `model`, `weights`, `tables`, `metrics` → `store` → `error`; nothing points back.

#![deny(unsafe_code)]

pub mod cli;
pub mod describe;
pub mod device;
pub mod draw;
pub mod error;
pub mod export;
pub mod image;
pub mod job;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod reference;
pub mod report;
pub mod source;
pub mod store;
pub mod tables;
pub mod train;
pub mod weights;
