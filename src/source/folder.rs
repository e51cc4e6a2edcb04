//! The layout `folder`: any tree of pictures. The first sub-folder is the category; there are no
//! labels and no masks. Folders named `ground_truth` hold masks in every layout and are not listed.

use super::MaskSource;
use super::category::Categories;
use super::listing::{Drafts, Known, Root};
use super::walk::{Seen, walk};
use crate::error::SourceError;

/// Lists every picture below `root`.
pub(super) fn list(root: &Root, categories: &mut Categories) -> Result<Drafts, SourceError> {
    let mut drafts = Drafts::default();
    for seen in walk(&root.dir) {
        match seen? {
            Seen::Ignored(reason) => drafts.ignore(&reason),
            Seen::Picture(found) => {
                let folders = found.id.rsplit_once('/').map(|(folders, _)| folders);
                if folders.is_some_and(|folders| folders.split('/').any(|f| f == "ground_truth")) {
                    drafts.ignore("(ground_truth)");
                    continue;
                }
                let category = categories.of(folders.and_then(|f| f.split('/').next()))?;
                let known = Known { category, label: None, kind: None };
                drafts.push(found, known, Ok(MaskSource::Unknown));
            }
        }
    }
    Ok(drafts)
}
