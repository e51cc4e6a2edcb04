//! Any bytes as the tables of VisA: `image_anno.csv` of a category, and the split of the set where the
//! first byte is odd. Listed beside two images and a mask.

#![no_main]

use std::collections::HashSet;
use std::fs::{create_dir_all, write};
use std::sync::Once;

use filo::source::{Entry, ListOptions, list};
use filo::store::Location;
use filo_fuzz::{check, check_message, folder, fuzz_target};

/// Files of the set that are no tables.
const FILES: [&str; 3] = [
    "candle/Data/Images/Normal/0.JPG",
    "candle/Data/Images/Anomaly/0.JPG",
    "candle/Data/Masks/Anomaly/0.png",
];

fuzz_target!(|bytes: &[u8]| {
    static MADE: Once = Once::new();
    let sets = ["annotations", "split"].map(|name| folder().join(name));
    MADE.call_once(|| {
        for (set, file) in sets.iter().flat_map(|set| FILES.map(|file| (set, file))) {
            let path = set.join(file);
            create_dir_all(path.parent().expect("below the set")).expect("there is room");
            write(path, file).expect("there is room");
        }
    });
    let (is_split, table) = match bytes {
        [first, rest @ ..] => (first % 2, rest),
        [] => (0, bytes),
    };
    let set = &sets[usize::from(is_split)];
    let place = ["candle/image_anno.csv", "1cls.csv"][usize::from(is_split)];
    write(set.join(place), table).expect("there is room");
    check(|| match list(&Location::local(set), &ListOptions::default()) {
        Ok(listing) => {
            let entries = listing.shards.iter().flat_map(|shard| &shard.entries);
            let ids = entries.clone().map(Entry::image_id).collect::<HashSet<_>>();
            assert_eq!(ids.len(), listing.n_entries, "every row has a name of its own");
            // Without a split every image is listed, whatever the table says.
            let images = FILES[..2].iter().filter(|file| ids.contains(**file)).count();
            assert!(is_split == 1 || images == 2, "an image is lost");
            for entry in entries {
                if let Entry::Rejected(rejected) = entry {
                    check_message(&rejected.failure.message);
                }
            }
        }
        Err(error) => check_message(&error.to_string()),
    });
});
