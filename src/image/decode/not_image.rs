//! What a file is that no decoder here takes. In: its bytes. Out: a failure that names the format, or
//! what lies in its place, with advice that fits: a format that is not read is converted, a file
//! that is no image at all is fetched again.

use super::{failure, not_read};
use crate::error::{Failure, FailureCode};

/// Names of formats by the bytes they start with.
const STARTS: [(&[u8], &str); 16] = [
    (b"\0\0\0\x0CjP  \r\n", "JPEG 2000"),
    (b"\xFF\x4F\xFF\x51", "JPEG 2000"),
    (b"\0\0\0\x0CJXL \r\n", "JPEG XL"),
    (b"\xFF\x0A", "JPEG XL"),
    (b"II\xBC\x01", "JPEG XR"),
    (b"GIF8", "GIF"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"8BPS", "Photoshop (PSD)"),
    (b"\x76\x2F\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"farbfeld", "farbfeld"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"SIMPLE  =", "FITS"),
    (b"\0\0\x01\0", "ICO"),
];

/// Brands of the container that HEIC, AVIF and videos share, ISO/IEC 14496-12.
const BRANDS: [(&[u8], &str); 13] = [
    (b"heic", "HEIC"),
    (b"heix", "HEIC"),
    (b"heim", "HEIC"),
    (b"heis", "HEIC"),
    (b"hevc", "HEIC"),
    (b"hevx", "HEIC"),
    (b"avif", "AVIF"),
    (b"avis", "AVIF"),
    (b"jp2 ", "JPEG 2000"),
    (b"crx ", "Canon raw (CR3)"),
    (b"qt  ", "QuickTime video"),
    (b"isom", "MP4 video"),
    (b"mp42", "MP4 video"),
];

/// The failure for `bytes`, which are not empty and start like no format that is read.
pub(super) fn failure_of(bytes: &[u8]) -> Failure {
    if let Some(name) = format_of(bytes) {
        return not_read(name);
    }
    let what = if bytes.iter().all(|byte| *byte == 0) {
        "the file holds nothing but zeros, it was never written: fetch it again from its source"
    } else if bytes.starts_with(b"version https://git-lfs") {
        "the file is a pointer of Git LFS, not the image: run `git lfs pull` where it came from"
    } else if is_html(bytes) {
        "the file is a web page, perhaps the answer of a server: fetch the image again"
    } else {
        "the content is no image: PNG, JPEG, BMP, TIFF and WebP are read"
    };
    failure(FailureCode::UnknownFormat, what)
}

fn format_of(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, name)) = STARTS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(name);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some(container_of(bytes));
    }
    if is_netpbm(bytes) {
        return Some("Netpbm (PGM, PPM)");
    }
    text_start(bytes).contains("<svg").then_some("SVG")
}

/// The brand, or the first of the compatible ones that is known: `mif1` alone says only HEIF.
fn container_of(bytes: &[u8]) -> &'static str {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let brands = bytes.get(8..length.clamp(12, 256)).unwrap_or_else(|| &bytes[8..]);
    let known = |brand: &[u8]| BRANDS.iter().find(|(code, _)| *code == brand);
    match brands.as_chunks::<4>().0.iter().find_map(|brand| known(brand)) {
        Some((_, name)) => name,
        None => "HEIF or video",
    }
}

/// `P1` to `P7` and white space.
fn is_netpbm(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace())
}

fn is_html(bytes: &[u8]) -> bool {
    let start = text_start(bytes);
    start.contains("<!doctype html") || start.contains("<html")
}

/// The start of a text in lower case; nothing where it is no text.
fn text_start(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(512)];
    let text = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let text = text.trim_start_matches('\u{FEFF}').trim_start();
    if text.starts_with('<') { text.to_ascii_lowercase() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(bytes: &[u8], part: &str) {
        let failure = failure_of(bytes);
        assert_eq!(failure.code, FailureCode::UnknownFormat);
        assert!(failure.message.contains(part), "{}", failure.message);
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        says(b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "JPEG 2000");
        says(b"\xFF\x4F\xFF\x51\0\x2F", "JPEG 2000");
        says(b"\xFF\x0A\xF8\x01", "JPEG XL");
        says(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC");
        says(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC");
        says(b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", "AVIF");
        says(b"\0\0\0\x10ftypmif1\0\0\0\0", "HEIF");
        says(b"GIF89a", "GIF");
        says(b"<?xml version=\"1.0\"?>\n<svg xmlns=", "SVG");
        says(b"P5 96 80 255\n", "Netpbm");
    }

    #[test]
    fn what_lies_in_the_place_of_an_image_is_said() {
        says(&[0; 1000], "zeros");
        says(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
        says(b"\n<!DOCTYPE html><title>403", "web page");
        says(b"image_id,label\n", "PNG, JPEG, BMP, TIFF and WebP");
        // Shorter than the box it announces, and a length that is no box.
        says(b"\0\0\0\xFFftyp", "HEIF");
        says(b"\0\0\0\x01ftypav", "HEIF");
    }
}
