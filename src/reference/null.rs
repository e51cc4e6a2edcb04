//! How high scores of normal images are. In: raw scores of images that are normal, or mostly so. Out:
//! the share of such images that would score at least as high as a given score, and the score that a
//! given share exceeds. A Student t prediction of one more image on the logarithm of the scores; where
//! there are enough images that are known to be normal, their ranks.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

use super::fusion::median;

/// Added to scores before their logarithm, and the least that it is taken of.
const SHIFT: f64 = 4.0;
const LEAST: f64 = 0.05;

/// The least standard deviation of logarithms.
const LEAST_DEVIATION: f64 = 0.01;

/// Scores beyond so many standard deviations are left out where some may be of defects.
const CLIP: f64 = 2.5;

/// Rounds of leaving out.
const ROUNDS: usize = 10;

/// Where the quartile of a normal distribution lies, in standard deviations.
pub const QUARTILE: f64 = 0.674_49;

/// Tells rates that are equal but for rounding.
const ROUNDING: f64 = 1e-9;

/// The distribution of raw scores of normal images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NullScores {
    /// Of the logarithms: mean, standard deviation, and of how many. In f32, which a file in JSON gives
    /// back bit for bit.
    mean: f32,
    deviation: f32,
    count: usize,
    /// Scores of images that are known to be normal, falling; empty where some may be of defects.
    ranked: Vec<f32>,
}

impl NullScores {
    /// Of scores of images that are known to be normal.
    pub fn normal(scores: &[f64]) -> Self {
        let mut ranked = scores.to_vec();
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        let logarithms = ranked.iter().map(|score| logarithm(*score)).collect::<Vec<_>>();
        let (mean, deviation) = moments(&logarithms);
        let ranked = ranked.into_iter().map(|score| score as f32).collect::<Vec<_>>();
        let deviation = deviation.max(LEAST_DEVIATION) as f32;
        NullScores { mean: mean as f32, deviation, count: ranked.len(), ranked }
    }

    /// Of scores most of which are of normal images: the fit starts from the lower half of them and then
    /// takes in what is not far out, corrected for the cut.
    pub fn contaminated(scores: &[f64]) -> Self {
        let mut sorted = scores.iter().map(|score| logarithm(*score)).collect::<Vec<_>>();
        sorted.sort_unstable_by(f64::total_cmp);
        let (cut_mean, cut_deviation) = truncated();
        let mut mean = median(&mut sorted.clone());
        let mut deviation = ((mean - quantile(&sorted, 0.25)) / QUARTILE).max(LEAST_DEVIATION);
        let mut count = sorted.len();
        for _ in 0..ROUNDS {
            let kept = sorted.partition_point(|of| *of <= mean + CLIP * deviation);
            let (mut kept_mean, mut kept_deviation) = moments(&sorted[..kept]);
            if kept < sorted.len() {
                kept_deviation /= cut_deviation;
                kept_mean += cut_mean * kept_deviation;
            }
            (mean, deviation) = (kept_mean, kept_deviation.max(LEAST_DEVIATION));
            count = kept;
        }
        let (mean, deviation) = (mean as f32, deviation as f32);
        NullScores { mean, deviation, count, ranked: Vec::new() }
    }

    /// The share of normal images that score at least as high, above 0 to 1.
    pub fn p_value(&self, score: f64) -> f64 {
        let fitted = self.predicted().map_or(1.0, |of| of.sf(logarithm(score)));
        let n = self.ranked.len();
        let as_high = self.ranked.partition_point(|of| *of >= score as f32);
        let by_rank = (as_high + 1) as f64 / (n + 1) as f64;
        let p = match (n, as_high) {
            (0, _) => fitted,
            // Beyond all of them ranks say no more than this.
            (_, 0) => fitted.min(by_rank),
            _ => by_rank,
        };
        p.max(f64::from(f32::MIN_POSITIVE))
    }

    /// The raw score above which p-values are at most `rate`.
    pub fn threshold(&self, rate: f64) -> f64 {
        let fitted = self.predicted().map_or(f64::INFINITY, |of| of.inverse_cdf(1.0 - rate));
        let fitted = fitted.exp() - SHIFT;
        let Some(highest) = self.ranked.first() else { return fitted };
        let allowed = (rate * (self.ranked.len() + 1) as f64 + ROUNDING).floor() as usize;
        match allowed {
            0 => fitted.max(f64::from(*highest)),
            allowed => f64::from(self.ranked[(allowed - 1).min(self.ranked.len() - 1)]),
        }
    }

    /// Deviations of a score from what is usual, on the logarithmic scale.
    pub fn standard(&self, score: f64) -> f64 {
        (logarithm(score) - f64::from(self.mean)) / f64::from(self.deviation)
    }

    /// The score that is so many deviations from what is usual.
    pub fn score(&self, standard: f64) -> f64 {
        (f64::from(self.mean) + f64::from(self.deviation) * standard).exp() - SHIFT
    }

    /// The deviations that one more normal image exceeds at this rate.
    pub fn standard_at(&self, rate: f64) -> f64 {
        self.predicted().map_or(f64::INFINITY, |of| {
            (of.inverse_cdf(1.0 - rate) - f64::from(self.mean)) / f64::from(self.deviation)
        })
    }

    /// The logarithm of the score of one more normal image.
    fn predicted(&self) -> Option<StudentsT> {
        let wider = (1.0 + 1.0 / self.count.max(1) as f64).sqrt();
        let freedom = self.count.max(2) as f64 - 1.0;
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        StudentsT::new(mean, deviation * wider, freedom).ok()
    }
}

fn logarithm(score: f64) -> f64 {
    (score + SHIFT).max(LEAST).ln()
}

/// By how much the mean of a standard normal distribution falls that is cut at [`CLIP`], and what its
/// standard deviation becomes.
fn truncated() -> (f64, f64) {
    let normal = Normal::standard();
    let ratio = normal.pdf(CLIP) / normal.cdf(CLIP);
    (ratio, (1.0 - CLIP * ratio - ratio * ratio).sqrt())
}

/// Mean and standard deviation, dividing by one less than the number of values.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

/// The quantile of rising values, between neighbours in proportion, as numpy's.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * (at - at.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(n: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919) % n) as f64 / n as f64).collect()
    }

    #[test]
    fn a_threshold_is_where_the_p_value_reaches_the_rate() {
        let few = scores(20);
        let many = scores(200);
        for null in [
            NullScores::normal(&few),
            NullScores::normal(&many),
            NullScores::contaminated(&few),
            NullScores::contaminated(&many),
        ] {
            for rate in [0.001, 0.01, 0.05, 0.25] {
                let threshold = null.threshold(rate);
                assert!(null.p_value(threshold + 1e-6) <= rate + 1e-6, "{null:?} {rate}");
                assert!(null.p_value(threshold - 1e-6) > rate - 1e-6, "{null:?} {rate}");
            }
        }
    }

    #[test]
    fn ranks_count_where_there_are_enough_normal_images() {
        let null = NullScores::normal(&(0..99).map(f64::from).collect::<Vec<_>>());
        assert!((null.p_value(98.0) - 0.02).abs() < 1e-12);
        assert!((null.p_value(0.0) - 1.0).abs() < 1e-12);
        assert_eq!(null.threshold(0.01), 98.0);
        assert!(null.p_value(98.5) <= 0.01);
    }

    #[test]
    fn a_tenth_of_defects_hardly_moves_the_threshold() {
        let clean = scores(100).into_iter().map(|score| 2.0 * score).collect::<Vec<_>>();
        let mut dirty = clean.clone();
        dirty.extend([20.0; 11]);
        let [before, after] = [&clean, &dirty].map(|s| NullScores::contaminated(s).threshold(0.01));
        assert!((after - before).abs() < 0.5 && after < 20.0, "{before} {after}");
        assert!(NullScores::normal(&dirty).threshold(0.01) >= 20.0);
    }

    #[test]
    fn equal_scores_are_not_above_their_threshold() {
        for null in [NullScores::normal(&[0.5; 20]), NullScores::contaminated(&[0.5; 20])] {
            assert!(null.p_value(0.5) > 0.01 && null.threshold(0.01) >= 0.5, "{null:?}");
        }
    }
}
