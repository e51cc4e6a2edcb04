//! How much of its images a set of runs has, in words. In: runs, finished or not. Out: lines for a
//! person: how many rows count, how far unfinished runs are, which figures are unknown and why.

use crate::error::Error;
use crate::pipeline::data_set::DataSet;
use crate::pipeline::status::{PartStatus, status};
use crate::report::grouped;
use crate::tables::RunReader;

/// Runs and categories that a line names.
const NAMED: usize = 5;

/// What is to be said of a set before its figures are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// Of several runs: which rows count.
    pub rows: Option<String>,
    /// What is missing, or not known: to be said wherever the figures are.
    pub notes: Vec<String>,
}

impl Extent {
    /// Of the runs of `data`.
    ///
    /// # Errors
    /// If the plan or the ledger of an unfinished run cannot be read.
    pub fn of(data: &DataSet) -> Result<Self, Error> {
        let set = &data.runs;
        let counts = set.counts();
        let [again, failures] = counts.replaced;
        let mut notes = Vec::new();
        let rows = (set.runs().len() > 1).then(|| {
            let mut text = format!(
                "image rows: {} of {} runs, {} scored again: the newest counts",
                grouped(counts.rows),
                set.runs().len(),
                grouped(again + failures),
            );
            if counts.failed_since > 0 {
                text.push_str(&format!(
                    "; {} of these failed then, and count as failed",
                    grouped(counts.failed_since)
                ));
            }
            text
        });
        if counts.places > 1 {
            notes.push(format!(
                "the images are from {} places: equal names at two places are two images",
                counts.places
            ));
        }
        if set.has_own_references() {
            notes.push(
                "each run compared its images with references from its own input: scores of two \
                 runs are on one scale only if the references are the same"
                    .to_string(),
            );
        }
        let unfinished = set.runs().iter().filter(|run| run.manifest().totals.is_none());
        let unfinished = unfinished.collect::<Vec<_>>();
        for run in unfinished.iter().take(NAMED) {
            let how_far = how_far(run)?;
            notes.push(match set.only() {
                Some(_) => format!("unfinished: {how_far}"),
                None => format!("unfinished: {how_far} of {}", run.store().uri()),
            });
        }
        if unfinished.len() > NAMED {
            notes.push(format!("unfinished: {} more runs", unfinished.len() - NAMED));
        }
        if !unfinished.is_empty() {
            notes.push(
                "images whose flags are decided when the run ends count as neither flagged nor not \
                 until then"
                    .to_string(),
            );
        }
        notes.extend(unknown_pixels(data));
        Ok(Extent { rows, notes })
    }
}

impl Extent {
    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.rows.iter().chain(&self.notes)
    }

    /// Into the log, where stdout is for programs.
    pub fn log(&self) {
        self.lines().for_each(|line| tracing::info!("{line}"));
    }
}

/// Which pixel metrics are not known, and why.
fn unknown_pixels(data: &DataSet) -> Option<String> {
    let unknown = data.unknown().collect::<Vec<_>>();
    let (_, first) = unknown.first()?;
    let mut names =
        unknown.iter().take(NAMED).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if unknown.len() > NAMED {
        names.push_str(&format!(" and {} more", unknown.len() - NAMED));
    }
    let images = unknown.iter().map(|(_, of)| of.images).sum();
    let shards = unknown.iter().map(|(_, of)| of.shards).sum();
    Some(format!(
        "pixel metrics of {names} are unknown: {} of {} were scored again, and the pixels of the \
         other images of these shards cannot be counted by themselves: {}",
        counted(images, "image"),
        counted(shards, "shard"),
        first.why
    ))
}

/// `1,234 of 5,000 images, 20 of 79 shards`.
fn how_far(run: &RunReader) -> Result<String, Error> {
    let parts = status(run, std::time::SystemTime::now().into())?;
    let Some(all) = parts.last() else { return Ok(String::new()) };
    let PartStatus { shards, shards_committed, pictures, scored, failed, .. } = all;
    let images = scored + failed;
    // How many an archive has shows when it is read.
    let images = match *pictures > images || shards == shards_committed {
        true => format!("{} of {}", grouped(images), counted(*pictures, "image")),
        false => counted(images, "image"),
    };
    Ok(format!("{images}, {} of {}", grouped(*shards_committed), counted(*shards, "shard")))
}

fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}
