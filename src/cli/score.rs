//! `filo score`: a job file and flags in, a committed output out.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::progress;
use super::say::{say, shell_line, tell};
use super::signals::{PATIENCE, Signals};
use crate::error::Error;
use crate::job::{JobSpec, RawJobSpec, RunMode, Strictness};
use crate::pipeline::Progress;
use crate::pipeline::run::{Outcome, Run, listed};
use crate::source::Layout;
use crate::tables::Table;
use crate::weights::WeightsPlace;
use crate::weights::bundle::Bundle;

/// Exit code of a strict run with failed pictures.
const SOME_FAILED: u8 = 3;

#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    /// Job file; flags win over its keys.
    #[arg(long, value_name = "FILE.toml")]
    job: Option<PathBuf>,

    #[command(flatten)]
    flags: RawJobSpec,
}

impl ScoreArgs {
    /// Flags over the job file, validated.
    pub fn spec(self) -> Result<JobSpec, Error> {
        let raw = match &self.job {
            Some(file) => self.flags.over(RawJobSpec::from_file(file)?),
            None => self.flags,
        };
        Ok(JobSpec::try_from(raw)?)
    }
}

/// Runs a job, or tells what it would do.
pub fn run(spec: &JobSpec) -> Result<u8, Error> {
    match spec.dry_run {
        RunMode::DryRun => dry_run(spec),
        RunMode::Score => score(spec),
    }
}

/// Prints what a run would do in all its parts; output and weights files are not opened.
fn dry_run(spec: &JobSpec) -> Result<u8, Error> {
    let listing = listed(spec)?;
    say(&listing.why)?;
    for (category, pictures) in &listing.categories {
        say(format_args!("{pictures:>9}  {category}"))?;
    }
    let weights = spec.weights_name();
    if spec.weights.is_none() {
        let model = Bundle::open_unchecked(&WeightsPlace::Embedded)?.model_id();
        say(format_args!("weights {weights} · model {model}"))?;
    } else {
        say(format_args!("weights {weights}"))?;
    }
    let what = match listing.layout {
        Layout::Webdataset => "tar files",
        Layout::Parquet => "Parquet files",
        Layout::Folder | Layout::Mvtec | Layout::Visa => "pictures",
    };
    say(format_args!(
        "{} {what} in {} shards would be scored into {}",
        listing.n_entries,
        listing.shards.len(),
        spec.output
    ))?;
    Ok(0)
}

/// Runs a job to its end, with progress, and says what was written.
pub fn score(spec: &JobSpec) -> Result<u8, Error> {
    let started = Instant::now();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("signals cannot be caught ({error}): a stop will lose the open shard");
            Signals::default()
        }
    };
    signals.end_after(PATIENCE, |code| {
        say_stopped();
        std::process::exit(code.into());
    });
    let run = Run::open(spec)?;
    if run.resumed > 0 {
        tracing::info!(pictures = run.resumed, "committed by an earlier start");
    }
    let progress = Progress::default();
    let outcome = progress::show(spec.progress, run.pictures(), &progress, || {
        run.start(&progress, &signals.stop)
    })?;
    let (out, seconds) = (&spec.output, started.elapsed().as_secs_f64());
    let failed = match outcome {
        Outcome::Finished(manifest) => {
            let rows = |table| manifest.totals.as_ref().map_or(0, |totals| totals.rows_of(table));
            let (scored, failed) = (rows(Table::Scores), rows(Table::Failures));
            let next = shell_line(["filo", "report", "--run", out.uri(), "--out", "report.html"]);
            let flagged = manifest.totals.as_ref().and_then(|totals| totals.flagged);
            let flagged = flagged.map_or(String::new(), |flagged| format!(" · {flagged} flagged"));
            let images = if scored == 1 { "image" } else { "images" };
            say(format_args!(
                "scored {scored} {images}{flagged} · {failed} failed in {seconds:.1} s · {out} · {next}"
            ))?;
            failed
        }
        Outcome::PartDone => {
            let failed = progress.failed.load(Ordering::Relaxed);
            let part = spec.partition;
            say(format_args!(
                "part {part} done in {seconds:.1} s · {out} · other parts are still open"
            ))?;
            failed
        }
        Outcome::Stopped => {
            say_stopped();
            return Ok(signals.exit_code());
        }
    };
    if failed == 0 {
        return Ok(0);
    }
    tracing::warn!("{failed} pictures could not be scored: see the table failures in {out}");
    Ok(match spec.strict {
        Strictness::Strict => SOME_FAILED,
        Strictness::Lenient => 0,
    })
}

fn say_stopped() {
    let again = shell_line(std::env::args_os());
    tell(format_args!("stopped; whole shards are committed. Resume with: {again}"));
}
