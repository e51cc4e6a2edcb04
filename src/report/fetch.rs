//! The files of a few images. In: their names, and the run's plan if they are of its input. Out: bytes
//! of images and of their true masks, each handed on as it comes, from loose files and from archives
//! alike. An image that cannot be had is its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::error::TableError;
use crate::source::{ArchiveKind, Columns, Input, Member, read_archive};
use crate::store::FileVersion;
use crate::tables::RunReader;

/// What is read and drawn at the same time: more than cores, since a bucket lets wait.
pub const AT_ONCE: usize = 8;

/// Archives are read up to their last wanted image; so many GiB of them in all.
const ARCHIVE_GIB: u64 = 8;

/// An image as it is now.
pub struct Fetched {
    pub picture: Vec<u8>,
    /// The files of its true mask; none if it has no mask, or one of them cannot be read.
    pub masks: Vec<Vec<u8>>,
}

/// Which files have the wanted images.
pub struct Files {
    loose: BTreeMap<String, Loose>,
    /// Those with the most wanted images come first.
    archives: Vec<Archive>,
    /// What of archives is read.
    columns: Columns,
}

/// An image that is a file of its own.
#[derive(Default)]
struct Loose {
    /// Its file, if that is not its id.
    file: Option<String>,
    /// Paths of the files of its mask.
    masks: Vec<String>,
    /// What was scored.
    version: Option<FileVersion>,
}

/// A file with wanted images in it.
struct Archive {
    path: String,
    kind: ArchiveKind,
    version: Option<FileVersion>,
    wanted: BTreeSet<String>,
}

/// Gives each image of `files` to `draw`, on several threads, and returns what that makes of them.
pub fn each<T: Send>(
    input: &Input,
    files: Files,
    max_bytes: u64,
    draw: impl Fn(&str, Result<Fetched, String>) -> T + Sync,
) -> BTreeMap<String, T> {
    let Files { loose, archives, columns } = files;
    let mut left = ARCHIVE_GIB << 30;
    let archives = archives.into_iter().map(|archive| {
        let file = input.open_file(&archive.path, archive.version.as_ref());
        let file = file.map_err(|failure| failure.message);
        let file = file.and_then(|file| match left.checked_sub(file.size()) {
            Some(rest) => {
                left = rest;
                Ok(file)
            }
            None => Err(format!(
                "{} was not read: it would be more than {ARCHIVE_GIB} GiB of archives",
                archive.path
            )),
        });
        (archive, file)
    });
    let archives = archives.collect::<Vec<_>>();
    let all = || {
        let of_archives = archives.into_par_iter().flat_map_iter(|(archive, file)| {
            let Archive { path, kind, wanted: mut missing, .. } = archive;
            let mut drawn = Vec::new();
            let why = match file {
                Err(why) => why,
                Ok(file) => {
                    let mut why = format!("{path} does not have it any more");
                    let take = |member: Member| {
                        let id = format!("{path}/{}", member.id);
                        let picture = member.picture.map_err(|failure| failure.message);
                        if missing.remove(&id) {
                            let masks = member.mask.into_iter().collect();
                            let fetched = picture.map(|picture| Fetched { picture, masks });
                            drawn.push((id.clone(), draw(&id, fetched)));
                        } else if let Err(broken) = picture {
                            // A member that stands for all that cannot be read, perhaps.
                            why = broken;
                        }
                        let done = missing.is_empty();
                        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    };
                    read_archive(file, kind, &columns, max_bytes, take);
                    why
                }
            };
            drawn.extend(missing.into_iter().map(|id| {
                let nothing = draw(&id, Err(why.clone()));
                (id, nothing)
            }));
            drawn
        });
        let read = |path: &str, version: Option<FileVersion>| {
            input.read(path, version.as_ref(), max_bytes).map_err(|failure| failure.message)
        };
        let loose = loose.into_iter().collect::<Vec<_>>();
        let of_files = loose.into_par_iter().with_max_len(1).map(|(id, of)| {
            let masks = of.masks.iter().map(|path| read(path, None).ok()).collect::<Option<_>>();
            let masks = masks.unwrap_or_default();
            let file = of.file.as_ref().unwrap_or(&id);
            let fetched = read(file, of.version).map(|picture| Fetched { picture, masks });
            let drawn = draw(&id, fetched);
            (id, drawn)
        });
        of_archives.chain(of_files).collect()
    };
    on_threads(AT_ONCE, all)
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
                    let masks = row.masks();
                    loose.insert(row.image_id, Loose { file: row.file, masks, version });
                }
            }
        }
        for id in wanted.iter().filter(|id| !inside.contains(**id)) {
            loose.entry(id.to_string()).or_default();
        }
        archives.sort_by_key(|archive| std::cmp::Reverse(archive.wanted.len()));
        let image = run.manifest().spec["image_column"].as_str().map(str::to_string);
        Ok(Files { loose, archives, columns: Columns { image, keep: Vec::new() } })
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
        Files { loose, archives, columns: Columns::default() }
    }
}

/// The archive that an image is in, by its name.
fn archive_in(id: &str) -> Option<(&str, ArchiveKind)> {
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
