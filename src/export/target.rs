//! Files that are exported to. In: the place that a flag names. Out: a sink for bytes: stdout, or a file
//! on a disk or in a bucket that appears whole or not at all. A file that is there is replaced only if
//! an export wrote it, which its first bytes tell.

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use super::out_file::OutFile;
use super::{coco, csv, json_lines};
use crate::error::{Error, ExportError};
use crate::store::{GrowingFile, Location, Upload, why_unwritable};

/// What stands for stdout.
const STDOUT: &str = "-";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Csv,
    JsonLines,
    Coco,
}

impl FileKind {
    /// The name of the flag.
    pub fn flag(self) -> &'static str {
        match self {
            FileKind::Csv => "csv",
            FileKind::JsonLines => "json-lines",
            FileKind::Coco => "coco",
        }
    }

    fn what(self) -> &'static str {
        match self {
            FileKind::Csv => "CSV export",
            FileKind::JsonLines => "JSON Lines export",
            FileKind::Coco => "COCO export",
        }
    }

    /// Whether a file that begins so is an export of this kind, which may be written anew.
    fn is_ours(self, head: &[u8]) -> bool {
        let text = String::from_utf8_lossy(head);
        match self {
            FileKind::Csv => text.starts_with(csv::START),
            FileKind::JsonLines => {
                let line = text.lines().next().unwrap_or_default();
                line.starts_with(json_lines::START)
                    && json_lines::KEYS.iter().all(|key| line.contains(key))
            }
            FileKind::Coco => text.starts_with(coco::START),
        }
    }
}

/// A place for a file, which may be written.
#[derive(Debug, Clone)]
pub struct Target {
    pub kind: FileKind,
    shown: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Stdout,
    File(OutFile),
}

/// Where bytes go.
pub struct Sink {
    shown: String,
    to: To,
}

enum To {
    Stdout,
    /// Its reader has seen enough.
    Gone,
    Disk(PathBuf, GrowingFile),
    Bucket(Upload),
}

impl Target {
    /// What `text` names, before any work is done for it.
    ///
    /// # Errors
    /// If it cannot be written, or is there and no export of this kind.
    pub fn of(kind: FileKind, text: &str) -> Result<Self, Error> {
        if text == STDOUT {
            return Ok(Target { kind, shown: "stdout".to_string(), place: Place::Stdout });
        }
        let location = text.parse::<Location>()?;
        let shown = location.uri().to_string();
        let foreign = || {
            let (path, what, flag) = (shown.clone(), kind.what(), kind.flag());
            Error::from(ExportError::ForeignFile { path, what, flag })
        };
        // A device or a pipe begins with nothing.
        if location.disk().is_some_and(|path| path.exists() && !path.is_dir() && !path.is_file()) {
            return Err(foreign());
        }
        let place = OutFile::of(text, |head| kind.is_ours(head), |_| foreign())?;
        Ok(Target { kind, shown, place: Place::File(place) })
    }

    /// Whether it is stdout.
    pub fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout)
    }

    /// Begins to write.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn begin(&self) -> Result<Sink, Error> {
        let to = match &self.place {
            Place::Stdout => To::Stdout,
            Place::File(OutFile::Bucket(store, name)) => To::Bucket(store.upload(name)),
            Place::File(OutFile::Disk(path)) => {
                let file = GrowingFile::begin(path);
                To::Disk(path.clone(), file.map_err(|error| unwritable(path, &error))?)
            }
        };
        Ok(Sink { shown: self.shown.clone(), to })
    }
}

impl Sink {
    /// Writes `bytes`.
    ///
    /// # Errors
    /// If the place cannot be written; not if nobody reads stdout any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.to {
            To::Gone => Ok(()),
            To::Disk(path, file) => file.write(bytes).map_err(|error| unwritable(path, &error)),
            To::Bucket(upload) => Ok(upload.write(bytes)?),
            To::Stdout => match stdout().write_all(bytes) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.to = To::Gone;
                    Ok(())
                }
                written => written.map_err(|error| unwritable(&PathBuf::from(&self.shown), &error)),
            },
        }
    }

    /// Makes the file appear.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn finish(self) -> Result<(), Error> {
        match self.to {
            To::Gone => Ok(()),
            To::Disk(path, file) => file.finish().map_err(|error| unwritable(&path, &error)),
            To::Bucket(upload) => Ok(upload.finish()?),
            To::Stdout => match stdout().flush() {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                done => done.map_err(|error| unwritable(&PathBuf::from(&self.shown), &error)),
            },
        }
    }

    /// Whether nobody reads it any more.
    pub fn is_gone(&self) -> bool {
        matches!(self.to, To::Gone)
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::Unwritable { path: path.to_owned(), why: why_unwritable(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_export_wrote_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let named = path.to_str().unwrap();
        let of = |kind, text: &str| {
            std::fs::write(&path, text).unwrap();
            Target::of(kind, named).is_ok()
        };
        let csv = format!("{}map_max\nnut,a.png\n", csv::START);
        let coco = format!("{}0.2.0\"}}}}", coco::START);
        let line = format!("{}nut\",{}}}\n", json_lines::START, json_lines::KEYS.join("1,"));
        for (kind, ours) in
            [(FileKind::Csv, csv), (FileKind::Coco, coco), (FileKind::JsonLines, line)]
        {
            assert!(of(kind, &ours) && of(kind, ""), "{kind:?}");
            for foreign in ["category,image_id\n", "{}", "{\"category\":\"a\"}", "\u{89}PNG"] {
                assert!(!of(kind, foreign), "{kind:?} {foreign}");
            }
        }
        assert!(Target::of(FileKind::Csv, folder.path().to_str().unwrap()).is_err());
        assert!(Target::of(FileKind::Csv, "/nowhere/rows.csv").is_err());
    }
}
