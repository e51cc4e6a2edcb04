//! Files whose pixels Pillow has decoded: a folder of them, with `digests.json`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use filo::image::{DecodeLimits, Picture, Preprocess};

/// The files of a folder: name, bytes, digest of the pixels.
pub fn files(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>, String)> {
    let digests = std::fs::read(folder.join("digests.json")).unwrap();
    let digests: BTreeMap<String, String> = serde_json::from_slice(&digests).unwrap();
    let file = |(name, digest): (String, String)| {
        let bytes = std::fs::read(folder.join(format!("{name}.{extension}"))).unwrap();
        (name, bytes, digest)
    };
    digests.into_iter().map(file).collect()
}

/// Decodes each file in both modes; returns how many there were.
#[track_caller]
pub fn assert_pixels_of_pillow(files: &[(String, Vec<u8>, String)]) -> usize {
    for (name, bytes, expected) in files {
        for mode in [Preprocess::Published, Preprocess::Sensible] {
            let image = Picture::decode(bytes, mode, DecodeLimits::default())
                .unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
            let pixels = image.rgb_pixels();
            let digest = ring::digest::digest(&ring::digest::SHA256, pixels.as_bytes());
            let hex = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
            assert_eq!(hex, *expected, "{name}, {mode:?}");
        }
    }
    files.len()
}
