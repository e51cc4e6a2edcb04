//! The images of one kind and the mask files of the same kind go in; each image with its mask, or with
//! the reason why it has none, comes out. All layouts that have masks pair by file stem, whatever the
//! Unicode form of the names: a Mac writes `ä` as two characters. Masks of one image that are several
//! files lie in a folder of its name. Never here: opening a mask.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::MaskSource;
use super::input::Input;
use super::tree::{Found, Tree};
use crate::error::{Failure, FailureCode, Stage};

/// Images with one label and the masks that may belong to them.
#[derive(Default)]
pub(super) struct Group {
    pictures: Vec<(String, Found)>,
    masks: HashMap<String, Vec<Box<str>>>,
    /// Mask files by the folder that they are in.
    parts: HashMap<String, Vec<Box<str>>>,
}

/// What became of a group.
pub(super) struct Paired {
    pub pictures: Vec<(Found, Result<MaskSource, Failure>)>,
    /// Mask files that belong to no image, or to one that is rejected.
    pub n_unused_masks: usize,
}

/// What the names of the masks say about one image.
enum Claim {
    One(Box<str>),
    /// All files of a folder, sorted: together they are the mask.
    Parts(Vec<Box<str>>),
    Several(usize),
    Nothing,
}

impl Group {
    /// `inside` is the path of the image below the folder of its kind.
    pub(super) fn add_picture(&mut self, inside: &str, found: Found) {
        self.pictures.push((composed(stem(inside)), found));
    }

    /// `inside` is the path of the mask below the mask folder of its kind.
    pub(super) fn add_mask(&mut self, inside: &str, id: Box<str>) {
        // A folder of masks is named like its image; so may be a folder of images with masks.
        if let Some((folder, _)) = inside.rsplit_once('/') {
            self.parts.entry(composed(folder)).or_default().push(id.clone());
        }
        self.masks.entry(composed(stem(inside))).or_default().push(id);
    }

    /// Gives each image its mask. If there is no `mask_folder`, the masks are unknown; if there
    /// is one, an image without a mask is a mistake in the data.
    pub(super) fn pair(self, tree: &Tree, input: &Input, mask_folder: &str) -> Paired {
        let n_masks: usize = self.masks.values().map(Vec::len).sum();
        if !tree.has_folder(mask_folder) {
            let unknown = |(_, found)| (found, Ok(MaskSource::Unknown));
            let pictures = self.pictures.into_iter().map(unknown).collect();
            return Paired { pictures, n_unused_masks: n_masks };
        }
        let claims: Vec<Claim> = self.pictures.iter().map(|(stem, _)| self.claim(stem)).collect();
        let rivals = count_rivals(&self.pictures, &claims);
        let mut n_used = 0;
        let mut pictures = Vec::with_capacity(claims.len());
        for ((stem, found), claim) in self.pictures.into_iter().zip(claims) {
            let n_rivals = rivals[&rival_key(&stem, &claim)];
            let mask = match claim {
                _ if n_rivals > 1 => Err(duplicate(format!(
                    "{n_rivals} images called {stem}: rename, masks pair by name"
                ))),
                Claim::One(mask) => Ok(vec![mask]),
                Claim::Parts(masks) => Ok(masks),
                Claim::Several(n_files) => Err(duplicate(format!(
                    "{n_files} masks called {stem}: keep one, masks pair by name"
                ))),
                Claim::Nothing => Err(Failure::new(
                    Stage::List,
                    FailureCode::MaskMissing,
                    format!(
                        "no {stem}_mask.* or {stem}.* in {}: add it",
                        input.display(mask_folder)
                    ),
                )),
            };
            let used = mask.as_ref().ok().filter(|_| found.trouble.is_none());
            n_used += used.map_or(0, Vec::len);
            pictures.push((found, mask.map(|files| MaskSource::Files(files.into()))));
        }
        Paired { pictures, n_unused_masks: n_masks - n_used }
    }

    /// The mask of the image `stem`: `<stem>_mask` of the published MVTec AD before plain `<stem>`,
    /// and a file before a folder of files.
    fn claim(&self, stem: &str) -> Claim {
        let files = self.masks.get(&format!("{stem}_mask")).or_else(|| self.masks.get(stem));
        match files.map(Vec::as_slice) {
            Some([mask]) => return Claim::One(mask.clone()),
            Some(files @ [_, ..]) => return Claim::Several(files.len()),
            None | Some([]) => {}
        }
        let parts = self.parts.get(stem).or_else(|| self.parts.get(&format!("{stem}_mask")));
        match parts {
            Some(parts) => {
                let mut parts = parts.clone();
                parts.sort_unstable();
                Claim::Parts(parts)
            }
            None => Claim::Nothing,
        }
    }
}

/// Images are rivals if they claim one mask, or, without a single mask, if they share a stem.
fn rival_key(stem: &str, claim: &Claim) -> Box<str> {
    match claim {
        Claim::One(mask) => mask.clone(),
        Claim::Parts(masks) => masks.first().cloned().unwrap_or_default(),
        Claim::Several(_) | Claim::Nothing => stem.into(),
    }
}

fn count_rivals(pictures: &[(String, Found)], claims: &[Claim]) -> HashMap<Box<str>, usize> {
    let mut rivals = HashMap::new();
    for ((stem, _), claim) in pictures.iter().zip(claims) {
        *rivals.entry(rival_key(stem, claim)).or_default() += 1;
    }
    rivals
}

fn duplicate(message: String) -> Failure {
    Failure::new(Stage::List, FailureCode::DuplicateName, message)
}

/// The path without its extension.
fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

/// The name in composed form, which two files that look alike share.
fn composed(name: &str) -> String {
    name.nfc().collect()
}
