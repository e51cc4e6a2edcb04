//! The stages and the bounded channels between them: prepare → infer → finish → commit.
//! Memory is flat whatever the input: one shard is open, one batch is ahead of the device, one
//! behind it. Rayon does the pixels, one thread owns the device, one writes.

pub mod batch;
pub mod finish;
pub mod infer;
pub mod localise;
pub mod prepare;
pub mod reduce;
pub mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::batch::{Batch, Inferred, Work};
use self::finish::{FinishSettings, ShardBuilder};
use self::infer::Inferencer;
use self::prepare::{PrepareSettings, prepare};
use crate::error::PipelineError;
use crate::source::Shard;
use crate::tables::RunWriter;

/// Messages that may wait between two stages: one batch of prefetch and what is said around it.
const CHANNEL_CAPACITY: usize = 1;

/// How far a run is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub scored: AtomicU64,
    pub failed: AtomicU64,
    pub shards: AtomicU64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All shards are committed.
    Complete,
    /// `stop` was set: whole shards are committed, the open one will be done again.
    Stopped,
}

/// Everything a run needs.
pub struct Pipeline<'a> {
    pub shards: Vec<Arc<Shard>>,
    pub prepare: PrepareSettings,
    pub infer: Inferencer,
    pub finish: FinishSettings,
    pub writer: &'a RunWriter,
    pub progress: &'a Progress,
    pub stop: &'a AtomicBool,
}

impl Pipeline<'_> {
    /// Runs all stages to the end, or to the first error of the output.
    ///
    /// # Errors
    /// If rows or maps cannot be written. Trouble with a picture is a row, not an error.
    pub fn run(self) -> Result<Ending, PipelineError> {
        let Pipeline { shards, prepare: settings, infer, finish, writer, progress, stop } = self;
        let (to_infer, prepared) = bounded(CHANNEL_CAPACITY);
        let (to_finish, inferred) = bounded(CHANNEL_CAPACITY);
        let finished = thread::scope(|scope| {
            scope.spawn(move || prepare(shards.into_iter(), &settings, &to_infer, stop));
            scope.spawn(move || infer_all(infer, &prepared, &to_finish));
            // An error here drops `inferred`: the stages in front find nobody listening and end.
            finish_all(inferred, &finish, writer, progress)
        });
        finished.map(|()| match stop.load(Ordering::Relaxed) {
            true => Ending::Stopped,
            false => Ending::Complete,
        })
    }
}

fn infer_all(
    mut infer: Inferencer,
    work: &Receiver<Work<Batch>>,
    out: &Sender<Work<Vec<Inferred>>>,
) {
    for message in work {
        let sent = match message {
            Work::Begin(shard) => out.send(Work::Begin(shard)),
            Work::Failed(lost) => out.send(Work::Failed(lost)),
            Work::End => out.send(Work::End),
            Work::Batch(batch) => {
                let (done, lost) = infer.infer(batch);
                lost.into_iter()
                    .try_for_each(|lost| out.send(Work::Failed(lost)))
                    .and_then(|()| out.send(Work::Batch(done)))
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn finish_all(
    work: Receiver<Work<Vec<Inferred>>>,
    settings: &FinishSettings,
    writer: &RunWriter,
    progress: &Progress,
) -> Result<(), PipelineError> {
    let mut open: Option<ShardBuilder> = None;
    for message in work {
        match (message, &mut open) {
            (Work::Begin(shard), _) => open = Some(ShardBuilder::new(shard)),
            (Work::Batch(batch), Some(builder)) => {
                let pictures = batch.len() as u64;
                builder.add_batch(batch, settings)?;
                progress.scored.fetch_add(pictures, Ordering::Relaxed);
            }
            (Work::Failed(lost), Some(builder)) => {
                builder.add_lost(lost);
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
            (Work::End, _) => {
                if let Some(builder) = open.take() {
                    writer.commit_shard(builder.finish())?;
                    progress.shards.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Nothing but Begin follows End.
            (Work::Batch(_) | Work::Failed(_), None) => {}
        }
    }
    Ok(())
}
