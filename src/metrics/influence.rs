//! How much one image more would change each metric, and from that how much another set of such
//! images would differ. In: the sketch of a set, and its images one by one. Out: standard errors.
//!
//! This is the infinitesimal jackknife (Jaeckel 1972; for the AUROC it is the estimate of DeLong,
//! DeLong and Clarke-Pearson 1988, and of Obuchowski 1997 where an image has many pixels): images
//! are drawn anew, normal and anomalous ones apart, and the pixels of an image stay together.
//! Never here: the metrics themselves.

use crate::error::MetricsError;

use super::image::{ImageScore, Label};
use super::pixel::f1max;
use super::sketch::{PixelSketch, ScoreBin, WEIGHT_PARTS};
use super::spread::Effects;
use super::summary::PIXEL_METRICS;
use super::{FprLimit, PixelSummary, PixelTotals};

/// What one pixel more changes, by where its score lies.
#[derive(Debug, Clone)]
pub struct Influences {
    /// Lowest score of each bin, descending.
    lows: Vec<f32>,
    of_bins: Vec<OfBin>,
    /// What one region more changes, beyond what its pixels do.
    of_region: Effects,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfBin {
    /// Of a normal pixel.
    normal: Effects,
    /// Of an anomalous pixel.
    anomalous: Effects,
    /// Of a whole region that lies in the bin.
    region: Effects,
}

/// AUROC, AP, F1-max, AUPRO up to 0.3 and up to 0.05: places in [`Effects`].
const AUROC: usize = 0;
const AP: usize = 1;
const F1MAX: usize = 2;
const AUPRO: [(usize, FprLimit); 2] = [(3, FprLimit::DEFAULT), (4, FprLimit::STRICT)];
const _: () = assert!(PIXEL_METRICS == 5);

impl Influences {
    /// Of the pixels, or images, that `sketch` has seen; `None` unless there are both classes.
    pub fn new(sketch: &PixelSketch) -> Option<Self> {
        let totals = sketch.totals();
        if totals.n_normal == 0 || totals.n_anomalous == 0 {
            return None;
        }
        let bins = sketch.bins().collect::<Vec<_>>();
        let mut influences = Influences {
            lows: bins.iter().map(|bin| bin.low).collect(),
            of_bins: vec![OfBin::default(); bins.len()],
            of_region: Effects::default(),
        };
        influences.add_auroc(&bins, &totals);
        influences.add_ap(&bins, &totals);
        influences.add_f1max(&bins, &totals);
        for (place, limit) in AUPRO {
            influences.add_aupro(&bins, &totals, place, limit);
        }
        Some(influences)
    }

    /// Of the scores of images, which are f32 values.
    ///
    /// # Errors
    /// A score is NaN or infinite.
    pub fn of_images(images: &[ImageScore]) -> Result<Option<Self>, MetricsError> {
        // An image as one pixel: what regions come to is not asked for.
        let scores = images.iter().map(|image| image.score as f32).collect::<Vec<_>>();
        let labels = images.iter().map(|image| u8::from(image.label == Label::Anomalous));
        let mut sketch = PixelSketch::new();
        sketch.add_map(&scores, Some(&labels.collect::<Vec<_>>()), images.len(), 1)?;
        Ok(Self::new(&sketch))
    }

    /// What an image changes that is one score, without regions.
    pub fn of_image(&self, score: f32, anomalous: bool) -> Effects {
        let bin = self.bin(score);
        if anomalous { bin.anomalous } else { bin.normal }
    }

    /// What an image with these pixels changes.
    pub fn of_pixels(&self, pixels: &PixelSummary) -> Effects {
        let mut effects = self.of_region.map(|effect| effect * pixels.n_regions as f64);
        let mut add = |of: &Effects, times: f64| {
            effects.iter_mut().zip(of).for_each(|(effect, of)| *effect += times * of);
        };
        for (score, n) in pixels.normal() {
            add(&self.bin(score).normal, n);
        }
        for (score, n) in pixels.anomalous() {
            add(&self.bin(score).anomalous, n);
        }
        for (score, n) in pixels.regions() {
            add(&self.bin(score).region, n);
        }
        effects
    }

    /// The bin that a score falls into, or the next lower one.
    fn bin(&self, score: f32) -> &OfBin {
        let higher = self.lows.partition_point(|low| *low > score);
        &self.of_bins[higher.min(self.of_bins.len() - 1)]
    }

    fn add_auroc(&mut self, bins: &[ScoreBin], totals: &PixelTotals) {
        let (n, a) = (totals.n_normal as f64, totals.n_anomalous as f64);
        let (mut normal_above, mut hits) = (0.0, 0.0);
        // A pixel's share of won pairs, less what it adds to the number of pairs.
        let mut shares = Vec::with_capacity(bins.len());
        let mut auroc = 0.0;
        for bin in bins {
            let (normal, anomalous) = (bin.normal as f64, bin.anomalous as f64);
            let of_normal = (hits + anomalous / 2.0) / a;
            let of_anomalous = (n - normal_above - normal / 2.0) / n;
            auroc += anomalous * of_anomalous / a;
            shares.push((of_normal, of_anomalous));
            normal_above += normal;
            hits += anomalous;
        }
        for (of_bin, (of_normal, of_anomalous)) in self.of_bins.iter_mut().zip(shares) {
            of_bin.normal[AUROC] = (of_normal - auroc) / n;
            of_bin.anomalous[AUROC] = (of_anomalous - auroc) / a;
        }
    }

    /// AP = Σ aᵢ Aᵢ / (Aᵢ + Nᵢ) / A, with all at or above bin i in capitals: a pixel changes the
    /// precision of its own bin and of all below.
    fn add_ap(&mut self, bins: &[ScoreBin], totals: &PixelTotals) {
        let a = totals.n_anomalous as f64;
        let mut above = Vec::with_capacity(bins.len());
        let (mut normal, mut hits, mut ap) = (0.0, 0.0, 0.0);
        for bin in bins {
            normal += bin.normal as f64;
            hits += bin.anomalous as f64;
            ap += bin.anomalous as f64 * hits / (hits + normal) / a;
            above.push((normal, hits));
        }
        let (mut lost, mut gained) = (0.0, 0.0);
        let below = bins.iter().zip(above).zip(&mut self.of_bins).rev();
        for ((bin, (normal, hits)), of_bin) in below {
            let each = bin.anomalous as f64 / (hits + normal).powi(2);
            lost += each * hits;
            gained += each * normal;
            of_bin.normal[AP] = -lost / a;
            of_bin.anomalous[AP] = (hits / (hits + normal) + gained - ap) / a;
        }
    }

    /// F1 = 2 T / (P + A) at its best threshold, which a pixel does not move.
    fn add_f1max(&mut self, bins: &[ScoreBin], totals: &PixelTotals) {
        let (_, threshold) = f1max(bins, totals);
        let above = bins.iter().take_while(|bin| bin.low > threshold);
        let (normal, hits) = above.fold((0, 0), |(n, a), bin| (n + bin.normal, a + bin.anomalous));
        let all = (normal + hits) as f64 + totals.n_anomalous as f64;
        let lost = -2.0 * hits as f64 / (all * all);
        for (of_bin, bin) in self.of_bins.iter_mut().zip(bins) {
            let positive = bin.low > threshold;
            of_bin.normal[F1MAX] = if positive { lost } else { 0.0 };
            of_bin.anomalous[F1MAX] = if positive { 2.0 / all + 2.0 * lost } else { lost };
        }
    }

    /// AUPRO = ∫ recall over the first L = limit · N normal pixels, over L and the regions. A normal
    /// pixel adds the recall at its place, pushes what is below towards the limit, and moves the
    /// limit; a region adds the area to the right of its pixels.
    fn add_aupro(
        &mut self,
        bins: &[ScoreBin],
        totals: &PixelTotals,
        place: usize,
        limit: FprLimit,
    ) {
        let (n, regions) = (totals.n_normal as f64, totals.n_regions as f64);
        let limit_px = limit.get() * n;
        let (mut normal_above, mut recall, mut area) = (0.0, 0.0, 0.0);
        let mut at_limit = None;
        let mut curve = Vec::with_capacity(bins.len());
        for bin in bins {
            let (normal, rise) = (bin.normal as f64, bin.weight as f64 / WEIGHT_PARTS as f64);
            let kept = normal.min(limit_px - normal_above).max(0.0);
            let share = if normal > 0.0 { kept / normal } else { 0.0 };
            area += kept * (recall + rise * share / 2.0);
            if normal_above + normal > limit_px {
                at_limit.get_or_insert(recall + rise * share);
            }
            curve.push((normal_above + normal / 2.0, recall + rise / 2.0));
            normal_above += normal;
            recall += rise;
        }
        let (at_limit, whole) = (at_limit.unwrap_or(recall), limit_px * regions);
        let aupro = area / whole;
        for (of_bin, (normal_above, recall)) in self.of_bins.iter_mut().zip(curve) {
            let inside = normal_above < limit_px;
            let pushed = if inside { recall - at_limit } else { 0.0 };
            of_bin.normal[place] = (pushed + limit.get() * at_limit) / whole - aupro / n;
            of_bin.region[place] = (limit_px - normal_above).max(0.0) / whole;
        }
        self.of_region[place] = -aupro / regions;
    }
}
