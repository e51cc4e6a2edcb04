//! The loss of stage 1 over all maps of a batch. In: similarities of every head with the two
//! texts, masks and labels. Out: one number on the gradient tape, and its parts for the log.
//! Upsampling, softmax, three losses and their gradient are one pass per head, on all cores.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::losses::{dice_over_rows, focal};
use crate::device::TrainBackend;
use crate::model::filo::anomaly_map::{Step, align_corners_steps, peak_size};
use crate::model::kernels::scalar_with_gradient;
use crate::model::kernels::simd::{exp, widest};

/// What the three losses of one head come to, mean over the images of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HeadLoss {
    pub focal: f64,
    pub dice_abnormal: f64,
    pub dice_normal: f64,
}

impl HeadLoss {
    fn total(&self, focal_weight: f64) -> f64 {
        focal_weight * self.focal + self.dice_abnormal + self.dice_normal
    }
}

/// What counts how much in the loss of a batch's maps; the default is as published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapWeights {
    /// The focal loss, beside the two dice losses.
    pub focal: f64,
    /// A pixel of a defect in the focal loss, beside other pixels.
    pub defect: f64,
    /// The label's cross-entropy by the highest cells of the map.
    pub peak: f64,
    /// Share of a map's cells that are among the highest.
    pub peak_share: f64,
}

/// Share of a map's cells that the peak loss learns by, unless the network's configuration has one.
pub const PEAK_SHARE: f64 = 1.0 / 32.0;

impl Default for MapWeights {
    fn default() -> Self {
        MapWeights { focal: 1.0, defect: 1.0, peak: 0.0, peak_share: PEAK_SHARE }
    }
}

/// The loss of a batch's maps.
#[derive(Debug)]
pub struct MapLoss {
    /// `[1]`: sum over heads, mean over images.
    pub loss: Tensor<TrainBackend, 1>,
    pub heads: Vec<HeadLoss>,
    /// Cross-entropy of the label by the highest cells, before weighting.
    pub peak: f64,
}

/// What a batch's maps are held against.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// `[batch, size²]`, 1 for defect.
    pub masks: &'a [f32],
    /// 1 for an image with a defect.
    pub labels: &'a [u8],
    /// Edge length of an image, pixels.
    pub size: usize,
}

/// `Σ w·focal(P, g) + dice(P_abnormal, g) + dice(P_normal, 1 − g)` over the heads' maps, before any
/// blur, and the loss of the highest cells; see [`MapWeights`]. `similarities` `[batch, heads, 2,
/// grid²]`.
pub fn map_loss(
    similarities: Tensor<TrainBackend, 4>,
    truth: Truth<'_>,
    weights: MapWeights,
) -> MapLoss {
    let Truth { masks, labels, size } = truth;
    let [batch, heads, _, patches] = similarities.dims();
    let shape = Shape { grid: patches.isqrt(), size };
    let steps = align_corners_steps(shape.grid, size);
    let values = similarities.clone().inner().into_data();
    let values = values.into_vec::<f32>().expect("training computes in f32");
    let mut gradient = vec![0.0; values.len()];
    let losses = gradient
        .par_chunks_mut(2 * patches)
        .zip(values.par_chunks(2 * patches))
        .enumerate()
        .map(|(index, (gradient, values))| {
            let mask = &masks[index / heads * size * size..][..size * size];
            let share = 1.0 / batch as f32;
            widest(OneMap { shape, steps: &steps, values, mask, gradient, share, weights })
        })
        .collect::<Vec<_>>();
    let mut means = vec![HeadLoss::default(); heads];
    for (index, loss) in losses.iter().enumerate() {
        let mean = &mut means[index % heads];
        mean.focal += loss.focal / batch as f64;
        mean.dice_abnormal += loss.dice_abnormal / batch as f64;
        mean.dice_normal += loss.dice_normal / batch as f64;
    }
    let mut total = means.iter().map(|mean| mean.total(weights.focal)).sum::<f64>();
    let mut peak = 0.0;
    if weights.peak > 0.0 {
        let picture = heads * 2 * patches;
        let pictures = gradient.chunks_exact_mut(picture).zip(values.chunks_exact(picture));
        let factor = weights.peak as f32 / batch as f32;
        let highest = peak_size(patches, weights.peak_share);
        for ((gradient, values), label) in pictures.zip(labels) {
            let label = f32::from(*label);
            peak += peak_loss(values, patches, highest, label, factor, gradient) / batch as f64;
        }
        total += weights.peak * peak;
    }
    MapLoss { loss: scalar_with_gradient(similarities, total as f32, gradient), heads: means, peak }
}

/// Binary cross-entropy of `label` by the mean probability of an image's `highest` cells, which is
/// about what the image's score takes from its map. Adds `factor` times its gradient. `values`
/// and `gradient` `[heads, 2, cells]`.
fn peak_loss(
    values: &[f32],
    cells: usize,
    highest: usize,
    label: f32,
    factor: f32,
    gradient: &mut [f32],
) -> f64 {
    let heads = values.len() / (2 * cells);
    let probability = |head: usize, cell: usize| {
        let at = head * 2 * cells + cell;
        1.0 / (1.0 + (values[at] - values[at + cells]).exp())
    };
    let mean = |cell: usize| (0..heads).map(|head| probability(head, cell)).sum::<f32>();
    let mut sorted = (0..cells).map(|cell| (mean(cell) / heads as f32, cell)).collect::<Vec<_>>();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let highest = &sorted[..highest];
    let p = highest.iter().map(|(p, _)| p).sum::<f32>() / highest.len() as f32;
    let p = p.clamp(PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN);
    let slope = factor * (p - label) / (p * (1.0 - p)) / (highest.len() * heads) as f32;
    for &(_, cell) in highest {
        for head in 0..heads {
            let p = probability(head, cell);
            let at = head * 2 * cells + cell;
            gradient[at] -= slope * p * (1.0 - p);
            gradient[at + cells] += slope * p * (1.0 - p);
        }
    }
    f64::from(-(label * p.ln() + (1.0 - label) * (1.0 - p).ln()))
}

/// Keeps a cross-entropy finite.
const PROBABILITY_MARGIN: f32 = 1e-4;

#[derive(Debug, Clone, Copy)]
struct Shape {
    grid: usize,
    size: usize,
}

struct OneMap<'a> {
    shape: Shape,
    steps: &'a [Step],
    /// `[2, grid²]`: normal, abnormal.
    values: &'a [f32],
    mask: &'a [f32],
    gradient: &'a mut [f32],
    /// What the gradient is multiplied by.
    share: f32,
    weights: MapWeights,
}

impl pulp::NullaryFnOnce for OneMap<'_> {
    type Output = HeadLoss;

    #[inline(always)]
    fn call(self) -> HeadLoss {
        let OneMap { shape, steps, values, mask, gradient, share, weights } = self;
        let Shape { grid, size } = shape;
        let cells = grid * grid;
        let (normal, abnormal) = values.split_at(cells);
        // Upsampling is linear, and a softmax of two values is the sigmoid of their difference.
        let difference = normal.iter().zip(abnormal).map(|(n, a)| a - n).collect::<Vec<_>>();
        let mut p_abnormal = vec![0.0; size * size];
        upsample(&difference, grid, steps, &mut p_abnormal);
        let mut p_normal = vec![0.0; size * size];
        for (abnormal, normal) in p_abnormal.iter_mut().zip(&mut p_normal) {
            let small = exp(-abnormal.abs());
            let large = 1.0 / (1.0 + small);
            let small = small * large;
            let positive = *abnormal >= 0.0;
            *abnormal = if positive { large } else { small };
            *normal = if positive { small } else { large };
        }
        let (mut of_abnormal, mut of_normal) = (vec![0.0; size * size], vec![0.0; size * size]);
        let slopes = [&mut of_normal[..], &mut of_abnormal[..]];
        let focal = focal([&p_normal, &p_abnormal], mask, weights.defect as f32, slopes);
        let factor = weights.focal as f32;
        of_normal.iter_mut().chain(&mut of_abnormal).for_each(|slope| *slope *= factor);
        let loss = HeadLoss {
            focal,
            dice_abnormal: dice_over_rows(&p_abnormal, |g| g, mask, size, &mut of_abnormal),
            dice_normal: dice_over_rows(&p_normal, |g| 1.0 - g, mask, size, &mut of_normal),
        };
        for i in 0..size * size {
            let slope = p_abnormal[i] * p_normal[i];
            of_abnormal[i] = share * slope * (of_abnormal[i] - of_normal[i]);
        }
        let (to_normal, to_abnormal) = gradient.split_at_mut(cells);
        downsample(&of_abnormal, grid, steps, to_abnormal);
        to_normal.iter_mut().zip(to_abnormal).for_each(|(n, a)| *n = -*a);
        loss
    }
}

/// Bilinear with aligned corners.
#[inline(always)]
fn upsample(cells: &[f32], grid: usize, steps: &[Step], out: &mut [f32]) {
    let mut line = vec![0.0f32; grid];
    for (row, y) in out.chunks_exact_mut(steps.len()).zip(steps) {
        let (before, after) = (&cells[y.before * grid..][..grid], &cells[y.after * grid..][..grid]);
        for ((cell, b), a) in line.iter_mut().zip(before).zip(after) {
            *cell = b * (1.0 - y.weight) + a * y.weight;
        }
        for (pixel, x) in row.iter_mut().zip(steps) {
            *pixel = line[x.before] * (1.0 - x.weight) + line[x.after] * x.weight;
        }
    }
}

/// The transpose of [`upsample`]: what every cell gave is added back to it.
#[inline(always)]
fn downsample(pixels: &[f32], grid: usize, steps: &[Step], cells: &mut [f32]) {
    for (row, y) in pixels.chunks_exact(steps.len()).zip(steps) {
        let mut line = vec![0.0f32; grid];
        for (pixel, x) in row.iter().zip(steps) {
            line[x.before] += pixel * (1.0 - x.weight);
            line[x.after] += pixel * x.weight;
        }
        for (index, value) in line.iter().enumerate() {
            cells[y.before * grid + index] += value * (1.0 - y.weight);
            cells[y.after * grid + index] += value * y.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::model::kernels::no_other_tapes;
    use burn::tensor::TensorData;

    fn loss_of(values: &[f32], masks: &[f32]) -> (f64, Vec<f32>) {
        let _alone = no_other_tapes();
        let data = TensorData::new(values.to_vec(), [2, 2, 2, 9]);
        let x = Tensor::<TrainBackend, 4>::from_data(data, &cpu()).require_grad();
        let truth = Truth { masks, labels: &[1, 0], size: 5 };
        let weights = MapWeights { focal: 2.0, defect: 3.0, peak: 0.5, peak_share: 0.25 };
        let result = map_loss(x.clone(), truth, weights);
        let gradient = x.grad(&result.loss.backward()).unwrap().into_data();
        let of_heads = result.heads.iter().map(|head| head.total(2.0)).sum::<f64>();
        (of_heads + 0.5 * result.peak, gradient.into_vec::<f32>().unwrap())
    }

    #[test]
    fn the_gradient_is_that_of_the_number() {
        // No two cells of an image are equally high: which one is the peak would be a kink.
        let values = (0..72).map(|i| (((7 * i + 13) * i % 53) as f32 - 26.0) / 14.0);
        let values = values.collect::<Vec<_>>();
        let masks = (0..50).map(|i| f32::from(u8::from(i % 7 < 2))).collect::<Vec<_>>();
        let (_, gradient) = loss_of(&values, &masks);
        for i in 0..72 {
            let moved = |step: f32| {
                let mut values = values.clone();
                values[i] += step;
                loss_of(&values, &masks).0
            };
            let expected = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((f64::from(gradient[i]) - expected).abs() < 2e-4, "value {i}");
        }
    }
}
