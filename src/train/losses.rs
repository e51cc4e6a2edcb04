//! Focal and dice loss of a map, as the published training computes them, with their gradients.
//! In: probabilities and a mask, row by row. Out: a number and its derivative by every
//! probability. Plain slices: no tensor is involved.

use crate::model::kernels::simd::{ln, sum_of};

/// Keeps the target away from 0 and 1, and q away from 0.
const FOCAL_SMOOTHING: f32 = 1e-5;
/// Keeps the quotient of an empty row at 1.
const DICE_SMOOTHING: f32 = 1.0;

/// Focal loss with γ = 2: the mean over pixels of −(1 − q)²·ln q, with q = Σ t·P + 1e-5 and t the
/// one-hot target clamped to 1e-5 … 1 − 1e-5. Pixels of a defect count `defect_weight` times, 1 as
/// published. `[normal, abnormal]` probabilities, `mask` 1 for defect. `gradients` are overwritten.
///
/// q is a hair above 1 where P is 1 on the target: the loss is then a hair below 0, not NaN.
#[inline(always)]
pub fn focal(
    probabilities: [&[f32]; 2],
    mask: &[f32],
    defect_weight: f32,
    gradients: [&mut [f32]; 2],
) -> f64 {
    let [normal, abnormal] = probabilities;
    let [of_normal, of_abnormal] = gradients;
    let pixels = mask.len();
    let share = 1.0 / pixels as f32;
    let clamp = |t: f32| t.clamp(FOCAL_SMOOTHING, 1.0 - FOCAL_SMOOTHING);
    for i in 0..pixels {
        let (t, other) = (clamp(mask[i]), clamp(1.0 - mask[i]));
        let q = t * abnormal[i] + other * normal[i] + FOCAL_SMOOTHING;
        let (miss, log) = (1.0 - q, ln(q));
        let weight = if mask[i] > 0.5 { defect_weight } else { 1.0 };
        let slope = weight * share * miss * (2.0 * log - miss / q);
        // The loss of the pixel waits here to be summed.
        of_normal[i] = -weight * miss * miss * log;
        of_abnormal[i] = slope;
    }
    let sum = rows_sum(of_normal);
    for i in 0..pixels {
        let slope = of_abnormal[i];
        of_normal[i] = slope * clamp(1.0 - mask[i]);
        of_abnormal[i] = slope * clamp(mask[i]);
    }
    sum / pixels as f64
}

/// Sum of many numbers: f32 inside a stretch, f64 over stretches.
#[inline(always)]
fn rows_sum(values: &[f32]) -> f64 {
    values.chunks(1024).map(|row| f64::from(sum_of(row, row, |value, _| value))).sum()
}

/// Dice loss, `1 − mean over rows of (2·Σ P·g + 1)/(Σ P + Σ g + 1)`, g the target: `width` values
/// to a row. Adds its gradient to `gradient`.
///
/// Published code differs from the usual: the batch axis was squeezed away before, so the mean
/// runs over the rows of the image and not over images.
#[inline(always)]
pub fn dice_over_rows(
    probabilities: &[f32],
    target: impl Fn(f32) -> f32 + Copy,
    mask: &[f32],
    width: usize,
    gradient: &mut [f32],
) -> f64 {
    let rows = mask.len() / width;
    let mut mean = 0.0;
    let lines = probabilities.chunks_exact(width).zip(mask.chunks_exact(width));
    for ((p, g), gradient) in lines.zip(gradient.chunks_exact_mut(width)) {
        let common = sum_of(p, g, |p, g| p * target(g));
        let both = sum_of(p, g, |p, g| p + target(g));
        let (above, below) = (2.0 * common + DICE_SMOOTHING, both + DICE_SMOOTHING);
        mean += f64::from(above / below);
        let (inside, all) = (2.0 / (below * rows as f32), above / (below * below * rows as f32));
        for (gradient, g) in gradient.iter_mut().zip(g) {
            *gradient += all - inside * target(*g);
        }
    }
    1.0 - mean / rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_map_has_no_dice_loss_and_a_hair_of_focal_loss() {
        let (abnormal, normal, mask) = ([1.0, 0.0], [0.0, 1.0], [1.0, 0.0]);
        let (mut a, mut n) = ([0.0; 2], [0.0; 2]);
        assert!(focal([&normal, &abnormal], &mask, 1.0, [&mut n, &mut a]).abs() < 1e-9);
        let mut gradient = [0.0; 2];
        assert_eq!(dice_over_rows(&abnormal, |g| g, &mask, 2, &mut gradient), 0.0);
        // Row sums: common 1, both 2, so 3/3: slope is (3·1 − 2·3·g)/9.
        assert!((gradient[0] + 1.0 / 3.0).abs() < 1e-6 && (gradient[1] - 1.0 / 3.0).abs() < 1e-6);
    }
}
