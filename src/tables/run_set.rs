//! Several runs as one set of images. In: runs that were scored alike. Out: their committed rows, of
//! each image those of its newest outcome: a row of `scores` or of `failures` that a newer run
//! replaces is left out. Of a million images this holds 16 bytes each, and the places of rows that are
//! left out. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;

use super::fold::READERS;
use super::ledger::PartEntry;
use super::set_keys::{ImageKey, check_alike, keys_of, place, references};
use super::{LabelledScore, Row, RunReader, Table};
use crate::error::TableError;

/// One run, or several as one set.
#[derive(Debug)]
pub struct RunSet {
    /// The oldest first.
    runs: Vec<RunReader>,
    /// By run and path of a part: which of its rows do not count.
    replaced: Vec<HashMap<String, Vec<u32>>>,
    /// By run and path of a part of `partials`: what does not count of its images.
    pixels: Vec<HashMap<String, LostPixels>>,
    counts: SetCounts,
}

/// Pixels of a shard and category that do not all count.
#[derive(Debug, Clone)]
enum LostPixels {
    All,
    /// Those of so many rows of this part of `scores`.
    Some {
        scores: PartEntry,
        lost: u64,
    },
}

/// How many rows a set has, and how many of them count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetCounts {
    /// Rows of `scores` and `failures` of all runs.
    pub rows: u64,
    /// Those of them that a newer row of the same image replaces, in `scores` and in `failures`.
    pub replaced: [u64; 2],
    /// Of the former: images that failed when they were scored again.
    pub failed_since: u64,
    /// Places that the images are from.
    pub places: usize,
}

/// A committed part of a run of a set.
pub struct SetPart<'a> {
    /// Index of the run.
    pub run: usize,
    reader: &'a RunReader,
    part: &'a PartEntry,
    left_out: &'a [u32],
}

/// A part of `scores` whose pixels were counted together with those of rows that do not count.
pub struct MixedPixels<'a> {
    pub run: &'a RunReader,
    scores: SetPart<'a>,
    /// Images of the part whose pixels were counted and do not count any more.
    pub lost: u64,
}

impl<'a> SetPart<'a> {
    /// A part whose rows all count.
    pub(super) fn whole(reader: &'a RunReader, part: &'a PartEntry) -> Self {
        SetPart { run: 0, reader, part, left_out: &[] }
    }

    /// The rows that count.
    pub(super) fn rows<R: Row>(&self) -> Result<Vec<R>, TableError> {
        let rows = self.reader.rows_of::<R>(self.part)?;
        if self.left_out.is_empty() {
            return Ok(rows);
        }
        let mut left_out = self.left_out.iter().peekable();
        let counts = |index: u32| left_out.next_if(|next| **next == index).is_none();
        let kept =
            (0..).zip(rows).scan(counts, |counts, (index, row)| Some(counts(index).then_some(row)));
        Ok(kept.flatten().collect())
    }
}

impl MixedPixels<'_> {
    /// The rows of the part that count.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>, TableError> {
        self.scores.rows()
    }
}

impl RunSet {
    /// One run as it is.
    pub fn one(run: RunReader) -> Self {
        let counts = SetCounts { rows: rows_of(&run), places: 1, ..SetCounts::default() };
        RunSet {
            runs: vec![run],
            replaced: vec![HashMap::new()],
            pixels: vec![HashMap::new()],
            counts,
        }
    }

    /// `runs` as one set. A later `run_date` is newer; of runs of one day the one that comes later.
    ///
    /// # Errors
    /// [`RunsError::NotOneSet`](crate::error::RunsError::NotOneSet) if they were not scored alike, or if a table cannot be read.
    pub fn of(mut runs: Vec<RunReader>) -> Result<Self, TableError> {
        runs.sort_by_key(|run| run.manifest().run_date);
        for pair in runs.windows(2) {
            check_alike(&pair[0], &pair[1], &runs)?;
        }
        let mut set = RunSet {
            replaced: vec![HashMap::new(); runs.len()],
            pixels: vec![HashMap::new(); runs.len()],
            counts: SetCounts::default(),
            runs,
        };
        set.counts.rows = set.runs.iter().map(rows_of).sum();
        set.counts.places = set.runs.iter().map(place).collect::<BTreeSet<_>>().len();
        if set.runs.len() > 1 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(READERS).build();
            match pool {
                Ok(pool) => pool.install(|| set.choose())?,
                // The threads that there are do it as well.
                Err(_) => set.choose()?,
            }
        }
        Ok(set)
    }

    /// Finds the rows that do not count, from the newest run to the oldest.
    fn choose(&mut self) -> Result<(), TableError> {
        // Whether the newest outcome of an image is a failure.
        let mut seen = HashMap::<ImageKey, bool>::new();
        for (index, run) in self.runs.iter().enumerate().rev() {
            let place = place(run);
            let parts = run.ledger().values().flat_map(|entry| &entry.parts);
            let parts = parts.filter(|part| matches!(part.table, Table::Scores | Table::Failures));
            let parts = parts.collect::<Vec<_>>();
            // The oldest is compared with, and nothing is compared with it.
            let keep = index > 0;
            let read = |part: &&PartEntry| -> Result<_, TableError> {
                let keys = keys_of(run, part, &place)?;
                let newest = (0..).zip(&keys).filter_map(|(at, key)| Some((at, *seen.get(key)?)));
                let newest = newest.collect::<Vec<(u32, bool)>>();
                Ok((newest, if keep { keys } else { Vec::new() }))
            };
            let read = parts.par_iter().map(read).collect::<Result<Vec<_>, _>>()?;
            for (part, (newest, keys)) in parts.iter().zip(read) {
                let is_failure = part.table == Table::Failures;
                let lost = newest.len() as u64;
                if lost > 0 {
                    self.counts.replaced[usize::from(is_failure)] += lost;
                    if !is_failure {
                        let failed = newest.iter().filter(|(_, failed)| *failed).count();
                        self.counts.failed_since += failed as u64;
                    }
                    let rows = newest.into_iter().map(|(at, _)| at).collect();
                    self.replaced[index].insert(part.path.clone(), rows);
                }
                // An id that is there twice in one run was a failure of that run at most.
                for key in keys {
                    seen.entry(key)
                        .and_modify(|failed| *failed &= is_failure)
                        .or_insert(is_failure);
                }
            }
        }
        self.pixels =
            (0..self.runs.len()).map(|index| self.lost_pixels(index)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Which sketches of a run have pixels of images that do not count.
    fn lost_pixels(&self, index: usize) -> Result<HashMap<String, LostPixels>, TableError> {
        let (run, replaced) = (&self.runs[index], &self.replaced[index]);
        let entries = run.ledger().values().collect::<Vec<_>>();
        let found = entries.par_iter().flat_map_iter(|entry| {
            let of = |table| entry.parts.iter().filter(move |part| part.table == table);
            let touched = of(Table::Scores).filter(|part| replaced.contains_key(&part.path));
            touched.filter_map(move |scores| {
                let partials = of(Table::Partials).find(|part| part.category == scores.category)?;
                Some((scores, partials))
            })
        });
        let lost = found.map(|(scores, partials)| -> Result<_, TableError> {
            let rows = run.rows_of::<LabelledScore>(scores)?;
            let left_out = &replaced[&scores.path];
            let counted = |row: &LabelledScore| row.pixel_summary.is_some();
            let all = rows.iter().filter(|row| counted(row)).count();
            let lost = left_out.iter().filter(|at| rows.get(**at as usize).is_some_and(counted));
            let lost = match lost.count() {
                0 => return Ok(None),
                lost if lost == all => LostPixels::All,
                lost => LostPixels::Some { scores: scores.clone(), lost: lost as u64 },
            };
            Ok(Some((partials.path.clone(), lost)))
        });
        lost.filter_map(Result::transpose).collect()
    }

    /// The runs, the oldest first.
    pub fn runs(&self) -> &[RunReader] {
        &self.runs
    }

    /// The newest run.
    pub fn newest(&self) -> &RunReader {
        &self.runs[self.runs.len() - 1]
    }

    /// The only run, if there are not several.
    pub fn only(&self) -> Option<&RunReader> {
        match self.runs.as_slice() {
            [run] => Some(run),
            _ => None,
        }
    }

    /// How many rows there are, and how many count.
    pub fn counts(&self) -> &SetCounts {
        &self.counts
    }

    /// Where the images of a run are from.
    pub fn place(&self, run: usize) -> String {
        self.runs.get(run).map_or_else(String::new, place)
    }

    /// Whether all runs are finished.
    pub fn is_finished(&self) -> bool {
        self.runs.iter().all(|run| run.manifest().totals.is_some())
    }

    /// Whether several runs were compared with images of their own, so that equal scores of two
    /// nights need not mean the same.
    pub fn has_own_references(&self) -> bool {
        let of_runs = self.runs.iter().map(|run| references(run, &self.runs));
        of_runs.collect::<BTreeSet<_>>().len() > 1
    }

    /// The categories of all images, sorted.
    pub fn categories(&self) -> Vec<&str> {
        let runs = self.runs.iter().zip(&self.replaced);
        let names = runs.flat_map(|(run, replaced)| {
            let parts = run.ledger().values().flat_map(|entry| &entry.parts);
            let left_out = |path: &String| replaced.get(path).map_or(0, Vec::len) as u64;
            let counts = move |part: &&PartEntry| {
                let is_of_images = matches!(part.table, Table::Scores | Table::Failures);
                is_of_images && part.rows > left_out(&part.path)
            };
            parts.filter(counts).map(|part| part.category.as_str())
        });
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Rows of `scores` by category that count.
    pub fn scored_rows(&self) -> BTreeMap<&str, u64> {
        let mut rows = BTreeMap::new();
        for category in self.categories() {
            let parts = self.parts(Table::Scores, category);
            let left = parts.iter().map(|part| part.part.rows - part.left_out.len() as u64);
            rows.insert(category, left.sum());
        }
        rows
    }

    /// The parts of one table and category that have rows that count. Of `partials` only those whose
    /// pixels all count: the others are [`RunSet::mixed_pixels`].
    pub fn parts(&self, table: Table, category: &str) -> Vec<SetPart<'_>> {
        let runs = self.runs.iter().enumerate();
        let parts = runs.flat_map(|(run, reader)| {
            let parts = reader.parts(table, category);
            let whole = parts.filter(move |part| !self.pixels[run].contains_key(&part.path));
            whole.map(move |part| self.part(run, part))
        });
        parts.collect()
    }

    /// Which rows of a part of a run do not count, in their order.
    pub(super) fn left_out(&self, run: usize, path: &str) -> &[u32] {
        self.replaced[run].get(path).map_or(&[][..], Vec::as_slice)
    }

    fn part<'a>(&'a self, run: usize, part: &'a PartEntry) -> SetPart<'a> {
        let left_out = self.left_out(run, &part.path);
        SetPart { run, reader: &self.runs[run], part, left_out }
    }

    /// The parts of `scores` of a category of whose pixels some count, and were counted together with
    /// others that do not.
    pub fn mixed_pixels(&self, category: &str) -> Vec<MixedPixels<'_>> {
        let runs = self.runs.iter().zip(&self.pixels).enumerate();
        let mixed = runs.flat_map(|(index, (run, pixels))| {
            let some = pixels.values().filter_map(|of| match of {
                LostPixels::Some { scores, lost } if scores.category == category => {
                    Some((scores, *lost))
                }
                _ => None,
            });
            some.map(move |(part, lost)| MixedPixels { run, scores: self.part(index, part), lost })
        });
        mixed.collect()
    }
}

fn rows_of(run: &RunReader) -> u64 {
    run.ledger().values().map(|entry| entry.images()).sum()
}
