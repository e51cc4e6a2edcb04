//! A convolution of each channel by itself, channels last, and the ReLU6 behind it. In: rows of an
//! image, a kernel of 3 × 3 or 5 × 5. Out: rows of the filtered image. Some channels at a time are
//! copied beside each other with the zeros around them, so that the loop over them has no borders and
//! its sums stay in vector registers. Never here: other threads.

use pulp::Simd;

/// Neighbouring output pixels that share the kernel's values while these are in registers.
const PIXELS: usize = 4;

/// Vector registers of channels that go together. With four pixels that makes eight sums of the
/// sixteen registers that AVX2 has.
const VECTORS: usize = 2;

/// Floats per cache line.
const LINE: usize = 16;

/// Edge lengths that the kernel has loops for.
pub const KERNELS: [usize; 2] = [3, 5];

/// A square kernel and the zeros in front of the image.
#[derive(Debug, Clone, Copy)]
pub struct Filter<'a> {
    /// `[kernel, kernel, channels]`, `(y, x, channel)`.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: &'a [f32],
    /// One of [`KERNELS`].
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Zeros above and left of the image, fewer than `kernel`.
    pub padding: [usize; 2],
}

/// Some rows of an image, all columns and channels: `[rows, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    /// Where the first of them lies in the image.
    pub first: usize,
    /// Rows of the whole image.
    pub height: usize,
    pub width: usize,
    /// `[channels]`: `x` stands for `min(max(x + bias, 0), 6)`, which is computed as channels are
    /// copied and so needs no pass over the image of its own.
    pub bias: Option<&'a [f32]>,
}

/// `out = min(max(filter · rows + bias, 0), 6)` for the output rows from `top` on.
pub struct Depthwise<'a> {
    pub filter: Filter<'a>,
    pub rows: Rows<'a>,
    pub top: usize,
    /// Whole rows of `columns` pixels.
    pub out: &'a mut [f32],
    pub columns: usize,
    /// Memory for copies, used again from call to call.
    pub copy: &'a mut Vec<f32>,
}

/// Channels of one pixel.
type Lanes<S> = [<S as Simd>::f32s; VECTORS];

impl pulp::WithSimd for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The last is what PIXELS neighbours see of a line: (PIXELS − 1) · stride + kernel.
        match (self.filter.kernel, self.filter.stride) {
            (3, 1) => self.run::<S, 3, 1, 6>(simd),
            (3, 2) => self.run::<S, 3, 2, 9>(simd),
            (5, 1) => self.run::<S, 5, 1, 8>(simd),
            (5, 2) => self.run::<S, 5, 2, 11>(simd),
            (kernel, stride) => unreachable!("kernel {kernel}, stride {stride} were validated"),
        }
    }
}

impl Depthwise<'_> {
    #[inline(always)]
    fn run<S: Simd, const K: usize, const STRIDE: usize, const SEEN: usize>(self, simd: S) {
        let Depthwise { filter, rows, top, out, columns, copy } = self;
        let channels = filter.bias.len();
        let count = out.len() / (columns * channels);
        // Some columns more than there are, so that pixels come in whole groups.
        let pitch = (columns.next_multiple_of(PIXELS) - 1) * STRIDE + K;
        let copied = (count.max(1) - 1) * STRIDE + K;
        let step = VECTORS * S::F32_LANES;
        copy.resize((copied * pitch * step + LINE).max(copy.len()), 0.0);
        // Vectors that lie across two cache lines are loaded twice.
        let start = copy.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let copy = S::as_mut_simd_f32s(&mut copy[start..][..copied * pitch * step]).0;
        let copy = copy.as_chunks_mut::<VECTORS>().0;
        for channel in (0..channels).step_by(step) {
            let place = Place { channel, channels };
            rows.copy_channels(simd, place, copy, pitch, (top * STRIDE, filter.padding));
            let mut kernel = [[[simd.splat_f32s(0.0); VECTORS]; K]; K];
            for (tap, factors) in kernel.as_flattened_mut().iter_mut().enumerate() {
                *factors = place.load(simd, &filter.weight[tap * channels..]);
            }
            let bias = place.load(simd, filter.bias);
            for (row, out) in out.chunks_exact_mut(columns * channels).enumerate() {
                let lines = &copy[row * STRIDE * pitch..];
                for x in (0..columns).step_by(PIXELS) {
                    let mut sums = [bias; PIXELS];
                    for (y, factors) in kernel.iter().enumerate() {
                        let line = lines[y * pitch + x * STRIDE..].first_chunk::<SEEN>();
                        let line = line.expect("lines have whole groups");
                        sums = add_line::<S, K, STRIDE, SEEN>(simd, sums, factors, line);
                    }
                    for (pixel, sums) in sums.into_iter().enumerate() {
                        // The last group may have fewer pixels.
                        let start = (x + pixel) * channels;
                        if let Some(out) = out.get_mut(start..start + channels) {
                            place.store(simd, out, relu6(simd, sums));
                        }
                    }
                }
            }
        }
    }
}

/// `sums` plus `factors · line` at each of the neighbours.
#[inline(always)]
fn add_line<S: Simd, const K: usize, const STRIDE: usize, const SEEN: usize>(
    simd: S,
    mut sums: [Lanes<S>; PIXELS],
    factors: &[Lanes<S>; K],
    line: &[Lanes<S>; SEEN],
) -> [Lanes<S>; PIXELS] {
    for (x, factors) in factors.iter().enumerate() {
        for (pixel, sums) in sums.iter_mut().enumerate() {
            let values = &line[pixel * STRIDE + x];
            for ((sum, factor), value) in sums.iter_mut().zip(factors).zip(values) {
                *sum = simd.mul_add_e_f32s(*factor, *value, *sum);
            }
        }
    }
    sums
}

/// `min(max(x, 0), 6)`. Where one operand is not a number, x86 takes the second: what is not a number
/// stays that.
#[inline(always)]
fn relu6<S: Simd>(simd: S, mut x: Lanes<S>) -> Lanes<S> {
    let (zero, six) = (simd.splat_f32s(0.0), simd.splat_f32s(6.0));
    for x in &mut x {
        *x = simd.min_f32s(six, simd.max_f32s(zero, *x));
    }
    x
}

/// Channels of a pixel from `channel` on, as many as fit in [`Lanes`].
#[derive(Clone, Copy)]
struct Place {
    channel: usize,
    channels: usize,
}

impl Place {
    /// Of the first pixel in `values`; zeros behind the last channel.
    #[inline(always)]
    fn load<S: Simd>(self, simd: S, values: &[f32]) -> Lanes<S> {
        let values = &values[self.channel..self.channels];
        match S::as_simd_f32s(values).0.first_chunk() {
            Some(whole) => *whole,
            None => {
                let mut lanes = [simd.splat_f32s(0.0); VECTORS];
                for (lanes, part) in lanes.iter_mut().zip(values.chunks(S::F32_LANES)) {
                    *lanes = simd.partial_load_f32s(part);
                }
                lanes
            }
        }
    }

    #[inline(always)]
    fn store<S: Simd>(self, simd: S, pixel: &mut [f32], values: Lanes<S>) {
        let pixel = &mut pixel[self.channel..self.channels];
        if let Some(whole) = S::as_mut_simd_f32s(pixel).0.first_chunk_mut() {
            *whole = values;
            return;
        }
        for (part, values) in pixel.chunks_mut(S::F32_LANES).zip(values) {
            simd.partial_store_f32s(part, values);
        }
    }
}

impl Rows<'_> {
    /// Some channels of the rows that `copy` has lines for, `pitch` long, the first at row `top` of the
    /// image with its `padding`.
    #[inline(always)]
    fn copy_channels<S: Simd>(
        &self,
        simd: S,
        place: Place,
        copy: &mut [Lanes<S>],
        pitch: usize,
        (top, [above, left]): (usize, [usize; 2]),
    ) {
        let Rows { values, first, height, width, bias } = *self;
        let row_length = width * place.channels;
        let shift = bias.map(|bias| place.load(simd, bias));
        let zeros = [simd.splat_f32s(0.0); VECTORS];
        for (line, copy) in copy.chunks_exact_mut(pitch).enumerate() {
            let row = (top + line).checked_sub(above).filter(|row| *row < height);
            let Some(row) = row else {
                copy.fill(zeros);
                continue;
            };
            let (before, copy) = copy.split_at_mut(left);
            // With a stride the last columns may be seen by nobody.
            let (inside, behind) = copy.split_at_mut(width.min(copy.len()));
            before.fill(zeros);
            behind.fill(zeros);
            let pixels = &values[(row - first) * row_length..][..row_length];
            for (copy, pixel) in inside.iter_mut().zip(pixels.chunks_exact(place.channels)) {
                let mut values = place.load(simd, pixel);
                if let Some(shift) = shift {
                    for (value, shift) in values.iter_mut().zip(shift) {
                        *value = simd.add_f32s(*value, shift);
                    }
                    values = relu6(simd, values);
                }
                *copy = values;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernels::simd::widest;

    /// All rows of `image` `[height, width, channels]` under a kernel of ones in every channel.
    fn sums(
        image: &[f32],
        [height, width, channels]: [usize; 3],
        (kernel, stride): (usize, usize),
        bias: f32,
    ) -> Vec<f32> {
        let weight = vec![1.0; kernel * kernel * channels];
        let padding = [(kernel - stride) / 2; 2];
        let bias = vec![bias; channels];
        let filter = Filter { weight: &weight, bias: &bias, kernel, stride, padding };
        let rows = Rows { values: image, first: 0, height, width, bias: None };
        let columns = width.div_ceil(stride);
        let mut out = vec![-1.0; height.div_ceil(stride) * columns * channels];
        widest(Depthwise { filter, rows, top: 0, out: &mut out, columns, copy: &mut Vec::new() });
        out
    }

    #[test]
    fn sums_of_neighbours_are_bounded_at_zero_and_six() {
        // 1 2 3 / 4 5 6 / 7 8 9, tenths.
        let image = (1..=9).map(|value| value as f32 / 10.0).collect::<Vec<_>>();
        let expected = [1.2, 2.1, 1.6, 2.7, 4.5, 3.3, 2.4, 3.9, 2.8];
        let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
        let plain = sums(&image, [3, 3, 1], (3, 1), 0.0);
        assert!(plain.iter().zip(expected).all(|(a, b)| close(*a, b)), "{plain:?}");
        let high = sums(&image, [3, 3, 1], (3, 1), 3.0);
        assert!(close(high[0], 4.2) && high[4] == 6.0, "{high:?}");
        let low = sums(&image, [3, 3, 1], (3, 1), -2.0);
        assert!(low[0] == 0.0 && close(low[4], 2.5), "{low:?}");
    }

    #[test]
    fn with_stride_two_an_even_image_has_its_zeros_behind() {
        // Rows and columns 0..=2 of 4, then 2..=3.
        let ones = [0.5; 16];
        assert_eq!(sums(&ones, [4, 4, 1], (3, 2), 0.0), [4.5, 3.0, 3.0, 2.0]);
        // Windows of 5 begin one before: 4, and 3 of 4.
        assert_eq!(sums(&[0.25; 16], [4, 4, 1], (5, 2), 0.0), [4.0, 3.0, 3.0, 2.25]);
    }

    #[test]
    fn every_channel_is_summed_by_itself_however_many_there_are() {
        for channels in [1, 7, 8, 16, 17, 40] {
            for width in [1, 3, 4, 9] {
                let image = (0..2 * width * channels).map(|i| (i % channels) as f32 / 100.0);
                let out = sums(&image.collect::<Vec<_>>(), [2, width, channels], (3, 1), 0.0);
                let expected = |i: usize| {
                    let (x, channel) = (i / channels % width, i % channels);
                    let seen = (x + 2).min(width) - x.saturating_sub(1);
                    (2 * seen * channel) as f32 / 100.0
                };
                let apart = |(i, value): (usize, &f32)| (value - expected(i)).abs();
                assert!(out.iter().enumerate().map(apart).all(|apart| apart < 1e-6));
            }
        }
    }
}
