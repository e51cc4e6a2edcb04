//! Shards → images whose files are on their way: the first stage, which waits for disks and buckets so
//! that no other does. In: tasks. Out: batches of one category, in listing order, as many ahead as it
//! takes. Never here: pixels.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Sender;

use super::batch::{Begun, Coming, Lost, Work};
use super::claims::Claims;
use super::members::fetch_archive;
use super::retry::Task;
use super::timings::{Clock, StageName, Timings};
use crate::error::TableError;
use crate::source::{Entry, Fetcher, Rejected, Sample};
use crate::store::Store;

/// What fetching needs to know.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    pub fetcher: Fetcher,
    pub batch_size: usize,
    /// The output: what was committed earlier is read from there.
    pub output: Store,
}

/// Where the images of a shard go.
pub(super) struct ToPrepare<'a> {
    pub settings: &'a FetchSettings,
    pub kept: &'a HashSet<Box<str>>,
    pub clock: &'a Clock<'a>,
    pub stop: &'a AtomicBool,
    out: &'a Sender<Work<Coming>>,
}

/// Sends all that `claims` gives, or as much as there is before `stop` is set.
pub fn fetch(
    claims: &Claims<'_>,
    settings: &FetchSettings,
    out: &Sender<Work<Coming>>,
    timings: &Timings,
    stop: &AtomicBool,
) {
    let clock = timings.clock(StageName::Fetch);
    loop {
        let begun = clock.waits(|| match claims.next()? {
            Some(task) => begin(task, &settings.output).map(Some),
            None => Ok(None),
        });
        let (begun, kept) = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return,
            Err(error) => {
                let _ = out.send(Work::Broken(Box::new(error)));
                return;
            }
        };
        let to = ToPrepare { settings, kept: &kept, clock: &clock, stop, out };
        if to.fetch_shard(begun).is_none() {
            return;
        }
    }
}

/// The shard of a task and those of its images that are not scored again.
fn begin(task: Task, output: &Store) -> Result<(Begun, HashSet<Box<str>>), TableError> {
    let Task { shard, retry } = task;
    let retry = match retry {
        None => None,
        Some(retry) => {
            let earlier = retry.earlier(output)?;
            Some(Box::new((retry, earlier)))
        }
    };
    let kept = retry.as_ref().map(|retry| retry.1.kept()).unwrap_or_default();
    Ok((Begun { shard, retry }, kept))
}

impl ToPrepare<'_> {
    /// `None` when nobody wants more: stopped, or the stages behind are gone.
    fn fetch_shard(&self, begun: Begun) -> Option<()> {
        let shard = begun.shard.clone();
        self.send(Work::Begin(begun))?;
        let mut pictures = shard.entries.len();
        let mut samples = Vec::with_capacity(pictures);
        for (order, (entry, bytes)) in shard.entries.iter().zip(&shard.sizes).enumerate() {
            match entry {
                entry if self.kept.contains(entry.image_id()) => {
                    let image_id = entry.image_id().into();
                    self.send(Work::Kept { order, image_id })?;
                }
                Entry::Sample(sample) => samples.push((order, sample, *bytes)),
                Entry::Rejected(rejected) => {
                    let Rejected { image_id, uri, category, failure } = rejected.as_ref().clone();
                    self.lose(Lost { order, image_id, file: None, uri, category, failure })?;
                }
                // It is the only entry of its shard.
                Entry::Archive(archive) => pictures = fetch_archive(archive, self)?,
            }
        }
        // A stable sort: inside a category the listing's order stays.
        samples.sort_by(|(_, a, _), (_, b, _)| a.category.cmp(&b.category));
        for of_category in samples.chunk_by(|(_, a, _), (_, b, _)| a.category == b.category) {
            for batch in of_category.chunks(self.settings.batch_size) {
                for (at, (order, sample, bytes)) in batch.iter().enumerate() {
                    self.begin(*order, sample, *bytes, at + 1 == batch.len())?;
                }
            }
        }
        self.send(Work::End { pictures })
    }

    fn begin(&self, order: usize, sample: &Sample, bytes: u64, is_last: bool) -> Option<()> {
        // Of a table's URIs nobody knows it.
        let bytes = Some(bytes).filter(|bytes| *bytes > 0);
        let files = self.settings.fetcher.begin(sample.into(), bytes, self.stop)?;
        self.send_coming(Coming { order, sample: sample.clone(), files, is_last })
    }

    /// Sends an image whose files are on their way.
    pub fn send_coming(&self, coming: Coming) -> Option<()> {
        self.clock.was_kept(coming.files.kept);
        self.send(Work::Batch(coming))
    }

    /// Sends a message.
    pub fn send(&self, message: Work<Coming>) -> Option<()> {
        self.clock.send(self.out, message)
    }

    /// Sends an image that cannot be scored.
    pub fn lose(&self, lost: Lost) -> Option<()> {
        self.send(Work::Failed(lost))
    }
}
