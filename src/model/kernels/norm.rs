//! Instance norm and the ReLU behind it, with their gradient: two passes over an image each way.
//! Kept for the backward pass: the normalised values and each channel's scale.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::node::{ManyRule, Values, many};
use super::simd::widest;
use crate::device::{Backend, TrainBackend};

#[derive(Debug, Clone)]
struct NormRelu {
    /// x̂ = (x − mean)/√(variance + ε), `[batch, pixels, channels]`.
    normalised: Tensor<Backend, 3>,
    /// 1/√(variance + ε), `[batch, 1, channels]`.
    scales: Tensor<Backend, 3>,
    /// `[1, 1, channels]`.
    gamma: Tensor<Backend, 3>,
    /// `[1, 1, channels]`.
    beta: Tensor<Backend, 3>,
}

/// One image on the way forward: `values` become x̂, `out` max(0, γ·x̂ + β).
struct Forward<'a> {
    values: &'a mut [f32],
    out: &'a mut [f32],
    scales: &'a mut [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl pulp::NullaryFnOnce for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Forward { values, out, scales, gamma, beta, epsilon } = self;
        let channels = gamma.len();
        let share = channels as f32 / values.len() as f32;
        let mut means = vec![0.0f32; channels];
        for row in values.chunks_exact(channels) {
            means.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
        }
        means.iter_mut().for_each(|mean| *mean *= share);
        scales.fill(0.0);
        for row in values.chunks_exact_mut(channels) {
            for ((x, mean), sum) in row.iter_mut().zip(&means).zip(scales.iter_mut()) {
                *x -= mean;
                *sum += *x * *x;
            }
        }
        scales.iter_mut().for_each(|sum| *sum = 1.0 / (*sum * share + epsilon).sqrt());
        let scales = &*scales;
        for (row, out) in values.chunks_exact_mut(channels).zip(out.chunks_exact_mut(channels)) {
            for (i, (x, out)) in row.iter_mut().zip(out).enumerate() {
                *x *= scales[i];
                let y = gamma[i] * *x + beta[i];
                // What is not a number must come out as that: the loss then says so.
                *out = if y <= 0.0 { 0.0 } else { y };
            }
        }
    }
}

/// One image in the backward pass: `output` becomes the gradient of x; `sums` those of γ and β.
struct Backward<'a> {
    output: &'a mut [f32],
    normalised: &'a [f32],
    scales: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    /// `[2, channels]`.
    sums: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Backward<'_> {
    type Output = ();

    /// With g the gradient of γ·x̂ + β: `γ·scale·(g − mean(g) − x̂·mean(g·x̂))`.
    #[inline(always)]
    fn call(self) {
        let Backward { output, normalised, scales, gamma, beta, sums } = self;
        let channels = gamma.len();
        let share = channels as f32 / output.len() as f32;
        sums.fill(0.0);
        let (of_gamma, of_beta) = sums.split_at_mut(channels);
        for (row, x) in output.chunks_exact_mut(channels).zip(normalised.chunks_exact(channels)) {
            for (i, (g, x)) in row.iter_mut().zip(x).enumerate() {
                *g = if gamma[i] * x + beta[i] > 0.0 { *g } else { 0.0 };
                of_gamma[i] += *g * x;
                of_beta[i] += *g;
            }
        }
        let (of_gamma, of_beta) = (&*of_gamma, &*of_beta);
        for (row, x) in output.chunks_exact_mut(channels).zip(normalised.chunks_exact(channels)) {
            for (i, (g, x)) in row.iter_mut().zip(x).enumerate() {
                let rest = share * (of_beta[i] + x * of_gamma[i]);
                *g = gamma[i] * scales[i] * (*g - rest);
            }
        }
    }
}

impl ManyRule<3, 3, 3> for NormRelu {
    fn gradients(self, output: Tensor<Backend, 3>) -> [Tensor<Backend, 3>; 3] {
        let [batch, pixels, channels] = output.dims();
        let [normalised, scales, gamma, beta] =
            [self.normalised, self.scales, self.gamma, self.beta].map(Values::of);
        let mut output = Values::of(output);
        let mut sums = vec![0.0; batch * 2 * channels];
        output
            .write()
            .par_chunks_mut(pixels * channels)
            .zip(normalised.read().par_chunks(pixels * channels))
            .zip(scales.read().par_chunks(channels))
            .zip(sums.par_chunks_mut(2 * channels))
            .for_each(|(((output, normalised), scales), sums)| {
                let (gamma, beta) = (gamma.read(), beta.read());
                widest(Backward { output, normalised, scales, gamma, beta, sums });
            });
        let mut of_both = vec![0.0; 2 * channels];
        for sums in sums.chunks_exact(2 * channels) {
            of_both.iter_mut().zip(sums).for_each(|(sum, value)| *sum += value);
        }
        let of_beta = gamma.beside(of_both.split_off(channels), [1, 1, channels]);
        let of_gamma = gamma.beside(of_both, [1, 1, channels]);
        [output.tensor(), of_gamma, of_beta]
    }
}

/// `relu(γ·(x − mean)/√(variance + ε) + β)`, mean and variance over the pixels of each channel of
/// each image: `x` `[batch, pixels, channels]`, `gamma` and `beta` `[channels]`.
pub fn fused(
    x: Tensor<TrainBackend, 3>,
    gamma: Tensor<TrainBackend, 1>,
    beta: Tensor<TrainBackend, 1>,
    epsilon: f64,
) -> Tensor<TrainBackend, 3> {
    let [batch, pixels, channels] = x.dims();
    let [gamma, beta] = [gamma, beta].map(|values| values.reshape([1, 1, channels]));
    many([x, gamma, beta], |[x, gamma, beta]| {
        let [mut values, gamma, beta] = [x, gamma, beta].map(Values::of);
        let mut out = vec![0.0; batch * pixels * channels];
        let mut scales = vec![0.0; batch * channels];
        values
            .write()
            .par_chunks_mut(pixels * channels)
            .zip(out.par_chunks_mut(pixels * channels))
            .zip(scales.par_chunks_mut(channels))
            .for_each(|((values, out), scales)| {
                let (gamma, beta, epsilon) = (gamma.read(), beta.read(), epsilon as f32);
                widest(Forward { values, out, scales, gamma, beta, epsilon });
            });
        let out = values.beside(out, [batch, pixels, channels]);
        let scales = values.beside(scales, [batch, 1, channels]);
        let normalised = values.tensor();
        let (gamma, beta) = (gamma.tensor(), beta.tensor());
        (out, NormRelu { normalised, scales, gamma, beta })
    })
}
