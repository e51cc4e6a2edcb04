//! `filo weights list` and `filo weights fetch`: weights that have names. In: a name. Out: a table, or a
//! bundle in the cache. Nothing else of the program downloads weights.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;

use super::say::{counted, say, shell_line, tell};
use super::table::aligned;
use super::weights::{Watch, warn_of};
use crate::error::Error;
use crate::weights::bundle::StoredPrecision;
use crate::weights::catalogue::{Catalogue, Entry, Presence};
use crate::weights::convert::Observer;
use crate::weights::fetch::{Checkpoints, Done, Fetch, FetchObserver, Fetched, Offer};
use crate::weights::published::Published;

const NOT_KNOWN: &str = "not known";

const NOT_STATED: &str = "not stated";

#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// Weights of FiLo's authors, from the Hugging Face Hub: 3.3 GB.
    #[arg(value_name = "NAME")]
    name: Published,

    /// New folder for the bundle [default: the cache, for `--weights NAME`].
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// Precision of matrices and kernels; vectors stay in f32 [default: f32].
    #[arg(long, value_enum)]
    precision: Option<StoredPrecision>,

    /// Keep the downloaded checkpoints beside the bundle, in the cache.
    #[arg(long)]
    keep_files: bool,
}

impl ListArgs {
    pub fn run(self) -> Result<u8, Error> {
        let watch = Watch::new();
        let (catalogue, trouble) = Catalogue::here(&watch);
        if watch.stopped() {
            return Ok(watch.signals.exit_code());
        }
        if let Some(trouble) = trouble {
            tracing::warn!("sizes and licences of what is not here are not known: {trouble}");
        }
        match self.json {
            true => say(format_args!("{:#}", serde_json::json!(catalogue)))?,
            false => say(text_of(&catalogue))?,
        }
        Ok(0)
    }
}

fn text_of(catalogue: &Catalogue) -> String {
    let heading = ["name", "trained on", "for", "size", "here"];
    let mut lines = vec![heading.map(str::to_string).to_vec()];
    lines.extend(catalogue.weights.iter().map(line_of));
    let mut text = format!("{}\n", aligned(&lines));
    for entry in &catalogue.weights {
        text.push_str(&format!("{}: ", entry.name));
        if let Some(repository) = &entry.repository {
            text.push_str(&format!("{} of {repository} · ", entry.files.join(", ")));
        }
        text.push_str(&format!("licence: {}\n", licence_of(entry)));
    }
    text.truncate(text.trim_end().len());
    text
}

fn line_of(entry: &Entry) -> Vec<String> {
    let here = match &entry.here {
        Presence::Embedded => "in the program".to_string(),
        Presence::Cached { precision, .. } => format!("yes, {}", precision.as_str()),
        Presence::Absent => "no".to_string(),
    };
    vec![
        entry.name.clone(),
        entry.trained_on.clone(),
        entry.meant_for.clone(),
        size_of(entry),
        here,
    ]
}

fn size_of(entry: &Entry) -> String {
    match (entry.bytes, Published::named(entry.name.as_ref())) {
        (Some(bytes), _) => HumanBytes(bytes).to_string(),
        (None, Some(weights)) => format!("about {}", weights.size()),
        (None, None) => String::new(),
    }
}

fn licence_of(entry: &Entry) -> &str {
    match (&entry.licence, entry.bytes) {
        (Some(licence), _) => licence,
        // Whoever knows the size was asked for the licence, too.
        (None, Some(_)) => NOT_STATED,
        (None, None) => NOT_KNOWN,
    }
}

impl FetchArgs {
    pub fn run(self) -> Result<u8, Error> {
        let watch = Watch::new();
        let name = self.name.name();
        let fetch = Fetch {
            weights: self.name,
            to: self.to.clone(),
            precision: self.precision,
            checkpoints: if self.keep_files { Checkpoints::Keep } else { Checkpoints::Remove },
        };
        let fetched = fetch.run(&watch)?;
        watch.bar.finish_and_clear();
        let Some(Fetched { folder, manifest, what }) = fetched else {
            let again = shell_line(std::env::args_os());
            tell(format_args!("stopped; what was downloaded is kept. Resume with: {again}"));
            return Ok(watch.signals.exit_code());
        };
        let bytes = HumanBytes(manifest.files.iter().map(|file| file.bytes).sum());
        let done = match what {
            Done::WasThere => format!("{name} is in the cache"),
            Done::OfCache => format!("wrote {name} from the cache"),
            Done::Downloaded { reports } => {
                reports.iter().for_each(warn_of);
                format!("fetched {name}")
            }
        };
        let place = match &self.to {
            None => name.to_string(),
            Some(_) => folder.display().to_string(),
        };
        let next = shell_line(["--weights", &place]);
        let model = manifest.model_id();
        say(format_args!("{done} · {bytes} · {} · model {model} · {next}", folder.display()))?;
        Ok(0)
    }
}

impl FetchObserver for Watch {
    fn offered(&self, offer: &Offer<'_>) {
        let Offer { weights, repository, hub, files, bytes, here } = offer;
        let already = match here {
            0 => String::new(),
            here => format!(", {} of them here already", HumanBytes(*here)),
        };
        self.bar.set_length(*bytes);
        self.bar.suspend(|| {
            tell(format_args!(
                "{}: {}, {}{already} · {hub}/{} at {} · licence: {}",
                weights.name(),
                counted(*files as u64, "file"),
                HumanBytes(*bytes),
                repository.name,
                &repository.commit[..12],
                repository.licence.as_deref().unwrap_or(NOT_STATED)
            ));
        });
    }

    fn waits(&self) {
        tell("another process fetches the same: waiting for it; Ctrl-C stops");
    }

    fn begins(&self, what: &str) {
        self.bar.set_message(what.to_string());
    }
}
