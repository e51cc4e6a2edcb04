//! `filo status`: how far a run is, or each of several, part by part, and whether somebody is at it.

use clap::Args;

use super::runs::found;
use super::say::say;
use super::table;
use crate::error::Error;
use crate::pipeline::status::{PartStatus, WorkerStatus, status};
use crate::tables::{Manifest, RunReader, WorkerState};

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Output of `filo score`, finished or not. Given more than once, or as a folder of outputs, or
    /// with `*` in a name, each run is reported by itself.
    #[arg(long, value_name = "URI", required = true)]
    run: Vec<String>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub fn run(self) -> Result<u8, Error> {
        let runs = found(&self.run)?;
        let now = std::time::SystemTime::now().into();
        let document = |run: &RunReader, parts: &[PartStatus]| {
            let Manifest { run_id, run_date, totals, .. } = run.manifest();
            let finished = totals.is_some();
            let mut document =
                serde_json::json!({ "run_id": run_id, "finished": finished, "parts": parts });
            if runs.len() > 1 {
                document["uri"] = run.store().uri().into();
                document["run_date"] = run_date.to_string().into();
            }
            document
        };
        let parts = runs.iter().map(|run| status(run, now)).collect::<Result<Vec<_>, _>>()?;
        let each = || runs.iter().zip(&parts);
        if self.json {
            let mut documents = each().map(|(run, parts)| document(run, parts)).collect::<Vec<_>>();
            match documents.len() {
                1 => say(documents.remove(0))?,
                _ => say(serde_json::json!({ "runs": documents }))?,
            }
            return Ok(0);
        }
        for (n, (run, parts)) in each().enumerate() {
            if runs.len() > 1 {
                let gap = if n == 0 { "" } else { "\n" };
                say(format_args!("{gap}{}", run.store().uri()))?;
            }
            say(text(parts).trim_end())?;
            say(match (run.manifest().totals.is_some(), parts.iter().any(is_alive)) {
                (true, _) => "finished: the tables are whole",
                (false, true) => "running: read the tables when there is a _SUCCESS",
                (false, false) => {
                    "stalled, no worker is alive: run the same filo score again, it resumes"
                }
            })?;
        }
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
