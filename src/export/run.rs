//! The export itself. In: runs, a choice of their images, places. Out: what each format makes of these
//! images, and how many there were. Images go through in blocks: files of a block first, then its rows,
//! which name them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::cells::{Exported, Layout};
use super::fetch::{Place, Places, Readers};
use super::folder::Folder;
use super::masks::{mask_of, mask_png};
use super::overlay::overlay;
use super::rows::Rows;
use super::selection::{Choice, Image, Selection};
use super::survey::{Needs, Survey};
use super::target::Target;
use super::writers::{Job, Jobs, Kind, writing};
use crate::error::{Error, ExportError, Failure, Stage};
use crate::pipeline::as_scored::AsScored;
use crate::pipeline::caught;
use crate::source::{Fetched, Input};
use crate::tables::{RunSet, SetThresholds, read_map_npy};

/// Images that go through together.
const BLOCK: usize = 256;

/// Images that are drawn at a time, if there are so many cores: each takes some hundred MB if it is large.
const DRAWERS: usize = 8;

/// Images that cannot be drawn and are named one by one.
const NAMED: u64 = 20;

/// What is exported, and where to.
pub struct Request<'a> {
    pub set: &'a RunSet,
    /// By run: where its images are, or why they cannot be read. Of no use without overlays.
    pub inputs: Vec<Result<Input, String>>,
    /// Whether that is another place than where they were scored.
    pub moved: bool,
    /// Categories; without any, all.
    pub categories: &'a [String],
    pub choice: Choice,
    /// Whether overlays are of flagged images only, whatever the other formats have.
    pub only_flagged_overlays: bool,
    pub files: Vec<Target>,
    pub overlays: Option<Folder>,
    pub masks: Option<Folder>,
    /// Is told now and then how many images were looked at.
    pub tell: &'a (dyn Fn(u64, u64) + Sync),
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Exported images.
    pub images: u64,
    /// Scored images of the wanted categories.
    pub of: u64,
    pub overlays: u64,
    pub masks: u64,
    /// Annotations of the COCO file.
    pub annotations: u64,
    /// Images that could not be drawn, and masks that could not be decoded.
    pub failed: u64,
}

/// An image on its way.
struct Pending {
    exported: Exported,
    name: String,
    place: Option<Place>,
}

/// What the images of a block go through.
struct Work<'a> {
    request: &'a Request<'a>,
    selection: &'a Selection<'a>,
    readers: Option<Readers>,
    read: Vec<AsScored>,
    pool: rayon::ThreadPool,
    layout: Layout,
    failed: AtomicU64,
    without_map: AtomicU64,
}

/// Exports what `request` asks for.
///
/// # Errors
/// If a category is not there, a table cannot be read, or a place cannot be written. An image that
/// cannot be drawn is a warning, and counted.
pub fn export(request: Request) -> Result<Done, Error> {
    let set = request.set;
    let known = set.categories();
    if let Some(category) = request.categories.iter().find(|of| !known.contains(&of.as_str())) {
        return Err(ExportError::NoCategory { category: category.clone() }.into());
    }
    let is_wanted = |name: &&str| {
        request.categories.is_empty() || request.categories.iter().any(|of| of == name)
    };
    let categories = known.into_iter().filter(is_wanted).collect::<Vec<_>>();
    let rows = set.scored_rows();
    let of = categories.iter().map(|category| rows.get(category).copied().unwrap_or(0)).sum();
    let thresholds = SetThresholds::read(set)?;
    let has_maps = set
        .runs()
        .iter()
        .any(|run| run.manifest().spec["maps"].as_str().is_some_and(|maps| maps != "none"));
    let needs = Needs {
        names: request.overlays.is_some() || request.masks.is_some(),
        heat: request.overlays.is_some() && has_maps,
    };
    let survey = Survey::of(set, &categories, &thresholds, &request.choice, needs)?;
    let selection = Selection { set, categories, thresholds, choice: request.choice, survey };
    let readers = match &request.overlays {
        Some(_) => Some(Readers::new(set, request.inputs.clone())?),
        None => None,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(DRAWERS);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| ExportError::Encode {
        what: "threads",
        image_id: "the export".to_string(),
        why: error.to_string(),
    })?;
    let work = Work {
        layout: Layout::new(set, request.overlays.is_some(), request.masks.is_some()),
        read: set.runs().iter().map(AsScored::of).collect(),
        request: &request,
        selection: &selection,
        readers,
        pool,
        failed: AtomicU64::new(0),
        without_map: AtomicU64::new(0),
    };
    let mut done = work.run(of)?;
    done.failed = work.failed.load(Ordering::Relaxed);
    let without_map = work.without_map.load(Ordering::Relaxed);
    for (n, what) in [(done.failed, "failed"), (without_map, "are drawn without their map")] {
        if n > NAMED {
            tracing::warn!("{} more images {what}", n - NAMED);
        }
    }
    Ok(done)
}

impl Work<'_> {
    fn run(&self, of: u64) -> Result<Done, Error> {
        let request = self.request;
        let mut rows = Rows::begin(request, &self.layout)?;
        let overlays = request.overlays.as_ref().map(Folder::begin).transpose()?;
        let masks = request.masks.as_ref().map(Folder::begin).transpose()?;
        let folders = [overlays.as_ref(), masks.as_ref()];
        let mut done = Done { of, ..Done::default() };
        match folders.iter().any(Option::is_some) {
            false => self.blocks(&mut rows, &mut done, None)?,
            true => writing(folders, |jobs| self.blocks(&mut rows, &mut done, Some(jobs)))?,
        }
        done.annotations = rows.finish(self.selection)?;
        for (folder, count) in [(overlays, &mut done.overlays), (masks, &mut done.masks)] {
            if let Some(folder) = folder {
                *count = folder.written();
                folder.finish()?;
            }
        }
        Ok(done)
    }

    /// Sends all images through, block by block.
    fn blocks(&self, rows: &mut Rows, done: &mut Done, jobs: Option<&Jobs>) -> Result<(), Error> {
        let mut places = Places::new(self.selection.set, self.request.moved);
        let mut block = Vec::new();
        let mut last = None;
        for part in self.selection.parts() {
            if rows.is_gone() && jobs.is_none() {
                return Ok(());
            }
            let at = (part.run, part.shard);
            let (was_archive, is_new) = (places.is_archive(), last.is_some_and(|last| last != at));
            let other_run = last.is_some_and(|(run, _)| run != part.run);
            if is_new && (was_archive || other_run) {
                self.send(&mut block, rows, jobs)?;
            }
            last = Some(at);
            if self.readers.is_some() {
                places.go_to(part.run, part.shard)?;
                if places.is_archive() && !was_archive {
                    self.send(&mut block, rows, jobs)?;
                }
            }
            for image in self.selection.images(&part)? {
                block.push(self.pending(image?, &places));
                done.images += 1;
                // Members of an archive are waited for: it is read once.
                if block.len() >= BLOCK && !places.is_archive() {
                    self.send(&mut block, rows, jobs)?;
                }
            }
            (self.request.tell)(done.images, done.of);
        }
        self.send(&mut block, rows, jobs)
    }

    fn pending(&self, image: Image, places: &Places) -> Pending {
        let request = self.request;
        let is_drawn =
            self.readers.is_some() && (!request.only_flagged_overlays || image.is_flagged());
        let place = is_drawn.then(|| places.of(&image.score.image_id));
        let has_files = is_drawn || (request.masks.is_some() && image.mask.is_some());
        let name = match has_files {
            true => {
                let (category, image_id) = (&image.category, &image.score.image_id);
                self.selection.survey.name(image.run, category, image_id)
            }
            false => String::new(),
        };
        Pending { exported: Exported { image, ..Exported::default() }, name, place }
    }

    /// Makes the files of a block, then writes its rows.
    fn send(
        &self,
        block: &mut Vec<Pending>,
        rows: &mut Rows,
        jobs: Option<&Jobs>,
    ) -> Result<(), Error> {
        if block.is_empty() {
            return Ok(());
        }
        if let Some(jobs) = jobs {
            self.files(block, jobs)?;
        }
        let block = block.drain(..).map(|pending| pending.exported).collect::<Vec<_>>();
        rows.add(&self.layout, &block)
    }

    fn files(&self, block: &mut [Pending], jobs: &Jobs) -> Result<(), Error> {
        // By image: its overlay, its mask.
        let made = Mutex::new(vec![[false; 2]; block.len()]);
        let pending = &*block;
        let note = |at: usize, kind: Kind, png: Result<Vec<u8>, String>| match png {
            Ok(png) => {
                made.lock().unwrap_or_else(PoisonError::into_inner)[at][kind as usize] = true;
                jobs.send(Job { folder: kind, name: pending[at].name.clone(), png });
            }
            Err(why) => self.warn(kind, &pending[at].exported.image.score.image_id, &why),
        };
        let note = &note;
        self.pool.in_place_scope_fifo(|scope| {
            if self.request.masks.is_some() {
                for (at, of) in pending.iter().enumerate() {
                    let image = &of.exported.image;
                    if image.mask.is_some() {
                        scope.spawn_fifo(move |_| {
                            let mask =
                                mask_of(image, self.read[image.run].limits).and_then(|mask| {
                                    match mask {
                                        Some(mask) => mask_png(&mask),
                                        None => Err("it has none".to_string()),
                                    }
                                });
                            note(at, Kind::Mask, mask);
                        });
                    }
                }
            }
            let Some(readers) = &self.readers else { return };
            let drawn = pending.iter().enumerate();
            let drawn = drawn.filter_map(|(at, of)| Some((at, of, of.place.as_ref()?)));
            let drawn = drawn.collect::<Vec<_>>();
            // A block is of one run.
            let Some((_, first, _)) = drawn.first() else { return };
            let wanted = drawn
                .iter()
                .map(|(_, of, place)| (of.exported.image.score.image_id.as_str(), *place));
            let wanted = wanted.collect::<Vec<_>>();
            readers.each(first.exported.image.run, &wanted, |index, fetched| {
                let (at, of, _) = drawn[index];
                // Nobody can write what would be drawn.
                if jobs.has_failed() {
                    return;
                }
                match fetched {
                    Err(why) => note(at, Kind::Overlay, Err(why)),
                    Ok(fetched) => scope.spawn_fifo(move |_| {
                        note(at, Kind::Overlay, self.overlay(&of.exported.image, &fetched));
                    }),
                }
            });
        });
        jobs.check()?;
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (of, [overlay, mask]) in block.iter_mut().zip(made) {
            of.exported.overlay = overlay.then(|| of.name.clone());
            of.exported.mask_file = mask.then(|| of.name.clone());
        }
        Ok(())
    }

    fn overlay(&self, image: &Image, fetched: &Fetched) -> Result<Vec<u8>, String> {
        let bytes = fetched.image.as_ref().map_err(|failure| failure.message.clone())?;
        let map = image.score.map_path.as_ref().and_then(|path| {
            let store = self.selection.set.runs()[image.run].store();
            // Without its map, an image is still worth drawing.
            let told = |why: &dyn std::fmt::Display| {
                if self.without_map.fetch_add(1, Ordering::Relaxed) < NAMED {
                    let image_id = &image.score.image_id;
                    tracing::warn!(image_id, "its map is not drawn: {why}");
                }
            };
            read_map_npy(store, path).map_err(|why| told(&why)).ok()
        });
        let heat = map.as_ref().zip(self.selection.survey.heat(&image.category));
        let read = &self.read[image.run];
        let drawn = caught(Stage::Decode, || overlay(bytes, read, image, heat));
        drawn.unwrap_or_else(|Failure { message, .. }| Err(message))
    }

    fn warn(&self, kind: Kind, image_id: &str, why: &str) {
        if self.failed.fetch_add(1, Ordering::Relaxed) < NAMED {
            let what = match kind {
                Kind::Overlay => "not drawn",
                Kind::Mask => "its mask is not exported",
            };
            tracing::warn!(image_id, "{what}: {why}");
        }
    }
}
