//! The layout `mvtec`: kinds are labels, masks pair by stem.

use super::*;

#[test]
fn kinds_are_labels_and_masks_are_found_by_stem() {
    let dir = tree(&[
        "bottle/train/good/0.png",
        "bottle/test/good/0.png",
        "bottle/test/crack/0.png",
        "bottle/test/crack/1.JPG",
        "bottle/test/loose.png",
        "bottle/ground_truth/crack/0_mask.png",
        "bottle/ground_truth/crack/1.bmp",
        "bottle/ground_truth/crack/7_mask.png",
        "bottle/readme.txt",
        "nut/test/bad/0.png",
        "nut/train/good/0.png",
    ]);
    let listing = auto(dir.path());
    assert_eq!(listing.layout, Layout::Mvtec);
    assert!(listing.why.contains("2 of 2 sub-folders"), "{}", listing.why);
    assert_eq!((listing.n_entries, listing.n_labelled, listing.n_masks), (5, 4, 2));
    let good = sample(&listing, "bottle/test/good/0.png");
    assert_eq!((good.label, &good.mask), (Some(Label::Normal), &MaskSource::AllNormal));
    let crack = sample(&listing, "bottle/test/crack/0.png");
    assert_eq!((crack.label, crack.kind.as_deref()), (Some(Label::Anomalous), Some("crack")));
    assert_eq!(mask_name(crack), "bottle/ground_truth/crack/0_mask.png");
    let plain = sample(&listing, "bottle/test/crack/1.JPG");
    assert_eq!(mask_name(plain), "bottle/ground_truth/crack/1.bmp");
    assert_eq!(sample(&listing, "bottle/test/loose.png").label, None);
    let unmasked = sample(&listing, "nut/test/bad/0.png");
    assert_eq!((unmasked.label, &unmasked.mask), (crack.label, &MaskSource::Unknown));
    assert_eq!(listing.ignored["(train)"], 2);
    assert_eq!(listing.ignored["(unused mask)"], 1);
}

#[test]
fn a_picture_without_the_mask_that_its_kind_has_is_rejected() {
    let dir = tree(&["a/test/crack/0.png", "a/test/crack/1.png", "a/ground_truth/crack/0.png"]);
    let listing = auto(dir.path());
    let (code, message) = rejection(&listing, "a/test/crack/1.png");
    assert_eq!(code, FailureCode::MaskMissing);
    assert!(message.contains("1_mask.*"), "{message}");
    assert_eq!(listing.n_masks, 1);
}

#[test]
fn two_pictures_of_a_kind_with_one_stem_are_both_rejected() {
    let dir = tree(&[
        "a/test/crack/0.png",
        "a/test/crack/0.jpg",
        "a/test/crack/1.png",
        "a/test/good/0.png",
        "a/test/good/0.jpg",
        "a/ground_truth/crack/0_mask.png",
        "a/ground_truth/crack/1_mask.png",
        "a/ground_truth/crack/1_mask.bmp",
    ]);
    let listing = auto(dir.path());
    for id in ["a/test/crack/0.png", "a/test/crack/0.jpg", "a/test/crack/1.png"] {
        assert_eq!(rejection(&listing, id).0, FailureCode::DuplicateName, "{id}");
    }
    assert_eq!(sample(&listing, "a/test/good/0.jpg").label, Some(Label::Normal));
    assert_eq!((listing.n_masks, listing.ignored["(unused mask)"]), (0, 3));
}

#[test]
fn one_category_by_itself_is_understood() {
    let dir = tree(&["nut/test/good/0.png", "nut/test/bad/0.png", "nut/ground_truth/bad/0.png"]);
    let listing = auto(&dir.path().join("nut"));
    assert_eq!(listing.layout, Layout::Mvtec);
    assert_eq!(ids(&listing), ["test/bad/0.png", "test/good/0.png"]);
    assert_eq!((category_names(&listing), listing.n_masks), (vec!["nut"], 1));
}

#[test]
fn a_plain_archive_with_a_folder_named_test_is_no_mvtec() {
    let dir = tree(&["line1/test/monday/0.png", "line1/rest/0.png"]);
    assert_eq!(auto(dir.path()).n_entries, 2);
}
