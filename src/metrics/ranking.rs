//! How many normal and anomalous items each threshold adds, from the highest score down, in;
//! AUROC, AP and best F1 out. Used for images and for pixels alike.
//! Never here: sorting, and the overlap per region.

use super::sum::CompensatedSum;

/// What ranking by score is worth. `S` is the type of the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RankingMetrics<S> {
    pub(super) auroc: f64,
    pub(super) ap: f64,
    pub(super) f1max: f64,
    pub(super) f1max_threshold: S,
}

/// The ranking so far. Every step is one distinct score, so ties are one step.
#[derive(Debug, Clone)]
pub(super) struct Ranking<S> {
    n_normal: u64,
    n_anomalous: u64,
    /// Normal and anomalous items at or above the last threshold.
    false_positives: u64,
    true_positives: u64,
    /// Twice the area under the curve in units of one normal × one anomalous item: an integer, so
    /// AUROC is exact up to the last division.
    twice_area: u128,
    precision_sum: CompensatedSum,
    best: Option<BestF1<S>>,
}

#[derive(Debug, Clone, Copy)]
struct BestF1<S> {
    f1: f64,
    threshold: S,
}

impl<S: Copy> Ranking<S> {
    /// A ranking of so many items in all; their sum must fit in `u64`.
    pub(super) fn new(n_normal: u64, n_anomalous: u64) -> Self {
        Ranking {
            n_normal,
            n_anomalous,
            false_positives: 0,
            true_positives: 0,
            twice_area: 0,
            precision_sum: CompensatedSum::default(),
            best: None,
        }
    }

    /// Lowers the threshold to `score`, which exactly so many items have. The caller keeps the
    /// sums within the totals given to [`new`](Ranking::new).
    pub(super) fn step(&mut self, score: S, normal: u64, anomalous: u64) {
        // A trapezoid of width `normal` between two heights: tied pairs count one half.
        let heights = 2 * u128::from(self.true_positives) + u128::from(anomalous);
        self.twice_area += u128::from(normal) * heights;
        self.false_positives += normal;
        self.true_positives += anomalous;
        if anomalous > 0 {
            self.step_up(score, anomalous);
        }
    }

    /// AP and F1 can only grow where recall does.
    fn step_up(&mut self, threshold: S, anomalous: u64) {
        let hits = self.true_positives as f64;
        let predicted = hits + self.false_positives as f64;
        self.precision_sum.add(anomalous as f64 * (hits / predicted));
        let f1 = 2.0 * hits / (predicted + self.n_anomalous as f64);
        if self.best.is_none_or(|best| f1 > best.f1) {
            self.best = Some(BestF1 { f1, threshold });
        }
    }

    /// The metrics of a complete ranking; `None` unless there are items of both classes.
    pub(super) fn finish(&self) -> Option<RankingMetrics<S>> {
        let best = self.best?;
        let pairs = u128::from(self.n_normal) * u128::from(self.n_anomalous);
        (pairs > 0).then(|| RankingMetrics {
            auroc: self.twice_area as f64 / (2 * pairs) as f64,
            ap: self.precision_sum.value() / self.n_anomalous as f64,
            f1max: best.f1,
            f1max_threshold: best.threshold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_of_both_classes_is_one_step() {
        let mut ranking = Ranking::new(2, 2);
        ranking.step(0.9, 0, 1);
        ranking.step(0.5, 1, 1);
        ranking.step(0.1, 1, 0);
        let metrics = ranking.finish().unwrap();
        assert_eq!(metrics.auroc, 0.875);
        assert_eq!(metrics.ap, (1.0 + 2.0 / 3.0) / 2.0);
        assert_eq!((metrics.f1max, metrics.f1max_threshold), (0.8, 0.5));
    }

    #[test]
    fn one_class_has_no_metrics() {
        let mut normal = Ranking::new(1, 0);
        normal.step(0.5, 1, 0);
        assert_eq!(normal.finish(), None);
        let mut anomalous = Ranking::new(0, 1);
        anomalous.step(0.5, 0, 1);
        assert_eq!(anomalous.finish(), None);
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        let half = u64::MAX / 2;
        let mut ranking = Ranking::new(half, half);
        ranking.step(1.0, 0, half);
        ranking.step(0.0, half, 0);
        assert_eq!(ranking.finish().unwrap().auroc, 1.0);
    }
}
