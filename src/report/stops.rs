//! The thresholds that a page lets people choose. In: the scores of a category, and the range of its
//! histogram. Out: even steps over that range, and how many images of each class each would flag. Never
//! here: the scores themselves, of which there may be a million.

use std::ops::Range;

/// Steps from one end of a histogram to the other.
pub const STEPS: usize = 400;

/// Thresholds, rising, and what is above each.
#[derive(Debug, Clone, PartialEq)]
pub struct Stops {
    /// Numbers of an f32, as scores are, so that a page that reads both as text compares as the run does.
    pub thresholds: Vec<f32>,
    /// By class; empty for classes without images.
    pub above: [Vec<u64>; 3],
}

impl Stops {
    /// Of the scores of a category, by class.
    pub fn new(scores: &[Vec<f32>; 3], range: &Range<f64>) -> Self {
        let step = (range.end - range.start) / STEPS as f64;
        let thresholds = (0..=STEPS).map(|i| (range.start + step * i as f64) as f32);
        let thresholds = thresholds.collect::<Vec<_>>();
        let above = scores.each_ref().map(|scores| {
            let mut sorted = scores.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            let above = |threshold: &f32| {
                (sorted.len() - sorted.partition_point(|score| score <= threshold)) as u64
            };
            match sorted.is_empty() {
                true => Vec::new(),
                false => thresholds.iter().map(above).collect(),
            }
        });
        Stops { thresholds, above }
    }

    /// The step closest to a threshold.
    pub fn closest(&self, threshold: f32) -> usize {
        let distance = |at: &usize| (self.thresholds[*at] - threshold).abs();
        (0..self.thresholds.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_each_step_is_what_a_run_would_flag() {
        let scores = [vec![0.3, 0.1, 0.1], vec![0.7], Vec::new()];
        let stops = Stops::new(&scores, &(0.0..0.8));
        assert_eq!(stops.thresholds.len(), STEPS + 1);
        assert_eq!(stops.above[2], Vec::<u64>::new());
        for (at, threshold) in stops.thresholds.iter().enumerate() {
            for (of_class, scores) in stops.above.iter().zip(&scores).take(2) {
                let above = scores.iter().filter(|score| *score > threshold).count() as u64;
                assert_eq!(of_class[at], above, "{threshold}");
            }
        }
        assert_eq!((stops.above[0][0], stops.above[0][STEPS]), (3, 0));
        assert_eq!((stops.closest(0.4), stops.closest(9.0)), (STEPS / 2, STEPS));
    }
}
