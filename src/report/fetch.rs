//! The files of a few images. In: their names, and the run's plan if they are of its input. Out: bytes
//! of images and of their true masks, each handed on as it comes, from loose files and from archives
//! alike. An image that cannot be had is its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::error::TableError;
use crate::source::{ArchiveKind, Fetched, Fetcher, FileNames};
use crate::store::FileVersion;
use crate::tables::RunReader;

/// What is read at the same time: more than cores, since a bucket lets wait.
pub const AT_ONCE: usize = 8;

/// Archives are read up to their last wanted image; so many GiB of them in all.
const ARCHIVE_GIB: u64 = 8;

/// Which files have the wanted images.
pub struct Files {
    loose: BTreeMap<String, Loose>,
    /// Those with the most wanted images come first.
    archives: Vec<Archive>,
}

/// An image that is a file of its own.
#[derive(Default)]
struct Loose {
    /// Its file, if that is not its id.
    file: Option<String>,
    /// Paths of the files of its mask.
    masks: Vec<Box<str>>,
    /// What was scored.
    version: Option<FileVersion>,
}

impl Loose {
    fn names<'a>(&'a self, id: &'a str) -> FileNames<'a> {
        let image = self.file.as_deref().unwrap_or(id);
        FileNames { image, version: self.version.as_ref(), masks: &self.masks }
    }
}

/// A file with wanted images in it.
struct Archive {
    path: String,
    kind: ArchiveKind,
    version: Option<FileVersion>,
    wanted: BTreeSet<String>,
}

/// Gives each image of `files` to `draw`, on all cores, and returns what that makes of them.
pub fn each<T: Send>(
    fetcher: &Fetcher,
    files: Files,
    draw: impl Fn(&str, Result<Fetched, String>) -> T + Sync,
) -> BTreeMap<String, T> {
    let Files { loose, archives } = files;
    let drawn = Mutex::new(BTreeMap::new());
    let add = |id: String, fetched: Result<Fetched, String>| {
        let one = draw(&id, fetched);
        drawn.lock().unwrap_or_else(PoisonError::into_inner).insert(id, one);
    };
    let mut left = ARCHIVE_GIB << 30;
    let archives = archives.into_iter().map(|Archive { path, kind, version, wanted }| {
        let open =
            fetcher.open(&path, kind, version.as_ref(), None).map_err(|failure| failure.message);
        let open = open.and_then(|open| match left.checked_sub(open.size()) {
            Some(rest) => {
                left = rest;
                Ok(open)
            }
            None => Err(format!(
                "{path} was not read: it would be more than {ARCHIVE_GIB} GiB of archives"
            )),
        });
        (path, open, wanted)
    });
    let archives = archives.collect::<Vec<_>>();
    on_threads(AT_ONCE, || {
        archives.into_par_iter().for_each(|(path, open, mut missing)| {
            let why = match open {
                Err(why) => why,
                Ok(open) => {
                    let mut why = format!("{path} does not have it any more");
                    open.each(|member| {
                        let id = format!("{path}/{}", member.id);
                        let image = member.picture.map_err(|failure| failure.message);
                        if missing.remove(&id) {
                            add(id, image.map(|image| Fetched::of(image, member.mask)));
                        } else if let Err(broken) = image {
                            // A member that stands for all that cannot be read, perhaps.
                            why = broken;
                        }
                        let done = missing.is_empty();
                        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    why
                }
            };
            missing.into_iter().for_each(|id| add(id, Err(why.clone())));
        });
    });
    let add = &add;
    rayon::in_place_scope_fifo(|scope| {
        let names = loose.iter().map(|(id, of)| (id, of.names(id)));
        for (id, fetched) in fetcher.ahead(names) {
            scope.spawn_fifo(move |_| add(id.clone(), Ok(fetched)));
        }
    });
    drawn.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` where its loops have so many threads.
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // The threads that there are do it as well.
        Err(_) => work(),
    }
}

impl Files {
    /// Looks `wanted` up in the plan of the run. What it does not have is taken for a loose image.
    /// Copies at another place than that of the plan have other times: `moved` leaves them out.
    ///
    /// # Errors
    /// If the plan cannot be read.
    pub fn planned(
        run: &RunReader,
        wanted: &BTreeSet<&str>,
        moved: bool,
    ) -> Result<Self, TableError> {
        let mut loose = BTreeMap::new();
        let mut archives = Vec::<Archive>::new();
        let mut inside = BTreeSet::new();
        if let Some(plan) = &run.manifest().plan {
            for row in plan.read(run.store())? {
                let row = row?;
                let version = row.version().filter(|_| !moved);
                if let Some(kind) = row.archive.as_deref().and_then(ArchiveKind::named) {
                    let below = format!("{}/", row.image_id);
                    let names = wanted.range(below.as_str()..).copied();
                    let names = names.take_while(|id| id.starts_with(&below)).map(str::to_string);
                    let wanted = names.collect::<BTreeSet<_>>();
                    inside.extend(wanted.iter().cloned());
                    if !wanted.is_empty() {
                        archives.push(Archive { path: row.image_id, kind, version, wanted });
                    }
                } else if wanted.contains(row.image_id.as_str()) {
                    let masks = row.masks().into_iter().map(Into::into).collect();
                    loose.insert(row.image_id, Loose { file: row.file, masks, version });
                }
            }
        }
        for id in wanted.iter().filter(|id| !inside.contains(**id)) {
            loose.entry(id.to_string()).or_default();
        }
        archives.sort_by_key(|archive| std::cmp::Reverse(archive.wanted.len()));
        Ok(Files { loose, archives })
    }

    /// Of images at a place without a plan: what is below a file that is called like an archive is in
    /// that archive.
    pub fn named(wanted: &BTreeSet<&str>) -> Self {
        let mut loose = BTreeMap::new();
        let mut archives = BTreeMap::<&str, Archive>::new();
        for id in wanted {
            match archive_in(id) {
                None => drop(loose.insert(id.to_string(), Loose::default())),
                Some((path, kind)) => {
                    let new = || Archive {
                        path: path.to_string(),
                        kind,
                        version: None,
                        wanted: BTreeSet::new(),
                    };
                    archives.entry(path).or_insert_with(new).wanted.insert(id.to_string());
                }
            }
        }
        let mut archives = archives.into_values().collect::<Vec<_>>();
        archives.sort_by_key(|archive| std::cmp::Reverse(archive.wanted.len()));
        Files { loose, archives }
    }
}

/// The archive that an image is in, by its name.
pub fn archive_in(id: &str) -> Option<(&str, ArchiveKind)> {
    id.match_indices('/').find_map(|(end, _)| {
        let path = &id[..end];
        let name = path.rsplit('/').next().unwrap_or_default();
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty()).then_some((path, ArchiveKind::named(extension)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_images_are_in_an_archive() {
        let files =
            Files::named(&["a.png", "b/c.tar/d/e.png", "b/c.tar/f.png", "g.TAR.png"].into());
        assert_eq!(files.loose.keys().collect::<Vec<_>>(), ["a.png", "g.TAR.png"]);
        assert_eq!((files.archives.len(), files.archives[0].path.as_str()), (1, "b/c.tar"));
        assert_eq!(files.archives[0].wanted.len(), 2);
        assert_eq!(archive_in(".tar/a.png"), None);
        assert_eq!(archive_in("a.Parquet/0.png").unwrap().1, ArchiveKind::Parquet);
    }
}
