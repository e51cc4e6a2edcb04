//! Ctrl-C and SIGTERM: a wish to stop, not an end. The run finishes the batch in hand and commits
//! what is whole. A second signal ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What signals have asked for.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Set by the first signal.
    pub stop: Arc<AtomicBool>,
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
            // In this order: the second signal finds `stop` set and exits.
            flag::register_conditional_shutdown(signal, 128 + signal, signals.stop.clone())?;
            flag::register(signal, signals.stop.clone())?;
            flag::register(signal, own.clone())?;
        }
        Ok(signals)
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
