//! Distance to the most alike patch, wherever it is. In: features of some references, the bank. Out: for
//! each cell the distance to the nearest patch of each bank image, and the mean of the smallest two of
//! those (after mutual scoring, Li et al. 2024, "MuSc", section 3.2): a defect that one reference shares
//! is not yet usual.

use super::project::projection;
use crate::model::kernels::{Matrix, multiply};

/// Images in the bank.
pub const BANK: usize = 64;

/// Channels that features are projected to.
pub const CHANNELS: usize = 64;

/// Bank images, the nearest ones, whose distances count at each cell.
const NEAREST: usize = 2;

/// Patches of the bank images.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    cells: usize,
    /// `[images, cells, CHANNELS]`.
    patches: Vec<f32>,
    /// Half the squared length of each patch.
    halves: Vec<f32>,
}

/// What the bank says of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestDistances {
    /// At each cell.
    pub distances: Vec<f64>,
    /// The bank image with the smallest mean distance.
    pub most_alike: usize,
}

/// The projection that patches are compared in.
#[derive(Debug, Clone)]
pub struct Projection {
    channels: usize,
    /// `[channels, CHANNELS]`.
    matrix: Vec<f32>,
}

impl Projection {
    /// Of features with so many channels.
    pub fn new(channels: usize) -> Self {
        Projection { channels, matrix: projection(channels, CHANNELS) }
    }

    /// `features` `[cells, channels]` as `[cells, CHANNELS]`.
    pub fn apply(&self, features: &[f32]) -> Vec<f32> {
        let cells = features.len() / self.channels;
        let mut out = vec![0.0; cells * CHANNELS];
        let features = Matrix::new(features, cells, self.channels, self.channels);
        let matrix = Matrix::new(&self.matrix, self.channels, CHANNELS, CHANNELS);
        multiply(&mut out, CHANNELS, features, matrix);
        out
    }
}

impl Nearest {
    /// A bank of `patches` `[images, cells, CHANNELS]`.
    pub fn new(patches: Vec<f32>, cells: usize) -> Self {
        let half = |patch: &[f32]| patch.iter().map(|value| value * value).sum::<f32>() / 2.0;
        let halves = patches.chunks_exact(CHANNELS).map(half).collect();
        Nearest { cells, patches, halves }
    }

    /// `[images, cells, CHANNELS]`.
    pub fn patches(&self) -> &[f32] {
        &self.patches
    }

    /// The distances of an image with projected features `x`, `[cells, CHANNELS]`; `own`: which bank
    /// image it is.
    pub fn distances(&self, x: &[f32], own: Option<usize>) -> NearestDistances {
        let cells = self.cells;
        let per_image = cells * CHANNELS;
        let images = self.patches.len() / per_image;
        let others = (0..images).filter(|image| Some(*image) != own).collect::<Vec<_>>();
        let length = |patch: &[f32]| patch.iter().map(|value| value * value).sum::<f32>();
        let lengths = x.chunks_exact(CHANNELS).map(length).collect::<Vec<_>>();
        let mut products = vec![0.0; cells * cells];
        let mut distances = vec![[f32::INFINITY; NEAREST]; cells];
        let mut most_alike = (f64::INFINITY, 0);
        for &image in &others {
            let patches = &self.patches[image * per_image..][..per_image];
            let halves = &self.halves[image * cells..][..cells];
            let patches = Matrix::new(patches, cells, CHANNELS, CHANNELS).transposed();
            multiply(&mut products, cells, Matrix::new(x, cells, CHANNELS, CHANNELS), patches);
            let mut sum = 0.0;
            let rows = products.chunks_exact(cells).zip(&lengths).zip(&mut distances);
            for ((row, length), nearest) in rows {
                let closest = highest_difference(row, halves);
                let distance = ((length - 2.0 * closest).max(0.0) / CHANNELS as f32).sqrt();
                sum += f64::from(distance);
                insert(nearest, distance);
            }
            if sum < most_alike.0 {
                most_alike = (sum, image);
            }
        }
        let counted = others.len().clamp(1, NEAREST);
        let mean = |of: &[f32; NEAREST]| {
            of[..counted].iter().map(|distance| f64::from(*distance)).sum::<f64>() / counted as f64
        };
        let distances = distances.iter().map(mean).collect();
        NearestDistances { distances, most_alike: most_alike.1 }
    }
}

/// The largest of `a[i] − b[i]`, in lanes, so that the loop is vectorised; a maximum has no order.
fn highest_difference(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut highest = [f32::NEG_INFINITY; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, highest) in highest.iter_mut().enumerate() {
            let difference = a[lane] - b[lane];
            *highest = if difference > *highest { difference } else { *highest };
        }
    }
    let rest = rest_a.iter().zip(rest_b).map(|(a, b)| a - b);
    highest.into_iter().chain(rest).fold(f32::NEG_INFINITY, f32::max)
}

/// Keeps the smallest values, rising.
fn insert(smallest: &mut [f32; NEAREST], value: f32) {
    let Some(last) = smallest.last_mut().filter(|last| value < **last) else { return };
    *last = value;
    smallest.sort_unstable_by(f32::total_cmp);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patches that differ in their first channel only.
    fn patches(values: &[f32]) -> Vec<f32> {
        let patch = |value: &f32| std::iter::once(*value).chain([0.0; CHANNELS - 1]);
        values.iter().flat_map(patch).collect()
    }

    #[test]
    fn the_nearest_patches_of_two_images_count_wherever_they_are() {
        let nearest = Nearest::new(patches(&[0.0, 8.0, 100.0, 100.0, 24.0, 16.0]), 2);
        let of = nearest.distances(&patches(&[8.0, 16.0]), None);
        // Per image 0, 92, 8 and 8, 84, 0; a root of 64 channels is 8.
        assert_eq!((of.distances, of.most_alike), (vec![0.5, 0.5], 0));
        let of = nearest.distances(&patches(&[8.0, 16.0]), Some(0));
        assert_eq!((of.distances, of.most_alike), (vec![6.25, 5.25], 2));
    }
}
