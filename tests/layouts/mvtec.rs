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

fn labels(listing: &Listing) -> Vec<(&str, Option<&'static str>, usize)> {
    let of = |sample: &'_ Sample| match &sample.mask {
        MaskSource::Files(files) => files.len(),
        MaskSource::AllNormal | MaskSource::Unknown => 0,
    };
    let samples = ids(listing).into_iter().map(|id| (id, sample(listing, id)));
    samples.map(|(id, sample)| (id, sample.label.map(|l| l.as_str()), of(sample))).collect()
}

const NORMAL: Option<&str> = Some("normal");
const ANOMALOUS: Option<&str> = Some("anomalous");

#[test]
fn the_masks_of_loco_are_folders_of_files_that_are_drawn_together() {
    let dir = tree(&[
        "box/test/good/0.png",
        "box/test/logical_anomalies/0.png",
        "box/test/structural_anomalies/0.png",
        "box/ground_truth/logical_anomalies/0/000.png",
        "box/ground_truth/logical_anomalies/0/001.png",
        "box/ground_truth/structural_anomalies/0/000.png",
        "box/train/good/0.png",
        "box/validation/good/0.png",
    ]);
    let listing = auto(dir.path());
    assert_eq!(
        labels(&listing),
        [
            ("box/test/good/0.png", NORMAL, 0),
            ("box/test/logical_anomalies/0.png", ANOMALOUS, 2),
            ("box/test/structural_anomalies/0.png", ANOMALOUS, 1),
        ]
    );
    assert_eq!(listing.ignored["(validation)"], 1);
}

#[test]
fn the_normal_images_of_btad_are_called_ok() {
    let dir = tree(&[
        "01/test/ok/0.bmp",
        "01/test/ko/0.bmp",
        "01/ground_truth/ko/0.png",
        "01/train/ok/0.bmp",
        "02/test/OK/0.bmp",
        "02/test/unlabelled/0.bmp",
    ]);
    let listing = auto(dir.path());
    assert_eq!(
        labels(&listing),
        [
            ("01/test/ko/0.bmp", ANOMALOUS, 1),
            ("01/test/ok/0.bmp", NORMAL, 0),
            ("02/test/OK/0.bmp", NORMAL, 0),
            ("02/test/unlabelled/0.bmp", None, 0),
        ]
    );
    let train = filo::source::list_train(&Location::local(dir.path()), &ListOptions::default());
    assert_eq!(ids(&train.unwrap()), ["01/train/ok/0.bmp"]);
}

#[test]
fn only_the_colour_images_of_mvtec_3d_are_images() {
    let dir = tree(&[
        "bagel/test/good/rgb/0.png",
        "bagel/test/good/gt/0.png",
        "bagel/test/good/xyz/0.tiff",
        "bagel/test/hole/rgb/0.png",
        "bagel/test/hole/gt/0.png",
        "bagel/test/hole/xyz/0.tiff",
        "bagel/train/good/rgb/0.png",
        "bagel/train/good/xyz/0.tiff",
        "bagel/validation/good/rgb/0.png",
    ]);
    let listing = auto(dir.path());
    assert_eq!(
        labels(&listing),
        [("bagel/test/good/rgb/0.png", NORMAL, 0), ("bagel/test/hole/rgb/0.png", ANOMALOUS, 1)]
    );
    assert_eq!(
        mask_name(sample(&listing, "bagel/test/hole/rgb/0.png")),
        "bagel/test/hole/gt/0.png"
    );
    assert_eq!((listing.ignored["(not rgb)"], listing.ignored["(unused mask)"]), (2, 1));
    let train = filo::source::list_train(&Location::local(dir.path()), &ListOptions::default());
    assert_eq!(ids(&train.unwrap()), ["bagel/train/good/rgb/0.png"]);
}

#[test]
fn the_public_test_images_of_mvtec_ad_2_have_their_masks_beside_them() {
    let dir = tree(&[
        "can/test_public/good/0.png",
        "can/test_public/bad/1.png",
        "can/test_public/ground_truth/bad/1_mask.png",
        "can/test_private/2.png",
        "can/test_private_mixed/3.png",
        "can/train/good/4.png",
        "can/validation/good/5.png",
    ]);
    for (root, at) in [(dir.path().to_owned(), "can/"), (dir.path().join("can"), "")] {
        let listing = auto(&root);
        let found = labels(&listing);
        let found = found.iter().map(|(id, label, masks)| (id.strip_prefix(at), *label, *masks));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (Some("test_public/bad/1.png"), ANOMALOUS, 1),
                (Some("test_public/good/0.png"), NORMAL, 0)
            ]
        );
        assert_eq!(listing.ignored["(test_private)"], 1);
    }
}

#[test]
fn names_that_look_alike_are_one_name() {
    let dir = tree(&[
        "part/test/good/0.png",
        "part/test/crack/Gera\u{308}t.png",
        "part/ground_truth/crack/Ger\u{e4}t_mask.png",
    ]);
    let listing = auto(dir.path());
    let anomalous = sample(&listing, "part/test/crack/Gera\u{308}t.png");
    assert_eq!(mask_name(anomalous), "part/ground_truth/crack/Ger\u{e4}t_mask.png");
}
