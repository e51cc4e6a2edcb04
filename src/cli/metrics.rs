//! `filo metrics`: the tables of a run in, its metrics table out, on stdout too.

use clap::{Args, ValueEnum};

use super::compare;
use super::say::say;
use super::table::{self, Detail};
use crate::error::Error;
use crate::pipeline::reduce::{AuproProtocol, reduce};
use crate::store::{Location, Store};
use crate::tables::{CategoryMetrics, RunReader};

#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Output of `filo score`: computes its metrics, writes them there and prints them.
    #[arg(long, value_name = "URI", required_unless_present = "compare")]
    run: Option<String>,

    /// Compare two outputs of `filo score`, the earlier one first: print how their metrics differ,
    /// with intervals, and whether their scores have drifted. Writes nothing.
    #[arg(long, num_args = 2, value_names = ["URI", "URI"], conflicts_with_all = ["run", "protocol", "csv"])]
    compare: Option<Vec<String>>,

    /// How AUPRO is computed.
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,

    /// Print the 95 % interval beside each metric.
    #[arg(long, conflicts_with_all = ["csv", "json", "compare"])]
    intervals: bool,

    /// Print a line for each defect type below its category.
    #[arg(long, conflicts_with_all = ["csv", "json", "compare"])]
    kinds: bool,

    /// Print CSV, with defect types.
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Print one JSON document, with defect types, bounds, intervals and thresholds.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Protocol {
    /// By definition: every distinct score is a threshold, area up to FPR 0.3.
    #[default]
    Exact,
    /// As the published code does: 200 thresholds, false-positive rates stretched. Only to compare
    /// with published figures.
    Published,
}

impl MetricsArgs {
    pub fn run(self) -> Result<u8, Error> {
        let protocol = match self.protocol {
            Protocol::Exact => AuproProtocol::Exact,
            Protocol::Published => AuproProtocol::Published,
        };
        if let Some([first, second]) = self.compare.as_deref() {
            compare::run(first, second, self.json)?;
            return Ok(0);
        }
        let uri = self.run.unwrap_or_default();
        let rows = write_metrics(&uri, protocol)?;
        let shown = match (self.csv, self.json) {
            (true, _) => table::csv(&rows),
            (_, true) => table::json(&rows),
            _ if rows.iter().flat_map(|of| &of.rows).all(|row| row.n_images == 0) => {
                why_no_figures(&uri)?.to_string()
            }
            _ => {
                let rows = if self.kinds { rows } else { table::without_kinds(rows) };
                let detail = if self.intervals { Detail::Interval } else { Detail::Value };
                table::text(&rows, detail)
            }
        };
        say(shown.trim_end())?;
        Ok(0)
    }
}

/// Opens the run at `uri`.
///
/// # Errors
/// If a shard of the listing is not committed: metrics of half a run look like those of a whole
/// one.
pub fn open_whole(uri: &str) -> Result<RunReader, Error> {
    let run = RunReader::open(Store::open(&uri.parse::<Location>()?)?)?;
    run.check_shards_are_there()?;
    Ok(run)
}

/// Why a run has no figures.
fn why_no_figures(uri: &str) -> Result<&'static str, Error> {
    let is_empty = open_whole(uri)?.scored_rows().values().all(|n| *n == 0);
    Ok(match is_empty {
        true => "no image was scored, so there are no figures",
        false => {
            "no labels: no image is known to be normal or anomalous, so there are no figures; \
             folders laid out as mvtec or visa, tars and Parquet files can say it"
        }
    })
}

/// Computes the metrics of the run at `uri`, writes its table and returns the rows.
///
/// # Errors
/// As [`open_whole`], or if its tables do not add up or cannot be written.
pub fn write_metrics(uri: &str, protocol: AuproProtocol) -> Result<Vec<CategoryMetrics>, Error> {
    let run = open_whole(uri)?;
    if run.manifest().totals.is_none() {
        tracing::warn!("{uri}: the run is not finished, the metrics cover what is committed");
    }
    let rows = reduce(&run, protocol)?;
    run.write_metrics(&rows)?;
    Ok(rows)
}
