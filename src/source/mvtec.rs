//! The layout `mvtec`: `<category>/test/<kind>/*` with masks in `<category>/ground_truth/<kind>/`,
//! or one category by itself. Kind `good` is normal, all others are anomalous. VisA converted to
//! this layout has masks without `_mask` in their names. `train/` is counted and not listed.

use std::collections::BTreeMap;

use super::category::Categories;
use super::input::Input;
use super::layout::{Nesting, Split, below};
use super::listing::{Drafts, Known};
use super::masks::Group;
use super::tree::{Found, Tree};
use super::{Category, Label, MaskSource};
use crate::error::SourceError;

/// The kind of the pictures that show nothing wrong.
const GOOD: &str = "good";

/// Where a picture file lies.
enum Place {
    Test(InCategory),
    Mask(InCategory),
    Train(InCategory),
    Elsewhere,
}

/// A path below `test/` or `ground_truth/` of a category.
struct InCategory {
    category: Option<String>,
    /// `None` for a file directly in `test/`.
    kind: Option<String>,
    /// The rest of the path.
    inside: String,
}

/// The folder of a category (`None`: the input itself) and the kind of its pictures.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    category: Option<String>,
    kind: String,
}

/// True if `folder` has `test/<kind>/` and one more sign of this layout: a plain archive may have
/// a folder named `test`, too.
pub(super) fn looks_like_a_category(tree: &Tree, folder: &str) -> bool {
    let has_kinds = !tree.subfolders(&below(folder, "test")).is_empty();
    let signs = ["test/good", "train/good", "ground_truth"];
    has_kinds && signs.iter().any(|sign| tree.has_folder(&below(folder, sign)))
}

/// Lists the test images of `tree`, or those of `train/good`.
pub(super) fn list(
    tree: &mut Tree,
    input: &Input,
    categories: &mut Categories,
    split: Split,
) -> Result<Drafts, SourceError> {
    let nesting = Nesting::of(tree, "test");
    let mut drafts = Drafts::default();
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for found in tree.take_files() {
        if !found.is_picture() {
            drafts.ignore(&found.extension());
            continue;
        }
        match (split, place(nesting, &found.id)) {
            (Split::Train, Place::Train(InCategory { category, kind, .. }))
                if kind.as_deref() == Some(GOOD) =>
            {
                let category = categories.of(category.as_deref())?;
                push_without_mask(&mut drafts, found, category, kind);
            }
            (Split::Train, _) => drafts.ignore("(not train/good)"),
            (Split::Test, place) => match place {
                Place::Train(_) => drafts.ignore("(train)"),
                Place::Elsewhere => drafts.ignore("(outside test)"),
                Place::Mask(InCategory { kind: None, .. }) => drafts.ignore("(unused mask)"),
                Place::Mask(InCategory { category, kind: Some(kind), inside }) => {
                    let group = groups.entry(GroupKey { category, kind }).or_default();
                    group.add_mask(&inside, found.id);
                }
                Place::Test(InCategory { category, kind, inside }) => match kind {
                    Some(kind) if kind != GOOD => {
                        let group = groups.entry(GroupKey { category, kind }).or_default();
                        group.add_picture(&inside, found);
                    }
                    kind => {
                        let category = categories.of(category.as_deref())?;
                        push_without_mask(&mut drafts, found, category, kind);
                    }
                },
            },
        }
    }
    for (key, group) in groups {
        push_group(tree, input, &mut drafts, key, group, categories)?;
    }
    Ok(drafts)
}

/// A good picture, whose mask is empty, or one of no kind, of which nothing is known.
fn push_without_mask(drafts: &mut Drafts, found: Found, category: Category, kind: Option<String>) {
    let (label, mask) = match kind {
        Some(_) => (Some(Label::Normal), MaskSource::AllNormal),
        None => (None, MaskSource::Unknown),
    };
    let kind = kind.map(Into::into);
    drafts.push(found, Known { category, label, kind }, Ok(mask));
}

fn push_group(
    tree: &Tree,
    input: &Input,
    drafts: &mut Drafts,
    key: GroupKey,
    group: Group,
    categories: &mut Categories,
) -> Result<(), SourceError> {
    let masks = format!("ground_truth/{}", key.kind);
    let masks = below(key.category.as_deref().unwrap_or_default(), &masks);
    let paired = group.pair(tree, input, &masks);
    for (found, mask) in paired.pictures {
        let category = categories.of(key.category.as_deref())?;
        let known =
            Known { category, label: Some(Label::Anomalous), kind: Some(key.kind.as_str().into()) };
        drafts.push(found, known, mask);
    }
    drafts.ignore_many("(unused mask)", paired.n_unused_masks);
    Ok(())
}

fn place(nesting: Nesting, id: &str) -> Place {
    let Some((category, path)) = nesting.split(id) else { return Place::Elsewhere };
    let Some((part, rest)) = path.split_once('/') else { return Place::Elsewhere };
    let (kind, inside) = match rest.split_once('/') {
        Some((kind, inside)) => (Some(kind.to_owned()), inside),
        None => (None, rest),
    };
    let here =
        InCategory { category: category.map(str::to_owned), kind, inside: inside.to_owned() };
    match part {
        "test" => Place::Test(here),
        "ground_truth" => Place::Mask(here),
        "train" => Place::Train(here),
        _ => Place::Elsewhere,
    }
}
