//! The layout `folder`: any tree of images. The first sub-folder is the category; there are no
//! labels and no masks. Folders named `ground_truth` hold masks in every layout and are not listed.

use super::MaskSource;
use super::category::Categories;
use super::drafts::{Drafts, Known};
use super::tree::Tree;
use crate::error::SourceError;

/// Lists every image of `tree`.
pub(super) fn list(tree: &mut Tree, categories: &mut Categories) -> Result<Drafts, SourceError> {
    let mut drafts = Drafts::default();
    for found in tree.take_files() {
        if !found.is_picture() {
            drafts.ignore(&found.extension());
            continue;
        }
        let folders = found.id.rsplit_once('/').map(|(folders, _)| folders);
        if folders.is_some_and(|folders| folders.split('/').any(|f| f == "ground_truth")) {
            drafts.ignore("(ground_truth)");
            continue;
        }
        let category = categories.of_folders(folders)?;
        drafts.push(found, Known::of(category), Ok(MaskSource::Unknown));
    }
    Ok(drafts)
}
