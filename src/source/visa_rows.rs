//! The rows of VisA's CSV files go in, entries come out: each image that a row names, whether it
//! exists or not, and its mask. A path that leads out of the input is rejected, not followed.
//! Never here: images that no row names.

use std::collections::{BTreeMap, HashMap};

use super::category::Categories;
use super::drafts::{Drafts, Known};
use super::input::Input;
use super::layout::{Nesting, Split};
use super::tree::{Found, Tree, Trouble};
use super::visa_csv::{Row, below, read_annotations, read_split};
use super::{Label, MaskSource};
use crate::error::{Failure, FailureCode, SourceError, Stage};

/// What the paths in a CSV are relative to.
#[derive(Clone)]
enum Base {
    /// The input, which holds all categories.
    Input,
    /// A category, at this folder of the input or, for `None`, the input itself. Published files
    /// name the category's folder again in front; it may have been renamed since.
    Category(Option<String>),
}

/// A row that names an image.
struct Claim {
    base: Base,
    /// `None` where only `--category` or the name of the input can tell.
    category: Option<String>,
    row: Row,
}

/// The rows of all CSV files of an input.
#[derive(Default)]
pub(super) struct Rows {
    /// By image id, or by the path as written where it leads out of the input. More than one row
    /// for an image is a mistake in the data.
    claims: BTreeMap<String, Vec<Claim>>,
    /// What the rows say about a file, by its path below the input.
    files: HashMap<String, RowSays>,
}

/// What the rows say about a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RowSays {
    /// An image that became an entry, or its mask.
    Listed,
    /// An image of another split than the one that is listed.
    OtherSplit,
}

impl Rows {
    /// Adds the rows of the split file `csv`; only those of `split` name images to list.
    pub(super) fn add_split(
        &mut self,
        input: &Input,
        csv: &str,
        nesting: Nesting,
        split: Split,
    ) -> Result<(), SourceError> {
        let wanted = match split {
            Split::Test => "test",
            Split::Train => "train",
        };
        let base = match nesting {
            Nesting::ManyCategories => Base::Input,
            Nesting::OneCategory => Base::Category(None),
        };
        for split_row in read_split(input, csv)? {
            if split_row.split == wanted {
                self.add(base.clone(), Some(split_row.object), split_row.row);
            } else if let Some(id) = base.resolve(&split_row.row.image) {
                self.files.insert(id, RowSays::OtherSplit);
            }
        }
        Ok(())
    }

    /// Adds the rows of the annotation file `csv`, which belongs to the category in `folder`.
    pub(super) fn add_annotations(
        &mut self,
        input: &Input,
        csv: &str,
        folder: Option<&str>,
    ) -> Result<(), SourceError> {
        let folder = folder.map(str::to_owned);
        for row in read_annotations(input, csv)? {
            self.add(Base::Category(folder.clone()), folder.clone(), row);
        }
        Ok(())
    }

    /// Makes an entry of every image that rows name.
    pub(super) fn push_entries(
        &mut self,
        tree: &Tree,
        drafts: &mut Drafts,
        categories: &mut Categories,
    ) -> Result<(), SourceError> {
        for (id, claims) in std::mem::take(&mut self.claims) {
            let lines: Vec<String> = claims.iter().map(|c| c.row.line.to_string()).collect();
            let Some(claim) = claims.into_iter().next() else { continue };
            let found = claim.picture(tree, &id, &lines);
            let mask = claim.mask(tree);
            let mask_id = claim.mask_id().filter(|_| found.trouble.is_none());
            if let (Ok(MaskSource::Files(_)), Some(mask_id)) = (&mask, mask_id) {
                self.files.insert(mask_id, RowSays::Listed);
            }
            let known = Known {
                label: claim.row.label,
                kind: claim.row.kind.map(Into::into),
                ..Known::of(categories.of(claim.category.as_deref())?)
            };
            drafts.push(found, known, mask);
            self.files.insert(id, RowSays::Listed);
        }
        Ok(())
    }

    /// What the rows say about the file `id`, `None` if they do not name it.
    pub(super) fn say(&self, id: &str) -> Option<RowSays> {
        self.files.get(id).copied()
    }

    fn add(&mut self, base: Base, category: Option<String>, row: Row) {
        let id = base.resolve(&row.image).unwrap_or_else(|| row.image.clone());
        self.claims.entry(id).or_default().push(Claim { base, category, row });
    }
}

impl Base {
    /// The path below the input, or `None` if it leads out.
    fn resolve(&self, written: &str) -> Option<String> {
        let path = below(written)?;
        let Base::Category(folder) = self else { return Some(path) };
        let inside = match path.split_once('/') {
            Some((_, inside)) if inside.starts_with("Data/") => inside,
            _ => &path,
        };
        Some(folder.as_ref().map_or(inside.to_owned(), |folder| format!("{folder}/{inside}")))
    }
}

impl Claim {
    /// The file that the row names; `lines` are the lines of all rows that name it.
    fn picture(&self, tree: &Tree, id: &str, lines: &[String]) -> Found {
        let rejected = |code, why: &str, uri: Option<String>| {
            let message = format!("line {} of the CSV: {why}", lines.join(", "));
            let failure = Failure::new(Stage::List, code, message);
            Some(Box::new(Trouble { failure, uri }))
        };
        let lost = |why: &str| {
            let trouble = rejected(FailureCode::Unreadable, why, None);
            Found { id: id.into(), bytes: 0, version: None, trouble }
        };
        if self.base.resolve(&self.row.image).is_none() {
            return lost("the path of the image leads out of the input: correct it");
        }
        let Some(found) = tree.file(id) else {
            return lost("the image is not there: restore it");
        };
        let mut found = found.clone();
        if lines.len() > 1 {
            let why = "several rows name this image: keep one";
            found.trouble = rejected(FailureCode::DuplicateName, why, None);
        } else if let Some(trouble) = found.trouble {
            let Trouble { failure, uri } = *trouble;
            found.trouble = rejected(failure.code, &failure.message, uri);
        }
        found
    }

    /// The mask that the row names, if it is there.
    fn mask(&self, tree: &Tree) -> Result<MaskSource, Failure> {
        let missing = |why: &str| {
            let message = format!("the mask in line {} of the CSV {why}", self.row.line);
            Failure::new(Stage::List, FailureCode::MaskMissing, message)
        };
        match (self.row.label, &self.row.mask) {
            (Some(Label::Normal), _) => return Ok(MaskSource::AllNormal),
            (None, _) | (Some(Label::Anomalous), None) => return Ok(MaskSource::Unknown),
            (Some(Label::Anomalous), Some(_)) => {}
        }
        let id = self.mask_id().ok_or_else(|| missing("leads out of the input: correct it"))?;
        match tree.file(&id).filter(|found| found.trouble.is_none()) {
            Some(found) => Ok(MaskSource::Files([found.id.clone()].into())),
            None => Err(missing("does not exist: restore it")),
        }
    }

    /// The path of the mask below the input, if the row names one there.
    fn mask_id(&self) -> Option<String> {
        self.row.mask.as_deref().and_then(|mask| self.base.resolve(mask))
    }
}
