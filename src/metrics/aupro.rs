//! Area under the curve of mean recall per region over false positive rate, up to a limit: from
//! the steps of that curve, highest score first, to one number. The exact definition; the
//! published procedure is in `aupro_published.rs`. Never here: pixels.

use crate::error::MetricsError;

use super::sum::CompensatedSum;

/// The false positive rate up to which the curve counts; above 0, at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FprLimit(f64);

impl FprLimit {
    /// What papers on MVTec AD and VisA use (Bergmann et al. 2020, "Uninformed Students").
    pub const DEFAULT: FprLimit = FprLimit(0.3);

    /// A limit of `value`.
    ///
    /// # Errors
    /// `value` is not above 0 and at most 1.
    pub fn new(value: f64) -> Result<Self, MetricsError> {
        if value > 0.0 && value <= 1.0 {
            Ok(FprLimit(value))
        } else {
            Err(MetricsError::FprLimit { value })
        }
    }

    /// The limit as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for FprLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One step of the curve: what lowering the threshold to the next distinct score adds.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProStep {
    /// The score that is now at the threshold.
    pub(super) score: f32,
    /// Normal pixels with that score.
    pub(super) normal: u64,
    /// Sum over all regions of the recalled fraction, before and after the step.
    pub(super) recall_before: f64,
    pub(super) recall_after: f64,
}

/// The definition: every distinct score is a threshold, the curve starts at (0, 0), is linear
/// between its points, is cut at the limit, and the area is divided by the limit.
#[derive(Debug, Clone)]
pub(super) struct ExactAupro {
    /// The limit in normal pixels.
    limit: f64,
    false_positives: u64,
    /// In units of one normal pixel × one whole region.
    area: CompensatedSum,
}

impl ExactAupro {
    /// A curve that will see `n_normal` normal pixels.
    pub(super) fn new(n_normal: u64, limit: FprLimit) -> Self {
        ExactAupro {
            limit: limit.get() * n_normal as f64,
            false_positives: 0,
            area: CompensatedSum::default(),
        }
    }

    /// Adds the trapezoid under one step, or the part of it below the limit.
    pub(super) fn step(&mut self, step: ProStep) {
        let room = self.limit - self.false_positives as f64;
        self.false_positives += step.normal;
        if step.normal == 0 || room <= 0.0 {
            return;
        }
        let width = step.normal as f64;
        let kept = width.min(room);
        let rise = (step.recall_after - step.recall_before) * (kept / width);
        self.area.add(kept * (step.recall_before + 0.5 * rise));
    }

    /// The area in 0..=1; `None` without a region or without a normal pixel.
    pub(super) fn finish(&self, n_regions: u64) -> Option<f64> {
        (n_regions > 0 && self.limit > 0.0)
            .then(|| self.area.value() / (self.limit * n_regions as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_above_zero_and_up_to_one_exist() {
        assert_eq!(FprLimit::new(0.05).unwrap().get(), 0.05);
        assert_eq!(FprLimit::new(1.0).unwrap().get(), 1.0);
        for bad in [0.0, -0.3, 1.01, f64::NAN, f64::INFINITY] {
            assert!(FprLimit::new(bad).is_err());
        }
    }

    #[test]
    fn a_step_across_the_limit_counts_up_to_it() {
        let mut curve = ExactAupro::new(10, FprLimit::new(0.5).unwrap());
        curve.step(ProStep { score: 0.9, normal: 0, recall_before: 0.0, recall_after: 1.0 });
        curve.step(ProStep { score: 0.5, normal: 10, recall_before: 1.0, recall_after: 2.0 });
        // Two regions: the curve rises from 0.5 at FPR 0 to 0.75 at FPR 0.5.
        assert_eq!(curve.finish(2), Some(0.625));
        assert_eq!(curve.finish(0), None);
    }
}
