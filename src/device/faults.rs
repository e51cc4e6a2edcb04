//! Faults of a device's own thread. A GPU backend works there, later than it is asked to; where it
//! runs out of memory it panics there, goes on, and hands out whatever was in the memory it did not
//! get. Nothing returns that fault, so it is taken from the panic itself.

use std::panic::{set_hook, take_hook};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// The hook of panics is one per process: who exchanges it holds this.
static HOOK: Mutex<()> = Mutex::new(());

static WATCH: Once = Once::new();

static FAULT: Mutex<Option<String>> = Mutex::new(None);

/// What the names of device threads begin with.
const DEVICE_THREAD: &str = "DSD-";

/// Keeps others from exchanging the hook of panics.
pub fn hook_is_mine() -> MutexGuard<'static, ()> {
    HOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Must be called before a GPU is first used; later calls do nothing.
pub fn watch() {
    WATCH.call_once(|| {
        let _alone = hook_is_mine();
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            let of_device = std::thread::current().name().is_some_and(is_device_thread)
                || panic.location().is_some_and(|location| location.file().contains("cubecl"));
            if !of_device {
                return hook(panic);
            }
            let what = panic.payload_as_str().unwrap_or("no message").to_owned();
            FAULT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        }));
    });
}

fn is_device_thread(name: &str) -> bool {
    name.starts_with(DEVICE_THREAD)
}

/// The first fault since it was last asked for: everything that was computed meanwhile is void.
pub fn take_fault() -> Option<String> {
    FAULT.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_device_thread_is_kept_and_one_of_another_thread_is_not() {
        watch();
        let panic_on = |name: &str, what: &'static str| {
            let thread = std::thread::Builder::new().name(name.into());
            let panicked = thread.spawn(move || panic!("{what}")).unwrap().join();
            assert!(panicked.is_err());
        };
        panic_on("DSD-5-0", "can't allocate buffer of size: 7");
        panic_on("DSD-5-0", "what follows from it");
        assert_eq!(take_fault().as_deref(), Some("can't allocate buffer of size: 7"));
        panic_on("decoder", "of the image");
        assert_eq!(take_fault(), None);
    }
}
