//! Any bytes as an image file and as a mask: decoded in both ways and resized.

#![no_main]

use filo::image::{DecodeLimits, Mask, Picture, Preprocess, Size};
use filo_fuzz::{check, check_message, fuzz_target};

/// Limits that keep a lucky header from slowing things down.
const LIMITS: DecodeLimits =
    DecodeLimits { max_pixels: 300_000, max_side: 4000, max_bytes: 8_000_000 };

fuzz_target!(|bytes: &[u8]| check(|| {
    for mode in [Preprocess::Sensible, Preprocess::Published] {
        match Picture::decode(bytes, mode, LIMITS) {
            Ok(picture) => {
                let Size { width, height } = picture.size();
                assert!((1..=LIMITS.max_pixels as usize).contains(&(width * height)));
                assert_eq!(picture.clip_pixels(16).size(), Size::square(16));
                // Of its own size, so that nothing is left of a mask but its samples.
                match Mask::of_files(&[bytes.to_vec()], &picture, mode, LIMITS) {
                    Ok(mask) => assert!(mask.area_px() <= (width * height) as u64),
                    Err(failure) => check_message(&failure.message),
                }
            }
            Err(failure) => check_message(&failure.message),
        }
    }
}));
