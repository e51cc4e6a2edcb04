//! Whether a place could be written, tried without leaving anything there. A location goes in; the
//! store comes out, or `None` where it is yet to be made.

use super::problem::failed;
use super::{Location, Store};
use crate::error::{StoreAction, StoreError};

impl Store {
    /// What [`Store::create`] would open. Of a folder it is tried whether a file can be made, in it or
    /// in the nearest one above that is there; a bucket is asked whether it answers, and whether it may
    /// be written shows only when it is.
    ///
    /// # Errors
    /// As [`Store::create`], and if a bucket does not answer.
    pub fn try_out(location: &Location) -> Result<Option<Store>, StoreError> {
        let Some(folder) = location.disk() else {
            let store = Store::open(location)?;
            store.check()?;
            return Ok(Some(store));
        };
        let cannot =
            |error: std::io::Error| failed(location.uri(), StoreAction::Open, error.into());
        let folder = std::path::absolute(folder).map_err(cannot)?;
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&folder);
        let name = format!(".filo-trial-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let trial = there.join(name);
        std::fs::write(&trial, "").map_err(cannot)?;
        std::fs::remove_file(&trial).map_err(cannot)?;
        if there != folder {
            return Ok(None);
        }
        let store = Store::open(location)?;
        store.check()?;
        Ok(Some(store))
    }
}
