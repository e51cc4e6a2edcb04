//! The layout `visa`: `<category>/Data/Images/{Normal,Anomaly}`, or one category by itself.
//! Which images count and what is known of them, from the best source there is: the test rows of
//! `split_csv/1cls.csv` (or `1cls.csv`), else each category's `image_anno.csv`, else folder names.

use std::collections::{BTreeMap, HashSet};

use super::category::Categories;
use super::drafts::{Drafts, Known};
use super::input::Input;
use super::layout::{Nesting, Split, below};
use super::masks::Group;
use super::tree::{Found, Tree};
use super::visa_rows::{RowSays, Rows};
use super::{Label, MaskSource};
use crate::error::SourceError;

const UNUSED_MASK: &str = "(unused mask)";

/// Where the labels come from.
enum Labels {
    /// From the split file, which also says which images count.
    Split,
    /// From the annotation files of these category folders; `None` is the input itself.
    Annotated(HashSet<Option<String>>),
}

/// Where an image file lies.
struct Place {
    /// The category's folder, `None` for the input itself.
    category: Option<String>,
    side: Side,
    /// `Normal` or `Anomaly`; empty for a file that lies directly in `Images` or `Masks`.
    part: String,
    /// The rest of the path.
    inside: String,
}

enum Side {
    Images,
    Masks,
}

/// The anomalous images of the categories that have no CSV, by category.
type Unannotated = BTreeMap<Option<String>, Group>;

/// True if `folder` has `Data/Images/`.
pub(super) fn looks_like_a_category(tree: &Tree, folder: &str) -> bool {
    tree.has_folder(&below(folder, "Data/Images"))
}

/// The file that says which images are test images.
pub(super) fn split_csv(tree: &Tree) -> Option<&'static str> {
    ["split_csv/1cls.csv", "1cls.csv"].into_iter().find(|csv| tree.file(csv).is_some())
}

/// Lists the images of a split, or for `Test` all where nothing says which are test images.
pub(super) fn list(
    tree: &mut Tree,
    input: &Input,
    categories: &mut Categories,
    split: Split,
) -> Result<Drafts, SourceError> {
    let nesting = Nesting::of(tree, "Data/Images");
    let mut rows = Rows::default();
    let labels = match split_csv(tree) {
        Some(csv) => {
            rows.add_split(input, csv, nesting, split)?;
            Labels::Split
        }
        // Nothing says which images are for training.
        None if split == Split::Train => return Ok(Drafts::default()),
        None => Labels::Annotated(add_annotations(&mut rows, tree, input, nesting)?),
    };
    let mut drafts = Drafts::default();
    rows.push_entries(tree, &mut drafts, categories)?;
    let mut groups = Unannotated::new();
    for found in tree.take_files() {
        if !found.is_picture() {
            drafts.ignore(&found.extension());
            continue;
        }
        match (rows.say(&found.id), place(nesting, &found.id)) {
            (Some(RowSays::Listed), _) => {}
            (Some(RowSays::OtherSplit), _) => drafts.ignore("(other split)"),
            (None, None) => drafts.ignore("(outside Data)"),
            (None, Some(place)) => {
                push_unnamed(&mut drafts, &mut groups, &labels, found, place, categories)?;
            }
        }
    }
    push_groups(tree, input, &mut drafts, groups, categories)?;
    Ok(drafts)
}

/// Reads the annotation file of every category that has one.
fn add_annotations(
    rows: &mut Rows,
    tree: &Tree,
    input: &Input,
    nesting: Nesting,
) -> Result<HashSet<Option<String>>, SourceError> {
    let folders = match nesting {
        Nesting::OneCategory => vec![""],
        Nesting::ManyCategories => tree.subfolders(""),
    };
    let mut annotated = HashSet::new();
    for folder in folders {
        let csv = below(folder, "image_anno.csv");
        // Images in a folder whose name is not UTF-8 are rejected as such.
        if tree.file(&csv).is_none_or(|found| found.trouble.is_some()) {
            continue;
        }
        let name = Some(folder).filter(|name| !name.is_empty());
        rows.add_annotations(input, &csv, name)?;
        annotated.insert(name.map(str::to_owned));
    }
    Ok(annotated)
}

/// An image that no row names: not part of a split, but to be scored without a label where an
/// annotation file lags behind, and labelled by its folder where there is no CSV at all.
fn push_unnamed(
    drafts: &mut Drafts,
    groups: &mut Unannotated,
    labels: &Labels,
    found: Found,
    place: Place,
    categories: &mut Categories,
) -> Result<(), SourceError> {
    let by_folder = match labels {
        Labels::Split => {
            drafts.ignore(match place.side {
                Side::Images => "(not in 1cls.csv)",
                Side::Masks => UNUSED_MASK,
            });
            return Ok(());
        }
        Labels::Annotated(folders) => !folders.contains(&place.category),
    };
    match (place.side, place.part.as_str()) {
        (Side::Images, "Anomaly") if by_folder => {
            groups.entry(place.category).or_default().add_picture(&place.inside, found);
        }
        (Side::Masks, "Anomaly") if by_folder => {
            groups.entry(place.category).or_default().add_mask(&place.inside, found.id);
        }
        (Side::Masks, _) => drafts.ignore(UNUSED_MASK),
        (Side::Images, part) => {
            let (label, mask) = match part {
                "Normal" if by_folder => (Some(Label::Normal), MaskSource::AllNormal),
                _ => (None, MaskSource::Unknown),
            };
            let category = categories.of(place.category.as_deref())?;
            drafts.push(found, Known { label, ..Known::of(category) }, Ok(mask));
        }
    }
    Ok(())
}

fn push_groups(
    tree: &Tree,
    input: &Input,
    drafts: &mut Drafts,
    groups: Unannotated,
    categories: &mut Categories,
) -> Result<(), SourceError> {
    for (folder, group) in groups {
        let masks = below(folder.as_deref().unwrap_or_default(), "Data/Masks/Anomaly");
        let paired = group.pair(tree, input, &masks);
        drafts.ignore_many(UNUSED_MASK, paired.n_unused_masks);
        for (found, mask) in paired.pictures {
            let category = categories.of(folder.as_deref())?;
            let known = Known { label: Some(Label::Anomalous), ..Known::of(category) };
            drafts.push(found, known, mask);
        }
    }
    Ok(())
}

fn place(nesting: Nesting, id: &str) -> Option<Place> {
    let (category, path) = nesting.split(id)?;
    let (side, rest) = path.strip_prefix("Data/")?.split_once('/')?;
    let side = match side {
        "Images" => Side::Images,
        "Masks" => Side::Masks,
        _ => return None,
    };
    let (part, inside) = rest.split_once('/').unwrap_or(("", rest));
    Some(Place {
        category: category.map(str::to_owned),
        side,
        part: part.to_owned(),
        inside: inside.to_owned(),
    })
}
