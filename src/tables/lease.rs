//! Who is at which piece of work, so that two workers on one output share it. In: the name of a
//! piece, say of a shard. Out: a lease, or that another worker has it.
//!
//! A lease is a small file that is only ever created, `_filo/leases/<name>.<generation>.json`; it
//! names its owner, and the owner's heartbeat keeps it. Whose owner is gone can be taken over: by
//! creating the next generation, which exactly one worker can. Whether an owner is gone is judged
//! without clocks of other machines: its heartbeat has not changed for a while of our own time, or it
//! says itself that it has ended, or its process was here and is no more.
//!
//! Leases save work and decide nothing. An owner that was only slow may still commit: the ledger
//! takes one of the two.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, parse, to_json};
use super::worker::{SILENCE, Worker, WorkerState, worker_path};
use crate::error::TableError;
use crate::store::{Put, Store};

const LEASES_FOLDER: &str = "_filo/leases";

/// A piece of work that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    name: String,
    generation: u32,
}

/// The answer to a worker that wants a piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    Ours(Lease),
    /// Another worker is at it, or has just ended.
    Held,
}

/// The content of a lease.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    format: u32,
    /// Name of the worker, as its heartbeat has it.
    worker: String,
}

/// The leases of an output as one worker sees them.
#[derive(Debug)]
pub struct Leases {
    store: Store,
    us: String,
    silence: Duration,
    /// What the heartbeats of others said, and since when they say it.
    heard: Mutex<HashMap<String, Heard>>,
}

/// The heartbeat of another worker, and since when it has been this one.
type Heard = (Option<Vec<u8>>, Instant);

impl Leases {
    /// For the worker `us`, whose heartbeat is in the same output.
    pub fn new(store: Store, us: &Worker) -> Self {
        Leases { store, us: us.name(), silence: SILENCE, heard: Mutex::default() }
    }

    /// Takes the lease of `name`, if nobody has it or its owner is gone.
    ///
    /// # Errors
    /// If the output cannot be read or written.
    pub fn claim(&self, name: &str) -> Result<Claim, TableError> {
        if self.create(name, 0)? {
            return Ok(Claim::Ours(Lease { name: name.to_string(), generation: 0 }));
        }
        let all = self.all()?;
        let Some(&last) = all.get(name) else { return Ok(Claim::Held) };
        let path = lease_path(name, last);
        // Released meanwhile: the next try takes it.
        let Some(bytes) = self.store.get_if_there(&path)? else { return Ok(Claim::Held) };
        let owner = parse::<Owner>(&self.store.display(&path), &bytes)?.worker;
        if owner != self.us && !self.is_gone(&owner)? {
            return Ok(Claim::Held);
        }
        let generation = last.saturating_add(1);
        Ok(match self.create(name, generation)? {
            true => Claim::Ours(Lease { name: name.to_string(), generation }),
            false => Claim::Held,
        })
    }

    /// The newest generation of each lease that is there.
    ///
    /// # Errors
    /// If the output cannot be listed.
    pub fn all(&self) -> Result<HashMap<String, u32>, TableError> {
        let mut newest = HashMap::new();
        for file in self.store.list(LEASES_FOLDER)? {
            let Some((name, generation)) = parts_of(&file.path) else { continue };
            let known = newest.entry(name.to_string()).or_insert(generation);
            *known = generation.max(*known);
        }
        Ok(newest)
    }

    /// Whether nobody has taken the lease over.
    ///
    /// # Errors
    /// If the output cannot be read.
    pub fn is_ours(&self, lease: &Lease) -> Result<bool, TableError> {
        Ok(!self.store.exists(&lease_path(&lease.name, lease.generation + 1))?)
    }

    /// Gives a lease back: its work is done, or nobody's.
    ///
    /// # Errors
    /// If the output cannot be changed.
    pub fn release(&self, lease: &Lease) -> Result<(), TableError> {
        for generation in (0..=lease.generation).rev() {
            self.store.delete_if_there(&lease_path(&lease.name, generation))?;
        }
        Ok(())
    }

    /// Removes all leases: the run is finished, and there is nothing left to share.
    ///
    /// # Errors
    /// If the output cannot be changed.
    pub(super) fn clear(store: &Store) -> Result<(), TableError> {
        let files = store.list(LEASES_FOLDER)?.into_iter().map(|file| file.path);
        Ok(store.put_all(Vec::new(), files.collect())?)
    }

    fn create(&self, name: &str, generation: u32) -> Result<bool, TableError> {
        let path = lease_path(name, generation);
        let owner = Owner { format: FORMAT, worker: self.us.clone() };
        let bytes = to_json(&self.store.display(&path), &owner)?;
        Ok(self.store.put_if_absent(&path, bytes)? == Put::Created)
    }

    /// Whether a worker is at work no more, as far as one can tell.
    fn is_gone(&self, worker: &str) -> Result<bool, TableError> {
        let path = worker_path(worker);
        let now = self.store.get_if_there(&path)?.map(|bytes| bytes.to_vec());
        if let Some(bytes) = &now {
            let said = parse::<Worker>(&self.store.display(&path), bytes)?;
            if said.state != WorkerState::Running || said.has_died_here() {
                return Ok(true);
            }
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get(worker) {
            Some((before, since)) if *before == now => Ok(since.elapsed() >= self.silence),
            _ => {
                heard.insert(worker.to_string(), (now, Instant::now()));
                Ok(false)
            }
        }
    }
}

fn lease_path(name: &str, generation: u32) -> String {
    format!("{LEASES_FOLDER}/{name}.{generation}.json")
}

/// Name and generation of the lease at `path`.
fn parts_of(path: &str) -> Option<(&str, u32)> {
    let stem = path.strip_prefix(LEASES_FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
    let (name, generation) = stem.rsplit_once('.')?;
    Some((name, generation.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Location;

    /// Three workers of one output, on machines whose processes cannot be seen from here.
    fn three() -> (tempfile::TempDir, Vec<(Worker, Leases)>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Location::local(folder.path())).unwrap();
        let workers = (0..3).map(|_| {
            let mut worker = Worker::new("0/1".to_string());
            worker.machine = String::new();
            worker.say(&store).unwrap();
            let leases = Leases::new(store.clone(), &worker);
            (worker, leases)
        });
        (folder, workers.collect())
    }

    fn ours(claim: Claim) -> Lease {
        let Claim::Ours(lease) = claim else { panic!("held") };
        lease
    }

    #[test]
    fn a_lease_is_held_until_it_is_given_back() {
        let (_folder, workers) = three();
        let lease = ours(workers[0].1.claim("s").unwrap());
        assert_eq!(workers[1].1.claim("s").unwrap(), Claim::Held);
        ours(workers[1].1.claim("t").unwrap());
        workers[0].1.release(&lease).unwrap();
        ours(workers[1].1.claim("s").unwrap());
    }

    #[test]
    fn a_silent_owner_loses_its_lease_to_exactly_one_whatever_its_clock_says() {
        let (_folder, mut workers) = three();
        let lease = ours(workers[0].1.claim("s").unwrap());
        let store = workers[0].1.store.clone();
        for (_, leases) in &mut workers {
            leases.silence = Duration::ZERO;
        }
        // First seen now, so it has not been silent for any time; and then it spoke again.
        assert_eq!(workers[1].1.claim("s").unwrap(), Claim::Held);
        workers[0].0.started = chrono::DateTime::UNIX_EPOCH;
        workers[0].0.scored = 7;
        workers[0].0.say(&store).unwrap();
        assert_eq!(workers[1].1.claim("s").unwrap(), Claim::Held);
        assert_eq!(workers[2].1.claim("s").unwrap(), Claim::Held);
        assert!(workers[0].1.is_ours(&lease).unwrap());

        let next = ours(workers[1].1.claim("s").unwrap());
        workers[1].0.say(&store).unwrap();
        assert_eq!(workers[2].1.claim("s").unwrap(), Claim::Held);
        assert!(!workers[0].1.is_ours(&lease).unwrap(), "taken over");
        assert!(workers[1].1.is_ours(&next).unwrap());
        Leases::clear(&store).unwrap();
        assert!(workers[0].1.all().unwrap().is_empty());
    }

    #[test]
    fn who_says_that_it_ended_or_whose_process_is_gone_here_holds_nothing() {
        let (_folder, mut workers) = three();
        let store = workers[0].1.store.clone();
        ours(workers[0].1.claim("s").unwrap());
        workers[0].0.state = WorkerState::Failed;
        workers[0].0.say(&store).unwrap();
        ours(workers[1].1.claim("s").unwrap());
        let here = Worker::new("0/1".to_string());
        if here.machine.is_empty() {
            // No way to look at processes on this system.
            return;
        }
        assert!(!here.has_died_here());
        let (first, rest) = workers.split_at_mut(2);
        first[1].0.machine = here.machine;
        first[1].0.born = Some(1);
        first[1].0.say(&store).unwrap();
        ours(rest[0].1.claim("s").unwrap());
    }
}
