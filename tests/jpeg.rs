//! Promises about JPEG: pixels are those of libjpeg-turbo, bit for bit, whatever the sampling; a file
//! that lacks pixels is corrupt wherever it was cut and whatever fills the gap; filling between
//! segments does no harm; codings that are not read are named. `tests/golden/jpeg` and the digests
//! of its pixels were made by `scripts/make_jpegs.py` with Pillow 13.0.

mod support;

use std::path::Path;
use std::time::Instant;

use filo::error::{Failure, FailureCode};
use filo::image::{DecodeLimits, Picture, Preprocess};
use support::pillow::{assert_pixels_of_pillow, files};
use support::run::python;

const START: [u8; 2] = [0xFF, 0xD8];
const END: [u8; 2] = [0xFF, 0xD9];

fn golden_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/jpeg"))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_folder().join(format!("{name}.jpg"))).unwrap()
}

fn pixels(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let picture = Picture::decode(bytes, Preprocess::Published, DecodeLimits::default())?;
    Ok(picture.rgb_pixels().as_bytes().to_vec())
}

#[track_caller]
fn assert_corrupt(bytes: &[u8], what: &str) {
    match pixels(bytes) {
        Ok(_) => panic!("{what}: read"),
        Err(failure) => assert_eq!(failure.code, FailureCode::CorruptImage, "{what}: {failure:?}"),
    }
}

#[test]
fn pixels_of_the_golden_files_are_those_of_pillow() {
    assert_eq!(assert_pixels_of_pillow(&files(golden_folder(), "jpg")), 34);
}

#[test]
fn pixels_of_306_files_of_all_samplings_are_those_of_pillow() {
    let folder = tempfile::tempdir().unwrap();
    python(|command| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make_jpegs.py");
        command.arg(script).arg(folder.path());
    });
    assert_eq!(assert_pixels_of_pillow(&files(folder.path(), "jpg")), 306);
}

#[test]
fn a_file_is_corrupt_wherever_it_is_cut_with_or_without_an_end_marker() {
    for (name, bytes, _) in files(golden_folder(), "jpg") {
        let whole = pixels(&bytes).unwrap();
        for length in 3..bytes.len() {
            let cut = &bytes[..length];
            // Only zeros may follow the last pixel in place of an end marker.
            let is_whole = length >= bytes.len() - 2 && cut.ends_with(&[0]);
            match pixels(cut) {
                Ok(found) => assert!(is_whole && found == whole, "{name} cut at {length}"),
                Err(failure) => {
                    assert_eq!(failure.code, FailureCode::CorruptImage, "{name} at {length}");
                }
            }
            let ended = [cut, &END].concat();
            match pixels(&ended) {
                Ok(found) => assert_eq!(found, whole, "{name} cut at {length} and ended"),
                Err(failure) => {
                    assert_eq!(failure.code, FailureCode::CorruptImage, "{name} at {length}");
                }
            }
        }
    }
}

#[test]
fn a_tail_of_zeros_is_no_pixels_even_before_an_end_marker() {
    for name in ["420_19x13", "444_19x13_restarts", "grey_19x13", "422_19x13_progressive"] {
        let bytes = golden(name);
        for missing in [40, 25, 12] {
            let zeros = vec![0; 400];
            let filled = [&bytes[..bytes.len() - 2 - missing], &zeros].concat();
            assert_corrupt(&filled, &format!("{name}, {missing} bytes missing"));
            let ended = [&filled[..], &END].concat();
            assert_corrupt(&ended, &format!("{name}, {missing} bytes missing, ended"));
        }
    }
}

#[test]
fn filling_between_and_after_segments_changes_nothing() {
    for name in ["420_19x13", "cmyk_19x13", "422_19x13_progressive"] {
        let bytes = golden(name);
        let whole = pixels(&bytes).unwrap();
        let (before_end, _) = bytes.split_at(bytes.len() - 2);
        let first = 4 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        for filling in [&[0; 6][..], &[0xFF; 5], &[0; 64], b"pad"] {
            for (place, filled) in [
                ("behind the first segment", [&bytes[..first], filling, &bytes[first..]].concat()),
                ("before the end marker", [before_end, filling, &END].concat()),
                ("behind the end marker", [&bytes, filling].concat()),
            ] {
                let found = pixels(&filled);
                assert_eq!(found.as_ref(), Ok(&whole), "{name}, {filling:?} {place}");
            }
        }
        assert_eq!(pixels(&[before_end, &[0; 300]].concat()).as_ref(), Ok(&whole), "{name}");
        assert_eq!(pixels(&[&bytes[..], &bytes].concat()).as_ref(), Ok(&whole), "{name}, two");
    }
}

#[test]
fn zeros_at_the_end_of_a_flat_image_are_its_pixels() {
    // With codes of its own, the scan of a black image is made of zero bits.
    let black = image::GrayImage::from_pixel(800, 800, image::Luma([0]));
    let mut encoder = libjpeg_turbo_rs::Encoder::new(
        black.as_raw(),
        800,
        800,
        libjpeg_turbo_rs::PixelFormat::Grayscale,
    );
    encoder = encoder.optimize_huffman(true);
    let bytes = encoder.encode().unwrap();
    assert!(bytes.windows(64).any(|window| window == [0; 64]), "the test has its zeros");
    assert!(pixels(&bytes).unwrap().iter().all(|value| *value == 0));
}

/// The file with other bytes in its frame header, counted from the marker.
fn with_frame(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let is_frame = |pair: &[u8]| pair[0] == 0xFF && matches!(pair[1], 0xC0..=0xC2);
    let at = bytes.windows(2).position(is_frame).unwrap();
    change(&mut bytes[at..]);
    bytes
}

#[test]
fn codings_that_are_not_read_are_named_and_nobody_is_told_to_fetch_them_again() {
    let bytes = golden("420_19x13");
    let marker = |code: u8| with_frame(&bytes, |frame| frame[1] = code);
    for (file, name) in [
        (with_frame(&bytes, |frame| frame[4] = 12), "12-bit JPEG"),
        (marker(0xC3), "lossless JPEG"),
        (marker(0xC5), "hierarchical JPEG"),
        (marker(0xC9), "arithmetic"),
        (marker(0xCA), "arithmetic"),
        (marker(0xF7), "JPEG-LS"),
    ] {
        let failure = pixels(&file).unwrap_err();
        assert_eq!(failure.code, FailureCode::UnknownFormat, "{failure:?}");
        assert!(failure.message.contains(name), "{failure:?}");
        assert!(!failure.message.contains("fetch"), "{failure:?}");
    }
}

#[test]
fn headers_that_lie_are_failures() {
    let bytes = golden("420_19x13_progressive");
    let sized = |height: [u8; 2], width: [u8; 2]| {
        with_frame(&bytes, |frame| {
            frame[5..7].copy_from_slice(&height);
            frame[7..9].copy_from_slice(&width);
        })
    };
    assert_corrupt(&sized([0, 0], [0, 19]), "no height");
    assert_eq!(pixels(&sized([0xFF; 2], [0xFF; 2])).unwrap_err().code, FailureCode::TooLarge);
    assert_corrupt(&sized([8, 0], [8, 0]), "more pixels than scans");
    assert_corrupt(&[&START[..], &END].concat(), "nothing between start and end");
    assert_corrupt(&[&START[..], &[0xFF; 1000]].concat(), "nothing but filling");
}

/// Beside the decoder of the `image` crate, which filo used before. In one process, in turn; the
/// fastest of nine counts.
#[test]
#[ignore = "measures"]
fn time_beside_the_decoder_of_the_image_crate() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import sys, numpy as np
from PIL import Image
rng = np.random.default_rng(1)
for side in (900, 2048):
    base = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3)).astype('u1'))
    noise = rng.normal(0, 6, (side, side, 1)).astype(int)
    values = np.asarray(base.resize((side, side), 3)).astype(int) + noise
    image = Image.fromarray(values.clip(0, 255).astype('u1'))
    for sampling in ('4:4:4', '4:2:2', '4:2:0'):
        for progressive in (False, True):
            name = f'{side}_{sampling[::2]}_{\"progressive\" if progressive else \"baseline\"}.jpg'
            path = f'{sys.argv[1]}/{name}'
            image.save(path, quality=90, subsampling=sampling, progressive=progressive)
";
    python(|command| {
        command.arg("-c").arg(script).arg(folder.path());
    });
    let mut paths: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut sums = [0.0; 2];
    println!("| file | ours, ms | image crate, ms | ratio |\n|---|---|---|---|");
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let mut best = [f64::INFINITY; 2];
        for _ in 0..9 {
            let started = Instant::now();
            let limits = DecodeLimits::default();
            let ours = Picture::decode(&bytes, Preprocess::Sensible, limits).unwrap();
            best[0] = best[0].min(started.elapsed().as_secs_f64());
            let started = Instant::now();
            let theirs = image::load_from_memory(&bytes).unwrap();
            best[1] = best[1].min(started.elapsed().as_secs_f64());
            assert_eq!(ours.size().width, theirs.width() as usize);
        }
        let name = path.file_stem().unwrap().to_string_lossy();
        let [ours, theirs] = best.map(|seconds| 1e3 * seconds);
        println!("| {name} | {ours:.2} | {theirs:.2} | {:.2} |", ours / theirs);
        sums = [sums[0] + ours, sums[1] + theirs];
    }
    println!("| all | {:.1} | {:.1} | {:.2} |", sums[0], sums[1], sums[0] / sums[1]);
}
