//! Which part of the shards this worker takes. `I/N` goes in, from a flag or from the variables
//! that an array job has set, and the sizes of the shards; whose each shard is comes out.
//! Never here: talking to an engine. The same shards may be taken twice, the ledger sorts it out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use super::text::{schema_of_text, serde_as_text};
use super::values::digits;
use crate::error::{JobError, ValueError};

/// Worker `index` of `count`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    index: usize,
    count: usize,
}

/// The variables of one engine's array job.
struct Engine {
    index: &'static str,
    count: &'static str,
    /// Where arrays need not start at 0 or go up by 1.
    first: Option<&'static str>,
    step: Option<&'static str>,
}

/// Slurm, Kubernetes (whose manifest must set `JOB_COMPLETIONS` itself), AWS Batch, and what Ray
/// and torchrun tell their workers.
const ENGINES: [Engine; 4] = [
    Engine {
        index: "SLURM_ARRAY_TASK_ID",
        count: "SLURM_ARRAY_TASK_COUNT",
        first: Some("SLURM_ARRAY_TASK_MIN"),
        step: Some("SLURM_ARRAY_TASK_STEP"),
    },
    Engine { index: "JOB_COMPLETION_INDEX", count: "JOB_COMPLETIONS", first: None, step: None },
    Engine {
        index: "AWS_BATCH_JOB_ARRAY_INDEX",
        count: "AWS_BATCH_JOB_ARRAY_SIZE",
        first: None,
        step: None,
    },
    Engine { index: "RANK", count: "WORLD_SIZE", first: None, step: None },
];

impl Partition {
    /// All shards.
    pub const WHOLE: Partition = Partition { index: 0, count: 1 };

    /// Worker `index` of `count`; `None` unless `index < count`.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (index < count).then_some(Partition { index, count })
    }

    /// How many workers share the work.
    pub fn count(self) -> usize {
        self.count
    }

    /// Which worker this is, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// The worker of each shard, by the bytes of the shards: the largest is dealt first, each to
    /// whoever has least so far. The same on every machine.
    pub fn deal(count: usize, bytes: &[u64]) -> Vec<usize> {
        let mut order = (0..bytes.len()).collect::<Vec<_>>();
        order.sort_by_key(|&shard| (Reverse(bytes[shard]), shard));
        // Bytes and shards so far: empty files are shared out, too.
        let mut workers =
            (0..count).map(|worker| Reverse((0u64, 0usize, worker))).collect::<BinaryHeap<_>>();
        let mut dealt = vec![0; bytes.len()];
        for shard in order {
            let Some(mut least) = workers.peek_mut() else { break };
            let Reverse((load, shards, worker)) = &mut *least;
            *load = load.saturating_add(bytes[shard]);
            *shards += 1;
            dealt[shard] = *worker;
        }
        dealt
    }

    /// The part that an array job gives this worker; all shards outside of array jobs.
    ///
    /// # Errors
    /// If an engine says which worker this is but not of how many: every worker would take
    /// everything.
    pub fn from_environment(env: impl Fn(&str) -> Option<String>) -> Result<Self, JobError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        for engine in &ENGINES {
            if let Some(index) = set(engine.index) {
                return engine.partition(&index, &set);
            }
        }
        Ok(Partition::WHOLE)
    }
}

impl Engine {
    fn partition(
        &self,
        index: &str,
        set: &impl Fn(&str) -> Option<String>,
    ) -> Result<Partition, JobError> {
        let error =
            |why: String| JobError::Engine { variable: self.index, value: index.to_owned(), why };
        let number = |name: &str, value: &str| {
            digits(value).ok_or_else(|| error(format!("{name} = {value:?} is no whole number")))
        };
        let or = |name: Option<&str>, default: usize| match name.and_then(|n| Some((n, set(n)?))) {
            Some((name, value)) => number(name, &value),
            None => Ok(default),
        };
        let count = set(self.count).ok_or_else(|| error(format!("{} is not set", self.count)))?;
        let count = number(self.count, &count)?;
        let (first, step) = (or(self.first, 0)?, or(self.step, 1)?.max(1));
        let above = number(self.index, index)?.checked_sub(first);
        let place = above.filter(|above| above % step == 0).map(|above| above / step);
        // An array such as 1,5,9 has gaps, and gaps would leave shards to nobody.
        place
            .and_then(|place| Partition::new(place, count))
            .ok_or_else(|| error(format!("not one of {count} tasks without gaps from {first}")))
    }
}

impl FromStr for Partition {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = text.split_once('/');
        let partition = parts.and_then(|(i, n)| Partition::new(digits(i)?, digits(n)?));
        partition.ok_or_else(|| ValueError::new("I/N with I from 0 to N-1"))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

serde_as_text!(Partition);

schema_of_text!(Partition: { "type": "string", "pattern": "^[0-9]+/[0-9]+$" });

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_environment(variables: &[(&str, &str)]) -> Result<Partition, JobError> {
        Partition::from_environment(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn shards_are_dealt_by_their_bytes() {
        assert_eq!(Partition::deal(2, &[1, 9, 4, 4, 2]), [0, 0, 1, 1, 1]);
        assert_eq!(Partition::deal(3, &[0, 0, 0, 0]), [0, 1, 2, 0]);
        assert_eq!(Partition::deal(1, &[5, u64::MAX]), [0, 0]);
        assert!(Partition::deal(4, &[]).is_empty());
    }

    proptest! {
        /// No worker has more than the least loaded one by more than a shard.
        #[test]
        fn nobody_has_a_shard_more_than_another(
            count in 1..9usize,
            bytes in proptest::collection::vec(0..1000u64, 0..200),
        ) {
            let dealt = Partition::deal(count, &bytes);
            let mut loads = vec![0; count];
            dealt.iter().zip(&bytes).for_each(|(&worker, bytes)| loads[worker] += bytes);
            let largest = bytes.iter().max().copied().unwrap_or_default();
            let most = loads.iter().max().copied().unwrap_or_default();
            prop_assert!(loads.iter().all(|load| load + largest >= most));
        }
    }

    #[test]
    fn a_partition_beyond_the_last_is_refused() {
        assert_eq!("2/3".parse::<Partition>().unwrap().to_string(), "2/3");
        for text in ["3/3", "0/0", "1", "a/b", "-1/3", "1/3/5"] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
    }

    #[test]
    fn array_jobs_of_four_engines_name_the_part() {
        assert_eq!(in_environment(&[]).unwrap(), Partition::WHOLE);
        let cases: [&[(&str, &str)]; 5] = [
            &[("RANK", "2"), ("WORLD_SIZE", "5")],
            &[("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "5")],
            &[
                ("SLURM_ARRAY_TASK_ID", "15"),
                ("SLURM_ARRAY_TASK_COUNT", "5"),
                ("SLURM_ARRAY_TASK_MIN", "5"),
                ("SLURM_ARRAY_TASK_STEP", "5"),
            ],
            &[("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "5")],
            &[("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "5")],
        ];
        for variables in cases {
            assert_eq!(in_environment(variables).unwrap().to_string(), "2/5", "{variables:?}");
        }
    }

    #[test]
    fn an_array_job_that_does_not_say_how_many_workers_there_are_is_an_error() {
        let cases: [&[(&str, &str)]; 4] = [
            &[("JOB_COMPLETION_INDEX", "2")],
            &[("SLURM_ARRAY_TASK_ID", "x"), ("SLURM_ARRAY_TASK_COUNT", "5")],
            &[("SLURM_ARRAY_TASK_ID", "9"), ("SLURM_ARRAY_TASK_COUNT", "3")],
            &[
                ("SLURM_ARRAY_TASK_ID", "1"),
                ("SLURM_ARRAY_TASK_COUNT", "3"),
                ("SLURM_ARRAY_TASK_MIN", "2"),
            ],
        ];
        for variables in cases {
            let error = in_environment(variables).unwrap_err().to_string();
            assert!(error.contains("--partition"), "{error}");
        }
    }
}
