//! Images of an archive → batches. In: a tar or a Parquet file, read from its beginning to its
//! end. Out: batches of one category each; what waits for its batch is bounded.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::batch::{Coming, Lost, Work};
use super::fetch::ToPrepare;
use crate::source::{Archive, Category, Label, MaskSource, Member, Sample, Unclear};

/// Sends every image of `archive`; returns how many there were, or `None` when nobody wants more.
pub(super) fn fetch_archive(archive: &Archive, to: &ToPrepare<'_>) -> Option<usize> {
    let mut waiting = Waiting {
        to,
        most_bytes: (to.settings.fetcher.most_bytes() / 2) as usize,
        images: BTreeMap::new(),
        bytes: 0,
    };
    let mut sent = 0;
    let mut unclear = Unclear::default();
    let mut wanted = Some(());
    let take = |member: Member| {
        unclear.note(&member.known);
        wanted = match to.stop.load(Ordering::Relaxed) {
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
    let fetcher = &to.settings.fetcher;
    let Archive { image_id, kind, version, bytes, .. } = archive;
    let ignored = match fetcher.open(image_id, *kind, version.as_ref(), *bytes) {
        Ok(open) => open.each(take),
        Err(failure) => {
            let (image_id, category) = (archive.image_id.clone(), archive.category.clone());
            let lost = Lost { order: 0, image_id, file: None, uri: None, category, failure };
            return to.lose(lost).map(|()| 1);
        }
    };
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

/// An image of an archive, with its files.
pub(super) struct Given {
    /// Index in the archive.
    pub order: usize,
    pub sample: Sample,
    pub image: Bytes,
    pub mask: Option<Bytes>,
}

impl Given {
    /// Size of its files.
    pub fn bytes(&self) -> usize {
        self.image.len() + self.mask.as_ref().map_or(0, Bytes::len)
    }
}

/// Images whose batch is not full yet.
struct Waiting<'a> {
    to: &'a ToPrepare<'a>,
    most_bytes: usize,
    images: BTreeMap<Category, Vec<Given>>,
    bytes: usize,
}

impl Waiting<'_> {
    /// `None` when nobody wants more.
    fn add(&mut self, archive: &Archive, order: usize, member: Member) -> Option<()> {
        let image_id: Box<str> = format!("{}/{}", archive.image_id, member.id).into();
        if self.to.kept.contains(&image_id) {
            return self.to.send(Work::Kept { order, image_id });
        }
        let given = match given(archive, order, image_id, member) {
            Ok(given) => given,
            Err(lost) => return self.to.lose(lost),
        };
        self.bytes += given.bytes();
        let category = given.sample.category.clone();
        let images = self.images.entry(category.clone()).or_default();
        images.push(given);
        if images.len() == self.to.settings.batch_size {
            self.send(&category)?;
        }
        if self.bytes > self.most_bytes { self.send_all() } else { Some(()) }
    }

    fn send(&mut self, category: &Category) -> Option<()> {
        let images = self.images.remove(category).unwrap_or_default();
        self.bytes -= images.iter().map(Given::bytes).sum::<usize>();
        let last = images.len();
        for (at, Given { order, sample, image, mask }) in images.into_iter().enumerate() {
            let files = self.to.settings.fetcher.hold(image, mask, self.to.stop)?;
            let coming = Coming { order, sample, files, is_last: at + 1 == last };
            self.to.send_coming(coming)?;
        }
        Some(())
    }

    fn send_all(&mut self) -> Option<()> {
        let categories = self.images.keys().cloned().collect::<Vec<_>>();
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
    let image = match picture {
        Ok(image) => image,
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
    Ok(Given { order, sample, image, mask })
}
