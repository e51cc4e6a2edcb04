//! Patches of a picture as rows, so that a convolution is one product; and the way back, where
//! overlapping patches add up. Channels last, so that a row of a patch is one run of memory.

use burn::tensor::{Tensor, backend::Backend as AnyBackend, s};
use rayon::prelude::*;

use super::node::{Rule, Values, unary};
use crate::device::{Backend, TrainBackend};

/// A square window that moves over a picture.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
    /// Zeros on every side.
    pub padding: usize,
}

/// A window and the picture it moves over, `[height, width, channels]`.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    window: Window,
    height: usize,
    width: usize,
    channels: usize,
}

/// A run of floats of the picture and where it stands among the rows of patches.
struct Run {
    pixels: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
}

impl Geometry {
    fn steps(&self, side: usize) -> usize {
        let Window { kernel, stride, padding } = self.window;
        (side + 2 * padding - kernel) / stride + 1
    }

    fn picture_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn row_len(&self) -> usize {
        self.window.kernel * self.window.kernel * self.channels
    }

    fn rows_len(&self) -> usize {
        self.steps(self.height) * self.steps(self.width) * self.row_len()
    }

    /// Every run of the picture that lies in a patch: one per patch and row of the window.
    #[inline(always)]
    fn for_each_run(&self, mut visit: impl FnMut(Run)) {
        let Window { kernel, stride, padding } = self.window;
        let columns = self.steps(self.width);
        for top in 0..self.steps(self.height) {
            for left in 0..columns {
                // Columns of the window that lie in the picture.
                let first = padding.saturating_sub(left * stride);
                let last = kernel.min(self.width + padding - left * stride);
                for line in 0..kernel {
                    let Some(y) = (top * stride + line).checked_sub(padding) else { continue };
                    if y >= self.height || first >= last {
                        continue;
                    }
                    let x = left * stride + first - padding;
                    let pixel = (y * self.width + x) * self.channels;
                    let row = (top * columns + left) * self.row_len()
                        + (line * kernel + first) * self.channels;
                    let length = (last - first) * self.channels;
                    visit(Run { pixels: pixel..pixel + length, rows: row..row + length });
                }
            }
        }
    }

    fn unfold(&self, pictures: &[f32]) -> Vec<f32> {
        let count = pictures.len() / self.picture_len();
        let mut rows = vec![0.0; count * self.rows_len()];
        rows.par_chunks_mut(self.rows_len()).zip(pictures.par_chunks(self.picture_len())).for_each(
            |(rows, picture)| {
                self.for_each_run(|run| rows[run.rows].copy_from_slice(&picture[run.pixels]));
            },
        );
        rows
    }

    fn fold(&self, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.rows_len();
        let mut pictures = vec![0.0; count * self.picture_len()];
        pictures.par_chunks_mut(self.picture_len()).zip(rows.par_chunks(self.rows_len())).for_each(
            |(picture, rows)| {
                self.for_each_run(|run| {
                    let pixels = picture[run.pixels].iter_mut();
                    pixels.zip(&rows[run.rows]).for_each(|(pixel, row)| *pixel += row);
                });
            },
        );
        pictures
    }

    fn out(&self, batch: usize) -> [usize; 4] {
        [batch, self.steps(self.height), self.steps(self.width), self.row_len()]
    }
}

impl Rule<4, 4> for Geometry {
    fn gradient(self, output: Tensor<Backend, 4>) -> Tensor<Backend, 4> {
        let rows = Values::of(output);
        let shape = [rows.shape()[0], self.height, self.width, self.channels];
        rows.beside(self.fold(rows.read()), shape)
    }
}

/// See [`super::unfold`].
pub fn fused(x: Tensor<TrainBackend, 4>, window: Window) -> Tensor<TrainBackend, 4> {
    let [batch, height, width, channels] = x.dims();
    let geometry = Geometry { window, height, width, channels };
    unary(x, |x| {
        let pictures = Values::of(x);
        let rows = geometry.unfold(pictures.read());
        (pictures.beside(rows, geometry.out(batch)), geometry)
    })
}

/// The same of slices, one per place of the window, on any backend.
pub fn plain<B: AnyBackend>(x: Tensor<B, 4>, window: Window) -> Tensor<B, 4> {
    let [batch, height, width, channels] = x.dims();
    let Window { kernel, stride, padding } = window;
    let geometry = Geometry { window, height, width, channels };
    let [rows, columns] = [height, width].map(|side| geometry.steps(side));
    let framed = (1..=2).fold(x, |x, axis| match padding {
        0 => x,
        _ => {
            let mut shape = x.dims();
            shape[axis] = padding;
            let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
            Tensor::cat(vec![zeros.clone(), x, zeros], axis)
        }
    });
    let places = (0..kernel).flat_map(|top| (0..kernel).map(move |left| (top, left)));
    let places = places.map(|(top, left)| {
        let end = |start: usize, steps: usize| start + (steps - 1) * stride + 1;
        framed.clone().slice(s![
            0..batch,
            top..end(top, rows); stride as isize,
            left..end(left, columns); stride as isize,
            0..channels
        ])
    });
    Tensor::cat(places.collect(), 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    use crate::device::cpu;

    #[test]
    fn slices_give_the_same_patches() {
        let shape = [2, 5, 7, 3];
        let values = (0..2 * 5 * 7 * 3).map(|i| i as f32).collect::<Vec<_>>();
        let x = Tensor::<Backend, 4>::from_data(TensorData::new(values.clone(), shape), &cpu());
        for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (2, 2, 0), (7, 1, 3)] {
            let window = Window { kernel, stride, padding };
            let geometry = Geometry { window, height: 5, width: 7, channels: 3 };
            let plain = plain(x.clone(), window);
            assert_eq!(plain.dims(), geometry.out(2));
            assert_eq!(plain.into_data().to_vec::<f32>().unwrap(), geometry.unfold(&values));
        }
    }

    #[test]
    fn patches_of_a_picture_stand_in_rows_with_zeros_around_it() {
        let window = Window { kernel: 3, stride: 2, padding: 1 };
        let geometry = Geometry { window, height: 4, width: 4, channels: 1 };
        let picture = (1..=16).map(|value| value as f32).collect::<Vec<_>>();
        let rows = geometry.unfold(&picture);
        assert_eq!(rows[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 5.0, 6.0]);
        assert_eq!(rows[27..], [6.0, 7.0, 8.0, 10.0, 11.0, 12.0, 14.0, 15.0, 16.0]);
        // Pixel 6 (row 1, column 1) lies in all four patches, pixel 1 in the first alone.
        let counts = geometry.fold(&[1.0; 36]);
        assert_eq!((counts[5], counts[0], counts[15]), (4.0, 1.0, 1.0));
    }
}
