//! Any bytes as an image file: decoded in both ways and resized. Good first inputs lie in
//! `tests/golden/jpeg`, `tests/golden/tiff` and `tests/golden/preprocess`.

#![no_main]

use filo::image::{DecodeLimits, Picture, Preprocess};
use libfuzzer_sys::fuzz_target;

/// Limits that keep a lucky header from slowing things down.
const LIMITS: DecodeLimits =
    DecodeLimits { max_pixels: 300_000, max_side: 4000, max_bytes: 8_000_000 };

fuzz_target!(|bytes: &[u8]| {
    for mode in [Preprocess::Sensible, Preprocess::Published] {
        if let Ok(picture) = Picture::decode(bytes, mode, LIMITS) {
            let _ = picture.clip_pixels(16);
        }
    }
});
