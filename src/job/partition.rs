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

/// The variables with which an engine tells a worker which one it is.
struct Engine {
    index: &'static str,
    count: &'static str,
    /// Where arrays need not start at 0 or go up by 1.
    first: Option<&'static str>,
    step: Option<&'static str>,
    /// What is set where this engine has started the worker.
    sign: &'static str,
}

impl Engine {
    const fn new(index: &'static str, count: &'static str) -> Self {
        Engine { index, count, first: None, step: None, sign: index }
    }
}

/// An array job of Slurm; each of its tasks may start several workers.
const SLURM_ARRAY: Engine = Engine {
    first: Some("SLURM_ARRAY_TASK_MIN"),
    step: Some("SLURM_ARRAY_TASK_STEP"),
    ..Engine::new("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
};

/// Kubernetes (whose manifest must set `JOB_COMPLETIONS` itself), AWS Batch, and what Ray and
/// torchrun tell their workers.
const ENGINES: [Engine; 3] = [
    Engine::new("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    Engine::new("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    Engine::new("RANK", "WORLD_SIZE"),
];

/// What starts workers inside one job: `mpirun` of Open MPI and of MPICH, and `srun`. A batch script
/// of Slurm has a rank too, but is no step: it is alone.
const LAUNCHERS: [Engine; 3] = [
    Engine::new("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    Engine::new("PMI_RANK", "PMI_SIZE"),
    Engine { sign: "SLURM_STEP_NUM_TASKS", ..Engine::new("SLURM_PROCID", "SLURM_STEP_NUM_TASKS") },
];

/// Set in a shell that `srun --pty` has opened, and in what is started from there: its step's
/// variables tell of a terminal, not of workers.
const TERMINAL: &str = "SLURM_PTY_PORT";

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
        let told_by = |engines: &[Engine]| {
            let engine = engines.iter().find(|engine| set(engine.sign).is_some())?;
            Some(engine.partition(&set))
        };
        let launched = || match set(TERMINAL) {
            None => told_by(&LAUNCHERS),
            Some(_) => None,
        };
        let told = match told_by(&[SLURM_ARRAY]) {
            Some(task) => Some(task?.shared_by(launched().unwrap_or(Ok(Partition::WHOLE))?)),
            None => told_by(&ENGINES).or_else(launched).transpose()?,
        };
        if let Some(part) = told {
            tracing::info!(
                "part {part} of the shards, as the environment tells; --partition 0/1 takes all"
            );
        }
        Ok(told.unwrap_or(Partition::WHOLE))
    }

    /// The part of `worker` when several share this one.
    fn shared_by(self, worker: Partition) -> Self {
        let index = self.index * worker.count + worker.index;
        Partition { index, count: self.count * worker.count }
    }
}

impl Engine {
    fn partition(&self, set: &impl Fn(&str) -> Option<String>) -> Result<Partition, JobError> {
        let index = set(self.index).unwrap_or_default();
        let error =
            |why: String| JobError::Engine { variable: self.index, value: index.clone(), why };
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
        let above = number(self.index, &index)?.checked_sub(first);
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
    fn engines_name_the_part() {
        assert_eq!(in_environment(&[]).unwrap(), Partition::WHOLE);
        // The rank of a batch script of Slurm is no step's.
        let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "5")];
        assert_eq!(in_environment(&batch).unwrap(), Partition::WHOLE);
        let terminal =
            [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_PTY_PORT", "41043")];
        assert_eq!(in_environment(&terminal).unwrap(), Partition::WHOLE);
        let cases: [&[(&str, &str)]; 8] = [
            &[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "5")],
            &[("PMI_RANK", "2"), ("PMI_SIZE", "5"), ("SLURM_STEP_NUM_TASKS", "5")],
            &[("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "5")],
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

    /// Two nodes' tasks with four workers each.
    #[test]
    fn workers_of_an_array_task_share_its_part() {
        let mut seen = Vec::new();
        for (task, worker) in (0..2).flat_map(|task| (0..4).map(move |worker| (task, worker))) {
            let variables = [
                ("SLURM_ARRAY_TASK_ID", &*task.to_string()),
                ("SLURM_ARRAY_TASK_COUNT", "2"),
                ("SLURM_PROCID", &*worker.to_string()),
                ("SLURM_STEP_NUM_TASKS", "4"),
            ];
            let own = in_environment(&variables).unwrap();
            assert_eq!(own.count(), 8);
            seen.push(own.index());
        }
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn an_array_job_that_does_not_say_how_many_workers_there_are_is_an_error() {
        let cases: [&[(&str, &str)]; 5] = [
            &[("SLURM_STEP_NUM_TASKS", "2")],
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
