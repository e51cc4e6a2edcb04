//! What is in a tar: where its images and masks lie, and what its sidecars say. In: a tar, of which
//! headers and sidecars are read and the rest is skipped. Out: an [`Index`], as far as the tar is whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, Read, Seek};
use std::sync::OnceLock;

use bytes::Bytes;

use super::Ignored;
use super::member::Known;
use super::open_file::OpenFile;
use super::tar_names::{Part, candidates, checked_name, linked, masked, split};
use crate::error::{Failure, FailureCode, Stage};

/// More than the label of an image takes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What is in a tar.
#[derive(Default)]
pub(super) struct Index {
    /// In the order of the tar.
    pub images: Vec<Stored>,
    /// By the stem that their images have.
    pub masks: BTreeMap<String, Stored>,
    /// What sidecars say, by stem.
    pub known: BTreeMap<String, Known>,
    pub ignored: Ignored,
    /// Why the rest of the tar cannot be read.
    pub broken: Option<Failure>,
}

/// Links of a tar, which lead to files before or behind them.
#[derive(Default)]
struct Links {
    /// Index of an image, and what it names.
    images: Vec<(usize, String)>,
    /// By what they name: masks and sidecars with their own paths.
    sidecars: BTreeMap<String, Vec<(Part, String)>>,
}

/// Where a file of the tar lies.
pub(super) struct Stored {
    pub path: String,
    start: u64,
    size: u64,
    /// Why it cannot be used.
    failure: Option<Failure>,
}

impl Stored {
    pub fn read(&self, tar: &OpenFile, max_bytes: u64) -> Result<Bytes, Failure> {
        let Stored { path, start, size, failure } = self;
        if let Some(failure) = failure {
            return Err(failure.clone());
        }
        if *size > max_bytes {
            let what =
                format!("{path} has {size} bytes, more than {max_bytes}: cut it into smaller ones");
            return Err(Failure::new(Stage::Fetch, FailureCode::TooLarge, what));
        }
        match start.checked_add(*size).filter(|end| *end <= tar.size()) {
            // Not a part of a piece, which would be held for as long as the image.
            Some(end) => Ok(Bytes::copy_from_slice(&tar.read_ahead(*start..end)?)),
            None => Err(corrupt(format!("{path} is cut off: write the tar again"))),
        }
    }
}

fn corrupt(what: String) -> Failure {
    Failure::new(Stage::Fetch, FailureCode::CorruptArchive, what)
}

/// The headers and files of a tar from its beginning; what goes wrong with the file is `noted`.
fn archive<'a>(tar: &'a OpenFile, noted: &'a OnceLock<Failure>) -> tar::Archive<impl Read + Seek> {
    let mut archive = tar::Archive::new(BufReader::new(tar.seekable(noted)));
    // Tars may be written one behind the other.
    archive.set_ignore_zeros(true);
    archive
}

impl Index {
    /// What `tar` has; values of the keys of `keep` are kept.
    pub fn of(tar: &OpenFile, keep: &[String]) -> Self {
        let mut index = Index::default();
        if let Some(failure) = no_tar(tar) {
            index.broken = Some(failure);
            return index;
        }
        let noted = OnceLock::new();
        let end = match index.fill(tar, keep, &noted) {
            Ok(end) => end,
            Err(error) => {
                // Bytes of the file are in the message, lines of text among them.
                let why = error.to_string();
                let words = why.split(|c: char| c.is_whitespace() || c.is_control());
                let words = words.filter(|word| !word.is_empty()).take(12);
                let why = words.collect::<Vec<_>>().join(" ");
                let what = match index.images.is_empty() && index.known.is_empty() {
                    true => format!("is no tar ({why}): pack its files in one"),
                    false => format!("the tar is broken or cut off ({why}): write it again"),
                };
                index.broken = Some(noted.get().cloned().unwrap_or_else(|| corrupt(what)));
                return index;
            }
        };
        if end > tar.size() {
            index.broken = Some(corrupt("the tar is cut off: write it again".to_owned()));
        }
        index
    }

    /// Reads all headers; returns where the last member ends.
    fn fill(
        &mut self,
        tar: &OpenFile,
        keep: &[String],
        noted: &OnceLock<Failure>,
    ) -> std::io::Result<u64> {
        let mut archive = archive(tar, noted);
        let mut links = Links::default();
        let mut end = 0;
        let result = (|| {
            for entry in archive.entries_with_seek()? {
                let mut entry = entry?;
                end = entry.raw_file_position().saturating_add(entry.size());
                self.add(&mut entry, keep, &mut links)?;
            }
            Ok(end)
        })();
        let Links { images, sidecars } = links;
        self.resolve(images);
        let result =
            result.and_then(|end| self.read_linked(tar, keep, noted, sidecars).map(|()| end));
        self.set_masks_apart();
        result
    }

    fn add(
        &mut self,
        entry: &mut tar::Entry<impl Read>,
        keep: &[String],
        links: &mut Links,
    ) -> std::io::Result<()> {
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            return Ok(());
        }
        let (path, failure) = checked_name(&entry.path_bytes());
        let part = match Part::of(&path) {
            Ok(part) => part,
            Err(reason) => {
                *self.ignored.entry(reason).or_default() += 1;
                return Ok(());
            }
        };
        let (start, size) = (entry.raw_file_position(), entry.size());
        let mut stored = Stored { path, start, size, failure };
        match kind {
            _ if kind.is_file() || kind.is_contiguous() => {}
            _ if kind.is_hard_link() || kind.is_symlink() => {
                let name = entry.link_name_bytes().unwrap_or_default();
                let target =
                    linked(&stored.path, &String::from_utf8_lossy(&name), kind.is_symlink());
                if part == Part::Image {
                    links.images.push((self.images.len(), target));
                } else {
                    links.sidecars.entry(target).or_default().push((part, stored.path));
                    return Ok(());
                }
            }
            _ => {
                let what =
                    format!("{} is stored in a way that is not read: store it whole", stored.path);
                stored.failure.get_or_insert(corrupt(what));
            }
        }
        let stem = split(&stored.path).stem.to_owned();
        match part {
            Part::Image => self.images.push(stored),
            // A sidecar that cannot be used costs no image.
            _ if stored.failure.is_some() => {
                *self.ignored.entry("(unreadable sidecar)".to_owned()).or_default() += 1;
            }
            Part::Mask => drop(self.masks.entry(stem).or_insert(stored)),
            Part::Class | Part::Json => {
                let mut text = Vec::new();
                entry.take(MAX_TEXT_BYTES).read_to_end(&mut text)?;
                self.note(part, stem, &text, size, keep);
            }
        }
        Ok(())
    }

    /// Adds what a sidecar of `size` bytes says.
    fn note(&mut self, part: Part, stem: String, text: &[u8], size: u64, keep: &[String]) {
        let said = match part {
            _ if size > MAX_TEXT_BYTES => Known::unclear("a sidecar of more than 1 MiB"),
            Part::Class => Known::of_class_file(text),
            _ => Known::of_json(text, keep),
        };
        let known = self.known.remove(&stem).unwrap_or_default();
        // What a JSON says is more than what a class says.
        let known = if part == Part::Json { said.or(known) } else { known.or(said) };
        self.known.insert(stem, known);
    }

    /// Reads sidecars that are links, which are rare: the headers once more, for the files that they
    /// name.
    fn read_linked(
        &mut self,
        tar: &OpenFile,
        keep: &[String],
        noted: &OnceLock<Failure>,
        mut links: BTreeMap<String, Vec<(Part, String)>>,
    ) -> std::io::Result<()> {
        if links.is_empty() {
            return Ok(());
        }
        let mut archive = archive(tar, noted);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            let (path, _) = checked_name(&entry.path_bytes());
            let is_file = kind.is_file() || kind.is_contiguous();
            let Some(named) = is_file.then(|| links.remove(&path)).flatten() else { continue };
            let (start, size) = (entry.raw_file_position(), entry.size());
            let mut text = Vec::new();
            if named.iter().any(|(part, _)| *part != Part::Mask) {
                entry.by_ref().take(MAX_TEXT_BYTES).read_to_end(&mut text)?;
            }
            for (part, path) in named {
                let stem = split(&path).stem.to_owned();
                match part {
                    Part::Mask => {
                        let stored = Stored { path, start, size, failure: None };
                        self.masks.entry(stem).or_insert(stored);
                    }
                    _ => self.note(part, stem, &text, size, keep),
                }
            }
        }
        let lost = links.values().map(Vec::len).sum::<usize>();
        if lost > 0 {
            *self.ignored.entry("(unreadable sidecar)".to_owned()).or_default() += lost;
        }
        Ok(())
    }

    /// Takes images out that are masks by name: `0_mask.png` beside `0.png`. Counts the masks that no
    /// image has.
    fn set_masks_apart(&mut self) {
        let stems = |images: &[Stored]| {
            let stems = images.iter().flat_map(|image| candidates(&image.path));
            stems.map(str::to_owned).collect::<HashSet<_>>()
        };
        let of_images = stems(&self.images);
        let is_mask =
            |image: &Stored| masked(&image.path).is_some_and(|stem| of_images.contains(stem));
        let (masks, images): (Vec<_>, _) =
            std::mem::take(&mut self.images).into_iter().partition(is_mask);
        self.images = images;
        for mask in masks {
            let stem = masked(&mask.path).unwrap_or_default().to_owned();
            self.masks.entry(stem).or_insert(mask);
        }
        let of_images = stems(&self.images);
        let unused = self.masks.keys().filter(|stem| !of_images.contains(*stem)).count();
        if unused > 0 {
            self.ignored.insert("(mask without an image)".to_owned(), unused);
        }
    }

    /// Gives links the bytes of the files that they name.
    fn resolve(&mut self, links: Vec<(usize, String)>) {
        if links.is_empty() {
            return;
        }
        let mut places = HashMap::new();
        for Stored { path, start, size, .. } in self.images.iter().filter(|image| image.size > 0) {
            places.entry(path.clone()).or_insert((*start, *size));
        }
        for (image, target) in links {
            let link = &mut self.images[image];
            match places.get(&target).copied() {
                Some(place) => {
                    (link.start, link.size) = place;
                    // A link may lead to one before it.
                    places.entry(link.path.clone()).or_insert(place);
                }
                None => {
                    let what = format!(
                        "{} is a link to {target}, which is no file of the tar: store the file itself",
                        link.path
                    );
                    link.failure.get_or_insert(corrupt(what));
                }
            }
        }
    }
}

/// Why the file is no tar at all, where its beginning shows it.
fn no_tar(tar: &OpenFile) -> Option<Failure> {
    if tar.size() == 0 {
        let what = "the file has no bytes: write it again";
        return Some(Failure::new(Stage::Fetch, FailureCode::EmptyFile, what));
    }
    let start = match tar.read_ahead(0..tar.size().min(512)) {
        Ok(start) => start,
        Err(failure) => return Some(failure),
    };
    let packed = [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "zip"),
    ];
    let found = packed.into_iter().find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, name)| {
        corrupt(format!(
            "is compressed ({name}), a tar is read where it lies: unpack it to a plain tar"
        ))
    })
}
