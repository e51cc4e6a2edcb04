//! The runs that a command names. In: places as they were written: the output of a run, a folder with
//! outputs in it, or a pattern of such folders. Out: the runs, opened, each once, in the order in
//! which they were named; those of a folder or a pattern by name.

use std::path::PathBuf;

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, RunsError, TableError};
use crate::pipeline::data_set::DataSet;
use crate::store::{Location, Store};
use crate::tables::{Manifest, RunReader, RunSet};

/// Whether runs that are not finished count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Metrics of half a run look like those of a whole one.
    Whole,
    /// As far as they are committed.
    Committed,
}

/// The runs at `names` as one set.
///
/// # Errors
/// If there is none, one of them has shards that are not committed and should be whole, or they were
/// not scored alike.
pub fn data_set(names: &[String], wanted: Wanted) -> Result<DataSet, Error> {
    DataSet::new(run_set(names, wanted)?)
}

/// As [`data_set`], of which no pixels are counted.
///
/// # Errors
/// As [`data_set`].
pub fn run_set(names: &[String], wanted: Wanted) -> Result<RunSet, Error> {
    let mut runs = found(names)?;
    if wanted == Wanted::Whole {
        runs.iter().try_for_each(check_whole)?;
    }
    Ok(match runs.len() {
        1 => RunSet::one(runs.remove(0)),
        _ => RunSet::of(runs)?,
    })
}

fn check_whole(run: &RunReader) -> Result<(), Error> {
    match run.check_shards_are_there() {
        Err(TableError::MissingShards { shards, expected }) => {
            let uri = run.store().uri().to_string();
            Err(TableError::from(RunsError::Unfinished { uri, shards, expected }).into())
        }
        other => Ok(other?),
    }
}

/// The runs at `names`.
///
/// # Errors
/// If a name has none, or a run cannot be read.
pub fn found(names: &[String]) -> Result<Vec<RunReader>, Error> {
    let mut runs = Vec::<RunReader>::new();
    for name in names {
        for run in found_at(name)? {
            if !runs.iter().any(|known| known.store().uri() == run.store().uri()) {
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

fn found_at(name: &str) -> Result<Vec<RunReader>, Error> {
    let location = name.parse::<Location>()?;
    let is_pattern = name.contains('*') && !location.disk().is_some_and(|path| path.exists());
    let places = match is_pattern {
        true => matching(&location)?,
        false => {
            let store = Store::open(&location)?;
            match Manifest::read(&store)? {
                Some(manifest) if manifest.is_of_metrics() => {
                    let uri = location.uri().to_string();
                    return Err(TableError::from(RunsError::IsMetrics { uri }).into());
                }
                Some(_) => return Ok(vec![RunReader::open(store)?]),
                None => {
                    let folders = store.folders("")?;
                    folders.iter().map(|folder| below(&location, folder)).collect()
                }
            }
        }
    };
    let mut runs = Vec::new();
    for place in places {
        let store = Store::open(&place)?;
        // Beside runs there may be pages, and metrics of several runs.
        if Manifest::read(&store)?.is_some_and(|manifest| !manifest.is_of_metrics()) {
            runs.push(RunReader::open(store)?);
        }
    }
    if runs.is_empty() {
        let uri = location.uri().to_string();
        let none = match is_pattern {
            true => RunsError::NoneThere { uri }.into(),
            false => TableError::NoRun { uri },
        };
        return Err(none.into());
    }
    Ok(runs)
}

/// A folder of a place.
fn below(place: &Location, folder: &str) -> Location {
    match (place.disk(), place.bucket()) {
        (Some(path), _) => Location::local(path.join(folder)),
        (None, Some(bucket)) if !bucket.prefix.is_empty() => {
            place.with_prefix(&format!("{}/{folder}", bucket.prefix))
        }
        _ => place.with_prefix(folder),
    }
}

/// The folders that a pattern names, by name. A `*` stands for any part of one name.
fn matching(pattern: &Location) -> Result<Vec<Location>, Error> {
    let (mut places, parts) = match (pattern.disk(), pattern.bucket()) {
        (Some(path), _) => {
            let text = path.to_string_lossy().into_owned();
            let plain = text.find('*').and_then(|star| text[..star].rfind('/'));
            let (base, rest) = match plain {
                Some(0) => ("/", &text[1..]),
                Some(end) => (&text[..end], &text[end + 1..]),
                None => (".", text.as_str()),
            };
            (vec![Location::local(PathBuf::from(base))], rest.to_string())
        }
        (None, bucket) => {
            let prefix = bucket.map_or("", |bucket| bucket.prefix.as_str());
            let plain = prefix.find('*').and_then(|star| prefix[..star].rfind('/'));
            let (base, rest) =
                plain.map_or(("", prefix), |end| (&prefix[..end], &prefix[end + 1..]));
            (vec![pattern.with_prefix(base)], rest.to_string())
        }
    };
    for part in parts.split('/').filter(|part| !part.is_empty()) {
        let matcher = part.contains('*').then(|| matcher(part)).flatten();
        let mut next = Vec::new();
        for place in &places {
            let Some(matcher) = &matcher else {
                next.push(below(place, part));
                continue;
            };
            if place.disk().is_some_and(|path| !path.is_dir()) {
                continue;
            }
            let folders = Store::open(place)?.folders("")?;
            let folders = folders.iter().filter(|folder| matcher.is_match(folder));
            next.extend(folders.map(|folder| below(place, folder)));
        }
        places = next;
    }
    places.retain(|place| place.disk().is_none_or(|path| path.is_dir()));
    Ok(places)
}

/// Only `*` has a meaning: names of folders may hold the other signs of patterns.
fn matcher(part: &str) -> Option<GlobMatcher> {
    let pieces = part.split('*').map(globset::escape).collect::<Vec<_>>();
    Some(GlobBuilder::new(&pieces.join("*")).build().ok()?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_part_of_one_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2026-11-24/a", "2026-11-25/a", "2026-12-01/a", "2026-12-01/b", "[x]/a"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let names = |pattern: &str| {
            let path = folder.path().join(pattern);
            let places = matching(&Location::local(path)).unwrap().into_iter();
            let name = |place: Location| {
                let below = place.disk().unwrap().strip_prefix(folder.path()).unwrap().to_owned();
                below.display().to_string()
            };
            places.map(name).collect::<Vec<_>>()
        };
        assert_eq!(names("2026-11-*"), ["2026-11-24", "2026-11-25"]);
        assert_eq!(names("*/b"), ["2026-12-01/b"]);
        assert_eq!(names("2026-12-01/*"), ["2026-12-01/a", "2026-12-01/b"]);
        assert_eq!(names("[x*"), ["[x]"]);
        assert!(names("none*").is_empty());
        let bucket = "s3://scores/line/*".parse::<Location>().unwrap();
        assert_eq!(below(&bucket.with_prefix("line"), "a").uri(), "s3://scores/line/a");
        assert_eq!(below(&bucket.with_prefix(""), "a").uri(), "s3://scores/a");
    }
}
