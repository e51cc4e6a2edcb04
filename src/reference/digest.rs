//! The digest of an image file: tells an image, and exact copies of it, from all others.

/// BLAKE3 of the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a file with this content.
    pub fn of(file: &[u8]) -> Self {
        Digest(*blake3::hash(file).as_bytes())
    }

    /// In hexadecimal.
    pub fn to_hex(self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }

    /// Its first 16 bytes in hexadecimal: enough to tell files apart.
    pub fn short_hex(self) -> String {
        let mut hex = self.to_hex();
        hex.truncate(32);
        hex
    }

    /// One of `count` things, at least 1, as if by chance.
    pub fn choose(self, count: usize) -> usize {
        let (first, _) = self.0.split_first_chunk().expect("32 bytes");
        (u64::from_le_bytes(*first) % count as u64) as usize
    }

    /// From [`Digest::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Digest(*hash.as_bytes()))
    }
}
