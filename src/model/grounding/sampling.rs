//! Weighted bilinear samples from the maps of several levels: the inner loop of deformable
//! attention. On the CPU it runs over the numbers themselves, elsewhere as tensor operations;
//! both give the same, and a test holds them to it.

use std::any::Any;

use burn::DispatchDevice;
use burn::tensor::ops::GridSampleOptions;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use super::levels::LevelShape;

/// Where every query looks, and how much each look counts.
#[derive(Debug, Clone)]
pub struct Samples<B: Backend> {
    /// `[batch, queries, heads, levels · points · 2]`: (x, y) as fractions of the level's map;
    /// outside 0..=1 lies outside the map.
    pub locations: Tensor<B, 4>,
    /// `[batch, queries, heads, levels · points]`.
    pub weights: Tensor<B, 4>,
}

/// `value` `[batch, n, width]`, the tokens of all levels of `shapes`; head `h` reads its
/// `width / heads` channels. Bilinear between pixel centres at halves, zero outside the map.
/// Returns the weighted sums, `[batch, queries, width]`.
pub fn sample<B: Backend>(
    value: Tensor<B, 3>,
    shapes: &[LevelShape],
    samples: Samples<B>,
) -> Tensor<B, 3> {
    if is_cpu::<B>(&value.device()) {
        sample_numbers(value, shapes, samples)
    } else {
        sample_tensors(value, shapes, samples)
    }
}

/// Whether tensors of this device lie in this process's memory without a copy, and need no
/// gradient.
fn is_cpu<B: Backend>(device: &B::Device) -> bool {
    let device: &dyn Any = device;
    matches!(device.downcast_ref(), Some(DispatchDevice::Flex(_)))
}

/// One grid sample per level.
fn sample_tensors<B: Backend>(
    value: Tensor<B, 3>,
    shapes: &[LevelShape],
    samples: Samples<B>,
) -> Tensor<B, 3> {
    let [batch, queries, heads, count] = samples.weights.dims();
    let width = value.dims()[2];
    let points = count / shapes.len();
    let mut sum = Tensor::zeros([batch * heads, width / heads, queries], &value.device());
    let mut first_token = 0;
    for (level, shape) in shapes.iter().enumerate() {
        let maps = value.clone().narrow(1, first_token, shape.tokens()).swap_dims(1, 2);
        let maps = maps.reshape([batch * heads, width / heads, shape.height, shape.width]);
        first_token += shape.tokens();
        let locations = samples.locations.clone().narrow(3, 2 * level * points, 2 * points);
        let grid =
            (locations.swap_dims(1, 2) * 2.0 - 1.0).reshape([batch * heads, queries, points, 2]);
        let weights = samples.weights.clone().narrow(3, level * points, points);
        let weights = weights.swap_dims(1, 2).reshape([batch * heads, 1, queries, points]);
        let looks = maps.grid_sample_2d(grid, GridSampleOptions::default());
        sum = sum + (looks * weights).sum_dim(3).squeeze_dim::<3>(3);
    }
    sum.reshape([batch, width, queries]).swap_dims(1, 2)
}

/// The same over slices, queries in parallel. Grid sampling channel by channel, as a general
/// operator must, takes ten times as long: here a head's channels lie side by side.
fn sample_numbers<B: Backend>(
    value: Tensor<B, 3>,
    shapes: &[LevelShape],
    samples: Samples<B>,
) -> Tensor<B, 3> {
    let [batch, queries, heads, count] = samples.weights.dims();
    let [_, n, width] = value.dims();
    let (device, dtype) = (value.device(), value.dtype());
    let [locations, weights] =
        [samples.locations, samples.weights].map(|tensor| tensor.into_data().convert::<f32>());
    let value = value.into_data().convert::<f32>();
    let (Ok(value), Ok(locations), Ok(weights)) =
        (value.as_slice::<f32>(), locations.as_slice::<f32>(), weights.as_slice::<f32>())
    else {
        unreachable!("numbers converted to f32 are f32")
    };
    let head_width = width / heads;
    let mut out = vec![0.0f32; batch * queries * width];
    out.par_chunks_mut(head_width.max(1)).enumerate().for_each(|(i, out)| {
        let (picture, head) = (i / (queries * heads), i % heads);
        let map = Channels {
            tokens: &value[picture * n * width..(picture + 1) * n * width],
            width,
            first: head * head_width,
        };
        let locations = &locations[2 * i * count..2 * (i + 1) * count];
        let weights = &weights[i * count..(i + 1) * count];
        map.add_samples(shapes, locations, weights, out);
    });
    let out = TensorData::new(out, [batch, queries, width]);
    Tensor::<B, 3>::from_data(out, &device).cast(dtype)
}

/// The channels of one head in the tokens of one picture.
struct Channels<'a> {
    /// `[n, width]`.
    tokens: &'a [f32],
    width: usize,
    first: usize,
}

impl Channels<'_> {
    /// Adds the samples of one query and head to `out` (`head_width` channels).
    fn add_samples(
        &self,
        shapes: &[LevelShape],
        locations: &[f32],
        weights: &[f32],
        out: &mut [f32],
    ) {
        let points = weights.len() / shapes.len();
        let looks = locations.chunks_exact(2).zip(weights);
        let mut first_token = 0;
        for (level, shape) in shapes.iter().enumerate() {
            for (location, &weight) in looks.clone().skip(level * points).take(points) {
                self.add_sample(*shape, first_token, [location[0], location[1]], weight, out);
            }
            first_token += shape.tokens();
        }
    }

    /// Adds the four pixels around a location, if they are on the map. NaN goes through: it is
    /// taken as pixel 0 with a weight of NaN.
    fn add_sample(
        &self,
        shape: LevelShape,
        first_token: usize,
        [x, y]: [f32; 2],
        weight: f32,
        out: &mut [f32],
    ) {
        let x = x * shape.width as f32 - 0.5;
        let y = y * shape.height as f32 - 0.5;
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        for (row, share_y) in [(0, 1.0 - bottom_share), (1, bottom_share)] {
            let row = (top as isize).saturating_add(row);
            if !(0..shape.height as isize).contains(&row) {
                continue;
            }
            for (column, share_x) in [(0, 1.0 - right_share), (1, right_share)] {
                let column = (left as isize).saturating_add(column);
                if !(0..shape.width as isize).contains(&column) {
                    continue;
                }
                let token = first_token + row as usize * shape.width + column as usize;
                let start = token * self.width + self.first;
                let factor = weight * share_x * share_y;
                let pixel = &self.tokens[start..start + out.len()];
                out.iter_mut().zip(pixel).for_each(|(out, value)| *out += factor * value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};
    use burn::tensor::Distribution;

    #[test]
    fn numbers_and_tensors_give_the_same_also_outside_the_maps() {
        let device = cpu();
        let shapes = [LevelShape { height: 3, width: 5 }, LevelShape { height: 2, width: 1 }];
        let random = |dims: [usize; 4], low, high| {
            Tensor::<B, 4>::random(dims, Distribution::Uniform(low, high), &device)
        };
        let value = random([1, 2, 17, 6], -1.0, 1.0).squeeze_dim::<3>(0);
        let samples = Samples {
            locations: random([2, 7, 2, 2 * 3 * 2], -0.4, 1.4),
            weights: random([2, 7, 2, 2 * 3], 0.0, 1.0),
        };
        let a = sample_numbers(value.clone(), &shapes, samples.clone());
        let b = sample_tensors(value, &shapes, samples);
        assert!(a.dims() == [2, 7, 6] && a.all_close(b, Some(1e-5), Some(1e-6)));
    }

    #[test]
    fn a_look_between_two_pixels_is_their_mean_and_beyond_the_border_half_a_pixel() {
        let shapes = [LevelShape { height: 1, width: 2 }];
        let value = Tensor::<B, 3>::from_data([[[2.0], [4.0]]], &cpu());
        let samples = Samples {
            locations: Tensor::from_data([[[[0.5, 0.5]], [[1.0, 0.5]], [[3.0, 0.5]]]], &cpu()),
            weights: Tensor::ones([1, 3, 1, 1], &cpu()),
        };
        let out = sample(value, &shapes, samples).into_data().to_vec::<f32>().unwrap();
        assert_eq!(out, [3.0, 2.0, 0.0]);
    }
}
