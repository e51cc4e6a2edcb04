//! `filo score`: a job file and flags in, a committed output out.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::progress;
use super::signals::Signals;
use crate::error::Error;
use crate::job::{JobSpec, LogFormat, RawJobSpec, RunMode, Strictness};
use crate::pipeline::Progress;
use crate::pipeline::run::{Outcome, Run, listed};
use crate::tables::{Manifest, Table};

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
    /// The log format that the flags name; a job file is read later.
    pub fn log_format(&self) -> LogFormat {
        self.flags.log_format.unwrap_or_default()
    }

    pub fn run(self) -> Result<u8, Error> {
        let raw = match &self.job {
            Some(file) => self.flags.over(RawJobSpec::from_file(file)?),
            None => self.flags,
        };
        let spec = JobSpec::try_from(raw)?;
        if spec.dry_run == RunMode::DryRun {
            return dry_run(&spec);
        }
        score(&spec)
    }
}

/// Prints what a run would do, without weights or output.
fn dry_run(spec: &JobSpec) -> Result<u8, Error> {
    let listing = listed(spec)?;
    println!("{}", listing.why);
    for (category, pictures) in &listing.categories {
        println!("{pictures:>9}  {category}");
    }
    println!(
        "{} pictures in {} shards would be scored into {}",
        listing.n_entries,
        listing.shards.len(),
        spec.output
    );
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
    let run = Run::open(spec)?;
    let resumed = run.listing.n_entries as u64 - run.pictures();
    let progress = Progress::default();
    let outcome = progress::show(spec.progress, run.pictures(), &progress, || {
        run.start(&progress, &signals.stop)
    })?;
    let out = &spec.output;
    match outcome {
        Outcome::Finished(manifest) => {
            if resumed > 0 {
                tracing::info!(pictures = resumed, "found committed by an earlier start");
            }
            Ok(said_finished(spec, &manifest, started))
        }
        Outcome::PartDone => {
            println!(
                "part {} done in {:.1} s · {out} · other parts are still open",
                spec.partition,
                started.elapsed().as_secs_f64()
            );
            Ok(0)
        }
        Outcome::Stopped => {
            let command = std::env::args().collect::<Vec<_>>().join(" ");
            eprintln!("stopped; whole shards are committed. Resume with: {command}");
            Ok(signals.exit_code())
        }
    }
}

fn said_finished(spec: &JobSpec, manifest: &Manifest, started: Instant) -> u8 {
    let rows = |table| manifest.totals.as_ref().map_or(0, |totals| totals.rows_of(table));
    let failed = rows(Table::Failures);
    let out = &spec.output;
    println!(
        "scored {} images ({failed} failed) in {:.1} s · {out} · filo metrics --run {out}",
        rows(Table::Scores),
        started.elapsed().as_secs_f64(),
    );
    if failed == 0 {
        return 0;
    }
    tracing::warn!("{failed} pictures could not be scored: see the table failures in {out}");
    match spec.strict {
        Strictness::Strict => SOME_FAILED,
        Strictness::Lenient => 0,
    }
}
