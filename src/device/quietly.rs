//! Calls into libraries that panic where they should answer: the answer, or the panic's text. For
//! looking for devices: what a device's thread says meanwhile is not heard.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use super::faults::hook_is_mine;
use crate::error::panic_text;

/// What `work` returns, or the message of the panic in it, of which nothing is printed.
pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _alone = hook_is_mine();
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    result.map_err(|panic| panic_text(&*panic).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(quietly(|| 3), Ok(3));
        assert_eq!(quietly(|| -> u8 { panic!("no driver {}", 1) }), Err("no driver 1".into()));
    }
}
