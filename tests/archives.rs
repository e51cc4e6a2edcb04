//! Images in WebDataset tars are scored as images in folders are, and what is wrong with a tar
//! costs what is wrong and no more.

mod support;

use std::collections::BTreeMap;

use support::run::{Folder, filo, rows, run};

/// A tar from names and contents, in this order.
fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Names that the builder would refuse, too.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn picture(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

#[test]
fn a_tar_gives_the_rows_of_its_pictures() {
    let folder = Folder::new();
    for (n, category) in ["nut", "wood"].into_iter().enumerate() {
        let size = 40 + n as u32;
        folder.picture(&format!("in/{category}/test/good/g.png"), size, 30);
        folder.picture(&format!("in/{category}/test/crack/c.jpg"), size, 31);
        folder.mask(&format!("in/{category}/ground_truth/crack/c_mask.png"), size, 31);
    }
    run(folder.score()).last_line();
    let of_files = rows(&folder.path("out"), 4);

    let mut files = Vec::new();
    for category in ["nut", "wood"] {
        let at = |name: &str| picture(&folder, &format!("in/{category}/{name}"));
        let mask = at("ground_truth/crack/c_mask.png");
        files.push((format!("{category}/c.cls"), b"crack\n".to_vec()));
        files.push((format!("{category}/c.jpg"), at("test/crack/c.jpg")));
        files.push((format!("{category}/c.mask.png"), mask));
        files.push((format!("{category}/c.txt"), b"somebody's note".to_vec()));
        files.push((format!("{category}/g.png"), at("test/good/g.png")));
        files.push((format!("{category}/g.json"), br#"{"label": "good", "shift": 3}"#.to_vec()));
    }
    let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
    folder.file("tars/line 4/a.tar", tar(&files.collect::<Vec<_>>()));
    let mut command = filo("score");
    command.arg("--input").arg(folder.path("tars")).arg("--output").arg(folder.path("of-tar"));
    command.args(["--weights", support::run::WEIGHTS, "--run-date", "2026-11-24"]);
    let ended = run(command);
    assert!(ended.stderr.contains("layout webdataset: 1 tar files"), "{}", ended.stderr);
    assert!(ended.has_scored(4, 0), "{}", ended.stdout);
    let of_tar = rows(&folder.path("of-tar"), 4);
    let name_in_tar = |id: &str| id.strip_prefix("line 4/a.tar/").unwrap().to_string();
    let name_in_folder = |id: &str| {
        let (category, rest) = id.split_once('/').unwrap();
        format!("{category}/{}", rest.rsplit('/').next().unwrap())
    };
    assert_eq!(of_tar.numbers(name_in_tar), of_files.numbers(name_in_folder));
    assert!(of_tar.partials == of_files.partials, "pixel counts differ");
    assert!(of_tar.scores[0].uri.ends_with("/tars/line%204/a.tar/nut/c.jpg"));
}

/// The failures of a run over one tar, by name in the tar, and the number of scores.
fn failures(tar: Vec<u8>, listed: usize) -> (BTreeMap<String, String>, usize) {
    let folder = Folder::new();
    folder.file("in/nut/x.tar", tar);
    run(folder.score()).last_line();
    let rows = rows(&folder.path("out"), listed);
    let failures = rows.failures.iter().map(|row| {
        (row.image_id.strip_prefix("nut/x.tar/").unwrap().to_string(), row.code.clone())
    });
    (failures.collect(), rows.scores.len())
}

fn pairs(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, code)| (name.to_string(), code.to_string())).collect()
}

#[test]
fn what_is_wrong_with_a_member_costs_that_member() {
    let folder = Folder::new();
    folder.picture("p.png", 30, 30);
    let good = picture(&folder, "p.png");
    let files = [
        ("0.png", good.clone()),
        ("../evil.png", good.clone()),
        ("/etc/evil.png", good.clone()),
        ("1.png", b"no picture".to_vec()),
        ("2.png", Vec::new()),
        ("3.json", b"{".to_vec()),
        ("3.png", good.clone()),
        ("4.jpg", good.clone()),
        ("4.png", good.clone()),
        ("5.cls", b"1".to_vec()),
        ("6.png", good.clone()),
        ("6.mask.png", b"no mask".to_vec()),
        ("7.json", br#"{"category": "__all__"}"#.to_vec()),
        ("7.png", good.clone()),
        ("0.png", good),
    ];
    let expected = pairs(&[
        ("../evil.png", "corrupt_archive"),
        ("/etc/evil.png", "corrupt_archive"),
        ("1.png", "unknown_format"),
        ("2.png", "empty_file"),
        ("6.png", "mask_corrupt"),
    ]);
    // A sidecar that cannot be used costs no image, two images may share a key, and the image that
    // comes twice is scored twice, under two names.
    assert_eq!(failures(tar(&files), 11), (expected, 6));
}

#[test]
fn a_tar_that_is_cut_off_keeps_what_was_whole() {
    let folder = Folder::new();
    folder.picture("p.png", 30, 30);
    let good = picture(&folder, "p.png");
    let whole = tar(&[("0.png", good.clone()), ("1.png", good.clone()), ("2.png", good.clone())]);
    let member = 512 + good.len().next_multiple_of(512);
    // In the middle of an image: that one is lost, and the rest is said to be.
    let cut = whole[..member + 512 + good.len() / 2].to_vec();
    let (lost, scored) = failures(cut, 3);
    assert_eq!(
        (lost, scored),
        (pairs(&[("1.png", "corrupt_archive"), ("(rest)", "corrupt_archive")]), 1)
    );
    // In the middle of a header.
    let (lost, scored) = failures(whole[..2 * member + 100].to_vec(), 3);
    assert_eq!((lost, scored), (pairs(&[("(rest)", "corrupt_archive")]), 2));
    // No tar at all.
    let (lost, scored) = failures(b"no tar".repeat(200), 1);
    assert_eq!((lost, scored), (pairs(&[("(rest)", "corrupt_archive")]), 0));
}
