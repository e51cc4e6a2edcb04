//! All parts of one table and category, read ahead and folded on all cores. In: a run or several as
//! one set, and how a part is added. Out: what they come to. Memory does not grow with the number of
//! parts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::run_set::SetPart;
use super::{Row, RunReader, RunSet};
use crate::error::{Error, MetricsError, TableError};

/// Parts that are read at the same time: enough to hide what a bucket takes to answer.
pub(super) const READERS: usize = 16;

/// Folds the rows of `category`, a part at a time, on all cores while others are being read. What
/// comes out must not depend on the order of the parts.
///
/// # Errors
/// If a part cannot be read, or what `add` or `merge` say.
pub fn fold_parts<R: Row, T: Default + Send>(
    run: &RunReader,
    category: &str,
    add: impl Fn(&mut T, Vec<R>) -> Result<(), MetricsError> + Sync + Send,
    merge: impl Fn(&mut T, T) -> Result<(), MetricsError>,
) -> Result<T, Error> {
    let parts = run.parts(R::TABLE, category).map(|part| SetPart::whole(run, part));
    fold(parts.collect(), |folded, _, rows| add(folded, rows), merge)
}

/// As [`fold_parts`], of all runs of a set. Rows of images that a newer run has are left out; `add` is
/// told which run the others are of, as an index into [`RunSet::runs`].
///
/// # Errors
/// As [`fold_parts`].
pub fn fold_set<R: Row, T: Default + Send>(
    set: &RunSet,
    category: &str,
    add: impl Fn(&mut T, usize, Vec<R>) -> Result<(), MetricsError> + Sync + Send,
    merge: impl Fn(&mut T, T) -> Result<(), MetricsError>,
) -> Result<T, Error> {
    fold(set.parts(R::TABLE, category), add, merge)
}

fn fold<R: Row, T: Default + Send>(
    parts: Vec<SetPart<'_>>,
    add: impl Fn(&mut T, usize, Vec<R>) -> Result<(), MetricsError> + Sync + Send,
    merge: impl Fn(&mut T, T) -> Result<(), MetricsError>,
) -> Result<T, Error> {
    let next = AtomicUsize::new(0);
    type Read<R> = Result<(usize, Vec<R>), TableError>;
    let (send, receive) = crossbeam_channel::bounded::<Read<R>>(READERS);
    std::thread::scope(|scope| {
        for _ in 0..READERS.min(parts.len()) {
            let send = send.clone();
            let (next, parts) = (&next, &parts);
            scope.spawn(move || {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody receives any more: all workers have met a part at fault.
                    if send.send(part.rows().map(|rows| (part.run, rows))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let workers = (0..rayon::current_num_threads().min(parts.len())).map(|_| {
            let (receive, add) = (receive.clone(), &add);
            scope.spawn(move || {
                let mut folded = T::default();
                receive.into_iter().try_for_each(|read| {
                    let (run, rows) = read?;
                    Ok::<_, Error>(add(&mut folded, run, rows)?)
                })?;
                Ok(folded)
            })
        });
        let workers = workers.collect::<Vec<_>>();
        drop(receive);
        let mut whole = T::default();
        for worker in workers {
            let folded: Result<T, Error> = worker.join().expect("adding does not panic");
            merge(&mut whole, folded?)?;
        }
        Ok(whole)
    })
}
