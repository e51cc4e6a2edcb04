//! A client of the Hugging Face Hub, or of a mirror of it. In: the name of a repository. Out: what the
//! hub says of it, and its files, each the one that was stated. Nothing that comes from a hub is believed
//! unchecked: sizes, digests, names, redirections.
//!
//! The crate `hf-hub` 1.0 would bring some 200 packages, among them its own protocol of storage and a
//! second cryptography in C (aws-lc); reqwest is here already, in the form that `object_store` has it.

mod client;
mod digest;
mod download;
mod repository;
mod settings;
mod tries;

pub use client::Hub;
pub use digest::Digest;
pub use download::Download;
pub use repository::{HubFile, Repository};
pub use settings::{Patience, is_offline};
pub use tries::Ending;

use std::path::Path;

use crate::error::HubError;
use crate::store::why_unwritable;

/// A file of this machine that cannot be read or written.
pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> HubError {
    HubError::Unwritable { path: path.into(), why: why_unwritable(error) }
}
