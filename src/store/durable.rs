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
    let staged = write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if staged.is_err() {
        // On a full disk half a file is what is in the way; the first error is what counts.
        let _ = std::fs::remove_file(&beside);
    }
    staged.and_then(|()| sync_folder_of(path))
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes durable that `path` is in its folder under this name.
///
/// # Errors
/// What the file system says.
pub fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_a_failure_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        for text in ["first", "second"] {
            write_whole(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(write_whole(&folder.path().join("taken"), b"third").is_err());
        let names =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        assert_eq!(names, ["page.html", "taken"]);
    }
}
