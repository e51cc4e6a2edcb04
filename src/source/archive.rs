//! The layouts of files with pictures in them, each a shard: `webdataset` (tars) and `parquet`.
//! What is in them shows when they are read, see [`read_tar`](super::read_tar) and
//! [`read_parquet`](super::read_parquet).

use super::category::Categories;
use super::listing::Drafts;
use super::tree::Tree;
use crate::error::SourceError;

/// What a file with pictures in it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveKind {
    /// Not compressed: one that is cannot be read from its middle.
    Tar,
    Parquet,
}

impl ArchiveKind {
    const ALL: [ArchiveKind; 2] = [ArchiveKind::Tar, ArchiveKind::Parquet];

    /// The text form, which is the extension as well.
    pub fn as_str(self) -> &'static str {
        match self {
            ArchiveKind::Tar => "tar",
            ArchiveKind::Parquet => "parquet",
        }
    }

    /// The kind with this text form, in any case.
    pub fn named(text: &str) -> Option<Self> {
        ArchiveKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// Lists every file of `tree` that is of this kind.
pub(super) fn list(
    tree: &mut Tree,
    kind: ArchiveKind,
    categories: &mut Categories,
) -> Result<Drafts, SourceError> {
    let mut drafts = Drafts::default();
    for found in tree.take_files() {
        if found.archive() != Some(kind) {
            drafts.ignore(&found.extension());
            continue;
        }
        let category = categories.of(found.id.split_once('/').map(|(folder, _)| folder))?;
        drafts.push_archive(found, kind, category);
    }
    Ok(drafts)
}
