//! Draws that images need, on top of `fastrand`'s.

use fastrand::Rng;

use super::math::{exp2, lerp, log2};

pub trait Draw {
    /// Evenly from `low` to `high`.
    fn within(&mut self, low: f32, high: f32) -> f32;
    /// From `low` to `high`, each octave as likely as the next: for sizes and strengths.
    fn log_within(&mut self, low: f32, high: f32) -> f32;
    /// True with probability `p`.
    fn chance(&mut self, p: f32) -> bool;
    /// Mean 0, deviation 1, never beyond ±3.5: half the bits of one draw, summed by bytes.
    fn normal(&mut self) -> f32;
    /// −1 or 1.
    fn sign(&mut self) -> f32;
    /// One of a list that is not empty.
    fn one_of<T: Copy>(&mut self, list: &[T]) -> T;
}

impl Draw for Rng {
    fn within(&mut self, low: f32, high: f32) -> f32 {
        lerp(low, high, self.f32())
    }

    fn log_within(&mut self, low: f32, high: f32) -> f32 {
        exp2(self.within(log2(low), log2(high)))
    }

    fn chance(&mut self, p: f32) -> bool {
        self.f32() < p
    }

    fn normal(&mut self) -> f32 {
        let bits = self.u64(..);
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        // Four even draws of 0..65535: mean 131 070, deviation 65536·√(4/12).
        (sum as f32 - 131_070.0) * (1.0 / 37_837.2)
    }

    fn sign(&mut self) -> f32 {
        if self.bool() { 1.0 } else { -1.0 }
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.usize(..list.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        let mut rng = Rng::with_seed(1);
        let draws = (0..20_000).map(|_| rng.normal()).collect::<Vec<_>>();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let square = draws.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.03, "{mean} {square}");
    }
}
