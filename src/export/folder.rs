//! Folders that are exported to. In: the place that a flag names, and files one by one. Out: those files
//! and no others of an earlier export: `_filo/export.json` says that a folder is one, and
//! `_filo/files.txt` which files it has. A folder with files of anybody else is refused.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::names::short_digest;
use crate::error::{Error, ExportError};
use crate::store::{Location, Store};

/// Says of a folder that an export wrote it.
const MARK: &str = "_filo/export.json";

/// The files of a finished export, a line each.
const FILES: &str = "_filo/files.txt";

/// What the program keeps for itself.
const OWN: &str = "_filo/";

/// Files that are looked at to find one of somebody else's.
const LOOKED_AT: usize = 64;

/// Files that are deleted at a time.
const DELETED_AT_ONCE: usize = 500;

/// A folder that may be written.
#[derive(Debug)]
pub struct Folder {
    location: Location,
    /// What its files are: the name of the flag.
    flag: &'static str,
}

/// The content of the mark.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// What the files are.
    holds: String,
    /// Whether all of them are there, and listed.
    finished: bool,
    program: String,
}

/// A folder that is being written.
pub struct Open {
    pub store: Store,
    flag: &'static str,
    /// Files of an earlier export.
    earlier: Vec<String>,
    /// Digests of the names of those that were written now.
    written: Mutex<HashSet<u64>>,
    listing: Mutex<crate::store::Upload>,
    n: AtomicU64,
}

impl Folder {
    /// What `text` names, before any work is done for it. Nothing is made yet.
    ///
    /// # Errors
    /// If it cannot be written, or holds what no export of this kind wrote.
    pub fn of(flag: &'static str, text: &str) -> Result<Self, Error> {
        let location = text.parse::<Location>()?;
        if let Some(store) = Store::try_out(&location)? {
            read_mark(&store, flag)?;
        }
        Ok(Folder { location, flag })
    }

    /// Begins to write.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn begin(&self) -> Result<Open, Error> {
        let store = Store::create(&self.location)?;
        let earlier = match read_mark(&store, self.flag)? {
            None => Vec::new(),
            Some(Mark { finished: true, .. }) => {
                let files = store.get_if_there(FILES)?.unwrap_or_default();
                String::from_utf8_lossy(&files).lines().map(str::to_string).collect()
            }
            // Whatever is there was written before it broke off.
            Some(_) => {
                let files = store.list("")?.into_iter().map(|file| file.path);
                files.filter(|path| path.ends_with(".png")).collect()
            }
        };
        // What a broken-off export had begun.
        store.remove_stale_uploads(&["_filo"])?;
        mark(&store, self.flag, false)?;
        let listing = Mutex::new(store.upload(FILES));
        let (written, n) = (Mutex::default(), AtomicU64::new(0));
        Ok(Open { store, flag: self.flag, earlier, written, listing, n })
    }
}

impl Open {
    /// Writes a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.store.put(name, bytes)?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(short_digest(name));
        let line = format!("{name}\n");
        let listing = self.listing.lock();
        listing.unwrap_or_else(PoisonError::into_inner).write(line.as_bytes())?;
        self.n.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many files were written.
    pub fn written(&self) -> u64 {
        self.n.load(Ordering::Relaxed)
    }

    /// Deletes what only an earlier export had, and says that this one is finished.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let Open { store, flag, mut earlier, written, listing, .. } = self;
        let written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Whoever changed the list must not have anything else deleted.
        earlier.retain(|name| {
            let is_ours = name.ends_with(".png") && !name.starts_with(OWN);
            is_ours && !written.contains(&short_digest(name))
        });
        for gone in earlier.chunks(DELETED_AT_ONCE) {
            let gone = gone.iter().filter(|name| is_below(name)).cloned();
            store.put_all(Vec::new(), gone.collect())?;
        }
        listing.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
        mark(&store, flag, true)
    }
}

/// Whether a name stays in its folder.
fn is_below(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn mark(store: &Store, flag: &str, finished: bool) -> Result<(), Error> {
    let program = concat!("filo ", env!("CARGO_PKG_VERSION")).to_string();
    let mark = Mark { holds: flag.to_string(), finished, program };
    let text = serde_json::to_string(&mark).unwrap_or_default();
    Ok(store.put(MARK, text)?)
}

/// The mark of an earlier export, or `None` if there is nothing.
fn read_mark(store: &Store, flag: &'static str) -> Result<Option<Mark>, Error> {
    let uri = || store.uri().to_string();
    let foreign = |example: String| ExportError::ForeignFolder { uri: uri(), example, flag };
    let Some(bytes) = store.get_if_there(MARK)? else {
        let files = store.list_at_most("", LOOKED_AT)?;
        // What was begun and killed is nobody's, but a run, or whatever else is called so, is not.
        return match files.into_iter().find(|file| !file.path.starts_with("_filo/staging/")) {
            Some(file) => Err(foreign(file.path).into()),
            None => Ok(None),
        };
    };
    match serde_json::from_slice::<Mark>(&bytes) {
        Ok(mark) if mark.holds == flag => Ok(Some(mark)),
        Ok(mark) => {
            let holds = mark.holds;
            Err(ExportError::OtherExport { uri: uri(), holds, flag }.into())
        }
        Err(_) => Err(foreign(MARK.to_string()).into()),
    }
}
