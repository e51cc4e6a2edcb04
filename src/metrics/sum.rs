//! Values in, their sum out, right to the last bits however many values there are.
//! A plain `f64` loop over millions of terms loses about six digits of the twelve we promise.

/// Running sum with Neumaier's correction (A. Neumaier 1974, "Rundungsfehleranalyse einiger
/// Verfahren zur Summation endlicher Summen"): the rounding error of every addition is kept beside
/// the sum and added back when the value is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CompensatedSum {
    sum: f64,
    lost: f64,
}

impl CompensatedSum {
    /// Adds one finite term.
    pub(super) fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        self.lost += if self.sum.abs() >= term.abs() {
            (self.sum - sum) + term
        } else {
            (term - sum) + self.sum
        };
        self.sum = sum;
    }

    /// The sum of all terms so far.
    pub(super) fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

/// Mean of the values that exist; `None` when none does.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sum = CompensatedSum::default();
    let mut n = 0u64;
    for value in values {
        sum.add(value);
        n += 1;
    }
    (n > 0).then(|| sum.value() / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_term_survives_between_two_large_ones() {
        let mut sum = CompensatedSum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn ten_million_tenths_are_a_million() {
        let mut sum = CompensatedSum::default();
        for _ in 0..10_000_000 {
            sum.add(0.1);
        }
        assert!((sum.value() - 1e6).abs() < 1e-9);
    }

    #[test]
    fn the_mean_of_nothing_is_nothing() {
        assert_eq!(mean(std::iter::empty()), None);
        assert_eq!(mean([1.0, 2.0].into_iter()), Some(1.5));
    }
}
