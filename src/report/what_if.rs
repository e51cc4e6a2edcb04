//! What other thresholds would give. In: the scores and p-values of categories. Out: of a few rules how
//! many images each would flag, by class, over all categories. Where a rule says nothing of a category,
//! what is in force counts. Never here: what is in force itself.

use super::summary::{ANOMALOUS, Counts, NORMAL};
use crate::metrics::{ImageScore, ThresholdRule, image_metrics, image_thresholds};
use crate::pipeline::decision::top_threshold;
use crate::tables::ShownScore;

/// Shares of images like the references that may be flagged.
const RATES: [f64; 3] = [0.001, 0.01, 0.05];

/// Shares of all images that are flagged.
const SHARES: [f64; 3] = [0.01, 0.05, 0.1];

/// Another way to decide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `--false-alarm-rate`.
    FalseAlarmRate(f64),
    /// `--flag-top`.
    FlagTop(f64),
    /// The highest normal score is the threshold.
    NoFalseAlarm,
    /// The best F1 of each category.
    BestF1,
    /// All anomalous images are above the threshold.
    NoneMissed,
}

/// How many images a rule flags, by class.
pub type Flagged = [u64; 3];

/// What other thresholds would flag.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WhatIf {
    /// Images with a p-value.
    n_with_p: u64,
    /// Those of them that are flagged at each of [`RATES`].
    by_p: [Flagged; RATES.len()],
    by_share: [Flagged; SHARES.len()],
    no_false_alarm: Flagged,
    best_f1: Flagged,
    none_missed: Flagged,
    /// Whether any category has images of both classes.
    has_both: bool,
}

impl WhatIf {
    /// Takes an image of a class in.
    pub fn add(&mut self, class: usize, row: &ShownScore) {
        let Some(p) = row.p_value else { return };
        self.n_with_p += 1;
        for (rate, flagged) in RATES.iter().zip(&mut self.by_p) {
            // A p-value is an f32.
            flagged[class] += u64::from(p <= *rate as f32);
        }
    }

    /// Adds what other images say: of another part of a category, or of another category.
    pub fn merge(&mut self, other: &WhatIf) {
        let add = |ours: &mut Flagged, theirs: &Flagged| {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        };
        self.n_with_p += other.n_with_p;
        for (ours, theirs) in self.by_p.iter_mut().zip(&other.by_p) {
            add(ours, theirs);
        }
        for (ours, theirs) in self.by_share.iter_mut().zip(&other.by_share) {
            add(ours, theirs);
        }
        add(&mut self.no_false_alarm, &other.no_false_alarm);
        add(&mut self.best_f1, &other.best_f1);
        add(&mut self.none_missed, &other.none_missed);
        self.has_both |= other.has_both;
    }

    /// Fills in what follows from all scores of a category, by class; `counts` is what is in force.
    pub fn finish(&mut self, scores: &[Vec<f32>; 3], counts: &Counts) {
        let above = |threshold: f32| {
            scores.each_ref().map(|of| of.iter().filter(|score| **score > threshold).count() as u64)
        };
        let all = scores.concat();
        for (share, flagged) in SHARES.iter().zip(&mut self.by_share) {
            *flagged = top_threshold(all.clone(), *share).map_or([0; 3], above);
        }
        let [normal, anomalous] = [NORMAL, ANOMALOUS].map(|class| &scores[class]);
        self.has_both = !normal.is_empty() && !anomalous.is_empty();
        if !self.has_both {
            [self.no_false_alarm, self.best_f1, self.none_missed] = [counts.flagged; 3];
            return;
        }
        let highest = normal.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let lowest = anomalous.iter().copied().fold(f32::INFINITY, f32::min);
        self.no_false_alarm = above(highest);
        self.none_missed = above(lowest.next_down());
        let labelled = normal.iter().map(|score| ImageScore::new(*score, false));
        let labelled = labelled.chain(anomalous.iter().map(|score| ImageScore::new(*score, true)));
        let labelled = labelled.collect::<Vec<_>>();
        let best = image_metrics(&labelled)
            .ok()
            .and_then(|metrics| image_thresholds(&labelled, &metrics).get(ThresholdRule::F1max));
        self.best_f1 = best.map_or(counts.flagged, above);
    }

    /// The rules that say something of these images, and what they flag.
    pub fn rules(&self, counts: &Counts) -> Vec<(Rule, Flagged)> {
        let mut rules = match self.n_with_p > 0 && self.n_with_p == counts.scored() {
            true => RATES.into_iter().map(Rule::FalseAlarmRate).zip(self.by_p).collect::<Vec<_>>(),
            false => SHARES.into_iter().map(Rule::FlagTop).zip(self.by_share).collect(),
        };
        if self.has_both {
            rules.push((Rule::NoFalseAlarm, self.no_false_alarm));
            rules.push((Rule::BestF1, self.best_f1));
            rules.push((Rule::NoneMissed, self.none_missed));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f32, p: Option<f32>) -> ShownScore {
        ShownScore { score, p_value: p, ..ShownScore::default() }
    }

    #[test]
    fn labels_say_what_each_threshold_costs() {
        let scores = [vec![0.1, 0.2, 0.6], vec![0.5, 0.7, 0.9], vec![0.55]];
        let counts = Counts { flagged: [0, 2, 0], not_flagged: [3, 1, 1], undecided: [0; 3] };
        let mut what_if = WhatIf::default();
        what_if.finish(&scores, &counts);
        let rules = what_if.rules(&counts);
        assert_eq!(rules[0], (Rule::FlagTop(0.01), [0, 1, 0]), "one image at least");
        assert_eq!(rules[3], (Rule::NoFalseAlarm, [0, 2, 0]));
        // Both 2 of 3 without and 3 of 3 with one false alarm: F1 is 0.8 and 6/7.
        assert_eq!(rules[4], (Rule::BestF1, [1, 3, 1]));
        assert_eq!(rules[5], (Rule::NoneMissed, [1, 3, 1]));
    }

    #[test]
    fn p_values_say_what_another_rate_would_flag_and_classes_alone_say_no_more() {
        let mut what_if = WhatIf::default();
        let rows = [row(0.9, Some(0.001)), row(0.8, Some(0.01)), row(0.1, Some(0.4))];
        rows.iter().for_each(|row| what_if.add(2, row));
        let counts = Counts { flagged: [0, 0, 2], not_flagged: [0, 0, 1], undecided: [0; 3] };
        what_if.finish(&[vec![], vec![], vec![0.9, 0.8, 0.1]], &counts);
        let mut whole = WhatIf::default();
        whole.merge(&what_if);
        let flagged = whole.rules(&counts).into_iter().map(|(_, flagged)| flagged[2]);
        assert_eq!(flagged.collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(whole.rules(&counts)[1].0, Rule::FalseAlarmRate(0.01));
    }
}
