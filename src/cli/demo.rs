//! `filo demo`: makes a small labelled set, scores it, prints the metrics, makes the report. In: a folder
//! and weights. Out: all in that folder, which the next demo makes anew; a folder of anybody else's is
//! left alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::metrics::write_metrics;
use super::report::ReportArgs;
use super::say::say;
use super::score::{Told, score};
use super::table;
use crate::error::Error;
use crate::job::{JobSpec, MapsChoice, RawJobSpec};
use crate::pipeline::reduce::AuproProtocol;
use crate::store::why_unwritable;
use crate::train::synthetic::{Amount, Surface, write_set};
use crate::weights::{Weights, WeightsPlace};

/// The demo shows the same images every time.
const SEED: u64 = 20_240_501;
/// Few enough that the demo is done in seconds, of kinds that look different, and mostly good, as
/// archives are: the images say themselves what is normal.
const AMOUNT: Amount = Amount {
    surfaces: &[
        Surface::BrushedMetal,
        Surface::CeramicTile,
        Surface::Weave,
        Surface::Wood,
        Surface::SolarCell,
        Surface::PillPack,
    ],
    good: 36,
    bad: 1,
    kinds: 4,
};

/// Says of a folder that a demo made it.
const MARK: &str = ".filo-demo";

const PICTURES: &str = "images";
const RUN: &str = "run";
const REPORT: &str = "report.html";

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Folder for images, tables and report; an earlier demo is replaced.
    #[arg(long, default_value = "demo-out", value_name = "DIR")]
    out: PathBuf,

    /// Weights to score with: a path, or a name of `filo weights list`.
    #[arg(long, default_value = "nano", value_name = "NAME|PATH")]
    weights: String,
}

impl DemoArgs {
    pub fn run(self) -> Result<u8, Error> {
        let started = Instant::now();
        let [pictures, run, report] = [PICTURES, RUN, REPORT].map(|part| self.out.join(part));
        let raw = RawJobSpec {
            input: Some(pictures.display().to_string()),
            output: Some(run.display().to_string()),
            weights: Some(self.weights.clone()),
            descriptions: Some(pictures.join("descriptions.json")),
            maps: Some(MapsChoice::F16),
            ..RawJobSpec::default()
        };
        let spec = JobSpec::try_from(raw)?;
        // What is wrong with the weights shows before an earlier demo is gone.
        Weights::open(&WeightsPlace::here(spec.weights.as_ref())?)?.config()?;
        begin(&self.out)?;
        let made = write_set(&pictures, SEED, AMOUNT)
            .map_err(|(path, why)| Error::Unwritable { path, why })?;
        say(format_args!("made {made} images · {}", pictures.display()))?;
        let code = score(&spec, Told::Counts)?;
        if code != 0 {
            return Ok(code);
        }
        let rows = write_metrics(spec.output.uri(), AuproProtocol::Exact)?;
        say(format_args!("\n{}", table::text(&table::without_kinds(rows), table::Detail::Value)))?;
        let report = report.display().to_string();
        ReportArgs::of(spec.output.uri(), &report).write()?;
        say(format_args!(
            "demo done in {:.1} s · look at {report} · tables in {}",
            started.elapsed().as_secs_f64(),
            run.display()
        ))?;
        Ok(0)
    }
}

/// Makes `out` ready: new, or as an earlier demo found it.
fn begin(out: &Path) -> Result<(), Error> {
    let failed = |path: &Path, error: std::io::Error| {
        let why = why_unwritable(&error);
        Error::Unwritable { path: path.into(), why }
    };
    std::fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let mark = out.join(MARK);
    if !mark.is_file() {
        let mut entries = std::fs::read_dir(out).map_err(|error| failed(out, error))?;
        if entries.next().is_some() {
            return Err(Error::NotADemo { path: out.into() });
        }
        std::fs::write(&mark, "filo demo made this folder, and may make it anew\n")
            .map_err(|error| failed(&mark, error))?;
    }
    for part in [PICTURES, RUN].map(|part| out.join(part)) {
        match std::fs::remove_dir_all(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&part, error)),
            _ => {}
        }
    }
    Ok(())
}
