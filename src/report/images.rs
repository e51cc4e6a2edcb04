//! The images of a page: which ones, read and drawn. In: what each gallery would show, references
//! beside them. Out: layers, each image once however many cards show it, or why it is not there. Their
//! number and bytes are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::build::Request;
use super::close_up;
use super::fetch::{self, Files};
use super::layers::{Findings, Layers, draw};
use super::picks::{Picks, SeenScore};
use super::references::Place;
use super::summary::CategorySummary;
use crate::draw::HeatScale;
use crate::error::{Error, SourceError};
use crate::image::{DecodeLimits, Mask, Picture, Preprocess, Rect, Rle, Size};
use crate::pipeline::as_scored::AsScored;
use crate::source::{Columns, FetchLimits, Fetched, Fetcher, Input};
use crate::store::Location;
use crate::tables::{BoxRow, MaskRow, RunSet, fold_parts, read_map_npy};

/// Images on a page, references among them.
const IMAGES: usize = 400;

/// Bytes of all images, before they become text, which is a third longer. With as many categories,
/// rows and cards as there may be, the page then has less than 15 MB.
const IMAGE_BYTES: usize = 6_000_000;

/// Bytes of an image where there are few.
const MOST_BYTES: usize = 60_000;

/// Files that may wait to be drawn.
const SPARE: usize = 16;

/// An image with its boxes, or why it is not there.
pub struct Shown {
    pub layers: Result<Layers, String>,
    /// The hottest part of an image with tiles.
    pub close_up: Option<CloseUp>,
    pub boxes: Vec<BoxRow>,
    /// Its nearest reference; `None` without references.
    pub reference: Option<ReferenceKey>,
}

/// An image of a run of the set, by its index, and its id there.
pub type ImageKey = (usize, String);

/// A reference: where it is, and its id there.
pub type ReferenceKey = (Place, String);

/// A part of an image, and its layers.
pub struct CloseUp {
    pub part: Rect,
    pub layers: Layers,
}

/// An image and its close-up.
type Views = (Layers, Option<CloseUp>);

/// The images of a page.
#[derive(Default)]
pub struct Images {
    /// Those of the galleries.
    pub shown: BTreeMap<ImageKey, Shown>,
    /// Their nearest references, but for those that are in a gallery themselves.
    pub references: BTreeMap<ReferenceKey, Result<Layers, String>>,
}

impl Images {
    /// An image of a gallery.
    pub fn of(&self, seen: &SeenScore) -> Option<&Shown> {
        self.shown.get(&(seen.run, seen.row.image_id.clone()))
    }

    /// The layers of a reference, or why there are none.
    pub fn reference(&self, key: &ReferenceKey) -> Result<&Layers, &str> {
        let own = match key.0 {
            Place::Input(run) => self.shown.get(&(run, key.1.clone())),
            Place::At(_) => None,
        };
        let layers = match own {
            Some(shown) => Some(&shown.layers),
            None => self.references.get(key),
        };
        match layers {
            Some(Ok(layers)) => Ok(layers),
            Some(Err(why)) => Err(why),
            None => Err("it was not asked for"),
        }
    }
}

/// An image of a gallery.
struct Picked<'a> {
    seen: &'a SeenScore,
    heat: HeatScale,
    reference: Option<(&'a Place, &'a str)>,
}

type AllPicked<'a> = BTreeMap<(usize, &'a str), Picked<'a>>;

/// Reads and draws the images of the galleries of `summaries`, and what each is compared with: `places`
/// says where the references of a run and category are, if it has some.
///
/// # Errors
/// If a table of the run cannot be read.
pub fn images(
    request: &Request,
    summaries: &BTreeMap<&str, &CategorySummary>,
    places: &BTreeMap<(usize, &str), Place>,
) -> Result<Images, Error> {
    let set = &request.data.runs;
    let picked = picked(summaries, places);
    let (mut masks, mut boxes) = (ByImage::new(), ByImage::new());
    for category in summaries.keys() {
        masks.append(&mut rows_of(set, category, &picked, |row: &MaskRow| &row.image_id)?);
        boxes.append(&mut rows_of(set, category, &picked, |row: &BoxRow| &row.image_id)?);
    }
    let references = picked.values().filter_map(|of| of.reference);
    let mut by_place = BTreeMap::<&Place, BTreeSet<&str>>::new();
    let own = (0..set.runs().len()).map(Place::Input).collect::<Vec<_>>();
    for (run, id) in picked.keys() {
        by_place.entry(&own[*run]).or_default().insert(id);
    }
    for (place, id) in references {
        by_place.entry(place).or_default().insert(id);
    }
    let total = by_place.values().map(BTreeSet::len).sum::<usize>();
    let drawing = Drawing {
        set,
        picked: &picked,
        masks: &masks,
        read: set.runs().iter().map(AsScored::of).collect(),
        newest: AsScored::of(set.newest()),
        limit: (IMAGE_BYTES / total.max(1)).min(MOST_BYTES),
    };
    let done = AtomicUsize::new(0);
    let draw = |place: &Place, id: &str, fetched: Result<Fetched, String>| {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        (request.tell)(format!("image {n} of {total}"));
        drawing.views(place, id, &fetched?)
    };
    let mut images = Images::default();
    for (place, wanted) in by_place {
        let drawn = match opened(request, place) {
            Ok(Opened { input, moved }) => {
                let (files, AsScored { columns, limits, .. }) = match place {
                    Place::Input(run) => {
                        let run = &set.runs()[*run];
                        (Files::planned(run, &wanted, moved)?, AsScored::of(run))
                    }
                    Place::At(_) => {
                        let columns = Columns::default();
                        (Files::named(&wanted), AsScored { columns, ..drawing.newest.clone() })
                    }
                };
                let room = FetchLimits::default();
                let fetcher = Fetcher::new(input, columns, limits.max_bytes, room, SPARE)?;
                fetch::each(&fetcher, files, |id, fetched| draw(place, id, fetched))
            }
            Err(why) => wanted.iter().map(|id| (id.to_string(), Err(why.clone()))).collect(),
        };
        for (id, views) in drawn {
            let (layers, close_up) = match views {
                Ok((layers, close_up)) => (Ok(layers), close_up),
                Err(why) => (Err(why), None),
            };
            match of_run(place).and_then(|run| picked.get(&(run, id.as_str()))) {
                None => drop(images.references.insert((place.clone(), id), layers)),
                Some(of) => {
                    let id = (of.seen.run, of.seen.row.image_id.clone());
                    let boxes = boxes.remove(&id).unwrap_or_default();
                    let reference = of.reference.map(|(place, id)| (place.clone(), id.to_string()));
                    images.shown.insert(id, Shown { layers, close_up, boxes, reference });
                }
            }
        }
    }
    Ok(images)
}

/// The images of the galleries: the first of each, then the second of each, until there are as many
/// as a page may have, those that they are compared with among them.
fn picked<'a>(
    summaries: &BTreeMap<&'a str, &'a CategorySummary>,
    places: &'a BTreeMap<(usize, &'a str), Place>,
) -> AllPicked<'a> {
    let shown = summaries.iter().map(|(name, of)| (of.heat(), *name, *of));
    let shown = shown.collect::<Vec<_>>();
    let longest = shown.iter().flat_map(|(.., of)| &of.picks).map(|of| of.rows().len()).max();
    let (mut picked, mut images) = (AllPicked::new(), BTreeSet::new());
    for round in 0..longest.unwrap_or(0) {
        for (heat, name, summary) in &shown {
            let rows = summary.picks.iter().filter_map(|picks: &Picks| picks.rows().get(round));
            for seen in rows {
                let SeenScore { run, row } = seen;
                let place = places.get(&(*run, *name));
                let reference = place.zip(row.reference_id.as_deref());
                let own = (Place::Input(*run), row.image_id.as_str());
                let other = reference.map(|(place, id)| (place.clone(), id));
                let both = std::iter::once(own.clone()).chain(other);
                let more = both.clone().filter(|key| !images.contains(key)).count();
                if images.len() + more <= IMAGES {
                    images.extend(both);
                    picked.insert((*run, own.1), Picked { seen, heat: *heat, reference });
                }
            }
        }
    }
    picked
}

/// The run whose input a place is.
fn of_run(place: &Place) -> Option<usize> {
    match place {
        Place::Input(run) => Some(*run),
        Place::At(_) => None,
    }
}

/// A place that can be read.
struct Opened {
    input: Input,
    /// Whether its files are others than those that were scored.
    moved: bool,
}

fn opened(request: &Request, place: &Place) -> Result<Opened, String> {
    match place {
        Place::Input(run) => match request.inputs.get(*run) {
            Some(Ok(input)) => Ok(Opened { input: input.clone(), moved: request.moved }),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the run does not say where its images are".to_string()),
        },
        Place::At(uri) => {
            let why = |error: SourceError| match error {
                // Its own words are about the images that are scored.
                SourceError::NotFound { uri } => format!("{uri}: no such file or folder any more"),
                other => other.to_string(),
            };
            let location = uri.parse::<Location>();
            let input = location.map_err(|error| error.to_string());
            let input = input.and_then(|at| Input::open(&at).map_err(why));
            match input {
                Ok(input) => Ok(Opened { input, moved: true }),
                Err(why) => {
                    tracing::warn!("references are not shown ({why})");
                    Err(why)
                }
            }
        }
    }
}

/// Rows of a table about some images, by image.
type ByImage<R> = BTreeMap<ImageKey, Vec<R>>;

fn rows_of<R: crate::tables::Row + Sync>(
    set: &RunSet,
    category: &str,
    wanted: &AllPicked,
    image_id: impl Fn(&R) -> &String + Sync + Send,
) -> Result<ByImage<R>, Error> {
    let mut all = ByImage::new();
    for (index, run) in set.runs().iter().enumerate() {
        let add = |rows: &mut ByImage<R>, part: Vec<R>| {
            for row in part {
                let id = image_id(&row);
                if wanted.contains_key(&(index, id.as_str())) {
                    rows.entry((index, id.clone())).or_default().push(row);
                }
            }
            Ok(())
        };
        let merge = |rows: &mut ByImage<R>, mut other: ByImage<R>| {
            rows.append(&mut other);
            Ok(())
        };
        all.append(&mut fold_parts(run, category, add, merge)?);
    }
    Ok(all)
}

/// What is needed to draw the images.
struct Drawing<'a> {
    set: &'a RunSet,
    picked: &'a AllPicked<'a>,
    masks: &'a ByImage<MaskRow>,
    /// How each run read its images.
    read: Vec<AsScored>,
    /// How the newest did.
    newest: AsScored,
    /// Bytes of an image.
    limit: usize,
}

impl Drawing<'_> {
    /// The layers of an image and of its close-up, or why there are none.
    fn views(&self, place: &Place, id: &str, fetched: &Fetched) -> Result<Views, String> {
        let file = fetched.image.as_ref().map_err(|failure| failure.message.clone())?;
        let (mode, limits) = self.reading(of_run(place));
        let picture = Picture::decode(file, mode, limits);
        let picture = picture.map_err(|failure| failure.message)?;
        let layers = match of_run(place).and_then(|run| self.picked.get(&(run, id))) {
            Some(of) => self.scored(of, &picture, fetched)?,
            None => {
                let drawn = draw(&picture.rgb_pixels(), Findings::NONE, self.limit);
                drawn.map(|layers| (layers, None))
            }
        };
        layers.ok_or_else(|| "it cannot be drawn".into())
    }

    /// How the images of a run are read, and those of other places.
    fn reading(&self, run: Option<usize>) -> (Preprocess, DecodeLimits) {
        let read = run.and_then(|run| self.read.get(run)).unwrap_or(&self.newest);
        (read.mode, read.limits)
    }

    /// An image of the run, with what was found in it.
    fn scored(
        &self,
        of: &Picked,
        picture: &Picture,
        fetched: &Fetched,
    ) -> Result<Option<Views>, String> {
        let SeenScore { run, row } = of.seen;
        let Size { width, height } = picture.size();
        if (i64::from(row.width), i64::from(row.height)) != (width as i64, height as i64) {
            let (was, high) = (row.width, row.height);
            return Err(format!("it is {width} × {height} now and was scored as {was} × {high}"));
        }
        // Without its map or a mask, an image is still worth showing.
        let told = |what: &str, why: &dyn std::fmt::Display| {
            tracing::warn!(image_id = row.image_id, "the {what} is not shown: {why}");
        };
        let map = row.map_path.as_ref().and_then(|path| {
            read_map_npy(self.set.runs()[*run].store(), path).map_err(|why| told("map", &why)).ok()
        });
        let truth = match fetched.masks.as_deref().unwrap_or_default() {
            [] => None,
            files => {
                let (mode, limits) = self.reading(Some(*run));
                Mask::of_files(files, picture, mode, limits)
                    .map_err(|failure| told("true mask", &failure.message))
                    .ok()
            }
        };
        let mask = self.masks.get(&(*run, row.image_id.clone())).and_then(|rows| rows.first());
        let prediction = mask.and_then(|mask| {
            let rle = Rle::from_counts(picture.size(), mask.counts.clone());
            rle.map(|rle| rle.decode()).map_err(|why| told("predicted mask", &why)).ok()
        });
        let findings = Findings {
            map: map.as_ref(),
            scale: of.heat,
            truth: truth.as_ref(),
            prediction: prediction.as_ref(),
        };
        let part =
            row.tile_grid.as_ref().and(map.as_ref()).map(|map| close_up::hottest_part(row, map));
        // Both take as much as one image without tiles.
        let limit = self.limit / if part.is_some() { 2 } else { 1 };
        let close_up = part.and_then(|part| {
            let own = close_up::Cropped::of(findings, picture.size(), part);
            let layers = draw(&picture.crop(part).rgb_pixels(), own.findings(), limit)?;
            Some(CloseUp { part, layers })
        });
        Ok(draw(&picture.rgb_pixels(), findings, limit).map(|layers| (layers, close_up)))
    }
}
