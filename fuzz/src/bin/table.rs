//! Any bytes as a table that lists images: CSV, JSON Lines or Parquet, by the first byte. Listed beside two
//! images.

#![no_main]

use std::collections::HashSet;
use std::sync::Once;

use filo::source::{Entry, LayoutChoice, ListOptions, list};
use filo::store::Location;
use filo_fuzz::{check, check_message, folder, fuzz_target};

const NAMES: [&str; 3] = ["t.csv", "t.jsonl", "t.parquet"];

fuzz_target!(|bytes: &[u8]| {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        for image in ["a.png", "b.png"] {
            std::fs::write(folder().join(image), image).expect("the temporary folder has room");
        }
    });
    let [first, rest @ ..] = bytes else { return };
    let place = folder().join(NAMES[usize::from(*first) % NAMES.len()]);
    std::fs::write(&place, rest).expect("the temporary folder has room");
    let options = ListOptions { layout: LayoutChoice::Table, ..ListOptions::default() };
    check(|| match list(&Location::local(&place), &options) {
        Ok(listing) => {
            let entries = listing.shards.iter().flat_map(|shard| &shard.entries);
            let ids = entries.clone().map(Entry::image_id).collect::<HashSet<_>>();
            assert_eq!(ids.len(), listing.n_entries, "every row has a name of its own");
            for entry in entries {
                assert!(!entry.image_id().contains(char::is_control), "a name of several lines");
                if let Entry::Rejected(rejected) = entry {
                    check_message(&rejected.failure.message);
                }
            }
        }
        Err(error) => check_message(&error.to_string()),
    });
});
