//! The layouts of MVTec's family: test images in `<category>/test/<kind>/`, masks beside them. One
//! table says where each set has them: MVTec AD, AD 2, LOCO, 3D, BTAD, and VisA converted to this
//! form. What a kind means, `label` decides: `good` and `ok` are normal, others are defect types.
//! What is not a test image is counted and not listed.

use std::collections::BTreeMap;

use super::category::Categories;
use super::drafts::{Drafts, Known};
use super::input::Input;
use super::label::{Label, LabelValue};
use super::layout::{Nesting, Split, below};
use super::masks::Group;
use super::tree::{Found, Tree};
use super::{Category, MaskSource};
use crate::error::SourceError;

/// Where a set of the family has its files, `<kind>` being a defect type.
struct Member {
    /// Folder whose sub-folders are the kinds.
    test: &'static str,
    /// Folder in a kind's folder that has the images, where it is not that folder itself.
    images: Option<&'static str>,
    masks: Masks,
}

/// Where the masks are.
#[derive(Clone, Copy)]
enum Masks {
    /// In `<folder>/<kind>/`: a file per image, or a folder of files per image.
    Beside(&'static str),
    /// In `<test>/<kind>/<folder>/`.
    Inside(&'static str),
}

/// The sets: the first that has the image has it.
const FAMILY: [Member; 3] = [
    // MVTec 3D-AD, Eyecandies in its form.
    Member { test: "test", images: Some("rgb"), masks: Masks::Inside("gt") },
    // MVTec AD 2.
    Member { test: "test_public", images: None, masks: Masks::Beside("test_public/ground_truth") },
    // MVTec AD, LOCO, BTAD.
    Member { test: "test", images: None, masks: Masks::Beside("ground_truth") },
];

/// Folders of a category with images that are not scored, and the reason they are counted under.
const OTHER_PARTS: [(&str, &str); 5] = [
    ("train", "(train)"),
    ("validation", "(validation)"),
    ("test_private", "(test_private)"),
    ("test_private_mixed", "(test_private_mixed)"),
    ("calib", "(calib)"),
];

/// Names of the folder of masks inside a folder of test images.
const GROUND_TRUTH: &str = "ground_truth";

/// What a file of a category is.
enum Role {
    Image(InKind),
    Mask(InKind),
    Train {
        kind: String,
    },
    /// Counted under this.
    Other(&'static str),
}

/// A file of a kind.
struct InKind {
    /// `None` for a file directly in the folder of kinds.
    kind: Option<String>,
    /// The rest of the path, below the folder of images or of masks.
    inside: String,
    /// The folder that has the masks of this kind, in the category.
    masks: String,
}

/// The folder of a category (`None`: the input itself), the kind, and where its masks are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    category: Option<String>,
    kind: String,
    masks: String,
}

/// True if `folder` has kinds of test images and one more sign of this family: a plain archive may
/// have a folder named `test`, too.
pub(super) fn looks_like_a_category(tree: &Tree, folder: &str) -> bool {
    let at = |inside: &str| below(folder, inside);
    let kinds = |part: &str| tree.subfolders(&at(part));
    let has_normal =
        |part: &str| kinds(part).iter().any(|kind| label_of(kind) == Some(Label::Normal));
    FAMILY.iter().any(|member| {
        let has_kinds = !kinds(member.test).is_empty();
        let has_masks = match member.masks {
            Masks::Beside(masks) => tree.has_folder(&at(masks)),
            Masks::Inside(_) => false,
        };
        has_kinds && (has_masks || has_normal(member.test) || has_normal("train"))
    })
}

/// The folder in a category that makes the input one category by itself.
fn marker(tree: &Tree) -> &'static str {
    let found = FAMILY.iter().find(|member| tree.has_folder(member.test));
    found.map_or("test", |member| member.test)
}

/// Lists the test images of `tree`, or those for training that are normal.
pub(super) fn list(
    tree: &mut Tree,
    input: &Input,
    categories: &mut Categories,
    split: Split,
) -> Result<Drafts, SourceError> {
    let nesting = Nesting::of(tree, marker(tree));
    let mut drafts = Drafts::default();
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for found in tree.take_files() {
        if !found.is_picture() {
            drafts.ignore(&found.extension());
            continue;
        }
        let (category, role) = match nesting.split(&found.id) {
            Some((category, path)) => (category.map(str::to_owned), role(tree, category, path)),
            None => (None, Role::Other("(outside test)")),
        };
        match (split, role) {
            (Split::Train, Role::Train { kind }) if label_of(&kind) == Some(Label::Normal) => {
                let category = categories.of(category.as_deref())?;
                push_without_mask(&mut drafts, found, category, Some(Label::Normal), Some(kind));
            }
            (Split::Train, _) => drafts.ignore("(not train/good)"),
            (Split::Test, Role::Train { .. }) => drafts.ignore("(train)"),
            (Split::Test, Role::Other(reason)) => drafts.ignore(reason),
            (Split::Test, Role::Mask(InKind { kind: None, .. })) => drafts.ignore("(unused mask)"),
            (Split::Test, Role::Mask(InKind { kind: Some(kind), inside, masks })) => {
                let group = groups.entry(GroupKey { category, kind, masks }).or_default();
                group.add_mask(&inside, found.id);
            }
            (Split::Test, Role::Image(InKind { kind, inside, masks })) => {
                match (kind.as_deref().and_then(label_of), kind) {
                    (Some(Label::Anomalous), Some(kind)) => {
                        let group = groups.entry(GroupKey { category, kind, masks }).or_default();
                        group.add_picture(&inside, found);
                    }
                    (label, kind) => {
                        let category = categories.of(category.as_deref())?;
                        push_without_mask(&mut drafts, found, category, label, kind);
                    }
                }
            }
        }
    }
    for (key, group) in groups {
        push_group(tree, input, &mut drafts, key, group, categories)?;
    }
    Ok(drafts)
}

/// What a kind says of its images.
fn label_of(kind: &str) -> Option<Label> {
    LabelValue::of_class(kind).label
}

/// A normal image, whose mask is empty, or one of which nothing is known.
fn push_without_mask(
    drafts: &mut Drafts,
    found: Found,
    category: Category,
    label: Option<Label>,
    kind: Option<String>,
) {
    let mask = match label {
        Some(Label::Normal) => MaskSource::AllNormal,
        _ => MaskSource::Unknown,
    };
    let kind = kind.map(Into::into);
    drafts.push(found, Known { label, kind, ..Known::of(category) }, Ok(mask));
}

fn push_group(
    tree: &Tree,
    input: &Input,
    drafts: &mut Drafts,
    key: GroupKey,
    group: Group,
    categories: &mut Categories,
) -> Result<(), SourceError> {
    let masks = below(key.category.as_deref().unwrap_or_default(), &key.masks);
    let paired = group.pair(tree, input, &masks);
    for (found, mask) in paired.pictures {
        let known = Known {
            label: Some(Label::Anomalous),
            kind: Some(key.kind.as_str().into()),
            ..Known::of(categories.of(key.category.as_deref())?)
        };
        drafts.push(found, known, mask);
    }
    drafts.ignore_many("(unused mask)", paired.n_unused_masks);
    Ok(())
}

/// What the file at `path` of a category is.
fn role(tree: &Tree, category: Option<&str>, path: &str) -> Role {
    for member in &FAMILY {
        if let Masks::Beside(folder) = member.masks
            && let Some(rest) = inside(path, folder)
        {
            return Role::Mask(in_kind(rest, |kind| format!("{folder}/{kind}")));
        }
        let Some(rest) = inside(path, member.test) else { continue };
        let masks = |kind: &str| match member.masks {
            Masks::Beside(folder) => format!("{folder}/{kind}"),
            Masks::Inside(folder) => format!("{}/{kind}/{folder}", member.test),
        };
        let Some(images) = member.images else { return Role::Image(in_kind(rest, masks)) };
        // Only where the kind's folder has one for images.
        let Some((kind, in_folder)) = rest.split_once('/') else { continue };
        let folder =
            below(category.unwrap_or_default(), &format!("{}/{kind}/{images}", member.test));
        if !tree.has_folder(&folder) {
            continue;
        }
        let of_kind = |rest: &str| InKind {
            kind: Some(kind.to_owned()),
            inside: rest.to_owned(),
            masks: masks(kind),
        };
        return match (inside(in_folder, images), member.masks) {
            (Some(rest), _) => Role::Image(of_kind(rest)),
            (None, Masks::Inside(folder)) => match inside(in_folder, folder) {
                Some(rest) => Role::Mask(of_kind(rest)),
                None => Role::Other("(not rgb)"),
            },
            (None, Masks::Beside(_)) => Role::Other("(not rgb)"),
        };
    }
    if let Some(rest) = inside(path, "train") {
        let kind = rest.split_once('/').map_or("", |(kind, rest)| match rest.split_once('/') {
            // A 3D set has more than one image of each scene.
            Some((folder, _)) if folder != "rgb" => "",
            _ => kind,
        });
        return Role::Train { kind: kind.to_owned() };
    }
    let other = OTHER_PARTS.iter().find(|(part, _)| inside(path, part).is_some());
    match other {
        Some((_, reason)) => Role::Other(reason),
        None if inside(path, GROUND_TRUTH).is_some() => Role::Other("(unused mask)"),
        None => Role::Other("(outside test)"),
    }
}

fn in_kind(rest: &str, masks: impl Fn(&str) -> String) -> InKind {
    match rest.split_once('/') {
        Some((kind, inside)) => {
            InKind { kind: Some(kind.to_owned()), inside: inside.to_owned(), masks: masks(kind) }
        }
        None => InKind { kind: None, inside: rest.to_owned(), masks: String::new() },
    }
}

/// What follows the folder in the path.
fn inside<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))
}
