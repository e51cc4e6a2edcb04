//! `filo report`: the tables of a run and its pictures in, one HTML page out.

use clap::Args;

use super::metrics::open_whole;
use super::say::say;
use crate::error::Error;
use crate::pipeline::compare::{Comparison, compare};
use crate::pipeline::reduce::{AuproProtocol, reduce};
use crate::report::{Drifted, DriftedCategory, Request, page};
use crate::source::Input;
use crate::store::{Location, Store, write_whole};
use crate::tables::{CategoryMetrics, RunReader};

#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Output of `filo score`, a folder or a bucket.
    #[arg(long, value_name = "URI")]
    run: String,

    /// The page: one file that needs nothing else, in a folder or a bucket.
    #[arg(long, value_name = "FILE.html", default_value = "report.html")]
    out: String,

    /// Output of an earlier run: the page tells how far scores and metrics have moved since.
    #[arg(long, value_name = "URI")]
    against: Option<String>,

    /// Where the pictures are now, if no longer where they were scored.
    #[arg(long, value_name = "URI")]
    input: Option<String>,

    /// Show this category in detail, and others only if named too; without this flag those with the
    /// most pictures.
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,

    /// Most pictures in a gallery, of which each category has four.
    #[arg(long, value_name = "N", default_value_t = PICTURES, value_parser = clap::value_parser!(u16).range(0..=100))]
    pictures: u16,
}

/// Pictures of a gallery, unless told otherwise.
const PICTURES: u16 = 8;

impl ReportArgs {
    /// The report of one run as it is by default.
    pub fn of(run: &str, out: &str) -> Self {
        ReportArgs {
            run: run.to_string(),
            out: out.to_string(),
            against: None,
            input: None,
            category: Vec::new(),
            pictures: PICTURES,
        }
    }

    pub fn run(self) -> Result<u8, Error> {
        let bytes = self.write()?;
        say(format_args!("{} · {:.1} MB", self.out, bytes as f64 / 1e6))?;
        Ok(0)
    }

    /// Writes the page and returns how many bytes it has.
    ///
    /// # Errors
    /// If a run cannot be read, or the page not be written.
    pub fn write(&self) -> Result<usize, Error> {
        let run = open_whole(&self.run)?;
        let against = self.against.as_deref();
        let drift = against.map(|earlier| drifted(earlier, &run)).transpose()?;
        let metrics = metrics_of(&run)?;
        let html = page(&Request {
            run: &run,
            metrics: &metrics,
            drift,
            input: self.open_input(&run)?,
            only: &self.category,
            most: usize::from(self.pictures),
        })?;
        let bytes = html.len();
        write(&self.out, html)?;
        Ok(bytes)
    }

    /// Where the pictures are. That of the manifest may be gone: then there are tables and charts.
    fn open_input(&self, run: &RunReader) -> Result<Result<Input, String>, Error> {
        if let Some(input) = &self.input {
            return Ok(Ok(Input::open(&input.parse::<Location>()?)?));
        }
        let input = run.manifest().spec.get("input").and_then(|input| input.as_str());
        let opened = input.unwrap_or_default().parse::<Location>();
        let opened = opened.and_then(|location| Input::open(&location));
        Ok(opened.map_err(|error| {
            tracing::warn!("pictures are not shown ({error}); say where they are with --input");
            error.to_string()
        }))
    }
}

/// Writes the page; a file that is there is replaced at once or not at all.
fn write(out: &str, html: String) -> Result<(), Error> {
    let location = out.parse::<Location>()?;
    if let Some(bucket) = location.bucket() {
        let (folder, name) = bucket.prefix.rsplit_once('/').unwrap_or(("", &bucket.prefix));
        return Ok(Store::create(&location.with_prefix(folder))?.put(name, html)?);
    }
    let path = location.disk().unwrap_or(out.as_ref());
    let failed = |why: String| Error::Unwritable { path: path.into(), why };
    if path.is_dir() || path.file_name().is_none() {
        return Err(failed("is a folder: name a file in it".to_string()));
    }
    write_whole(path, html.as_bytes()).map_err(|error| failed(error.to_string()))
}

/// The metrics table of the run, or what it would be.
fn metrics_of(run: &RunReader) -> Result<Vec<CategoryMetrics>, Error> {
    let metrics = run.metrics()?;
    if metrics.is_empty() {
        return reduce(run, AuproProtocol::Exact);
    }
    Ok(metrics)
}

fn drifted(earlier: &str, run: &RunReader) -> Result<Drifted, Error> {
    let comparisons = compare(&open_whole(earlier)?, run)?;
    // Of one category the whole says the same.
    let several = comparisons.len() > 3;
    let shown = comparisons.into_iter().filter(|of| several || !of.category.starts_with("__"));
    let categories = shown.map(|of| {
        let Comparison { category, n_images, n_paired, drift, differences, .. } = of;
        DriftedCategory { category, n_images, n_paired, drift, differences }
    });
    Ok(Drifted { against: earlier.to_string(), categories: categories.collect() })
}
