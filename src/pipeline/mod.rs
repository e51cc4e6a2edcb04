//! The stages and the bounded channels between them: prepare → infer → finish → commit.
//! Memory is flat whatever the input: one shard is open, one batch is ahead of the device, one
//! behind it. Rayon does the pixels, one thread owns the device, one writes.

pub mod batch;
pub mod claims;
pub mod compare;
pub mod decision;
mod features;
pub mod finish;
pub mod heartbeat;
pub mod identity;
pub mod infer;
pub mod localise;
pub mod members;
pub mod networks;
pub mod pixel_groups;
pub mod plan;
pub mod planned;
pub mod prepare;
pub mod reduce;
pub mod references;
pub mod repair;
pub mod retry;
pub mod run;
mod skip;
pub mod status;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::batch::{Batch, Inferred, Work};
use self::claims::Claims;
use self::finish::{FinishSettings, ShardBuilder};
use self::infer::Inferencer;
use self::prepare::{PrepareSettings, prepare};
use crate::error::{Failure, FailureCode, Stage, TableError, panic_text};
use crate::tables::RunWriter;

/// How far a run is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub scored: AtomicU64,
    pub failed: AtomicU64,
    /// Images that other workers committed while this one was at work.
    pub elsewhere: AtomicU64,
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
    pub claims: Claims<'a>,
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
    /// If the output cannot be read or written. Trouble with an image is a row, not an error.
    pub fn run(self) -> Result<Ending, TableError> {
        let Pipeline { claims, prepare: settings, infer, finish, writer, progress, stop } = self;
        let claims = &claims;
        // No message waits in a channel: each stage holds the next one ready, and no more.
        let (to_infer, prepared) = bounded(0);
        let (to_finish, inferred) = bounded(0);
        thread::scope(|scope| {
            scope.spawn(move || prepare(claims, &settings, &to_infer, stop));
            scope.spawn(move || infer_all(infer, &prepared, &to_finish, stop));
            // An error here drops `inferred`: the stages in front find nobody listening and end.
            let finished = finish_all(inferred, &finish, writer, claims, progress);
            claims.close();
            finished
        })?;
        match claims.are_done() {
            true => Ok(Ending::Complete),
            false => Ok(Ending::Stopped),
        }
    }
}

fn infer_all(
    mut infer: Inferencer,
    work: &Receiver<Work<Batch>>,
    out: &Sender<Work<Vec<Inferred>>>,
    stop: &AtomicBool,
) {
    for message in work {
        let sent = match message {
            Work::Begin(begun) => out.send(Work::Begin(begun)),
            Work::Kept { order, image_id } => out.send(Work::Kept { order, image_id }),
            Work::Broken(error) => out.send(Work::Broken(error)),
            Work::Failed(lost) => out.send(Work::Failed(lost)),
            Work::End { pictures } => out.send(Work::End { pictures }),
            // The open shard will be done again anyway: whoever wants to stop should not wait.
            Work::Batch(_) if stop.load(Ordering::Relaxed) => return,
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
    claims: &Claims<'_>,
    progress: &Progress,
) -> Result<(), TableError> {
    let mut open: Option<ShardBuilder> = None;
    for message in work {
        match (message, &mut open) {
            (Work::Broken(error), _) => return Err(*error),
            (Work::Begin(begun), _) => {
                open = Some(ShardBuilder::new(begun, settings.input.clone()))
            }
            (Work::Kept { order, image_id }, Some(builder)) => builder.keep(order, &image_id),
            (Work::Batch(batch), Some(builder)) => {
                let pictures = batch.len() as u64;
                let scored = builder.add_batch(batch, settings)?;
                progress.scored.fetch_add(scored, Ordering::Relaxed);
                progress.failed.fetch_add(pictures - scored, Ordering::Relaxed);
            }
            (Work::Failed(lost), Some(builder)) => {
                builder.add_lost(lost);
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
            (Work::End { pictures }, _) => {
                if let Some(builder) = open.take() {
                    let shard_id = builder.shard_id().to_string();
                    if claims.is_ours(&shard_id)? {
                        builder.commit(pictures as u64, writer)?;
                        claims.committed(&shard_id)?;
                    }
                }
            }
            // Nothing but Begin follows End.
            (Work::Batch(_) | Work::Failed(_) | Work::Kept { .. }, None) => {}
        }
    }
    Ok(())
}

/// What `work` returns; a panic in it, which a stranger's bytes or a backend may cause, becomes a
/// failure of the current image.
fn caught<T>(stage: Stage, work: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let what = panic_text(&*panic);
        let message = format!("the program broke here ({what}): please report this image");
        Failure::new(stage, FailureCode::Internal, message)
    })
}
