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
    // By value, so that a panic of the work drops `finished`: the thread would be waited for without end.
    thread::scope(move |scope| {
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
                worker.timings = progress.timings.to_json();
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_panic_of_the_work_ends_the_heartbeat_too() {
        let (ended, wait) = channel();
        thread::spawn(move || {
            let store = Store::of(Arc::new(InMemory::new()), "memory");
            let (worker, progress) = (Worker::new("0/1".to_owned()), Progress::default());
            let work = || -> () { std::panic::resume_unwind(Box::new("broken")) };
            let ending = |_: &()| WorkerState::Done;
            let run = || with_heartbeat(worker, &store, &progress, work, ending);
            let _ = ended.send(catch_unwind(AssertUnwindSafe(run)).is_err());
        });
        assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
