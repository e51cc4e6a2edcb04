//! The layout `webdataset`: every tar file is a shard. What is in it shows when it is read, see
//! [`read_tar`](super::read_tar).

use super::category::Categories;
use super::listing::Drafts;
use super::tree::{Found, Tree};
use crate::error::SourceError;

/// True for a tar that is not compressed: one that is cannot be read from its middle.
pub(super) fn is_tar(found: &Found) -> bool {
    found.id.len() > 4 && found.id.to_ascii_lowercase().ends_with(".tar")
}

/// Lists every tar of `tree`.
pub(super) fn list(tree: &mut Tree, categories: &mut Categories) -> Result<Drafts, SourceError> {
    let mut drafts = Drafts::default();
    for found in tree.take_files() {
        if !is_tar(&found) {
            drafts.ignore(&found.extension());
            continue;
        }
        let category = categories.of(found.id.split_once('/').map(|(folder, _)| folder))?;
        drafts.push_archive(found, category);
    }
    Ok(drafts)
}
