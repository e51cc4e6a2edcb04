//! A folder goes in, its listing comes out, after a bucket with the same files gave the same one.

use std::sync::Arc;

use super::*;
use filo::source::{Archive, list_bucket};
use filo::store::Store;
use object_store::memory::InMemory;

/// The listing of the folder `path`, or why there is none.
pub fn list(path: &Path, options: &ListOptions) -> Result<Listing, SourceError> {
    let disk = filo::source::list(&Location::local(path), options);
    let path = std::path::absolute(path).unwrap();
    let uri = format!("s3://box/{}", path.file_name().unwrap().to_str().unwrap());
    let location: Location = uri.parse().unwrap();
    let bucket = list_bucket(&location, bucket_of(&path, &uri), options);
    assert_eq!(said(&bucket, &uri), said(&disk, path.to_str().unwrap()));
    disk
}

/// A bucket with the files below `folder`.
fn bucket_of(folder: &Path, uri: &str) -> Store {
    let store = Store::of(Arc::new(InMemory::new()), uri);
    for file in walkdir::WalkDir::new(folder) {
        let file = file.unwrap();
        let kind = file.file_type();
        assert!(kind.is_file() || kind.is_dir(), "no bucket has {}", file.path().display());
        if kind.is_file() {
            let key = file.path().strip_prefix(folder).unwrap().to_str().unwrap();
            store.put(key, fs::read(file.path()).unwrap()).unwrap();
        }
    }
    store
}

/// All that a listing says, but for the place itself and for what tells one content of a file from
/// another: a time on a disk, an entity tag in a bucket, which is part of the ids of shards.
fn said(listing: &Result<Listing, SourceError>, place: &str) -> Vec<String> {
    let lines = match listing {
        Err(error) => vec![error.to_string()],
        Ok(listing) => {
            let counts = (listing.n_entries, listing.n_labelled, listing.n_masks);
            let found = (&listing.why, counts, &listing.categories, &listing.ignored);
            let mut lines = vec![format!("{:?}: {found:?}", listing.layout)];
            for shard in &listing.shards {
                let without_version = |entry: &Entry| match entry {
                    Entry::Sample(sample) => {
                        Entry::Sample(Sample { version: None, ..sample.clone() })
                    }
                    Entry::Archive(archive) => {
                        Entry::Archive(Archive { version: None, ..archive.clone() })
                    }
                    other => other.clone(),
                };
                lines.push(format!("shard {}, bytes {:?}", shard.index, shard.sizes));
                lines.extend(shard.entries.iter().map(|e| format!("{:?}", without_version(e))));
            }
            lines
        }
    };
    lines.into_iter().map(|line| line.replace(place, "<input>")).collect()
}
