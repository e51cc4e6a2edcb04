//! A mask is made from the samples as they are stored: whatever the encoding, the same pixels are
//! defect. Pillow writes the files.

use std::path::Path;
use std::process::Command;

use filo::error::FailureCode;
use filo::image::{DecodeLimits, Mask, Picture, Preprocess};

/// Writes random masks in every encoding: `<n>/<encoding>`, and the true area in `<n>/area`.
const WRITE: &str = r#"
import sys, pathlib, numpy as np
from PIL import Image
out = pathlib.Path(sys.argv[1])
for n in range(12):
    r = np.random.default_rng(n)
    h, w = int(r.integers(20, 90)), int(r.integers(20, 90))
    truth = np.zeros((h, w), bool)
    for _ in range(int(r.integers(1, 4))):
        y, x = int(r.integers(0, h - 8)), int(r.integers(0, w - 8))
        truth[y:y + int(r.integers(8, 40)), x:x + int(r.integers(8, 40))] = True
    d = out / str(n)
    d.mkdir(parents=True)
    ids = np.where(truth, int(r.integers(1, 4)), 0).astype(np.uint8)
    full = np.where(truth, 255, 0).astype(np.uint8)
    grey = Image.fromarray(full)
    wide = np.where(truth, int(r.integers(1, 200)), 0).astype(np.uint16)
    grey.save(d / "grey.png")
    Image.fromarray(ids).save(d / "ids.png")
    grey.convert("1").save(d / "bits.png")
    Image.fromarray(wide).save(d / "wide.png")
    Image.fromarray(wide).save(d / "wide.tif")
    palette = Image.fromarray(ids, "P")
    palette.putpalette([200, 0, 0] + [0, 0, 0] * 2 + [9, 9, 9] * 253)
    palette.save(d / "palette.png")
    palette.save(d / "palette.bmp")
    grey.convert("1").save(d / "bits.bmp")
    shown = Image.fromarray(ids, "P")
    shown.putpalette([0, 0, 0] * 256)
    shown.save(d / "black_palette.png")
    shown.save(d / "black_palette.bmp")
    Image.merge("RGB", [Image.fromarray(ids * 0), Image.fromarray(ids), Image.fromarray(ids * 0)]).save(d / "rgb.png")
    white = Image.new("L", grey.size, 255)
    Image.merge("LA", [white, grey]).save(d / "alpha.png")
    Image.merge("RGBA", [grey, grey, grey, white]).save(d / "rgba.png")
    grey.save(d / "grey.bmp")
    Image.fromarray(ids).save(d / "ids.tif", compression="tiff_lzw")
    Image.fromarray(ids).convert("RGB").save(d / "ids.webp", lossless=True)
    bits = grey.convert("1")
    for method in ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "group4"]:
        bits.save(d / f"bits_{method}.tif", compression=method)
        # Pillow inverts what it writes so.
        bits.save(d / f"bits_white_is_zero_{method}.tif", compression=method, tiffinfo={262: 0})
        if method != "raw":
            bits.save(d / f"bits_lowest_first_{method}.tif", compression=method, tiffinfo={266: 2})
    for method in ["raw", "tiff_lzw"]:
        palette.save(d / f"palette_{method}.tif", compression=method)
        for name, stored in [("ids", ids), ("grey", full)]:
            image = Image.fromarray(255 - stored)
            image.save(d / f"{name}_white_is_zero_{method}.tif", compression=method, tiffinfo={262: 0})
    for depth in [1, 8]:
        for name, colours in [("black", [0] * 6), ("seen", [255] * 3 + [0] * 3)]:
            flags = Image.fromarray(truth.astype(np.uint8), "P")
            flags.putpalette(colours)
            options = {"transparency": 0} if name == "seen" else {}
            flags.save(d / f"{name}_palette{depth}.png", bits=depth, **options)
        flags = Image.fromarray((~truth).astype(np.uint8), "P")
        flags.putpalette([255] * 3 + [0] * 3)
        flags.save(d / f"white_and_black{depth}.png", bits=depth)
    grey.save(d / "lossy.tif", compression="jpeg")
    Image.fromarray(255 - full).save(d / "lossy_white_is_zero.tif", compression="jpeg", tiffinfo={262: 0})
    grey.save(d / "lossy.jpg", quality=75)
    Image.fromarray(np.where(truth, 120, 0).astype(np.uint8)).save(d / "dim.jpg", quality=80)
    grey.convert("RGB").save(d / "lossy.webp", quality=80)
    Image.new("RGB", grey.size).save(d / "image.png")
    (d / "area").write_text(str(int(truth.sum())))
for o in (3, 6):
    e = Image.Exif()
    e[0x0112] = o
    turned = Image.fromarray(np.arange(40 * 30, dtype=np.uint32).astype(np.uint8).reshape(30, 40))
    turned.save(out / f"turned{o}.jpg", exif=e)
    m = np.zeros((30, 40), np.uint8)
    m[:10, :5] = 255
    stored = Image.fromarray(m)
    stored.save(out / f"stored{o}.png")
    stored.save(out / f"own{o}.png", exif=e)
    from PIL import ImageOps
    ImageOps.exif_transpose(Image.open(out / f"own{o}.png")).save(out / f"shown{o}.png", exif=b"")
"#;

fn written() -> Option<tempfile::TempDir> {
    let python = std::env::var("FILO_PYTHON").ok()?;
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(python).args(["-c", WRITE]).arg(dir.path()).status().unwrap();
    assert!(status.success());
    Some(dir)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn mask(file: &Path, image: &Path) -> Result<Mask, FailureCode> {
    let (mode, limits) = (Preprocess::Sensible, DecodeLimits::default());
    let image = Picture::decode(&read(image), mode, limits).unwrap();
    Mask::of_files(&[read(file)], &image, mode, limits).map_err(|failure| failure.code)
}

#[test]
fn random_masks_have_the_same_area_in_every_encoding() {
    let Some(dir) = written() else { return };
    let (mut seen, mut lossy) = (0, 0);
    for n in 0..12 {
        let folder = dir.path().join(n.to_string());
        let area: f64 = String::from_utf8(read(&folder.join("area"))).unwrap().parse().unwrap();
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if ["area", "image.png"].contains(&name.as_str()) {
                continue;
            }
            let found = mask(&path, &folder.join("image.png")).unwrap().area_px() as f64;
            if name.starts_with("lossy") || name.starts_with("dim") {
                assert!((found / area - 1.0).abs() < 0.05, "{n}/{name}: {found} for {area}");
                lossy += 1;
            } else {
                assert_eq!(found, area, "{n}/{name}");
                seen += 1;
            }
        }
    }
    assert_eq!((seen, lossy), (12 * (16 + 14 + 6 + 6), 12 * 5));
}

#[test]
fn a_mask_that_was_drawn_before_exif_turns_the_image_is_turned_with_it() {
    let Some(dir) = written() else { return };
    let at = |name: &str| dir.path().join(name);
    for orientation in [3, 6] {
        let image = at(&format!("turned{orientation}.jpg"));
        let of = |name: &str| mask(&at(&format!("{name}{orientation}.png")), &image);
        let own = of("own").unwrap();
        assert_eq!(own.area_px(), 50);
        match orientation {
            // A quarter turn: the sides tell.
            6 => assert_eq!((of("stored").unwrap(), of("shown").unwrap()), (own.clone(), own)),
            // Nothing tells, and a wrong guess would be upside down.
            _ => {
                assert_eq!(of("stored"), Err(FailureCode::MaskFrame));
                assert_eq!(of("shown"), Err(FailureCode::MaskFrame));
            }
        }
    }
}

/// A TIFF of one strip.
#[derive(Clone, Copy, Default)]
struct Tiff<'a> {
    is_bigtiff: bool,
    bits: u16,
    samples: u16,
    photometric: u16,
    is_lowest_bit_first: bool,
    palette: &'a [[u8; 3]],
}

impl Tiff<'_> {
    /// One row of `width` pixels; several samples of a pixel are one after another.
    fn holding(&self, width: u32, values: &[u16]) -> Vec<u8> {
        let bits = usize::from(self.bits);
        let mut strip = match bits {
            16 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            _ => {
                let mut strip = vec![0u8; (values.len() * bits).div_ceil(8)];
                for (i, value) in values.iter().enumerate() {
                    strip[i * bits / 8] |= (*value as u8) << (8 - bits - i * bits % 8);
                }
                strip
            }
        };
        if self.is_lowest_bit_first {
            strip.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
        let most = 1 << if self.palette.is_empty() { 0 } else { bits };
        let colours = [0, 1, 2].map(|channel| {
            let colour = |i: usize| self.palette.get(i).map_or(0, |colour| colour[channel]);
            (0..most).map(|i| u64::from(colour(i)) * 257).collect::<Vec<_>>()
        });
        let mut entries = vec![
            (256, vec![u64::from(width)]),
            (257, vec![1]),
            (258, vec![u64::from(self.bits); usize::from(self.samples)]),
            (259, vec![1]),
            (262, vec![u64::from(self.photometric)]),
            (266, vec![if self.is_lowest_bit_first { 2 } else { 1 }]),
            (273, vec![16]),
            (277, vec![u64::from(self.samples)]),
            (279, vec![strip.len() as u64]),
            (320, colours.concat()),
        ];
        if self.palette.is_empty() {
            entries.pop();
        }
        let wide = if self.is_bigtiff { 8 } else { 4 };
        let number = |value: u64| value.to_le_bytes()[..wide].to_vec();
        let at = 16 + strip.len();
        let mut out = match self.is_bigtiff {
            true => [&b"II+\0\x08\0\0\0"[..], &number(at as u64)].concat(),
            false => [&b"II*\0"[..], &number(at as u64), &[0; 8]].concat(),
        };
        out.extend(strip);
        let (count, entry) = if self.is_bigtiff { (8, 20) } else { (2, 12) };
        let beyond_at = at + count + entry * entries.len() + wide;
        out.extend(&(entries.len() as u64).to_le_bytes()[..count]);
        let mut beyond: Vec<u8> = Vec::new();
        for (tag, values) in &entries {
            let mut shorts: Vec<u8> =
                values.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect();
            out.extend(
                [&u16::to_le_bytes(*tag)[..], &[3, 0], &number(values.len() as u64)].concat(),
            );
            if shorts.len() > wide {
                out.extend(number((beyond_at + beyond.len()) as u64));
                beyond.append(&mut shorts);
            } else {
                shorts.resize(wide, 0);
                out.extend(shorts);
            }
        }
        out.extend(number(0));
        out.extend(beyond);
        out
    }

    fn mask(&self, width: u32, values: &[u16]) -> Vec<u8> {
        let (mode, limits) = (Preprocess::Sensible, DecodeLimits::default());
        let grey = Tiff { bits: 8, samples: 1, photometric: 1, ..Tiff::default() };
        let image = grey.holding(width, &vec![0; width as usize]);
        let image = Picture::decode(&image, mode, limits).unwrap();
        let mask = Mask::of_files(&[self.holding(width, values)], &image, mode, limits);
        mask.unwrap().values().to_vec()
    }
}

const IDS: [u16; 5] = [0, 1, 1, 0, 1];
const DEFECT: [u8; 5] = [0, 1, 1, 0, 1];
const GOOD: [u8; 5] = [1, 0, 0, 1, 0];

/// All of these in both kinds of file and both orders of bits.
fn each_kind(bits: u16, samples: u16, photometric: u16, assert: impl Fn(Tiff)) {
    for (is_bigtiff, is_lowest_bit_first) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let palette = &[];
        assert(Tiff { is_bigtiff, bits, samples, photometric, is_lowest_bit_first, palette });
    }
}

#[test]
fn indices_other_than_0_are_defect_whatever_their_colours() {
    let (black, white, green, red) = ([0; 3], [255; 3], [0, 255, 0], [255, 0, 0]);
    for bits in [1, 2, 4, 8] {
        let other =
            [[green, red], [white, red], [red, black], [black; 2], [white; 2], [black, white]];
        each_kind(bits, 1, 3, |tiff| {
            for palette in &other {
                assert_eq!(Tiff { palette, ..tiff }.mask(5, &IDS), DEFECT, "{bits}, {palette:?}");
            }
            // Shown white is the defect of a mask in black and white.
            assert_eq!(Tiff { palette: &[white, black], ..tiff }.mask(5, &IDS), GOOD, "{bits}");
        });
    }
}

#[test]
fn the_stored_grey_decides_and_of_one_bit_what_is_shown() {
    for photometric in [0, 1] {
        for bits in [2, 4, 8, 16] {
            each_kind(bits, 1, photometric, |tiff| {
                for most in [1, (1u32 << bits) - 1, 1 << (bits - 1)] {
                    let values = IDS.map(|id| id * most as u16);
                    assert_eq!(tiff.mask(5, &values), DEFECT, "{bits}, {photometric}, {most}");
                }
            });
        }
        each_kind(1, 1, photometric, |tiff| {
            assert_eq!(tiff.mask(5, &IDS), [GOOD, DEFECT][usize::from(photometric)]);
        });
    }
}

#[test]
fn the_low_byte_of_16_bit_colours_counts() {
    each_kind(16, 3, 2, |tiff| {
        let values = IDS.map(|id| [0, id, 0]);
        assert_eq!(tiff.mask(5, values.as_flattened()), DEFECT);
    });
}
