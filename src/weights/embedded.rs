//! The weights inside the program: a bundle of half precision, `nano`, which learnt from images
//! of the generator of `train`; and the backbone, `lite0`, which `scripts/convert_backbone.py` makes.
//! In: a file's name. Out: its bytes, where the program lies in memory; nothing is unpacked. To replace
//! the bundle:
//!
//! ```text
//! rm -r assets/nano/bundle
//! filo weights convert --from TRAINED --precision f16 --to assets/nano/bundle --licence TEXT
//! ```

use bytes::Bytes;

/// What `--weights` calls it.
pub const NAME: &str = "nano";

/// `bundle.json`.
pub const MANIFEST: &str = include_str!("../../assets/nano/bundle/bundle.json");

/// A bundle of this size has one file.
const FILE: &str = "filo-00001-of-00001.safetensors";

/// Where a file of numbers should begin, so that they can be read in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static NUMBERS: &Aligned<[u8]> =
    &Aligned(*include_bytes!("../../assets/nano/bundle/filo-00001-of-00001.safetensors"));

/// A file of the bundle.
pub fn file(name: &str) -> Option<Bytes> {
    (name == FILE).then(|| Bytes::from_static(&NUMBERS.0))
}

/// What the backbone is called in messages.
pub const BACKBONE_NAME: &str = "lite0";

/// Dimensions of the backbone.
pub const BACKBONE_CONFIG: &str = include_str!("../../assets/lite0/config.json");

static BACKBONE: &Aligned<[u8]> =
    &Aligned(*include_bytes!("../../assets/lite0/backbone.safetensors"));

/// The numbers of the backbone, a safetensors file.
pub fn backbone() -> Bytes {
    Bytes::from_static(&BACKBONE.0)
}
