//! The command line: arguments in, one call into the library, results on stdout. One file per
//! subcommand; flags of a job are defined once, in [`RawJobSpec`](crate::job::RawJobSpec).

mod bench;
mod bench_backbone;
mod bench_generated;
mod bench_metrics;
mod bench_network;
mod bench_plan;
mod bench_training;
mod compare;
mod demo;
mod describe;
mod export;
mod extent;
mod inputs;
mod metrics;
mod pages;
mod progress;
mod published;
mod report;
mod runs;
mod say;
mod schema;
mod score;
mod signals;
mod status;
mod table;
mod timings;
mod train;
mod train_progress;
mod weights;

use std::io::IsTerminal;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::job::LogFormat;
use crate::store::RedactedWriter;

pub use say::tell;

/// Zero-shot anomaly detection over archives of inspection images.
#[derive(Debug, Parser)]
#[command(name = "filo", version, arg_required_else_help = true)]
pub struct Cli {
    /// Print the causes of an error, and a more detailed log.
    #[arg(long, short, global = true)]
    pub verbose: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Score images, and write scores, masks and boxes to Parquet tables.
    Score(Box<score::ScoreArgs>),
    /// Report how far runs are, and whether a worker is alive.
    Status(status::StatusArgs),
    /// Compute the metrics of a run, or of several as one set; write them into a table and print them.
    Metrics(metrics::MetricsArgs),
    /// Write one HTML page about a run, or several as one set: counts, metrics, curves, and the images that matter.
    Report(report::ReportArgs),
    /// Write results for other programs: CSV, JSON Lines, COCO, images with what was found drawn on them.
    Export(export::ExportArgs),
    /// Run the whole job on images that the program generates.
    Demo(demo::DemoArgs),
    /// Ask a language model for descriptions of defects, or check which descriptions ever match
    /// best.
    Describe(describe::DescribeArgs),
    /// Measure the speed of one stage, at the published network size.
    Bench(bench::BenchArgs),
    /// Train a network on images with labels and masks.
    ///
    /// Stage 1 trains the maps, stage 2 the adapter. Everything is written to --out:
    /// weights.safetensors and config.json, which `filo score --weights` reads, from the step that
    /// validated best; last/, the weights of the last step, if that was another one; log.parquet;
    /// and the state for --resume.
    Train(Box<train::TrainArgs>),
    /// List, fetch, convert, inspect and verify weights.
    Weights(weights::WeightsArgs),
    /// Write the schemas of all tables and of the job file.
    Schema(schema::SchemaArgs),
    /// List the devices of this machine, and which one `--device auto` chooses.
    Devices,
    /// Print a completion script for a shell.
    Completions(pages::CompletionsArgs),
    /// Print a manual page.
    ///
    /// `filo man score | man -l -` shows one.
    Man(pages::ManArgs),
}

impl Cli {
    /// Runs the subcommand; the number is the exit code of a run that ended as planned.
    ///
    /// # Errors
    /// What stopped it.
    pub fn run(self) -> Result<u8, Error> {
        let log = |format| log_to_stderr(format, self.verbose);
        if !matches!(self.command, Command::Score(_)) {
            log(LogFormat::Text);
        }
        match self.command {
            Command::Score(args) => {
                // A job file may name the log format, so it is read before anything is logged.
                let (spec, told) = args.spec()?;
                log(spec.log_format);
                match score::run(&spec, told) {
                    // Whoever reads events reads the last one, too.
                    Err(error) if spec.log_format == LogFormat::Json => {
                        tracing::error!(exit_code = error.exit_code(), "{error}");
                        Ok(error.exit_code())
                    }
                    ended => ended,
                }
            }
            Command::Status(args) => args.run(),
            Command::Metrics(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Describe(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Train(args) => args.run(),
            Command::Weights(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Devices => pages::devices(),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}

/// Not with a `NO_COLOR` that is not empty (no-color.org), nor on a terminal that says it is dumb.
fn wants_colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_colour && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Log lines go to stderr: what a run does, or with `verbose` more. `FILO_LOG` overrides both.
fn log_to_stderr(format: LogFormat, verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose { "filo=debug" } else { "filo=info" };
    let filter = EnvFilter::try_from_env("FILO_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| RedactedWriter(std::io::stderr()))
        .with_ansi(std::io::stderr().is_terminal() && wants_colour())
        // A log that nobody reads any more, as with `2>&1 | head`, must not end the run.
        .log_internal_errors(false)
        .with_target(false);
    // A second call, as tests make, keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => log.compact().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
