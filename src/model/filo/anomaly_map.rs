//! From similarities on the patch grid to the anomaly map of an image, in one pass on the CPU.
//! In: for each head the two similarities of each patch. Out: a map in 0..=1 at the model's size, and
//! the image's score.
//! Three exact rewrites of the published order make it cheap: see [`AnomalyMapper::map`].

use rayon::prelude::*;

use crate::model::kernels::simd::{AddSigmoid, widest};

/// Half of the 3-tap Gaussian with σ = 4: `[edge, centre]`, normalised to sum 1 over three taps.
fn gaussian_taps(sigma: f64) -> [f32; 2] {
    let edge = (-1.0 / (2.0 * sigma * sigma)).exp();
    let sum = 1.0 + 2.0 * edge;
    [(edge / sum) as f32, (1.0 / sum) as f32]
}

/// Standard deviation of the published 3×3 Gaussian, pixels.
const SIGMA: f64 = 4.0;

/// Turns similarity grids into maps of one size; holds the interpolation table.
#[derive(Debug, Clone)]
pub struct AnomalyMapper {
    grid: usize,
    size: usize,
    /// For each output coordinate: the grid cell before it and the weight of the next one.
    steps: Vec<Step>,
    taps: [f32; 2],
}

/// Where an output coordinate lies between two cells of a grid.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub before: usize,
    pub after: usize,
    /// Share of `after`.
    pub weight: f32,
}

impl AnomalyMapper {
    /// For grids of `grid` × `grid` patches and maps of `size` × `size` pixels.
    pub fn new(grid: usize, size: usize) -> Self {
        AnomalyMapper {
            grid,
            size,
            steps: align_corners_steps(grid, size),
            taps: gaussian_taps(SIGMA),
        }
    }

    /// Edge length of the maps, pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The anomaly map of one image, row-major `size²`, each value in 0..=1.
    ///
    /// `similarities` is `[heads, 2, grid²]`: for each head the similarity of each patch with the
    /// normal and with the abnormal text. Published order: upsample both channels bilinearly,
    /// softmax, `(abnormal − normal + 1) / 2`, blur; then the mean of the heads. The same here with
    /// less work: upsampling is linear, so only the difference is upsampled; the softmax of two
    /// values is the sigmoid of their difference; blurring is linear, so the mean is blurred once.
    pub fn map(&self, similarities: &[f32]) -> Vec<f32> {
        let differences = self.differences(similarities);
        let mut mean = vec![0.0f32; self.size * self.size];
        mean.par_chunks_mut(self.size).zip(&self.steps).for_each(|(row, step)| {
            self.add_probabilities(&differences, *step, row);
        });
        self.blur(&mean)
    }

    /// Abnormal minus normal, `[heads, grid²]`.
    fn differences(&self, similarities: &[f32]) -> Vec<f32> {
        let cells = self.grid * self.grid;
        similarities
            .chunks_exact(2 * cells)
            .flat_map(|head| {
                let (normal, abnormal) = head.split_at(cells);
                normal.iter().zip(abnormal).map(|(n, a)| a - n)
            })
            .collect()
    }

    /// Adds to one row of the map the mean over heads of the upsampled probability.
    fn add_probabilities(&self, differences: &[f32], y: Step, row: &mut [f32]) {
        let cells = self.grid * self.grid;
        let heads = differences.len() / cells;
        let mut line = vec![0.0f32; self.grid];
        let mut upsampled = vec![0.0f32; row.len()];
        for head in differences.chunks_exact(cells) {
            let before = &head[y.before * self.grid..][..self.grid];
            let after = &head[y.after * self.grid..][..self.grid];
            for ((cell, b), a) in line.iter_mut().zip(before).zip(after) {
                *cell = b * (1.0 - y.weight) + a * y.weight;
            }
            for (value, x) in upsampled.iter_mut().zip(&self.steps) {
                *value = line[x.before] * (1.0 - x.weight) + line[x.after] * x.weight;
            }
            widest(AddSigmoid { sums: row, values: &upsampled });
        }
        row.iter_mut().for_each(|pixel| *pixel /= heads as f32);
    }

    /// 3×3 Gaussian with mirrored borders (the border pixel is not repeated).
    fn blur(&self, map: &[f32]) -> Vec<f32> {
        let size = self.size;
        let [edge, centre] = self.taps;
        let last = size - 1;
        let before = |i: usize| if i == 0 { 1.min(last) } else { i - 1 };
        let after = |i: usize| if i == last { last.saturating_sub(1) } else { i + 1 };
        let mut out = vec![0.0f32; map.len()];
        out.par_chunks_mut(size).enumerate().for_each(|(y, row)| {
            let line = |y: usize| &map[y * size..(y + 1) * size];
            let (above, here, below) = (line(before(y)), line(y), line(after(y)));
            let column = |x: usize| edge * (above[x] + below[x]) + centre * here[x];
            for (x, pixel) in row.iter_mut().enumerate() {
                let sides = column(before(x)) + column(after(x));
                *pixel = edge * sides + centre * column(x);
            }
        });
        out
    }
}

/// Bilinear sampling positions with corners aligned: output 0 is grid cell 0, the last output is
/// the last cell.
pub fn align_corners_steps(grid: usize, size: usize) -> Vec<Step> {
    let scale = if size > 1 { (grid - 1) as f32 / (size - 1) as f32 } else { 0.0 };
    (0..size)
        .map(|i| {
            let position = i as f32 * scale;
            let before = (position as usize).min(grid - 1);
            Step { before, after: (before + 1).min(grid - 1), weight: position - before as f32 }
        })
        .collect()
}

/// The score of an image: the mean of the abnormal text "probability" and the peak of the map,
/// before boxes damp it. The published peak is the highest pixel; with a `share`
/// ([`FiloConfig::peak_share`](crate::model::config::FiloConfig::peak_share)) it is the mean of that
/// share of the pixels, the highest ones, one at least.
pub fn image_score(global_score: f32, map: &[f32], share: Option<f64>) -> f32 {
    let peak = match share {
        None => highest(map),
        Some(share) => mean_of_highest(map, peak_size(map.len(), share)),
    };
    (global_score + peak) / 2.0
}

/// How many of a map's `cells` are its peak: a `share` of them, one at least.
pub fn peak_size(cells: usize, share: f64) -> usize {
    ((share * cells as f64) as usize).clamp(1, cells)
}

/// The highest pixel of a map.
pub fn highest(map: &[f32]) -> f32 {
    map.iter().copied().fold(f32::MIN, f32::max)
}

/// The mean of the `count` highest pixels of a map, one at least.
fn mean_of_highest(map: &[f32], count: usize) -> f32 {
    let mut pixels = map.to_vec();
    pixels.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    // In an order of their own, so that the sum does not depend on how they were found.
    pixels[..count].sort_unstable_by(f32::total_cmp);
    (pixels[..count].iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / count as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_mean_of_the_global_one_and_the_peak() {
        let map = [0.2, 0.9, 0.1, 0.5, 0.4, 0.3, 0.6, 0.0];
        let peak = |share| 2.0 * image_score(0.0, &map, share);
        assert_eq!(image_score(0.1, &map, None), 0.5);
        assert_eq!(peak(None), 0.9);
        // Less than a pixel is one; of two and a half the two whole ones count.
        assert_eq!(peak(Some(0.01)), 0.9);
        assert_eq!(peak(Some(0.32)), 0.75);
        assert_eq!(peak(Some(1.0)), 0.375);
    }

    #[test]
    fn equal_similarities_give_one_half_everywhere() {
        let map = AnomalyMapper::new(3, 7).map(&[5.0; 2 * 2 * 9]);
        assert_eq!(map.len(), 49);
        assert!(map.iter().all(|value| (value - 0.5).abs() < 1e-6));
    }

    #[test]
    fn the_taps_are_those_of_sigma_four() {
        let [edge, centre] = gaussian_taps(SIGMA);
        assert!((edge - 0.329_843).abs() < 1e-6 && (centre - 0.340_313).abs() < 1e-6);
    }

    #[test]
    fn corners_of_the_map_are_corners_of_the_grid() {
        let steps = align_corners_steps(37, 518);
        assert_eq!((steps[0].before, steps[0].weight), (0, 0.0));
        let last = steps[517];
        let position = last.before as f32 + last.weight;
        assert!((position - 36.0).abs() < 1e-4);
    }
}
