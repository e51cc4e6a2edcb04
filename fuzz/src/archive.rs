//! Any bytes as a file with images in it. What must hold of every archive, however broken.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use filo::source::{ArchiveKind, Columns, Input, read_archive};
use filo::store::Location;

use crate::{MOST_BYTES, check_message, check_within, folder};

/// More than the files of the seeds have, so that both sides of the limit are met.
const MAX_BYTES: u64 = 1 << 20;

/// Reads `bytes` as an archive to its end.
///
/// # Panics
/// If two images have one name, an image is too large, or a failure says nothing.
pub fn read(bytes: &[u8], kind: ArchiveKind) {
    static INPUT: OnceLock<Input> = OnceLock::new();
    std::fs::write(folder().join("archive"), bytes).expect("the temporary folder has room");
    let input = INPUT.get_or_init(|| {
        Input::open(&Location::local(&folder())).expect("the temporary folder is there")
    });
    let most_bytes = match kind {
        ArchiveKind::Tar => MOST_BYTES,
        // The library makes room for what the header of a page promises, up to 2 GiB.
        ArchiveKind::Parquet => MOST_BYTES + (2 << 30),
    };
    check_within(most_bytes, || {
        let file = input.open_file("archive", None, None).expect("the file is there");
        let mut names = HashSet::new();
        let columns = Columns { image: None, keep: vec!["serial".to_owned()] };
        read_archive(file, kind, &columns, MAX_BYTES, |member| {
            match &member.picture {
                Ok(picture) => assert!(picture.len() as u64 <= MAX_BYTES),
                Err(failure) => check_message(&failure.message),
            }
            assert!(!names.contains(&member.id), "two images are called {:?}", member.id);
            names.insert(member.id);
            ControlFlow::Continue(())
        });
        assert!(!bytes.is_empty() || names.len() == 1, "an empty file is a failure");
    });
}
