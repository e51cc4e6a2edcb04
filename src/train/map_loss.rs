//! The loss of stage 1 over all maps of a batch. In: similarities of every head with the two
//! texts, and masks. Out: one number on the gradient tape, and its parts for the log.
//! Upsampling, softmax, three losses and their gradient are one pass per head, on all cores.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::losses::{dice_over_rows, focal};
use crate::device::TrainBackend;
use crate::model::filo::anomaly_map::{Step, align_corners_steps};
use crate::model::kernels::scalar_with_gradient;
use crate::model::kernels::simd::{exp, widest};

/// What the three losses of one head come to, mean over the pictures of a batch.
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

/// The loss of a batch's maps.
#[derive(Debug)]
pub struct MapLoss {
    /// `[1]`: sum over heads, mean over pictures.
    pub loss: Tensor<TrainBackend, 1>,
    pub heads: Vec<HeadLoss>,
}

/// `Σ w·focal(P, g) + dice(P_abnormal, g) + dice(P_normal, 1 − g)` over the heads' maps, before any
/// blur; w is `focal_weight`, 1 as published. `similarities` `[batch, heads, 2, grid²]`; `masks`
/// `[batch, size²]`, 1 for defect.
pub fn map_loss(
    similarities: Tensor<TrainBackend, 4>,
    masks: &[f32],
    size: usize,
    focal_weight: f64,
) -> MapLoss {
    let [batch, heads, _, patches] = similarities.dims();
    let shape = Shape { grid: patches.isqrt(), size };
    let steps = align_corners_steps(shape.grid, size);
    let values = similarities.clone().inner().into_data();
    let values = values.into_vec::<f32>().expect("the CPU computes in f32 only");
    let mut gradient = vec![0.0; values.len()];
    let losses = gradient
        .par_chunks_mut(2 * patches)
        .zip(values.par_chunks(2 * patches))
        .enumerate()
        .map(|(index, (gradient, values))| {
            let mask = &masks[index / heads * size * size..][..size * size];
            let share = 1.0 / batch as f32;
            let focal_weight = focal_weight as f32;
            widest(OneMap { shape, steps: &steps, values, mask, gradient, share, focal_weight })
        })
        .collect::<Vec<_>>();
    let mut means = vec![HeadLoss::default(); heads];
    for (index, loss) in losses.iter().enumerate() {
        let mean = &mut means[index % heads];
        mean.focal += loss.focal / batch as f64;
        mean.dice_abnormal += loss.dice_abnormal / batch as f64;
        mean.dice_normal += loss.dice_normal / batch as f64;
    }
    let total = means.iter().map(|mean| mean.total(focal_weight)).sum::<f64>();
    MapLoss { loss: scalar_with_gradient(similarities, total as f32, gradient), heads: means }
}

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
    focal_weight: f32,
}

impl pulp::NullaryFnOnce for OneMap<'_> {
    type Output = HeadLoss;

    #[inline(always)]
    fn call(self) -> HeadLoss {
        let OneMap { shape, steps, values, mask, gradient, share, focal_weight } = self;
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
        let focal = focal([&p_normal, &p_abnormal], mask, [&mut of_normal, &mut of_abnormal]);
        of_normal.iter_mut().chain(&mut of_abnormal).for_each(|slope| *slope *= focal_weight);
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
    use burn::tensor::TensorData;

    fn loss_of(values: &[f32], masks: &[f32]) -> (f64, Vec<f32>) {
        let data = TensorData::new(values.to_vec(), [2, 2, 2, 9]);
        let x = Tensor::<TrainBackend, 4>::from_data(data, &cpu()).require_grad();
        let result = map_loss(x.clone(), masks, 5, 2.0);
        let gradient = x.grad(&result.loss.backward()).unwrap().into_data();
        (result.heads.iter().map(|head| head.total(2.0)).sum(), gradient.into_vec::<f32>().unwrap())
    }

    #[test]
    fn the_gradient_is_that_of_the_number() {
        let values = (0..72).map(|i| ((i * 29 % 31) as f32 - 15.0) / 8.0).collect::<Vec<_>>();
        let masks = (0..50).map(|i| f32::from(u8::from(i % 7 < 2))).collect::<Vec<_>>();
        let (_, gradient) = loss_of(&values, &masks);
        for i in [0, 13, 30, 44, 71] {
            let moved = |step: f32| {
                let mut values = values.clone();
                values[i] += step;
                loss_of(&values, &masks).0
            };
            let expected = (moved(0.05) - moved(-0.05)) / 0.1;
            assert!((f64::from(gradient[i]) - expected).abs() < 2e-4, "value {i}");
        }
    }
}
