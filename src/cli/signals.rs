//! Ctrl-C and SIGTERM: a wish to stop, not an end. The run finishes the batch in hand and commits
//! what is whole. A second signal ends the program at once, but not one that comes with the first, as
//! `timeout` sends it to a program and to its group. So does patience: schedulers kill what has not
//! gone after half a minute, and nothing that is committed can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How long a run may take to stop: a batch or a store may take far longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Signals that follow the first within this are the same wish.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Between two looks at whether there was a signal.
const LOOK: Duration = Duration::from_millis(200);

/// What signals have asked for.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Set by the first signal.
    pub stop: Arc<AtomicBool>,
    /// Set a moment after the first signal: the next one ends the program.
    armed: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// If the system refuses to install the handlers.
    pub fn listen() -> std::io::Result<Self> {
        let signals = Signals::default();
        for (signal, own) in [(SIGINT, &signals.interrupted), (SIGTERM, &signals.terminated)] {
            flag::register_conditional_shutdown(signal, 128 + signal, signals.armed.clone())?;
            flag::register(signal, signals.stop.clone())?;
            flag::register(signal, own.clone())?;
        }
        let armed = signals.armed.clone();
        signals.after(SAME_WISH, move |_| armed.store(true, Ordering::Relaxed));
        Ok(signals)
    }

    /// Calls `end` with the exit code, in a thread of its own, when it is asked to stop and
    /// `patience` has passed since.
    pub fn end_after(&self, patience: Duration, end: impl FnOnce(u8) + Send + 'static) {
        self.after(patience, move |signals| end(signals.exit_code()));
    }

    /// Calls `then` in a thread of its own, `delay` after the first signal.
    fn after(&self, delay: Duration, then: impl FnOnce(&Signals) + Send + 'static) {
        let signals = self.clone();
        thread::spawn(move || {
            while !signals.stop.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            thread::sleep(delay);
            then(&signals);
        });
    }

    /// 130 after Ctrl-C, 143 after SIGTERM.
    pub fn exit_code(&self) -> u8 {
        if self.terminated.load(Ordering::Relaxed) && !self.interrupted.load(Ordering::Relaxed) {
            143
        } else {
            130
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use signal_hook::low_level::raise;

    use super::*;

    /// Two at once are one wish; the next one would end the tests.
    #[test]
    fn signals_that_come_together_are_one_wish() {
        let signals = Signals::listen().unwrap();
        let started = Instant::now();
        raise(SIGTERM).unwrap();
        raise(SIGTERM).unwrap();
        assert!(signals.stop.load(Ordering::Relaxed));
        while !signals.armed.load(Ordering::Relaxed) {
            assert!(started.elapsed() < 100 * LOOK, "a second wish is never heard");
            thread::sleep(LOOK);
        }
        assert!(started.elapsed() >= SAME_WISH);
        assert_eq!(signals.exit_code(), 143);
    }

    #[test]
    fn whoever_does_not_stop_is_ended_with_the_code_of_the_signal() {
        let signals = Signals::default();
        let (ended, code) = mpsc::channel();
        signals.end_after(Duration::from_millis(10), move |code| ended.send(code).unwrap());
        assert!(code.recv_timeout(2 * LOOK).is_err(), "nobody has asked");
        signals.terminated.store(true, Ordering::Relaxed);
        signals.stop.store(true, Ordering::Relaxed);
        assert_eq!(code.recv_timeout(100 * LOOK), Ok(143));
    }
}
