//! Numbers of the network → rows. In: inferred images. Out: one commit per shard, rows in listing
//! order. Maps, masks and pixel counts are made here, on all cores, while the network
//! works on the next batch.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use rayon::prelude::*;

use super::batch::{Begun, Inferred, Lost, Shown, Subject, TileOf, Truth};
use super::caught;
use super::decision::{Decider, Limits};
use super::pixel_groups::PixelGroups;
use super::references::References;
use super::retry::{Earlier, Kept, Retry};
use super::stitched::{OpenImages, Stitched, TileMap};
use crate::error::{Failure, FailureCode, MetricsError, Stage, StoreError, TableError};
use crate::image::{Mask, Rle, Size, mask_from_map, upsample_map};
use crate::metrics::{MapPixels, PixelSummary, connected_regions};
use crate::model::filo::anomaly_map::{AnomalyMapper, highest, image_score};
use crate::model::filo::position::{PixelBox, damp_outside};
use crate::model::grounding::phrases::Detection;
use crate::reference::{Calibration, GRID, Reference, Seen, cell_means};
use crate::source::{Category, Input, Label, Sample, Shard};
use crate::store::Store;
use crate::tables::{
    BoxRow, CategoryRows, Committed, FailureRow, KeptValue, MapsFormat, MaskRow, RunWriter,
    ScoreRow, ShardRows, map_npy,
};

/// What finishing needs to know.
pub struct FinishSettings {
    /// Columns of the input that `scores` gets.
    pub keep: Vec<Arc<str>>,
    pub mapper: AnomalyMapper,
    /// The configuration's `peak_share`.
    pub peak_share: Option<f64>,
    pub decider: Decider,
    pub references: References,
    pub maps: KeptMaps,
    pub store: Store,
    pub model_id: String,
    /// Where the images came from.
    pub input: Input,
}

/// Which raw maps are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptMaps {
    None,
    /// Those of images that are known to be flagged, to be looked at: in 16 bits.
    Flagged,
    All(MapsFormat),
}

impl KeptMaps {
    fn format(self, is_anomalous: Option<bool>) -> Option<MapsFormat> {
        match self {
            KeptMaps::None => None,
            KeptMaps::Flagged => (is_anomalous == Some(true)).then_some(MapsFormat::F16),
            KeptMaps::All(format) => Some(format),
        }
    }
}

/// Rows of the open shard.
pub struct ShardBuilder {
    shard: Arc<Shard>,
    retry: Option<Box<(Retry, Earlier)>>,
    input: Input,
    categories: BTreeMap<String, CategoryBuilder>,
    /// Images whose tiles have yet to come.
    open: OpenImages,
    /// Writes the raw maps of the last batch that had some: a bucket takes its time, and the next batch need not wait.
    maps: Option<JoinHandle<Result<(), StoreError>>>,
}

#[derive(Default)]
struct CategoryBuilder {
    scores: Vec<(usize, ScoreRow)>,
    masks: Vec<(usize, MaskRow)>,
    boxes: Vec<(usize, BoxRow)>,
    failures: Vec<(usize, FailureRow)>,
    pixels: PixelGroups,
}

/// What became of one image.
struct Finished {
    subject: Box<Subject>,
    score: ScoreRow,
    mask: Option<MaskRow>,
    boxes: Vec<BoxRow>,
    map: Vec<f32>,
    map_size: Size,
    /// Path and content, where maps are kept.
    map_file: Option<(String, Bytes)>,
}

impl ShardBuilder {
    /// No rows yet.
    pub fn new(begun: Begun, input: Input) -> Self {
        let Begun { shard, retry } = begun;
        let (categories, open) = (BTreeMap::new(), OpenImages::default());
        ShardBuilder { shard, retry, input, categories, open, maps: None }
    }

    /// Adds the rows that an image has from the shard's earlier commit.
    pub fn keep(&mut self, order: usize, image_id: &str) {
        let kept = self.retry.as_mut().and_then(|retry| retry.1.take(image_id));
        match kept {
            Some(Kept::Scored { category, score, mask, boxes }) => {
                self.categories.entry(category).or_default().add_scored(order, *score, mask, boxes);
            }
            Some(Kept::Failed { category, failure }) => {
                self.categories.entry(category).or_default().failures.push((order, failure));
            }
            // An image that is there twice: the counts will not add up.
            None => {}
        }
    }

    /// Adds an image that could not be scored; returns whether that is new: each of its tiles may say so.
    pub fn add_lost(&mut self, lost: Lost) -> bool {
        if !self.open.lose(lost.order) {
            return false;
        }
        let uri = lost
            .uri
            .unwrap_or_else(|| self.input.uri_of(lost.file.as_ref().unwrap_or(&lost.image_id)));
        let row = FailureRow::new(lost.image_id.into(), uri, lost.failure);
        self.categories.entry(lost.category.into()).or_default().failures.push((lost.order, row));
        true
    }

    /// Adds the images of a batch, and tiles to images; returns how many images are scored now, and how
    /// many failed.
    ///
    /// # Errors
    /// If a map cannot be written: the output is at fault, not the image.
    pub fn add_batch(
        &mut self,
        batch: Vec<Inferred>,
        settings: &FinishSettings,
    ) -> Result<[u64; 2], TableError> {
        let Some(category) = batch.first().map(|of| of.shown.sample().category.clone()) else {
            return Ok([0, 0]);
        };
        let shard = Arc::clone(&self.shard);
        let context = Context::new(&category, &shard.id, settings)?;
        let (mut ready, mut tiles) = (Vec::new(), Vec::new());
        for inferred in batch {
            match &inferred.shown {
                Shown::Tile(of) => tiles.push((of.clone(), inferred)),
                Shown::Image(subject) => match subject.tiles.clone() {
                    Some(grid) => self.open.add_image(inferred, &grid, context.tile_side()),
                    None => ready.push((inferred, None)),
                },
            }
        }
        let tiles = tiles.into_par_iter().map(|(of, inferred)| {
            caught(Stage::Finish, || context.tile_map(&of, inferred))
                .map_err(|failure| Lost::new(of.order, &of.sample, failure))
        });
        let mut failed = 0;
        for tile in tiles.collect::<Vec<_>>() {
            match tile {
                Ok(tile) => {
                    let stitched = self.open.add_tile(tile);
                    ready.extend(stitched.map(|(inferred, tiles)| (inferred, Some(tiles))));
                }
                Err(lost) => failed += u64::from(self.add_lost(lost)),
            }
        }
        let mut finished = ready
            .into_par_iter()
            .map(|(inferred, tiles)| {
                let (order, sample) = (inferred.shown.order(), inferred.shown.sample().clone());
                match caught(Stage::Finish, || finish(inferred, tiles, &context)) {
                    Ok(finished) => finished.map(Ok),
                    Err(failure) => Ok(Err(Lost::new(order, &sample, failure))),
                }
            })
            .collect::<Result<Vec<_>, TableError>>()?;
        let maps = finished.iter_mut().flatten().filter_map(|picture| picture.map_file.take());
        self.write_maps(maps.collect(), &settings.store)?;
        let mut scored = 0;
        for picture in finished {
            match picture.and_then(|picture| self.count_pixels(picture, settings)) {
                Ok(picture) => {
                    self.add_finished(picture);
                    scored += 1;
                }
                Err(lost) => failed += u64::from(self.add_lost(lost)),
            }
        }
        Ok([scored, failed])
    }

    /// Begins to write raw maps, if there are any; those before are written then.
    fn write_maps(&mut self, maps: Vec<(String, Bytes)>, store: &Store) -> Result<(), TableError> {
        if !maps.is_empty() {
            self.wait_for_maps()?;
            let store = store.clone();
            self.maps = Some(thread::spawn(move || store.put_all(maps, Vec::new())));
        }
        Ok(())
    }

    fn wait_for_maps(&mut self) -> Result<(), TableError> {
        match self.maps.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(written)) => Ok(written?),
            Some(Err(panic)) => resume_unwind(panic),
        }
    }

    /// Adds the map to the pixel counts of its category, where its truth is known.
    fn count_pixels(
        &mut self,
        mut picture: Finished,
        settings: &FinishSettings,
    ) -> Result<Finished, Lost> {
        let Size { width, height } = picture.map_size;
        let Subject { order, sample, truth, .. } = &*picture.subject;
        let mask = match truth {
            Truth::NoMask => return Ok(picture),
            Truth::AllNormal => None,
            Truth::Mask(mask) => Some(mask.values()),
        };
        let category = self.categories.entry(sample.category.to_string()).or_default();
        let kind = sample.kind.as_deref();
        let added = MapPixels::new(&picture.map, mask, width, height).and_then(|pixels| {
            category.pixels.add_map(kind, &pixels)?;
            Ok(PixelSummary::new(&pixels).encode())
        });
        // For whoever counts the pixels of all maps again.
        let true_mask = match settings.maps {
            KeptMaps::All(_) => truth.run_lengths(),
            KeptMaps::None | KeptMaps::Flagged => None,
        };
        match added {
            Ok(summary) => {
                picture.score.pixel_summary = Some(summary);
                picture.score.true_mask = true_mask;
                Ok(picture)
            }
            Err(error) => {
                let code = match error {
                    MetricsError::NonFinite { .. } => FailureCode::NonFinite,
                    _ => FailureCode::Internal,
                };
                let failure = Failure::new(Stage::Finish, code, error.to_string());
                Err(Lost::new(*order, sample, failure))
            }
        }
    }

    fn add_finished(&mut self, picture: Finished) {
        let Finished { subject, score, mask, boxes, .. } = picture;
        let category = self.categories.entry(subject.sample.category.into()).or_default();
        category.add_scored(subject.order, score, mask, boxes);
    }

    /// The shard that is being built.
    pub fn shard_id(&self) -> &str {
        &self.shard.id
    }

    /// Commits the rows of the whole shard, which has this many images, in listing order, if nobody has
    /// taken it over, which `is_ours` is asked; returns how many bytes were written.
    ///
    /// # Errors
    /// If an image is missing, or the output cannot be written.
    pub fn commit(
        mut self,
        pictures: u64,
        writer: &RunWriter,
        is_ours: impl Fn() -> Result<bool, TableError> + Send,
    ) -> Result<Option<u64>, TableError> {
        self.wait_for_maps()?;
        if let Some((retry, _)) = self.retry.as_deref() {
            for (category, row) in retry.partials(writer.store())? {
                let pixels = &mut self.categories.entry(category).or_default().pixels;
                let shard_id = || self.shard.id.to_string();
                pixels
                    .add_row(row)
                    .map_err(|source| TableError::Partials { shard_id: shard_id(), source })?;
            }
        }
        let rows = self.categories.into_iter().map(|(category, rows)| (category, rows.finish()));
        let rows = ShardRows { shard_id: self.shard.id.clone(), categories: rows.collect() };
        rows.check_counts(pictures)?;
        if let Some((retry, _)) = self.retry.as_deref() {
            if !is_ours()? {
                return Ok(None);
            }
            retry.withdraw(writer)?;
        }
        Ok(match writer.commit_shard(rows, is_ours)? {
            Committed::Now { bytes } => Some(bytes),
            Committed::AlreadyByAnother => Some(0),
            Committed::NotOurs => None,
        })
    }
}

impl CategoryBuilder {
    fn add_scored(
        &mut self,
        order: usize,
        score: ScoreRow,
        mask: Option<MaskRow>,
        boxes: Vec<BoxRow>,
    ) {
        self.scores.push((order, score));
        self.masks.extend(mask.map(|mask| (order, mask)));
        self.boxes.extend(boxes.into_iter().map(|found| (order, found)));
    }

    fn finish(self) -> CategoryRows {
        CategoryRows {
            scores: in_order(self.scores),
            masks: in_order(self.masks),
            boxes: in_order(self.boxes),
            failures: in_order(self.failures),
            partials: self.pixels.into_rows(),
        }
    }
}

fn in_order<T>(mut rows: Vec<(usize, T)>) -> Vec<T> {
    rows.sort_by_key(|(order, _)| *order);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// What the images of a batch, which are of one category and shard, share.
struct Context<'a> {
    shard_id: &'a str,
    settings: &'a FinishSettings,
    reference: Option<Arc<Reference>>,
    limits: Limits,
}

impl<'a> Context<'a> {
    fn new(
        category: &Category,
        shard_id: &'a str,
        settings: &'a FinishSettings,
    ) -> Result<Self, TableError> {
        let reference = settings.references.of(category.as_str())?;
        let limits = settings.decider.limits(category.as_str(), reference.as_deref());
        Ok(Context { shard_id, settings, reference, limits })
    }

    /// The references and those of their tiles; `None` without references. Only images of categories
    /// whose references know tiles are tiled.
    fn tiles(&self) -> Option<(&Reference, &Reference, &Calibration)> {
        let reference = self.reference.as_deref()?;
        let (tiles, known) = reference.tiles()?;
        Some((reference, tiles, known))
    }

    /// Of the maps of tiles.
    fn tile_side(&self) -> usize {
        match self.tiles() {
            Some(_) => GRID,
            None => self.settings.mapper.size(),
        }
    }

    /// What is said of a tile, which is kept until all of its image's are there.
    fn tile_map(&self, of: &TileOf, inferred: Inferred) -> TileMap {
        let (text, text_score) = text_map(&inferred, self.settings);
        let (map, peak, without_text) = match self.tiles().zip(inferred.features) {
            Some(((reference, tiles, known), (digest, features))) => {
                let distances = tiles.distances(&features, digest);
                let text = cell_means(&text, self.settings.mapper.size(), GRID);
                let raw = tiles.raw(&distances, &text);
                (known.map(reference, &raw.map), raw.peak, raw.without_text)
            }
            None => (text, f64::from(text_score), 0.0),
        };
        let (order, index, ms_infer) = (of.order, of.index, inferred.ms_infer);
        TileMap { order, index, map, peak, without_text, text_score, ms_infer }
    }
}

/// FiLo's own map and score.
fn text_map(inferred: &Inferred, settings: &FinishSettings) -> (Vec<f32>, f32) {
    let map = settings.mapper.map(&inferred.similarities);
    let score = image_score(inferred.text_probs[1], &map, settings.peak_share);
    (map, score)
}

/// What references are made of: features, and FiLo's own map on their grid. `None` without features.
pub(super) fn observe(inferred: &Inferred, settings: &FinishSettings) -> Option<Seen> {
    let (digest, features) = inferred.features.clone()?;
    let (map, _) = text_map(inferred, settings);
    let text = cell_means(&map, settings.mapper.size(), GRID);
    Some(Seen { digest, features, text })
}

fn finish(
    inferred: Inferred,
    tiles: Option<Stitched>,
    context: &Context,
) -> Result<Finished, TableError> {
    let Context { shard_id, settings, limits, .. } = context;
    let (mut map, mut text_score) = text_map(&inferred, settings);
    let Inferred { shown, features, text_probs, top, localisation, mut ms_infer, .. } = inferred;
    let subject = match shown {
        Shown::Image(subject) => subject,
        Shown::Tile(_) => unreachable!("tiles become part of their image"),
    };
    let [_, global_score] = text_probs;
    let size = settings.mapper.size();
    let mut map_size = Size::square(size);
    let on_grid = |map: &[f32]| cell_means(map, size, GRID);
    let compared = context.reference.as_deref().zip(features).map(|(reference, features)| {
        let (digest, features) = features;
        let distances = reference.distances(&features, digest);
        let text = on_grid(&map);
        let verdict = match (&tiles, reference.tiles()) {
            (Some(stitched), Some((of_tiles, known))) => {
                let raw = reference.raw(&distances, &text);
                let [with_text, without_text] = stitched.peaks(&raw);
                known.verdict(of_tiles, reference, with_text, without_text)
            }
            _ => reference.verdict(&distances, &text),
        };
        (reference, distances, verdict)
    });
    if let Some(found) = &localisation {
        damp_outside_boxes(&mut map, map_size, &found.accepted);
    }
    if let Some((reference, distances, _)) = &compared {
        let fused = reference.map(distances, &on_grid(&map));
        map = upsample_map(&fused, Size::square(GRID), map_size);
    }
    let mut tile_grid = None;
    if let Some(Stitched {
        map: mut of_tiles,
        size,
        shape,
        text_score: highest,
        ms_infer: ms,
        ..
    }) = tiles
    {
        if let (None, Some(found)) = (&compared, &localisation) {
            damp_outside_boxes(&mut of_tiles, size, &found.accepted);
        }
        // What fills more than a tile shows in the image as a whole, whose cells are too coarse for all else.
        let whole = upsample_map(&map, map_size, size);
        let sure = |(tile, whole): (f32, f32)| match whole > limits.mask {
            true => tile.max(whole),
            false => tile,
        };
        map = of_tiles.into_iter().zip(whole).map(sure).collect();
        map_size = size;
        text_score = text_score.max(highest);
        ms_infer += ms;
        tile_grid = Some(shape);
    }
    let verdict = compared.as_ref().map(|(_, _, verdict)| verdict);
    let score = verdict.map_or(text_score, |verdict| verdict.score);
    let map_max = highest(&map);
    let map_mean = map.iter().map(|&value| f64::from(value)).sum::<f64>() / map.len() as f64;
    let n = subject.order as u64;
    let is_anomalous = limits.score.map(|threshold| score > threshold);
    let format = settings.maps.format(is_anomalous);
    let map_file = format.map(|format| map_npy(shard_id, n, &map, map_size, format));
    let map_file = map_file.transpose()?;
    let sample = &subject.sample;
    let mask = mask_from_map(&map, map_size, subject.size, limits.mask);
    let localisation = localisation.unwrap_or_default();
    let boxes = localisation
        .accepted
        .iter()
        .map(|found| box_row(&sample.image_id, found, subject.size))
        .collect::<Vec<_>>();
    let row = ScoreRow {
        image_id: sample.image_id.to_string(),
        uri: settings.input.uri_of(sample.file()),
        width: subject.size.width as i32,
        height: subject.size.height as i32,
        score,
        text_score: Some(text_score),
        reference_score: verdict.map(|verdict| verdict.reference_score),
        p_value: verdict.map(|verdict| verdict.p_value),
        reference_id: compared
            .as_ref()
            .map(|(reference, distances, _)| reference.image_id(distances.most_alike).to_string()),
        global_score,
        map_max,
        map_mean: map_mean as f32,
        label: sample.label.map(|label| label == Label::Anomalous),
        kind: sample.kind.as_deref().map(str::to_string),
        is_anomalous,
        threshold: limits.score,
        position: localisation.position.map(|position| position.as_str().to_string()),
        n_boxes: boxes.len() as i32,
        top_description: Some(top.state.to_string()),
        top_similarity: Some(top.similarity),
        map_path: map_file.as_ref().map(|(path, _)| path.clone()),
        true_mask: None,
        pixel_summary: None,
        digest: Some(subject.digest.short_hex()),
        ms_fetch: subject.took.fetch_ms,
        ms_decode: Some(subject.took.decode_ms),
        ms_infer,
        n_tiles: tile_grid.map(|grid| grid.area() as i32),
        tile_grid: tile_grid.map(|Size { width, height }| format!("{width}x{height}")),
        model_id: settings.model_id.clone(),
        kept: kept(sample, &settings.keep),
    };
    let mask = mask_row(&sample.image_id, &mask, limits.mask);
    Ok(Finished { subject, score: row, mask, boxes, map, map_size, map_file })
}

/// The values of the columns `keep` that the listing, or the archive, has of an image.
fn kept(sample: &Sample, keep: &[Arc<str>]) -> Vec<KeptValue> {
    let listed = sample.kept.as_deref().and_then(|list| serde_json::from_str(list).ok());
    let listed: Vec<Option<String>> = listed.unwrap_or_default();
    let values = listed.into_iter().chain(repeat(None));
    keep.iter().cloned().zip(values).map(|(column, value)| KeptValue { column, value }).collect()
}

fn damp_outside_boxes(map: &mut [f32], size: Size, accepted: &[Detection]) {
    let boxes = accepted.iter().map(|found| PixelBox::new(found.bbox, size.width, size.height));
    damp_outside(map, size, &boxes.collect::<Vec<_>>());
}

/// The box in pixels of the original image, cut at its edges.
fn box_row(image_id: &str, found: &Detection, size: Size) -> BoxRow {
    let PixelBox { x0, y0, x1, y1 } = PixelBox::new(found.bbox, size.width, size.height);
    let (right, bottom) = (size.width as f32, size.height as f32);
    BoxRow {
        image_id: image_id.to_string(),
        x0: x0.clamp(0.0, right),
        y0: y0.clamp(0.0, bottom),
        x1: x1.clamp(0.0, right),
        y1: y1.clamp(0.0, bottom),
        logit: found.probability,
        phrase: found.phrase.clone(),
    }
}

/// `None` for an empty mask.
fn mask_row(image_id: &str, mask: &Mask, threshold: f32) -> Option<MaskRow> {
    let Size { width, height } = mask.size();
    let regions = connected_regions(mask.values(), width, height).ok()?.count();
    if regions == 0 {
        return None;
    }
    let rle = Rle::encode(mask);
    let bbox = rle.bbox();
    Some(MaskRow {
        image_id: image_id.to_string(),
        height: height as i32,
        width: width as i32,
        counts: rle.counts().to_string(),
        area: rle.area_px() as i64,
        bbox_x: bbox.x as i32,
        bbox_y: bbox.y as i32,
        bbox_width: bbox.width as i32,
        bbox_height: bbox.height as i32,
        threshold,
        regions: regions as i32,
    })
}
