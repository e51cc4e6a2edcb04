//! Any bytes as a weights file: opened, and every tensor read. Good first inputs lie in
//! `tests/golden/weights_small`.

#![no_main]

use std::io::Write;

use filo::weights::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile();
    file.1.write_all(bytes).expect("the temporary folder has room");
    if let Ok(checkpoint) = Checkpoint::open(&file.0) {
        for tensor in checkpoint.tensors().values() {
            let _ = tensor.to_data();
        }
    }
});

/// One file per process, written anew for each input.
fn tempfile() -> (std::path::PathBuf, std::fs::File) {
    let path = std::env::temp_dir().join(format!("filo-fuzz-{}", std::process::id()));
    let file = std::fs::File::create(&path).expect("the temporary folder can be written");
    (path, file)
}
