//! The networks of a run, filled from the weights that its spec names. In: a job spec. Out: FiLo
//! ready to score, the detector if there is one, and one fingerprint over all that decides numbers.

use super::localise::{Detector, Localiser};
use crate::device::{Backend, Device};
use crate::error::{DeviceError, Error, WeightsError};
use crate::job::{GroundingChoice, JobSpec};
use crate::model::config::FiloConfig;
use crate::model::filo::FiloScorer;
use crate::model::grounding::phrases::DetectionThresholds;
use crate::weights::Checkpoint;
use crate::weights::config::{config_of, grounding_config_of};
use crate::weights::load::{LoadReport, load_filo, load_grounding};

/// What scores pictures.
pub struct Networks {
    pub config: FiloConfig,
    pub scorer: FiloScorer<Backend>,
    pub localiser: Localiser,
    /// blake3 over weights and configurations, hexadecimal.
    pub fingerprint: String,
}

impl Networks {
    /// Loads what `spec` names.
    ///
    /// # Errors
    /// If weights cannot be read or do not fit their configuration, or a detector is asked for
    /// that there is none of.
    pub fn open(spec: &JobSpec, device: &Device) -> Result<Self, Error> {
        let detector = opened_detector(spec)?;
        let checkpoint = Checkpoint::open(spec.weights.path())?;
        let config = config_of(&checkpoint)?;
        config.validate_for_tokenizer().map_err(|error| WeightsError::BadConfig {
            path: checkpoint.path().into(),
            what: error.what,
        })?;
        let mut fingerprint = blake3::Hasher::new();
        fingerprint.update(checkpoint.fingerprint()?.as_bytes());
        fingerprint.update(format!("{config:?}").as_bytes());
        let (filo, report) = load_filo(&checkpoint, &config, device)?;
        log_report(&checkpoint, &report);
        let localiser = match &detector {
            None => Localiser::None,
            Some(checkpoint) => {
                let config = grounding_config_of(checkpoint)?;
                fingerprint.update(checkpoint.fingerprint()?.as_bytes());
                fingerprint.update(format!("{config:?}").as_bytes());
                let (net, report) = load_grounding(checkpoint, &config, device)?;
                log_report(checkpoint, &report);
                let thresholds = DetectionThresholds {
                    probability: spec.box_threshold.get() as f32,
                    ..DetectionThresholds::default()
                };
                let detector = Detector::new(net, config, thresholds, device.clone())?;
                Localiser::GroundingDino(Box::new(detector))
            }
        };
        Ok(Networks {
            config,
            scorer: filo.into_scorer(),
            localiser,
            fingerprint: fingerprint.finalize().to_hex().to_string(),
        })
    }

    /// Whether boxes are searched.
    pub fn has_detector(&self) -> bool {
        matches!(self.localiser, Localiser::GroundingDino(_))
    }
}

/// The detector's checkpoint, if this run has a detector.
fn opened_detector(spec: &JobSpec) -> Result<Option<Checkpoint>, Error> {
    match (spec.grounding, &spec.grounding_weights) {
        (GroundingChoice::Off, _) | (GroundingChoice::Auto, None) => Ok(None),
        (GroundingChoice::On, None) => Err(DeviceError::NoDetector.into()),
        (_, Some(weights)) => Ok(Some(Checkpoint::open(weights.path())?)),
    }
}

fn log_report(checkpoint: &Checkpoint, report: &LoadReport) {
    let weights = checkpoint.path().display();
    tracing::info!(
        used = report.used.len(),
        aliases = report.aliases.len(),
        resized = report.resized.len(),
        "weights loaded: {weights}"
    );
    if !report.unexpected.is_empty() {
        let tensors = report.unexpected.join(", ");
        tracing::warn!("{weights} holds tensors that the network has no place for: {tensors}");
    }
}
