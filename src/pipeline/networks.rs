//! The networks of a run, filled from the weights that its spec names. In: a job spec. Out: FiLo
//! ready to score, the detector if there is one, and one id over all that decides numbers.

use super::localise::{DETECTOR_SIDE, Detector, Localiser};
use crate::device::{Detecting, Device, NetworkBackend, products_in, settled};
use crate::error::{DeviceError, Error, WeightsError};
use crate::job::{GroundingChoice, JobSpec};
use crate::model::config::FiloConfig;
use crate::model::filo::FiloScorer;
use crate::model::grounding::phrases::DetectionThresholds;
use crate::weights::config::grounding_config_of;
use crate::weights::load::{bundled_filo, bundled_grounding, load_filo, load_grounding, scorer};
use crate::weights::mapping::LoadReport;
use crate::weights::{Checkpoint, Weights, WeightsPlace, local_copy};

/// What scores images.
pub struct Networks<B: NetworkBackend> {
    pub config: FiloConfig,
    pub scorer: FiloScorer<B>,
    pub localiser: Localiser<B>,
    /// blake3 over weights and configurations, hexadecimal.
    pub model_id: String,
}

impl<B: NetworkBackend> Networks<B> {
    /// Loads what `spec` names.
    ///
    /// # Errors
    /// If weights cannot be read or do not fit their configuration, or a detector is asked for
    /// that there is none of.
    pub fn open(spec: &JobSpec, device: &Device) -> Result<Self, Error> {
        let place = WeightsPlace::here(spec.weights.as_ref())?;
        let detector = opened_detector(spec, &place)?;
        let mut id = ModelId::default();
        let weights = Weights::open(&place)?;
        let config = sized(weights.config()?, spec, &place)?;
        config.validate_for_tokenizer().map_err(|error| {
            let path = place.path().into();
            WeightsError::BadConfig { path, what: error.what }
        })?;
        let filo = match &weights {
            Weights::Bundle(bundle) => {
                id.only(bundle.model_id());
                let trained = bundle.manifest().filo.vision.image_size;
                if config.vision.image_size != trained {
                    id.add("another size", &config.vision.image_size);
                }
                let filo = bundled_filo(bundle, &config, device)?;
                tracing::info!(model = bundle.model_id(), "weights loaded: {}", bundle.place());
                filo
            }
            Weights::Checkpoint(checkpoint) => {
                id.add(&checkpoint.fingerprint()?, &config);
                let (filo, report) = load_filo(checkpoint, &config, device)?;
                log_report(checkpoint, &report);
                filo
            }
        };
        let detector = match (detector, &weights) {
            (Some(checkpoint), _) => {
                let config = grounding_config_of(&checkpoint)?;
                id.add(&checkpoint.fingerprint()?, &config);
                let (net, report) = load_grounding(&checkpoint, &config, device)?;
                log_report(&checkpoint, &report);
                Some((config, net))
            }
            (None, Weights::Bundle(bundle)) if spec.grounding != GroundingChoice::Off => {
                let config = bundle.manifest().grounding.clone();
                config.zip(bundled_grounding(bundle, device)?)
            }
            _ => None,
        };
        let localiser = match detector {
            None if spec.grounding == GroundingChoice::On => {
                return Err(DeviceError::NoDetector.into());
            }
            None => Localiser::None,
            Some((config, net)) => {
                let thresholds = DetectionThresholds {
                    probability: spec.box_threshold.get() as f32,
                    ..DetectionThresholds::default()
                };
                let detector = Detector::new(net, config, thresholds, device)?;
                Localiser::GroundingDino(Box::new(detector))
            }
        };
        let scorer = scorer(filo, &weights, products_in(spec.precision));
        settled(device)?;
        Ok(Networks { config, scorer, localiser, model_id: id.text() })
    }

    /// The detector, if boxes are searched, and the largest images that it gets.
    pub fn detector(&self) -> Option<Detecting<'_>> {
        let Localiser::GroundingDino(detector) = &self.localiser else { return None };
        let [height, width] = [DETECTOR_SIDE.shorter, DETECTOR_SIDE.longest];
        Some(Detecting { config: detector.config(), height, width })
    }

    /// Whether boxes are searched.
    pub fn has_detector(&self) -> bool {
        matches!(self.localiser, Localiser::GroundingDino(_))
    }
}

/// `config` for images of the size that the run asks for.
fn sized(
    mut config: FiloConfig,
    spec: &JobSpec,
    place: &WeightsPlace,
) -> Result<FiloConfig, WeightsError> {
    let Some(size) = spec.size else { return Ok(config) };
    let trained = std::mem::replace(&mut config.vision.image_size, size.get());
    config.validate().map_err(|error| {
        let what = format!("--size {size} does not fit: {}", error.what);
        WeightsError::BadConfig { path: place.path().into(), what }
    })?;
    if size.get() != trained {
        tracing::warn!(trained, "the network runs on images of {size} pixels: an approximation");
    }
    Ok(config)
}

/// The detector's own checkpoint, if the run names one and wants it.
fn opened_detector(spec: &JobSpec, place: &WeightsPlace) -> Result<Option<Checkpoint>, Error> {
    match (spec.grounding, &spec.grounding_weights) {
        (GroundingChoice::On, None) if !place.is_bundle() => Err(DeviceError::NoDetector.into()),
        (GroundingChoice::Off, _) | (_, None) => Ok(None),
        (_, Some(weights)) => Ok(Some(Checkpoint::open(&local_copy(weights)?)?)),
    }
}

/// What decides numbers, as one text. A bundle alone has an id already and keeps it.
#[derive(Default)]
struct ModelId {
    bundle: Option<String>,
    others: Option<blake3::Hasher>,
}

impl ModelId {
    fn only(&mut self, bundle: String) {
        self.bundle = Some(bundle);
    }

    fn add(&mut self, weights: &str, config: &impl std::fmt::Debug) {
        let hasher = self.others.get_or_insert_default();
        hasher.update(weights.as_bytes());
        hasher.update(format!("{config:?}").as_bytes());
    }

    fn text(self) -> String {
        match (self.bundle, self.others) {
            (Some(bundle), None) => bundle,
            (bundle, others) => {
                let mut hasher = others.unwrap_or_default();
                hasher.update(bundle.unwrap_or_default().as_bytes());
                hasher.finalize().to_hex()[..16].to_string()
            }
        }
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
