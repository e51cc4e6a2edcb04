//! The files that rows go to. In: blocks of images. Out: CSV, JSON Lines and COCO, each if it is asked
//! for, each written as it comes.

use chrono::Datelike;

use super::cells::{Exported, Layout};
use super::run::Request;
use super::selection::Selection;
use super::target::{FileKind, Sink};
use super::{coco, csv, json_lines};
use crate::error::Error;

/// The files that rows go to.
#[derive(Default)]
pub struct Rows {
    csv: Option<Sink>,
    json_lines: Option<Sink>,
    coco: Option<coco::Writer>,
}

impl Rows {
    /// Begins all files.
    ///
    /// # Errors
    /// If a place cannot be written.
    pub fn begin(request: &Request, layout: &Layout) -> Result<Self, Error> {
        let mut rows = Rows::default();
        for target in &request.files {
            let mut sink = target.begin()?;
            match target.kind {
                FileKind::Csv => {
                    csv::begin(&mut sink, layout)?;
                    rows.csv = Some(sink);
                }
                FileKind::JsonLines => rows.json_lines = Some(sink),
                FileKind::Coco => {
                    let runs = request.set.runs().iter();
                    let ids = runs.map(|run| run.manifest().run_id.as_str()).collect::<Vec<_>>();
                    let year = request.set.newest().manifest().run_date.year();
                    rows.coco = Some(coco::Writer::begin(sink, &ids, year)?);
                }
            }
        }
        Ok(rows)
    }

    /// Adds a block of images.
    ///
    /// # Errors
    /// As [`Rows::begin`].
    pub fn add(&mut self, layout: &Layout, images: &[Exported]) -> Result<(), Error> {
        if self.csv.is_some() || self.json_lines.is_some() {
            let rows = layout.rows(images)?;
            if let Some(sink) = &mut self.csv {
                csv::add(sink, &rows)?;
            }
            if let Some(sink) = &mut self.json_lines {
                json_lines::add(sink, &layout.names(), &rows)?;
            }
        }
        if let Some(coco) = &mut self.coco {
            images.iter().try_for_each(|of| coco.add(&of.image))?;
        }
        Ok(())
    }

    /// Whether all that rows are for is a stdout that nobody reads.
    pub fn is_gone(&self) -> bool {
        let sinks = self.csv.iter().chain(&self.json_lines).map(Sink::is_gone);
        let mut gone = sinks.chain(self.coco.iter().map(coco::Writer::is_gone)).peekable();
        gone.peek().is_some() && gone.all(|gone| gone)
    }

    /// Ends the files; returns how many annotations there are.
    ///
    /// # Errors
    /// As [`Rows::begin`], and if a table cannot be read.
    pub fn finish(self, selection: &Selection) -> Result<u64, Error> {
        for sink in self.csv.into_iter().chain(self.json_lines) {
            sink.finish()?;
        }
        let Some(mut coco) = self.coco else { return Ok(0) };
        coco.begin_annotations()?;
        for part in selection.parts() {
            if coco.is_gone() {
                break;
            }
            selection.images(&part)?.try_for_each(|image| coco.annotate(&image?))?;
        }
        coco.finish()
    }
}
