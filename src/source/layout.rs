//! The input folder goes in; which [`Layout`] it has, and why, comes out.
//! Detection looks at folder names only, two levels deep, and prefers a wrong `folder` (pictures
//! without labels) to a wrong `mvtec` or `visa` (pictures that are not scored).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::walk::subfolders;
use super::{mvtec, visa};
use crate::error::{SourceError, ValueError};

/// What the user says about the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LayoutChoice {
    /// Look at the folders and decide.
    #[default]
    Auto,
    /// Any tree of pictures; the first sub-folder is the category; no labels.
    Folder,
    /// `<category>/test/<kind>/*` with masks in `<category>/ground_truth/<kind>/`.
    Mvtec,
    /// `<category>/Data/Images/*` with `image_anno.csv`, or the test rows of `split_csv/1cls.csv`.
    Visa,
}

impl FromStr for LayoutChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        <Self as ValueEnum>::from_str(text, false)
            .map_err(|_| ValueError::new("one of auto, folder, mvtec, visa"))
    }
}

impl<'de> Deserialize<'de> for LayoutChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for LayoutChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LayoutChoice::Auto => "auto",
            LayoutChoice::Folder => "folder",
            LayoutChoice::Mvtec => "mvtec",
            LayoutChoice::Visa => "visa",
        })
    }
}

/// How an input is laid out, as chosen or as detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Folder,
    Mvtec,
    Visa,
}

impl Layout {
    /// The text form: `folder`, `mvtec` or `visa`.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Folder => "folder",
            Layout::Mvtec => "mvtec",
            Layout::Visa => "visa",
        }
    }

    /// What pictures the layout expects, for the message when there are none.
    pub(super) fn looked_for(self) -> &'static str {
        match self {
            Layout::Folder => "png, jpg, jpeg, bmp, tif, tiff and webp files in any folder",
            Layout::Mvtec => "pictures in <category>/test/<kind>/ (layout mvtec)",
            Layout::Visa => "pictures in <category>/Data/Images/ or in split_csv/1cls.csv (visa)",
        }
    }
}

/// Whether the input is one category, or a folder of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nesting {
    OneCategory,
    ManyCategories,
}

impl Nesting {
    /// One category if `marker` (such as `test`) lies directly in the input.
    pub(super) fn of(root: &Path, marker: &str) -> Self {
        if root.join(marker).is_dir() { Nesting::OneCategory } else { Nesting::ManyCategories }
    }

    /// Splits an image id into the category's folder, if it has one, and the path inside it.
    pub(super) fn split(self, id: &str) -> Option<(Option<&str>, &str)> {
        match self {
            Nesting::OneCategory => Some((None, id)),
            Nesting::ManyCategories => {
                id.split_once('/').map(|(category, inside)| (Some(category), inside))
            }
        }
    }
}

/// The layout of `root`, with one line that says why.
pub(super) fn decide(root: &Path, choice: LayoutChoice) -> Result<(Layout, String), SourceError> {
    let layout = match choice {
        LayoutChoice::Auto => return detect(root),
        LayoutChoice::Folder => Layout::Folder,
        LayoutChoice::Mvtec => Layout::Mvtec,
        LayoutChoice::Visa => Layout::Visa,
    };
    Ok((layout, format!("layout {choice}: chosen by --layout")))
}

fn detect(root: &Path) -> Result<(Layout, String), SourceError> {
    let folders = subfolders(root)?;
    if let Some(found) = marked(root, &folders, mvtec::looks_like_a_category) {
        return Ok((Layout::Mvtec, format!("layout mvtec: {found} test/<kind>")));
    }
    if let Some(csv) = visa::split_csv(root) {
        let name = csv.strip_prefix(root).unwrap_or(&csv).display().to_string();
        return Ok((Layout::Visa, format!("layout visa: found {name}")));
    }
    if let Some(found) = marked(root, &folders, visa::looks_like_a_category) {
        return Ok((Layout::Visa, format!("layout visa: {found} Data/Images")));
    }
    let why = "layout folder: neither <category>/test/<kind> nor <category>/Data/Images found";
    Ok((Layout::Folder, why.to_owned()))
}

/// Which folders pass `is_category`: the root itself, or how many of its sub-folders.
fn marked(root: &Path, folders: &[PathBuf], is_category: impl Fn(&Path) -> bool) -> Option<String> {
    if is_category(root) {
        return Some("the input is one category with".to_owned());
    }
    let n_categories = folders.iter().filter(|folder| is_category(folder)).count();
    let found = format!("{n_categories} of {} sub-folders have", folders.len());
    (n_categories > 0).then_some(found)
}
