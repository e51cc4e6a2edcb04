//! As many images go in as rows come out, whatever the archives look like: over a thousand generated
//! inputs are listed and read, each of tars, Parquet files and what lies beside them; and one large
//! input goes through the program itself, to the tables `scores` and `failures`.

#[path = "images_in_rows_out/archives.rs"]
mod archives;
mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use filo::source::{Entry, LayoutChoice, ListOptions, list, read_archive};
use filo::store::Location;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};

use archives::{Packed, any_parquet, any_tar};
use support::run::{Folder, rows, run};

/// The same inputs on every machine and every day.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// An image as it comes out: its bytes, or `None` where it must be a failure.
type Image = Option<Vec<u8>>;

/// The images of all archives below `folder`, by the path of the archive.
fn read_all(folder: &Path, choice: LayoutChoice) -> BTreeMap<String, Vec<Image>> {
    let listing =
        list(&Location::local(folder), &ListOptions { layout: choice, ..ListOptions::default() })
            .unwrap();
    let mut read = BTreeMap::new();
    for entry in listing.shards.iter().flat_map(|shard| &shard.entries) {
        let Entry::Archive(archive) = entry else { panic!("{entry:?}") };
        let file = listing
            .input
            .open_file(&archive.image_id, archive.version.as_ref(), archive.bytes)
            .unwrap();
        let (mut images, mut names) = (Vec::new(), Vec::new());
        read_archive(file, archive.kind, &filo::source::Columns::default(), 1 << 20, |member| {
            names.push(member.id);
            images.push(member.picture.ok().map(Vec::from));
            ControlFlow::Continue(())
        });
        let distinct = names.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), names.len(), "names: {names:?}");
        read.insert(archive.image_id.to_string(), images);
    }
    read
}

/// A folder of archives of one kind, and images and notes beside them that are not theirs.
fn written(archives: &[Packed], ending: &str, loose: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (n, archive) in archives.iter().enumerate() {
        let name = ["a", "line 4/b", "v1.0/c.d", "e"][n % 4];
        let path = folder.path().join(format!("{name}{n}.{ending}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &archive.bytes).unwrap();
    }
    for n in 0..loose {
        std::fs::write(folder.path().join(format!("{n}.txt")), "a note").unwrap();
    }
    folder
}

fn assert_all_come_out(archives: &[Packed], ending: &str, loose: usize, choice: LayoutChoice) {
    let folder = written(archives, ending, loose);
    let mut found = read_all(folder.path(), choice).into_values().collect::<Vec<_>>();
    let mut wanted = archives.iter().map(|archive| archive.images.clone()).collect::<Vec<_>>();
    // Archives are told apart by what is in them, images of one archive stay in their order.
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

proptest! {
    #![proptest_config(config(700))]

    #[test]
    fn every_image_of_any_tars_comes_out_once_and_in_order(
        tars in prop::collection::vec(any_tar(), 1..5),
        loose in 0..3usize,
        ending in prop::sample::select(vec!["tar", "TAR", "Tar"]),
        choice in prop::sample::select(vec![LayoutChoice::Auto, LayoutChoice::Webdataset]),
    ) {
        assert_all_come_out(&tars, ending, loose, choice);
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn every_row_of_any_tables_comes_out_once_and_in_order(
        tables in prop::collection::vec(any_parquet(), 1..4),
        loose in 0..3usize,
        ending in prop::sample::select(vec!["parquet", "PARQUET"]),
        choice in prop::sample::select(vec![LayoutChoice::Auto, LayoutChoice::Parquet]),
    ) {
        assert_all_come_out(&tables, ending, loose, choice);
    }
}

#[test]
fn a_thousand_images_of_any_tars_are_a_thousand_rows() {
    let mut runner = TestRunner::new(config(1));
    let folder = Folder::new();
    let (mut images, mut n) = (0, 0);
    while images < 1000 {
        let tar = any_tar().new_tree(&mut runner).unwrap().current();
        folder.file(&format!("in/{n:03}.tar"), &tar.bytes);
        images += tar.images.len();
        n += 1;
    }
    // No image of these is one that can be decoded, but for the one that makes a run of it.
    folder.picture("p.png", 20, 20);
    let whole = std::fs::read(folder.path("p.png")).unwrap();
    folder.file("in/good.tar", archives::one_image(&whole));
    run(folder.score()).last_line();
    let rows = rows(&folder.path("out"), images + 1);
    assert_eq!((rows.scores.len(), rows.failures.len()), (1, images));
}
