//! Staged uploads that crashed writers left on a disk: in `_filo/staging`, or, by versions before 0.2,
//! `name#1` beside `name`. In: folders that belong to a run. Out: only those that are too old to be
//! somebody's work of this moment are gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::problem::failed;
use super::put::STAGING;
use crate::error::{StoreAction, StoreError};

/// Age from which a staged upload is a leftover of a crash. Another worker on the same output
/// may be writing its own, which takes seconds.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Removes stale uploads in `folders` and below.
pub(super) fn remove(folders: Vec<PathBuf>) -> Result<(), StoreError> {
    let mut folders: Vec<PathBuf> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        let shown = folder.display().to_string();
        let fail = |e: std::io::Error| failed(&shown, StoreAction::List, e.into());
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // A symbolic link is nothing of ours: not followed, not removed.
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_staged(&entry.path()) {
                remove_if_stale(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Whether the store made this file on the way to another.
fn is_staged(path: &Path) -> bool {
    if path.parent().is_some_and(|folder| folder.ends_with(STAGING)) {
        return true;
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let suffix = name.and_then(|name| name.rsplit_once('#')).map_or("", |(_, suffix)| suffix);
    !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit())
}

fn remove_if_stale(path: &Path) -> Result<(), StoreError> {
    let modified = match path.metadata().and_then(|meta| meta.modified()) {
        Ok(modified) => modified,
        // Its writer finished in between.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(&path.display().to_string(), StoreAction::Read, e.into())),
    };
    // A time in the future is no age: another clock, another writer.
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if age < STALE_AFTER {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(failed(&path.display().to_string(), StoreAction::Delete, e.into()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_uploads_are_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        for below in ["maps/s", STAGING] {
            std::fs::create_dir_all(folder.path().join(below)).unwrap();
        }
        let old = ["maps/s/old#1", "maps/s/old", "maps/s/old#x", "notes#1", "_filo/staging/7-old"];
        for name in old.into_iter().chain(["maps/s/new#1", "_filo/staging/7-new"]) {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * STALE_AFTER;
        for name in old {
            let file = std::fs::File::options().write(true).open(folder.path().join(name));
            file.unwrap().set_modified(long_ago).unwrap();
        }
        remove(["maps", "scores", "_filo"].map(|name| folder.path().join(name)).to_vec()).unwrap();
        for name in ["maps/s/old#1", "_filo/staging/7-old"] {
            assert!(!folder.path().join(name).exists(), "{name}");
        }
        let kept = ["maps/s/old", "maps/s/old#x", "maps/s/new#1", "notes#1", "_filo/staging/7-new"];
        for name in kept {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }
}
