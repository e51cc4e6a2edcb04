//! How much room a disk has. In: a path, which need not be there yet. Out: bytes, or nothing where the
//! system does not say: then what is written shows it.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

/// Bytes that this user may still write below `path`.
#[cfg(unix)]
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(&nearest(path)?).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Whether two paths take their space from the same disk, as far as can be seen.
#[cfg(unix)]
pub(crate) fn same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let disk = |path| Some(std::fs::metadata(nearest(path)?).ok()?.dev());
    disk(one) == disk(other)
}

#[cfg(not(unix))]
pub(crate) fn same_disk(_: &Path, _: &Path) -> bool {
    true
}

/// The path, or the folder above it that is there.
#[cfg(unix)]
fn nearest(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find(|path| path.exists()).map(Path::to_owned)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_yet_to_be_made_has_the_space_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        assert!(free_bytes(&below).unwrap() > 0);
        assert!(same_disk(&below, folder.path()));
    }
}
