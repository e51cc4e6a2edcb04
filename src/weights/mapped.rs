//! Files as memory. `unsafe`, as nothing else can map a file, and copying a bundle
//! of gigabytes into fresh pages takes several times as long as all else that loading does.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// The content of the file at `path`, mapped for reading. Pages are shared with every process that
/// maps the same file.
///
/// # Errors
/// If the file cannot be opened or mapped.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    // SAFETY: the mapping is private and read-only, and every byte pattern is a valid number. What
    // remains is that somebody changes or cuts the file meanwhile: a bundle is moved to its place
    // complete and never written again, and nobody else's file is mapped.
    let mapping = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(mapping))
}
