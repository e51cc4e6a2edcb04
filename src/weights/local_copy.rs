//! Weights in a bucket → a copy on this machine, which later runs use again. In: a location. Out: a
//! path of a disk.
//!
//! A copy is named by the names, sizes and entity tags of what it was made of; it appears whole or
//! not at all, whoever else makes one at the same time.

use std::fs::{DirEntry, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::WeightsError;
use crate::store::{Bucket, Content, Location, Store, StoredFile, cache_folder};

/// More files than a folder of weights has.
const MOST_FILES: usize = 64;

/// What the names of unfinished copies begin with.
const STAGED: &str = ".";

/// Age from which an unfinished copy is what a killed run left.
const STALE_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Bytes that are fetched at a time.
const PIECE: u64 = 32 << 20;

/// The weights at `location` as a path: itself, if they are on a disk.
///
/// # Errors
/// If the bucket does not give them, or they cannot be written here.
pub fn local_copy(location: &Location) -> Result<PathBuf, WeightsError> {
    let Some(bucket) = location.bucket() else {
        return Ok(location.disk().unwrap_or(Path::new("")).to_owned());
    };
    let (store, files, name) = found(location, bucket)?;
    let mut key = blake3::Hasher::new();
    for StoredFile { path, bytes, etag } in &files {
        key.update(format!("{path}\0{bytes}\0{}\0", etag.as_deref().unwrap_or("")).as_bytes());
    }
    let folder = cache_folder().join("weights").join(&key.finalize().to_hex()[..32]);
    if !folder.exists() {
        let bytes = files.iter().map(|file| file.bytes).sum::<u64>();
        tracing::info!(bytes, "copying weights to {}", folder.display());
        copy(&store, &files, &folder)?;
    }
    Ok(match name {
        Some(name) => folder.join(name),
        None => folder,
    })
}

/// Looks whether a bucket has weights at `location`.
///
/// # Errors
/// If it has none, or does not say.
pub(super) fn is_in_bucket(location: &Location) -> Result<(), WeightsError> {
    location.bucket().map_or(Ok(()), |bucket| found(location, bucket).map(drop))
}

/// The files of a folder in the order of their names, or the one file that is meant and its name.
fn found(
    location: &Location,
    bucket: &Bucket,
) -> Result<(Store, Vec<StoredFile>, Option<String>), WeightsError> {
    let store = Store::open(location)?;
    let mut files = store.list_at_most("", MOST_FILES + 1)?;
    files.retain(|file| is_plain(&file.path));
    if files.len() > MOST_FILES {
        return Err(WeightsError::NotOneFile { path: location.uri().into(), found: files.len() });
    }
    if !files.is_empty() {
        return Ok((store, files, None));
    }
    let (folder, name) = bucket.prefix.rsplit_once('/').unwrap_or(("", &bucket.prefix));
    let parent = location.with_prefix(folder);
    let store = Store::open(&parent)?;
    let not_found = || WeightsError::NotFound { path: location.uri().into() };
    let file = store.stat(name)?.filter(|_| !name.is_empty()).ok_or_else(not_found)?;
    // What tells its dimensions lies beside it.
    let config = store.stat("config.json")?;
    let files = std::iter::once(file).chain(config).collect();
    Ok((store, files, Some(name.to_owned())))
}

/// A name in the folder itself: nothing below it is weights.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\']) && name != ".." && name != "."
}

fn copy(store: &Store, files: &[StoredFile], folder: &Path) -> Result<(), WeightsError> {
    let unwritable = |source| WeightsError::NoCopy { path: folder.into(), source };
    let parent = folder.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(parent).map_err(unwritable)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let start_of_names = format!("{STAGED}{name}-");
    remove_stale(parent, &start_of_names);
    let staged = parent.join(format!("{start_of_names}{}", std::process::id()));
    let copied = std::fs::create_dir_all(&staged)
        .map_err(unwritable)
        .and_then(|()| copy_into(store, files, &staged))
        .and_then(|()| match std::fs::rename(&staged, folder) {
            // Another run may have been faster.
            Err(error) if !folder.exists() => Err(unwritable(error)),
            _ => Ok(()),
        });
    let _ = std::fs::remove_dir_all(&staged);
    copied
}

fn copy_into(store: &Store, files: &[StoredFile], staged: &Path) -> Result<(), WeightsError> {
    let unwritable = |source| WeightsError::NoCopy { path: staged.into(), source };
    for file in files {
        let mut copy = File::create(staged.join(&file.path)).map_err(unwritable)?;
        let mut start = 0;
        while start < file.bytes {
            let end = file.bytes.min(start + PIECE);
            match store.get_part(&file.path, file.etag.as_deref(), start..end)? {
                Content::Whole(bytes) => copy.write_all(&bytes).map_err(unwritable)?,
                Content::Changed | Content::TooLong => {
                    return Err(WeightsError::Changed { path: store.display(&file.path).into() });
                }
            }
            start = end;
        }
        copy.sync_all().map_err(unwritable)?;
    }
    Ok(())
}

/// Removes what killed runs left of copies with this start of their names.
fn remove_stale(parent: &Path, start: &str) {
    let ours = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with(start);
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten().filter(ours) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if age > STALE_AFTER {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
