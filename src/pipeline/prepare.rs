//! Files → normalised planes. In: tasks. Out: batches of one category, in listing order, decoded
//! and resized by all cores. A file that cannot be used becomes a [`Lost`], never an error.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use rayon::prelude::*;

use super::batch::{Batch, Begun, DetectorPlanes, Lost, Prepared, Referred, Subject, Truth, Work};
use super::caught;
use super::claims::Claims;
use super::members::prepare_archive;
use super::retry::Task;
use crate::error::{Failure, Stage, TableError};
use crate::image::{
    ChannelStats, DecodeLimits, DetectorSide, Mask, Picture, Preprocess, normalize,
};
use crate::reference::Digest;
use crate::source::{Category, Columns, Entry, Input, Label, MaskSource, Rejected, Sample};
use crate::store::Store;

/// What preparing needs to know.
#[derive(Debug, Clone)]
pub struct PrepareSettings {
    /// Where the images are.
    pub input: Input,
    /// What of tables and sidecars is read.
    pub columns: Columns,
    /// Edge length of the network's input and of its maps, pixels.
    pub side: usize,
    pub batch_size: usize,
    /// How large the detector wants its images; `None` without one.
    pub detector_side: Option<DetectorSide>,
    /// What the references want of an image; `None` without them.
    pub referred: Option<ReferredPlanes>,
    pub mode: Preprocess,
    pub limits: DecodeLimits,
    /// The output: what was committed earlier is read from there.
    pub output: Store,
}

/// What of an image goes to the features that references are compared by.
#[derive(Debug, Clone)]
pub enum ReferredPlanes {
    /// FiLo's own patch tokens: nothing more.
    None,
    /// An image of this edge length, normalised with these statistics.
    Backbone { size: usize, stats: ChannelStats },
}

impl ReferredPlanes {
    fn of(&self, file: &[u8], image: &Picture) -> Referred {
        let planes = match self {
            ReferredPlanes::None => Vec::new(),
            ReferredPlanes::Backbone { size, stats } => normalize(&image.clip_pixels(*size), stats),
        };
        Referred { digest: Digest::of(file), planes }
    }
}

/// Sends all that `claims` gives, or as much as there is before `stop` is set.
pub fn prepare(
    claims: &Claims<'_>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    stop: &AtomicBool,
) {
    loop {
        let begun = match claims.next() {
            Ok(Some(task)) => begin(task, &settings.output),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let (begun, kept) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let _ = out.send(Work::Broken(Box::new(error)));
                return;
            }
        };
        if prepare_shard(begun, &kept, settings, out, stop).is_none() {
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

/// `None` when nobody wants more: stopped, or the stages behind are gone.
fn prepare_shard(
    begun: Begun,
    kept: &HashSet<Box<str>>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    stop: &AtomicBool,
) -> Option<()> {
    let shard = begun.shard.clone();
    out.send(Work::Begin(begun)).ok()?;
    let mut pictures = shard.entries.len();
    let mut samples = Vec::with_capacity(pictures);
    for (order, entry) in shard.entries.iter().enumerate() {
        match entry {
            entry if kept.contains(entry.image_id()) => {
                out.send(Work::Kept { order, image_id: entry.image_id().into() }).ok()?;
            }
            Entry::Sample(sample) => samples.push((order, sample)),
            Entry::Rejected(rejected) => {
                let Rejected { image_id, uri, category, failure } = rejected.as_ref().clone();
                let lost = Lost { order, image_id, file: None, uri, category, failure };
                out.send(Work::Failed(lost)).ok()?;
            }
            // It is the only entry of its shard.
            Entry::Archive(archive) => {
                pictures = prepare_archive(archive, kept, settings, out, stop)?;
            }
        }
    }
    // A stable sort: inside a category the listing's order stays.
    samples.sort_by(|(_, a), (_, b)| a.category.cmp(&b.category));
    for of_category in samples.chunk_by(|(_, a), (_, b)| a.category == b.category) {
        let category = &of_category[0].1.category;
        for group in of_category.chunks(settings.batch_size) {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let prepare =
                |(order, sample): &(usize, &Sample)| prepare_sample(*order, sample, settings);
            send_batch(category, group, prepare, out)?;
        }
    }
    out.send(Work::End { pictures }).ok()
}

/// Prepares the images of a group, which are of one category, on all cores, and sends them.
/// `None` when nobody wants them.
pub(super) fn send_batch<T: Sync>(
    category: &Category,
    group: &[T],
    prepare: impl Fn(&T) -> Result<Prepared, Lost> + Send + Sync,
    out: &Sender<Work<Batch>>,
) -> Option<()> {
    let results = group.par_iter().map(prepare).collect::<Vec<_>>();
    let mut pictures = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(picture) => pictures.push(picture),
            Err(lost) => out.send(Work::Failed(lost)).ok()?,
        }
    }
    if pictures.is_empty() {
        return Some(());
    }
    out.send(Work::Batch(Batch { category: category.clone(), pictures })).ok()
}

/// The image at `order` of its shard, read and made ready for the network.
pub(super) fn prepare_sample(
    order: usize,
    sample: &Sample,
    settings: &PrepareSettings,
) -> Result<Prepared, Lost> {
    caught(Stage::Decode, || prepare_file(order, sample, settings))
        .and_then(|prepared| prepared)
        .map_err(|failure| Lost::new(order, sample, failure))
}

fn prepare_file(
    order: usize,
    sample: &Sample,
    settings: &PrepareSettings,
) -> Result<Prepared, Failure> {
    let (input, max_bytes) = (&settings.input, settings.limits.max_bytes);
    let picture = input.read(sample.file(), sample.version.as_ref(), max_bytes)?;
    let mask = || match &sample.mask {
        MaskSource::Files(ids) => {
            ids.iter().map(|id| input.read(id, None, max_bytes).map_err(as_mask)).collect()
        }
        MaskSource::Unknown | MaskSource::AllNormal => Ok(Vec::new()),
    };
    prepared(order, sample, &picture, mask, settings)
}

/// An image whose file has been read.
pub(super) struct Given {
    /// Index in the shard.
    pub order: usize,
    pub sample: Sample,
    pub picture: Vec<u8>,
    pub mask: Option<Vec<u8>>,
}

impl Given {
    /// Size of its files.
    pub fn bytes(&self) -> usize {
        self.picture.len() + self.mask.as_ref().map_or(0, Vec::len)
    }

    /// The image, ready for the network.
    pub fn prepare(&self, settings: &PrepareSettings) -> Result<Prepared, Lost> {
        let mask = || Ok(self.mask.iter().cloned().collect());
        caught(Stage::Decode, || prepared(self.order, &self.sample, &self.picture, mask, settings))
            .and_then(|prepared| prepared)
            .map_err(|failure| Lost::new(self.order, &self.sample, failure))
    }
}

/// Decodes an image, then its mask, which is asked for only if the image is one.
fn prepared(
    order: usize,
    sample: &Sample,
    picture: &[u8],
    mask: impl Fn() -> Result<Vec<Vec<u8>>, Failure>,
    settings: &PrepareSettings,
) -> Result<Prepared, Failure> {
    let file = picture;
    let picture = Picture::decode(file, settings.mode, settings.limits)?;
    let size = picture.size();
    if picture.has_more_pages() {
        FURTHER_PAGES.warn(&sample.image_id);
    }
    let truth = match (&sample.mask, mask()?.as_slice()) {
        (MaskSource::AllNormal, _) => Truth::AllNormal,
        (_, []) => Truth::NoMask,
        (_, files) => {
            let mask = Mask::of_files(files, &picture, settings.mode, settings.limits)?;
            if sample.label == Some(Label::Anomalous) {
                report_mask(&mask, &sample.image_id);
            }
            Truth::Mask(mask.resize(settings.side))
        }
    };
    let planes = normalize(&picture.clip_pixels(settings.side), &ChannelStats::CLIP);
    let detector = settings.detector_side.map(|side| {
        let pixels = picture.detector_pixels(&side);
        DetectorPlanes { size: pixels.size(), planes: normalize(&pixels, &ChannelStats::IMAGENET) }
    });
    let referred = settings.referred.as_ref().map(|wanted| wanted.of(file, &picture));
    let subject = Subject { order, sample: sample.clone(), size, truth };
    Ok(Prepared { subject, referred, planes, detector })
}

/// A warning that names an image; after a few of them, only that there are more.
struct FirstFew {
    what: &'static str,
    more: &'static str,
    seen: AtomicUsize,
}

static EMPTY_MASKS: FirstFew = FirstFew::new(
    "the mask of this anomalous image is empty: it counts as an image without a defective pixel",
    "more anomalous images have empty masks; they are not listed",
);

static FULL_MASKS: FirstFew = FirstFew::new(
    "the mask covers the whole image: check whether it is inverted",
    "more masks cover the whole image; they are not listed",
);

static FURTHER_PAGES: FirstFew = FirstFew::new(
    "the file has more pages than the first: only the first is scored",
    "more files have several pages; they are not listed",
);

impl FirstFew {
    const MOST: usize = 5;

    const fn new(what: &'static str, more: &'static str) -> Self {
        FirstFew { what, more, seen: AtomicUsize::new(0) }
    }

    fn warn(&self, image: &str) {
        match self.seen.fetch_add(1, Ordering::Relaxed) {
            0..Self::MOST => tracing::warn!(image, "{}", self.what),
            Self::MOST => tracing::warn!("{}", self.more),
            _ => {}
        }
    }
}

/// Warns of an anomalous image whose mask is all good or all defect.
fn report_mask(mask: &Mask, image: &str) {
    if mask.area_px() == 0 {
        EMPTY_MASKS.warn(image);
    } else if mask.area_px() == mask.size().area() as u64 {
        FULL_MASKS.warn(image);
    }
}

/// A mask that cannot be read is the mask's problem, not the image's.
fn as_mask(failure: Failure) -> Failure {
    Failure { stage: Stage::Mask, ..failure }
}
