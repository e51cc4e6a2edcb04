//! Names of exported files. In: the category of an image and its id, which may hold anything. Out: a path
//! below the folder of the export, `<category>/<image id>.png` (the category once), that is one on every disk and in every
//! bucket, and is that of no other image of the set. The same image has the same name in every export of
//! the set, however few of its images are exported.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;

/// What stands before the digest that tells two images apart; escaped wherever it is part of a name.
const MARK: char = '~';

/// What an exported file ends in.
const ENDING: &str = ".png";

/// Endings of images, which give way to [`ENDING`].
const IMAGE_ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "jpe"];

/// Longest part of a path, in bytes. Disks allow 255.
const MOST_OF_PART: usize = 200;

/// Longest path, in bytes. Buckets allow 1024, the prefix of the export among them.
const MOST_OF_PATH: usize = 600;

/// Names of devices on Windows, whatever their ending.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// An image, as it is told apart from all others of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageName<'a> {
    /// Where its run has its images from.
    pub place: &'a str,
    pub category: &'a str,
    pub image_id: &'a str,
}

/// Which names of a set are those of several images. Holds a digest of 8 bytes of each image.
#[derive(Debug, Default)]
pub struct FileNames {
    seen: HashSet<u64>,
    /// A name that is here by chance, as two digests are alike, only becomes longer.
    several: HashSet<u64>,
}

impl FileNames {
    /// Takes an image of the set in.
    pub fn add(&mut self, image: ImageName) {
        let key = folded(&plain(image));
        if !self.seen.insert(key) {
            self.several.insert(key);
        }
    }

    /// The path of the file of an image of the set, relative to the folder of the export.
    pub fn of(&self, image: ImageName) -> String {
        let plain = plain(image);
        match self.several.contains(&folded(&plain)) || plain.len() > MOST_OF_PATH {
            false => plain,
            true => told_apart(&plain, image),
        }
    }
}

/// What a disk that knows no case and writes accents its own way takes for the same name.
fn folded(name: &str) -> u64 {
    short_digest(&name.nfkd().flat_map(char::to_lowercase).nfkd().collect::<String>())
}

/// Eight bytes by which a name is known where very many are held.
pub(super) fn short_digest(name: &str) -> u64 {
    let digest = blake3::hash(name.as_bytes());
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

/// `name` with a digest of the image before its ending.
fn told_apart(name: &str, image: ImageName) -> String {
    let ImageName { place, category, image_id } = image;
    let digest = blake3::hash(format!("{place}\0{category}\0{image_id}").as_bytes()).to_hex();
    let stem = name.strip_suffix(ENDING).unwrap_or(name);
    // Of a path that is too long its folders go.
    let stem = match stem.len() > MOST_OF_PATH {
        true => stem.split('/').next().unwrap_or_default().to_string() + "/",
        false => stem.to_string(),
    };
    format!("{stem}{MARK}{}{ENDING}", &digest[..16])
}

/// The name of an image that no other shares.
fn plain(image: ImageName) -> String {
    let mut parts = image.image_id.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
    // Most inputs have a folder per category, which is said once.
    if parts.len() > 1 && parts[0] == image.category {
        parts.remove(0);
    }
    let (last, folders) = parts.split_last().map_or(("", &[][..]), |(last, rest)| (*last, rest));
    let stem = match last.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && is_image(ending) => stem,
        _ => last,
    };
    let mut name = folder(image.category);
    for part in folders {
        name.push('/');
        name.push_str(&folder(part));
    }
    format!("{name}/{}{ENDING}", shortened(escaped(stem)))
}

fn is_image(ending: &str) -> bool {
    IMAGE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// A part of a path that is a folder: never called as a file may be, nor as what the program keeps for
/// itself.
fn folder(part: &str) -> String {
    let mut name = shortened(escaped(part));
    let ending = name.len().checked_sub(ENDING.len()).filter(|at| name.is_char_boundary(*at));
    if let Some(at) = ending.filter(|at| name[*at..].eq_ignore_ascii_case(ENDING)) {
        name.replace_range(at..at + 1, "%2E");
    }
    if name.to_lowercase().starts_with("_filo") {
        name.replace_range(..1, "%5F");
    }
    name
}

/// A part of a path without what means something to a disk, a bucket or a shell of some system.
fn escaped(part: &str) -> String {
    let last = part.char_indices().next_back().map_or(0, |(at, _)| at);
    let is_dots = part.chars().all(|c| c == '.');
    let mut out = String::with_capacity(part.len());
    for (at, c) in part.char_indices() {
        let at_end = at == 0 || at == last;
        let means = c.is_control()
            || "<>:\"|?*\\/%#".contains(c)
            || c == MARK
            || (c.is_whitespace() && (at_end || c != ' '))
            || (c == '.' && (is_dots || at == last))
            || is_invisible(c);
        match means {
            false => out.push(c),
            true => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    if out.is_empty() {
        return "%".to_string();
    }
    let stem = out.split('.').next().unwrap_or_default().trim_end();
    let word = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    if DEVICES.iter().any(|device| word.eq_ignore_ascii_case(device)) {
        let first = format!("%{:02X}", out.as_bytes()[0]);
        out.replace_range(..1, &first);
    }
    out
}

/// Whether a sign turns a text round or is not seen, so that a name looks like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A part of a path that is not too long: what is left out counts by its digest.
fn shortened(part: String) -> String {
    if part.len() <= MOST_OF_PART {
        return part;
    }
    let end = (0..=MOST_OF_PART - 20).rev().find(|at| part.is_char_boundary(*at)).unwrap_or(0);
    let digest = blake3::hash(part.as_bytes()).to_hex();
    format!("{}{MARK}{}", &part[..end], &digest[..16])
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn image<'a>(category: &'a str, image_id: &'a str) -> ImageName<'a> {
        ImageName { place: "in", category, image_id }
    }

    fn alone(category: &str, image_id: &str) -> String {
        FileNames::default().of(image(category, image_id))
    }

    #[test]
    fn usual_names_stay_what_they_are() {
        assert_eq!(alone("nut", "nut/test/good/IMG_0001.JPG"), "nut/test/good/IMG_0001.png");
        assert_eq!(alone("nut", "line/nut/1.png"), "nut/line/nut/1.png");
        assert_eq!(alone("nut", "nut"), "nut/nut.png");
        assert_eq!(alone("größe 1", "a b/ü.v2.png"), "größe 1/a b/ü.v2.png");
        assert_eq!(alone("nut", "line.tar/0001.tiff"), "nut/line.tar/0001.png");
        assert_eq!(alone("nut", "no-ending"), "nut/no-ending.png");
        assert_eq!(alone("nut", ".png"), "nut/.png.png");
    }

    #[test]
    fn what_means_something_is_escaped() {
        for (id, name) in [
            ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd.png"),
            ("/etc/./shadow.png", "etc/%2E/shadow.png"),
            (r"C:\x\..\y.png", "C%3A%5Cx%5C..%5Cy.png"),
            ("s3://bucket/a.png", "s3%3A/bucket/a.png"),
            ("a\0b\n\u{85}.png", "a%00b%0A%C2%85.png"),
            ("a#1.png", "a%231.png"),
            ("50%~.png", "50%25%7E.png"),
            ("nul", "%6Eul.png"),
            ("COM1.x/b.png", "%43OM1.x/b.png"),
            ("x. / y/z .png", "x.%20/%20y/z%20.png"),
            ("a.PNG/b.png", "a%2EPNG/b.png"),
            ("\u{202e}gnp.a", "%E2%80%AEgnp.a.png"),
            ("", "%.png"),
        ] {
            assert_eq!(alone("c", id), format!("c/{name}"), "{id:?}");
        }
        assert_eq!(alone("_Filo", "a.png"), "%5FFilo/a.png");
        assert_eq!(alone("..", "a.png"), "%2E%2E/a.png");
    }

    #[test]
    fn images_that_share_a_name_are_told_apart_in_any_order() {
        let ids = ["a.jpg", "c/a.png", "A.PNG", "b.png", "u\u{308}.png", "ü.png"];
        let names = |ids: &[&str]| {
            let mut names = FileNames::default();
            ids.iter().for_each(|id| names.add(image("c", id)));
            let mut named = ids.iter().map(|id| (*id, names.of(image("c", id))));
            let mut named = named.by_ref().collect::<Vec<_>>();
            named.sort();
            named.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        let found = names(&ids);
        let mut reversed = ids;
        reversed.reverse();
        assert_eq!(found, names(&reversed));
        assert_eq!(found.iter().filter(|name| name.contains(MARK)).count(), 5);
        assert!(found.contains(&"c/b.png".to_string()), "{found:?}");
        assert!(found.iter().all(|name| name.len() < 30), "{found:?}");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("ü".repeat(300) + "a.png", "ü".repeat(300) + "b.png");
        let (a, b) = (alone("c", &a), alone("c", &b));
        assert!(a != b && a.len() < 230 && b.len() < 230, "{a} {b}");
        let deep = |last: &str| "folder/".repeat(500) + last;
        let (a, b) = (alone("c", &deep("a.png")), alone("c", &deep("b.png")));
        assert!(a != b && a.len() < 40 && a.starts_with("c/~"), "{a} {b}");
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_folder(category in "\\PC{1,20}|[./~%_filo]{1,8}", id in any::<String>()) {
            let name = alone(&category, &id);
            check(&name);
        }

        #[test]
        fn no_hostile_name_leaves_its_folder(
            parts in prop::collection::vec("\\.{0,3}|[/\\\\]{0,2}|[A-Za-z]:|~|%2e|\0|CON|_filo|a\\.png", 0..12),
        ) {
            let id = parts.concat();
            let name = alone(&id, &id);
            check(&name);
        }

        #[test]
        fn no_two_images_share_a_name(
            ids in prop::collection::hash_set("[aA]{0,2}(\\.(png|jpg|PNG|gif))?(/[aA.~ ]{0,2}){0,2}(\\.png)?", 1..30),
        ) {
            let mut names = FileNames::default();
            ids.iter().for_each(|id| names.add(image("c", id)));
            let found = ids.iter().map(|id| names.of(image("c", id)).to_lowercase());
            let found = found.collect::<HashSet<_>>();
            prop_assert_eq!(found.len(), ids.len());
            // None is the folder of another.
            for name in &found {
                let below = format!("{name}/");
                prop_assert!(!found.iter().any(|other| other.starts_with(&below)));
            }
        }
    }

    fn check(name: &str) {
        let path = Path::new(name);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{name}");
        assert!(path.components().count() >= 2 && name.ends_with(ENDING), "{name}");
        assert!(!name.starts_with('/') && !name.contains(['\\', ':', '\0', '#']), "{name}");
        assert!(name.split('/').all(|part| !part.is_empty() && part.len() < 256), "{name}");
        assert!(!name.to_lowercase().starts_with("_filo"), "{name}");
        assert_eq!(object_store::path::Path::parse(name).unwrap().as_ref(), name);
    }
}
