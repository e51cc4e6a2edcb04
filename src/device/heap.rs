//! How long freed memory stays with the program. Where mimalloc is not the allocator, as in tests,
//! nothing of this has an effect.

use std::ffi::c_long;

/// mimalloc's number of the option `purge_delay`, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds: longer than an image takes at the published size.
const KEEP_FREED: c_long = 10_000;

/// From now on freed memory is kept for some seconds: the tensors of an image then take the place
/// of those before them, and getting their pages anew each time is a tenth of an image's time.
/// `MIMALLOC_PURGE_DELAY` in the environment wins. To be called before there are threads.
#[allow(unsafe_code)]
pub fn keep_freed() {
    // SAFETY: puts a number into the allocator's table of options, which it reads whenever it frees;
    // no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEEP_FREED) };
}

/// Gives all that is free back to the system now.
#[allow(unsafe_code)]
pub fn give_back_freed() {
    // SAFETY: may be called from any thread; only memory that is free is touched.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
