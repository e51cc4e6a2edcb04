//! Shards: the same files give the same shards on every machine, and every file is accounted for.

use super::*;
use proptest::prelude::*;

fn shards_of(path: &Path, size: usize) -> Vec<(String, usize)> {
    let size = ShardSize::try_from(size).unwrap();
    let listing =
        list(&Location::local(path), &ListOptions { shard_size: size, ..ListOptions::default() })
            .unwrap();
    listing.shards.into_iter().map(|shard| (shard.id, shard.entries.len())).collect()
}

#[test]
fn the_ids_depend_on_names_and_sizes_and_on_nothing_else() {
    let here = tree(&["nut/1.png", "nut/2.png", "nut/3.png"]);
    let there = tree(&["nut/3.png", "nut/2.png", "nut/1.png"]);
    let shards = shards_of(here.path(), 2);
    assert_eq!(shards, [("733f795d9668f69a".to_owned(), 2), ("4ea3a392f8ff570c".to_owned(), 1)]);
    assert_eq!(shards_of(there.path(), 2), shards);

    write(there.path(), "nut/3.png", "longer than before");
    let changed = shards_of(there.path(), 2);
    assert_eq!(changed[0], shards[0]);
    assert_ne!(changed[1], shards[1]);
}

#[test]
fn a_mask_that_appears_changes_the_shard() {
    let dir = tree(&["a/test/bad/0.png", "a/test/good/0.png"]);
    let before = shards_of(dir.path(), 64);
    write(dir.path(), "a/ground_truth/bad/0.png", "");
    assert_ne!(shards_of(dir.path(), 64), before);
}

#[test]
fn a_shard_holds_64_pictures_unless_told_otherwise() {
    let files: Vec<String> = (0..130).map(|i| format!("nut/{i:03}.png")).collect();
    let dir = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let listing = auto(dir.path());
    let sizes: Vec<usize> = listing.shards.iter().map(|shard| shard.entries.len()).collect();
    assert_eq!(sizes, [64, 64, 2]);
    let indices: Vec<usize> = listing.shards.iter().map(|shard| shard.index).collect();
    assert_eq!(indices, [0, 1, 2]);
}

/// A file of a data set that may have any of the layouts, or be a mixture of all.
fn any_file() -> impl Strategy<Value = String> {
    let folder = prop::sample::select(vec![
        "",
        "a/",
        "a/test/good/",
        "a/test/bad/",
        "a/ground_truth/bad/",
        "a/train/good/",
        "b/Data/Images/Normal/",
        "b/Data/Images/Anomaly/",
        "b/Data/Masks/Anomaly/",
        "test/x/",
    ]);
    let name = prop::sample::select(vec!["0.png", "0.jpg", "0_mask.png", "1.PNG", "n.txt", ".h"]);
    (folder, name).prop_map(|(folder, name)| format!("{folder}{name}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_file_is_an_entry_or_a_mask_or_counted_as_ignored(
        files in prop::collection::btree_set(any_file(), 1..20),
        choice in prop::sample::select(vec![
            LayoutChoice::Auto, LayoutChoice::Folder, LayoutChoice::Mvtec, LayoutChoice::Visa,
        ]),
    ) {
        let dir = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
        if let Ok(listing) = try_list(dir.path(), choice) {
            let ignored: usize = listing.ignored.values().sum();
            prop_assert_eq!(listing.n_entries + listing.n_masks + ignored, files.len());
            let listed = ids(&listing);
            prop_assert!(listed.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
