//! Resampling weights of one axis. In: a filter and two lengths. Out: for each output position the
//! window of inputs and their weights, in f64, equal to Pillow's. No pixel is touched here.

/// How neighbouring pixels are weighed. Both filters widen with the scale when an axis shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Triangle of half-width 1.
    Bilinear,
    /// Cubic convolution of half-width 2 with a = −0.5 (Keys 1981; Pillow's choice).
    Bicubic,
}

const KEYS_A: f64 = -0.5;

impl Filter {
    /// Half-width in pixels of the coarser of the two grids.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// The kernel at distance `x`, in the same unit as the support.
    fn kernel(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((KEYS_A + 2.0) * x - (KEYS_A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * KEYS_A,
            _ => 0.0,
        }
    }
}

/// The inputs `first .. first + weights.len()` that make one output, with weights of sum 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub(super) first: usize,
    pub(super) weights: Vec<f64>,
}

/// One window per output position, for an axis that goes from `from` to `to` pixels. Both must be
/// at least 1. The first input of a window never decreases, and equal lengths give the identity.
pub(super) fn windows(filter: Filter, from: usize, to: usize) -> impl Iterator<Item = Window> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let step = 1.0 / filter_scale;
    (0..to).map(move |i| {
        let centre = (i as f64 + 0.5) * scale;
        // `as` truncates towards zero and clamps negative values to 0, which is the rule here.
        let first = (centre - support + 0.5) as usize;
        let last = ((centre + support + 0.5) as usize).min(from);
        let weights =
            (first..last).map(|j| filter.kernel((j as f64 - centre + 0.5) * step)).collect();
        Window { first, weights: normalised(weights) }
    })
}

/// Divides by the sum; a window at the border has lost some of its weight.
fn normalised(mut weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    if sum != 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bilinear_by_a_half_weighs_four_neighbours() {
        let second = windows(Filter::Bilinear, 6, 3).nth(1).unwrap();
        assert_eq!(second, Window { first: 1, weights: vec![0.125, 0.375, 0.375, 0.125] });
    }

    #[test]
    fn equal_lengths_leave_every_pixel_alone() {
        for (i, window) in windows(Filter::Bicubic, 5, 5).enumerate() {
            for (j, weight) in window.weights.iter().enumerate() {
                let expected = if window.first + j == i { 1.0 } else { 0.0 };
                assert_eq!(*weight, expected);
            }
        }
    }

    #[test]
    fn a_single_pixel_fills_every_window() {
        let all: Vec<Window> = windows(Filter::Bicubic, 1, 4).collect();
        assert!(all.iter().all(|w| *w == Window { first: 0, weights: vec![1.0] }));
    }
}
