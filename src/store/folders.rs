//! The folders of a place, one level at a time: what has many files below it is not listed to find
//! where they are.

use std::io::ErrorKind;
use std::sync::Arc;

use object_store::prefix::PrefixStore;

use super::problem::failed;
use super::{Location, Store};
use crate::error::{StoreAction, StoreError};

impl Store {
    /// Names of the folders directly below the folder `prefix` ("" for the place itself), sorted; none if
    /// there is no such folder. On a disk, links to folders are among them.
    ///
    /// # Errors
    /// If the place cannot be listed.
    pub fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let cannot = |error| failed(&self.display(prefix), StoreAction::List, error);
        let location = self.location(prefix, StoreAction::List)?;
        let mut names = match &self.folder {
            Some(folder) => {
                let entries = match std::fs::read_dir(folder.join(prefix)) {
                    Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                    entries => entries.map_err(|e| cannot(e.into()))?,
                };
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry.map_err(|e| cannot(e.into()))?;
                    // A link to nothing is no folder.
                    let is_folder = std::fs::metadata(entry.path()).is_ok_and(|of| of.is_dir());
                    // A run's place is told as text.
                    names.extend(entry.file_name().into_string().ok().filter(|_| is_folder));
                }
                names
            }
            None => {
                let found =
                    self.wait(self.tried(|| self.inner.list_with_delimiter(Some(&location))));
                let found = found.map_err(|e| cannot(e.into()))?.common_prefixes;
                let names = found.iter().filter_map(|path| path.filename().map(str::to_owned));
                names.collect()
            }
        };
        names.sort();
        Ok(names)
    }

    /// The folder `name` of this place as a store of its own.
    ///
    /// # Errors
    /// If it is a folder of a disk that cannot be opened, or its name is none.
    pub fn below(&self, name: &str) -> Result<Store, StoreError> {
        if let Some(folder) = &self.folder {
            return Store::open(&Location::local(folder.join(name)));
        }
        let path = self.location(name, StoreAction::Open)?;
        let inner = Arc::new(PrefixStore::new(Arc::clone(&self.inner), path));
        let (contact, runtime) = (Arc::clone(&self.contact), self.runtime);
        Ok(Store { inner, folder: None, runtime, contact, uri: self.display(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_a_disk_are_named_and_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/c/file", "a/file"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost")).unwrap();
        let store = Store::open(&Location::local(dir.path())).unwrap();
        assert_eq!(store.folders("").unwrap(), ["a", "b"]);
        let below = store.below("b").unwrap().below("c").unwrap();
        assert!(below.uri().ends_with("/b/c"), "{}", below.uri());
        assert_eq!(below.get("file").unwrap(), "b/c/file");
    }

    #[test]
    fn folders_of_a_bucket_are_prefixes() {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let store = Store::of(memory, "m");
        for name in ["b/c/file", "a/file", "file"] {
            store.put(name, name).unwrap();
        }
        assert_eq!(store.folders("").unwrap(), ["a", "b"]);
        let below = store.below("b").unwrap();
        assert_eq!((below.uri(), below.folders("").unwrap()), ("m/b", vec!["c".to_owned()]));
        assert_eq!(below.below("c").unwrap().get("file").unwrap(), "b/c/file");
    }

    #[test]
    fn folders_are_those_of_one_level() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::local(folder.path())).unwrap();
        for path in ["b/x", "a 1"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        for path in ["b/x/1", "b/2", "a 1/3", "file"] {
            std::fs::write(folder.path().join(path), "x").unwrap();
        }
        assert_eq!(store.folders("").unwrap(), ["a 1", "b"]);
        assert_eq!(store.folders("b").unwrap(), ["x"]);
        assert!(store.folders("none").unwrap().is_empty());
    }
}
