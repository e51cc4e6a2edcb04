//! Patches of an image as rows, so that a convolution is one matmul; and the backward pass, where
//! overlapping patches add up. Channels last, so that a row of a patch is one run of memory.

use burn::tensor::{Slice, Tensor, backend::Backend as AnyBackend, s};
use rayon::prelude::*;

use super::node::{Rule, Values, unary};
use crate::device::{Backend, TrainBackend};

/// A square window that moves over an image.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
    /// Zeros on every side.
    pub padding: usize,
}

/// A window and the image it moves over, `[height, width, channels]`.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    window: Window,
    height: usize,
    width: usize,
    channels: usize,
}

/// A run of floats of the image and where it stands among the rows of patches.
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

    /// Every run of the image that lies in a patch: one per patch and row of the window.
    #[inline(always)]
    fn for_each_run(&self, mut visit: impl FnMut(Run)) {
        let Window { kernel, stride, padding } = self.window;
        let columns = self.steps(self.width);
        for top in 0..self.steps(self.height) {
            for left in 0..columns {
                // Columns of the window that lie in the image.
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

    /// Places inside the window, line by line.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let kernel = self.window.kernel;
        (0..kernel).flat_map(move |top| (0..kernel).map(move |left| (top, left)))
    }

    /// What a place inside the window comes to lie on, in an image with its padding.
    fn seen_from(&self, (top, left): (usize, usize)) -> [Slice; 4] {
        let stride = self.window.stride;
        let end = |start: usize, steps: usize| start + (steps - 1) * stride + 1;
        let (rows, columns) = (self.steps(self.height), self.steps(self.width));
        s![.., top..end(top, rows); stride as isize, left..end(left, columns); stride as isize, ..]
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
    let geometry = Geometry { window, height, width, channels };
    let Window { kernel, stride, padding } = window;
    if stride == kernel && padding == 0 {
        // Patches beside each other: one copy.
        let (rows, columns) = (geometry.steps(height), geometry.steps(width));
        let whole = x.slice(s![.., 0..rows * kernel, 0..columns * kernel, ..]);
        let patches = whole.reshape([batch, rows, kernel, columns, kernel, channels]);
        let patches = patches.permute([0, 1, 3, 2, 4, 5]);
        return patches.reshape([batch, rows, columns, kernel * kernel * channels]);
    }
    let framed = (1..=2).fold(x, |x, axis| match padding {
        0 => x,
        _ => {
            let mut shape = x.dims();
            shape[axis] = padding;
            let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
            Tensor::cat(vec![zeros.clone(), x, zeros], axis)
        }
    });
    let places = geometry.places().map(|place| framed.clone().slice(geometry.seen_from(place)));
    Tensor::cat(places.collect(), 3)
}

/// [`plain`] with a gradient that adds up in place, where the tape would fill an image with zeros for
/// every place of the window.
pub fn on_device(x: Tensor<TrainBackend, 4>, window: Window) -> Tensor<TrainBackend, 4> {
    let [_, height, width, channels] = x.dims();
    let geometry = Geometry { window, height, width, channels };
    unary(x, |x| (plain(x, window), OnDevice(geometry)))
}

#[derive(Debug, Clone)]
struct OnDevice(Geometry);

impl Rule<4, 4> for OnDevice {
    fn gradient(self, output: Tensor<Backend, 4>) -> Tensor<Backend, 4> {
        let OnDevice(geometry) = self;
        let Geometry { window: Window { kernel, padding, .. }, height, width, channels } = geometry;
        let batch = output.dims()[0];
        let framed = [batch, height + 2 * padding, width + 2 * padding, channels];
        let zeros = Tensor::zeros(framed, (&output.device(), output.dtype()));
        let sum = geometry.places().fold(zeros, |sum, place @ (top, left)| {
            let seen = geometry.seen_from(place);
            let part = output.clone().narrow(3, (top * kernel + left) * channels, channels);
            let part = sum.clone().slice(seen) + part;
            sum.slice_assign(seen, part)
        });
        sum.narrow(1, padding, height).narrow(2, padding, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    use crate::device::cpu;

    #[test]
    fn slices_give_the_same_patches_and_the_same_gradient() {
        let shape = [2, 5, 7, 3];
        let values = (0..2 * 5 * 7 * 3).map(|i| i as f32).collect::<Vec<_>>();
        let x = Tensor::<Backend, 4>::from_data(TensorData::new(values.clone(), shape), &cpu());
        for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (2, 2, 0), (7, 1, 3)] {
            let window = Window { kernel, stride, padding };
            let geometry = Geometry { window, height: 5, width: 7, channels: 3 };
            let plain = plain(x.clone(), window);
            assert_eq!(plain.dims(), geometry.out(2));
            assert_eq!(
                plain.clone().into_data().to_vec::<f32>().unwrap(),
                geometry.unfold(&values)
            );
            let back = OnDevice(geometry).gradient(plain.clone());
            let expected = geometry.gradient(plain);
            assert_eq!(back.dims(), expected.dims());
            assert!((back - expected).abs().max().into_scalar() < 1e-3);
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
