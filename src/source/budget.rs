//! How much of an input is on its way or waits to be used. In: what is asked for, how long answers take,
//! and whether somebody had to wait for them. Out: whether more may be asked for.
//!
//! As many requests are in flight as it takes to be ahead of whoever uses the files: twice the measured
//! latency times the measured rate. While he still waits, that doubles with each look, until the rate
//! does not follow. Bytes are bounded whatever the rate.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Requests in flight at the least, at first, and at the most.
const REQUESTS: [usize; 3] = [4, 16, 256];
/// MiB of files that were asked for and are not used yet, where nobody says otherwise.
pub const DEFAULT_MIB: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Whoever waits for more than this share of the time is waiting for the store.
const WAITS: f64 = 0.05;
/// A rate has followed if it is so many times what it was.
const FOLLOWED: f64 = 1.1;
/// What was seen earlier counts for less with each look: a store may become faster.
const FORGETS: f64 = 0.95;
/// A signal is noticed within this time.
const NOTICE_STOP: Duration = Duration::from_millis(100);

/// What a user says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FetchLimits {
    /// Requests in flight; `None`: as many as it takes.
    pub requests: Option<NonZeroUsize>,
    /// MiB of files in memory that have yet to be used.
    pub memory_mib: Option<NonZeroUsize>,
}

/// A bound on what is in flight. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most_bytes: u64,
    /// Files beyond the requests that may wait to be used.
    spare: usize,
    fixed: Option<usize>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Requests that have no answer yet.
    requests: usize,
    /// Images that were asked for and are not used yet, and their bytes as far as known.
    images: usize,
    bytes: u64,
    /// Requests that may be in flight.
    limit: usize,
    window: Window,
    /// Best rate so far, files per second, while somebody waits, and the limit that it came with.
    slow: Option<(f64, usize)>,
    /// Mean bytes of a file, of those that came.
    mean_bytes: f64,
}

/// What was measured since the last look.
#[derive(Debug)]
struct Window {
    since: Instant,
    answers: u32,
    latency: Duration,
    waited: Duration,
}

impl Window {
    fn new() -> Self {
        let nothing = Duration::ZERO;
        Window { since: Instant::now(), answers: 0, latency: nothing, waited: nothing }
    }
}

/// An image's part of the budget, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    bytes: u64,
    /// Without answer.
    requests: usize,
}

impl Budget {
    /// `spare` files may wait beside those in flight: a batch or two.
    pub fn new(limits: FetchLimits, spare: usize) -> Self {
        let mib = limits.memory_mib.unwrap_or(DEFAULT_MIB).get() as u64;
        let fixed = limits.requests.map(NonZeroUsize::get);
        let state = State {
            requests: 0,
            images: 0,
            bytes: 0,
            limit: fixed.unwrap_or(REQUESTS[1]),
            window: Window::new(),
            slow: None,
            mean_bytes: 0.0,
        };
        let (state, freed) = (Mutex::new(state), Condvar::new());
        Budget(Arc::new(Shared { most_bytes: mib << 20, spare, fixed, state, freed }))
    }

    /// Room for an image of so many bytes that takes `requests`; waits for it, and gives up when `stop`
    /// is set. Whatever its size, there is room when nothing else is held. With it comes how long files
    /// that are there and not used were in the way.
    pub fn hold(&self, bytes: u64, requests: usize, stop: &AtomicBool) -> Option<(Held, Duration)> {
        let mut state = self.lock();
        let mut unused = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            if self.has_room(&state, bytes, requests) {
                return Some((self.take(&mut state, bytes, requests), unused));
            }
            let (started, answers_wanted) = (Instant::now(), state.requests >= state.limit);
            let waited = self.0.freed.wait_timeout(state, NOTICE_STOP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !answers_wanted {
                unused += started.elapsed();
            }
        }
        None
    }

    /// As [`Budget::hold`], if there is room now.
    pub fn try_hold(&self, bytes: u64, requests: usize) -> Option<Held> {
        let mut state = self.lock();
        let has_room = self.has_room(&state, bytes, requests);
        has_room.then(|| self.take(&mut state, bytes, requests))
    }

    /// Somebody waited so long for an image.
    pub fn waited(&self, time: Duration) {
        self.lock().window.waited += time;
    }

    /// Bytes of a file whose size nobody knows: those of the others.
    pub fn guess(&self) -> u64 {
        self.lock().mean_bytes as u64
    }

    /// Bytes that may be held.
    pub fn most_bytes(&self) -> u64 {
        self.0.most_bytes
    }

    fn has_room(&self, state: &State, bytes: u64, requests: usize) -> bool {
        let fits = state.requests + requests <= state.limit
            && state.images < state.limit + self.0.spare
            && state.bytes.saturating_add(bytes) <= self.0.most_bytes;
        fits || state.images == 0
    }

    fn take(&self, state: &mut State, bytes: u64, requests: usize) -> Held {
        state.images += 1;
        state.requests += requests;
        state.bytes += bytes;
        Held { budget: self.clone(), bytes, requests }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// All of its answers are there, after so long, and they have so many bytes.
    pub fn answered(&mut self, bytes: u64, latency: Duration) {
        let mut state = self.budget.lock();
        let files = self.requests.max(1);
        state.requests -= std::mem::take(&mut self.requests);
        state.bytes = state.bytes - self.bytes + bytes;
        self.bytes = bytes;
        let share = if state.mean_bytes == 0.0 { 1.0 } else { 0.1 };
        state.mean_bytes += share * (bytes as f64 / files as f64 - state.mean_bytes);
        // By file, as the limit is: an image may have masks.
        let files = u32::try_from(files).unwrap_or(u32::MAX);
        state.window.answers += files;
        state.window.latency += latency * files;
        let enough = state.window.answers as usize >= (2 * state.limit).max(32);
        if enough && self.budget.0.fixed.is_none() {
            state.look(Instant::now());
        }
        drop(state);
        self.budget.0.freed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.images -= 1;
        state.requests -= self.requests;
        state.bytes -= self.bytes;
        drop(state);
        self.budget.0.freed.notify_all();
    }
}

impl State {
    /// Sets how many requests may be in flight by what was measured since the last look.
    fn look(&mut self, now: Instant) {
        let window = std::mem::replace(&mut self.window, Window::new());
        let [least, _, most] = REQUESTS;
        let seconds = (now - window.since).as_secs_f64();
        let rate = f64::from(window.answers) / seconds;
        let latency = window.latency.as_secs_f64() / f64::from(window.answers.max(1));
        let twice = (2.0 * rate * latency).ceil() as usize;
        if window.waited.as_secs_f64() > WAITS * seconds {
            match self.slow {
                // More would come no sooner: the store, or the way to it, is full.
                Some((best, limit)) if rate < FOLLOWED * best => {
                    self.limit = limit;
                    self.slow = Some((FORGETS * best.max(rate), limit));
                }
                _ => {
                    self.slow = Some((rate, self.limit));
                    self.limit = twice.clamp(self.limit, (2 * self.limit).min(most));
                }
            }
        } else {
            self.slow = None;
            self.limit = twice.clamp(least, self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a store with this latency and this highest rate, used at most at `wanted` a second.
    fn settled(latency: f64, highest: f64, wanted: f64, looks: usize) -> (usize, f64) {
        let Budget(shared) = Budget::new(FetchLimits::default(), 0);
        let mut state = shared.state.lock().unwrap();
        let mut rate = 0.0;
        for _ in 0..looks {
            let limit = state.limit as f64;
            rate = wanted.min(highest).min(limit / latency);
            let seen = latency.max(limit / highest);
            let since = Instant::now();
            let seconds = 100.0 / rate;
            let waits = if rate < wanted { seconds * (1.0 - rate / wanted) } else { 0.0 };
            state.window = Window {
                since,
                answers: 100,
                latency: Duration::from_secs_f64(100.0 * seen),
                waited: Duration::from_secs_f64(waits),
            };
            state.look(since + Duration::from_secs_f64(seconds));
        }
        (state.limit, rate)
    }

    #[test]
    fn as_many_requests_as_hide_the_latency() {
        for (latency, wanted) in [(0.03, 50.0), (0.1, 50.0), (0.5, 50.0), (0.1, 800.0)] {
            let (limit, rate) = settled(latency, f64::INFINITY, wanted, 12);
            assert!(rate > 0.95 * wanted, "{latency} s: {rate} of {wanted} a second, {limit}");
            assert!(limit as f64 <= (4.0 * wanted * latency).max(16.0), "{latency} s: {limit}");
        }
    }

    #[test]
    fn a_store_that_is_full_is_not_asked_for_ever_more() {
        // 20 images a second is all there is: 2 requests suffice, and 16 are the beginning.
        let (limit, rate) = settled(0.1, 20.0, 1000.0, 100);
        assert!(rate > 19.0 && limit <= 64, "{rate} a second with {limit}");
    }

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let mib = NonZeroUsize::new(1);
        let limits = FetchLimits { requests: NonZeroUsize::new(2), memory_mib: mib };
        let (budget, never) = (Budget::new(limits, 1), AtomicBool::new(false));
        // Alone, an image may be larger than all that is allowed.
        let (large, _) = budget.hold(5 << 20, 1, &never).unwrap();
        assert!(budget.try_hold(1, 1).is_none());
        drop(large);
        let mut first = budget.try_hold(400 << 10, 1).unwrap();
        let second = budget.try_hold(400 << 10, 1).unwrap();
        assert!(budget.try_hold(1, 1).is_none(), "two requests are in flight");
        first.answered(600 << 10, Duration::ZERO);
        assert!(budget.try_hold(100 << 10, 1).is_none(), "1000 KiB are held");
        assert!(budget.try_hold(20 << 10, 1).is_some());
        drop((first, second));
        assert!(budget.try_hold(1000 << 10, 2).is_some());
        let stopped = AtomicBool::new(true);
        assert!(budget.hold(1, 1, &stopped).is_none());
    }
}
