//! Images that are lost before they are opened, and are rows of `failures` all the same.

use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

#[test]
fn a_link_that_leads_nowhere_is_rejected_as_unreadable() {
    let dir = tree(&["a.png"]);
    symlink("/no/such/picture.png", dir.path().join("b.png")).unwrap();
    symlink("c.png", dir.path().join("c.png")).unwrap();
    let listing = on_disk(dir.path()).unwrap();
    assert_eq!(listing.n_entries, 3);
    assert_eq!(rejection(&listing, "b.png").0, FailureCode::Unreadable);
    assert_eq!(rejection(&listing, "c.png").0, FailureCode::Unreadable);
}

#[test]
fn a_socket_that_is_called_a_picture_is_rejected_and_not_opened() {
    let dir = tree(&["a.png"]);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s.png")).unwrap();
    let (code, message) = rejection(&on_disk(dir.path()).unwrap(), "s.png");
    assert_eq!(code, FailureCode::Unreadable);
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn a_name_that_is_not_utf8_is_rejected_under_a_readable_and_unique_id() {
    let dir = tree(&["nut/a\\xFF.png"]);
    fs::write(dir.path().join("nut").join(OsStr::from_bytes(b"a\xFF.png")), "1").unwrap();
    fs::write(dir.path().join("nut").join(OsStr::from_bytes(b"\xFE.png")), "2").unwrap();
    let listing = on_disk(dir.path()).unwrap();
    assert_eq!(ids(&listing), ["nut/\\xFE.png", "nut/a\\xFF.png", "nut/a\\xFF.png/"]);
    assert_eq!(rejection(&listing, "nut/\\xFE.png").0, FailureCode::NonUtf8Name);
    assert_eq!(rejection(&listing, "nut/a\\xFF.png/").0, FailureCode::NonUtf8Name);
    assert_eq!(sample(&listing, "nut/a\\xFF.png").category.as_str(), "nut");
}
