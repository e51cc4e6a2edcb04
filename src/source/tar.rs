//! The layout `webdataset`: tar files in which an image stands beside what is known of it:
//! `0001.jpg`, `0001.cls`, `0001.json`, `0001.mask.png`. A tar goes in; its images with what is known
//! of them come out, in the order of the tar. It is read twice: headers and small sidecars first, so
//! that sidecars count wherever they lie, then one image after the other.
//!
//! The tar is untrusted: what is wrong with a member costs that member, a sidecar that cannot be
//! used costs no image, sizes are bounded, and names are only names. Never here: decoding, what is
//! in the tar (that is `tar_index`), and which files belong together (that is `tar_names`).

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::member::{Known, Member, unique};
use super::open_file::OpenFile;
use super::tar_index::Index;
use super::tar_names::candidates;
use crate::error::{Failure, Stage};

/// What was left out, by ending or reason.
pub type Ignored = BTreeMap<String, usize>;

/// Hands the images of a tar to `take`, one after the other, until it wants no more. A file of more
/// than `max_bytes` is not read. A tar that is broken ends with a member that says so.
pub fn read_tar(
    tar: &OpenFile,
    keep: &[String],
    max_bytes: u64,
    mut take: impl FnMut(Member) -> ControlFlow<()>,
) -> Ignored {
    let Index { images, masks, known, ignored, broken } = Index::of(tar, keep);
    let mut given = HashSet::new();
    for image in &images {
        let sidecars = candidates(&image.path).filter_map(|stem| known.get(stem).cloned());
        let known = sidecars.fold(Known::default(), Known::or);
        let folder = image.path.split_once('/').map(|(folder, _)| folder.to_owned());
        let folder = folder.filter(|folder| !folder.is_empty() && folder != "..");
        let known = known.or(Known { category: folder, ..Known::default() });
        let mask = candidates(&image.path).find_map(|stem| masks.get(stem));
        let (picture, mask) = match (image.read(tar, max_bytes), mask) {
            (picture, None) => (picture, None),
            (Err(failure), _) => (Err(failure), None),
            (Ok(bytes), Some(mask)) => match mask.read(tar, max_bytes) {
                Ok(mask) => (Ok(bytes), Some(mask)),
                Err(failure) => (Err(Failure { stage: Stage::Mask, ..failure }), None),
            },
        };
        let id = unique(image.path.clone(), &mut given);
        if take(Member { id, picture, mask, known }).is_break() {
            return ignored;
        }
    }
    if let Some(failure) = broken {
        let id = unique("(rest)".to_owned(), &mut given);
        let _ = take(Member { id, picture: Err(failure), mask: None, known: Known::default() });
    }
    ignored
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Label;
    use super::*;
    use crate::error::FailureCode;

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn small() -> Vec<u8> {
        tar_of(&[
            ("a/1.png", b"one"),
            ("a/1.cls", b"crack"),
            ("b/2.jpg", b"two"),
            ("b/2.json", b"{}"),
        ])
    }

    fn members(tar: &[u8]) -> Vec<Member> {
        read_limited(tar, 1000)
    }

    fn read_limited(tar: &[u8], max_bytes: u64) -> Vec<Member> {
        let mut members = Vec::new();
        read_tar(&OpenFile::of_bytes(tar.to_vec()), &[], max_bytes, |member| {
            members.push(member);
            ControlFlow::Continue(())
        });
        members
    }

    #[test]
    fn files_of_one_name_are_one_image() {
        let found = members(&small());
        let [one, two] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.id.as_str(), &one.picture), ("a/1.png", &Ok("one".into())));
        assert_eq!(one.known.kind.as_deref(), Some("crack"));
        assert_eq!((two.known.category.as_deref(), two.known.label), (Some("b"), None));
    }

    #[test]
    fn sidecars_count_wherever_they_lie() {
        let tar = tar_of(&[
            ("1.cls", b"0"),
            ("2.png", b"b"),
            ("1.png", b"a"),
            ("2.mask.png", b"m"),
            ("2.cls", b"1"),
        ]);
        let found = members(&tar);
        let said = |m: &Member| (m.id.clone(), m.known.label.map(|l| l.as_str()), m.mask.is_some());
        let said = found.iter().map(said).collect::<Vec<_>>();
        let expected = [("2.png", Some("anomalous"), true), ("1.png", Some("normal"), false)];
        assert_eq!(said, expected.map(|(id, label, mask)| (id.to_owned(), label, mask)));
    }

    #[test]
    fn a_link_has_the_bytes_of_its_file() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        tar.append_data(&mut header, "d/1.png", &b"one"[..]).unwrap();
        for (kind, name, target) in [
            (tar::EntryType::Link, "d/2.png", "d/1.png"),
            (tar::EntryType::Symlink, "d/3.png", "../d/1.png"),
            (tar::EntryType::Symlink, "d/4.png", "gone.png"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
        }
        let found = members(&tar.into_inner().unwrap());
        let bytes = found.iter().map(|m| m.picture.clone().ok()).collect::<Vec<_>>();
        let one = Some(bytes::Bytes::from("one"));
        assert_eq!(bytes, [one.clone(), one.clone(), one, None]);
        assert!(found[3].picture.as_ref().unwrap_err().message.contains("link to d/gone.png"));
    }

    #[test]
    fn sidecars_may_be_links_and_labels_that_contradict_each_other_are_none() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |kind, name: &str, target: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            match target {
                "" => tar.append_data(&mut header, name, bytes).unwrap(),
                target => tar.append_link(&mut header, name, target).unwrap(),
            }
        };
        use tar::EntryType::{Link, Regular, Symlink};
        add(Symlink, "b.cls", "a.cls", b"");
        add(Regular, "a.png", "", b"a");
        add(Regular, "a.cls", "", b"ng");
        add(Regular, "a.mask.png", "", b"mask");
        add(Regular, "b.png", "", b"b");
        add(Link, "b.mask.png", "a.mask.png", b"");
        add(Regular, "c.png", "", b"c");
        add(Link, "c.mask.png", "gone.png", b"");
        add(Regular, "c.cls", "", b"0");
        add(Regular, "c.json", "", b"{\"label\": 1}");
        let found = members(&tar.into_inner().unwrap());
        let label = |at: usize| found[at].known.label.map(Label::as_str);
        assert_eq!([label(0), label(1), label(2)], [Some("anomalous"), Some("anomalous"), None]);
        assert_eq!(found[2].known.unclear.as_deref(), Some("anomalous and normal at once"));
        assert_eq!(found[1].mask.as_deref(), Some(&b"mask"[..]));
        assert_eq!(found[2].mask, None);
    }

    #[test]
    fn tars_one_behind_the_other_are_all_read() {
        let two = [tar_of(&[("1.png", b"one")]), tar_of(&[("2.png", b"two")])].concat();
        let ids = members(&two).into_iter().map(|member| member.id).collect::<Vec<_>>();
        assert_eq!(ids, ["1.png", "2.png"]);
    }

    /// A file of a tar: its name, and whether it is an image.
    fn any_file() -> impl Strategy<Value = (String, bool)> {
        let folder = prop::sample::select(vec!["", "a/", "v1.0/", "./b/"]);
        let key = prop::sample::select(vec!["0", "1", "cam.2024-01-01", "cam.2024-01-02", "x_y"]);
        let ending = prop::sample::select(vec![
            (".png", true),
            (".JPG", true),
            (".left.png", true),
            (".cls", false),
            (".CLS", false),
            (".json", false),
            (".mask.png", false),
            (".Seg.PNG", false),
            (".txt", false),
            ("", false),
        ]);
        (folder, key, ending)
            .prop_map(|(folder, key, (ending, image))| (format!("{folder}{key}{ending}"), image))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn every_image_of_any_tar_comes_out_once(
            files in prop::collection::vec((any_file(), prop::collection::vec(any::<u8>(), 0..30)), 0..25),
            junk in prop::collection::vec(any_file(), 0..3),
        ) {
            let mut all = files.iter().map(|((name, _), bytes)| (name.clone(), bytes.clone())).collect::<Vec<_>>();
            for (name, _) in junk {
                let (folder, name) = name.rsplit_once('/').unwrap_or(("d", &name));
                all.push((format!("{folder}/._{name}"), b"resource fork".to_vec()));
            }
            let named = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
            let found = members(&tar_of(&named.collect::<Vec<_>>()));
            let expected = files.iter().filter(|((_, image), _)| *image).map(|(_, bytes)| bytes.clone());
            let found = found.into_iter().map(|member| member.picture.unwrap());
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn whoever_wants_no_more_gets_no_more() {
        let mut seen = 0;
        read_tar(&OpenFile::of_bytes(small()), &[], 1000, |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_large_file_is_not_read() {
        let codes = |max| {
            let found = read_limited(&small(), max);
            found.into_iter().map(|m| m.picture.err().map(|f| f.code)).collect::<Vec<_>>()
        };
        assert_eq!(codes(2), [Some(FailureCode::TooLarge), Some(FailureCode::TooLarge)]);
        assert_eq!(codes(3), [None, None]);
    }

    #[test]
    fn damage_anywhere_gives_no_panic_and_no_image_too_many() {
        let whole = small();
        for at in 0..whole.len() {
            assert!(members(&whole[..at]).len() <= 3);
            let mut flipped = whole.clone();
            for bit in [1, 0x80] {
                flipped[at] ^= bit;
                assert!(members(&flipped).len() <= 5, "byte {at}");
            }
        }
    }
}
