//! Weighted bilinear samples from the maps of several levels: the inner loop of deformable
//! attention. On the CPU it runs over the numbers themselves, elsewhere as tensor operations;
//! both give the same, and a test holds them to it.

use burn::tensor::ops::GridSampleOptions;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use rayon::prelude::*;

use super::levels::LevelShape;
use crate::model::kernels::is_cpu;
use crate::model::kernels::simd::widest;

/// Around what a query samples, per level, in fractions of the level's map.
#[derive(Debug, Clone)]
pub enum References<B: Backend> {
    /// `[batch, queries, levels, 2]` (x, y): offsets count pixels of the level.
    Points(Tensor<B, 4>),
    /// `[batch, queries, levels, 4]` (centre x, y, width, height): `points` offsets of 1 span half
    /// a box.
    Boxes(Tensor<B, 4>),
}

/// Where every query looks, and how much each look counts.
#[derive(Debug, Clone)]
pub struct Samples<'a, B: Backend> {
    pub references: &'a References<B>,
    /// `[batch, queries, heads, levels · points · 2]` (x, y), from the reference of the level.
    pub offsets: Tensor<B, 4>,
    /// `[batch, queries, heads, levels · points]`.
    pub weights: Tensor<B, 4>,
}

/// `value` `[batch, n, width]`, the tokens of all levels of `shapes`; head `h` reads its
/// `width / heads` channels. Bilinear between pixel centres at halves, zero outside the map.
/// Returns the weighted sums, `[batch, queries, width]`.
pub fn sample<B: Backend>(
    value: Tensor<B, 3>,
    shapes: &[LevelShape],
    samples: Samples<'_, B>,
) -> Tensor<B, 3> {
    if is_cpu::<B>(&value.device()) {
        sample_numbers(value, shapes, samples)
    } else {
        sample_tensors(value, shapes, samples)
    }
}

/// One grid sample per level.
fn sample_tensors<B: Backend>(
    value: Tensor<B, 3>,
    shapes: &[LevelShape],
    samples: Samples<'_, B>,
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
        let offsets = samples.offsets.clone().narrow(3, 2 * level * points, 2 * points);
        let offsets = offsets.reshape([batch, queries, heads * points, 2]);
        let locations = samples.references.add(level, *shape, offsets, points);
        let locations = locations.reshape([batch, queries, heads, 2 * points]).swap_dims(1, 2);
        let grid = (locations * 2.0 - 1.0).reshape([batch * heads, queries, points, 2]);
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
    samples: Samples<'_, B>,
) -> Tensor<B, 3> {
    let [batch, queries, heads, count] = samples.weights.dims();
    let [_, n, width] = value.dims();
    let (device, dtype) = (value.device(), value.dtype());
    let (references, per_level) = match samples.references {
        References::Points(centres) => (centres.clone(), 2),
        References::Boxes(boxes) => (boxes.clone(), 4),
    };
    let [references, offsets, weights] = [references, samples.offsets, samples.weights]
        .map(|tensor| tensor.into_data().convert::<f32>());
    let value = value.into_data().convert::<f32>();
    let [Ok(value), Ok(references), Ok(offsets), Ok(weights)] =
        [&value, &references, &offsets, &weights].map(|data| data.as_slice::<f32>())
    else {
        unreachable!("numbers converted to f32 are f32")
    };
    let head_width = width / heads;
    let of_query = per_level * shapes.len();
    let mut out = vec![0.0f32; batch * queries * width];
    out.par_chunks_mut(width.max(1)).enumerate().for_each(|(query, out)| {
        widest(Query {
            value: &value[query / queries * n * width..][..n * width],
            shapes,
            references: &references[query * of_query..][..of_query],
            offsets: &offsets[2 * query * heads * count..][..2 * heads * count],
            weights: &weights[query * heads * count..][..heads * count],
            head_width,
            out,
        });
    });
    let out = TensorData::new(out, [batch, queries, width]);
    Tensor::<B, 3>::from_data(out, &device).cast(dtype)
}

impl<B: Backend> References<B> {
    /// `offsets` `[batch, queries, any, 2]` from these references on one level, in fractions of
    /// its map.
    fn add(
        &self,
        level: usize,
        shape: LevelShape,
        offsets: Tensor<B, 4>,
        points: usize,
    ) -> Tensor<B, 4> {
        match self {
            References::Points(centres) => {
                let sides = shape.sides::<B>(&offsets.device());
                centres.clone().narrow(2, level, 1) + offsets / sides.unsqueeze()
            }
            References::Boxes(boxes) => {
                let boxes = boxes.clone().narrow(2, level, 1);
                let reach = boxes.clone().narrow(3, 2, 2) * (0.5 / points as f64);
                boxes.narrow(3, 0, 2) + offsets * reach
            }
        }
    }
}

/// All looks of one query.
struct Query<'a> {
    /// Tokens of the image, `[n, width]`.
    value: &'a [f32],
    shapes: &'a [LevelShape],
    /// `[levels, 2 or 4]`.
    references: &'a [f32],
    /// `[heads, levels, points, 2]`.
    offsets: &'a [f32],
    /// `[heads, levels, points]`.
    weights: &'a [f32],
    head_width: usize,
    /// Zeros, `[heads, head_width]`.
    out: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Query<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Query { value, shapes, references, offsets, weights, head_width, out } = self;
        let width = out.len();
        let per_level = references.len() / shapes.len();
        let points = weights.len() * head_width / width / shapes.len();
        let span = 0.5 / points as f32;
        let mut looks = offsets.as_chunks::<2>().0.iter().zip(weights);
        for (head, out) in out.chunks_exact_mut(head_width).enumerate() {
            let mut first_token = 0;
            for (shape, reference) in shapes.iter().zip(references.chunks_exact(per_level)) {
                let sides = [shape.width as f32, shape.height as f32];
                let map = Channels {
                    tokens: &value[first_token * width..][..shape.tokens() * width],
                    width,
                    first: head * head_width,
                };
                for (offset, &weight) in looks.by_ref().take(points) {
                    let location = [0, 1].map(|axis| match reference.get(2 + axis) {
                        None => reference[axis] + offset[axis] / sides[axis],
                        Some(side) => reference[axis] + offset[axis] * (side * span),
                    });
                    map.add_sample(*shape, location, weight, out);
                }
                first_token += shape.tokens();
            }
        }
    }
}

/// The channels of one head in the tokens of one level.
struct Channels<'a> {
    /// `[n, width]`.
    tokens: &'a [f32],
    width: usize,
    first: usize,
}

impl Channels<'_> {
    /// Adds the four pixels around a location, if they are on the map. NaN goes through: it is
    /// taken as pixel 0 with a weight of NaN.
    #[inline(always)]
    fn add_sample(&self, shape: LevelShape, [x, y]: [f32; 2], weight: f32, out: &mut [f32]) {
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
                let token = row as usize * shape.width + column as usize;
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
        let points = References::Points(random([2, 7, 2, 2], -0.2, 1.2));
        let boxes = References::Boxes(random([2, 7, 2, 4], -0.2, 1.2));
        for references in [&points, &boxes] {
            let samples = Samples {
                references,
                offsets: random([2, 7, 2, 2 * 3 * 2], -2.0, 2.0),
                weights: random([2, 7, 2, 2 * 3], 0.0, 1.0),
            };
            let a = sample_numbers(value.clone(), &shapes, samples.clone());
            let b = sample_tensors(value.clone(), &shapes, samples);
            assert!(a.dims() == [2, 7, 6] && a.all_close(b, Some(1e-5), Some(1e-6)));
        }
    }

    #[test]
    fn a_look_between_two_pixels_is_their_mean_and_beyond_the_border_half_a_pixel() {
        let shapes = [LevelShape { height: 1, width: 2 }];
        let value = Tensor::<B, 3>::from_data([[[2.0], [4.0]]], &cpu());
        let places = [[[[0.5, 0.5]], [[1.0, 0.5]], [[3.0, 0.5]]]];
        let samples = Samples {
            references: &References::Points(Tensor::from_data(places, &cpu())),
            offsets: Tensor::zeros([1, 3, 1, 2], &cpu()),
            weights: Tensor::ones([1, 3, 1, 1], &cpu()),
        };
        let out = sample(value, &shapes, samples).into_data().to_vec::<f32>().unwrap();
        assert_eq!(out, [3.0, 2.0, 0.0]);
    }
}
