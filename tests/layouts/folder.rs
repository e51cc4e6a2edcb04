//! The layout `folder`: any tree of images.

use super::*;

fn of(category: Category) -> ListOptions {
    ListOptions { category: Some(category), ..ListOptions::default() }
}

#[test]
fn the_first_sub_folder_names_the_category() {
    let dir = tree(&["nut/a.png", "nut/deep/b.JPG", "bolt/a.png", "bolt/a.jpg", "loose.webp"]);
    let category: Category = "washer".parse().unwrap();
    let listing = both_ways::list(dir.path(), &of(category)).unwrap();
    assert_eq!(listing.layout, Layout::Folder);
    assert!(listing.why.contains("neither"), "{}", listing.why);
    assert_eq!(
        ids(&listing),
        ["bolt/a.jpg", "bolt/a.png", "loose.webp", "nut/a.png", "nut/deep/b.JPG"]
    );
    assert_eq!(category_names(&listing), ["bolt", "nut", "washer"]);
    assert_eq!(sample(&listing, "loose.webp").category.as_str(), "washer");
    let nut = sample(&listing, "nut/a.png");
    assert_eq!((nut.label, &nut.mask), (None, &MaskSource::Unknown));
    let path = dir.path().join("nut/a.png");
    assert_eq!(listing.input.display(&nut.image_id), path.display().to_string());
    assert_eq!(listing.input.uri_of(&nut.image_id), format!("file://{}", path.display()));
}

#[test]
fn without_sub_folders_and_without_a_choice_the_input_names_the_category() {
    let dir = tree(&["bottles/a.png"]);
    assert_eq!(category_names(&auto(&dir.path().join("bottles"))), ["bottles"]);
    assert_eq!(category_names(&auto(&dir.path().join("bottles/."))), ["bottles"]);
    let listing = on_disk(&dir.path().join("bottles/a.png")).unwrap();
    assert_eq!((ids(&listing), category_names(&listing)), (vec!["a.png"], vec!["bottles"]));
}

#[test]
fn a_chosen_category_that_no_picture_needs_is_mentioned() {
    let dir = tree(&["nut/a.png"]);
    let category: Category = "washer".parse().unwrap();
    let listing = both_ways::list(dir.path(), &of(category)).unwrap();
    assert!(listing.why.contains("--category washer is not used"), "{}", listing.why);
}

#[test]
fn files_that_are_no_pictures_are_counted_by_kind() {
    let dir = tree(&["a/1.png", "a/1.TXT", "a/2.txt", "a/Thumbs.db", "a/README", "b.json"]);
    write(dir.path(), ".DS_Store", "");
    write(dir.path(), ".trash/x.png", "");
    write(dir.path(), ".trash/y.png", "");
    write(dir.path(), "a/ground_truth/x.png", "");
    let listing = auto(dir.path());
    assert_eq!(ids(&listing), ["a/1.png"]);
    let ignored: Vec<_> = listing.ignored.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    assert_eq!(
        ignored,
        [
            ("(ground_truth)", 1),
            ("(hidden)", 2),
            ("(no extension)", 1),
            ("(system files)", 1),
            ("json", 1)
        ]
        .into_iter()
        .chain([("txt", 2)])
        .collect::<Vec<_>>()
    );
}

#[test]
fn what_systems_leave_behind_is_no_image() {
    let dir = tree(&[
        "line 1/0.png",
        "line 1/1.png",
        "line 1/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "line 1/.ipynb_checkpoints/0-checkpoint.png",
        "line 1/._0.png",
        "#recycle/old.png",
        "__MACOSX/line 1/x.png",
        "$RECYCLE.BIN/a.png",
        "System Volume Information/b.png",
    ]);
    let listing = auto(dir.path());
    assert_eq!(ids(&listing), ["line 1/0.png", "line 1/1.png"]);
    assert_eq!((listing.ignored["(system files)"], listing.ignored["(hidden)"]), (5, 2));
}
