//! Which shard a worker takes next. In: all shards of its part of the run. Out: one after the other,
//! those that no other worker has; at the end it waits for what others have, and takes over from
//! those that are gone. Two workers on one part so share it, and the last one finds it complete.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use super::retry::Task;
use crate::error::TableError;
use crate::tables::{Claim, Lease, Leases, RunWriter};

/// The output is listed at most this often, to learn what others have.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long a worker without work waits until it looks again, at first and at last.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// A signal is noticed within this time.
const NOTICE_STOP: Duration = Duration::from_millis(100);
/// Shards of others that are looked at in a row.
const LOOK_AT: usize = 16;

/// The shards of a worker's part, shared between the stage that opens them and the one that commits.
pub struct Claims<'a> {
    writer: &'a RunWriter,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    state: Mutex<State>,
    /// A shard was committed, or the stages have ended.
    changed: Condvar,
}

struct State {
    leases: Leases,
    /// Not tried yet.
    free: VecDeque<Task>,
    /// Others have them.
    held: VecDeque<Task>,
    /// Ours, and not committed yet.
    open: HashMap<String, (Lease, Task)>,
    listed: Option<Instant>,
    waits: bool,
    closed: bool,
}

impl<'a> Claims<'a> {
    /// Of `tasks`, which others may be at, too.
    pub fn new(
        tasks: Vec<Task>,
        leases: Leases,
        writer: &'a RunWriter,
        progress: &'a Progress,
        stop: &'a AtomicBool,
    ) -> Self {
        let state = State {
            leases,
            free: tasks.into(),
            held: VecDeque::new(),
            open: HashMap::new(),
            listed: None,
            waits: false,
            closed: false,
        };
        Claims { writer, progress, stop, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next shard to score, ours from now on. `None` when all are committed, here or by others,
    /// or a signal came.
    ///
    /// # Errors
    /// If the output cannot be read or written.
    pub fn next(&self) -> Result<Option<Task>, TableError> {
        let mut state = self.lock();
        let [mut pause, longest] = LOOK_AGAIN;
        loop {
            while let Some(task) = state.free.pop_front() {
                if self.stop.load(Ordering::Relaxed) || state.closed {
                    state.free.push_front(task);
                    return Ok(None);
                }
                match self.take(&mut state, task)? {
                    Taken::Ours(task) => return Ok(Some(task)),
                    Taken::Done => {}
                    Taken::Held(task) => {
                        state.held.push_back(task);
                        self.look_around(&mut state)?;
                    }
                }
            }
            for _ in 0..state.held.len().min(LOOK_AT) {
                let Some(task) = state.held.pop_front() else { break };
                match self.take(&mut state, task)? {
                    Taken::Ours(task) => return Ok(Some(task)),
                    Taken::Done => pause = LOOK_AGAIN[0],
                    Taken::Held(task) => state.held.push_back(task),
                }
            }
            if state.held.is_empty() && state.open.is_empty() {
                return Ok(None);
            }
            if state.open.is_empty() && !state.waits {
                state.waits = true;
                let shards = state.held.len();
                tracing::info!(shards, "the rest is with other workers: waiting for them");
            }
            let until = Instant::now() + pause;
            let open = state.open.len();
            while Instant::now() < until && state.open.len() == open {
                if self.stop.load(Ordering::Relaxed) || state.closed {
                    return Ok(None);
                }
                let waited = self.changed.wait_timeout(state, NOTICE_STOP.min(pause));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Whether the shard is still ours to commit. If another worker took it over, it is waited for.
    ///
    /// # Errors
    /// If the output cannot be read.
    pub fn is_ours(&self, shard_id: &str) -> Result<bool, TableError> {
        let mut state = self.lock();
        let Some((lease, _)) = state.open.get(shard_id) else { return Ok(false) };
        if state.leases.is_ours(lease)? {
            return Ok(true);
        }
        tracing::warn!(shard = shard_id, "another worker took this shard over: it took too long");
        if let Some((_, task)) = state.open.remove(shard_id) {
            state.held.push_back(task);
        }
        self.changed.notify_all();
        Ok(false)
    }

    /// The shard is committed.
    ///
    /// # Errors
    /// If its lease cannot be given back.
    pub fn committed(&self, shard_id: &str) -> Result<(), TableError> {
        let mut state = self.lock();
        let open = state.open.remove(shard_id);
        self.changed.notify_all();
        match open {
            Some((lease, _)) => state.leases.release(&lease),
            None => Ok(()),
        }
    }

    /// Whether nothing is left to do; otherwise a signal came first.
    pub fn are_done(&self) -> bool {
        let state = self.lock();
        state.free.is_empty() && state.held.is_empty() && state.open.is_empty()
    }

    /// Nothing will be committed any more: whoever waits for the next shard is told so.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn take(&self, state: &mut State, task: Task) -> Result<Taken, TableError> {
        let id = task.shard.id.clone();
        let lease = match state.leases.claim(&id)? {
            Claim::Ours(lease) => lease,
            Claim::Held => return Ok(Taken::Held(task)),
        };
        // Whoever had it before may have committed it: the ledger counts, not the lease.
        let committed = self.writer.committed_now(&id)?;
        let Some(task) = task.left(committed.as_ref()) else {
            state.leases.release(&lease)?;
            self.count_elsewhere(committed.map(|entry| entry.images()));
            return Ok(Taken::Done);
        };
        state.open.insert(id, (lease, task.clone()));
        Ok(Taken::Ours(task))
    }

    /// Learns in two listings what others have done and hold, instead of asking shard by shard.
    fn look_around(&self, state: &mut State) -> Result<(), TableError> {
        if state.listed.is_some_and(|listed| listed.elapsed() < LIST_EVERY) {
            return Ok(());
        }
        let held = state.leases.all()?;
        let (held, free) = state.free.drain(..).partition(|task| held.contains_key(&task.shard.id));
        state.free = free;
        state.held.extend::<VecDeque<Task>>(held);
        let done = self.writer.all_committed_now()?;
        let is_done = |task: &Task| task.retry.is_none() && done.contains(&task.shard.id);
        for task in state.free.iter().filter(|task| is_done(task)) {
            self.count_elsewhere(task.pictures());
        }
        state.free.retain(|task| !is_done(task));
        // Workers that meet do not follow each other from shard to shard.
        if !state.free.is_empty() {
            let at = fastrand::usize(..state.free.len());
            state.free.rotate_left(at);
        }
        state.listed = Some(Instant::now());
        Ok(())
    }

    /// What another worker committed while this one was at work.
    fn count_elsewhere(&self, images: Option<u64>) {
        self.progress.elsewhere.fetch_add(images.unwrap_or_default(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a shard that was wanted.
enum Taken {
    Ours(Task),
    /// It is committed.
    Done,
    Held(Task),
}
