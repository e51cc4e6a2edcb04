//! What the targets share: one input goes in, and the process is aborted, which libFuzzer writes down
//! with the input, where it makes a panic or too much memory.

pub mod archive;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::PathBuf;
use std::sync::{Mutex, Once, PoisonError};

use cap::Cap;
pub use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// More than any input of these sizes may hold at a time.
pub const MOST_BYTES: usize = 512 << 20;

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

/// Runs `work` on one input, within [`MOST_BYTES`].
pub fn check(work: impl FnOnce()) {
    check_within(MOST_BYTES, work);
}

/// Runs `work` on one input, which may hold `most_bytes` at a time.
///
/// A panic that the program itself catches, as it does around decoders, is none: so libFuzzer's
/// hook, which ends the process at the first one, is replaced.
pub fn check_within(most_bytes: usize, work: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|panic| {
            *SAID.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
    let before = ALLOCATOR.allocated();
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        give_up(&said);
    }
    let most = ALLOCATOR.max_allocated().saturating_sub(before);
    if most > most_bytes {
        give_up(&format!("{} MiB of memory at a time", most >> 20));
    }
}

fn give_up(why: &str) -> ! {
    eprintln!("filo-fuzz: {why}");
    std::process::abort();
}

/// A message that a user reads has one line.
///
/// # Panics
/// If it has more, or none.
pub fn check_message(message: &str) {
    assert!(!message.trim().is_empty(), "an empty message");
    assert!(!message.contains(['\n', '\r']), "a message of several lines: {message:?}");
}

/// A folder of this process, made anew at the first call.
///
/// # Panics
/// If it cannot be made.
pub fn folder() -> PathBuf {
    static MADE: Once = Once::new();
    let path = std::env::temp_dir().join(format!("filo-fuzz-{}", std::process::id()));
    MADE.call_once(|| std::fs::create_dir_all(&path).expect("the temporary folder has room"));
    path
}
