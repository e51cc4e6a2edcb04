//! A run with failures is mended by `--retry-failed` once their files are replaced: the new version is
//! recorded beside the old one, and the rows are those of a run that saw the new files from the start.

mod support;

use std::process::Command;

use support::run::{Ended, Folder, Rows, rows, run};
use support::s3::{bucket_folder, upload, with_server};

const IMAGES: usize = 8;

/// Two that are broken, one that is empty, and one whose mask is missing.
fn input() -> Folder {
    let folder = Folder::new();
    for n in 0..4 {
        folder.picture(&format!("in/nut/test/good/{n}.png"), 40 + n, 30);
        folder.picture(&format!("in/nut/test/crack/{n}.png"), 50, 30 + n);
    }
    for n in 0..3 {
        folder.mask(&format!("in/nut/ground_truth/crack/{n}_mask.png"), 50, 30 + n);
    }
    for name in ["whole/0.png", "whole/1.png", "whole/2.png"] {
        let good = std::fs::read(folder.path(&format!("in/nut/test/good/{}", &name[6..]))).unwrap();
        folder.file(name, good);
    }
    let good = std::fs::read(folder.path("in/nut/test/good/0.png")).unwrap();
    folder.file("in/nut/test/good/0.png", &good[..good.len() / 2]);
    folder.file("in/nut/test/good/1.png", "");
    folder.file("in/nut/test/good/2.png", "no image");
    folder
}

fn mend(folder: &Folder) {
    for n in 0..2 {
        let good = std::fs::read(folder.path(&format!("whole/{n}.png"))).unwrap();
        folder.file(&format!("in/nut/test/good/{n}.png"), good);
    }
    folder.mask("in/nut/ground_truth/crack/3_mask.png", 50, 33);
}

fn flags(mut command: Command, more: &[&str]) -> Command {
    command.args(["--shard-size", "3", "--batch-size", "1"]).args(more);
    command
}

fn score(folder: &Folder, out: &str, more: &[&str]) -> Ended {
    run(flags(folder.score_to(out), more))
}

/// Rows without what names the place.
fn plain(mut rows: Rows) -> Rows {
    rows.scores.iter_mut().for_each(|row| row.uri.clear());
    rows.failures.iter_mut().for_each(|row| row.uri.clear());
    rows
}

#[test]
fn replaced_files_are_scored_and_both_versions_are_recorded() {
    let folder = input();
    assert!(score(&folder, "out", &[]).has_scored(4, 4));
    let ended = score(&folder, "out", &["--retry-failed"]);
    assert!(ended.has_scored(4, 4), "{}", ended.stdout);
    for said in
        ["nothing was tried again of 4 images", "1 image with corrupt_image: the file is as"]
    {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }

    mend(&folder);
    // The files are others than those of the run, which says how and what to do.
    let refused = score(&folder, "out", &[]);
    refused.refused(&["0 new, 3 changed, 0 gone since", "another --output", "--retry-failed"]);
    score(&folder, "out", &["--dry-run"]).refused(&["0 new, 3 changed, 0 gone since"]);

    let ended = score(&folder, "out", &["--retry-failed"]);
    assert!(ended.has_scored(7, 1), "{}", ended.stdout);
    let said = "tried 3 images of 4 again (3 from a replaced file) · 3 mended · 1 still fail";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 image with unknown_format"), "{}", ended.stdout);
    score(&folder, "fresh", &[]).last_line();
    let expected = rows(&folder.path("fresh"), IMAGES);
    assert!(rows(&folder.path("out"), IMAGES) == expected, "rows differ");

    let replaced = std::fs::read_dir(folder.path("out/_filo/replaced")).unwrap();
    let text = replaced.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let text = text.collect::<String>();
    assert_eq!(text.matches("\"old\"").count(), 3, "{text}");
    // The same command goes on working, and finds nothing to do.
    assert!(score(&folder, "out", &[]).has_scored(7, 1));
    assert!(score(&folder, "out", &["--dry-run"]).last_line().ends_with("nothing would be scored"));

    folder.picture("in/nut/test/good/9.png", 44, 30);
    score(&folder, "out", &[])
        .refused(&["1 new, 0 changed, 0 gone since (new: nut/test/good/9.png)"]);
}

#[test]
fn a_scored_file_that_was_replaced_by_one_of_the_same_size_is_said() {
    let folder = input();
    mend(&folder);
    score(&folder, "out", &[]).last_line();
    assert!(!score(&folder, "out", &[]).stderr.contains("another time"));
    let file = folder.path("in/nut/test/good/0.png");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
    let log = score(&folder, "out", &[]).stderr;
    assert!(log.contains("another time or etag") && log.contains("nut/test/good/0.png"), "{log}");
}

#[test]
fn an_image_that_changed_during_a_run_is_scored_as_it_is_now() {
    let folder = input();
    mend(&folder);
    score(&folder, "out", &["--partition", "0/2"]).last_line();
    for n in 0..4 {
        folder.picture(&format!("in/nut/test/good/{n}.png"), 70, 60);
        folder.picture(&format!("in/nut/test/crack/{n}.png"), 50, 30 + n);
    }
    score(&folder, "out", &["--partition", "1/2"]).last_line();
    let before = rows(&folder.path("out"), IMAGES);
    assert!(before.failures.iter().any(|row| row.code == "input_changed"), "{:?}", before.failures);
    let ended = score(&folder, "out", &["--retry-failed"]);
    assert!(ended.has_scored(8, 0), "{}", ended.stdout);
    let after = rows(&folder.path("out"), IMAGES);
    assert!(after.scores.iter().any(|row| row.width == 70));
}

fn tar_of(folder: &Folder, images: &[Vec<u8>]) -> Vec<u8> {
    let _ = folder;
    let mut tar = tar::Builder::new(Vec::new());
    for (n, image) in images.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(image.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{n}.png"), image.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn a_tar_that_was_replaced_is_scored_as_a_whole() {
    let folder = Folder::new();
    folder.picture("p.png", 30, 30);
    let image = std::fs::read(folder.path("p.png")).unwrap();
    folder.file("in/nut/a.tar", tar_of(&folder, &[image.clone(), b"no".to_vec(), image.clone()]));
    assert!(score(&folder, "out", &[]).has_scored(2, 1));
    folder.file("in/nut/a.tar", tar_of(&folder, &vec![image; 4]));
    let ended = score(&folder, "out", &["--retry-failed"]);
    assert!(ended.has_scored(4, 0), "{}", ended.stdout);
    assert_eq!(rows(&folder.path("out"), 4).scores.len(), 4);
}

#[test]
fn replaced_objects_of_a_bucket_are_scored() {
    let (folder, bucket) = (input(), bucket_folder("repair"));
    upload(&folder.path("in"), &format!("{bucket}/in"));
    let (from, to) = (format!("{bucket}/in"), format!("{bucket}/out"));
    let score = |more: &[&str]| {
        let mut command = support::run::filo("score");
        command.args(["--input", &from, "--output", &to, "--weights", support::run::WEIGHTS]);
        command.args(["--run-date", "2026-11-24"]);
        run(with_server(flags(command, more)))
    };
    assert!(score(&[]).has_scored(4, 4));
    mend(&folder);
    upload(&folder.path("in"), &from);
    let ended = score(&["--retry-failed"]);
    assert!(ended.has_scored(7, 1), "{}", ended.stdout);
    assert!(ended.stderr.contains("etag"), "{}", ended.stderr);
    run(flags(folder.score_to("disk"), &[])).last_line();
    let of_bucket = plain(support::run::rows_at(&to.parse().unwrap(), IMAGES));
    let of_disk = plain(rows(&folder.path("disk"), IMAGES));
    assert!(of_bucket.scores == of_disk.scores, "rows differ");
}
