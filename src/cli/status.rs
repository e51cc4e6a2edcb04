//! `filo status`: how far a run is, part by part, and whether somebody is at it.

use clap::Args;

use super::say::say;
use super::table;
use crate::error::Error;
use crate::pipeline::status::{PartStatus, WorkerStatus, status};
use crate::store::{Location, Store};
use crate::tables::{RunReader, WorkerState};

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Output of `filo score`, finished or not.
    #[arg(long, value_name = "URI")]
    run: String,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub fn run(self) -> Result<u8, Error> {
        let location = self.run.parse::<Location>()?;
        let run = RunReader::open(Store::open(&location)?)?;
        let parts = status(&run, std::time::SystemTime::now().into())?;
        let finished = run.manifest().totals.is_some();
        if self.json {
            let id = &run.manifest().run_id;
            say(serde_json::json!({ "run_id": id, "finished": finished, "parts": parts }))?;
            return Ok(0);
        }
        say(text(&parts).trim_end())?;
        say(match (finished, parts.iter().any(is_alive)) {
            (true, _) => "finished: the tables are whole",
            (false, true) => "running: read the tables when there is a _SUCCESS",
            (false, false) => {
                "stalled, no worker is alive: run the same filo score again, it resumes"
            }
        })?;
        Ok(0)
    }
}

fn is_alive(part: &PartStatus) -> bool {
    part.worker.as_ref().is_some_and(|worker| worker.alive)
}

fn text(parts: &[PartStatus]) -> String {
    let header = ["part", "shards", "committed", "images", "scored", "failed", "worker"];
    let mut lines = vec![header.map(str::to_string).to_vec()];
    for part in parts {
        let worker = part.worker.as_ref().map_or("–".to_string(), said);
        let worker = if part.part == "all" { String::new() } else { worker };
        lines.push(vec![
            part.part.clone(),
            part.shards.to_string(),
            part.shards_committed.to_string(),
            part.pictures.to_string(),
            part.scored.to_string(),
            part.failed.to_string(),
            worker,
        ]);
    }
    table::aligned(&lines)
}

fn said(status: &WorkerStatus) -> String {
    let (host, process) = (&status.worker.host, status.worker.process);
    let silent = status.silent_s;
    match (status.worker.state, status.alive) {
        (WorkerState::Running, true) => format!("running, {host} {process}, {silent} s ago"),
        (WorkerState::Running, false) if status.worker.has_died_here() => {
            format!("died, {host} {process}")
        }
        (WorkerState::Running, false) => format!("dead?, {host} {process}, {silent} s ago"),
        (WorkerState::Done, _) => "done".to_string(),
        (WorkerState::Stopped, _) => "stopped".to_string(),
        (WorkerState::Failed, _) => format!("failed, {host} {process}"),
    }
}
