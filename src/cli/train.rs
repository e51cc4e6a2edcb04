//! `filo train`: a folder of labelled images in, a folder with weights, log and state out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use super::say::{say, shell_line, tell};
use super::signals::Signals;
use super::train_progress::TrainProgress;
use crate::device::device;
use crate::error::{Error, TrainError};
use crate::job::{DeviceChoice, Precision, Progress};
use crate::model::config::FiloConfig;
use crate::pipeline::identity::descriptions_of;
use crate::source::{LayoutChoice, ListOptions, Listing, list};
use crate::store::Location;
use crate::train::data::TrainingData;
use crate::train::spec::{RawTrainSpec, TrainSpec, Unfreeze};
use crate::train::synthetic::{SMALLEST_SIDE, Textures};
use crate::train::{Ending, Generated, Init, Mosaic, Sets, Setup, Training, Validation};
use crate::weights::Weights;
use crate::weights::config::read_config;

/// What `--data` says for images of the generator.
const GENERATED: &str = "generated";

/// Generated images to validate on.
const GENERATED_VALIDATION: u64 = 400;

/// To learn from, and to validate on if there is anything.
type TwoSets = (Arc<dyn TrainingData>, Option<Arc<dyn TrainingData>>);

#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Folder of images with labels and masks: a path or file:///path; or `generated`, for an
    /// endless series of generated images (./generated for a folder of that name).
    #[arg(long, value_name = "DIR|generated")]
    data: String,

    /// Folder of photographs of materials, used as surfaces of generated images;
    /// scripts/fetch_textures fills one.
    #[arg(long, value_name = "DIR")]
    textures: Option<PathBuf>,

    /// How --data is laid out.
    #[arg(long, default_value = "auto")]
    layout: LayoutChoice,

    /// Folder of images to validate on, in the same layout [default: a tenth of --data].
    #[arg(long, value_name = "DIR")]
    validation: Option<String>,

    /// Initial weights: a file, a folder that holds one or a bundle, a name of `filo weights list`,
    /// or `random`.
    #[arg(long, value_name = "PATH|NAME|random")]
    init: String,

    /// Configuration of the network [default: that of --init].
    #[arg(long, value_name = "FILE.json")]
    config: Option<PathBuf>,

    /// Folder for weights, log and state.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Job file of the training; the defaults of its keys are the published recipe.
    #[arg(long, value_name = "FILE.toml")]
    job: Option<PathBuf>,

    /// Resume the training in --out.
    #[arg(long)]
    resume: bool,

    /// What is trained besides heads, prompts and adapter.
    #[arg(long, value_name = "WHAT", default_value = "nothing")]
    unfreeze: Unfreeze,

    /// JSON or TOML file of category → list of anomaly descriptions [default: the built-in set].
    #[arg(long, value_name = "FILE")]
    descriptions: Option<PathBuf>,

    /// Where to train.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// When to draw a progress bar.
    #[arg(long, default_value = "auto")]
    progress: Progress,
}

impl TrainArgs {
    /// Trains, with progress, and says what was written.
    pub fn run(self) -> Result<u8, Error> {
        let started = Instant::now();
        let signals = Signals::listen().unwrap_or_else(|error| {
            tracing::warn!("signals cannot be caught ({error}): a stop loses steps");
            Signals::default()
        });
        let spec = match &self.job {
            Some(file) => RawTrainSpec::from_file(file)?,
            None => RawTrainSpec::default(),
        };
        let spec = spec.validate(self.unfreeze)?;
        let training = self.training(spec)?;
        let mut progress = TrainProgress::new(self.progress);
        let ending = training.run(&signals.stop, &mut |report| progress.step(report));
        progress.end();
        match ending? {
            Ending::Done(validation) => {
                let out = self.out.display();
                let seconds = started.elapsed().as_secs_f64();
                let figures = validation.map_or_else(String::new, figures);
                let next = shell_line(["filo", "score", "--weights", &self.out.to_string_lossy()]);
                say(format_args!("trained in {seconds:.1} s{figures} · {out} · {next}"))?;
                Ok(0)
            }
            Ending::Stopped => {
                let mut again = std::env::args_os().collect::<Vec<_>>();
                if !self.resume {
                    again.push("--resume".into());
                }
                tell(format_args!(
                    "stopped; the state is written. Resume with: {}",
                    shell_line(again)
                ));
                Ok(signals.exit_code())
            }
        }
    }

    /// What to learn from, and what to validate on.
    fn data(&self, spec: &TrainSpec, side: usize) -> Result<TwoSets, Error> {
        if self.data == GENERATED {
            return self.generated(spec, side);
        }
        let (descriptions, _) = descriptions_of(self.descriptions.as_deref())?;
        let sets = |uri: &str, share: f64| {
            let listing = self.listed(uri)?;
            let published = Mosaic::published(listing.layout);
            let mosaic = spec.mosaic.map_or(published, Mosaic);
            Sets::new(listing, uri, share, side, mosaic, &descriptions).map_err(Error::from)
        };
        let (training, validation) = match &self.validation {
            None => {
                let sets = sets(&self.data, spec.validation)?;
                warn_of(sets.left_out);
                (sets.training, sets.validation)
            }
            Some(uri) => {
                let (own, other) = (sets(&self.data, 0.0)?, sets(uri, 0.0)?);
                warn_of(own.left_out + other.left_out);
                (own.training, other.training.without_mosaic())
            }
        };
        let validation =
            (validation.pictures() > 0).then(|| -> Arc<dyn TrainingData> { Arc::new(validation) });
        Ok((Arc::new(training), validation))
    }

    fn generated(&self, spec: &TrainSpec, side: usize) -> Result<TwoSets, Error> {
        if side < SMALLEST_SIDE {
            return Err(TrainError::SmallPictures { side, least: SMALLEST_SIDE }.into());
        }
        let textures = load_textures(self.textures.as_deref())?;
        if let Some(textures) = &textures {
            tracing::info!(photographs = textures.len(), "textures");
        }
        let training = Generated::training(spec.seed, side, textures.clone())?;
        let validation = Generated::validation(spec.seed, side, textures, GENERATED_VALIDATION)?;
        Ok((Arc::new(training), Some(Arc::new(validation))))
    }

    fn training(&self, spec: TrainSpec) -> Result<Training, Error> {
        let device = device(self.device, Precision::F32)?;
        let init = match self.init.as_str() {
            "random" => Init::Random,
            place => Init::From(place.into()),
        };
        let side = self.network_config(&init)?.vision.image_size;
        let (data, validation) = self.data(&spec, side)?;
        tracing::info!(
            training = data.pictures(),
            validation = validation.as_ref().map_or(0, |data| data.pictures()),
            categories = data.categories().len(),
            "pictures"
        );
        let sets = std::iter::once(&data).chain(&validation).map(|data| &**data);
        let sets = sets.collect::<Vec<&dyn TrainingData>>();
        let setup = Setup::new(&init, self.config.clone(), &spec, &sets, &device)?;
        match self.resume {
            true => Training::resume(setup, spec, data, validation, &self.out),
            false => Training::begin(setup, spec, data, validation, &self.out),
        }
    }

    /// Read before the weights, for the side of the images.
    fn network_config(&self, init: &Init) -> Result<FiloConfig, Error> {
        match (&self.config, init) {
            (Some(path), _) => Ok(read_config(path)?),
            (None, Init::From(place)) => Ok(Weights::open(place)?.config()?),
            (None, Init::Random) => Err(TrainError::NoConfig.into()),
        }
    }

    fn listed(&self, uri: &str) -> Result<Listing, Error> {
        let location: Location = uri.parse()?;
        let listing =
            list(&location, &ListOptions { layout: self.layout, ..ListOptions::default() })?;
        tracing::info!("{}", listing.why);
        Ok(listing)
    }
}

/// The photographs in `dir`, if one is named.
pub fn load_textures(dir: Option<&Path>) -> Result<Option<Arc<Textures>>, TrainError> {
    let textures = dir.map(Textures::load).transpose();
    let textures = textures.map_err(|(path, why)| TrainError::Textures { path, why })?;
    Ok(textures.map(Arc::new))
}

fn warn_of(left_out: usize) {
    if left_out > 0 {
        tracing::warn!("{left_out} images have no label, or a defect without a mask: left out");
    }
}

fn figures(validation: Validation) -> String {
    let figure = |name: &str, value: Option<f64>| {
        value.map_or_else(String::new, |value| format!(" · {name} AUROC {value:.4}"))
    };
    let image = figure("image", validation.image_auroc);
    format!("{image}{}", figure("pixel", validation.pixel_auroc))
}
