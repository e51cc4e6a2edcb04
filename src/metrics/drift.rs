//! The scores of two runs in, how far apart their distributions are out. Labels are not needed.

/// Bins of the stability index.
const PSI_BINS: usize = 10;

/// A usual limit of the stability index: more is a shift that wants an explanation.
pub const PSI_LIMIT: f64 = 0.2;

/// How rare a distance as large as this is where nothing has changed.
const KS_LIMIT: f64 = 0.01;

/// How far apart two distributions of scores are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Population stability index over tenths of the first run, 0 for equal shares.
    pub psi: f64,
    /// Largest difference of the two distribution functions (Kolmogorov and Smirnov), in 0..=1.
    pub ks: f64,
    /// How often a difference like that, or larger, comes about by chance.
    pub ks_p: f64,
}

impl Drift {
    /// Of the scores of two runs, finite and in any order; `None` if one has none.
    pub fn between(before: &[f32], after: &[f32]) -> Option<Self> {
        if before.is_empty() || after.is_empty() {
            return None;
        }
        let sorted = |scores: &[f32]| {
            let mut scores = scores.to_vec();
            scores.sort_unstable_by(f32::total_cmp);
            scores
        };
        let (before, after) = (sorted(before), sorted(after));
        let ks = largest_difference(&before, &after);
        let (n, m) = (before.len() as f64, after.len() as f64);
        Some(Drift { psi: psi(&before, &after), ks, ks_p: ks_p_value(ks, n * m / (n + m)) })
    }

    /// Whether the distributions differ by more than chance, and by enough to matter.
    pub fn is_flagged(&self) -> bool {
        self.psi > PSI_LIMIT && self.ks_p < KS_LIMIT
    }
}

/// Σ (q − p) ln(q / p) over the shares of both in tenths of the first. Half a score is added to each
/// share, so that an empty one is no infinity.
fn psi(before: &[f32], after: &[f32]) -> f64 {
    let edge = |bin: usize| before[(bin * before.len()).div_ceil(PSI_BINS).min(before.len() - 1)];
    let mut edges = (1..PSI_BINS).map(edge).collect::<Vec<_>>();
    // Many equal scores are one bin.
    edges.dedup();
    let shares = |scores: &[f32]| {
        let mut below = edges.iter().map(|edge| scores.partition_point(|score| score < edge));
        let mut last = 0;
        let mut counts =
            below.by_ref().map(|n| n - std::mem::replace(&mut last, n)).collect::<Vec<_>>();
        counts.push(scores.len() - last);
        let whole = scores.len() as f64 + 0.5 * counts.len() as f64;
        counts.into_iter().map(|n| (n as f64 + 0.5) / whole).collect::<Vec<_>>()
    };
    shares(before).iter().zip(shares(after)).map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

fn largest_difference(before: &[f32], after: &[f32]) -> f64 {
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < before.len() && j < after.len() {
        let score = before[i].min(after[j]);
        i += before[i..].iter().take_while(|other| **other == score).count();
        j += after[j..].iter().take_while(|other| **other == score).count();
        let difference = i as f64 / before.len() as f64 - j as f64 / after.len() as f64;
        largest = largest.max(difference.abs());
    }
    largest
}

/// Kolmogorov's distribution with Stephens' correction for small sets (1970); `size` is n m / (n + m).
fn ks_p_value(difference: f64, size: f64) -> f64 {
    let root = size.sqrt();
    let x = (root + 0.12 + 0.11 / root) * difference;
    // The series of alternating signs does not converge towards 0, where the value is 1.
    if x < 0.2 {
        return 1.0;
    }
    let terms = (1..=100).map(|k| {
        let k = f64::from(k);
        let sign = if k % 2.0 == 1.0 { 2.0 } else { -2.0 };
        sign * (-2.0 * k * k * x * x).exp()
    });
    terms.sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact in f32, so that shifted scores tie.
    const STEP: f32 = 1.0 / 128.0;

    fn scores(n: u16, from: f32, step: f32) -> Vec<f32> {
        (0..n).map(|i| from + step * f32::from(i)).collect()
    }

    #[test]
    fn equal_scores_do_not_drift() {
        let drift = Drift::between(&scores(100, 0.0, STEP), &scores(100, 0.0, STEP)).unwrap();
        assert_eq!(drift, Drift { psi: 0.0, ks: 0.0, ks_p: 1.0 });
        let same = Drift::between(&[0.5; 20], &[0.5; 30]).unwrap();
        assert!(same.ks == 0.0 && same.psi < 0.01 && !same.is_flagged());
        assert_eq!(Drift::between(&[], &[0.5]), None);
    }

    #[test]
    fn a_shift_by_three_tenths_is_found() {
        let drift =
            Drift::between(&scores(100, 0.0, STEP), &scores(100, 30.0 * STEP, STEP)).unwrap();
        // scipy.stats.ks_2samp gives 0.3.
        assert!((drift.ks - 0.3).abs() < 1e-12, "{drift:?}");
        assert!(drift.ks_p < 1e-3 && drift.psi > 1.0 && drift.is_flagged(), "{drift:?}");
    }

    #[test]
    fn p_values_are_those_of_the_limit_distribution() {
        // scipy.special.kolmogorov(x), x = 0.5, 1, 1.5.
        for (x, expected) in
            [(0.5, 0.9639452436648751), (1.0, 0.26999967167735456), (1.5, 0.02221796261652513)]
        {
            let root = 1e6f64;
            let p = ks_p_value(x / (root + 0.12 + 0.11 / root), root * root);
            assert!((p - expected).abs() < 1e-9, "{x}: {p}");
        }
    }
}
