//! The pixels of one image in some hundred bytes: scores at fixed ranks, from which its effect on a
//! metric of a whole set can be told. In: a map with its regions. Out: bytes, and back. Reading
//! trusts nothing. Never here: what is exact (that is the sketch).

use super::map_pixels::MapPixels;
use super::sketch::codec::{Bytes, put};
use super::sketch::grid::score_of;

/// Changes with every change of the format.
const VERSION: u64 = 1;

/// Normal pixels that are looked at, evenly over the map.
const SAMPLE: usize = 8192;

/// Pixels of one region that are looked at.
const REGION_SAMPLE: usize = 64;

/// The highest normal scores matter most: each half of what is left is told apart, so often.
const HALVES: usize = 12;

/// Scores that stand for each half.
const PER_HALF: usize = 2;

/// Scores that stand for the pixels in regions.
const ANOMALOUS: usize = 16;

/// Scores of one image at fixed ranks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PixelSummary {
    pub n_normal: u64,
    pub n_anomalous: u64,
    pub n_regions: u64,
    /// Highest first, at the ranks of [`normal_ranks`]; none without normal pixels.
    normal: Vec<f32>,
    /// Pixels in regions, evenly spread ranks; none without regions.
    anomalous: Vec<f32>,
    /// The same, each region with the same weight.
    regions: Vec<f32>,
}

/// Rank as a share of all normal pixels, highest first, and the share that the score there stands
/// for.
fn normal_ranks() -> impl Iterator<Item = (f64, f64)> {
    (0..HALVES).flat_map(|half| {
        let end = 0.5f64.powi(half as i32);
        let start = if half + 1 == HALVES { 0.0 } else { end / 2.0 };
        let share = (end - start) / PER_HALF as f64;
        (0..PER_HALF).map(move |i| (start + share * (i as f64 + 0.5), share))
    })
}

impl PixelSummary {
    /// Of one map.
    pub fn new(pixels: &MapPixels) -> Self {
        let (n_regions, n_anomalous) = (pixels.n_regions() as u64, pixels.n_anomalous());
        let n_normal = pixels.n_pixels() - n_anomalous;
        let step = (n_normal as usize).div_ceil(SAMPLE).max(1);
        let mut keys = pixels.normal_keys().step_by(step).collect::<Vec<_>>();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let at = |rank: f64| keys.get((rank * keys.len() as f64) as usize).copied().map(score_of);
        let normal = normal_ranks().filter_map(|(rank, _)| at(rank)).collect();

        // Of each region some keys with their share of the region.
        let mut by_pixel = Vec::new();
        let mut by_region = Vec::new();
        for region in pixels.keys_by_region() {
            let step = region.len().div_ceil(REGION_SAMPLE);
            let area = region.len() as f64;
            let sample = region.iter().rev().step_by(step).copied().collect::<Vec<_>>();
            let n = sample.len() as f64;
            by_pixel.extend(sample.iter().map(|key| (*key, area / n)));
            by_region.extend(sample.iter().map(|key| (*key, 1.0 / n)));
        }
        let (anomalous, regions) = (at_even_ranks(by_pixel), at_even_ranks(by_region));
        PixelSummary { n_normal, n_anomalous, n_regions, normal, anomalous, regions }
    }

    /// Scores of normal pixels with the number of pixels that each stands for.
    pub(super) fn normal(&self) -> impl Iterator<Item = (f32, f64)> {
        let shares = normal_ranks().map(|(_, share)| share * self.n_normal as f64);
        self.normal.iter().copied().zip(shares)
    }

    /// Scores in regions with the number of pixels that each stands for.
    pub(super) fn anomalous(&self) -> impl Iterator<Item = (f32, f64)> {
        let share = self.n_anomalous as f64 / ANOMALOUS as f64;
        self.anomalous.iter().map(move |score| (*score, share))
    }

    /// Scores in regions with the number of whole regions that each stands for.
    pub(super) fn regions(&self) -> impl Iterator<Item = (f32, f64)> {
        let share = self.n_regions as f64 / ANOMALOUS as f64;
        self.regions.iter().map(move |score| (*score, share))
    }

    /// The normal pixels alone.
    pub fn without_regions(self) -> Self {
        PixelSummary { n_normal: self.n_normal, normal: self.normal, ..Self::default() }
    }

    /// The summary as bytes, to be kept in a table.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [VERSION, self.n_normal, self.n_anomalous, self.n_regions] {
            put(&mut bytes, number);
        }
        let scores = [&self.normal, &self.anomalous, &self.regions].into_iter().flatten();
        bytes.extend(scores.flat_map(|score| score.to_le_bytes()));
        bytes
    }

    /// What [`encode`](Self::encode) gave; `None` for other bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let numbers = [bytes.number()?, bytes.number()?, bytes.number()?, bytes.number()?];
        let [version, n_normal, n_anomalous, n_regions] = numbers;
        let n_scores = |n: u64, scores: usize| if n > 0 { scores } else { 0 };
        let mut scores = |n: usize| (0..n).map(|_| bytes.score()).collect::<Option<Vec<_>>>();
        let summary = PixelSummary {
            n_normal,
            n_anomalous,
            n_regions,
            normal: scores(n_scores(n_normal, HALVES * PER_HALF))?,
            anomalous: scores(n_scores(n_anomalous, ANOMALOUS))?,
            regions: scores(n_scores(n_anomalous, ANOMALOUS))?,
        };
        let fits = version == VERSION && bytes.0.is_empty() && n_regions <= n_anomalous;
        fits.then_some(summary)
    }
}

/// Scores at evenly spread ranks of keys with weights.
fn at_even_ranks(mut keys: Vec<(u32, f64)>) -> Vec<f32> {
    keys.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let whole: f64 = keys.iter().map(|(_, weight)| weight).sum();
    let mut above = 0.0;
    let mut scores = Vec::with_capacity(ANOMALOUS);
    for (key, weight) in &keys {
        above += weight;
        while scores.len() < ANOMALOUS
            && (scores.len() as f64 + 0.5) / ANOMALOUS as f64 * whole <= above
        {
            scores.push(score_of(*key));
        }
    }
    // Rounding of the sum may leave the last rank out.
    if let Some((key, _)) = keys.last() {
        scores.resize(ANOMALOUS, score_of(*key));
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_stand_for_all_pixels() {
        let sum: f64 = normal_ranks().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!(normal_ranks().all(|(rank, _)| (0.0..1.0).contains(&rank)));
    }

    #[test]
    fn bytes_give_the_summary_back_and_damage_is_refused() {
        let map = (0..100).map(|i| i as f32 / 7.0 - 3.0).collect::<Vec<_>>();
        let mut mask = [0; 100];
        mask[40..52].fill(1);
        mask[70] = 1;
        for mask in [Some(&mask[..]), Some(&[1; 100]), None] {
            let summary = PixelSummary::new(&MapPixels::new(&map, mask, 10, 10).unwrap());
            assert_eq!(summary.n_normal + summary.n_anomalous, 100);
            let bytes = summary.encode();
            assert_eq!(PixelSummary::decode(&bytes), Some(summary));
            for end in 0..bytes.len() {
                assert_eq!(PixelSummary::decode(&bytes[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn regions_weigh_alike_and_pixels_too() {
        let mut mask = [0; 100];
        mask[..60].fill(1);
        mask[99] = 1;
        let mut map = [0.25; 100];
        map[99] = 0.75;
        let summary = PixelSummary::new(&MapPixels::new(&map, Some(&mask), 10, 10).unwrap());
        let mean = |scores: &[f32]| scores.iter().sum::<f32>() / scores.len() as f32;
        assert_eq!(summary.n_regions, 2);
        assert_eq!(mean(&summary.regions), 0.5);
        assert_eq!(mean(&summary.anomalous), 0.25);
    }
}
