//! A thread that says how far a worker is while it works. In: counters. Out: its file in the output.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use super::Progress;
use crate::store::Store;
use crate::tables::{HEARTBEAT, Worker, WorkerState};

/// Does `work` while `worker` says how it goes, and says at the end what `ending` makes of the
/// result. A heartbeat that cannot be written is a line in the log: the work is what counts.
pub fn with_heartbeat<T>(
    mut worker: Worker,
    store: &Store,
    progress: &Progress,
    work: impl FnOnce() -> T,
    ending: impl FnOnce(&T) -> WorkerState,
) -> T {
    let (finished, wait) = channel::<WorkerState>();
    // Before the first lease: of an owner that was never heard, others could tell only after a minute
    // that it is gone.
    said(&mut worker, store);
    thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                match wait.recv_timeout(HEARTBEAT) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(state) => worker.state = state,
                    // After a panic nobody says how it ended; the file then falls silent.
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                worker.scored = progress.scored.load(Ordering::Relaxed);
                worker.failed = progress.failed.load(Ordering::Relaxed);
                said(&mut worker, store);
                if worker.state != WorkerState::Running {
                    return;
                }
            }
        });
        let result = work();
        // The thread waits for this and for nothing else.
        let _ = finished.send(ending(&result));
        result
    })
}

fn said(worker: &mut Worker, store: &Store) {
    if let Err(error) = worker.say(store) {
        tracing::debug!("heartbeat: {error}");
    }
}
