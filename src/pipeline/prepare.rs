//! Files → normalised planes. In: shards. Out: batches of one category, in listing order, decoded
//! and resized by all cores. A file that cannot be used becomes a [`Lost`], never an error.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use rayon::prelude::*;

use super::batch::{Batch, DetectorPlanes, Lost, Prepared, Subject, Truth, Work};
use super::caught;
use crate::error::{Failure, FailureCode, Stage};
use crate::image::{
    ChannelStats, DecodeLimits, DetectorSide, Mask, Picture, Preprocess, Size, normalize,
};
use crate::source::{Category, Entry, MaskSource, Sample, Shard};

/// What preparing needs to know.
#[derive(Debug, Clone)]
pub struct PrepareSettings {
    /// Side of the network's input and of its maps, pixels.
    pub side: usize,
    pub batch_size: usize,
    /// How large the detector wants its pictures; `None` without one.
    pub detector_side: Option<DetectorSide>,
    pub mode: Preprocess,
    pub limits: DecodeLimits,
}

/// Sends all of `shards`, or as many as there are before `stop` is set.
pub fn prepare(
    shards: impl Iterator<Item = Arc<Shard>>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    stop: &AtomicBool,
) {
    for shard in shards {
        if prepare_shard(shard, settings, out, stop).is_none() {
            return;
        }
    }
}

/// `None` when nobody wants more: stopped, or the stages behind are gone.
fn prepare_shard(
    shard: Arc<Shard>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    stop: &AtomicBool,
) -> Option<()> {
    out.send(Work::Begin(shard.clone())).ok()?;
    let mut samples = Vec::with_capacity(shard.entries.len());
    for (order, entry) in shard.entries.iter().enumerate() {
        match entry {
            Entry::Sample(sample) => samples.push((order, sample)),
            Entry::Rejected { image_id, uri, category, failure } => {
                let lost = Lost {
                    order,
                    image_id: image_id.clone(),
                    uri: uri.clone(),
                    category: category.clone(),
                    failure: failure.clone(),
                };
                out.send(Work::Failed(lost)).ok()?;
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
            send_batch(category, group, settings, out)?;
        }
    }
    out.send(Work::End).ok()
}

fn send_batch(
    category: &Category,
    group: &[(usize, &Sample)],
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
) -> Option<()> {
    let results = group
        .par_iter()
        .map(|(order, sample)| {
            caught(Stage::Decode, || prepare_picture(*order, sample, settings))
                .and_then(|prepared| prepared)
                .map_err(|failure| Lost::new(*order, sample, failure))
        })
        .collect::<Vec<_>>();
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

fn prepare_picture(
    order: usize,
    sample: &Sample,
    settings: &PrepareSettings,
) -> Result<Prepared, Failure> {
    let bytes = read(&sample.path, settings.limits)?;
    let picture = Picture::decode(&bytes, settings.mode, settings.limits)?;
    let size = picture.size();
    let truth = match &sample.mask {
        MaskSource::Unknown => Truth::NoMask,
        MaskSource::AllNormal => Truth::AllNormal,
        MaskSource::File(path) => {
            let bytes = read(path, settings.limits).map_err(as_mask)?;
            let mask = Mask::decode(&bytes, settings.mode, settings.limits)?;
            same_size(mask.size(), size)?;
            Truth::Mask(mask.resize(settings.side))
        }
    };
    let planes = normalize(&picture.clip_pixels(settings.side), &ChannelStats::CLIP);
    let detector = settings.detector_side.map(|side| {
        let pixels = picture.detector_pixels(&side);
        DetectorPlanes { size: pixels.size(), planes: normalize(&pixels, &ChannelStats::IMAGENET) }
    });
    let subject = Subject { order, sample: sample.clone(), size, truth };
    Ok(Prepared { subject, planes, detector })
}

fn same_size(mask: Size, picture: Size) -> Result<(), Failure> {
    if mask == picture {
        return Ok(());
    }
    Err(Failure::new(
        Stage::Mask,
        FailureCode::MaskSizeMismatch,
        format!(
            "mask is {}×{}, picture {}×{}: export the mask at the picture's size",
            mask.width, mask.height, picture.width, picture.height
        ),
    ))
}

/// The bytes of a file, if it is not larger than a decoded picture may be.
fn read(path: &Path, limits: DecodeLimits) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        let what = format!("{}: {error}: check the file and its permissions", path.display());
        Failure::new(Stage::Fetch, FailureCode::Unreadable, what)
    };
    // A pipe would be waited for without end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        let what = format!("{}: not a regular file: replace it by one", path.display());
        return Err(Failure::new(Stage::Fetch, FailureCode::Unreadable, what));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits.max_bytes {
        let limit = limits.max_bytes;
        let what = format!("the file has more than {limit} bytes: cut it into smaller pictures");
        return Err(Failure::new(Stage::Fetch, FailureCode::TooLarge, what));
    }
    Ok(bytes)
}

/// A mask that cannot be read is the mask's problem, not the picture's.
fn as_mask(failure: Failure) -> Failure {
    Failure { stage: Stage::Mask, ..failure }
}
