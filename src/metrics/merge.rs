//! Many sorted runs in, one sorted run out, in memory that grows with the number of runs and not
//! with their length. Equal keys are added up, so the result does not depend on how pixels were
//! spread over runs. Never here: files; an input is any iterator that may fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::error::MetricsError;

use super::counts::{PixelCount, PixelKey};
use super::totals::add;

/// Merges runs (see [`PixelCount`]) into one run.
///
/// The iterator gives an error, and then ends, when an input fails, is not sorted, or holds a
/// score that is not finite; the error names the input by its place in `runs`. Equal keys inside
/// one input are accepted and added up.
pub fn merge_runs<I, E>(runs: impl IntoIterator<Item = I>) -> MergedRuns<I>
where
    I: Iterator<Item = Result<PixelCount, E>>,
    E: From<MetricsError>,
{
    MergedRuns {
        inputs: runs.into_iter().collect(),
        heads: BinaryHeap::new(),
        phase: Phase::Unread,
    }
}

/// The iterator behind [`merge_runs`].
#[derive(Debug)]
pub struct MergedRuns<I> {
    inputs: Vec<I>,
    /// The next count of every input that has one, smallest key on top.
    heads: BinaryHeap<Reverse<Head>>,
    phase: Phase,
}

/// Where reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unread,
    Reading,
    Ended,
}

/// A count that waits for its turn. Ordered by key, then input, so that the merge is repeatable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: PixelKey,
    input: usize,
    n: u64,
}

impl<I, E> MergedRuns<I>
where
    I: Iterator<Item = Result<PixelCount, E>>,
    E: From<MetricsError>,
{
    /// Reads the first count of every input.
    fn fill(&mut self) -> Result<(), E> {
        for (input, counts) in self.inputs.iter_mut().enumerate() {
            self.heads.extend(read_head(counts, input)?.map(Reverse));
        }
        Ok(())
    }

    /// Takes the smallest head and puts the next count of its input in its place.
    fn take_smallest(&mut self) -> Result<Option<Head>, E> {
        let Some(mut top) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse(taken) = *top;
        match read_head(&mut self.inputs[taken.input], taken.input)? {
            Some(next) => {
                check_order(&taken, &next)?;
                *top = Reverse(next);
            }
            None => {
                PeekMut::pop(top);
            }
        }
        Ok(Some(taken))
    }

    /// The next count with all that share its key.
    fn next_merged(&mut self) -> Result<Option<PixelCount>, E> {
        if self.phase == Phase::Unread {
            self.phase = Phase::Reading;
            self.fill()?;
        }
        let Some(Head { key, mut n, .. }) = self.take_smallest()? else { return Ok(None) };
        while self.heads.peek().is_some_and(|Reverse(head)| head.key == key) {
            if let Some(same) = self.take_smallest()? {
                n = add(n, same.n)?;
            }
        }
        Ok(Some(key.count(n)))
    }
}

impl<I, E> Iterator for MergedRuns<I>
where
    I: Iterator<Item = Result<PixelCount, E>>,
    E: From<MetricsError>,
{
    type Item = Result<PixelCount, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.phase == Phase::Ended {
            return None;
        }
        let next = self.next_merged().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.phase = Phase::Ended;
        }
        next
    }
}

/// The next count of one input.
fn read_head<I, E>(counts: &mut I, input: usize) -> Result<Option<Head>, E>
where
    I: Iterator<Item = Result<PixelCount, E>>,
    E: From<MetricsError>,
{
    let Some(count) = counts.next() else { return Ok(None) };
    let PixelCount { score, region_px, n } = count?;
    if !score.is_finite() {
        return Err(MetricsError::NonFiniteInRun { input, value: score }.into());
    }
    Ok(Some(Head { key: PixelKey::new(score, region_px), input, n }))
}

/// An unsorted input would give wrong figures without any other sign.
fn check_order(before: &Head, after: &Head) -> Result<(), MetricsError> {
    if before.key <= after.key {
        return Ok(());
    }
    Err(MetricsError::Unsorted {
        input: after.input,
        before: before.key.score(),
        after: after.key.score(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Counts = Vec<Result<PixelCount, MetricsError>>;

    fn run(counts: &[(f32, u32, u64)]) -> std::vec::IntoIter<Result<PixelCount, MetricsError>> {
        let ok = |&(score, region_px, n)| Ok(PixelCount { score, region_px, n });
        counts.iter().map(ok).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn equal_keys_of_different_runs_become_one() {
        let merged: Result<Vec<_>, _> = merge_runs([
            run(&[(0.9, 4, 1), (0.5, 0, 2), (0.0, 0, 1)]),
            run(&[]),
            run(&[(0.5, 0, 3), (0.5, 2, 1), (-0.0, 0, 5)]),
        ])
        .collect();
        let expected: Result<Vec<_>, MetricsError> =
            run(&[(0.9, 4, 1), (0.5, 0, 5), (0.5, 2, 1), (0.0, 0, 6)]).collect();
        assert_eq!(merged.unwrap(), expected.unwrap());
    }

    #[test]
    fn an_unsorted_input_is_named_and_ends_the_merge() {
        let inputs = [run(&[(0.9, 0, 1), (0.1, 0, 1)]), run(&[(0.8, 0, 1), (0.85, 0, 1)])];
        let merged: Counts = merge_runs(inputs).collect();
        assert!(matches!(
            merged.last(),
            Some(Err(MetricsError::Unsorted { input: 1, before: 0.8, after: 0.85 }))
        ));
        let same_score: Counts = merge_runs([run(&[(0.9, 3, 3), (0.9, 0, 1)])]).collect();
        assert!(matches!(same_score.last(), Some(Err(MetricsError::Unsorted { input: 0, .. }))));
    }

    #[test]
    fn a_failing_input_and_a_nan_pass_their_error_on() {
        let failing = vec![Err(MetricsError::CountOverflow)].into_iter();
        let merged: Counts = merge_runs([run(&[(0.9, 0, 1)]), failing]).collect();
        assert!(matches!(merged[..], [Err(MetricsError::CountOverflow)]));
        let merged: Counts = merge_runs([run(&[(f32::NAN, 0, 1)])]).collect();
        assert!(matches!(merged[..], [Err(MetricsError::NonFiniteInRun { input: 0, .. })]));
        let merged: Counts =
            merge_runs([run(&[(0.5, 0, u64::MAX)]), run(&[(0.5, 0, 1)])]).collect();
        assert!(matches!(merged[..], [Err(MetricsError::CountOverflow)]));
    }
}
