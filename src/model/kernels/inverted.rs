//! Inverted residual blocks of one image, channels last: expand, filter channel by channel, project.
//! A band of output rows at a time, so that the expanded image, the largest by far, stays in the
//! cache. In: an image and weights as slices. Out: the block's output. Never here: tensors, threads;
//! bands depend on shapes alone, so an image gives the same bits wherever it is computed.

use super::depthwise::{Depthwise, Filter, Rows};
use super::product::{Matrix, multiply};
use super::simd::widest;

/// Expanded floats of a band, about: half of a small core's second-level cache.
const BAND: usize = 1 << 16;

/// A pointwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct Pointwise<'a> {
    /// `[inputs, outputs]`.
    pub weight: &'a [f32],
    /// `[outputs]`.
    pub bias: &'a [f32],
}

/// Expand (where it has that), filter, project; plus the input where shapes are the same.
#[derive(Debug, Clone, Copy)]
pub struct InvertedResidual<'a> {
    pub expand: Option<Pointwise<'a>>,
    pub filter: Filter<'a>,
    pub project: Pointwise<'a>,
}

/// Height, width and channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl ImageShape {
    /// How many numbers it has.
    pub fn count(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Behind a "same" convolution to `channels`.
    pub fn behind(self, stride: usize, channels: usize) -> Self {
        let [height, width] = [self.height, self.width].map(|length| length.div_ceil(stride));
        ImageShape { height, width, channels }
    }
}

/// Memory that is used again from block to block and image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows of the expanded image.
    hidden: Vec<f32>,
    /// Rows of the filtered one.
    filtered: Vec<f32>,
    /// Some channels of the expanded one.
    copy: Vec<f32>,
}

impl InvertedResidual<'_> {
    /// Shape behind the block.
    pub fn output(&self, input: ImageShape) -> ImageShape {
        input.behind(self.filter.stride, self.project.bias.len())
    }

    /// `out = block(x)`: `x` of shape `input`, `out` of shape [`InvertedResidual::output`].
    pub fn apply(&self, x: &[f32], input: ImageShape, out: &mut [f32], scratch: &mut Scratch) {
        let output = self.output(input);
        let hidden = self.filter.bias.len();
        let ImageShape { height, width, .. } = input;
        let Filter { kernel, stride, padding: [above, _], .. } = self.filter;
        let (row, out_row) = (input.width * hidden, output.width * output.channels);
        let filtered_row = output.width * hidden;
        let band = (BAND / (stride * row)).clamp(1, output.height);
        let Scratch { hidden: expanded, filtered, copy } = scratch;
        expanded.resize(((band * stride + kernel) * row).max(expanded.len()), 0.0);
        filtered.resize((band * filtered_row).max(filtered.len()), 0.0);
        // Rows [first, end) of the expanded image stand in `expanded`.
        let (mut first, mut end) = (0, 0);
        for top in (0..output.height).step_by(band) {
            let rows = band.min(output.height - top);
            let filtered = &mut filtered[..rows * filtered_row];
            let (from, to) = (
                (top * stride).saturating_sub(above),
                ((top + rows - 1) * stride + kernel - above).min(input.height),
            );
            let below = match &self.expand {
                None => Rows { values: x, first: 0, height, width, bias: None },
                Some(expand) => {
                    let kept = end.max(from);
                    expanded.copy_within((from - first) * row..(kept - first) * row, 0);
                    let new = &mut expanded[(kept - from) * row..(to - from) * row];
                    let x = &x[kept * input.width * input.channels..];
                    multiply_by(new, x, input.channels, expand);
                    (first, end) = (from, to);
                    let (values, bias) = (&expanded[..(to - from) * row], Some(expand.bias));
                    Rows { values, first, height, width, bias }
                }
            };
            widest(Depthwise {
                filter: self.filter,
                rows: below,
                top,
                out: filtered,
                columns: output.width,
                copy,
            });
            let out = &mut out[top * out_row..(top + rows) * out_row];
            multiply_by(out, filtered, hidden, &self.project);
            let skipped =
                (stride == 1 && input == output).then(|| &x[top * out_row..][..out.len()]);
            widest(AddBias { rows: out, bias: self.project.bias, skipped });
        }
    }
}

/// `out = min(max(x·weight + bias, 0), 6)`: rows of `inputs` floats to rows of the weight's outputs, as
/// many as fit in `out`.
pub fn multiply_relu6(out: &mut [f32], x: &[f32], inputs: usize, by: &Pointwise) {
    multiply_by(out, x, inputs, by);
    widest(AddBiasRelu6 { rows: out, bias: by.bias });
}

fn multiply_by(out: &mut [f32], x: &[f32], inputs: usize, by: &Pointwise) {
    let outputs = by.bias.len();
    let rows = out.len() / outputs;
    let weight = Matrix::new(by.weight, inputs, outputs, outputs);
    multiply(out, outputs, Matrix::new(x, rows, inputs, inputs), weight);
}

/// `row = min(max(row + bias, 0), 6)`.
struct AddBiasRelu6<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl pulp::NullaryFnOnce for AddBiasRelu6<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            let pairs = row.iter_mut().zip(self.bias);
            pairs.for_each(|(value, bias)| *value = (*value + bias).clamp(0.0, 6.0));
        }
    }
}

/// `row += bias`, and the same place of `skipped`.
struct AddBias<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    skipped: Option<&'a [f32]>,
}

impl pulp::NullaryFnOnce for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let AddBias { rows, bias, skipped } = self;
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
        if let Some(skipped) = skipped {
            rows.iter_mut().zip(skipped).for_each(|(value, skipped)| *value += skipped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_expands_filters_projects_and_adds_its_input() {
        // Expanded to (x, −x), whose second channel ReLU6 removes; the filter takes its middle.
        let expand = Pointwise { weight: &[1.0, -1.0], bias: &[0.0, 0.0] };
        let mut weight = [0.0; 18];
        (weight[8], weight[9]) = (1.0, 1.0);
        let filter =
            Filter { weight: &weight, bias: &[0.0; 2], kernel: 3, stride: 1, padding: [1; 2] };
        let project = Pointwise { weight: &[0.5, 9.0], bias: &[1.0] };
        let block = InvertedResidual { expand: Some(expand), filter, project };
        let shape = ImageShape { height: 2, width: 2, channels: 1 };
        let mut out = [0.0; 4];
        block.apply(&[1.0, 2.0, 3.0, 8.0], shape, &mut out, &mut Scratch::default());
        // 0.5 · min(x, 6) + 1 + x.
        assert_eq!(out, [2.5, 4.0, 5.5, 12.0]);
    }

    #[test]
    fn bands_do_not_show() {
        // Rows of 256 · 64 floats: bands of 4 output rows, or of 2.
        let image = (0..13 * 256 * 4).map(|i| (i * 37 % 101) as f32 / 100.0).collect::<Vec<_>>();
        let shape = ImageShape { height: 13, width: 256, channels: 4 };
        let expand = Pointwise { weight: &[0.1; 256], bias: &[0.0; 64] };
        let project = Pointwise { weight: &[0.01; 128], bias: &[0.0; 2] };
        for (kernel, stride) in [(3, 1), (5, 2)] {
            let weight = vec![0.05; kernel * kernel * 64];
            let padding = [(kernel - 1) / 2; 2];
            let filter = Filter { weight: &weight, bias: &[0.0; 64], kernel, stride, padding };
            let block = InvertedResidual { expand: Some(expand), filter, project };
            let mut out = vec![0.0; block.output(shape).count()];
            block.apply(&image, shape, &mut out, &mut Scratch::default());
            let columns = block.output(shape).width;
            for (i, value) in out.iter().enumerate() {
                let (y, x) = (i / 2 / columns * stride, i / 2 % columns * stride);
                let pixels = (y.saturating_sub(padding[0])..(y + kernel - padding[0]).min(13))
                    .flat_map(|y| {
                        let columns =
                            x.saturating_sub(padding[1])..(x + kernel - padding[1]).min(256);
                        columns.map(move |x| (y * 256 + x) * 4)
                    });
                let hidden = pixels.map(|at| 0.1 * image[at..at + 4].iter().sum::<f32>());
                let expected = 0.64 * (0.05 * hidden.sum::<f32>()).min(6.0);
                assert!((value - expected).abs() < 1e-4, "{i}: {value}, {expected}");
            }
        }
    }
}
