//! A place of files behaves alike on a disk, in memory and on a real S3 server: one suite, three
//! stores. `scripts/test` starts the server (`scripts/s3_server.py`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use filo::store::{Location, Put, Store};
use object_store::memory::InMemory;

mod support;
use support::s3::bucket_folder;

/// Writers that race for one name.
const WRITERS: usize = 16;

/// More files than one page of a listing has (1000).
const MANY: usize = 1100;

#[test]
fn a_disk_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    suite(&Store::create(&Location::local(folder.path().join("new/out"))).unwrap());
}

#[test]
fn memory_keeps_the_promises() {
    suite(&Store::of(Arc::new(InMemory::new()), "memory"));
}

#[test]
fn a_bucket_keeps_the_promises() {
    let folder = bucket_folder("suite");
    let store = Store::create(&folder.parse().unwrap()).unwrap();
    suite(&store);
    // A neighbour whose name begins alike is not in the folder.
    let neighbour = Store::create(&format!("{folder}-2").parse().unwrap()).unwrap();
    neighbour.put("b/other", "x").unwrap();
    assert_eq!(neighbour.list("").unwrap().len(), 1);
    assert!(!store.list("").unwrap().iter().any(|file| file.path.contains("other")));
}

fn suite(store: &Store) {
    whole_files(store);
    ranges(store);
    names(store);
    races(store);
    listing(store);
}

fn whole_files(store: &Store) {
    assert_eq!(store.get_if_there("a/one").unwrap(), None);
    assert_eq!(store.size("a/one").unwrap(), None);
    store.put("a/one", "first").unwrap();
    assert_eq!(store.get("a/one").unwrap(), "first");
    assert_eq!(store.put_if_absent("a/one", "second").unwrap(), Put::AlreadyThere);
    assert_eq!(store.get_if_there("a/one").unwrap().unwrap(), "first");
    let before = store.list("a").unwrap()[0].etag.clone();
    store.put("a/one", "third, longer").unwrap();
    assert_eq!(store.size("a/one").unwrap(), Some(13));
    assert_ne!(store.list("a").unwrap()[0].etag, before);
    store.delete_if_there("a/one").unwrap();
    store.delete_if_there("a/one").unwrap();
    assert!(!store.exists("a/one").unwrap());
    let message = store.get("a/one").unwrap_err().to_string();
    assert!(message.contains("a/one: cannot be read: no such"), "{message}");
}

fn ranges(store: &Store) {
    let bytes = (0..10_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    store.put("r", bytes.clone()).unwrap();
    assert_eq!(store.get_range("r", 0..1).unwrap(), bytes[..1]);
    assert_eq!(store.get_range("r", 9_000..10_000).unwrap(), bytes[9_000..]);
    store.delete_if_there("r").unwrap();
}

fn names(store: &Store) {
    let names = ["n/a b+c", "n/category=a%2Fb/100%25", "n/süß/ö.png", "n/a#1x&y=z?.png"];
    for name in names {
        store.put(name, name).unwrap();
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let found = store.list("n").unwrap();
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), expected);
    for name in names {
        assert_eq!(store.get(name).unwrap(), name);
        store.delete_if_there(name).unwrap();
    }
}

fn races(store: &Store) {
    let created = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let created = &created;
            scope.spawn(move || {
                if store.put_if_absent("race", writer.to_string()).unwrap() == Put::Created {
                    created.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(created.into_inner(), 1);
    let winner = String::from_utf8(store.get("race").unwrap().to_vec()).unwrap();
    assert!(winner.parse::<usize>().unwrap() < WRITERS, "{winner}");
    store.delete_if_there("race").unwrap();
}

fn listing(store: &Store) {
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || {
                for n in (first..MANY).step_by(4) {
                    store.put(&format!("many/{n:05}"), "x").unwrap();
                }
            });
        }
    });
    let found = store.list("many").unwrap();
    let expected = (0..MANY).map(|n| format!("many/{n:05}")).collect::<Vec<_>>();
    assert_eq!(
        found.iter().map(|file| &file.path).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert!(found.iter().all(|file| file.bytes == 1 && file.etag.is_some()));
    assert_eq!(store.list_at_most("many", 7).unwrap().len(), 7);
    assert!(store.list("man").unwrap().is_empty());
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_at_once_and_without_the_key() {
    let missing = "s3://no-such-bucket-anywhere/a".parse::<Location>().unwrap();
    bucket_folder("checks that there is a server");
    let message = Store::create(&missing).unwrap().check().unwrap_err().to_string();
    assert!(message.starts_with("s3://no-such-bucket-anywhere/a"), "{message}");
    assert!(message.contains("cannot be opened"), "{message}");
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();
    assert!(!message.contains(&secret), "{message}");
}
