//! `filo metrics`: the tables of a run or of several in, their metrics table out, on stdout too.

use clap::{Args, ValueEnum};

use super::compare;
use super::extent::Extent;
use super::runs::{Wanted, data_set};
use super::say::say;
use super::table::{self, Detail};
use crate::error::Error;
use crate::pipeline::data_set::DataSet;
use crate::pipeline::reduce::{AuproProtocol, reduce};
use crate::store::Location;
use crate::tables::{CategoryMetrics, write_set_metrics};

#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Output of `filo score`: computes its metrics, writes them there and prints them.
    ///
    /// Given more than once, or as a folder of outputs, or with `*` in a name, the runs count as one
    /// set: of an image that several have, the newest outcome counts. Metrics of several runs are
    /// written to --output only.
    #[arg(long, value_name = "URI", required_unless_present = "compare")]
    run: Vec<String>,

    /// Compare two outputs of `filo score`, the earlier one first: print how their metrics differ,
    /// with intervals, and whether their scores have drifted. Each may be several runs, as with --run.
    /// Writes nothing.
    #[arg(long, num_args = 2, value_names = ["URI", "URI"], conflicts_with_all = ["run", "output", "protocol", "csv"])]
    compare: Option<Vec<String>>,

    /// Folder for the table `metrics` instead of the output of the run; metrics that are there are
    /// replaced. `filo score --thresholds-from` reads it.
    #[arg(long, value_name = "URI")]
    output: Option<String>,

    /// Take the committed part of runs that are not finished. Their metrics are written to --output
    /// only, with `unfinished` = true.
    #[arg(long)]
    partial: bool,

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
        let wanted = if self.partial { Wanted::Committed } else { Wanted::Whole };
        if let Some([first, second]) = self.compare.as_deref() {
            compare::run(first, second, wanted, self.json)?;
            return Ok(0);
        }
        let data = data_set(&self.run, wanted)?;
        let extent = Extent::of(&data)?;
        let rows = reduce(&data, protocol)?;
        write(&data, self.output.as_deref(), &rows)?;
        let shown = match (self.csv, self.json) {
            (true, _) => table::csv(&rows),
            (_, true) => table::json(&rows, &data.runs, &extent),
            _ if rows.iter().flat_map(|of| &of.rows).all(|row| row.n_images == 0) => {
                why_no_figures(&data).to_string()
            }
            _ => {
                let rows = if self.kinds { rows } else { table::without_kinds(rows) };
                let detail = if self.intervals { Detail::Interval } else { Detail::Value };
                table::text(&rows, detail)
            }
        };
        say(shown.trim_end())?;
        // CSV and JSON are read by programs, and JSON has it.
        match self.csv || self.json {
            true => extent.log(),
            false => extent.lines().try_for_each(say)?,
        }
        Ok(0)
    }
}

/// Writes the table where it belongs: to `output`, or into the run that it is all of.
fn write(data: &DataSet, output: Option<&str>, rows: &[CategoryMetrics]) -> Result<(), Error> {
    match (output, data.runs.only()) {
        (Some(output), _) => write_set_metrics(&output.parse::<Location>()?, &data.runs, rows)?,
        (None, Some(run)) if run.check_shards_are_there().is_ok() => {
            if !data.runs.is_finished() {
                let uri = run.store().uri();
                tracing::warn!(
                    "{uri}: the run is not finished, the metrics cover what is committed"
                );
            }
            run.write_metrics(rows)?;
        }
        (None, only) => tracing::info!(
            "the table metrics is not written: {}; --output names a place for it",
            match only {
                Some(_) => "the run is not finished",
                None => "it is of several runs and belongs to none of them",
            }
        ),
    }
    Ok(())
}

/// Why a set has no figures.
fn why_no_figures(data: &DataSet) -> &'static str {
    match data.runs.scored_rows().values().all(|n| *n == 0) {
        true => "no image was scored, so there are no figures",
        false => {
            "no labels: no image is known to be normal or anomalous, so there are no figures; \
             folders laid out as mvtec or visa, tars and Parquet files can say it"
        }
    }
}

/// Computes the metrics of the run at `uri`, writes its table and returns the rows.
///
/// # Errors
/// If it is not finished, or if its tables do not add up or cannot be written.
pub fn write_metrics(uri: &str, protocol: AuproProtocol) -> Result<Vec<CategoryMetrics>, Error> {
    let data = data_set(&[uri.to_string()], Wanted::Whole)?;
    let rows = reduce(&data, protocol)?;
    write(&data, None, &rows)?;
    Ok(rows)
}
