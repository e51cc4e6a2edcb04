//! `filo demo`: makes a small labelled set, scores it, prints the metrics.

use std::path::PathBuf;

use clap::Args;

use super::metrics::write_metrics;
use super::say::say;
use super::score::score;
use super::table;
use crate::error::Error;
use crate::job::{JobSpec, RawJobSpec};
use crate::metrics::AuproProtocol;
use crate::train::synthetic::{Amount, Surface, write_set};

/// The demo shows the same pictures every time.
const SEED: u64 = 20_240_501;
/// Few enough that the demo is done in seconds, and of kinds that look different.
const AMOUNT: Amount = Amount {
    surfaces: &[
        Surface::BrushedMetal,
        Surface::CeramicTile,
        Surface::Weave,
        Surface::Wood,
        Surface::SolarCell,
        Surface::PillPack,
    ],
    good: 5,
    bad: 2,
    kinds: 4,
};

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Where pictures and tables go.
    #[arg(long, default_value = "demo-out", value_name = "DIR")]
    out: PathBuf,

    /// Weights to score with; none are embedded in this version.
    #[arg(long, value_name = "PATH")]
    weights: String,
}

impl DemoArgs {
    pub fn run(self) -> Result<u8, Error> {
        let pictures = self.out.join("pictures");
        let run = self.out.join("run");
        let written = write_set(&pictures, SEED, AMOUNT)
            .map_err(|(path, why)| Error::Unwritable { path, why })?;
        say(format_args!("made {written} pictures · {}", pictures.display()))?;
        let raw = RawJobSpec {
            input: Some(pictures.display().to_string()),
            output: Some(run.display().to_string()),
            weights: Some(self.weights.clone()),
            descriptions: Some(pictures.join("descriptions.json")),
            ..RawJobSpec::default()
        };
        let code = score(&JobSpec::try_from(raw)?)?;
        if code != 0 {
            return Ok(code);
        }
        let rows = write_metrics(&run.display().to_string(), AuproProtocol::Exact)?;
        say(format_args!("\n{}", table::text(&rows)))?;
        Ok(0)
    }
}
