//! The layout `visa`: what the CSV files say, and what they must not say.

use super::*;

const SPLIT: &str = "object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0.JPG,
candle,test,normal,candle/Data/Images/Normal/1.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png
";

/// A category with four images and a mask, without CSV files.
fn candle() -> TempDir {
    tree(&[
        "candle/Data/Images/Normal/0.JPG",
        "candle/Data/Images/Normal/1.JPG",
        "candle/Data/Images/Anomaly/0.JPG",
        "candle/Data/Images/Anomaly/1.JPG",
        "candle/Data/Masks/Anomaly/0.png",
    ])
}

fn annotated(rows: &str) -> TempDir {
    let dir = candle();
    write(dir.path(), "candle/image_anno.csv", &format!("image,label,mask\n{rows}\n"));
    dir
}

#[test]
fn the_test_rows_of_the_split_are_listed_wherever_it_lies() {
    for place in ["split_csv/1cls.csv", "1cls.csv"] {
        let dir = annotated("candle/Data/Images/Normal/0.JPG,normal,");
        write(dir.path(), place, SPLIT);
        let listing = auto(dir.path());
        assert_eq!(listing.layout, Layout::Visa);
        assert!(listing.why.contains(place), "{}", listing.why);
        let expected = ["candle/Data/Images/Anomaly/0.JPG", "candle/Data/Images/Normal/1.JPG"];
        assert_eq!(ids(&listing), expected);
        assert_eq!((listing.n_labelled, listing.n_masks), (2, 1));
        assert_eq!(category_names(&listing), ["candle"]);
        assert_eq!(listing.ignored["(other split)"], 1);
        assert_eq!(listing.ignored["(not in 1cls.csv)"], 1);
        let anomaly = sample(&listing, expected[0]);
        assert_eq!((anomaly.label, &anomaly.kind), (Some(Label::Anomalous), &None));
        assert_eq!(mask_name(anomaly), "candle/Data/Masks/Anomaly/0.png");
    }
}

#[test]
fn annotations_name_kinds_and_masks_and_other_pictures_have_no_label() {
    let dir = annotated(
        "candle/Data/Images/Normal/0.JPG,normal,
candle/Data/Images/Anomaly/0.JPG,\"melt,bent wick\",candle/Data/Masks/Anomaly/0.png
candle/Data/Images/Anomaly/1.JPG,melt,",
    );
    let listing = auto(dir.path());
    assert!(listing.why.contains("1 of 1 sub-folders have Data/Images"), "{}", listing.why);
    let normal = sample(&listing, "candle/Data/Images/Normal/0.JPG");
    assert_eq!((normal.label, &normal.mask), (Some(Label::Normal), &MaskSource::AllNormal));
    let melt = sample(&listing, "candle/Data/Images/Anomaly/0.JPG");
    assert_eq!(melt.kind.as_deref(), Some("melt,bent wick"));
    assert_eq!(mask_name(melt), "candle/Data/Masks/Anomaly/0.png");
    let unmasked = sample(&listing, "candle/Data/Images/Anomaly/1.JPG");
    assert_eq!(unmasked.mask, MaskSource::Unknown);
    assert_eq!(sample(&listing, "candle/Data/Images/Normal/1.JPG").label, None);
    assert_eq!((listing.n_entries, listing.n_labelled), (4, 3));
}

#[test]
fn one_category_by_itself_is_understood_even_if_it_was_renamed() {
    let dir = annotated("candle/Data/Images/Anomaly/0.JPG,melt,candle/Data/Masks/Anomaly/0.png");
    let renamed = dir.path().join("wax");
    fs::rename(dir.path().join("candle"), &renamed).unwrap();
    let listing = auto(&renamed);
    assert_eq!(sample(&listing, "Data/Images/Anomaly/0.JPG").kind.as_deref(), Some("melt"));
    assert_eq!((category_names(&listing), listing.n_masks), (vec!["wax"], 1));
}

#[test]
fn without_any_csv_the_folders_are_the_labels() {
    let dir = candle();
    let listing = auto(dir.path());
    assert_eq!((listing.n_entries, listing.n_labelled, listing.n_masks), (4, 3, 1));
    let lost = rejection(&listing, "candle/Data/Images/Anomaly/1.JPG");
    assert_eq!(lost.0, FailureCode::MaskMissing);
}

#[test]
fn a_picture_or_mask_that_a_row_names_and_nobody_has_is_rejected() {
    let dir = annotated(
        "candle/Data/Images/Normal/9.JPG,normal,
candle/Data/Images/Anomaly/0.JPG,melt,candle/Data/Masks/Anomaly/9.png",
    );
    let listing = auto(dir.path());
    let (code, message) = rejection(&listing, "candle/Data/Images/Normal/9.JPG");
    assert_eq!(code, FailureCode::Unreadable);
    assert!(message.contains("line 2 of the CSV"), "{message}");
    let (code, message) = rejection(&listing, "candle/Data/Images/Anomaly/0.JPG");
    assert_eq!(code, FailureCode::MaskMissing);
    assert!(message.contains("line 3 of the CSV does not exist"), "{message}");
}

#[test]
fn a_path_that_climbs_out_of_the_input_is_rejected() {
    let outer = tempfile::tempdir().unwrap();
    let input = outer.path().join("input");
    write(outer.path(), "secret.png", "");
    write(&input, "candle/Data/Images/Anomaly/0.JPG", "");
    let rows = "image,label,mask
../secret.png,normal,
/etc/hosts,normal,
candle/Data/Images/Anomaly/0.JPG,melt,../../secret.png
";
    write(&input, "candle/image_anno.csv", rows);
    let listing = auto(&input);
    for id in ["../secret.png", "/etc/hosts"] {
        let (code, message) = rejection(&listing, id);
        assert_eq!(code, FailureCode::Unreadable);
        assert!(message.contains("leads out of the input"), "{message}");
    }
    let masked = rejection(&listing, "candle/Data/Images/Anomaly/0.JPG");
    assert!(masked.1.contains("leads out of the input"), "{}", masked.1);
}

#[test]
fn a_picture_that_two_rows_name_is_rejected_once() {
    let dir = annotated(
        "candle/Data/Images/Normal/0.JPG,normal,
candle/./Data/Images/Normal/0.JPG,melt,",
    );
    let listing = auto(dir.path());
    let (code, message) = rejection(&listing, "candle/Data/Images/Normal/0.JPG");
    assert_eq!(code, FailureCode::DuplicateName);
    assert!(message.contains("line 2, 3 of the CSV"), "{message}");
    assert_eq!(listing.n_entries, 4);
}

#[test]
fn a_csv_that_cannot_be_understood_is_an_error_with_its_line() {
    let cases = [
        ("image,label,mask\na.JPG,normal,\nb.JPG,normal\n", 3, "2 cells"),
        ("image,label,mask\n,normal,\n", 2, "column image is empty"),
        ("picture,label,mask\na.JPG,normal,\n", 1, "no column image"),
        ("", 1, "no column image"),
    ];
    for (text, line, why) in cases {
        let dir = candle();
        write(dir.path(), "candle/image_anno.csv", text);
        let message = try_list(dir.path(), LayoutChoice::Auto).unwrap_err().to_string();
        assert!(message.contains(&format!("image_anno.csv:{line}: ")), "{message}");
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_csv_as_a_spreadsheet_writes_it_is_understood() {
    let dir = candle();
    let text = "\u{feff}Image, Label, Mask\r\nData/Images/Normal/0.JPG, normal,\r\n";
    write(dir.path(), "candle/image_anno.csv", text);
    let listing = auto(dir.path());
    assert_eq!(listing.n_labelled, 1);
    assert_eq!(sample(&listing, "candle/Data/Images/Normal/0.JPG").label, Some(Label::Normal));
}

#[test]
fn a_csv_that_was_edited_by_hand_is_understood() {
    for text in [
        "image,label,mask\nData/Images/Normal/0.JPG,Normal,\nData/Images/Anomaly/0.JPG,Anomaly,Data/Masks/Anomaly/0.png\n",
        "image;label;mask\nData/Images/Normal/0.JPG;GOOD;\nData/Images/Anomaly/0.JPG;bad;Data/Masks/Anomaly/0.png\n",
        "image,label,mask\nData\\Images\\Normal\\0.JPG,normal,\ncandle\\Data\\Images\\Anomaly\\0.JPG,1,Data\\Masks\\Anomaly\\0.png\n",
    ] {
        let dir = candle();
        write(dir.path(), "candle/image_anno.csv", text);
        let listing = auto(dir.path());
        let normal = sample(&listing, "candle/Data/Images/Normal/0.JPG");
        let anomalous = sample(&listing, "candle/Data/Images/Anomaly/0.JPG");
        assert_eq!(
            (normal.label, &normal.mask),
            (Some(Label::Normal), &MaskSource::AllNormal),
            "{text}"
        );
        assert_eq!((anomalous.label, &anomalous.kind), (Some(Label::Anomalous), &None), "{text}");
        assert_eq!(mask_name(anomalous), "candle/Data/Masks/Anomaly/0.png");
        assert_eq!((listing.n_entries, listing.n_labelled), (4, 2), "{text}");
    }
}

#[test]
fn a_label_that_says_nothing_is_unknown() {
    let dir =
        annotated("candle/Data/Images/Normal/0.JPG,,\ncandle/Data/Images/Normal/1.JPG,unknown,");
    let listing = auto(dir.path());
    assert_eq!((listing.n_entries, listing.n_labelled), (4, 0));
}
