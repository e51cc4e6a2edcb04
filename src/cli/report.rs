//! `filo report`: the tables of a run, or of several, and their images in, one HTML page out.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::extent::Extent;
use super::inputs::open_inputs;
use super::runs::{Wanted, data_set};
use super::say::say;
use crate::error::Error;
use crate::export::OutFile;
use crate::pipeline::compare::{Comparison, compare};
use crate::pipeline::data_set::DataSet;
use crate::pipeline::reduce::{AuproProtocol, reduce};
use crate::report::{Drifted, DriftedCategory, Request, page};
use crate::store::{redact, why_unwritable, write_whole};
use crate::tables::{CategoryMetrics, is_of_all};

#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Output of `filo score`, a folder or a bucket.
    ///
    /// Given more than once, or as a folder of outputs, or with `*` in a name, the runs count as one
    /// set: of an image that several have, the newest outcome counts.
    #[arg(long, value_name = "URI", required = true)]
    run: Vec<String>,

    /// File to write, in a folder or a bucket; it needs no other files.
    #[arg(long, value_name = "FILE.html", default_value = "report.html")]
    out: String,

    /// Output of an earlier run, or of several as with --run: the page shows how far scores and metrics
    /// have moved since.
    #[arg(long, value_name = "URI")]
    against: Vec<String>,

    /// Take the committed part of runs that are not finished; the page says how far they are.
    #[arg(long)]
    partial: bool,

    /// Where the images are now, if they have moved since they were scored.
    #[arg(long, value_name = "URI")]
    input: Option<String>,

    /// Category to show in detail; may be given more than once [default: those with the most
    /// images].
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,

    /// Maximum number of images in a gallery; a category has up to six galleries.
    #[arg(long, value_name = "N", default_value_t = PICTURES, value_parser = clap::value_parser!(u16).range(0..=100))]
    pictures: u16,
}

const REDRAW: Duration = Duration::from_millis(200);

/// Images of a gallery, unless told otherwise.
const PICTURES: u16 = 8;

impl ReportArgs {
    /// The report of one run as it is by default.
    pub fn of(run: &str, out: &str) -> Self {
        ReportArgs {
            run: vec![run.to_string()],
            out: out.to_string(),
            against: Vec::new(),
            partial: false,
            input: None,
            category: Vec::new(),
            pictures: PICTURES,
        }
    }

    pub fn run(self) -> Result<u8, Error> {
        let bytes = self.write()?;
        say(format_args!("{} · {:.1} MB", redact(&self.out), bytes as f64 / 1e6))?;
        Ok(0)
    }

    /// Writes the page and returns how many bytes it has.
    ///
    /// # Errors
    /// If a run cannot be read, or the page not be written.
    pub fn write(&self) -> Result<usize, Error> {
        let place = place_of(&self.out)?;
        let wanted = if self.partial { Wanted::Committed } else { Wanted::Whole };
        let data = data_set(&self.run, wanted)?;
        let inputs = open_inputs(&data.runs, self.input.as_deref())?;
        let extent = Extent::of(&data)?;
        let spinner = spinner();
        let tell = |what: String| spinner.set_message(what);
        tell("comparing with the earlier run".to_string());
        let drift = match self.against.as_slice() {
            [] => None,
            earlier => Some(drifted(&data_set(earlier, wanted)?, &data)?),
        };
        tell("metrics".to_string());
        let metrics = metrics_of(&data)?;
        let html = page(&Request {
            data: &data,
            metrics: &metrics,
            extent: extent.lines().cloned().collect(),
            drift,
            inputs,
            moved: self.input.is_some(),
            only: &self.category,
            most: usize::from(self.pictures),
            tell: &tell,
        })?;
        spinner.finish_and_clear();
        let bytes = html.len();
        write_page(&place, html)?;
        Ok(bytes)
    }
}

/// What is being done, on a terminal; nothing elsewhere.
fn spinner() -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    spinner.set_style(style.unwrap_or(ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(REDRAW);
    spinner
}

/// Where the page goes, before any work is done for it.
fn place_of(out: &str) -> Result<OutFile, Error> {
    OutFile::of(out, is_page, |path| Error::NotAPage { path })
}

/// Writes the page; a file that is there is replaced at once or not at all.
fn write_page(place: &OutFile, html: String) -> Result<(), Error> {
    match place {
        OutFile::Bucket(store, name) => Ok(store.put_page(name, html)?),
        OutFile::Disk(path) => write_whole(path, html.as_bytes())
            .map_err(|error| Error::Unwritable { path: path.clone(), why: why_unwritable(&error) }),
    }
}

/// Whether a file that begins so is a page of ours, which may be written anew.
fn is_page(head: &[u8]) -> bool {
    let mark = br#"<meta name="generator" content="filo "#;
    head.windows(mark.len()).any(|window| window == mark)
}

/// The metrics table of the run, or what it would be. One that was written before the run was
/// finished is not what it would be now.
fn metrics_of(data: &DataSet) -> Result<Vec<CategoryMetrics>, Error> {
    if let Some(run) = data.runs.only().filter(|_| data.runs.is_finished()) {
        let metrics = run.metrics()?;
        let rows = || metrics.iter().flat_map(|of| &of.rows);
        if !metrics.is_empty() && rows().all(|row| row.unfinished != Some(true)) {
            return Ok(metrics);
        }
    }
    reduce(data, AuproProtocol::Exact)
}

fn drifted(earlier: &DataSet, data: &DataSet) -> Result<Drifted, Error> {
    let comparisons = compare(earlier, data)?;
    // Of one category the whole says the same.
    let several = comparisons.len() > 3;
    let shown = comparisons.into_iter().filter(|of| several || !is_of_all(&of.category));
    let categories = shown.map(|of| {
        let Comparison { category, n_images, n_paired, drift, differences, .. } = of;
        DriftedCategory { category, n_images, n_paired, drift, differences }
    });
    let newest = earlier.runs.newest().store().uri();
    let against = match earlier.runs.runs().len() {
        1 => newest.to_string(),
        n => format!("{newest} and {} before it", n - 1),
    };
    Ok(Drifted { against, categories: categories.collect() })
}
