//! What each image changes of each metric, added up. Sums are whole numbers, so that they do not
//! depend on the order of the images.

use super::summary::PIXEL_METRICS;

/// What one image changes, per metric: AUROC, AP, F1-max, AUPRO up to 0.3 and up to 0.05.
pub type Effects = [f64; PIXEL_METRICS];

/// One in units of the sums: finer than anything that counts, and ten million images fit.
const ONE: f64 = (1u128 << 100) as f64;

/// How much the effects of images differ; normal and anomalous images are drawn apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread {
    normal: Moments,
    anomalous: Moments,
}

#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: u64,
    sums: [i128; PIXEL_METRICS],
    squares: [i128; PIXEL_METRICS],
}

impl Spread {
    /// Adds what one image changes.
    pub fn add(&mut self, effects: &Effects, anomalous: bool) {
        let moments = if anomalous { &mut self.anomalous } else { &mut self.normal };
        moments.n += 1;
        for (place, effect) in effects.iter().enumerate() {
            moments.sums[place] = moments.sums[place].saturating_add((effect * ONE) as i128);
            let square = (effect * effect * ONE) as i128;
            moments.squares[place] = moments.squares[place].saturating_add(square);
        }
    }

    /// Adds what other images change.
    pub fn merge(&mut self, other: Self) {
        for (ours, others) in
            [(&mut self.normal, other.normal), (&mut self.anomalous, other.anomalous)]
        {
            ours.n += others.n;
            for place in 0..PIXEL_METRICS {
                ours.sums[place] = ours.sums[place].saturating_add(others.sums[place]);
                ours.squares[place] = ours.squares[place].saturating_add(others.squares[place]);
            }
        }
    }

    /// Whether no image was added.
    pub fn is_empty(&self) -> bool {
        self.normal.n == 0 && self.anomalous.n == 0
    }

    /// Standard errors of the metrics; `None` with fewer than two images of a class.
    pub fn standard_errors(&self) -> Option<Effects> {
        let (normal, anomalous) = (self.normal.variances()?, self.anomalous.variances()?);
        Some(std::array::from_fn(|place| (normal[place] + anomalous[place]).sqrt()))
    }
}

impl Moments {
    /// Variances of the sums of all effects, if as many images are drawn anew.
    fn variances(&self) -> Option<Effects> {
        let n = self.n as f64;
        (self.n > 1).then(|| {
            std::array::from_fn(|place| {
                let (sum, square) =
                    (self.sums[place] as f64 / ONE, self.squares[place] as f64 / ONE);
                ((square - sum * sum / n) * n / (n - 1.0)).max(0.0)
            })
        })
    }
}
