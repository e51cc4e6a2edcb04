//! Images of an archive → batches. In: a tar or a Parquet file, read from its beginning to its
//! end. Out: batches of one category each; what waits for its batch is bounded.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use super::batch::{Batch, Lost, Work};
use super::prepare::{Given, PrepareSettings, send_batch};
use crate::source::{Archive, Category, Label, MaskSource, Member, Sample, Unclear, read_archive};

/// Bytes of images that wait until there are enough of their category.
const WAITING_BYTES: usize = 128 << 20;

/// Sends every image of `archive`; returns how many there were, or `None` when nobody wants more.
pub fn prepare_archive(
    archive: &Archive,
    kept: &HashSet<Box<str>>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    stop: &AtomicBool,
) -> Option<usize> {
    let file = match settings.input.open_file(&archive.image_id, archive.version.as_ref()) {
        Ok(file) => file,
        Err(failure) => {
            let (image_id, category) = (archive.image_id.clone(), archive.category.clone());
            let lost = Lost { order: 0, image_id, file: None, uri: None, category, failure };
            return out.send(Work::Failed(lost)).ok().map(|()| 1);
        }
    };
    let mut waiting = Waiting { settings, kept, out, pictures: BTreeMap::new(), bytes: 0 };
    let mut sent = 0;
    let mut unclear = Unclear::default();
    let mut wanted = Some(());
    let take = |member: Member| {
        unclear.note(&member.known);
        wanted = match stop.load(Ordering::Relaxed) {
            true => None,
            false => waiting.add(archive, sent, member),
        };
        sent += 1;
        if wanted.is_some() && archive.counts(sent) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let max_bytes = settings.limits.max_bytes;
    let ignored = read_archive(file, archive.kind, &settings.columns, max_bytes, take);
    if !ignored.is_empty() {
        tracing::debug!(archive = &*archive.image_id, ?ignored, "files that are no image");
    }
    unclear.report(&archive.image_id, "the archive's");
    wanted?;
    if sent == 0 {
        tracing::warn!(archive = &*archive.image_id, ?ignored, "no image in this archive");
    }
    waiting.send_all()?;
    Some(sent)
}

/// Images whose batch is not full yet.
struct Waiting<'a> {
    settings: &'a PrepareSettings,
    kept: &'a HashSet<Box<str>>,
    out: &'a Sender<Work<Batch>>,
    pictures: BTreeMap<Category, Vec<Given>>,
    bytes: usize,
}

impl Waiting<'_> {
    /// `None` when nobody wants more.
    fn add(&mut self, archive: &Archive, order: usize, member: Member) -> Option<()> {
        let image_id: Box<str> = format!("{}/{}", archive.image_id, member.id).into();
        if self.kept.contains(&image_id) {
            return self.out.send(Work::Kept { order, image_id }).ok();
        }
        let given = match given(archive, order, image_id, member) {
            Ok(given) => given,
            Err(lost) => return self.out.send(Work::Failed(lost)).ok(),
        };
        self.bytes += given.bytes();
        let category = given.sample.category.clone();
        let pictures = self.pictures.entry(category.clone()).or_default();
        pictures.push(given);
        if pictures.len() == self.settings.batch_size {
            self.send(&category)?;
        }
        if self.bytes > WAITING_BYTES { self.send_all() } else { Some(()) }
    }

    fn send(&mut self, category: &Category) -> Option<()> {
        let Some(pictures) = self.pictures.remove(category) else { return Some(()) };
        self.bytes -= pictures.iter().map(Given::bytes).sum::<usize>();
        send_batch(category, &pictures, |given| given.prepare(self.settings), self.out)
    }

    fn send_all(&mut self) -> Option<()> {
        let categories = self.pictures.keys().cloned().collect::<Vec<_>>();
        categories.iter().try_for_each(|category| self.send(category))
    }
}

/// The member as an image to score, or why it is none.
pub(super) fn given(
    archive: &Archive,
    order: usize,
    image_id: Box<str>,
    member: Member,
) -> Result<Given, Lost> {
    let Member { picture, mask, known, .. } = member;
    let named = known.category.as_deref().and_then(|name| name.parse::<Category>().ok());
    let category = named.unwrap_or_else(|| archive.category.clone());
    let picture = match picture {
        Ok(picture) => picture,
        Err(failure) => {
            return Err(Lost { order, image_id, file: None, uri: None, category, failure });
        }
    };
    let truth = match (known.label, &mask) {
        (Some(Label::Normal), _) => MaskSource::AllNormal,
        (_, Some(_)) => MaskSource::Files([image_id.clone()].into()),
        (_, None) => MaskSource::Unknown,
    };
    let sample = Sample {
        image_id,
        file: None,
        version: None,
        category,
        label: known.label,
        kind: known.kind.map(Into::into),
        mask: truth,
        kept: known.kept,
    };
    Ok(Given { order, sample, picture, mask })
}
