//! Which images of a listing are scored: `--include`, `--exclude` and `--limit`.

use filo::source::{Filter, Glob};

use super::*;

fn globs(texts: &[&str]) -> Vec<Glob> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn chosen(path: &Path, filter: Filter) -> Listing {
    both_ways::list(path, &ListOptions { filter, ..ListOptions::default() }).unwrap()
}

fn ids(listing: &Listing) -> Vec<&str> {
    let entries = listing.shards.iter().flat_map(|shard| &shard.entries);
    entries.map(Entry::image_id).collect()
}

#[test]
fn patterns_choose_images_and_what_they_leave_out_is_counted() {
    let dir =
        tree(&["a/1.png", "a/1_mask.png", "a/old/2.png", "b/3.jpg", "b/old/x/4.png", "b/n.txt"]);
    let filter = Filter {
        include: globs(&["*.png"]),
        exclude: globs(&["old", "*_mask.*"]),
        ..Filter::default()
    };
    let listing = chosen(dir.path(), filter);
    assert_eq!(ids(&listing), ["a/1.png"]);
    assert_eq!((listing.ignored["(not included)"], listing.ignored["txt"]), (1, 1));
    // A folder that is not entered counts once.
    assert_eq!(listing.ignored["(excluded)"], 3);
}

#[test]
fn masks_of_chosen_images_are_found_whatever_the_patterns_say() {
    let dir =
        tree(&["nut/test/good/1.png", "nut/test/crack/2.png", "nut/ground_truth/crack/2_mask.png"]);
    let filter = Filter { exclude: globs(&["*_mask.png", "good"]), ..Filter::default() };
    let listing = chosen(dir.path(), filter);
    assert_eq!(ids(&listing), ["nut/test/crack/2.png"]);
    assert!(matches!(sample(&listing, "nut/test/crack/2.png").mask, MaskSource::Files(_)));
}

#[test]
fn an_input_of_which_nothing_is_left_says_so() {
    let dir = tree(&["a/1.png"]);
    let filter = Filter { include: globs(&["b/**"]), ..Filter::default() };
    let error = both_ways::list(dir.path(), &ListOptions { filter, ..ListOptions::default() });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("1 (not included)"), "{error}");
}

#[test]
fn a_limit_takes_images_from_all_over_the_listing() {
    let names = (0..100).map(|n| format!("{}/{n:02}.png", n / 25)).collect::<Vec<_>>();
    let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for limit in [1, 3, 7, 50, 99, 100, 1000] {
        let filter = Filter { limit: limit.try_into().ok(), ..Filter::default() };
        let listing = chosen(dir.path(), filter);
        let ids = ids(&listing);
        assert_eq!(ids.len(), 100.min(limit as usize), "{limit}");
        let of_first = ids.iter().filter(|id| id.starts_with("0/")).count();
        assert!(of_first.abs_diff(ids.len() / 4) <= 1, "{limit}: {of_first} of folder 0");
        let left_out = listing.ignored.get("(over the limit)").copied().unwrap_or_default();
        assert_eq!(left_out, 100 - ids.len());
    }
}

#[test]
fn archives_share_a_limit() {
    let dir = tree(&["1.tar", "2.tar", "3.tar"]);
    let most = |limit: u64| {
        let filter = Filter { limit: limit.try_into().ok(), ..Filter::default() };
        let listing = chosen(dir.path(), filter);
        let entries = listing.shards.iter().flat_map(|shard| &shard.entries);
        let most = entries.map(|entry| match entry {
            Entry::Archive(archive) => archive.most.map_or(0, std::num::NonZeroU64::get),
            _ => panic!("{entry:?}"),
        });
        most.collect::<Vec<_>>()
    };
    assert_eq!((most(7), most(3), most(2)), (vec![3, 2, 2], vec![1, 1, 1], vec![1, 1]));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_listed_is_left_out_without_a_warning_where_it_is_excluded() {
    let dir = tree(&["a/1.png"]);
    std::os::unix::fs::symlink("..", dir.path().join("a/up")).unwrap();
    let filter = Filter { exclude: globs(&["up"]), ..Filter::default() };
    let options = ListOptions { filter, ..ListOptions::default() };
    let listing = list(&Location::local(dir.path()), &options).unwrap();
    assert_eq!(ids(&listing), ["a/1.png"]);
    assert_eq!(listing.ignored, [("(excluded)".to_owned(), 1)].into());
}
