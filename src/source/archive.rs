//! The layouts of files with images in them, each a shard: `webdataset` (tars) and `parquet`.
//! What is in them shows when they are read, see [`read_archive`].

use std::ops::ControlFlow;
use std::sync::Arc;

use super::category::Categories;
use super::drafts::Drafts;
use super::parquet::read_parquet;
use super::tar::read_tar;
use super::tree::Tree;
use super::{Columns, Ignored, Member, OpenFile};
use crate::error::SourceError;

/// What a file with images in it is.
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

/// Hands the images of an archive to `take`, one after the other, until it wants no more; returns
/// what is no image. A file of more than `max_bytes` is not read. Once the archive cannot be read,
/// that is what is wrong with all that follows.
pub fn read_archive(
    file: OpenFile,
    kind: ArchiveKind,
    columns: &Columns,
    max_bytes: u64,
    take: impl FnMut(Member) -> ControlFlow<()>,
) -> Ignored {
    match kind {
        ArchiveKind::Tar => read_tar(&file, &columns.keep, max_bytes, take),
        ArchiveKind::Parquet => {
            read_parquet(Arc::new(file), columns, max_bytes, take);
            Ignored::new()
        }
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
        let category =
            categories.of_folders(found.id.rsplit_once('/').map(|(folders, _)| folders))?;
        drafts.push_archive(found, kind, category);
    }
    Ok(drafts)
}
