//! Many requests at once, for whoever makes thousands of small ones. In: items, and what is asked for
//! each. Out: the answers, in the order of the items.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Requests on their way at a time: nearly all of their time is waiting.
const AT_ONCE: usize = 16;

/// As [`at_once`], up to the first failure: what does not answer is not asked a thousand times.
///
/// # Errors
/// The first one, in the order of the items, of those that came before it was noticed.
pub(crate) fn try_at_once<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicBool::new(false);
    let tried = at_once(items, |item| {
        if failed.load(Ordering::Relaxed) {
            return None;
        }
        let done = work(item);
        failed.fetch_or(done.is_err(), Ordering::Relaxed);
        Some(done)
    });
    // What was not tried is missing only where something failed.
    tried.into_iter().flatten().collect()
}

/// Two answers that do not depend on each other, asked for at the same time.
pub(crate) fn both<A: Send, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), b)
    })
}

/// `work` on all items, several at a time, results in their order.
pub(crate) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut results = thread::scope(|scope| {
        let workers = (0..AT_ONCE.min(items.len())).map(|_| scope.spawn(worker));
        let workers = workers.collect::<Vec<_>>();
        let mut results = Vec::with_capacity(items.len());
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items = (0..100).collect::<Vec<_>>();
        assert_eq!(at_once(&items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(at_once(&[], |n: &u8| *n).is_empty());
    }

    #[test]
    fn after_a_failure_no_more_is_asked() {
        let items = (0..1000).collect::<Vec<_>>();
        let asked = AtomicUsize::new(0);
        let result = try_at_once(&items, |n| {
            asked.fetch_add(1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(2));
            if *n < 20 { Ok(*n) } else { Err(*n) }
        });
        assert!(matches!(result, Err(20..40)), "{result:?}");
        assert!(asked.load(Ordering::SeqCst) < 100, "{asked:?}");
        assert_eq!(try_at_once(&items, |n| Ok::<_, ()>(n + 1)).unwrap()[999], 1000);
    }
}
