//! The files of a few pictures of a run. In: their names, and the run's plan. Out: bytes of pictures
//! and of their true masks, each handed on as it comes, from loose files and from archives alike. A
//! picture that cannot be had is its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::error::TableError;
use crate::source::{ArchiveKind, Input, Member, read_parquet, read_tar};
use crate::tables::RunReader;

/// Pictures that are read and drawn at the same time: more than cores, since a bucket lets wait.
const AT_ONCE: usize = 8;

/// Archives are read up to their last wanted picture; so many bytes of them in all.
const ARCHIVE_BYTES: u64 = 8 << 30;

/// A picture as it is now.
pub struct Fetched {
    pub picture: Vec<u8>,
    /// The file of its true mask; `None`: there is none, or it cannot be read.
    pub mask: Option<Vec<u8>>,
}

/// Where the wanted pictures are.
struct Places {
    /// Loose pictures, with the path of their mask.
    loose: BTreeMap<String, Option<String>>,
    /// Wanted names by archive; those with the most come first.
    archives: Vec<(String, ArchiveKind, BTreeSet<String>)>,
}

/// Gives each of `wanted` to `draw`, on several threads, and returns what that makes of them.
///
/// # Errors
/// If the plan of the run cannot be read.
pub fn each<T: Send>(
    run: &RunReader,
    input: &Input,
    wanted: &BTreeSet<&str>,
    max_bytes: u64,
    draw: impl Fn(&str, Result<Fetched, String>) -> T + Sync,
) -> Result<BTreeMap<String, T>, TableError> {
    let Places { loose, archives } = places(run, wanted)?;
    let mut left = ARCHIVE_BYTES;
    let archives = archives.into_iter().map(|(path, kind, names)| {
        let file = input.open_file(&path, None).map_err(|failure| failure.message);
        let file = file.and_then(|file| match left.checked_sub(file.size()) {
            Some(rest) => {
                left = rest;
                Ok(file)
            }
            None => Err(format!("{path} was not read: {ARCHIVE_BYTES} bytes of archives were")),
        });
        (path, kind, names, file)
    });
    let archives = archives.collect::<Vec<_>>();
    let all = || {
        let of_archives = archives.into_par_iter().flat_map_iter(|(path, kind, names, file)| {
            let mut drawn = Vec::new();
            let mut missing = names;
            let why = match file {
                Err(why) => why,
                Ok(file) => {
                    let take = |member: Member| {
                        let id = format!("{path}/{}", member.id);
                        if missing.remove(&id) {
                            let fetched = member.picture.map_err(|failure| failure.message);
                            let mask = member.mask;
                            let fetched = fetched.map(|picture| Fetched { picture, mask });
                            drawn.push((id.clone(), draw(&id, fetched)));
                        }
                        let done = missing.is_empty();
                        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    };
                    let broke = OnceLock::new();
                    match kind {
                        ArchiveKind::Tar => drop(read_tar(file.stream(&broke), max_bytes, take)),
                        ArchiveKind::Parquet => read_parquet(Arc::new(file), max_bytes, take),
                    }
                    format!("{path} does not have it any more")
                }
            };
            drawn.extend(missing.into_iter().map(|id| {
                let nothing = draw(&id, Err(why.clone()));
                (id, nothing)
            }));
            drawn
        });
        let read =
            |path: &str| input.read(path, None, max_bytes).map_err(|failure| failure.message);
        let loose = loose.into_iter().collect::<Vec<_>>();
        let of_files = loose.into_par_iter().with_max_len(1).map(|(id, mask)| {
            let mask = mask.and_then(|path| read(&path).ok());
            let fetched = read(&id).map(|picture| Fetched { picture, mask });
            let drawn = draw(&id, fetched);
            (id, drawn)
        });
        of_archives.chain(of_files).collect()
    };
    match rayon::ThreadPoolBuilder::new().num_threads(AT_ONCE).build() {
        Ok(pool) => Ok(pool.install(all)),
        // The threads that there are do it as well.
        Err(_) => Ok(all()),
    }
}

/// Looks `wanted` up in the plan. What it does not have is taken for a loose picture.
fn places(run: &RunReader, wanted: &BTreeSet<&str>) -> Result<Places, TableError> {
    let mut loose = BTreeMap::new();
    let mut archives = Vec::new();
    let mut inside = BTreeSet::new();
    if let Some(plan) = &run.manifest().plan {
        for row in plan.read(run.store())? {
            let row = row?;
            if let Some(kind) = row.archive.as_deref().and_then(ArchiveKind::named) {
                let below = format!("{}/", row.image_id);
                let names = wanted.range(below.as_str()..).copied();
                let names = names.take_while(|id| id.starts_with(&below)).map(str::to_string);
                let names = names.collect::<BTreeSet<_>>();
                inside.extend(names.iter().cloned());
                if !names.is_empty() {
                    archives.push((row.image_id, kind, names));
                }
            } else if wanted.contains(row.image_id.as_str()) {
                loose.insert(row.image_id, row.mask);
            }
        }
    }
    for id in wanted.iter().filter(|id| !inside.contains(**id)) {
        loose.entry(id.to_string()).or_insert(None);
    }
    archives.sort_by_key(|(_, _, names)| std::cmp::Reverse(names.len()));
    Ok(Places { loose, archives })
}
