//! Promises about TIFF: every kind that is read has the pixels that Pillow shows, and the rest is
//! refused by its name. `tests/golden/tiff` and the digests of its pixels were made by
//! `scripts/make_tiffs.py` with Pillow 13.0.

mod support;

use std::path::Path;

use filo::error::FailureCode;
use filo::image::{DecodeLimits, Picture, Preprocess};
use support::pillow::{assert_pixels_of_pillow, files};

fn golden_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiff"))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_folder().join(format!("{name}.tif"))).unwrap()
}

#[test]
fn pixels_of_every_kind_are_those_of_pillow() {
    assert_eq!(assert_pixels_of_pillow(&files(golden_folder(), "tif")), 73);
}

/// The file with the number in the entry of `tag` replaced; little-endian, of the plain kind.
fn with_entry(bytes: &[u8], tag: u16, value: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let directory = u32::from_le_bytes(*bytes[4..].first_chunk().unwrap()) as usize;
    let entry = bytes[directory + 2..]
        .chunks_exact(12)
        .position(|entry| u16::from_le_bytes([entry[0], entry[1]]) == tag);
    let at = directory + 2 + 12 * entry.unwrap() + 8;
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn kinds_that_are_not_read_are_named() {
    const COMPRESSION: u16 = 259;
    const PHOTOMETRIC: u16 = 262;
    let grey = golden("orientation3");
    for (tag, value, name) in [
        (COMPRESSION, 3, "Fax3"),
        (COMPRESSION, 34712, "34712"),
        (COMPRESSION, 6, "JPEG"),
        (PHOTOMETRIC, 8, "CIELab"),
    ] {
        let bytes = with_entry(&grey, tag, value);
        let read = Picture::decode(&bytes, Preprocess::Sensible, DecodeLimits::default());
        let failure = read.unwrap_err();
        assert_eq!(failure.code, FailureCode::UnknownFormat, "{failure:?}");
        assert!(failure.message.contains(name), "{failure:?}");
        assert!(!failure.message.contains("fetch"), "{failure:?}");
    }
}

#[test]
fn headers_that_lie_are_failures() {
    let code = |bytes: &[u8]| {
        let read = Picture::decode(bytes, Preprocess::Sensible, DecodeLimits::default());
        read.unwrap_err().code
    };
    let grey = golden("orientation3");
    // One strip, so that its number stays right.
    let sides = [256, 257, 278];
    let huge = sides.iter().fold(golden("grey_raw"), |file, tag| with_entry(&file, *tag, 60_000));
    assert_eq!(code(&huge), FailureCode::TooLarge);
    assert_eq!(code(&with_entry(&grey, 256, 0)), FailureCode::CorruptImage);
    // More rows than strips, in a file of strips and in one of JPEG streams.
    assert_eq!(code(&with_entry(&grey, 257, 40_000)), FailureCode::CorruptImage);
    assert_eq!(code(&with_entry(&golden("rgb_jpeg"), 257, 40_000)), FailureCode::CorruptImage);
    assert_eq!(
        code(&with_entry(&golden("palette8_little_tiff"), 258, 16)),
        FailureCode::UnknownFormat
    );
}

#[test]
fn a_file_is_a_failure_or_whole_wherever_it_is_cut() {
    for (name, bytes, _) in files(golden_folder(), "tif") {
        let read = |bytes| Picture::decode(bytes, Preprocess::Sensible, DecodeLimits::default());
        let whole = read(&bytes).unwrap().rgb_pixels();
        for length in 4..bytes.len() {
            match read(&bytes[..length]) {
                Ok(found) => assert_eq!(found.rgb_pixels(), whole, "{name} cut at {length}"),
                Err(failure) => {
                    assert_eq!(failure.code, FailureCode::CorruptImage, "{name}: {failure:?}");
                }
            }
        }
    }
}

#[test]
fn further_pages_are_noticed() {
    let has_more = |bytes: &[u8]| {
        let read = Picture::decode(bytes, Preprocess::Sensible, DecodeLimits::default());
        read.unwrap().has_more_pages()
    };
    let mut bytes = golden("grey_raw");
    assert!(!has_more(&bytes));
    let directory = u32::from_le_bytes(*bytes[4..].first_chunk().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes(*bytes[directory..].first_chunk().unwrap()));
    let next = directory + 2 + 12 * entries;
    let second = bytes.len() as u32;
    bytes.extend_from_within(directory..next + 4);
    bytes[next..next + 4].copy_from_slice(&second.to_le_bytes());
    assert!(has_more(&bytes));
}
