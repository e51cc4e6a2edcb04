//! Files as memory. `unsafe`, as nothing else can map a file, and copying a bundle
//! of gigabytes into fresh pages takes several times as long as all else that loading does.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

/// A file mapped for reading. Pages are shared with every process that maps the same file.
#[derive(Debug, Clone)]
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is private and read-only, and every byte pattern is a valid number.
        // What remains is that somebody changes or cuts the file meanwhile: a bundle is moved to
        // its place complete and never written again, and nobody else's file is mapped.
        let mapping = unsafe { Mmap::map(&file)? };
        Ok(MappedFile(Arc::new(mapping)))
    }

    /// Its content; the file stays mapped as long as any part of it is held.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Gives back the memory of what was read so far. What is read again comes from the system's
    /// cache, or from the file.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    pub fn release_pages(&self) {
        use memmap2::UncheckedAdvice;

        // SAFETY: `DontNeed` loses what was written to a private mapping; nothing is ever written
        // to this one, so whoever holds a slice of it reads the same numbers as before.
        let result = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
        if let Err(error) = result {
            tracing::debug!("pages of weights stay in memory: {error}");
        }
    }

    #[cfg(not(unix))]
    pub fn release_pages(&self) {}
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers = (0..1_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>();
        std::fs::write(&path, &numbers).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let part = file.bytes().slice(5000..900_000);
        assert_eq!(part, numbers[5000..900_000]);
        file.release_pages();
        assert_eq!(part, numbers[5000..900_000]);
        drop(file);
        assert_eq!(part, numbers[5000..900_000]);
    }
}
