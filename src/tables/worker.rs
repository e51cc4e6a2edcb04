//! What the workers of a run say of themselves while they work: one small file each, written again
//! and again. It tells a person whether somebody is still at it, and other workers whether a lease
//! still has an owner. No row depends on it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{FORMAT, parse, to_json};
use crate::error::TableError;
use crate::store::Store;

const WORKERS_FOLDER: &str = "_filo/workers";

/// A worker says how far it is this often.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// A worker that has said nothing for so long is taken for dead: it may have waited for a store.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Running,
    /// Its part is committed.
    Done,
    /// It was asked to stop.
    Stopped,
    /// It ended with an error.
    Failed,
}

/// The content of `_filo/workers/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub format: u32,
    /// The part of the work that it takes, `I/N`.
    pub partition: String,
    pub state: WorkerState,
    /// Name of its machine, and its process there.
    pub host: String,
    pub process: u32,
    /// Tells it from an earlier process of the same number on a machine of the same name.
    #[serde(default)]
    pub token: String,
    /// Where its process number means something: this start of this machine, and the processes that
    /// can be seen there. Empty where the system does not say.
    #[serde(default)]
    pub machine: String,
    /// When its process began, in the units of that machine.
    #[serde(default)]
    pub born: Option<u64>,
    pub started: DateTime<Utc>,
    /// When this was written, by the clock of its machine.
    pub said: DateTime<Utc>,
    /// Images since it was started.
    pub scored: u64,
    pub failed: u64,
    /// Where its time went, in the words of `filo score --timings`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub timings: Value,
}

impl Worker {
    /// A worker that starts now.
    pub fn new(partition: String) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "unknown".to_string(),
            name => name.to_string(),
        };
        let (now, process) = (now(), std::process::id());
        Worker {
            format: FORMAT,
            partition,
            state: WorkerState::Running,
            host,
            process,
            token: format!("{:08x}", fastrand::u32(..)),
            machine: machine(),
            born: born(process),
            started: now,
            said: now,
            scored: 0,
            failed: 0,
            timings: Value::Null,
        }
    }

    /// What its file is called, and its leases call it.
    pub fn name(&self) -> String {
        let host = self.host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        format!("{host}-{}-{}", self.process, self.token)
    }

    /// Whether its process was one of this machine and is no more.
    pub fn has_died_here(&self) -> bool {
        let here = self.born.is_some() && !self.machine.is_empty() && self.machine == machine();
        here && born(self.process) != self.born
    }

    /// Says how it is.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn say(&mut self, store: &Store) -> Result<(), TableError> {
        self.said = now();
        let path = worker_path(&self.name());
        Ok(store.put(&path, to_json(&store.display(&path), self)?)?)
    }

    /// Whether it works, as far as one can tell at `now`.
    pub fn is_alive(&self, now: DateTime<Utc>) -> bool {
        let silent = (now - self.said).to_std().unwrap_or_default();
        self.state == WorkerState::Running && silent < SILENCE && !self.has_died_here()
    }
}

/// The time of this machine's clock, which may be set to before 1970: [`Utc::now`] panics then.
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Where the worker of this name says how it is.
pub(super) fn worker_path(name: &str) -> String {
    format!("{WORKERS_FOLDER}/{name}.json")
}

/// Two containers may share a name and have a process 1 each: the start of the machine and the
/// namespace of the processes tell them apart. Empty where there are no such files.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let processes = std::fs::read_link("/proc/self/ns/pid");
    match (boot, processes) {
        (Ok(boot), Ok(processes)) => format!("{} {}", boot.trim(), processes.display()),
        _ => String::new(),
    }
}

/// When a process of this machine began, in clock ticks since the machine did. `None` if there is
/// none, or only what its parent has yet to read.
fn born(process: u32) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // The start is field 22 of the line, and the state was field 3.
    fields.nth(18)?.parse().ok()
}

/// The worker of each partition that was heard last.
///
/// # Errors
/// If what is there cannot be read.
pub fn read_workers(store: &Store) -> Result<BTreeMap<String, Worker>, TableError> {
    let mut workers = BTreeMap::<String, Worker>::new();
    for file in store.list(WORKERS_FOLDER)? {
        // It may have been cleared away meanwhile.
        let Some(bytes) = store.get_if_there(&file.path)? else { continue };
        let worker = parse::<Worker>(&store.display(&file.path), &bytes)?;
        let heard = workers.get(&worker.partition).map(|other| other.said);
        if heard.is_none_or(|heard| heard < worker.said) {
            workers.insert(worker.partition.clone(), worker);
        }
    }
    Ok(workers)
}
