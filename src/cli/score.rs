//! `filo score`: a job file and flags in, a committed output out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;

use super::say::{counted, say, shell_line, tell};
use super::signals::{PATIENCE, Signals};
use super::{progress, timings};
use crate::error::Error;
use crate::job::{JobSpec, LogFormat, RawJobSpec, RetryMode, RunMode, Strictness};
use crate::pipeline::Progress;
use crate::pipeline::run::{Outcome, Run, Seen};
use crate::pipeline::tiles_ahead::TilesAhead;
use crate::tables::{OutputState, Skipped, Table};
use crate::tile::MAX_TILES;

/// Exit code of a strict run with failed images.
const SOME_FAILED: u8 = 3;

#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    /// Job file; a flag overrides its key.
    #[arg(long, value_name = "FILE.toml")]
    job: Option<PathBuf>,

    #[command(flatten)]
    flags: RawJobSpec,

    /// Print at the end where the time went: seconds of each phase, stage and network.
    #[arg(long)]
    timings: bool,
}

/// What is printed at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// One line.
    Counts,
    /// And where the time went.
    Timings,
}

impl ScoreArgs {
    /// Flags over the job file, validated.
    pub fn spec(self) -> Result<(JobSpec, Told), Error> {
        let told = if self.timings { Told::Timings } else { Told::Counts };
        let raw = match &self.job {
            Some(file) => self.flags.over(RawJobSpec::from_file(file)?),
            None => self.flags,
        };
        Ok((JobSpec::try_from(raw)?, told))
    }
}

/// Runs a job, or tells what it would do.
pub fn run(spec: &JobSpec, told: Told) -> Result<u8, Error> {
    match spec.dry_run {
        RunMode::DryRun => dry_run(spec),
        RunMode::Score => score(spec, told),
    }
}

/// Does all that a run does but scoring and writing, and prints what it would do. What the run would
/// be refused for, this is refused for, with the same words.
fn dry_run(spec: &JobSpec) -> Result<u8, Error> {
    let Seen { plan, model_id, output, tiles } = Run::look(spec)?;
    say(&plan.why)?;
    for (category, images) in &plan.categories {
        say(format_args!("{images:>9}  {category}"))?;
    }
    let weights = spec.weights_name();
    match spec.weights {
        None => say(format_args!("weights {weights} · model {model_id}"))?,
        Some(_) => say(format_args!("weights {weights}"))?,
    }
    let (entries, shards) = (plan.pictures() as u64, plan.shards.len());
    let what = match plan.layout.as_str() {
        "webdataset" => counted(entries, "tar file"),
        "parquet" => counted(entries, "Parquet file"),
        _ => counted(entries, "image"),
    };
    let what = format!("{what} in {}", counted(shards as u64, "shard"));
    if let Some(skipped) = &plan.skipped {
        say(skipped)?;
    }
    if let Some(tiles) = tiles {
        say_tiles(&tiles)?;
    }
    let out = &spec.output;
    match output {
        OutputState::New => say(format_args!("{what} would be scored into {out}"))?,
        OutputState::Begun { shards } => say(format_args!(
            "{what}, of which {shards} committed: the rest would be scored into {out}"
        ))?,
        OutputState::Finished if spec.retry_failed == RetryMode::RetryFailed => say(format_args!(
            "{what}, all in {out}: failures that may be gone would be tried again"
        ))?,
        OutputState::Finished => {
            say(format_args!("{what}, all in {out}: nothing would be scored"))?
        }
    }
    Ok(0)
}

/// Says how many tiles the sizes of a few images let expect.
fn say_tiles(tiles: &TilesAhead) -> Result<(), Error> {
    let looked_at = tiles.looked_at;
    if let Some((size, most)) = tiles.largest {
        let each = tiles.tiles as f64 / looked_at as f64;
        let about = match tiles.images {
            Some(images) => format!("about {:.0} tiles", each * images as f64),
            None => format!("about {each:.0} tiles per image"),
        };
        say(format_args!(
            "{about}: {} of the {looked_at} images that were looked at are tiled, the largest, \
             {} × {}, in {most}",
            tiles.tiled, size.width, size.height
        ))?;
    }
    if let Some((images, most)) = tiles.too_many {
        say(format_args!(
            "{images} of the {looked_at} images that were looked at would be failures: {most} tiles, at \
             most {MAX_TILES} are scored: choose a larger --tile, a smaller --tile-scale, or --tile off"
        ))?;
    }
    Ok(())
}

/// Runs a job to its end, with progress, and says what was written.
pub fn score(spec: &JobSpec, told: Told) -> Result<u8, Error> {
    let started = Instant::now();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::warn!("signals cannot be caught ({error}): a stop will lose the open shard");
            Signals::default()
        }
    };
    let (format, again) = (spec.log_format, again(spec));
    let said = again.clone();
    signals.end_after(PATIENCE, move |code| {
        say_stopped(format, &said);
        std::process::exit(code.into());
    });
    let mut run = Run::open(spec)?;
    if run.resumed > 0 {
        tracing::info!(images = run.resumed, "committed by an earlier start");
    }
    let repair = run.repair.take();
    let progress = Progress::default();
    let outcome = progress::show(spec.progress, run.pictures(), &progress, || {
        run.start(&progress, &signals.stop)
    })?;
    let (out, seconds) = (&spec.output, started.elapsed().as_secs_f64());
    if told == Told::Timings {
        timings::table(&progress.timings, seconds).iter().try_for_each(say)?;
    }
    let times = progress.timings.to_json();
    let failed = match outcome {
        Outcome::Finished(manifest) => {
            let rows = |table| manifest.totals.as_ref().map_or(0, |totals| totals.rows_of(table));
            let (scored, failed) = (rows(Table::Scores), rows(Table::Failures));
            for line in repair.iter().flat_map(|repair| repair.lines(failed)) {
                say(line)?;
            }
            let next = shell_line(["filo", "report", "--run", out.uri(), "--out", "report.html"]);
            let flagged = manifest.totals.as_ref().and_then(|totals| totals.flagged);
            let images = counted(scored, "image");
            let skipped = Skipped::of(&manifest.spec);
            if spec.log_format == LogFormat::Json {
                let skipped = skipped.as_ref().map(|skipped| skipped.images + skipped.archives);
                tracing::info!(
                    scored,
                    failed,
                    flagged,
                    skipped,
                    seconds,
                    output = out.uri(),
                    %times,
                    "finished"
                );
            }
            match skipped {
                Some(skipped) if scored + failed == 0 => {
                    say(format_args!("nothing to score: {skipped} · {seconds:.1} s · {out}"))?;
                }
                skipped => {
                    let flagged = flagged.map_or(String::new(), |n| format!(" · {n} flagged"));
                    let skipped = skipped.map_or(String::new(), |skipped| format!(" · {skipped}"));
                    say(format_args!(
                        "scored {images}{flagged} · {failed} failed in {seconds:.1} s{skipped} · \
                         {out} · {next}"
                    ))?;
                }
            }
            failed
        }
        Outcome::PartDone => {
            let failed = progress.failed.load(Ordering::Relaxed);
            let part = spec.partition;
            if spec.log_format == LogFormat::Json {
                let scored = progress.scored.load(Ordering::Relaxed);
                tracing::info!(scored, failed, %part, seconds, output = out.uri(), %times, "part done");
            }
            say(format_args!(
                "part {part} done in {seconds:.1} s · {out} · other parts are still open"
            ))?;
            failed
        }
        Outcome::Stopped => {
            say_stopped(spec.log_format, &again);
            return Ok(signals.exit_code());
        }
    };
    if failed == 0 {
        return Ok(0);
    }
    let lost = counted(failed, "image");
    tracing::warn!("{lost} could not be scored: see the table failures in {out}");
    Ok(match spec.strict {
        Strictness::Strict => SOME_FAILED,
        Strictness::Lenient => 0,
    })
}

fn say_stopped(format: LogFormat, again: &str) {
    if format == LogFormat::Json {
        tracing::warn!(again, "stopped; whole shards are committed");
        return;
    }
    tell(format_args!("stopped; whole shards are committed. Resume with: {again}"));
}

/// The command that goes on with this run, also tomorrow.
fn again(spec: &JobSpec) -> String {
    let mut words = std::env::args_os().collect::<Vec<_>>();
    let is_date = |word: &OsString| word.to_string_lossy().starts_with("--run-date");
    if let Some(date) = spec.run_date.filter(|_| !words.iter().any(is_date)) {
        words.extend(["--run-date".into(), date.to_string().into()]);
    }
    shell_line(words)
}
