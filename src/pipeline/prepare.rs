//! Files → normalised planes. In: images whose files are on their way. Out: batches of one category,
//! in listing order, decoded and resized by all cores. A file that cannot be used becomes a [`Lost`],
//! never an error.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::batch::{
    Batch, Coming, DetectorPlanes, Lost, Prepared, Referred, Shown, Subject, Took, Truth, Work,
};
use super::caught;
use super::references::References;
use super::tiles::TileBatches;
use super::timings::{Clock, Part, StageName, Timings};
use crate::error::{Failure, FailureCode, Stage};
use crate::image::{
    ChannelStats, DecodeLimits, DetectorSide, Mask, Picture, Preprocess, Size, normalize,
};
use crate::reference::Digest;
use crate::source::{Category, Fetched, Label, MaskSource, Sample};
use crate::tile::{MAX_TILES, TileGrid, Tiling, stitched_size};

/// What preparing needs to know.
#[derive(Debug, Clone)]
pub struct PrepareSettings {
    /// Edge length of the network's input and of its maps, pixels.
    pub side: usize,
    /// How large the detector wants its images; `None` without one.
    pub detector_side: Option<DetectorSide>,
    /// What the references want of an image; `None` without them.
    pub referred: Option<ReferredPlanes>,
    /// Which images are tiled; `None`: none.
    pub tiling: Option<Tiling>,
    /// Of the run, once they are made: those that know no tiles tell nothing of the tiles of an image.
    pub references: References,
    /// Tiles that go through the networks together.
    pub batch_size: usize,
    pub mode: Preprocess,
    pub limits: DecodeLimits,
}

impl PrepareSettings {
    /// Whether what the header of a file claims is an image that is tiled. EXIF may swap its sides.
    fn is_tiled(&self, file: &[u8], category: &Category) -> bool {
        let Some(tiling) = self.tiling_of(category) else { return false };
        let claimed = caught(Stage::Decode, || Picture::claimed_size(file)).ok().flatten();
        claimed.is_some_and(|size| {
            let swapped = Size { width: size.height, height: size.width };
            [size, swapped].iter().any(|size| !matches!(tiling.grid(*size), Ok(None)))
        })
    }

    /// How images of a category are tiled; `None` if they are not.
    fn tiling_of(&self, category: &Category) -> Option<&Tiling> {
        let tiling = self.tiling.as_ref()?;
        match self.references.of(category.as_str()) {
            Ok(Some(reference)) if reference.tiles().is_none() => None,
            // What is wrong with references is told where the image is compared with them.
            Ok(_) | Err(_) => Some(tiling),
        }
    }

    /// The tiles of an image; `None` where it has none.
    fn tiles(&self, size: Size, category: &Category) -> Result<Option<TileGrid>, Failure> {
        let Some(tiling) = self.tiling_of(category) else { return Ok(None) };
        tiling.grid(size).map_err(|tiles| {
            let Size { width, height } = size;
            let what = format!(
                "{width} × {height} pixels are {tiles} tiles, at most {MAX_TILES} are scored: choose \
                 a larger --tile, a smaller --tile-scale, or --tile off"
            );
            Failure::new(Stage::Decode, FailureCode::TooLarge, what)
        })
    }
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
    pub(super) fn of(&self, image: &Picture) -> Referred {
        let planes = match self {
            ReferredPlanes::None => Vec::new(),
            ReferredPlanes::Backbone { size, stats } => normalize(&image.clip_pixels(*size), stats),
        };
        Referred { planes }
    }
}

/// Makes batches of what comes, until nothing comes or nobody wants more.
pub fn prepare(
    work: &Receiver<Work<Coming>>,
    settings: &PrepareSettings,
    out: &Sender<Work<Batch>>,
    timings: &Timings,
) {
    let clock = timings.clock(StageName::Prepare);
    let ends = Ends { work, out, clock: &clock, timings };
    while let Some(message) = clock.receive(work) {
        let sent = match message.batch_or_rest() {
            Ok(first) => ends.send_batch(first, settings),
            Err(rest) => clock.send(out, rest),
        };
        if sent.is_none() {
            return;
        }
    }
}

/// What the stage is connected to.
pub(super) struct Ends<'a> {
    work: &'a Receiver<Work<Coming>>,
    pub out: &'a Sender<Work<Batch>>,
    pub clock: &'a Clock<'a>,
    pub timings: &'a Timings,
}

impl Ends<'_> {
    /// Prepares the images of the batch that begins with `first`. `None` when nobody wants them.
    fn send_batch(&self, first: Coming, settings: &PrepareSettings) -> Option<()> {
        let category = first.sample.category.clone();
        let mut next = Some(first);
        let mut is_whole = false;
        let images = std::iter::from_fn(|| {
            if is_whole {
                return None;
            }
            // Asked for only now: there may be room for it only after the one before was decoded. The
            // stage in front ended, for a signal, if anything but an image comes.
            let coming = match next.take() {
                Some(first) => first,
                None => self.clock.receive(self.work)?.batch_or_rest::<()>().ok()?,
            };
            let Coming { order, sample, files, is_last } = coming;
            is_whole = is_last;
            let fetched = self.clock.waits(|| files.wait());
            self.timings.stage(StageName::Fetch).count(1, fetched.bytes());
            Some((order, sample, fetched))
        });
        let mut tiles = TileBatches::new(self, settings);
        let large = |order, sample, fetched: &Fetched| {
            tiles.add(order, sample, fetched);
            None
        };
        let results = prepare_all(images, settings, self.timings, large);
        tiles.finish()?;
        if !is_whole {
            return None;
        }
        let mut pictures = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(picture) => pictures.push(picture),
                Err(lost) => self.clock.send(self.out, Work::Failed(lost))?,
            }
        }
        self.send(category, pictures)
    }

    /// Sends a batch, if there is anything in it.
    pub fn send(&self, category: Category, pictures: Vec<Prepared>) -> Option<()> {
        if pictures.is_empty() {
            return Some(());
        }
        let batch = Batch { category, pictures };
        self.clock.count(batch.images(), batch.bytes());
        self.clock.send(self.out, Work::Batch(batch))
    }
}

/// Images with their index in the shard, each made ready for the network as soon as it is there; results
/// in the order of `images`. Cores decode while this thread waits for the next. Images that are tiled go
/// to `large` instead, one at a time: decoded, they may not fit the memory together. What it returns is
/// among the results.
pub(super) fn prepare_all(
    images: impl Iterator<Item = (usize, Sample, Fetched)>,
    settings: &PrepareSettings,
    timings: &Timings,
    mut large: impl FnMut(usize, Sample, &Fetched) -> Option<Result<Prepared, Lost>>,
) -> Vec<Result<Prepared, Lost>> {
    let (done, results) = unbounded();
    rayon::in_place_scope_fifo(|scope| {
        for (at, (order, sample, fetched)) in images.enumerate() {
            if fetched.image.as_ref().is_ok_and(|file| settings.is_tiled(file, &sample.category)) {
                if let Some(prepared) = large(order, sample, &fetched) {
                    let _ = done.send((at, prepared));
                }
                continue;
            }
            let done = done.clone();
            scope.spawn_fifo(move |_| {
                let prepared = prepare_one(order, sample, &fetched, settings, timings);
                // Its part of what may be held is given back before somebody waits for it.
                drop(fetched);
                let _ = done.send((at, prepared));
            });
        }
    });
    drop(done);
    let mut results = results.into_iter().collect::<Vec<_>>();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn prepare_one(
    order: usize,
    sample: Sample,
    fetched: &Fetched,
    settings: &PrepareSettings,
    timings: &Timings,
) -> Result<Prepared, Lost> {
    caught(Stage::Decode, || prepared(order, &sample, fetched, settings, timings))
        .and_then(|prepared| prepared)
        .map(|(prepared, _)| prepared)
        .map_err(|failure| Lost::new(order, &sample, failure))
}

/// Decodes an image, then its mask: what is wrong with the image comes first. With it come its pixels.
pub(super) fn prepared(
    order: usize,
    sample: &Sample,
    fetched: &Fetched,
    settings: &PrepareSettings,
    timings: &Timings,
) -> Result<(Prepared, Picture), Failure> {
    let started = Instant::now();
    let file = fetched.image.as_ref().map_err(Failure::clone)?;
    let decoded = timings.part(Part::Decode, || -> Result<_, Failure> {
        let picture = Picture::decode(file, settings.mode, settings.limits)?;
        let masks = fetched.masks.as_ref().map_err(Failure::clone)?;
        let mask = match (&sample.mask, masks.as_slice()) {
            (MaskSource::AllNormal, _) | (_, []) => None,
            (_, files) => Some(Mask::of_files(files, &picture, settings.mode, settings.limits)?),
        };
        Ok((picture, mask))
    });
    let (picture, mask) = decoded?;
    if picture.has_more_pages() {
        FURTHER_PAGES.warn(&sample.image_id);
    }
    if let Some(mask) = mask.as_ref().filter(|_| sample.label == Some(Label::Anomalous)) {
        report_mask(mask, &sample.image_id);
    }
    let tiles = settings.tiles(picture.size(), &sample.category)?;
    let prepared = timings.part(Part::Resize, || {
        let map_size = tiles.as_ref().map_or(Size::square(settings.side), stitched_size);
        let truth = match (&sample.mask, mask) {
            (MaskSource::AllNormal, _) => Truth::AllNormal,
            (_, None) => Truth::NoMask,
            (_, Some(mask)) => Truth::Mask(mask.resize(map_size)),
        };
        let planes = normalize(&picture.clip_pixels(settings.side), &ChannelStats::CLIP);
        let detector = settings.detector_side.map(|side| {
            let pixels = picture.detector_pixels(&side);
            let planes = normalize(&pixels, &ChannelStats::IMAGENET);
            DetectorPlanes { size: pixels.size(), planes }
        });
        let referred = settings.referred.as_ref().map(|wanted| wanted.of(&picture));
        let size = picture.size();
        let took = Took {
            fetch_ms: fetched.took.map(|took| took.as_secs_f32() * 1e3),
            decode_ms: started.elapsed().as_secs_f32() * 1e3,
        };
        let (sample, digest) = (sample.clone(), Digest::of(file));
        let subject = Subject { order, sample, size, truth, tiles, digest, took };
        Prepared { shown: Shown::Image(Box::new(subject)), referred, planes, detector }
    });
    Ok((prepared, picture))
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
