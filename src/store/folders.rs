//! The folders of a place, one level deep: in a bucket what its keys have before the next `/`. In: a
//! prefix. Out: names. Never here: what is in them, which may be millions of files.

use futures::FutureExt;

use super::Store;
use crate::error::{StoreAction, StoreError};

impl Store {
    /// The names of the folders right below the folder `prefix` ("" for the place itself), sorted.
    ///
    /// # Errors
    /// If the place cannot be listed.
    pub fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let location = self.location(prefix, StoreAction::List)?;
        let list = || self.inner.list_with_delimiter(Some(&location)).boxed();
        let listed = self.tried(list).map_err(|e| self.failed(prefix, StoreAction::List, e))?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename());
        let mut names = names.map(str::to_owned).collect::<Vec<_>>();
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Location;

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
