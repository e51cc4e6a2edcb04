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
    assert_eq!((seen, lossy), (12 * 16, 12 * 3));
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
