//! What a training keeps on disk, and how it begins or goes on from there. In: a folder. Out: the
//! weights that validate best with their configuration, those of the end if they are others, the log,
//! and the state; each file is replaced whole, and the state last, so what it tells of is there.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::averaging::Averaging;
use super::checkpoint::{Standing, State, state_file};
use super::data::TrainingData;
use super::log::{LOG_FILE, read_log, write_log};
use super::network::{NamedValues, named_values, values_of, with_values};
use super::optimizer::AdamW;
use super::run::{STAGES, Training};
use super::spec::TrainSpec;
use super::start::Setup;
use crate::error::{Error, TrainError};
use crate::store::write_whole;
use crate::weights::save::save_filo;

const WEIGHTS_FILE: &str = "weights.safetensors";
const CONFIG_FILE: &str = "config.json";
const LAST_FOLDER: &str = "last";

impl Training {
    /// A new training in the folder `out`.
    ///
    /// # Errors
    /// If `out` holds one already, or cannot be written.
    pub fn begin(
        setup: Setup,
        spec: TrainSpec,
        data: Arc<dyn TrainingData>,
        validation: Option<Arc<dyn TrainingData>>,
        out: &Path,
    ) -> Result<Self, Error> {
        if state_file(out).exists() || out.join(WEIGHTS_FILE).exists() {
            return Err(TrainError::Exists { path: out.into() }.into());
        }
        let folder = out.join("state");
        std::fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, &error))?;
        let standing = Standing {
            made_of: made_of(&setup, &spec, data.as_ref()),
            stage: 1,
            step: 0,
            best: None,
            stale: 0,
            averaged: 0,
        };
        let training = Training {
            optimizer: optimizer(&spec),
            average: Averaging::new(spec.average),
            out: out.to_path_buf(),
            rows: Vec::new(),
            last: None,
            setup,
            spec,
            data,
            validation,
            standing,
        };
        write_config(&training.setup, out)?;
        training.write_state()?;
        Ok(training)
    }

    /// The training in `out`, where its last state left it.
    ///
    /// # Errors
    /// If there is none, it was another, or its state is damaged.
    pub fn resume(
        setup: Setup,
        spec: TrainSpec,
        data: Arc<dyn TrainingData>,
        validation: Option<Arc<dyn TrainingData>>,
        out: &Path,
    ) -> Result<Self, Error> {
        let path = state_file(out);
        if !path.exists() {
            return Err(TrainError::NothingToResume { path: out.into() }.into());
        }
        let State { standing, weights, moments, average } = State::read(&path)?;
        let now = made_of(&setup, &spec, data.as_ref());
        let differs =
            now.iter().filter(|(what, digest)| standing.made_of.get(*what) != Some(digest));
        let differs = differs.map(|(what, _)| what.as_str()).collect::<Vec<_>>();
        if !differs.is_empty() {
            let what = differs.join(" and ");
            return Err(TrainError::OtherTraining { path: out.into(), what }.into());
        }
        let log = out.join(LOG_FILE);
        let mut rows = if log.exists() { read_log(&log)? } else { Vec::new() };
        let reached = (i64::from(standing.stage), standing.step as i64);
        rows.retain(|row| (row.stage, row.step) <= reached);
        let mut setup = setup;
        setup.network = with_values(setup.network, &weights);
        Ok(Training {
            optimizer: AdamW { moments, ..optimizer(&spec) },
            average: Averaging::resumed(spec.average, average, standing.averaged),
            out: out.to_path_buf(),
            last: None,
            setup,
            spec,
            data,
            validation,
            standing,
            rows,
        })
    }

    /// Parameters that learn in `stage`, as they are.
    pub(super) fn learned(&self, stage: u8) -> NamedValues {
        let rates = self.spec.rates(stage);
        values_of(&self.setup.network, &|path| rates.of(path).is_some())
    }

    /// The weights that are validated and written: the mean, where there is one.
    pub(super) fn shown(&self) -> NamedValues {
        let mut values = named_values(&self.setup.network);
        values.extend(self.average.values.clone());
        values
    }

    pub(super) fn write_weights(&self) -> Result<(), Error> {
        self.save_shown(&self.out)?;
        // In the shape in which it is trained, for the end of the stage.
        let best = State {
            standing: self.standing.clone(),
            weights: self.stored(self.shown()),
            moments: BTreeMap::new(),
            average: NamedValues::new(),
        };
        Ok(best.write(&self.best_file())?)
    }

    /// Where a stage ended or was stopped, beside the weights that validated best: on few images the
    /// best are so by chance, perhaps.
    pub(super) fn write_last(&self) -> Result<(), Error> {
        let folder = self.out.join(LAST_FOLDER);
        std::fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, &error))?;
        write_config(&self.setup, &folder)?;
        Ok(self.save_shown(&folder)?)
    }

    /// Takes away what [`Training::write_last`] wrote: the stage ended with its best weights.
    pub(super) fn remove_last(&self) -> Result<(), Error> {
        let folder = self.out.join(LAST_FOLDER);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let (path, why) = (folder, error.to_string());
                Err(TrainError::File { path, action: "removed", why }.into())
            }
            _ => Ok(()),
        }
    }

    fn save_shown(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(WEIGHTS_FILE);
        let network = self.setup.whole(&self.shown());
        save_filo(&network, &path).map_err(|error| unwritten(&path, &error))
    }

    fn best_file(&self) -> PathBuf {
        state_file(&self.out).with_file_name("best.safetensors")
    }

    pub(super) fn best_weights(&self) -> Result<NamedValues, Error> {
        Ok(State::read(&self.best_file())?.weights)
    }

    /// Of `values` those that any stage changes: all others come from the start again.
    fn stored(&self, mut values: NamedValues) -> NamedValues {
        let stages = [1, STAGES].map(|stage| self.spec.rates(stage));
        values.retain(|path, _| stages.iter().any(|rates| rates.of(path).is_some()));
        values
    }

    pub(super) fn write_state(&self) -> Result<(), Error> {
        let standing = Standing { averaged: self.average.steps, ..self.standing.clone() };
        write_log(&self.out.join(LOG_FILE), &self.rows)?;
        let state = State {
            standing,
            weights: self.stored(named_values(&self.setup.network)),
            moments: self.optimizer.moments.clone(),
            average: self.average.values.clone(),
        };
        Ok(state.write(&state_file(&self.out))?)
    }
}

/// What the weights in `folder` need beside them.
fn write_config(setup: &Setup, folder: &Path) -> Result<(), TrainError> {
    let config = format!("{:#}\n", serde_json::json!(setup.config));
    let path = folder.join(CONFIG_FILE);
    write_whole(&path, config.as_bytes()).map_err(|error| unwritten(&path, &error))
}

/// The optimiser of `spec`, at its first step.
pub(super) fn optimizer(spec: &TrainSpec) -> AdamW {
    let betas = [spec.beta_1, spec.beta_2];
    AdamW { betas, weight_decay: spec.weight_decay, ..AdamW::published() }
}

/// What decides the numbers of a training.
fn made_of(setup: &Setup, spec: &TrainSpec, data: &dyn TrainingData) -> BTreeMap<String, String> {
    let digest = |text: String| blake3::hash(text.as_bytes()).to_hex().to_string();
    let prompts = data.categories().into_iter().map(|category| {
        let states = data.prompts(&category);
        format!("{category} {:?} {:?}", states.normal, states.abnormal)
    });
    let prompts = prompts.collect::<String>();
    let data = format!("{} {} {prompts}", data.pictures(), data.digest());
    BTreeMap::from([
        ("job".to_string(), digest(serde_json::json!(spec).to_string())),
        ("network".to_string(), setup.digest.clone()),
        ("data".to_string(), digest(data)),
    ])
}

/// A file or folder that the system refuses to write.
pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::File { path: path.into(), action: "written", why: error.to_string() }
}
