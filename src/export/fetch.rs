//! The files of exported images. In: the plans of the runs, and images in the order of their listing.
//! Out: bytes of each, read ahead, from loose files and from archives alike; an image that cannot be had
//! is its reason. Of the plan one shard is held at a time.

use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, TableError};
use crate::pipeline::as_scored::AsScored;
use crate::report::archive_in;
use crate::source::{ArchiveKind, FetchLimits, Fetched, Fetcher, FileNames, Input};
use crate::store::FileVersion;
use crate::tables::{PlanRows, RunSet};

/// Files that may wait to be drawn.
const SPARE: usize = 16;

/// Where the file of an image is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A file of its own, which has this name if that is not the image's id.
    Loose { file: Option<String>, version: Option<FileVersion> },
    /// In a file with many.
    Inside(Archive),
}

/// A file with images in it.
#[derive(Debug, Clone)]
pub struct Archive {
    path: String,
    kind: ArchiveKind,
    version: Option<FileVersion>,
}

/// Where the images of a set are.
pub struct Places<'a> {
    set: &'a RunSet,
    /// Whether that is another place than where they were scored: copies have other times.
    moved: bool,
    /// The plan of the current run, if it has one.
    plan: Option<Peekable<PlanRows>>,
    run: Option<usize>,
    shard: Option<usize>,
    loose: HashMap<String, Place>,
    archives: Vec<Archive>,
}

impl<'a> Places<'a> {
    /// Of the images of `set`.
    pub fn new(set: &'a RunSet, moved: bool) -> Self {
        let (loose, archives) = (HashMap::new(), Vec::new());
        Places { set, moved, plan: None, run: None, shard: None, loose, archives }
    }

    /// Goes to a shard: that of before, or a later one.
    ///
    /// # Errors
    /// If the plan cannot be read.
    pub fn go_to(&mut self, run: usize, shard: usize) -> Result<(), TableError> {
        if self.run != Some(run) {
            let reader = &self.set.runs()[run];
            let plan = reader.manifest().plan.as_ref().map(|plan| plan.read(reader.store()));
            self.plan = plan.transpose()?.map(Iterator::peekable);
            (self.run, self.shard) = (Some(run), None);
        }
        if self.shard == Some(shard) {
            return Ok(());
        }
        self.shard = Some(shard);
        self.loose.clear();
        self.archives.clear();
        let Some(plan) = &mut self.plan else { return Ok(()) };
        let index = i32::try_from(shard).unwrap_or(i32::MAX);
        let is_due = |row: &Result<crate::tables::PlanRow, _>| {
            row.as_ref().map_or(true, |row| row.shard <= index)
        };
        while let Some(row) = plan.next_if(is_due) {
            let row = row?;
            if row.shard < index {
                continue;
            }
            let version = row.version().filter(|_| !self.moved);
            match row.archive.as_deref().and_then(ArchiveKind::named) {
                Some(kind) => self.archives.push(Archive { path: row.image_id, kind, version }),
                None => {
                    let place = Place::Loose { file: row.file, version };
                    self.loose.insert(row.image_id, place);
                }
            }
        }
        Ok(())
    }

    /// Whether the shard is a file with images in it, which is read once for all of them.
    pub fn is_archive(&self) -> bool {
        !self.archives.is_empty()
    }

    /// Where an image of the shard is. What the plan does not have is where its name says.
    pub fn of(&self, image_id: &str) -> Place {
        if let Some(place) = self.loose.get(image_id) {
            return place.clone();
        }
        let below = |of: &&Archive| {
            image_id.strip_prefix(&of.path).is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(archive) = self.archives.iter().find(below) {
            return Place::Inside(archive.clone());
        }
        match archive_in(image_id).filter(|_| self.plan.is_none()) {
            Some((path, kind)) => {
                Place::Inside(Archive { path: path.to_string(), kind, version: None })
            }
            None => Place::Loose { file: None, version: None },
        }
    }
}

/// What reads the images of each run.
pub struct Readers(Vec<Result<Fetcher, String>>);

impl Readers {
    /// By run: from where its images are, or why they cannot be read.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(set: &RunSet, inputs: Vec<Result<Input, String>>) -> Result<Self, Error> {
        let readers = set.runs().iter().zip(inputs).map(|(run, input)| match input {
            Err(why) => Ok(Err(why)),
            Ok(input) => {
                let AsScored { columns, limits, .. } = AsScored::of(run);
                let room = FetchLimits::default();
                Ok(Ok(Fetcher::new(input, columns, limits.max_bytes, room, SPARE)?))
            }
        });
        Ok(Readers(readers.collect::<Result<_, Error>>()?))
    }

    /// Hands the file of each of `images` of a run, which are its id and its place, to `take`, with its
    /// index among them; what was handed over may be used elsewhere while the next is on its way.
    pub fn each(
        &self,
        run: usize,
        images: &[(&str, &Place)],
        mut take: impl FnMut(usize, Result<Fetched, String>),
    ) {
        let fetcher = match self.0.get(run) {
            Some(Ok(fetcher)) => fetcher,
            Some(Err(why)) => return (0..images.len()).for_each(|at| take(at, Err(why.clone()))),
            None => return,
        };
        let loose = images.iter().enumerate().filter_map(|(at, (id, place))| match place {
            Place::Loose { file, version } => {
                let (image, version) = (file.as_deref().unwrap_or(id), version.as_ref());
                Some((at, FileNames { image, version, masks: &[] }))
            }
            Place::Inside(_) => None,
        });
        for (at, fetched) in fetcher.ahead(loose) {
            take(at, Ok(fetched));
        }
        let mut inside = BTreeMap::<&str, (&Archive, HashMap<&str, usize>)>::new();
        for (at, (id, place)) in images.iter().enumerate() {
            if let Place::Inside(archive) = place {
                let of = inside.entry(&archive.path);
                of.or_insert_with(|| (archive, HashMap::new())).1.insert(id, at);
            }
        }
        for (path, (archive, wanted)) in inside {
            members(fetcher, path, archive, wanted, &mut take);
        }
    }
}

fn members(
    fetcher: &Fetcher,
    path: &str,
    archive: &Archive,
    mut wanted: HashMap<&str, usize>,
    take: &mut impl FnMut(usize, Result<Fetched, String>),
) {
    let Archive { kind, version, .. } = archive;
    let mut why = format!("{path} does not have it any more");
    match fetcher.open(path, *kind, version.as_ref(), None) {
        Err(failure) => why = failure.message,
        Ok(open) => {
            open.each(|member| {
                let id = format!("{path}/{}", member.id);
                match (wanted.remove(id.as_str()), member.picture) {
                    (Some(at), Ok(image)) => {
                        // Waits until there is memory for it.
                        let held = fetcher.hold(image, None, &AtomicBool::new(false));
                        if let Some(held) = held {
                            take(at, Ok(held.wait()));
                        }
                    }
                    (Some(at), Err(failure)) => take(at, Err(failure.message)),
                    // A member that stands for all that cannot be read, perhaps.
                    (None, Err(broken)) => why = broken.message,
                    (None, Ok(_)) => {}
                }
                match wanted.is_empty() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
        }
    }
    wanted.into_values().for_each(|at| take(at, Err(why.clone())));
}
