//! How far a run is. In: what its workers have committed and what they say. Out: one line per part
//! of the work.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::Error;
use crate::job::Partition;
use crate::tables::{RunReader, Table, Worker, read_workers};

/// One part of the work, or all of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartStatus {
    /// `I/N`, or `all`.
    pub part: String,
    pub shards: u64,
    pub shards_committed: u64,
    /// Images of all its shards, as far as they are known: archives tell when they are read.
    pub pictures: u64,
    /// Images of committed shards that have a score.
    pub scored: u64,
    /// Images of committed shards that are in `failures`.
    pub failed: u64,
    /// The worker that was heard last; none where nobody has begun, and for `all`.
    pub worker: Option<WorkerStatus>,
}

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerStatus {
    #[serde(flatten)]
    pub worker: Worker,
    /// Whether it works, as far as one can tell.
    pub alive: bool,
    /// Seconds since it was heard.
    pub silent_s: i64,
}

/// The parts of a run and, last, all of it.
///
/// # Errors
/// If the plan, the ledger or what the workers say cannot be read.
pub fn status(run: &RunReader, now: DateTime<Utc>) -> Result<Vec<PartStatus>, Error> {
    let workers = read_workers(run.store())?;
    let heard = workers.keys().filter_map(|part| part.parse::<Partition>().ok());
    let count = heard.map(Partition::count).max().unwrap_or(1);
    let planned = planned(run)?;
    let bytes = planned.iter().map(|shard| shard.bytes).collect::<Vec<_>>();
    let dealt = Partition::deal(count, &bytes);
    let mut lines = Vec::with_capacity(count + 1);
    for index in 0..count {
        let Some(partition) = Partition::new(index, count) else { continue };
        let name = partition.to_string();
        let worker = workers.get(&name).map(|worker| WorkerStatus {
            worker: worker.clone(),
            alive: worker.is_alive(now),
            silent_s: (now - worker.said).num_seconds(),
        });
        lines.push(part(run, &planned, name, worker, |shard| dealt.get(shard) == Some(&index)));
    }
    lines.push(part(run, &planned, "all".to_string(), None, |_| true));
    Ok(lines)
}

fn part(
    run: &RunReader,
    planned: &[Planned],
    part: String,
    worker: Option<WorkerStatus>,
    takes: impl Fn(usize) -> bool,
) -> PartStatus {
    let mut status = PartStatus {
        part,
        shards: 0,
        shards_committed: 0,
        pictures: 0,
        scored: 0,
        failed: 0,
        worker,
    };
    let mut in_archives = 0;
    let shards = run.manifest().shards.iter().enumerate().filter(|(index, _)| takes(*index));
    for (index, shard) in shards {
        status.shards += 1;
        let planned = planned.get(index).and_then(|shard| shard.pictures);
        status.pictures += planned.unwrap_or_default();
        if let Some(entry) = run.committed(shard) {
            let (scored, failed) = (entry.rows_of(Table::Scores), entry.rows_of(Table::Failures));
            status.shards_committed += 1;
            status.scored += scored;
            status.failed += failed;
            // What an archive has shows when it is read.
            in_archives += if planned.is_none() { scored + failed } else { 0 };
        }
    }
    status.pictures += in_archives;
    status
}

/// What the plan says of a shard.
#[derive(Clone, Copy, Default)]
struct Planned {
    /// `None` where that shows when it is read.
    pictures: Option<u64>,
    bytes: u64,
}

/// All shards of the plan; nothing for outputs that have none.
fn planned(run: &RunReader) -> Result<Vec<Planned>, Error> {
    let mut shards = vec![Planned::default(); run.manifest().shards.len()];
    if let Some(plan) = &run.manifest().plan {
        for row in plan.read(run.store())? {
            let row = row?;
            let shard = usize::try_from(row.shard).ok().and_then(|index| shards.get_mut(index));
            let Some(shard) = shard else { continue };
            shard.bytes = shard.bytes.saturating_add(u64::try_from(row.bytes).unwrap_or_default());
            if row.archive.is_none() {
                *shard.pictures.get_or_insert(0) += 1;
            }
        }
    }
    Ok(shards)
}
