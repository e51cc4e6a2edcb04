//! One score and one label per image in, the image-level metrics out, exact.
//! Never here: images without a label (the caller leaves them out), and any threshold of a run.

use crate::error::MetricsError;

use super::ranking::Ranking;

/// What is known to be true of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Without defect.
    Normal,
    /// With a defect.
    Anomalous,
}

/// Score of one labelled image. An f32 score is widened, which loses nothing and keeps ties.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageScore {
    /// Higher is more anomalous; finite, any range.
    pub score: f64,
    /// The truth.
    pub label: Label,
}

impl ImageScore {
    /// Of an image whose truth is known.
    pub fn new(score: f32, anomalous: bool) -> Self {
        let label = if anomalous { Label::Anomalous } else { Label::Normal };
        ImageScore { score: f64::from(score), label }
    }
}

/// Image-level metrics of one category, or of a whole set.
///
/// The metrics, each in 0..=1, are `None` unless there are images of both classes. (scikit-learn
/// gives AP 1 without normal and 0 without anomalous images: neither says anything of the scores.)
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ImageMetrics {
    /// Labelled images.
    pub n_images: u64,
    /// Those with a defect.
    pub n_anomalous: u64,
    /// Area under the ROC curve; tied pairs count one half.
    pub auroc: Option<f64>,
    /// Average precision, step-wise, without interpolation.
    pub ap: Option<f64>,
    /// Largest F1 over all thresholds.
    pub f1max: Option<f64>,
    /// The highest threshold that reaches `f1max`; an image is positive if its score is at least
    /// this.
    pub f1max_threshold: Option<f64>,
}

/// Metrics of `scores`, in any order. O(n log n), one copy of the scores.
///
/// # Errors
/// A score is NaN or infinite.
pub fn image_metrics(scores: &[ImageScore]) -> Result<ImageMetrics, MetricsError> {
    if let Some(index) = scores.iter().position(|image| !image.score.is_finite()) {
        return Err(MetricsError::NonFinite { index, value: scores[index].score });
    }
    let n_images = scores.len() as u64;
    let n_anomalous = anomalous_in(scores);
    let mut ranking = Ranking::new(n_images - n_anomalous, n_anomalous);
    each_threshold(scores, |score, normal, anomalous| ranking.step(score, normal, anomalous));
    let metrics = ranking.finish();
    Ok(ImageMetrics {
        n_images,
        n_anomalous,
        auroc: metrics.map(|m| m.auroc),
        ap: metrics.map(|m| m.ap),
        f1max: metrics.map(|m| m.f1max),
        f1max_threshold: metrics.map(|m| m.f1max_threshold),
    })
}

/// Calls `step` with each distinct score, from the highest down, and with how many normal and
/// anomalous images have it.
pub(super) fn each_threshold(scores: &[ImageScore], mut step: impl FnMut(f64, u64, u64)) {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
    // `==` and not the total order: −0.0 and 0.0 are one threshold.
    for tie in sorted.chunk_by(|a, b| a.score == b.score) {
        let anomalous = anomalous_in(tie);
        step(tie[0].score, tie.len() as u64 - anomalous, anomalous);
    }
}

pub(super) fn anomalous_in(scores: &[ImageScore]) -> u64 {
    scores.iter().filter(|image| image.label == Label::Anomalous).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use Label::{Anomalous, Normal};

    fn scores(pairs: &[(f64, Label)]) -> Vec<ImageScore> {
        pairs.iter().map(|&(score, label)| ImageScore { score, label }).collect()
    }

    #[test]
    fn zeros_of_either_sign_are_tied() {
        let images = scores(&[(0.0, Anomalous), (-0.0, Normal)]);
        assert_eq!(image_metrics(&images).unwrap().auroc, Some(0.5));
    }

    #[test]
    fn of_equal_f1_the_higher_threshold_is_given() {
        let images = scores(&[(0.9, Anomalous), (0.7, Normal), (0.5, Normal), (0.3, Anomalous)]);
        let metrics = image_metrics(&images).unwrap();
        assert_eq!(metrics.f1max, Some(2.0 / 3.0));
        assert_eq!(metrics.f1max_threshold, Some(0.9));
    }

    #[test]
    fn no_image_is_no_metric_and_nan_is_an_error() {
        assert_eq!(image_metrics(&[]).unwrap(), ImageMetrics::default());
        let images = scores(&[(0.1, Normal), (f64::NAN, Anomalous)]);
        assert!(matches!(image_metrics(&images), Err(MetricsError::NonFinite { index: 1, .. })));
        let images = scores(&[(f64::INFINITY, Normal)]);
        assert!(image_metrics(&images).is_err());
    }
}
