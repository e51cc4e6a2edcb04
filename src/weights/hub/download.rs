//! One file of a repository onto a disk. In: what the hub states of it. Out: the file, with the size and
//! the digest that were stated. What a cut or a stop leaves is kept under the digest's name, and only
//! the rest is asked for the next time; bytes of another content are never joined to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use reqwest::{StatusCode, Url};

use super::client::{Answered, Hub, broken_off};
use super::repository::{HubFile, Repository};
use super::tries::{Ending, Tries, Trouble, unless_stopped};
use super::unwritable;
use crate::error::HubError;
use crate::store::sync_folder_of;
use crate::weights::convert::Observer;

/// Digits of a digest in the name of a file that is not whole yet.
const DIGITS: usize = 16;

const PARTIAL: &str = ".partial";

/// A file on its way to a folder of this machine.
pub struct Download<'a> {
    pub hub: &'a Hub,
    pub repository: &'a Repository,
    pub file: &'a HubFile,
    /// Is there already.
    pub folder: &'a Path,
}

impl Download<'_> {
    /// Where the file is when it is whole: under its own name, without its folders.
    pub fn path(&self) -> PathBuf {
        self.folder.join(Path::new(&self.file.path).file_name().unwrap_or_default())
    }

    /// Where it is before, under a name that no other content has.
    fn partial(&self) -> PathBuf {
        let digest = &self.file.digest.as_str()[..DIGITS];
        self.folder.join(format!("{}{digest}{PARTIAL}", self.start_of_partials()))
    }

    fn start_of_partials(&self) -> String {
        format!("{}.", self.path().file_name().unwrap_or_default().to_string_lossy())
    }

    /// Bytes that are here, whole or not.
    pub fn here(&self) -> u64 {
        let bytes = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        bytes(self.path()).max(bytes(self.partial())).min(self.file.bytes)
    }

    /// Downloads what is missing, and holds all of it against the digest. `before` and `all` are the
    /// bytes of other files and in total, for the observer.
    ///
    /// # Errors
    /// If the hub does not give the file, gives another one, or it cannot be written here.
    pub fn run(&self, before: u64, all: u64, observer: &dyn Observer) -> Result<PathBuf, Ending> {
        let (path, partial) = (self.path(), self.partial());
        self.remove_others();
        // A whole one is left by a run whose conversion was cut off.
        if path.exists() && self.digest_of(&path, observer)? == self.file.digest.as_str() {
            observer.progress(before + self.file.bytes, all);
            return Ok(path);
        }
        let words = ["resolve", &self.repository.commit].into_iter();
        let words = self.repository.name.split('/').chain(words).chain(self.file.path.split('/'));
        let url = self.hub.url(words);
        self.hub.runtime().block_on(self.to_the_end(&url, &partial, before, all, observer))?;
        let found = self.digest_of(&partial, observer)?;
        if found != self.file.digest.as_str() {
            self.remove(&partial)?;
            let (file, stated) = (self.shown(), self.file.digest.as_str().to_owned());
            return Err(HubError::WrongDigest { file, stated, found }.into());
        }
        fs::rename(&partial, &path)
            .and_then(|()| sync_folder_of(&path))
            .map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }

    fn digest_of(&self, path: &Path, observer: &dyn Observer) -> Result<String, Ending> {
        self.file.digest.of_file(path, observer)
    }

    /// Removes what is left of another content of the file.
    fn remove_others(&self) {
        let (keep, start) = (self.partial(), self.start_of_partials());
        for entry in fs::read_dir(self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&start) && name.ends_with(PARTIAL) && entry.path() != keep {
                // Where it cannot be removed it is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    async fn to_the_end(
        &self,
        url: &Url,
        partial: &Path,
        before: u64,
        all: u64,
        observer: &dyn Observer,
    ) -> Result<(), Ending> {
        let failed = |error: std::io::Error| unwritable(partial, &error);
        let file = OpenOptions::new().create(true).append(true).open(partial);
        let file = file.map_err(failed)?;
        let here = file.metadata().map_err(failed)?.len();
        let progress = |here: u64| observer.progress(before + here, all);
        let mut tries = Tries::new(self.hub, observer, self.shown());
        let mut growing = Growing { file, here, most: here };
        if growing.here > self.file.bytes {
            growing.begin_anew().map_err(failed)?;
        }
        while growing.here < self.file.bytes {
            progress(growing.here);
            match self.grow(url, &mut growing, &mut tries, &progress, observer).await {
                Ok(()) => {}
                Err(trouble) => tries.after(trouble).await?,
            }
        }
        growing.file.sync_all().map_err(failed)?;
        Ok(())
    }

    /// Asks for the rest once, and writes what comes of it.
    async fn grow(
        &self,
        url: &Url,
        growing: &mut Growing,
        tries: &mut Tries<'_>,
        progress: &dyn Fn(u64),
        observer: &dyn Observer,
    ) -> Result<(), Trouble> {
        let what = self.shown();
        let failed = |error: std::io::Error| Trouble::from(unwritable(&self.partial(), &error));
        let asked = self.hub.get(url, &what, growing.here, tries, observer).await?;
        let Answered { mut response, peer } = asked;
        match given(response.status(), response.headers(), growing.here, self.file.bytes) {
            Given::Rest => {}
            Given::Whole => growing.begin_anew().map_err(failed)?,
            Given::Other => {
                growing.begin_anew().map_err(failed)?;
                let why = format!("{peer} answers with another part than the one asked for");
                return Err(Trouble::Passing { why, wait: None });
            }
            Given::OtherSize(bytes) => {
                self.remove(&self.partial())?;
                return Err(self.wrong_size(format!("it has {bytes}")).into());
            }
        }
        loop {
            let piece = unless_stopped(observer, response.chunk()).await.map_err(Trouble::Ended)?;
            let Some(piece) = piece.map_err(|_| broken_off(&peer))? else { break };
            if growing.here + piece.len() as u64 > self.file.bytes {
                self.remove(&self.partial())?;
                return Err(self.wrong_size("more came".to_owned()).into());
            }
            if growing.write(&piece).map_err(failed)? {
                tries.progressed();
            }
            progress(growing.here);
        }
        match growing.here < self.file.bytes {
            true => Err(broken_off(&peer)),
            false => Ok(()),
        }
    }

    /// The file, for messages.
    fn shown(&self) -> String {
        format!("{}/{}/{}", self.hub.address(), self.repository.name, self.file.path)
    }

    fn remove(&self, path: &Path) -> Result<(), HubError> {
        fs::remove_file(path).map_err(|error| unwritable(path, &error))
    }

    fn wrong_size(&self, found: String) -> HubError {
        HubError::WrongSize { file: self.shown(), stated: self.file.bytes, found }
    }
}

/// A file that is not whole yet.
struct Growing {
    file: File,
    here: u64,
    /// Most bytes that were ever here: a server that always begins anew makes no progress.
    most: u64,
}

impl Growing {
    /// Whether the file is longer than it ever was.
    fn write(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        self.file.write_all(piece)?;
        self.here += piece.len() as u64;
        let grown = self.here > self.most;
        self.most = self.most.max(self.here);
        Ok(grown)
    }

    fn begin_anew(&mut self) -> std::io::Result<()> {
        self.here = 0;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// What an answer holds.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    /// What was asked for: all from a byte on.
    Rest,
    /// The file from its beginning.
    Whole,
    Other,
    /// A file of another size than the one stated.
    OtherSize(u64),
}

/// What the headers of an answer promise where bytes from `start` on were asked for, of `bytes`.
fn given(status: StatusCode, headers: &HeaderMap, start: u64, bytes: u64) -> Given {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK => match text(CONTENT_LENGTH).and_then(|text| text.parse().ok()) {
            Some(length) if length != bytes => Given::OtherSize(length),
            _ => Given::Whole,
        },
        StatusCode::PARTIAL_CONTENT => {
            let range = text(CONTENT_RANGE).and_then(|text| text.strip_prefix("bytes "));
            let Some((range, size)) = range.and_then(|range| range.split_once('/')) else {
                return Given::Other;
            };
            let first = range.split_once('-').and_then(|(first, _)| first.parse::<u64>().ok());
            match (first, size.parse::<u64>()) {
                (_, Ok(size)) if size != bytes => Given::OtherSize(size),
                (Some(first), _) if first == start => Given::Rest,
                _ => Given::Other,
            }
        }
        _ => Given::Other,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn bytes_are_joined_only_where_they_belong() {
        let with = |status, name, value: &'static str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            given(status, &headers, 10, 30)
        };
        let (ok, part) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        assert_eq!(with(part, CONTENT_RANGE, "bytes 10-29/30"), Given::Rest);
        assert_eq!(with(part, CONTENT_RANGE, "bytes 10-29/*"), Given::Rest);
        assert_eq!(with(part, CONTENT_RANGE, "bytes 0-29/30"), Given::Other);
        assert_eq!(with(part, CONTENT_RANGE, "bytes 10-29/31"), Given::OtherSize(31));
        assert_eq!(with(part, CONTENT_LENGTH, "20"), Given::Other);
        assert_eq!(with(ok, CONTENT_LENGTH, "30"), Given::Whole);
        assert_eq!(with(ok, CONTENT_LENGTH, "20"), Given::OtherSize(20));
        assert_eq!(with(StatusCode::RANGE_NOT_SATISFIABLE, CONTENT_LENGTH, "0"), Given::Other);
    }
}
