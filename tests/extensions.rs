//! What a file is, its content says and not its name. Every usual extension of a format that is read
//! makes a file an image, in any case; a format that is not read is named, whatever the file is called.
//!
//! `tests/golden/not_read` has the first 2 000 bytes of one drawn image in formats of other programs:
//! HEIC, JPEG XL, JPEG 2000, JPEG-LS, and JPEG of 12 bits, lossless and arithmetic-coded.

mod support;

use std::collections::BTreeMap;

use support::run::{Folder, rows, run};

/// The bytes of one image in the format of an extension that the library knows.
fn encoded(extension: &str) -> Vec<u8> {
    let folder = Folder::new();
    let name = format!("p.{extension}");
    // The content follows from the name: one for all.
    folder.picture("p.png", 40, 30);
    image::open(folder.path("p.png")).unwrap().to_rgb8().save(folder.path(&name)).unwrap();
    std::fs::read(folder.path(&name)).unwrap()
}

#[test]
fn usual_extensions_are_images_in_any_case_and_their_content_decides() {
    let folder = Folder::new();
    let [jpeg, bmp, tiff, png] = ["jpg", "bmp", "tif", "png"].map(encoded);
    let jpegs =
        ["a.jpg", "b.JPEG", "c.jfif", "d.JFIF", "e.jpe", "f.Jif", "g.pjpeg", "h.jfi", "i.pjp"];
    let exact =
        [("j.dib", &bmp), ("k.DIB", &bmp), ("l.TIF", &tiff), ("m.btf", &tiff), ("n.Png", &png)];
    // Names that lie.
    let lying = [("o.png", &bmp), ("p.tif", &png), ("q.jfif", &png), ("r.dib", &tiff)];
    for name in jpegs.into_iter().chain(["s.bmp", "t.webp"]) {
        folder.file(&format!("in/nut/{name}"), &jpeg);
    }
    for (name, bytes) in exact.into_iter().chain(lying) {
        folder.file(&format!("in/nut/{name}"), bytes);
    }
    run(folder.score()).last_line();
    let rows = rows(&folder.path("out"), 20);
    assert!(rows.failures.is_empty(), "{:?}", rows.failures);
    let scores = |is_jpeg: bool| {
        let is = |name: &str| jpegs.contains(&name) || ["s.bmp", "t.webp"].contains(&name);
        let of = rows
            .scores
            .iter()
            .filter(move |row| is(row.image_id.strip_prefix("nut/").unwrap()) == is_jpeg);
        of.map(|row| row.score.to_bits()).collect::<Vec<_>>()
    };
    for (is_jpeg, files) in [(true, 11), (false, 9)] {
        let scores = scores(is_jpeg);
        assert_eq!((scores.len(), scores.iter().all(|score| *score == scores[0])), (files, true));
    }
}

#[test]
fn formats_that_are_not_read_are_named_whatever_the_file_is_called() {
    let folder = Folder::new();
    folder.picture("in/nut/whole.png", 40, 30);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/not_read");
    let expected = BTreeMap::from([
        ("heic", "HEIC is not read"),
        ("jxl", "JPEG XL is not read"),
        ("jpeg2000", "JPEG 2000 is not read"),
        ("jls", "JPEG-LS is not read"),
        ("jpeg12", "12-bit JPEG is not read"),
        ("lossless", "lossless JPEG is not read"),
        ("arithmetic", "JPEG with arithmetic coding is not read"),
    ]);
    for name in expected.keys() {
        let bytes = std::fs::read(format!("{golden}/{name}.jpg")).unwrap();
        for ending in ["jpg", "png", "TIF"] {
            folder.file(&format!("in/nut/{name}.{ending}"), &bytes);
        }
    }
    run(folder.score()).last_line();
    let rows = rows(&folder.path("out"), 3 * expected.len() + 1);
    assert_eq!(rows.failures.len(), 3 * expected.len());
    for row in &rows.failures {
        let name = row.image_id.strip_prefix("nut/").unwrap().split('.').next().unwrap();
        assert_eq!(
            (row.code.as_str(), row.stage.as_str()),
            ("unknown_format", "decode"),
            "{row:?}"
        );
        assert!(row.message.starts_with(expected[name]), "{row:?}");
        assert!(!row.message.contains("fetch") && row.message.contains("PNG"), "{row:?}");
    }
}
