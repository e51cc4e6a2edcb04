//! The references of a category: built from what the networks saw of them, kept in a file, asked about
//! an image. All that is compared comes from the references alone, never from the run.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distance::with_neighbours;
use super::file::{self, Numbers, Tensors, as_f16};
use super::fusion::{
    Fusion, Scale, Shows, Structure, Voices, Weights, Window, logarithms, median, squashed,
    unsquashed,
};
use super::nearest::{BANK, CHANNELS, Nearest, Projection};
use super::null::quantile;
use super::position::Position;
use super::tiles::{Calibration, Peaks};
use super::{
    Digest, Distances, GRID, MIN_REFERENCES, MadeBy, NullScores, Origin, ReferenceImage, Verdict,
};
use crate::tables::LeftOut;

const CELLS: usize = GRID * GRID;

/// Bank images that tell the structure of the references.
const STRUCTURE_BANK: usize = 32;

/// Masks begin half way between the score from which an image is flagged at this rate and the map value
/// that this share of the references' cells exceeds.
const MASK_RATE: f64 = 0.01;

/// The references of a category.
#[derive(Debug, Clone)]
pub struct Reference {
    header: Header,
    channels: usize,
    standards: Standards,
    projection: Projection,
    position: Position,
    nearest: Nearest,
    fusion: Fusion,
    by_digest: HashMap<Digest, usize>,
    /// Where the images were tiled.
    tiles: Option<Box<Tiles>>,
}

/// What the references say of an image or a tile, not squashed.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// On the grid.
    pub map: Vec<f64>,
    pub peak: f64,
    /// The score without FiLo's own map.
    pub without_text: f64,
}

/// What is not in a tensor.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    made_by: MadeBy,
    origin: Origin,
    /// Ids and digests, in the order of choice; the first ones are the bank.
    images: Vec<(String, String)>,
    left_out: Vec<LeftOut>,
    window: Window,
    weights: Weights,
    /// Spreads of the voices.
    spreads: [f32; 3],
    /// Of the references' own scores, not squashed.
    null: NullScores,
    mask_threshold: f32,
    /// The references' own scores, each without itself.
    scores: Vec<f32>,
    /// In a file, of the tiles of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiles: Option<Box<TilesHeader>>,
}

/// What is not in a tensor of the references' tiles.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TilesHeader {
    header: Header,
    calibration: Calibration,
}

/// References of tiles, and what is known of images that were tiled.
#[derive(Debug, Clone)]
struct Tiles {
    reference: Reference,
    calibration: Calibration,
}

/// What names of tensors of the tiles begin with.
const OF_TILES: &str = "tiles.";

impl Reference {
    /// `None` if fewer than [`MIN_REFERENCES`] images differ.
    pub fn build(
        mut images: Vec<ReferenceImage>,
        left_out: Vec<LeftOut>,
        origin: Origin,
        made_by: MadeBy,
        shown: Shows,
    ) -> Option<Self> {
        let mut digests = std::collections::HashSet::new();
        images.retain(|image| digests.insert(image.seen.digest));
        if images.len() < MIN_REFERENCES {
            return None;
        }
        let channels = images[0].seen.features.len() / CELLS;
        let cells = images.par_iter().map(|of| of.seen.features.clone()).collect::<Vec<_>>();
        let around = cells.par_iter().map(|x| with_neighbours(x, GRID, channels));
        let around = around.collect::<Vec<_>>();
        let standards = Standards {
            cells: Standard::new(&cells, channels),
            around: Standard::new(&around, channels),
        };
        let around = around.into_par_iter().map(|x| standards.around.apply(x)).collect::<Vec<_>>();
        let projection = Projection::new(channels);
        let position = Position::new(&around);
        let places = around.par_iter().map(|x| position.distances(x, channels, true));
        let places = places.collect::<Vec<_>>();
        let wide = around.par_iter().map(|x| projection.apply(x)).collect::<Vec<_>>();
        let structure = {
            let some = &wide[..wide.len().min(STRUCTURE_BANK)];
            let near = distances_to_others(&bank(some), &wide);
            let mut near = near.concat().into_iter().map(|of| of * of).collect::<Vec<_>>();
            let mut plain = places.iter().flat_map(|of| &of.plain).copied().collect::<Vec<_>>();
            // Distances of projections are per projected channel, those to the mean per channel.
            let per_channel = CHANNELS as f64 / channels as f64;
            Structure::new(median(&mut near) * per_channel / median(&mut plain).max(1e-12))
        };
        let patches = match structure.window {
            Window::Neighbourhoods => wide,
            Window::Cells => {
                let patches = cells.into_par_iter().map(|x| standards.cells.apply(x));
                patches.map(|x| projection.apply(&x)).collect()
            }
        };
        let nearest = bank(&patches[..patches.len().min(BANK)]);
        let near = distances_to_others(&nearest, &patches);
        let voices = near.iter().zip(&places).zip(&images).map(|((near, place), image)| Voices {
            nearest: logarithms(near),
            position: logarithms(&place.scaled),
            text: image.seen.text.iter().map(|value| f64::from(*value)).collect(),
        });
        let voices = voices.collect::<Vec<_>>();
        let fusion = Fusion::new(&voices, structure, shown);
        let maps = voices.par_iter().map(|voices| fusion.map(voices)).collect::<Vec<_>>();
        let peaks = maps.iter().map(|map| fusion.peak(map)).collect::<Vec<_>>();
        let null = match origin {
            Origin::Normal => NullScores::normal(&peaks),
            Origin::Archive => NullScores::contaminated(&peaks),
        };
        let mut cells = maps.concat();
        cells.sort_unstable_by(f64::total_cmp);
        let mask = f64::midpoint(null.threshold(MASK_RATE), quantile(&cells, 1.0 - MASK_RATE));
        let names = images.into_iter().map(|of| (of.image_id, of.seen.digest.to_hex()));
        let header = Header {
            made_by,
            origin,
            images: names.collect(),
            left_out,
            window: structure.window,
            weights: fusion.weights,
            spreads: fusion.scales.each_ref().map(|scale| scale.spread),
            null,
            mask_threshold: squashed(mask),
            scores: peaks.into_iter().map(squashed).collect(),
            tiles: None,
        };
        Some(Reference::assembled(header, standards, position, nearest, fusion))
    }

    fn assembled(
        header: Header,
        standards: Standards,
        position: Position,
        nearest: Nearest,
        fusion: Fusion,
    ) -> Self {
        let digests = header.images.iter().enumerate();
        let digests = digests.filter_map(|(i, (_, hex))| Some((Digest::from_hex(hex)?, i)));
        let by_digest = digests.collect();
        let channels = standards.cells.means.len();
        let projection = Projection::new(channels);
        Reference {
            header,
            channels,
            standards,
            projection,
            position,
            nearest,
            fusion,
            by_digest,
            tiles: None,
        }
    }

    /// What decided its numbers.
    pub fn made_by(&self) -> &MadeBy {
        &self.header.made_by
    }

    /// How many images it is made of.
    pub fn count(&self) -> usize {
        self.header.images.len()
    }

    /// Chosen images that could not be read.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.header.left_out
    }

    /// The id of a reference.
    pub fn image_id(&self, index: usize) -> &str {
        &self.header.images[index].0
    }

    /// The references' own scores, each compared with the others.
    pub fn scores(&self) -> &[f32] {
        &self.header.scores
    }

    /// What they are taken to be.
    pub fn origin(&self) -> Origin {
        self.header.origin
    }

    /// How far an image with these features is from the references.
    pub fn distances(&self, features: &[f32], digest: Digest) -> Distances {
        let own = self.by_digest.get(&digest).copied();
        let around = with_neighbours(features, GRID, self.channels);
        let around = self.standards.around.apply(around);
        let patches = match self.header.window {
            Window::Neighbourhoods => self.projection.apply(&around),
            Window::Cells => self.projection.apply(&self.standards.cells.apply(features.to_vec())),
        };
        let near = self.nearest.distances(&patches, own);
        let place = self.position.distances(&around, self.channels, own.is_some());
        Distances {
            position: logarithms(&place.scaled),
            nearest: logarithms(&near.distances),
            most_alike: near.most_alike,
        }
    }

    /// References of tiles, and what is known of images that were tiled; `None` where none was.
    pub fn tiles(&self) -> Option<(&Reference, &Calibration)> {
        self.tiles.as_deref().map(|of| (&of.reference, &of.calibration))
    }

    /// The same with references of tiles, and the peaks of images that were tiled.
    #[must_use]
    pub fn with_tiles(self, reference: Reference, peaks: &[Peaks]) -> Self {
        let calibration = Calibration::new(&reference, &self, peaks, self.header.origin);
        Reference { tiles: Some(Box::new(Tiles { reference, calibration })), ..self }
    }

    /// The distribution of raw scores of normal images.
    pub(super) fn null(&self) -> &NullScores {
        &self.header.null
    }

    /// The raw map and score of an image at these distances, and the score without FiLo's own map.
    pub fn raw(&self, distances: &Distances, text: &[f32]) -> Raw {
        let voices = voices(distances, text);
        let map = self.fusion.map(&voices);
        let without_text = self.fusion.peak(&self.fusion.map_without_text(&voices));
        Raw { peak: self.fusion.peak(&map), without_text, map }
    }

    /// The raw map value at which masks begin.
    pub(super) fn raw_mask(&self) -> f64 {
        unsquashed(self.header.mask_threshold)
    }

    /// The verdict on an image with these raw scores, with and without FiLo's own map.
    pub(super) fn verdict_on(&self, raw: f64, without_text: f64) -> Verdict {
        Verdict {
            score: squashed(raw),
            reference_score: squashed(without_text),
            p_value: self.header.null.p_value(raw) as f32,
        }
    }

    /// The verdict on an image at these distances, with FiLo's own map on the grid.
    pub fn verdict(&self, distances: &Distances, text: &[f32]) -> Verdict {
        let Raw { peak, without_text, .. } = self.raw(distances, text);
        self.verdict_on(peak, without_text)
    }

    /// The fused map on the grid, 0 to 1.
    pub fn map(&self, distances: &Distances, text: &[f32]) -> Vec<f32> {
        self.fusion.map(&voices(distances, text)).into_iter().map(squashed).collect()
    }

    /// The score above which p-values are at most `rate`.
    pub fn score_threshold(&self, rate: f64) -> f32 {
        squashed(self.header.null.threshold(rate))
    }

    /// The map value above which a pixel belongs to the mask.
    pub fn mask_threshold(&self) -> f32 {
        self.header.mask_threshold
    }

    /// Its file.
    pub fn encode(&self) -> Vec<u8> {
        let mut tensors = self.tensors("");
        let tiles = self.tiles.as_deref().map(|Tiles { reference, calibration }| {
            tensors.extend(reference.tensors(OF_TILES));
            let (header, calibration) = (reference.header.clone(), calibration.clone());
            Box::new(TilesHeader { header, calibration })
        });
        file::encode(&Header { tiles, ..self.header.clone() }, &tensors)
    }

    /// What it is made of, with names that begin with `prefix`.
    fn tensors(&self, prefix: &str) -> Tensors {
        let (n, channels) = (self.count(), self.channels);
        let grid = vec![CELLS, channels];
        let Standards { cells, around } = &self.standards;
        let middles = self.fusion.scales.iter().flat_map(|scale| scale.middle.clone()).collect();
        let bank = self.nearest.patches();
        let tensors = [
            ("means", vec![2, channels], Numbers::F32([&cells.means[..], &around.means].concat())),
            (
                "factors",
                vec![2, channels],
                Numbers::F32([&cells.factors[..], &around.factors].concat()),
            ),
            ("sums", grid.clone(), Numbers::F32(self.position.sums.clone())),
            ("squares", grid, Numbers::F32(self.position.squares.clone())),
            ("bank", vec![n.min(BANK), CELLS, CHANNELS], Numbers::F16(bank.to_vec())),
            ("middles", vec![3, CELLS], Numbers::F32(middles)),
        ];
        let named = |(name, shape, numbers)| (format!("{prefix}{name}"), (shape, numbers));
        Tensors::from(tensors.map(named))
    }

    /// From [`Reference::encode`].
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (mut header, mut tensors) = file::decode::<Header>(bytes)?;
        let tiles = header.tiles.take();
        let whole = Reference::of_tensors(header, &mut tensors, "")?;
        let Some(tiles) = tiles else { return Ok(whole) };
        let TilesHeader { header, calibration } = *tiles;
        let reference = Reference::of_tensors(header, &mut tensors, OF_TILES)?;
        if reference.channels != whole.channels {
            return Err("has tiles with other features".to_string());
        }
        Ok(Reference { tiles: Some(Box::new(Tiles { reference, calibration })), ..whole })
    }

    fn of_tensors(header: Header, tensors: &mut Tensors, prefix: &str) -> Result<Self, String> {
        let channels = match tensors.get(&format!("{prefix}factors")) {
            Some((shape, _)) if shape.len() == 2 && shape[1] > 0 => shape[1],
            _ => return Err("has no factors".to_string()),
        };
        let n = header.images.len();
        let mut floats =
            |name: &str, shape: &[usize]| file::floats(tensors, &format!("{prefix}{name}"), shape);
        let means = floats("means", &[2, channels])?;
        let factors = floats("factors", &[2, channels])?;
        let [cells, around] = [0, 1].map(|which| Standard {
            means: means[which * channels..][..channels].to_vec(),
            factors: factors[which * channels..][..channels].to_vec(),
        });
        let standards = Standards { cells, around };
        let [sums, squares] =
            [floats("sums", &[CELLS, channels])?, floats("squares", &[CELLS, channels])?];
        let bank = floats("bank", &[n.min(BANK), CELLS, CHANNELS])?;
        let middles = floats("middles", &[3, CELLS])?;
        let scale = |voice: usize| Scale {
            middle: middles[voice * CELLS..][..CELLS].to_vec(),
            spread: header.spreads[voice],
        };
        let fusion = Fusion { scales: [0, 1, 2].map(scale), weights: header.weights };
        let position = Position { count: n, sums, squares };
        Ok(Reference::assembled(header, standards, position, Nearest::new(bank, CELLS), fusion))
    }
}

/// A bank of projected features, as the file has them, so that whoever makes the file scores like whoever
/// reads it.
fn bank(patches: &[Vec<f32>]) -> Nearest {
    Nearest::new(patches.iter().flatten().copied().map(as_f16).collect(), CELLS)
}

/// The distances of each reference to the bank without itself.
fn distances_to_others(bank: &Nearest, references: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let others = references.par_iter().enumerate().map(|(i, x)| bank.distances(x, Some(i)));
    others.map(|of| of.distances).collect()
}

fn voices(distances: &Distances, text: &[f32]) -> Voices {
    Voices {
        nearest: distances.nearest.clone(),
        position: distances.position.clone(),
        text: text.iter().map(|value| f64::from(*value)).collect(),
    }
}

/// The least standard deviation of a channel.
const LEAST_DEVIATION: f64 = 1e-3;

/// Standard deviations beyond which a value is cut.
const MOST_DEVIATIONS: f32 = 30.0;

/// The two forms of the features: cells as they are, in which small defects show, for the nearest patch;
/// each with its neighbours for what is usual at a place.
#[derive(Debug, Clone, PartialEq)]
struct Standards {
    cells: Standard,
    around: Standard,
}

/// Brings each channel to mean 0 and variance 1 over all references and cells.
#[derive(Debug, Clone, PartialEq)]
struct Standard {
    /// `[channels]`.
    means: Vec<f32>,
    /// One over the standard deviations, `[channels]`.
    factors: Vec<f32>,
}

impl Standard {
    fn new(references: &[Vec<f32>], channels: usize) -> Self {
        let of_channel = |channel: usize| {
            let values = references.iter().flat_map(|of| of.iter().skip(channel).step_by(channels));
            let values = values.map(|value| f64::from(*value));
            let n = (references.len() * CELLS) as f64;
            let mean = values.clone().sum::<f64>() / n;
            let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            (mean as f32, (1.0 / variance.sqrt().max(LEAST_DEVIATION)) as f32)
        };
        let (means, factors) = (0..channels).into_par_iter().map(of_channel).unzip();
        Standard { means, factors }
    }

    fn apply(&self, mut x: Vec<f32>) -> Vec<f32> {
        for cell in x.chunks_exact_mut(self.means.len()) {
            let channels = cell.iter_mut().zip(&self.means).zip(&self.factors);
            for ((value, mean), factor) in channels {
                *value = ((*value - mean) * factor).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS);
            }
        }
        x
    }
}
