//! Any bytes as a weights file: opened, and every tensor read. What begins like a pickle is put in an
//! archive first, whose checksum would find every change otherwise.

#![no_main]

use std::io::{Cursor, Write};

use filo::weights::Checkpoint;
use filo_fuzz::{check, check_message, folder, fuzz_target};
use zip::write::{SimpleFileOptions, ZipWriter};

fuzz_target!(|bytes: &[u8]| {
    let path = folder().join("weights");
    let archive = bytes.starts_with(&[0x80]).then(|| in_archive(bytes));
    std::fs::write(&path, archive.as_deref().unwrap_or(bytes)).expect("there is room");
    check(|| match Checkpoint::open(&path) {
        Ok(checkpoint) => {
            for tensor in checkpoint.tensors().values() {
                let _ = tensor.to_data();
            }
        }
        Err(error) => check_message(&error.to_string()),
    });
});

/// A PyTorch archive that says this of its tensors, with two storages.
fn in_archive(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("data.pkl", pickle), ("data/0", &[1; 80]), ("data/1", &[2; 24])] {
        archive.start_file(format!("a/{name}"), stored).expect("a new name");
        archive.write_all(bytes).expect("memory");
    }
    archive.finish().expect("memory").into_inner()
}
