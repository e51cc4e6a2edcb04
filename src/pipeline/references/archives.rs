//! References inside archives. In: the first archives, in the order of choice. Out: which of their
//! images are references, then those images. Several archives are read at a time. What is held is
//! bounded: images beyond that are read again.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

use super::choose::Chosen;
use crate::pipeline::members::{Given, given};
use crate::reference::{Choice, MAX_REFERENCES, Origin, rank};
use crate::source::{Archive, Category, Fetcher, Label, Sample};
use crate::store::at_once;

/// Archives are looked into until so many images were seen.
const SEEN: usize = 8 * MAX_REFERENCES;

/// The same for the archives of one category, where there are several.
const SEEN_OF_EACH: usize = 2 * MAX_REFERENCES;

/// Archives that are read at a time.
const AT_ONCE: usize = 4;
/// Bytes of images that are held until it shows whether they are references; others are read again.
const HELD_BYTES: usize = 256 << 20;

/// Chosen images of archives.
pub struct InArchives<'a> {
    pub chosen: &'a Chosen,
    /// Of the input that they are in.
    pub fetcher: &'a Fetcher,
    pub stop: &'a AtomicBool,
    /// Bytes of images that are held.
    pub held: &'a AtomicUsize,
}

/// An image in an archive.
pub struct MemberName<'a> {
    pub id: Box<str>,
    pub bytes: usize,
    image: Option<Held<'a>>,
}

/// An image and the room that it takes.
struct Held<'a> {
    given: Given,
    room: Room<'a>,
}

/// Chosen images of archives, by category, in the order of choice.
pub type Members<'a> = BTreeMap<Category, Vec<MemberName<'a>>>;

impl<'a> InArchives<'a> {
    /// Which images are references; `None` when a signal came.
    pub fn look_into(&self) -> Option<Members<'a>> {
        // By the category that their path tells: products in archives of their own all get their turn.
        let mut by_category = BTreeMap::<&Category, Vec<&Archive>>::new();
        for archive in &self.chosen.archives {
            by_category.entry(&archive.category).or_default().push(archive);
        }
        let enough = (SEEN / by_category.len().max(1)).max(SEEN_OF_EACH);
        let mut choice = Choice::default();
        for archives in by_category.values() {
            self.offer(archives, enough, &mut choice)?;
        }
        Some(choice.finish())
    }

    /// Offers the images of archives until there were `enough`; `None` when a signal came.
    fn offer(
        &self,
        mut archives: &[&Archive],
        enough: usize,
        choice: &mut Choice<MemberName<'a>>,
    ) -> Option<()> {
        let (mut seen, mut read) = (0, 0);
        while seen < enough && !archives.is_empty() {
            // One shows how many it takes.
            let each = (seen / read.max(1)).max(1);
            let wanted = if read == 0 { 1 } else { (enough - seen).div_ceil(each).min(AT_ONCE) };
            let (now, later) = archives.split_at(wanted.min(archives.len()));
            for found in at_once(now, |archive| self.members(archive)) {
                let (members, count) = found?;
                // As if they had been read one after the other.
                if seen < enough {
                    seen += count;
                    for (category, member) in members {
                        let id = member.id.clone();
                        choice.offer(&category, &id, || member);
                    }
                }
            }
            (read, archives) = (read + now.len(), later);
        }
        Some(())
    }

    /// The images of an archive that may be references, and how many it has.
    fn members(&self, archive: &Archive) -> Option<(Vec<(Category, MemberName<'a>)>, usize)> {
        let mut members = Vec::new();
        let count = self.each(archive, |given| {
            let Sample { category, image_id, label, .. } = &given.sample;
            if self.chosen.origin == Origin::Archive || *label != Some(Label::Anomalous) {
                let (id, bytes, category) = (image_id.clone(), given.bytes(), category.clone());
                let room = Room::take(self.held, bytes);
                // A copy: the image is a part of a large piece of the file.
                let copied = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
                let image = room.map(|room| {
                    let (image, mask) = (copied(&given.image), given.mask.as_ref().map(copied));
                    Held { given: Given { image, mask, ..given }, room }
                });
                members.push((category, MemberName { id, bytes, image }));
            }
        })?;
        Some((members, count))
    }

    /// The chosen images of `categories`; `None` when a signal came.
    pub fn take_out(
        &self,
        categories: &[Category],
        members: &mut Members<'a>,
    ) -> Option<BTreeMap<Category, Vec<Given>>> {
        let mut taken = BTreeMap::<Category, Vec<Given>>::new();
        let mut wanted = HashSet::new();
        for category in categories {
            for member in members.remove(category).unwrap_or_default() {
                match member.image {
                    Some(Held { given, room }) => {
                        taken.entry(category.clone()).or_default().push(given);
                        drop(room);
                    }
                    None => drop(wanted.insert(member.id)),
                }
            }
        }
        let has_wanted = |archive: &&Archive| {
            let prefix = format!("{}/", archive.image_id);
            wanted.iter().any(|id| id.starts_with(&prefix))
        };
        let archives = self.chosen.archives.iter().filter(has_wanted).collect::<Vec<_>>();
        for archives in archives.chunks(AT_ONCE) {
            for found in at_once(archives, |archive| self.taken_out(archive, &wanted)) {
                for given in found? {
                    taken.entry(given.sample.category.clone()).or_default().push(given);
                }
            }
        }
        for images in taken.values_mut() {
            images.sort_by_cached_key(|image| rank(&image.sample.image_id));
        }
        Some(taken)
    }

    fn taken_out(&self, archive: &Archive, wanted: &HashSet<Box<str>>) -> Option<Vec<Given>> {
        let mut taken = Vec::new();
        self.each(archive, |given| {
            if wanted.contains(&given.sample.image_id) {
                taken.push(given);
            }
        })?;
        Some(taken)
    }

    /// Hands every image of an archive that can be taken out of it to `take`; returns how many there
    /// were, or `None` when a signal came.
    fn each(&self, archive: &Archive, mut take: impl FnMut(Given)) -> Option<usize> {
        let (mut seen, mut stopped) = (0, false);
        // What is wrong with it is told when its own shard comes.
        let Archive { image_id, kind, version, bytes, .. } = archive;
        let Ok(open) = self.fetcher.open(image_id, *kind, version.as_ref(), *bytes) else {
            return Some(0);
        };
        open.each(|member| {
            stopped = self.stop.load(Ordering::Relaxed);
            let image_id = format!("{}/{}", archive.image_id, member.id).into();
            if let Ok(given) = given(archive, seen, image_id, member) {
                take(given);
            }
            seen += 1;
            let more = !stopped && archive.counts(seen);
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        (!stopped).then_some(seen)
    }
}

/// Room for an image that is held, given back when this is dropped.
struct Room<'a> {
    held: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Room<'a> {
    fn take(held: &'a AtomicUsize, bytes: usize) -> Option<Self> {
        let before = held.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { held, bytes };
        (before + bytes <= HELD_BYTES).then_some(room)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
