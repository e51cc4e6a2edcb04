//! What a hub states of the content of a file. In: text from a hub. Out: a digest that a file on a disk
//! is held against. Large files have a SHA-256; the others that of git, a SHA-1, good enough against
//! slips only: no weights are accepted by it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::tries::Ending;
use super::unwritable;
use crate::weights::convert::Observer;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Digest of a file, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    Sha256(String),
    /// Of git: over a header with the size, and the file.
    GitBlob(String),
}

impl Digest {
    /// A SHA-256 as hubs write it.
    pub(super) fn sha256(text: &str) -> Option<Self> {
        let text = text.strip_prefix("sha256:").unwrap_or(text).trim_matches('"');
        is_hex(text, 64).then(|| Digest::Sha256(text.to_ascii_lowercase()))
    }

    /// The name that git has for a file.
    pub(super) fn git_blob(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Digest::GitBlob(text.to_ascii_lowercase()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        let (Digest::Sha256(text) | Digest::GitBlob(text)) = self;
        text
    }

    fn start(&self, bytes: u64) -> Context {
        match self {
            Digest::Sha256(_) => Context::new(&SHA256),
            Digest::GitBlob(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {bytes}\0").as_bytes());
                context
            }
        }
    }

    /// The digest of this kind that the file at `path` has, which the observer may be tired of.
    pub(super) fn of_file(&self, path: &Path, observer: &dyn Observer) -> Result<String, Ending> {
        let unreadable = |error: std::io::Error| Ending::from(unwritable(path, &error));
        let mut file = File::open(path).map_err(unreadable)?;
        let mut context = self.start(file.metadata().map_err(unreadable)?.len());
        let mut piece = vec![0; PIECE];
        loop {
            if observer.stopped() {
                return Err(Ending::Stopped);
            }
            match file.read(&mut piece).map_err(unreadable)? {
                0 => return Ok(hex(context.finish().as_ref())),
                read => context.update(&piece[..read]),
            }
        }
    }
}

/// Whether `text` is this many hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Observer for Nobody {
        fn progress(&self, _: u64, _: u64) {}

        fn stopped(&self) -> bool {
            false
        }
    }

    #[test]
    fn digests_are_those_of_sha256sum_and_git_hash_object() {
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let stated = Digest::sha256(&format!("sha256:{}", sha256.to_ascii_uppercase())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello").unwrap();
        let found = |digest: &Digest| digest.of_file(&path, &Nobody).unwrap();
        assert_eq!((stated.as_str(), found(&stated).as_str()), (sha256, sha256));
        let blob = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(found(&Digest::git_blob(blob).unwrap()), blob);
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for text in ["", "sha256:", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert_eq!(Digest::sha256(text), None, "{text}");
        }
        assert_eq!(Digest::git_blob(&"a".repeat(64)), None);
    }
}
