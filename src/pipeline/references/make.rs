//! Makes the references of a run before its first shard. In: what was chosen. Out: one file per
//! category in the output, committed put-if-absent, so that all workers read the same one; who comes
//! second reads that of the first. Two workers that begin at once begin with other categories.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use super::archives::InArchives;
use super::choose::{Chosen, ReferenceSource, Wanted};
use super::read;
use crate::error::{Error, TableError};
use crate::job::ReferenceFallback;
use crate::pipeline::batch::{Batch, Inferred, Lost, Prepared, Shown};
use crate::pipeline::fetch::FetchSettings;
use crate::pipeline::finish::{FinishSettings, observe};
use crate::pipeline::infer::Infer;
use crate::pipeline::members::Given;
use crate::pipeline::prepare::{PrepareSettings, prepare_all};
use crate::pipeline::tiles::with_one_tile;
use crate::pipeline::timings::Timings;
use crate::reference::{MIN_REFERENCES, MadeBy, Origin, Reference, ReferenceImage, Shows};
use crate::source::{Category, Fetched, Fetcher, Sample};
use crate::store::{Location, Put, Store, both};
use crate::tables::{Claim, Lease, Leases, LeftOut, Manifest, REFERENCE_FOLDER, reference_path};

/// Bytes of images from archives that are held at a time.
const HELD_BYTES: usize = 256 << 20;
/// How long to wait before looking again at what another worker is making.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Makes reference files.
pub struct ReferenceMaker<'a> {
    pub infer: &'a mut dyn Infer,
    pub fetch: &'a FetchSettings,
    pub prepare: &'a PrepareSettings,
    pub finish: &'a FinishSettings,
    pub made_by: &'a MadeBy,
    /// Places of earlier runs whose references come first, in this order.
    pub earlier: &'a [String],
    /// The output.
    pub store: &'a Store,
    /// Who makes which of them.
    pub leases: &'a Leases,
    pub stop: &'a AtomicBool,
    /// Files of references that are known to be there.
    pub there: HashSet<String>,
    /// Leases of what is made, which are to be released.
    pub done: Vec<Lease>,
}

/// Whether all references are there, or a signal came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    All,
    Stopped,
}

impl ReferenceMaker<'_> {
    /// Makes what is missing of what is wanted. For archives, all that there are references of.
    ///
    /// # Errors
    /// If a category has too few references and the spec allows no fallback, or the output cannot be
    /// read or written.
    pub fn make(
        &mut self,
        source: ReferenceSource,
        wanted: &Wanted,
        on_missing: ReferenceFallback,
    ) -> Result<Made, Error> {
        let categories = &wanted.categories[..];
        self.copy_earlier(wanted)?;
        let source = match source {
            ReferenceSource::Later(_)
                if !wanted.archives && self.missing(categories)?.is_empty() =>
            {
                return Ok(Made::All);
            }
            ReferenceSource::Later(later) => later.open()?,
            known => known,
        };
        let (uri, fallback) = match &source {
            // A source is looked at once.
            ReferenceSource::None | ReferenceSource::Later(_) => return Ok(Made::All),
            ReferenceSource::Images { chosen, fallback } => {
                let offered = chosen.files.keys().filter(|_| wanted.archives).cloned();
                let all = [categories, &offered.collect::<Vec<_>>()].concat();
                match self.make_chosen(chosen, &all)? {
                    Made::Stopped => return Ok(Made::Stopped),
                    Made::All if chosen.origin == Origin::Archive => {
                        self.tell_missing(categories)?;
                        return Ok(Made::All);
                    }
                    Made::All => (chosen.input.display(""), fallback),
                }
            }
            ReferenceSource::EarlierRun { store, uri, fallback } => {
                self.copy(store, wanted)?;
                (uri.clone(), fallback)
            }
        };
        let missing = self.missing(categories)?;
        let made = match (on_missing, fallback) {
            (ReferenceFallback::Error, _) if !missing.is_empty() => {
                return Err(TableError::TooFewReferences {
                    uri,
                    category: missing[0].to_string(),
                    more: missing.len() - 1,
                    least: MIN_REFERENCES,
                }
                .into());
            }
            (ReferenceFallback::Archive, Some(chosen)) if wanted.archives => {
                self.make_chosen(chosen, &missing)?
            }
            (ReferenceFallback::Archive, Some(chosen)) if !missing.is_empty() => {
                tracing::warn!(
                    "{} of {} categories have fewer than {MIN_REFERENCES} references in {uri}: \
                     images of the input take their place",
                    missing.len(),
                    categories.len()
                );
                self.make_chosen(chosen, &missing)?
            }
            _ => Made::All,
        };
        self.tell_missing(categories)?;
        Ok(made)
    }

    /// The categories that have no file.
    fn missing(&mut self, categories: &[Category]) -> Result<Vec<Category>, TableError> {
        let mut missing = categories.to_vec();
        missing.retain(|category| !self.there.contains(&reference_path(category.as_str())));
        if missing.is_empty() {
            return Ok(missing);
        }
        self.there.extend(self.store.list(REFERENCE_FOLDER)?.into_iter().map(|file| file.path));
        missing.retain(|category| !self.there.contains(&reference_path(category.as_str())));
        Ok(missing)
    }

    /// Says once which categories are scored without references.
    fn tell_missing(&mut self, categories: &[Category]) -> Result<(), TableError> {
        let mut missing = self.missing(categories)?;
        missing.retain(|category| self.finish.references.is_news(category.as_str()));
        if let Some(first) = missing.first() {
            tracing::warn!(
                "category {first}{}: fewer than {MIN_REFERENCES} different images that can be \
                 read, so there are no references: images are scored one by one",
                match missing.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                }
            );
        }
        Ok(())
    }

    /// Takes over what earlier runs have of what is missing.
    fn copy_earlier(&mut self, wanted: &Wanted) -> Result<(), Error> {
        for uri in self.earlier {
            if !wanted.archives && self.missing(&wanted.categories)?.is_empty() {
                break;
            }
            let store = Store::open(&uri.parse::<Location>()?)?;
            if Manifest::read(&store)?.is_none() {
                // Others would be made in their place, and scores would not compare.
                return Err(TableError::NoRun { uri: uri.clone() }.into());
            }
            self.copy(&store, wanted)?;
        }
        Ok(())
    }

    /// Takes the files of an earlier run over.
    fn copy(&self, from: &Store, wanted: &Wanted) -> Result<(), TableError> {
        let path = |category: &Category| reference_path(category.as_str());
        let paths = match wanted.archives {
            true => from.list(REFERENCE_FOLDER)?.into_iter().map(|file| file.path).collect(),
            false => wanted.categories.iter().map(path).collect::<Vec<_>>(),
        };
        for path in paths {
            if !self.store.exists(&path)?
                && let Some(reference) = read(from, &path, self.made_by)?
            {
                self.store.put_if_absent(&path, reference.encode())?;
            }
        }
        Ok(())
    }

    fn make_chosen(&mut self, chosen: &Chosen, categories: &[Category]) -> Result<Made, Error> {
        let fetcher = self.fetch.fetcher.with_input(chosen.input.clone());
        let enough = |category: &Category| {
            chosen.files.get(category).is_some_and(|samples| samples.len() >= MIN_REFERENCES)
        };
        let mut left = self.missing(categories)?;
        left.retain(enough);
        while !left.is_empty() {
            let mut queue = Queue {
                left: left.into_iter(),
                held: Vec::new(),
                leases: self.leases,
                store: self.store,
            };
            let mut next = queue.claim()?;
            let mut done: Option<Lease> = None;
            while let Some(Claimed { category, lease, is_missing }) = next {
                // The next one is claimed while this one is made.
                let claim = || {
                    done.iter().try_for_each(|lease| queue.leases.release(lease))?;
                    queue.claim()
                };
                let make = || match chosen.files.get(&category).filter(|_| is_missing) {
                    Some(samples) => {
                        self.make_of_files(&category, chosen.origin, samples, &fetcher)
                    }
                    None => Ok(Made::All),
                };
                let (claimed, made) = both(claim, make);
                if made? == Made::Stopped {
                    return Ok(Made::Stopped);
                }
                (next, done) = (claimed?, Some(lease));
            }
            self.done.extend(done);
            let held = queue.held;
            if self.wait_for(&held) == Made::Stopped {
                return Ok(Made::Stopped);
            }
            left = self.missing(&held)?;
        }
        if chosen.archives.is_empty() {
            return Ok(Made::All);
        }
        self.make_from_archives(chosen, &fetcher)
    }

    /// Makes the references of a category of images that have files of their own.
    fn make_of_files(
        &mut self,
        category: &Category,
        origin: Origin,
        samples: &[Sample],
        fetcher: &Fetcher,
    ) -> Result<Made, Error> {
        self.make_category(category, origin, |only: Only| {
            let samples = samples.iter().filter(move |sample| only.has(sample));
            let files = fetcher.ahead(samples.map(|sample| (sample, sample.into())));
            files.map(|(sample, files)| (0, sample.clone(), files))
        })
    }

    /// Waits a moment for what other workers are making, if anything.
    fn wait_for(&self, held: &[Category]) -> Made {
        if !held.is_empty() {
            tracing::debug!(categories = held.len(), "other workers are making these references");
            std::thread::sleep(LOOK_AGAIN);
        }
        match self.stop.load(Ordering::Relaxed) {
            true => Made::Stopped,
            false => Made::All,
        }
    }

    /// Categories of images in archives: those that the first archives have.
    fn make_from_archives(&mut self, chosen: &Chosen, fetcher: &Fetcher) -> Result<Made, Error> {
        let held = AtomicUsize::new(0);
        let archives = InArchives { chosen, fetcher, stop: self.stop, held: &held };
        let Some(mut found) = archives.look_into() else { return Ok(Made::Stopped) };
        let categories = found.keys().cloned().collect::<Vec<_>>();
        let mut missing = self.missing(&categories)?;
        missing.retain(|category| found[category].len() >= MIN_REFERENCES);
        found.retain(|category, _| missing.contains(category));
        let mut missing = &missing[..];
        while !missing.is_empty() {
            // As many categories as fit, one at least.
            let mut bytes = 0;
            let fit = missing.iter().take_while(|category| {
                bytes += found[*category].iter().map(|member| member.bytes).sum::<usize>();
                bytes <= HELD_BYTES
            });
            let (now, later) = missing.split_at(fit.count().max(1));
            let Some(mut held) = archives.take_out(now, &mut found) else {
                return Ok(Made::Stopped);
            };
            for category in now {
                let images = held.remove(category).unwrap_or_default();
                let files = |given: &Given| {
                    let Given { order, sample, image, mask } = given.clone();
                    (order, sample, Fetched::of(image, mask))
                };
                let images = |only: Only| {
                    images.iter().filter(move |given| only.has(&given.sample)).map(files)
                };
                if self.make_category(category, chosen.origin, images)? == Made::Stopped {
                    return Ok(Made::Stopped);
                }
            }
            missing = later;
        }
        Ok(Made::All)
    }

    /// Makes the references of one category of what `images` gives of those that are wanted.
    fn make_category<I: Iterator<Item = (usize, Sample, Fetched)>>(
        &mut self,
        category: &Category,
        origin: Origin,
        images: impl Fn(Only) -> I,
    ) -> Result<Made, Error> {
        tracing::info!("making the references of {category}");
        let mut making = Making::new(origin);
        // The phase has its own time.
        let timings = Timings::default();
        let mut all = images(Only::all());
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Made::Stopped);
            }
            let batch = all.by_ref().take(self.fetch.batch_size);
            let mut tiles = Vec::new();
            let large = |order, sample: Sample, fetched: &Fetched| {
                let made = with_one_tile(order, &sample, fetched, self.prepare, &timings);
                let (image, tile) = match made {
                    Ok(made) => made,
                    Err(failure) => return Some(Err(Lost::new(order, &sample, failure))),
                };
                tiles.extend(tile);
                Some(Ok(image))
            };
            let mut prepared = prepare_all(batch, self.prepare, &timings, large);
            if prepared.is_empty() {
                break;
            }
            prepared.extend(tiles.into_iter().map(Ok));
            self.add(&mut making, category, prepared, &timings);
        }
        drop(all);
        let Making { origin, images: seen, tiles, left_out } = making;
        tell_left_out(category, &left_out);
        let reference =
            Reference::build(seen, left_out, origin, self.made_by.clone(), Shows::Images);
        let Some(reference) = reference else { return Ok(Made::All) };
        let reference = match self.of_tiles(category, tiles, reference, images)? {
            Some(reference) => reference,
            None => return Ok(Made::Stopped),
        };
        let path = reference_path(category.as_str());
        let bytes = reference.encode();
        let decoded = Reference::decode(&bytes);
        if self.store.put_if_absent(&path, bytes)? == Put::Created
            && let Ok(decoded) = decoded
        {
            // What everybody else reads.
            self.finish.references.keep(category.as_str(), Some(Arc::new(decoded)));
        }
        self.there.insert(path);
        Ok(Made::All)
    }

    /// Sends a group of images through the networks.
    fn add(
        &mut self,
        making: &mut Making,
        category: &Category,
        prepared: Vec<Result<Prepared, Lost>>,
        timings: &Timings,
    ) {
        let mut pictures = Vec::with_capacity(prepared.len());
        for image in prepared {
            match image {
                Ok(image) => pictures.push(image),
                Err(lost) => making.lose(lost),
            }
        }
        if pictures.is_empty() {
            return;
        }
        let (done, lost) =
            self.infer.infer(Batch { category: category.clone(), pictures }, timings);
        lost.into_iter().for_each(|lost| making.lose(lost));
        let finish = self.finish;
        let (tiles, images) = done
            .into_iter()
            .partition::<Vec<_>, _>(|inferred| matches!(inferred.shown, Shown::Tile(_)));
        let seen = |done: Vec<Inferred>| {
            let seen = done.par_iter().map(|inferred| {
                let image_id = inferred.shown.sample().image_id.to_string();
                observe(inferred, finish).map(|seen| ReferenceImage { image_id, seen })
            });
            seen.collect::<Vec<_>>().into_iter().flatten()
        };
        making.images.extend(seen(images));
        making.tiles.extend(seen(tiles));
    }
}

/// Warns of chosen images that could not be read.
fn tell_left_out(category: &Category, left_out: &[LeftOut]) {
    for out in left_out {
        tracing::warn!(
            "{}: left out of the references of {category}: {}",
            out.image_id,
            out.message
        );
    }
}

/// Which images are wanted, by their ids; all, or some.
#[derive(Clone)]
pub(super) struct Only(Option<Arc<HashSet<String>>>);

impl Only {
    fn all() -> Self {
        Only(None)
    }

    pub fn some(ids: impl Iterator<Item = String>) -> Self {
        Only(Some(Arc::new(ids.collect())))
    }

    pub fn has(&self, sample: &Sample) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.contains(&*sample.image_id))
    }

    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.len())
    }
}

/// Categories whose references are missing, and whom they are left to.
struct Queue<'a> {
    left: std::vec::IntoIter<Category>,
    /// Other workers are at them.
    held: Vec<Category>,
    leases: &'a Leases,
    store: &'a Store,
}

/// A category whose references are ours to make.
struct Claimed {
    category: Category,
    lease: Lease,
    is_missing: bool,
}

impl Queue<'_> {
    /// The next category that nobody else is at.
    fn claim(&mut self) -> Result<Option<Claimed>, TableError> {
        for category in self.left.by_ref() {
            // Whoever had the lease before may have made them. If that is this very moment they are made
            // twice, and the first ones count.
            let claim = || self.leases.claim(&lease_name(&category));
            let exists = || self.store.exists(&reference_path(category.as_str()));
            let (claimed, is_there) = both(claim, exists);
            match claimed? {
                Claim::Held => self.held.push(category),
                Claim::Ours(lease) => {
                    return Ok(Some(Claimed { category, lease, is_missing: !is_there? }));
                }
            }
        }
        Ok(None)
    }
}

/// What the lease of a category's references is called; any text may name a category.
fn lease_name(category: &Category) -> String {
    let digest = blake3::hash(category.as_str().as_bytes()).to_hex();
    format!("reference-{}", &digest[..16])
}

/// References of a category on the way.
struct Making {
    origin: Origin,
    images: Vec<ReferenceImage>,
    /// One tile of each image that is tiled.
    tiles: Vec<ReferenceImage>,
    left_out: Vec<LeftOut>,
}

impl Making {
    fn new(origin: Origin) -> Self {
        Making { origin, images: Vec::new(), tiles: Vec::new(), left_out: Vec::new() }
    }

    fn lose(&mut self, lost: Lost) {
        let Lost { image_id, failure, .. } = lost;
        let (image_id, code) = (image_id.into(), failure.code.as_str().to_string());
        self.left_out.push(LeftOut { image_id, code, message: failure.message });
    }
}
