//! Single files of a disk that appear whole and durable or not at all, in folders that are no store of
//! ours. Bytes and a path in, a file out.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes `bytes` beside `path`, makes them durable, and puts them in the place of `path` in one
/// step: whenever the program ends, `path` holds what it held or all of `bytes`.
///
/// # Errors
/// What the file system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Makes durable that `path` is in its folder under this name.
///
/// # Errors
/// What the file system says.
pub fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
