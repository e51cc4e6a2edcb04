//! Promises about images: published preprocessing is equal to the reference byte for byte, the
//! sensible one does what a person expects, and a bad file is a failure with the right code.
//! The golden files were made with Pillow 10.2 and torchvision.

use std::io::Cursor;
use std::path::Path;

use filo::error::FailureCode;
use filo::image::{
    ChannelStats, DecodeLimits, DetectorSide, Mask, Picture, Preprocess, Rgb8, Size, normalize,
};
use image::{DynamicImage, ImageFormat};
use proptest::prelude::*;
use serde_json::Value;

const CLIP_SIDE: usize = 518;
const DETECTOR_SIDE: DetectorSide = DetectorSide { shorter: 518, longest: 1333 };

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/preprocess"));
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn cases() -> Value {
    serde_json::from_slice(&golden("cases.json")).unwrap()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} in {case}"))
}

/// Decoded by the `image` crate, independently of ours.
fn pixels_of(name: &str) -> image::RgbImage {
    image::load_from_memory(&golden(name)).unwrap().to_rgb8()
}

fn decode(name: &str, mode: Preprocess) -> Picture {
    Picture::decode(&golden(name), mode, DecodeLimits::default())
        .unwrap_or_else(|failure| panic!("{name}: {failure:?}"))
}

fn code_of(bytes: &[u8]) -> FailureCode {
    Picture::decode(bytes, Preprocess::Sensible, DecodeLimits::default()).unwrap_err().code
}

fn largest_difference(ours: &Rgb8, expected: &image::RgbImage) -> u8 {
    let size = (ours.size().width as u32, ours.size().height as u32);
    assert_eq!(size, expected.dimensions());
    ours.as_bytes().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn published_pixels_equal_the_reference_for_every_mode_and_format() {
    for case in cases()["cases"].as_array().unwrap() {
        let input = text(case, "input");
        let picture = decode(input, Preprocess::Published);
        let size = Size {
            width: case["size_wh"][0].as_u64().unwrap() as usize,
            height: case["size_wh"][1].as_u64().unwrap() as usize,
        };
        assert_eq!(picture.size(), size, "{input}");
        let clip = pixels_of(text(case, "clip_resized"));
        let difference = largest_difference(&picture.clip_pixels(CLIP_SIDE), &clip);
        assert_eq!(difference, 0, "{input}, CLIP side");
        let detector = pixels_of(text(case, "gdino_resized"));
        let difference = largest_difference(&picture.detector_pixels(&DETECTOR_SIDE), &detector);
        assert_eq!(difference, 0, "{input}, detector side");
    }
}

#[test]
fn resizing_the_pixels_that_libjpeg_decoded_is_exact() {
    for name in ["exif_rot6.jpg", "gray.jpg", "tall_640x900.jpg", "rgb_cmyk.jpg"] {
        let picture = decode(&format!("decoded_{name}.png"), Preprocess::Published);
        let source = name.trim_start_matches("rgb_");
        let detector = pixels_of(&format!("gdino_{source}.png"));
        let difference = largest_difference(&picture.detector_pixels(&DETECTOR_SIDE), &detector);
        assert_eq!(difference, 0, "{name}, detector side");
        // CMYK is resized before it becomes RGB on the CLIP side, so RGB cannot stand for it.
        if source == name {
            let clip = pixels_of(&format!("clip518_{source}.png"));
            let difference = largest_difference(&picture.clip_pixels(CLIP_SIDE), &clip);
            assert_eq!(difference, 0, "{name}, CLIP side");
        }
    }
}

#[test]
fn decoded_jpegs_are_those_of_libjpeg() {
    for name in ["exif_rot6.jpg", "gray.jpg", "tall_640x900.jpg", "cmyk.jpg"] {
        let ours = decode(&format!("in_{name}"), Preprocess::Published).rgb_pixels();
        let decoded = name.replace("cmyk", "rgb_cmyk");
        let difference = largest_difference(&ours, &pixels_of(&format!("decoded_{decoded}.png")));
        assert_eq!(difference, 0, "{name}");
    }
}

/// Mean, standard deviation and extremes over a plane are those of the reference, and so are the
/// sampled values, bit for bit.
fn check_planes(input: &str, picture: &Rgb8, stats: &ChannelStats, expected: &Value) {
    let planes = normalize(picture, stats);
    let Size { width, height } = picture.size();
    assert_eq!(expected["shape"], serde_json::json!([3, height, width]), "{input}");
    for (c, plane) in planes.chunks_exact(width * height).enumerate() {
        let count = plane.len() as f64;
        let mean = plane.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = plane.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - expected["mean"][c].as_f64().unwrap()).abs() < 1e-9, "{input}");
        let deviation = expected["std_population"][c].as_f64().unwrap();
        assert!((square.sqrt() - deviation).abs() < 1e-9, "{input}");
        let least = plane.iter().copied().fold(f32::INFINITY, f32::min);
        let most = plane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(least, expected["min"][c].as_f64().unwrap() as f32, "{input}");
        assert_eq!(most, expected["max"][c].as_f64().unwrap() as f32, "{input}");
        for sample in expected["samples"].as_array().unwrap() {
            let (y, x) = (sample["y"].as_u64().unwrap(), sample["x"].as_u64().unwrap());
            let value = plane[y as usize * width + x as usize];
            assert_eq!(value, sample["value"][c].as_f64().unwrap() as f32, "{input} {y} {x}");
        }
    }
}

#[test]
fn normalised_planes_equal_the_reference() {
    for case in cases()["cases"].as_array().unwrap() {
        let input = text(case, "input");
        let picture = decode(input, Preprocess::Published);
        let clip = picture.clip_pixels(CLIP_SIDE);
        check_planes(input, &clip, &ChannelStats::CLIP, &case["clip_tensor"]);
        let detector = picture.detector_pixels(&DETECTOR_SIDE);
        check_planes(input, &detector, &ChannelStats::IMAGENET, &case["gdino_tensor"]);
    }
}

#[test]
fn resized_masks_equal_the_reference() {
    for case in cases()["masks"].as_array().unwrap() {
        let input = golden(text(case, "input"));
        let (mode, limits) = (Preprocess::Published, DecodeLimits::default());
        let image = Picture::decode(&input, mode, limits).unwrap();
        let mask = Mask::of_files(&[input], &image, mode, limits).unwrap();
        let resized = mask.resize(Size::square(CLIP_SIDE));
        let grey = image::load_from_memory(&golden(text(case, "resized"))).unwrap().to_luma8();
        let expected: Vec<u8> = grey.as_raw().iter().map(|v| u8::from(*v >= 128)).collect();
        assert_eq!(resized.values(), expected);
        assert_eq!(Some(resized.area_px()), case["foreground_pixels_after_threshold"].as_u64());
    }
}

#[test]
fn sensible_reading_scales_sixteen_bits_instead_of_turning_them_white() {
    let expected = image::load_from_memory(&golden("in_gray16.png")).unwrap().to_luma8();
    let ours = decode("in_gray16.png", Preprocess::Sensible).rgb_pixels();
    let expected = DynamicImage::ImageLuma8(expected).to_rgb8();
    assert_eq!(largest_difference(&ours, &expected), 0);
    let published = decode("in_gray16.png", Preprocess::Published).rgb_pixels();
    let white = |picture: &Rgb8| picture.as_bytes().iter().filter(|v| **v == 255).count();
    assert!(white(&published) > 10 * white(&ours).max(1));
}

#[test]
fn sensible_reading_turns_a_picture_as_exif_says() {
    let picture = decode("in_exif_rot6.jpg", Preprocess::Sensible);
    assert_eq!(picture.size(), Size { width: 90, height: 150 });
    let upright = image::imageops::rotate90(&pixels_of("decoded_exif_rot6.jpg.png"));
    assert_eq!(largest_difference(&picture.rgb_pixels(), &upright), 0);
}

#[test]
fn sensible_reading_resizes_a_palette_picture_as_the_colours_it_shows() {
    let plain = DynamicImage::ImageRgb8(pixels_of("in_palette.png"));
    let plain = encoded(&plain, ImageFormat::Png);
    let plain = Picture::decode(&plain, Preprocess::Sensible, DecodeLimits::default()).unwrap();
    let palette = decode("in_palette.png", Preprocess::Sensible);
    assert_eq!(palette.clip_pixels(CLIP_SIDE), plain.clip_pixels(CLIP_SIDE));
    let published = decode("in_palette.png", Preprocess::Published);
    assert_ne!(palette.clip_pixels(CLIP_SIDE), published.clip_pixels(CLIP_SIDE));
}

#[test]
fn alpha_never_changes_the_colours_under_it_whatever_the_size() {
    // 518 is the network's own side, where nothing is resized.
    for side in [127, 128, 129, 517, 518, 519] {
        let colours = image::RgbImage::from_fn(side, side, |x, y| {
            image::Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8])
        });
        let see_through = image::RgbaImage::from_fn(side, side, |x, y| {
            let [r, g, b] = colours.get_pixel(x, y).0;
            image::Rgba([r, g, b, if (x / 9 + y / 9) % 2 == 0 { 0 } else { (x * 3) as u8 }])
        });
        let (opaque, see_through) =
            (DynamicImage::ImageRgb8(colours), DynamicImage::ImageRgba8(see_through));
        for (opaque, see_through) in
            [(opaque.to_luma8().into(), see_through.to_luma_alpha8().into()), (opaque, see_through)]
        {
            let [opaque, see_through] = [&opaque, &see_through].map(|picture| {
                let bytes = encoded(picture, ImageFormat::Png);
                Picture::decode(&bytes, Preprocess::Sensible, DecodeLimits::default()).unwrap()
            });
            assert_eq!(opaque.clip_pixels(518), see_through.clip_pixels(518), "{side}");
            let [opaque, see_through] =
                [opaque, see_through].map(|p| p.detector_pixels(&DETECTOR_SIDE));
            assert_eq!(opaque, see_through, "{side}");
        }
    }
}

#[test]
fn a_bmp_that_is_nowhere_opaque_is_read_as_if_it_had_no_alpha() {
    let picture = image::RgbaImage::from_fn(40, 30, |x, y| image::Rgba([x as u8, y as u8, 9, 0]));
    let bytes = encoded(&DynamicImage::ImageRgba8(picture.clone()), ImageFormat::Bmp);
    let plain = encoded(&DynamicImage::ImageRgba8(picture).to_rgb8().into(), ImageFormat::Png);
    for mode in [Preprocess::Sensible, Preprocess::Published] {
        let [found, expected] = [&bytes, &plain]
            .map(|bytes| Picture::decode(bytes, mode, DecodeLimits::default()).unwrap());
        assert_eq!(found.clip_pixels(128), expected.clip_pixels(128), "{mode:?}");
    }
}

#[test]
fn every_format_gives_the_same_pixels() {
    let pixels = pixels_of("in_rgb_150x90.png");
    let picture = DynamicImage::ImageRgb8(pixels.clone());
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let bytes = encoded(&picture, format);
        let ours = Picture::decode(&bytes, Preprocess::Published, DecodeLimits::default()).unwrap();
        assert_eq!(largest_difference(&ours.rgb_pixels(), &pixels), 0, "{format:?}");
    }
}

#[test]
fn grey_pictures_of_every_format_are_resized_alike() {
    let eight = DynamicImage::ImageRgb8(pixels_of("in_gray8.png")).to_luma8();
    let sixteen = DynamicImage::ImageLuma8(eight.clone()).to_luma16();
    let expected = decode("in_gray8.png", Preprocess::Sensible).clip_pixels(CLIP_SIDE);
    for (picture, format) in [
        (DynamicImage::ImageLuma8(eight.clone()), ImageFormat::Bmp),
        (DynamicImage::ImageLuma8(eight), ImageFormat::Tiff),
        (DynamicImage::ImageLuma16(sixteen.clone()), ImageFormat::Tiff),
        (DynamicImage::ImageLuma16(sixteen), ImageFormat::Png),
    ] {
        let bytes = encoded(&picture, format);
        let ours = Picture::decode(&bytes, Preprocess::Sensible, DecodeLimits::default()).unwrap();
        assert_eq!(ours.clip_pixels(CLIP_SIDE), expected, "{format:?}");
    }
}

#[test]
fn a_picture_of_one_pixel_fills_both_planes() {
    let pixel = image::RgbImage::from_pixel(1, 1, image::Rgb([10, 200, 30]));
    let bytes = encoded(&DynamicImage::ImageRgb8(pixel), ImageFormat::Png);
    for mode in [Preprocess::Sensible, Preprocess::Published] {
        let picture = Picture::decode(&bytes, mode, DecodeLimits::default()).unwrap();
        for plane in [picture.clip_pixels(CLIP_SIDE), picture.detector_pixels(&DETECTOR_SIDE)] {
            assert_eq!(plane.size(), Size::square(518));
            assert!(plane.as_bytes().chunks_exact(3).all(|p| p == [10, 200, 30]));
        }
    }
}

#[test]
fn a_file_that_is_cut_off_is_corrupt_wherever_it_is_cut() {
    let picture = DynamicImage::ImageRgb8(pixels_of("in_tall_640x900.jpg"));
    let mut files = vec![golden("in_tall_640x900.jpg"), golden("in_cmyk.jpg")];
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        files.push(encoded(&picture, format));
    }
    for file in files {
        let start = &file[..4];
        for percent in [10, 25, 50, 75, 99] {
            let cut = &file[..file.len() * percent / 100];
            assert_eq!(code_of(cut), FailureCode::CorruptImage, "{start:?} cut at {percent} %");
        }
    }
}

#[test]
fn a_jpeg_whose_tail_was_never_written_is_corrupt() {
    let mut file = golden("in_tall_640x900.jpg");
    let half = file.len() / 2;
    file[half..].fill(0);
    assert_eq!(code_of(&file), FailureCode::CorruptImage);
}

#[test]
fn files_that_are_no_picture_have_their_own_codes() {
    assert_eq!(code_of(b""), FailureCode::EmptyFile);
    assert_eq!(code_of(b"image_id,label\n1,good\n"), FailureCode::UnknownFormat);
    assert_eq!(code_of(&[0; 1000]), FailureCode::UnknownFormat);
    assert_eq!(code_of(b"GIF89a\x01\x00\x01\x00"), FailureCode::UnknownFormat);
    let floats = DynamicImage::ImageRgb32F(image::Rgb32FImage::new(4, 4));
    assert_eq!(code_of(&encoded(&floats, ImageFormat::Tiff)), FailureCode::UnknownFormat);
    let image = encoded(&DynamicImage::new_luma8(4, 4), ImageFormat::Png);
    let (mode, limits) = (Preprocess::Sensible, DecodeLimits::default());
    let image = Picture::decode(&image, mode, limits).unwrap();
    let mask = Mask::of_files(&[b"text"], &image, mode, limits).unwrap_err();
    assert_eq!(mask.code, FailureCode::MaskCorrupt);
}

#[test]
fn small_files_of_every_format_are_failures_wherever_they_are_cut() {
    let colours = image::RgbaImage::from_fn(17, 11, |x, y| {
        image::Rgba([(x * 15) as u8, (y * 20) as u8, (x * y) as u8, (x * 11) as u8])
    });
    let colours = DynamicImage::ImageRgba8(colours);
    let (rgb, grey) = (colours.to_rgb8().into(), colours.to_luma8().into());
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        for picture in [&colours, &rgb, &grey] {
            let bytes = encoded(picture, format);
            let read =
                |bytes| Picture::decode(bytes, Preprocess::Sensible, DecodeLimits::default());
            let whole = read(&bytes).unwrap().rgb_pixels();
            for length in 1..bytes.len() {
                match read(&bytes[..length]) {
                    // What lies behind the last pixel may be missing.
                    Ok(found) => assert_eq!(found.rgb_pixels(), whole, "{format:?} {length}"),
                    Err(failure) => {
                        let known = [FailureCode::CorruptImage, FailureCode::UnknownFormat];
                        assert!(known.contains(&failure.code), "{format:?} {length}: {failure:?}");
                        assert!(!failure.message.contains('\n'), "{failure:?}");
                    }
                }
            }
        }
    }
}

/// A PNG that has a header and nothing else.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap();
    bytes
}

#[test]
fn a_header_beyond_the_limits_is_refused_before_anything_is_allocated() {
    assert_eq!(code_of(&png_header(30_000, 30_000)), FailureCode::TooLarge);
    assert_eq!(code_of(&png_header(u32::MAX >> 1, u32::MAX >> 1)), FailureCode::TooLarge);
    assert_eq!(code_of(&png_header(1_000_000, 1)), FailureCode::TooLarge);
    let picture = golden("in_gray.jpg");
    for limits in [
        DecodeLimits { max_pixels: 170 * 220 - 1, ..DecodeLimits::default() },
        DecodeLimits { max_side: 219, ..DecodeLimits::default() },
        DecodeLimits { max_bytes: 1000, ..DecodeLimits::default() },
    ] {
        let failure = Picture::decode(&picture, Preprocess::Sensible, limits).unwrap_err();
        assert_eq!(failure.code, FailureCode::TooLarge);
    }
}

#[test]
fn headers_of_every_format_that_promise_too_much_are_too_large() {
    let huge = 60_000u32.to_le_bytes();
    let mut bmp = encoded(&DynamicImage::new_rgb8(2, 2), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&huge);
    bmp[22..26].copy_from_slice(&huge);
    assert_eq!(code_of(&bmp), FailureCode::TooLarge);
    let mut webp = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
    webp.extend([0xFF, 0xFF, 0x0F, 0xFF, 0x0F, 0]);
    assert!([FailureCode::TooLarge, FailureCode::CorruptImage].contains(&code_of(&webp)));
}

const MAGICS: [&[u8]; 8] = [
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
    b"\xff\xd8\xff\xc0\0\x11\x08",
    b"RIFF\xff\0\0\0WEBPVP8",
];

const REAL_FILES: [&str; 6] = [
    "in_palette.png",
    "in_gray16.png",
    "in_rgba.png",
    "in_gray.jpg",
    "in_cmyk.jpg",
    "in_exif_rot6.jpg",
];

/// Limits that keep a lucky header from slowing the test down.
const SMALL: DecodeLimits =
    DecodeLimits { max_pixels: 100_000, max_side: 2000, max_bytes: 4_000_000 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_after_a_magic_number_never_panic(
        magic in 0..MAGICS.len(),
        tail in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [MAGICS[magic], &tail].concat();
        let _ = Picture::decode(&bytes, Preprocess::Sensible, SMALL);
    }

    #[test]
    fn damaged_files_never_panic(
        file in 0..REAL_FILES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = golden(REAL_FILES[file]);
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        if let Ok(picture) = Picture::decode(&bytes, Preprocess::Sensible, SMALL) {
            prop_assert_eq!(picture.clip_pixels(16).size(), Size::square(16));
        }
    }
}

#[test]
fn further_frames_of_a_png_are_noticed() {
    let written = |frames: u32| {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, 2, 1);
        encoder.set_animated(frames, 0).unwrap();
        let mut writer = encoder.write_header().unwrap();
        for _ in 0..frames {
            writer.write_image_data(&[1, 2]).unwrap();
        }
        writer.finish().unwrap();
        out
    };
    for frames in [1, 3] {
        let (mode, limits) = (Preprocess::Sensible, DecodeLimits::default());
        let image = Picture::decode(&written(frames), mode, limits).unwrap();
        assert_eq!(image.has_more_pages(), frames > 1);
    }
}
