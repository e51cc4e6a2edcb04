//! Three voices into one: the distance to the nearest patch, the position-wise distance, FiLo's own map.
//! In: their maps. Out: one map and one score. Each voice is brought to one scale by its own distribution
//! over the references, then weighted by what the references say of it; no weight is learnt from labels.

use serde::{Deserialize, Serialize};

use super::grid::GRID;

/// Added to distances before their logarithm.
const LEAST_DISTANCE: f64 = 1e-3;

/// Share of a voice's median at a cell in what is taken off there; the rest is its median everywhere.
const OWN_PLACE: f64 = 0.5;

/// The least spread of a voice.
const LEAST_SPREAD: f64 = 0.01;

/// From a mean absolute deviation to the standard deviation of a normal distribution, about.
const DEVIATIONS: f64 = 1.25;

/// Place tells nothing where this ratio is below the first, and counts fully from the second: the squared
/// distance to the nearest patch anywhere over that to the mean at the same place. (Chosen as 1.2 and 2.0
/// for distances per channel of 64 and of 176 channels.)
const STRUCTURE: [f64; 2] = [1.2 * 64.0 / 176.0, 2.0 * 64.0 / 176.0];

/// Below this ratio images are of parts that lie anywhere: small windows, few cells, no place.
const LOOSE: f64 = 1.3 * 64.0 / 176.0;

/// FiLo's map counts fully up to this correlation with the nearest-patch map over the references, and not
/// at all from the second: where both follow the same texture it says nothing of its own.
const AGREEMENT: [f64; 2] = [0.4, 0.6];

/// Weights beside that of the nearest patch, which is 1.
const POSITION: f64 = 0.5;
const TEXT: f64 = 0.4;

/// Standard scores are cut here before they are correlated.
const CUT: f64 = 3.0;

/// Cells of a map, the highest ones, whose mean is the score: 1 % of 256 for parts that lie anywhere, 5 %
/// for all else.
const TOP_LOOSE: usize = 3;
const TOP: usize = 13;

/// The raw score that becomes 0.75.
const SQUASH: f64 = 6.0;

/// The maps of one image, each `[cells]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Voices {
    /// Logarithms of distances.
    pub nearest: Vec<f64>,
    pub position: Vec<f64>,
    /// FiLo's own map.
    pub text: Vec<f64>,
}

impl Voices {
    fn all(&self) -> [&[f64]; 3] {
        [&self.nearest, &self.position, &self.text]
    }
}

/// Logarithms of distances.
pub fn logarithms(distances: &[f64]) -> Vec<f64> {
    distances.iter().map(|distance| (distance + LEAST_DISTANCE).ln()).collect()
}

/// What the maps of references are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Images,
    /// Parts of images from anywhere: nothing has its place, but networks see less at the edges, which must
    /// not show as a seam. What is usual follows from row and column.
    Tiles,
}

/// How the maps of one voice are brought to the common scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What is usual at each cell.
    pub middle: Vec<f32>,
    pub spread: f32,
}

impl Scale {
    /// Of the maps of the references.
    fn new(maps: &[&[f64]], shown: Shows) -> Self {
        let cells = maps.first().map_or(0, |map| map.len());
        let everywhere = median(&mut maps.concat());
        let median_of = |some: &[usize]| {
            let values = maps.iter().flat_map(|map| some.iter().map(|cell| map[*cell]));
            median(&mut values.collect::<Vec<_>>())
        };
        let (medians, share) = match shown {
            Shows::Images => ((0..cells).map(|cell| median_of(&[cell])).collect(), OWN_PLACE),
            Shows::Tiles => {
                let lines = |along: usize, across: usize| {
                    let line =
                        |n: usize| (0..GRID).map(|i| n * along + i * across).collect::<Vec<_>>();
                    (0..GRID).map(|n| median_of(&line(n))).collect::<Vec<_>>()
                };
                let (rows, columns) = (lines(GRID, 1), lines(1, GRID));
                let usual = |i: usize| rows[i / GRID] + columns[i % GRID] - everywhere;
                ((0..cells).map(usual).collect::<Vec<_>>(), 1.0)
            }
        };
        let deviation = |map: &&[f64]| {
            map.iter().zip(&medians).map(|(value, of)| (value - of).abs()).sum::<f64>()
        };
        let deviations = maps.iter().map(deviation).sum::<f64>();
        let spread = DEVIATIONS * deviations / (maps.len() * cells).max(1) as f64;
        let middle = |of: &f64| (share * of + (1.0 - share) * everywhere) as f32;
        Scale {
            middle: medians.iter().map(middle).collect(),
            spread: spread.max(LEAST_SPREAD) as f32,
        }
    }

    fn apply(&self, map: &[f64]) -> impl Iterator<Item = f64> {
        map.iter()
            .zip(&self.middle)
            .map(|(value, of)| (value - f64::from(*of)) / f64::from(self.spread))
    }
}

/// Scales and weights of the voices.
#[derive(Debug, Clone, PartialEq)]
pub struct Fusion {
    /// In the order of [`Voices`].
    pub scales: [Scale; 3],
    pub weights: Weights,
}

/// How much the voices count beside the nearest patch, whose weight is 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    pub position: f32,
    pub text: f32,
    /// Cells whose mean is the score.
    pub top: usize,
}

/// What the nearest patch compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// Cells as they are, in which small defects show.
    Cells,
    /// Cells with their neighbours.
    Neighbourhoods,
}

/// What kind of images the references are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Structure {
    pub window: Window,
    /// How much place counts, 0 to 1.
    place: f64,
    top: usize,
}

impl Structure {
    /// From the squared distance to the nearest patch anywhere over that to the mean at the same place.
    pub fn new(ratio: f64) -> Self {
        match ratio < LOOSE {
            true => Structure { window: Window::Cells, place: 0.0, top: TOP_LOOSE },
            false => Structure {
                window: Window::Neighbourhoods,
                place: ramp(ratio, STRUCTURE),
                top: TOP,
            },
        }
    }
}

impl Fusion {
    /// From the voices of the references, each compared with the others.
    pub fn new(references: &[Voices], structure: Structure, shown: Shows) -> Self {
        let maps = |voice: usize| references.iter().map(|of| of.all()[voice]).collect::<Vec<_>>();
        let scales = [0, 1, 2].map(|voice| Scale::new(&maps(voice), shown));
        let Structure { place, top, .. } = structure;
        let cut = |voice: usize| {
            let maps = references.iter().flat_map(|of| scales[voice].apply(of.all()[voice]));
            maps.map(|z| z.clamp(-CUT, CUT)).collect::<Vec<_>>()
        };
        let agreement = correlation(&cut(0), &cut(2));
        let text = TEXT * place * (1.0 - ramp(agreement, AGREEMENT));
        Fusion {
            scales,
            weights: Weights { position: (POSITION * place) as f32, text: text as f32, top },
        }
    }

    /// The score of a map, not squashed: the mean of its highest cells.
    pub fn peak(&self, map: &[f64]) -> f64 {
        let mut cells = map.to_vec();
        cells.sort_unstable_by(|a, b| b.total_cmp(a));
        cells.truncate(self.weights.top);
        cells.iter().sum::<f64>() / cells.len().max(1) as f64
    }

    /// The weighted sum of the voices, 0 where all are as usual.
    pub fn map(&self, voices: &Voices) -> Vec<f64> {
        self.weighted(voices, self.weights)
    }

    /// The same without FiLo's map.
    pub fn map_without_text(&self, voices: &Voices) -> Vec<f64> {
        self.weighted(voices, Weights { text: 0.0, ..self.weights })
    }

    fn weighted(&self, voices: &Voices, weights: Weights) -> Vec<f64> {
        let [nearest, position, text] = voices.all();
        let nearest = self.scales[0].apply(nearest);
        let others = self.scales[1].apply(position).zip(self.scales[2].apply(text));
        let sum = |(nearest, (position, text)): (f64, (f64, f64))| {
            nearest + f64::from(weights.position) * position + f64::from(weights.text) * text
        };
        nearest.zip(others).map(sum).collect()
    }
}

/// 0 up to the first end, 1 from the second, straight between them.
fn ramp(value: f64, [start, end]: [f64; 2]) -> f64 {
    ((value - start) / (end - start)).clamp(0.0, 1.0)
}

/// Pearson's correlation; 1 where one of the two is constant, and so says nothing of its own.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    let norm = (aa * bb).sqrt();
    if norm > 1e-12 { ab / norm } else { 1.0 }
}

/// The median, of an even number of values the mean of the two in the middle. Reorders them.
pub fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    match below.iter().copied().max_by(f64::total_cmp).filter(|_| even) {
        Some(lower) => f64::midpoint(lower, *upper),
        None => *upper,
    }
}

/// From raw scores and map values to 0..=1: 0 becomes 0.5, and order is kept however far out.
pub fn squashed(raw: f64) -> f32 {
    (0.5 + 0.5 * raw / (raw.abs() + SQUASH)) as f32
}

/// The raw value that [`squashed`] made this of.
pub fn unsquashed(value: f32) -> f64 {
    let share = 2.0 * f64::from(value) - 1.0;
    SQUASH * share / (1.0 - share.abs()).max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_numpy() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn squashing_keeps_order_far_out() {
        assert_eq!([squashed(-6.0), squashed(0.0), squashed(6.0)], [0.25, 0.5, 0.75]);
        assert!(squashed(5e4) > squashed(4e4) && squashed(1e9) <= 1.0);
        for raw in [-3.0, 0.0, 0.5, 11.0] {
            assert!((unsquashed(squashed(raw)) - raw).abs() < 1e-4, "{raw}");
        }
    }

    /// What networks see less of at the edges of a tile would be a seam in the joined map.
    #[test]
    fn what_is_usual_at_the_edges_of_tiles_is_taken_off_whole() {
        let mut random = fastrand::Rng::with_seed(3);
        let edge = |at: usize| if at == 0 || at == GRID - 1 { 2.0 } else { 0.0 };
        let maps = (0..12)
            .map(|_| {
                let cell = |i: usize| edge(i / GRID) + edge(i % GRID) + 0.1 * random.f64();
                (0..GRID * GRID).map(cell).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        let maps = maps.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let highest = |shown| {
            let scale = Scale::new(&maps, shown);
            let middles = scale.apply(maps[0]).map(|z| z * f64::from(scale.spread));
            middles.fold(0.0, |highest: f64, z| highest.max(z.abs()))
        };
        assert!(highest(Shows::Tiles) < 0.1, "{}", highest(Shows::Tiles));
        assert!(highest(Shows::Images) > 0.9, "a place in an image counts by half");
    }

    #[test]
    fn a_voice_that_says_the_same_everywhere_has_no_weight() {
        let voices = |i: usize| Voices {
            nearest: (0..4).map(|cell| ((i * 7 + cell * 3) % 5) as f64).collect(),
            position: vec![0.0; 4],
            text: vec![0.5; 4],
        };
        let references = (0..10).map(voices).collect::<Vec<_>>();
        let fusion = Fusion::new(&references, Structure::new(5.0), Shows::Images);
        assert_eq!(fusion.weights, Weights { position: 0.5, text: 0.0, top: 13 });
        let loose = Fusion::new(&references, Structure::new(0.45), Shows::Images).weights;
        assert_eq!(loose, Weights { position: 0.0, text: 0.0, top: 3 });
        // As usual in every voice.
        let usual = Voices {
            nearest: fusion.scales[0].middle.iter().map(|of| f64::from(*of)).collect(),
            ..voices(0)
        };
        assert!(fusion.map(&usual).iter().all(|z| z.abs() < 1e-6));
    }
}
