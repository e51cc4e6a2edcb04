//! Loops over floats that the widest vector unit at hand runs: written plainly, compiled for each
//! instruction set, chosen at run time. No fused multiply-add is relied on, so all give one result.

use std::f32::consts::LOG2_E;

/// Floats per inner step: four SSE registers, one AVX-512 register.
const LANES: usize = 16;

/// Runs `work` compiled for the widest instruction set there is.
pub fn widest<W: pulp::WithSimd>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(work)
}

/// `eˣ` to 2e-7 relative; 0 below −87. Cody–Waite: 2ⁿ times a polynomial of degree 6 on ±ln 2 / 2.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the low bits of a float.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let poly = 1.0 / 120.0 + r * (1.0 / 720.0);
    let poly = 1.0 / 24.0 + r * poly;
    let poly = 1.0 / 6.0 + r * poly;
    let poly = 0.5 + r * poly;
    let poly = 1.0 + r * (1.0 + r * poly);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x < -87.0 { 0.0 } else { poly * f32::from_bits(exponent) }
}

/// `ln x` to 3e-7 absolute for normal x > 0: the exponent, and 2·artanh((m − 1)/(m + 1)) of the
/// mantissa between √½ and √2.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let series = 1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0)));
    exponent as f32 * std::f32::consts::LN_2 + 2.0 * s * (1.0 + z * series)
}

/// Σ f(a, b) over two rows, in lanes; the order of additions depends on the length alone.
#[inline(always)]
pub fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| f(a, b)).sum::<f32>();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn max_of(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            largest[lane] = larger(largest[lane], chunk[lane]);
        }
    }
    rest.iter().chain(&largest).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

/// `softmax(scale · row)` of every row of `columns` values, in place.
pub struct Softmax<'a> {
    pub rows: &'a mut [f32],
    pub columns: usize,
    pub scale: f32,
}

impl pulp::NullaryFnOnce for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for row in self.rows.chunks_exact_mut(self.columns) {
            let max = max_of(row);
            row.iter_mut().for_each(|value| *value = exp((*value - max) * self.scale));
            let norm = 1.0 / sum_of(row, row, |value, _| value);
            row.iter_mut().for_each(|value| *value *= norm);
        }
    }
}

/// `softmax(scale · row + bias + mask)` of every row of `columns` values, in place.
pub struct BiasedSoftmax<'a> {
    pub rows: &'a mut [f32],
    pub columns: usize,
    pub scale: f32,
    /// As long as `rows`.
    pub bias: &'a [f32],
    /// As long as `rows`, if there is one.
    pub mask: Option<&'a [f32]>,
}

impl pulp::NullaryFnOnce for BiasedSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let BiasedSoftmax { rows, columns, scale, bias, mask } = self;
        rows.iter_mut().zip(bias).for_each(|(value, bias)| *value = *value * scale + bias);
        if let Some(mask) = mask {
            rows.iter_mut().zip(mask).for_each(|(value, mask)| *value += mask);
        }
        Softmax { rows, columns, scale: 1.0 }.call();
    }
}

/// Gradient of [`Softmax`]: with `probabilities` p and the gradient g of p in `rows`, each row
/// becomes `scale · p · (g − Σ g·p)`.
pub struct SoftmaxGradient<'a> {
    pub probabilities: &'a [f32],
    pub rows: &'a mut [f32],
    pub columns: usize,
    pub scale: f32,
}

impl pulp::NullaryFnOnce for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.rows.chunks_exact_mut(self.columns);
        for (row, p) in rows.zip(self.probabilities.chunks_exact(self.columns)) {
            let mean = sum_of(row, p, |g, p| g * p);
            for (g, p) in row.iter_mut().zip(p) {
                *g = self.scale * p * (*g - mean);
            }
        }
    }
}

/// `x·Φ(x)` in place of x, and its derivative `Φ(x) + x·φ(x)` beside it.
pub struct Gelu<'a> {
    pub values: &'a mut [f32],
    pub derivatives: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Gelu<'_> {
    type Output = ();

    /// Φ by Abramowitz and Stegun 7.1.26, 1.5e-7 absolute; its exponential is φ's too.
    #[inline(always)]
    fn call(self) {
        const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
        const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
        const PHI_0: f32 = 0.398_942_3;
        for (value, derivative) in self.values.iter_mut().zip(self.derivatives) {
            let x = *value;
            let bell = exp(-0.5 * x * x);
            let t = 1.0 / (1.0 + P * x.abs());
            let poly = t * (A[0] + t * (A[1] + t * (A[2] + t * (A[3] + t * A[4]))));
            let tail = 0.5 * poly * bell;
            let cumulative = if x < 0.0 { tail } else { 1.0 - tail };
            *value = x * cumulative;
            *derivative = cumulative + x * PHI_0 * bell;
        }
    }
}

/// `sums += 1 / (1 + e⁻ᵛ)`.
pub struct AddSigmoid<'a> {
    pub sums: &'a mut [f32],
    pub values: &'a [f32],
}

impl pulp::NullaryFnOnce for AddSigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let pairs = self.sums.iter_mut().zip(self.values);
        pairs.for_each(|(sum, value)| *sum += 1.0 / (1.0 + exp(-value)));
    }
}

/// `row += to`.
pub struct Add<'a> {
    pub row: &'a mut [f32],
    pub to: &'a [f32],
}

impl pulp::NullaryFnOnce for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.row.iter_mut().zip(self.to).for_each(|(value, to)| *value += to);
    }
}

/// `rows *= by`.
pub struct Multiply<'a> {
    pub rows: &'a mut [f32],
    pub by: &'a [f32],
}

impl pulp::NullaryFnOnce for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.rows.iter_mut().zip(self.by).for_each(|(value, by)| *value *= by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_follows_f64_and_ends_at_zero() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(-88.0), exp(0.0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn the_logarithm_follows_f64() {
        for i in 1..20_000 {
            let x = i as f32 * 1e-4;
            let error = (f64::from(ln(x)) - f64::from(x).ln()).abs();
            assert!(error < 1e-6, "ln({x}) is off by {error:e}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn the_sigmoid_follows_f64_and_ends_at_zero_and_one() {
        let values = (-1000..=1000).map(|i| i as f32 / 10.0).collect::<Vec<_>>();
        let mut sums = vec![0.0; values.len()];
        widest(AddSigmoid { sums: &mut sums, values: &values });
        for (value, sigmoid) in values.iter().zip(sums) {
            let expected = 1.0 / (1.0 + (-f64::from(*value)).exp());
            assert!((f64::from(sigmoid) - expected).abs() < 3e-7, "at {value}: {sigmoid}");
        }
    }

    #[test]
    fn softmax_of_a_row_with_hidden_values_sums_to_one() {
        let mut rows = [0.0, 2.0, f32::NEG_INFINITY, 2.0].repeat(9);
        rows[35] = f32::NEG_INFINITY;
        widest(Softmax { rows: &mut rows, columns: 36, scale: 0.5 });
        assert!((rows.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!((rows[2], rows[35]), (0.0, 0.0));
        assert!((rows[1] / rows[0] - std::f32::consts::E).abs() < 1e-5);
    }
}
