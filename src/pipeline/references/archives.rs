//! References inside archives. In: the first archives, in the order of choice. Out: which of their
//! images are references, then those images. An archive is read twice, so that what is held is bounded.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::choose::Chosen;
use crate::pipeline::members::{Given, given};
use crate::reference::{Choice, MAX_REFERENCES, Origin, rank};
use crate::source::{Archive, Category, Fetcher, Label, Sample};

/// Archives are looked into until so many images were seen.
const SEEN: usize = 8 * MAX_REFERENCES;

/// Chosen images of archives.
pub struct InArchives<'a> {
    pub chosen: &'a Chosen,
    /// Of the input that they are in.
    pub fetcher: &'a Fetcher,
    pub stop: &'a AtomicBool,
}

/// An image in an archive.
#[derive(Debug)]
pub struct MemberName {
    pub id: Box<str>,
    pub bytes: usize,
}

/// Chosen images of archives, by category, in the order of choice.
pub type Members = BTreeMap<Category, Vec<MemberName>>;

impl InArchives<'_> {
    /// Which images are references; `None` when a signal came.
    pub fn look_into(&self) -> Option<Members> {
        let mut choice = Choice::default();
        let mut seen = 0;
        for archive in &self.chosen.archives {
            if seen >= SEEN {
                break;
            }
            seen += self.each(archive, |given| {
                let Sample { category, image_id, label, .. } = &given.sample;
                if self.chosen.origin == Origin::Archive || *label != Some(Label::Anomalous) {
                    let bytes = given.bytes();
                    let id = image_id.clone();
                    choice.offer(category, image_id, || MemberName { id, bytes });
                }
            })?;
        }
        Some(choice.finish())
    }

    /// The chosen images of `categories`; `None` when a signal came.
    pub fn take_out(
        &self,
        categories: &[Category],
        members: &Members,
    ) -> Option<BTreeMap<Category, Vec<Given>>> {
        let mut held = BTreeMap::<Category, Vec<Given>>::new();
        let wanted = categories.iter().flat_map(|category| &members[category]);
        let wanted = wanted.map(|member| &member.id).collect::<HashSet<_>>();
        for archive in &self.chosen.archives {
            let prefix = format!("{}/", archive.image_id);
            if !wanted.iter().any(|id| id.starts_with(&prefix)) {
                continue;
            }
            self.each(archive, |given| {
                if wanted.contains(&given.sample.image_id) {
                    held.entry(given.sample.category.clone()).or_default().push(given);
                }
            })?;
        }
        for images in held.values_mut() {
            images.sort_by_cached_key(|image| rank(&image.sample.image_id));
        }
        Some(held)
    }

    /// Hands every image of an archive that can be taken out of it to `take`; returns how many there
    /// were, or `None` when a signal came.
    fn each(&self, archive: &Archive, mut take: impl FnMut(Given)) -> Option<usize> {
        let (mut seen, mut stopped) = (0, false);
        // What is wrong with it is told when its own shard comes.
        let Archive { image_id, kind, version, .. } = archive;
        let Ok(open) = self.fetcher.open(image_id, *kind, version.as_ref()) else { return Some(0) };
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
