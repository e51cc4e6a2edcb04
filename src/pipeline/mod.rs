//! The stages and the bounded channels between them: fetch → prepare → infer → finish → commit.
//! Memory is flat whatever the input: files in flight are bounded by bytes, one batch is ahead of the
//! device, one behind it, the rows of two shards wait at most. The runtime of stores does input and
//! output, rayon the pixels, one thread owns the device.

pub mod as_scored;
pub mod batch;
pub mod claims;
pub mod compare;
pub mod data_set;
pub mod decision;
mod features;
pub mod fetch;
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
mod stitched;
mod tiles;
pub mod tiles_ahead;
pub mod timings;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::batch::{Batch, Inferred, Work};
use self::claims::Claims;
use self::fetch::{FetchSettings, fetch};
use self::finish::{FinishSettings, ShardBuilder};
use self::infer::Infer;
use self::prepare::{PrepareSettings, prepare};
use self::timings::{StageName, Timings};
use crate::error::{Failure, FailureCode, Stage, TableError, panic_text};
use crate::store::both;
use crate::tables::RunWriter;

/// Messages that wait for the stage that decodes.
const FETCHING: usize = 1024;

/// How far a run is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub scored: AtomicU64,
    pub failed: AtomicU64,
    /// Images that other workers committed while this one was at work.
    pub elsewhere: AtomicU64,
    /// Where its time goes.
    pub timings: Timings,
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
    pub claims: &'a Claims<'a>,
    pub fetch: FetchSettings,
    pub prepare: PrepareSettings,
    pub infer: Box<dyn Infer>,
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
        let Pipeline {
            claims,
            fetch: source,
            prepare: settings,
            infer,
            finish,
            writer,
            progress,
            stop,
        } = self;
        let timings = &progress.timings;
        // What is in flight is bounded by its bytes; these are images that are only named.
        let (to_prepare, fetched) = bounded(FETCHING);
        // No message waits in the other channels: each stage holds the next one ready, and no more.
        let (to_infer, prepared) = bounded(0);
        let (to_finish, inferred) = bounded(0);
        thread::scope(|scope| {
            scope.spawn(move || fetch(claims, &source, &to_prepare, timings, stop));
            scope.spawn(move || prepare(&fetched, &settings, &to_infer, timings));
            scope.spawn(move || infer_all(infer, &prepared, &to_finish, timings, stop));
            // The rows of one shard are written while those of the next are made.
            let (to_commit, whole) = bounded(0);
            let commit = scope.spawn(move || {
                // Nothing is committed after this: who waits for the next shard has to know, however
                // it ended.
                let _closes = Closes(claims);
                commit_all(&whole, writer, claims, timings)
            });
            // An error here drops `inferred`: the stages in front find nobody listening and end.
            let finished = finish_all(inferred, &finish, &to_commit, progress);
            drop(to_commit);
            let committed = commit.join().unwrap_or_else(|panic| resume_unwind(panic));
            // A commit that fails ends the stage in front, which then has no error of its own.
            committed.and(finished)
        })?;
        match claims.are_done() {
            true => Ok(Ending::Complete),
            false => Ok(Ending::Stopped),
        }
    }
}

fn infer_all(
    mut infer: Box<dyn Infer>,
    work: &Receiver<Work<Batch>>,
    out: &Sender<Work<Vec<Inferred>>>,
    timings: &Timings,
    stop: &AtomicBool,
) {
    let clock = timings.clock(StageName::Infer);
    while let Some(message) = clock.receive(work) {
        let sent = match message.batch_or_rest() {
            Err(rest) => clock.send(out, rest),
            // The open shard will be done again anyway: whoever wants to stop should not wait.
            Ok(_) if stop.load(Ordering::Relaxed) => return,
            Ok(batch) => {
                clock.count(batch.images(), batch.bytes());
                let (done, lost) = infer.infer(batch, timings);
                lost.into_iter()
                    .try_for_each(|lost| clock.send(out, Work::Failed(lost)))
                    .and_then(|()| clock.send(out, Work::Batch(done)))
            }
        };
        if sent.is_none() {
            return;
        }
    }
}

fn finish_all(
    work: Receiver<Work<Vec<Inferred>>>,
    settings: &FinishSettings,
    out: &Sender<WholeShard>,
    progress: &Progress,
) -> Result<(), TableError> {
    let mut open: Option<ShardBuilder> = None;
    let clock = progress.timings.clock(StageName::Finish);
    while let Some(message) = clock.receive(&work) {
        match (message, &mut open) {
            (Work::Broken(error), _) => return Err(*error),
            (Work::Begin(begun), _) => {
                open = Some(ShardBuilder::new(begun, settings.input.clone()))
            }
            (Work::Kept { order, image_id }, Some(builder)) => builder.keep(order, &image_id),
            (Work::Batch(batch), Some(builder)) => {
                let [scored, failed] = builder.add_batch(batch, settings)?;
                clock.count((scored + failed) as usize, 0);
                progress.scored.fetch_add(scored, Ordering::Relaxed);
                progress.failed.fetch_add(failed, Ordering::Relaxed);
            }
            (Work::Failed(lost), Some(builder)) => {
                let is_new = builder.add_lost(lost);
                progress.failed.fetch_add(u64::from(is_new), Ordering::Relaxed);
            }
            (Work::End { pictures }, _) => {
                if let Some(rows) = open.take()
                    && clock.send(out, WholeShard { rows, pictures }).is_none()
                {
                    return Ok(());
                }
            }
            // Nothing but Begin follows End.
            (Work::Batch(_) | Work::Failed(_) | Work::Kept { .. }, None) => {}
        }
    }
    Ok(())
}

/// A shard with all of its rows.
struct WholeShard {
    rows: ShardBuilder,
    pictures: usize,
}

/// Closes the claims when it goes.
struct Closes<'a>(&'a Claims<'a>);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn commit_all(
    shards: &Receiver<WholeShard>,
    writer: &RunWriter,
    claims: &Claims<'_>,
    timings: &Timings,
) -> Result<(), TableError> {
    let clock = timings.clock(StageName::Commit);
    // Leases are given back while the next shard is waited for: other workers may wait for them. After
    // the last one they go with the end of the run.
    let give_back = || match claims.are_done() {
        true => Ok(()),
        false => claims.give_back(),
    };
    loop {
        let (given_back, shard) = both(give_back, || clock.receive(shards));
        given_back?;
        let Some(WholeShard { rows, pictures }) = shard else { break };
        let shard_id = rows.shard_id().to_string();
        let is_ours = || claims.is_ours(&shard_id);
        if let Some(bytes) = rows.commit(pictures as u64, writer, is_ours)? {
            clock.count(pictures, bytes);
            claims.committed(&shard_id);
        }
    }
    Ok(())
}

/// What `work` returns; a panic in it, which a stranger's bytes or a backend may cause, becomes a
/// failure of the current image.
pub(crate) fn caught<T>(stage: Stage, work: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let what = panic_text(&*panic);
        let message = format!("the program broke here ({what}): please report this image");
        Failure::new(stage, FailureCode::Internal, message)
    })
}
