//! One run of pixel counts, highest score first, and its totals in; the pixel-level metrics out,
//! in a single pass and constant memory. Never here: joining runs (`merge.rs`) or gathering the
//! totals (`totals.rs`).

use crate::error::MetricsError;

use super::aupro::{ExactAupro, FprLimit, ProStep};
use super::aupro_published::PublishedAupro;
use super::counts::PixelCount;
use super::ranking::Ranking;
use super::sum::CompensatedSum;
use super::totals::{PixelTotals, add};

/// How the area under the curve of per-region overlap is measured. The other metrics are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuproProtocol {
    /// The definition (Bergmann et al. 2020): every distinct score is a threshold, the curve
    /// starts at (0, 0), is cut at the limit, and its area is divided by the limit.
    #[default]
    Exact,
    /// As the published code does it: 200 equal steps from the smallest to the largest score, FPR
    /// below the limit, kept FPRs stretched to 0..1. Only to compare with printed figures.
    Published,
}

/// Pixel-level metrics of one category, or of a whole set; each in 0..=1.
///
/// All are `None` unless there are normal and anomalous pixels. `aupro` by the published protocol
/// is also `None` where the published code stops or gives NaN (see [`AuproProtocol::Published`]):
/// scores that are all equal, or no two different FPRs below the limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PixelMetrics {
    /// Area under the ROC curve; tied pairs count one half.
    pub auroc: Option<f64>,
    /// Average precision, step-wise, without interpolation.
    pub ap: Option<f64>,
    /// Largest F1 over all thresholds.
    pub f1max: Option<f64>,
    /// The highest threshold that reaches `f1max`; a pixel is positive if its score is at least this.
    pub f1max_threshold: Option<f32>,
    /// Area under mean recall per 8-connected region over FPR, up to the limit.
    pub aupro: Option<f64>,
}

/// Metrics of a whole run (see [`PixelCount`]) whose totals are `totals`.
///
/// Of tied scores the order does not matter. AUROC is exact to the last division, the sums behind
/// AP and AUPRO are compensated.
///
/// # Errors
/// What the run itself reports; scores that rise or are not finite; totals of other pixels.
pub fn pixel_metrics<E: From<MetricsError>>(
    run: impl IntoIterator<Item = Result<PixelCount, E>>,
    totals: &PixelTotals,
    protocol: AuproProtocol,
    limit: FprLimit,
) -> Result<PixelMetrics, E> {
    totals.n_pixels()?;
    let mut walk = Walk::new(*totals, protocol, limit);
    for count in run {
        walk.add(count?)?;
    }
    Ok(walk.finish()?)
}

/// The curve of overlap by one of the two protocols.
#[derive(Debug)]
enum Aupro {
    Exact(ExactAupro),
    Published(PublishedAupro),
}

/// All pixels with one score.
#[derive(Debug, Clone, Copy)]
struct Tie {
    score: f32,
    normal: u64,
    anomalous: u64,
    recall_before: f64,
}

/// The pass down the scores.
#[derive(Debug)]
struct Walk {
    totals: PixelTotals,
    tie: Option<Tie>,
    /// Sum over all regions of the fraction at or above the current score.
    recall: CompensatedSum,
    ranking: Ranking<f32>,
    aupro: Aupro,
}

impl Walk {
    fn new(totals: PixelTotals, protocol: AuproProtocol, limit: FprLimit) -> Self {
        let PixelTotals { n_normal, n_anomalous, min, max, .. } = totals;
        Walk {
            totals,
            tie: None,
            recall: CompensatedSum::default(),
            ranking: Ranking::new(n_normal, n_anomalous),
            aupro: match protocol {
                AuproProtocol::Exact => Aupro::Exact(ExactAupro::new(n_normal, limit)),
                AuproProtocol::Published => {
                    Aupro::Published(PublishedAupro::new(n_normal, min, max, limit))
                }
            },
        }
    }

    fn add(&mut self, count: PixelCount) -> Result<(), MetricsError> {
        let PixelCount { score, region_px, n } = count;
        let mut tie = self.tie_for(score)?;
        if region_px == 0 {
            tie.normal = add(tie.normal, n)?;
        } else {
            tie.anomalous = add(tie.anomalous, n)?;
            self.recall.add(n as f64 / f64::from(region_px));
        }
        self.tie = Some(tie);
        Ok(())
    }

    /// The current tie if it has this score, else a new one after the current one is closed.
    fn tie_for(&mut self, score: f32) -> Result<Tie, MetricsError> {
        if !score.is_finite() {
            return Err(MetricsError::NonFiniteInRun { input: 0, value: score });
        }
        match self.tie {
            Some(tie) if tie.score == score => return Ok(tie),
            Some(Tie { score: before, .. }) if before < score => {
                return Err(MetricsError::Unsorted { input: 0, before, after: score });
            }
            Some(tie) => self.close(tie)?,
            None => check("largest score", score == self.totals.max)?,
        }
        Ok(Tie { score, normal: 0, anomalous: 0, recall_before: self.recall.value() })
    }

    /// Makes all pixels of one score one step of every curve.
    fn close(&mut self, tie: Tie) -> Result<(), MetricsError> {
        let Tie { score, normal, anomalous, recall_before } = tie;
        let left = self.totals.n_normal - self.ranking.false_positives();
        check("normal pixels", normal <= left)?;
        let left = self.totals.n_anomalous - self.ranking.true_positives();
        check("anomalous pixels", anomalous <= left)?;
        self.ranking.step(score, normal, anomalous);
        let step = ProStep { score, normal, recall_before, recall_after: self.recall.value() };
        match &mut self.aupro {
            Aupro::Exact(curve) => curve.step(step),
            Aupro::Published(curve) => curve.step(step),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<PixelMetrics, MetricsError> {
        if let Some(tie) = self.tie {
            self.close(tie)?;
            check("smallest score", tie.score == self.totals.min)?;
        }
        let PixelTotals { n_normal, n_anomalous, n_regions, .. } = self.totals;
        check("normal pixels", self.ranking.false_positives() == n_normal)?;
        check("anomalous pixels", self.ranking.true_positives() == n_anomalous)?;
        // Whole regions add up to whole numbers; far less than a half is lost in rounding.
        check("regions", (self.recall.value() - n_regions as f64).abs() < 0.5)?;
        let Some(ranking) = self.ranking.finish() else { return Ok(PixelMetrics::default()) };
        Ok(PixelMetrics {
            auroc: Some(ranking.auroc),
            ap: Some(ranking.ap),
            f1max: Some(ranking.f1max),
            f1max_threshold: Some(ranking.f1max_threshold),
            aupro: match self.aupro {
                Aupro::Exact(curve) => curve.finish(n_regions),
                Aupro::Published(curve) => curve.finish(n_regions),
            },
        })
    }
}

/// Totals of other pixels would give plausible and wrong figures, so every sum is compared.
fn check(what: &'static str, agrees: bool) -> Result<(), MetricsError> {
    if agrees { Ok(()) } else { Err(MetricsError::TotalsMismatch { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(
        counts: &[(f32, u32, u64)],
        totals: PixelTotals,
    ) -> Result<PixelMetrics, MetricsError> {
        let run =
            counts.iter().map(|&(score, region_px, n)| Ok(PixelCount { score, region_px, n }));
        pixel_metrics(run, &totals, AuproProtocol::Exact, FprLimit::DEFAULT)
    }

    fn totals(n_normal: u64, n_anomalous: u64, n_regions: u64) -> PixelTotals {
        PixelTotals { n_normal, n_anomalous, n_regions, min: 0.1, max: 0.9 }
    }

    #[test]
    fn regions_count_alike_whatever_their_size() {
        let run = [(0.9, 1, 1), (0.5, 0, 10), (0.1, 99, 99)];
        let metrics = metrics(&run, totals(10, 100, 2)).unwrap();
        assert_eq!(metrics.aupro, Some(0.5));
        assert_eq!(metrics.auroc, Some(0.01));
        assert_eq!(metrics.f1max_threshold, Some(0.1));
    }

    #[test]
    fn nothing_and_one_class_have_no_metrics() {
        assert_eq!(metrics(&[], PixelTotals::default()).unwrap(), PixelMetrics::default());
        let normal = metrics(&[(0.9, 0, 1), (0.1, 0, 1)], totals(2, 0, 0)).unwrap();
        assert_eq!(normal, PixelMetrics::default());
        let anomalous = metrics(&[(0.9, 2, 1), (0.1, 2, 1)], totals(0, 2, 1)).unwrap();
        assert_eq!(anomalous, PixelMetrics::default());
    }

    #[test]
    fn totals_of_other_pixels_are_refused() {
        let run = [(0.9, 1, 1), (0.1, 0, 5)];
        assert!(metrics(&run, totals(5, 1, 1)).is_ok());
        let wrong = [
            totals(4, 1, 1),
            totals(6, 1, 1),
            totals(5, 0, 1),
            totals(5, 2, 1),
            totals(5, 1, 2),
            PixelTotals { min: 0.0, ..totals(5, 1, 1) },
            PixelTotals { max: 1.0, ..totals(5, 1, 1) },
        ];
        for wrong in wrong {
            assert!(matches!(metrics(&run, wrong), Err(MetricsError::TotalsMismatch { .. })));
        }
        assert!(matches!(metrics(&run, totals(u64::MAX, 1, 1)), Err(MetricsError::CountOverflow)));
    }

    #[test]
    fn rising_and_non_finite_scores_are_refused() {
        let rising = [(0.9, 0, 1), (0.1, 0, 1), (0.2, 1, 1)];
        assert!(matches!(metrics(&rising, totals(2, 1, 1)), Err(MetricsError::Unsorted { .. })));
        let nan = [(0.9, 0, 1), (f32::NAN, 0, 1)];
        assert!(matches!(metrics(&nan, totals(2, 1, 1)), Err(MetricsError::NonFiniteInRun { .. })));
    }
}
