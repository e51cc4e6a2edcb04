//! `filo weights`: published files into one bundle, what is in a file, whether a bundle is sound. What
//! goes through a network is in [`published`](super::published).

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::published::{FetchArgs, ListArgs};
use super::say::{counted, say, shell_line, tell};
use super::signals::Signals;
use super::table::aligned;
use crate::error::{Error, WeightsError};
use crate::weights::WeightsPlace;
use crate::weights::bundle::{Origin, StoredPrecision};
use crate::weights::convert::{Conversion, Observer};
use crate::weights::inspect::{Contents, Inspection, inspect, verify};
use crate::weights::mapping::LoadReport;

/// Names that a table shows before it says how many more there are.
const SHOWN: usize = 5;

#[derive(Debug, Clone, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    command: WeightsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum WeightsCommand {
    /// Convert published checkpoints, or another bundle, into one bundle; nothing in them is
    /// executed.
    Convert(ConvertArgs),
    /// List what is in a checkpoint or a bundle, and what is missing.
    Inspect(InspectArgs),
    /// Check a bundle against its hashes and shapes, and for numbers that are not finite.
    Verify(VerifyArgs),
    /// List the weights that have names, and which of them are on this machine.
    List(ListArgs),
    /// Download published weights by name and make a bundle of them, for `--weights NAME`.
    Fetch(FetchArgs),
}

#[derive(Debug, Clone, Args)]
struct ConvertArgs {
    /// A checkpoint of FiLo, CLIP or Grounding DINO (.pth, TorchScript or safetensors); give the
    /// flag once per file. Where two hold the same parameter, FiLo's own file wins. Or the folder
    /// of a bundle, to write it in another precision.
    #[arg(long, required = true, value_name = "FILE|DIR")]
    from: Vec<PathBuf>,

    /// New folder for the bundle.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// Precision of matrices and kernels; vectors stay in f32.
    #[arg(long, value_enum, default_value_t)]
    precision: StoredPrecision,

    /// Licence of the weights, to be kept in bundle.json.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct InspectArgs {
    /// A checkpoint, the folder of a bundle, or a name of `filo weights list`.
    #[arg(value_name = "FILE|DIR|NAME")]
    place: WeightsPlace,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct VerifyArgs {
    /// The folder of a bundle, or a name of `filo weights list`.
    #[arg(value_name = "DIR|NAME")]
    place: WeightsPlace,
}

impl WeightsArgs {
    pub fn run(self) -> Result<u8, Error> {
        match self.command {
            WeightsCommand::Convert(args) => args.run(),
            WeightsCommand::Inspect(args) => args.run(),
            WeightsCommand::Verify(args) => args.run(),
            WeightsCommand::List(args) => args.run(),
            WeightsCommand::Fetch(args) => args.run(),
        }
    }
}

impl ConvertArgs {
    fn run(self) -> Result<u8, Error> {
        let watch = Watch::new();
        let to = self.to.clone();
        let conversion = Conversion {
            from: self.from,
            to: self.to,
            precision: self.precision,
            licence: self.licence,
            origins: BTreeMap::new(),
        };
        let Some(converted) = conversion.run(&watch)? else {
            tell("stopped; nothing was written");
            return Ok(watch.signals.exit_code());
        };
        watch.bar.finish_and_clear();
        converted.reports.iter().for_each(warn_of);
        let bytes = converted.manifest.files.iter().map(|file| file.bytes).sum();
        let tensors = converted.manifest.files.iter().map(|file| file.tensors).sum::<usize>();
        let model = converted.manifest.model_id();
        let next = shell_line(["filo", "weights", "verify", &to.display().to_string()]);
        say(format_args!(
            "converted {tensors} tensors, {} · {} · model {model} · {next}",
            HumanBytes(bytes),
            to.display()
        ))?;
        Ok(0)
    }
}

/// Says what a person would want to know of a conversion that went well.
pub(super) fn warn_of(report: &LoadReport) {
    if !report.unexpected.is_empty() {
        let names = first_few(&report.unexpected);
        tracing::warn!("left out, the network has no place for them: {names}");
    }
    if !report.differing.is_empty() {
        let names = first_few(&report.differing);
        tracing::warn!("differ between two files, FiLo's were taken: {names}");
    }
}

/// The first names of a list, and how many follow.
fn first_few(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A bar for a person, and the ear for Ctrl-C.
pub(super) struct Watch {
    pub bar: ProgressBar,
    pub signals: Signals,
}

impl Watch {
    pub fn new() -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:16} {bytes}/{total_bytes} {wide_msg}");
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        // Without handlers Ctrl-C ends the program at once, which leaves nothing that loads either.
        Watch { bar, signals: Signals::listen().unwrap_or_default() }
    }
}

impl Observer for Watch {
    fn progress(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    fn stopped(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed)
    }
}

impl InspectArgs {
    fn run(self) -> Result<u8, Error> {
        let inspection = inspect(&self.place)?;
        if self.json {
            say(format_args!("{:#}", serde_json::json!(inspection)))?;
        } else {
            say(text_of(&inspection))?;
        }
        Ok(0)
    }
}

/// The table, and below it the names that a table has no room for.
fn text_of(inspection: &Inspection) -> String {
    let heading =
        ["role", "tensors", "parameters", "precision", "aliases", "missing", "unexpected", "wrong"];
    let mut lines = vec![heading.map(str::to_string).to_vec()];
    lines.extend(inspection.parts.iter().map(line_of));
    let mut text = format!("{} · {}", inspection.path, inspection.format);
    if let Some(model) = &inspection.model_id {
        text.push_str(&format!(" · model {model}"));
    }
    text.push_str(&format!("\n\n{}", aligned(&lines)));
    for part in &inspection.parts {
        let lists = [
            ("missing", &part.missing),
            ("unexpected", &part.unexpected),
            ("wrong", &part.wrong_shapes),
        ];
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            text.push_str(&format!("{what}: {}\n", first_few(names)));
        }
    }
    if let Some(bundle) = &inspection.bundle {
        for source in &bundle.sources {
            let size = HumanBytes(source.bytes);
            text.push_str(&format!("from {} · {} · {size}", source.file, source.kind));
            if let Some(Origin { repository, commit, .. }) = &source.origin {
                text.push_str(&format!(" · {repository} at {commit}"));
            }
            text.push('\n');
        }
        text.push_str(&format!("licence: {}\n", bundle.licence));
    }
    text.truncate(text.trim_end().len());
    text
}

fn line_of(part: &Contents) -> Vec<String> {
    vec![
        part.role.clone(),
        part.tensors.to_string(),
        part.parameters.to_string(),
        precisions(&part.precisions),
        part.aliases.to_string(),
        part.missing.len().to_string(),
        part.unexpected.len().to_string(),
        part.wrong_shapes.len().to_string(),
    ]
}

/// "f32 120, i64 3".
fn precisions(counts: &BTreeMap<String, usize>) -> String {
    let each = counts.iter().map(|(precision, count)| format!("{precision} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

impl VerifyArgs {
    fn run(self) -> Result<u8, Error> {
        let verified = verify(&self.place)?;
        for problem in &verified.problems {
            tell(problem);
        }
        if !verified.problems.is_empty() {
            let problems = verified.problems.len();
            return Err(WeightsError::NotSound { path: self.place.path().into(), problems }.into());
        }
        say(format_args!(
            "sound: {}, {} tensors · model {}",
            counted(verified.files as u64, "file"),
            verified.tensors,
            verified.model_id
        ))?;
        Ok(0)
    }
}
