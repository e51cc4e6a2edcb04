//! A place for one file that is written whole. In: what a user calls it, and which files there may be
//! replaced, which their first bytes tell. Out: a path, or an object of a bucket, that may be written.

use std::io::Read;
use std::path::PathBuf;

use crate::error::Error;
use crate::store::{Location, Store, why_unwritable};

/// Bytes of a file in which it shows what it is.
const HEAD: u64 = 4096;

/// A place that may be written.
#[derive(Debug, Clone)]
pub enum OutFile {
    Disk(PathBuf),
    /// The folder, and the file's name in it.
    Bucket(Store, String),
}

impl OutFile {
    /// What `text` names, before any work is done for it. A file that is there and not empty must be
    /// `is_ours`; otherwise it is `foreign`, which is told its path.
    ///
    /// # Errors
    /// If it cannot be written, or is foreign.
    pub fn of(
        text: &str,
        is_ours: impl Fn(&[u8]) -> bool,
        foreign: impl Fn(PathBuf) -> Error,
    ) -> Result<Self, Error> {
        let location = text.parse::<Location>()?;
        let failed = |why: &str| {
            let (path, why) = (location.uri().into(), why.to_string());
            Err(Error::Unwritable { path, why })
        };
        let is_folder = || failed("is a folder: name a file in it");
        if let Some(bucket) = location.bucket() {
            let (folder, name) = bucket.prefix.rsplit_once('/').unwrap_or(("", &bucket.prefix));
            if name.is_empty() || text.ends_with('/') {
                return is_folder();
            }
            let store = Store::open(&location.with_prefix(folder))?;
            store.check()?;
            let bytes = store.size(name)?.unwrap_or_default().min(HEAD);
            if bytes > 0 && !is_ours(&store.get_range(name, 0..bytes)?) {
                return Err(foreign(store.display(name).into()));
            }
            return Ok(OutFile::Bucket(store, name.to_string()));
        }
        let path = location.disk().unwrap_or(text.as_ref()).to_owned();
        if path.is_dir() || path.file_name().is_none() || text.ends_with('/') {
            return is_folder();
        }
        if path.exists() {
            let unreadable = |error: std::io::Error| {
                let (path, why) = (path.clone(), why_unwritable(&error));
                Error::Unwritable { path, why }
            };
            let mut head = Vec::new();
            let file = std::fs::File::open(&path).map_err(unreadable)?;
            file.take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
            if !head.is_empty() && !is_ours(&head) {
                return Err(foreign(path));
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.is_none_or(|folder| folder.is_dir()) {
            true => Ok(OutFile::Disk(path)),
            false => failed("there is no such folder: make it"),
        }
    }
}
