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
use crate::store::both;
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
    leases: &'a Leases,
    /// Never locked while the output is asked.
    state: Mutex<State>,
    /// A shard was committed, or the stages have ended.
    changed: Condvar,
}

struct State {
    /// Ours, and not handed out yet.
    first: Option<Task>,
    /// Not tried yet.
    free: VecDeque<Task>,
    /// Others have them.
    held: VecDeque<Task>,
    /// Taken from a list to be tried, and in none until that is settled.
    in_hand: usize,
    /// Ours, and not committed yet.
    open: HashMap<String, (Lease, Task)>,
    /// Of what is committed.
    done: Vec<Lease>,
    listed: Option<Instant>,
    waits: bool,
    closed: bool,
}

impl<'a> Claims<'a> {
    /// Of `tasks`, which others may be at, too.
    pub fn new(
        tasks: Vec<Task>,
        leases: &'a Leases,
        writer: &'a RunWriter,
        progress: &'a Progress,
        stop: &'a AtomicBool,
    ) -> Self {
        let state = State {
            first: None,
            free: tasks.into(),
            held: VecDeque::new(),
            in_hand: 0,
            open: HashMap::new(),
            done: Vec::new(),
            listed: None,
            waits: false,
            closed: false,
        };
        Claims { writer, progress, stop, leases, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a first shard, which is then the next one, without waiting for others.
    ///
    /// # Errors
    /// As [`Claims::next`].
    pub fn take_first(&self) -> Result<(), TableError> {
        let Some(task) = self.pop(|state| &mut state.free) else { return Ok(()) };
        let taken = self.take(task, |state, task| state.free.push_front(task))?;
        if let Taken::Ours(task) = taken {
            self.lock().first = Some(task);
        }
        Ok(())
    }

    /// The next shard to score, ours from now on. `None` when all are committed, here or by others,
    /// or a signal came.
    ///
    /// # Errors
    /// If the output cannot be read or written.
    pub fn next(&self) -> Result<Option<Task>, TableError> {
        if let Some(first) = self.lock().first.take() {
            return Ok(Some(first));
        }
        let [mut pause, longest] = LOOK_AGAIN;
        loop {
            while let Some(task) = self.pop(|state| &mut state.free) {
                match self.take(task, |state, task| state.held.push_back(task))? {
                    Taken::Ours(task) => return Ok(Some(task)),
                    Taken::Done => {}
                    Taken::Held => self.look_around()?,
                }
            }
            let held = self.lock().held.len();
            for _ in 0..held.min(LOOK_AT) {
                let Some(task) = self.pop(|state| &mut state.held) else { break };
                match self.take(task, |state, task| state.held.push_back(task))? {
                    Taken::Ours(task) => return Ok(Some(task)),
                    Taken::Done => pause = LOOK_AGAIN[0],
                    Taken::Held => {}
                }
            }
            let mut state = self.lock();
            if self.is_over(&state) || state.held.is_empty() && state.open.is_empty() {
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
                if self.is_over(&state) {
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
        let lease = self.lock().open.get(shard_id).map(|(lease, _)| lease.clone());
        let Some(lease) = lease else { return Ok(false) };
        if self.leases.is_ours(&lease)? {
            return Ok(true);
        }
        tracing::warn!(shard = shard_id, "another worker took this shard over: it took too long");
        let mut state = self.lock();
        if let Some((_, task)) = state.open.remove(shard_id) {
            state.held.push_back(task);
        }
        self.changed.notify_all();
        Ok(false)
    }

    /// The shard is committed.
    pub fn committed(&self, shard_id: &str) {
        let mut state = self.lock();
        let open = state.open.remove(shard_id);
        state.done.extend(open.map(|(lease, _)| lease));
        self.changed.notify_all();
    }

    /// Gives the leases of committed shards back.
    ///
    /// # Errors
    /// If the output cannot be changed.
    pub fn give_back(&self) -> Result<(), TableError> {
        let done = std::mem::take(&mut self.lock().done);
        done.iter().try_for_each(|lease| self.leases.release(lease))
    }

    /// Whether nothing is left to do, nor to wait for.
    pub fn are_done(&self) -> bool {
        let state = self.lock();
        let listed = state.free.len() + state.held.len() + state.open.len();
        listed + state.in_hand == 0
    }

    /// Nothing will be committed any more: whoever waits for the next shard is told so.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The first task of a list, unless nothing is to be begun any more; [`Claims::take`] is next.
    fn pop(&self, list: impl FnOnce(&mut State) -> &mut VecDeque<Task>) -> Option<Task> {
        let mut state = self.lock();
        if self.is_over(&state) {
            return None;
        }
        let task = list(&mut state).pop_front()?;
        state.in_hand += 1;
        Some(task)
    }

    fn is_over(&self, state: &State) -> bool {
        self.stop.load(Ordering::Relaxed) || state.closed
    }

    /// Tries to have the task that is in the hand; if another worker has it, `back` lists it again.
    fn take(&self, task: Task, back: impl FnOnce(&mut State, Task)) -> Result<Taken, TableError> {
        let id = task.shard.id.clone();
        let Claim::Ours(lease) = self.leases.claim(&id)? else {
            self.settle(|state| back(state, task));
            return Ok(Taken::Held);
        };
        // Whoever had it before may have committed it: the ledger counts, not the lease.
        let committed = self.writer.committed_now(&id)?;
        let Some(task) = task.left(committed.as_ref()) else {
            self.leases.release(&lease)?;
            self.settle(|_| {});
            self.count_elsewhere(committed.map(|entry| entry.images()));
            return Ok(Taken::Done);
        };
        self.settle(|state| state.open.insert(id, (lease, task.clone())));
        Ok(Taken::Ours(task))
    }

    /// What was in the hand is somewhere now. In one step: between two, it would look as if nothing were
    /// left to wait for, and leases that other workers wait for would be kept.
    fn settle<T>(&self, put: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.in_hand -= 1;
        put(&mut state)
    }

    /// Learns in two listings what others have done and hold, instead of asking shard by shard.
    fn look_around(&self) -> Result<(), TableError> {
        if self.lock().listed.is_some_and(|listed| listed.elapsed() < LIST_EVERY) {
            return Ok(());
        }
        let (held, done) = both(|| self.leases.all(), || self.writer.all_committed_now());
        let (held, done) = (held?, done?);
        let mut state = self.lock();
        let (held, free) = state.free.drain(..).partition(|task| held.contains_key(&task.shard.id));
        state.free = free;
        state.held.extend::<VecDeque<Task>>(held);
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
    /// Another worker has it.
    Held,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::NaiveDate;
    use object_store::memory::InMemory;

    use super::*;
    use crate::source::Shard;
    use crate::store::Store;
    use crate::tables::{RunIdentity, Worker};

    /// A committed shard's lease is given back while anything is left to wait for: two workers that kept
    /// theirs would wait for each other.
    #[test]
    fn what_is_only_being_tried_is_left_to_do() {
        let store = Store::of(Arc::new(InMemory::new()), "memory");
        let identity = RunIdentity {
            run_id: "c0ffee".to_string(),
            run_date: NaiveDate::from_ymd_opt(2026, 11, 30).unwrap(),
            spec: serde_json::json!({}),
            shards: vec!["s".to_string()],
            plan: None,
        };
        let writer = RunWriter::open(store.clone(), identity).unwrap();
        let leases = [(); 2].map(|()| {
            let mut worker = Worker::new("0/1".to_string());
            worker.say(&store).unwrap();
            Leases::new(store.clone(), &worker)
        });
        let Claim::Ours(lease) = leases[1].claim("s").unwrap() else { panic!("held") };

        let (progress, stop) = (Progress::default(), AtomicBool::new(false));
        let shard = Shard { index: 0, id: "s".to_string(), entries: vec![], sizes: vec![] };
        let tasks = vec![Task::new(shard)];
        let claims = Claims::new(tasks, &leases[0], &writer, &progress, &stop);
        let task = claims.pop(|state| &mut state.free).unwrap();
        assert!(!claims.are_done(), "in the hand");
        let taken = claims.take(task, |state, task| state.held.push_back(task)).unwrap();
        assert!(matches!(taken, Taken::Held) && !claims.are_done());
        leases[1].release(&lease).unwrap();
        assert!(claims.next().unwrap().is_some());
        assert!(!claims.are_done(), "open");
        claims.committed("s");
        assert!(claims.are_done() && claims.next().unwrap().is_none());
        claims.give_back().unwrap();
        assert!(leases[1].all().unwrap().is_empty());
    }
}
