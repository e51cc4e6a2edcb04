//! Which files of a tar belong together, by their names alone. Paths of images and stems of sidecars
//! go in; for each image the sidecars and the mask that are its own come out.
//!
//! The rule is WebDataset's, key up to the first dot, made finer where keys have dots themselves: an
//! image takes the sidecars of the longest stem that it shares. `cam1.2024-01-01.png` takes
//! `cam1.2024-01-01.cls` before `cam1.cls`, and both `0001.left.png` and `0001.right.png` take
//! `0001.cls`. Suffixes count in any case.

use super::tree::{hidden_reason, is_picture};
use crate::error::{Failure, FailureCode, Stage};

/// What a suffix before the extension, or the end of a name, says of an image file: a mask.
const MASK_WORDS: [&str; 7] =
    ["mask", "masks", "seg", "segmentation", "gt", "groundtruth", "ground_truth"];

/// What a file in a tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Image,
    Mask,
    Class,
    Json,
}

/// The parts of a path.
pub(super) struct Split<'a> {
    /// The path without its extension, and without the word that makes it a mask.
    pub stem: &'a str,
    is_mask: bool,
    /// In lower case.
    extension: String,
}

/// Takes a path apart.
pub(super) fn split(path: &str) -> Split<'_> {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[start..].rfind('.').filter(|dot| *dot > 0).map(|dot| start + dot);
    let Some(dot) = dot else {
        return Split { stem: path, is_mask: false, extension: String::new() };
    };
    let (stem, extension) = (&path[..dot], path[dot + 1..].to_lowercase());
    let before = stem[start..].rfind('.').filter(|dot| *dot > 0).map(|dot| start + dot);
    let is_word = |at: &usize| MASK_WORDS.contains(&stem[at + 1..].to_lowercase().as_str());
    match before.filter(is_word) {
        Some(before) => Split { stem: &path[..before], is_mask: true, extension },
        None => Split { stem, is_mask: false, extension },
    }
}

impl Part {
    /// By the name; or under which reason it is counted as left out.
    pub fn of(path: &str) -> Result<Self, String> {
        if let Some(reason) = path.split('/').filter(|part| *part != "..").find_map(hidden_reason) {
            return Err(reason.to_owned());
        }
        let Split { is_mask, extension, .. } = split(path);
        match extension.as_str() {
            "cls" => Ok(Part::Class),
            "json" => Ok(Part::Json),
            _ if is_picture(path) && is_mask => Ok(Part::Mask),
            _ if is_picture(path) => Ok(Part::Image),
            "" => Err("(no extension)".to_owned()),
            _ => Err(extension),
        }
    }
}

/// The stem of a path, then what is before each dot of its name, the longest first.
pub(super) fn candidates(path: &str) -> impl Iterator<Item = &str> {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let mut end = path.len();
    std::iter::from_fn(move || {
        end = start + path[start..end].rfind('.').filter(|dot| *dot > 0)?;
        Some(&path[..end])
    })
}

/// The stem of the image that this would be the mask of, if there is such an image: `0_mask.png` is
/// named after `0`.
pub(super) fn masked(path: &str) -> Option<&str> {
    let stem = split(path).stem;
    let (image, word) = stem.rsplit_once(['_', '-'])?;
    let named = !image.is_empty() && !image.ends_with('/');
    (named && MASK_WORDS.contains(&word.to_lowercase().as_str())).then_some(image)
}

/// The path of a member as text, and what is wrong with it.
pub(super) fn checked_name(path: &[u8]) -> (String, Option<Failure>) {
    let trouble = |code, what: &str| Some(Failure::new(Stage::Fetch, code, what));
    let Ok(text) = std::str::from_utf8(path) else {
        let why = "the name in the tar is not UTF-8: rename it";
        let name = String::from_utf8_lossy(path).into_owned();
        return (name, trouble(FailureCode::NonUtf8Name, why));
    };
    let text = text.trim_start_matches("./");
    let leads_out = text.starts_with('/') || text.split('/').any(|part| part == "..");
    let why = "the name in the tar leads out of it: rename it";
    let failure = leads_out.then(|| trouble(FailureCode::CorruptArchive, why)).flatten();
    (text.to_owned(), failure)
}

/// The path that a link names: a symbolic link is relative to its own folder, a hard link is not.
pub(super) fn linked(link: &str, target: &str, is_symbolic: bool) -> String {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let base = if is_symbolic { folder } else { "" };
    let mut parts = base.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_counts_in_any_case_and_the_word_before_it_makes_a_mask() {
        let part = |path| Part::of(path).ok();
        for path in ["a/0.png", "0.JPG", "cam1.2024-01-02.Png", "v1.0/0.jpeg", "masks/0.png"] {
            assert_eq!(part(path), Some(Part::Image), "{path}");
        }
        for path in ["0.mask.png", "0.Mask.PNG", "a.b/0.seg.png", "0.x.GT.tif"] {
            assert_eq!(part(path), Some(Part::Mask), "{path}");
        }
        assert_eq!((part("0.CLS"), part("0.a.Json")), (Some(Part::Class), Some(Part::Json)));
        for path in
            ["._0.png", "a/._0.cls", "__MACOSX/0.png", ".0.png", "0", "0.txt", "@eaDir/0.png"]
        {
            assert_eq!(part(path), None, "{path}");
        }
        assert_eq!(split("a.b/0.x.Mask.PNG").stem, "a.b/0.x");
    }

    #[test]
    fn the_stems_of_an_image_go_from_its_name_to_the_first_dot() {
        let of = |path| candidates(path).collect::<Vec<_>>();
        assert_eq!(of("v1.0/cam1.2.png"), ["v1.0/cam1.2", "v1.0/cam1"]);
        assert_eq!(of(".a/.b.png"), [".a/.b"]);
        assert_eq!((of("a"), of(".png")), (vec![], vec![]));
    }

    #[test]
    fn a_name_that_ends_in_mask_is_that_of_a_mask_if_its_image_is_there() {
        assert_eq!(masked("a/0_mask.png"), Some("a/0"));
        assert_eq!(masked("a/0-SEG.png"), Some("a/0"));
        assert_eq!(
            (masked("a/mask.png"), masked("a/_mask.png"), masked("a/unmask.png")),
            (None, None, None)
        );
    }

    #[test]
    fn a_symbolic_link_is_relative_to_its_folder() {
        assert_eq!(linked("a/b/1.png", "../2.png", true), "a/2.png");
        assert_eq!(linked("a/b/1.png", "./a/2.png", false), "a/2.png");
        assert_eq!(linked("1.png", "../../2.png", true), "2.png");
    }
}
