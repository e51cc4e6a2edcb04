//! Where the time of a run goes. In: what each stage did, waited for, and was kept from, as it went; work
//! inside of a stage, summed over cores. Out: figures of every stage, whose three times add up to the time
//! that it was there, and the stage that the others wait for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde::Serialize;
use serde_json::json;
use tracing::span::EnteredSpan;

/// The stages, in the order in which an image goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    Fetch,
    Prepare,
    Infer,
    Finish,
    Commit,
}

/// Work inside of a stage, on one core or on many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Files to pixels, masks included.
    Decode,
    /// Pixels to the sizes of the networks.
    Resize,
    /// The detector.
    Detector,
    /// Prompts of a category.
    Prompts,
    /// The image encoder and what scores with it.
    Encoder,
    /// Patch features for references.
    Features,
}

/// What a run does one after the other; images go through the stages in `score`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Lists the input, or reads the plan of the run.
    List,
    /// Reads the weights, opens the device and the output.
    Open,
    /// Makes the references.
    References,
    Score,
    /// Checks what all workers wrote, decides, and says that the run is finished.
    Close,
}

/// Times of a run so far. All of it may be read while it grows.
#[derive(Debug, Default)]
pub struct Timings {
    stages: [StageTimes; StageName::ALL.len()],
    parts: [Nanos; Part::ALL.len()],
    phases: [Nanos; Phase::ALL.len()],
}

/// Nanoseconds.
#[derive(Debug, Default)]
struct Nanos(AtomicU64);

/// Times of a stage.
#[derive(Debug, Default)]
pub struct StageTimes {
    busy: Nanos,
    /// For what the stage in front of it has not made yet.
    waiting: Nanos,
    /// With what the stage behind it does not take yet.
    blocked: Nanos,
    images: AtomicU64,
    bytes: AtomicU64,
}

/// Figures of a stage, seconds. The first three add up to the time for which it was there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFigures {
    pub stage: StageName,
    pub busy_s: f64,
    /// For what the stage in front of it had not made yet.
    pub waiting_s: f64,
    /// With what the stage behind it did not take yet.
    pub blocked_s: f64,
    pub images: u64,
    pub bytes: u64,
}

/// Seconds of a part, summed over cores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartFigures {
    pub part: Part,
    pub core_s: f64,
}

/// Measures the thread of a stage from one moment to the next. What is told of neither kind is work.
///
/// Lines of the log from below `info` on say in which stage they were written.
pub struct Clock<'a> {
    times: &'a StageTimes,
    since: Cell<Instant>,
    _span: EnteredSpan,
}

impl StageName {
    /// In the order of work.
    pub const ALL: [StageName; 5] = [
        StageName::Fetch,
        StageName::Prepare,
        StageName::Infer,
        StageName::Finish,
        StageName::Commit,
    ];

    /// The name, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            StageName::Fetch => "fetch",
            StageName::Prepare => "prepare",
            StageName::Infer => "infer",
            StageName::Finish => "finish",
            StageName::Commit => "commit",
        }
    }
}

impl Phase {
    /// One after the other.
    pub const ALL: [Phase; 5] =
        [Phase::List, Phase::Open, Phase::References, Phase::Score, Phase::Close];

    /// The name, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::List => "list",
            Phase::Open => "open",
            Phase::References => "references",
            Phase::Score => "score",
            Phase::Close => "close",
        }
    }
}

impl Part {
    /// In the order of work.
    pub const ALL: [Part; 6] =
        [Part::Decode, Part::Resize, Part::Detector, Part::Prompts, Part::Encoder, Part::Features];

    /// The name, for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Decode => "decode",
            Part::Resize => "resize",
            Part::Detector => "detector",
            Part::Prompts => "prompts",
            Part::Encoder => "encoder",
            Part::Features => "features",
        }
    }

    /// The stage that does it.
    pub fn stage(self) -> StageName {
        match self {
            Part::Decode | Part::Resize => StageName::Prepare,
            Part::Detector | Part::Prompts | Part::Encoder | Part::Features => StageName::Infer,
        }
    }
}

impl Nanos {
    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

impl Timings {
    /// Times of one stage.
    pub fn stage(&self, stage: StageName) -> &StageTimes {
        &self.stages[stage as usize]
    }

    /// A clock for the thread of a stage, from now on.
    pub fn clock(&self, stage: StageName) -> Clock<'_> {
        let _span = tracing::debug_span!("stage", name = stage.as_str()).entered();
        Clock { times: self.stage(stage), since: Cell::new(Instant::now()), _span }
    }

    /// What `work` returns; its time counts for `part`.
    pub fn part<T>(&self, part: Part, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.parts[part as usize].add(started.elapsed());
        done
    }

    /// What `work` returns; its time counts for `phase`.
    pub fn phase<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.add(phase, started.elapsed());
        done
    }

    /// So much of the time was in `phase`.
    pub fn add(&self, phase: Phase, time: Duration) {
        self.phases[phase as usize].add(time);
    }

    /// Seconds of each phase.
    pub fn phases(&self) -> [(Phase, f64); Phase::ALL.len()] {
        Phase::ALL.map(|phase| (phase, self.phases[phase as usize].seconds()))
    }

    /// All figures, for the record.
    pub fn to_json(&self) -> serde_json::Value {
        let phases = self.phases().map(|(phase, seconds)| (phase.as_str().to_string(), seconds));
        json!({
            "phases_s": BTreeMap::from(phases),
            "stages": self.stages(),
            "parts": self.parts(),
        })
    }

    /// Figures of all stages.
    pub fn stages(&self) -> Vec<StageFigures> {
        let of = |stage: StageName| {
            let times = self.stage(stage);
            StageFigures {
                stage,
                busy_s: times.busy.seconds(),
                waiting_s: times.waiting.seconds(),
                blocked_s: times.blocked.seconds(),
                images: times.images.load(Ordering::Relaxed),
                bytes: times.bytes.load(Ordering::Relaxed),
            }
        };
        StageName::ALL.map(of).to_vec()
    }

    /// Figures of the parts that there were.
    pub fn parts(&self) -> Vec<PartFigures> {
        let of = |part: Part| PartFigures { part, core_s: self.parts[part as usize].seconds() };
        Part::ALL.map(of).into_iter().filter(|of| of.core_s > 0.0).collect()
    }
}

/// The stage that waits least for the others, which wait for it: `None` before there is one.
pub fn limiting(stages: &[StageFigures]) -> Option<StageName> {
    let idle = |of: &StageFigures| of.waiting_s + of.blocked_s;
    let began = stages.iter().filter(|of| of.images > 0);
    began.min_by(|a, b| idle(a).total_cmp(&idle(b))).map(|of| of.stage)
}

impl StageTimes {
    /// So many images of so many bytes have gone through.
    pub fn count(&self, images: usize, bytes: u64) {
        self.images.fetch_add(images as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Clock<'_> {
    /// What `receiver` gives next; the time until it does is waiting.
    pub fn receive<T>(&self, receiver: &Receiver<T>) -> Option<T> {
        self.waits(|| receiver.recv().ok())
    }

    /// Hands `message` on; the time until somebody takes it is not work. `None` when nobody will.
    pub fn send<T>(&self, sender: &Sender<T>, message: T) -> Option<()> {
        self.is_kept(|| sender.send(message).ok())
    }

    /// What `work` returns, which is waiting for something.
    pub fn waits<T>(&self, work: impl FnOnce() -> T) -> T {
        self.turn(&self.times.busy);
        let done = work();
        self.turn(&self.times.waiting);
        done
    }

    /// What `work` returns, which is being kept from going on.
    pub fn is_kept<T>(&self, work: impl FnOnce() -> T) -> T {
        self.turn(&self.times.busy);
        let done = work();
        self.turn(&self.times.blocked);
        done
    }

    /// So much of the time since the last moment was being kept from going on.
    pub fn was_kept(&self, time: Duration) {
        self.times.blocked.add(time);
        self.since.set(self.since.get() + time);
    }

    /// So many images of so many bytes have gone through.
    pub fn count(&self, images: usize, bytes: u64) {
        self.times.count(images, bytes);
    }

    fn turn(&self, to: &Nanos) {
        let now = Instant::now();
        to.add(now.saturating_duration_since(self.since.replace(now)));
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.turn(&self.times.busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_stage_add_up_to_all_of_its_time() {
        let timings = Timings::default();
        let started = Instant::now();
        let clock = timings.clock(StageName::Infer);
        clock.waits(|| std::thread::sleep(Duration::from_millis(20)));
        std::thread::sleep(Duration::from_millis(10));
        clock.is_kept(|| std::thread::sleep(Duration::from_millis(30)));
        clock.count(3, 300);
        drop(clock);
        let all = started.elapsed().as_secs_f64();
        let figures = timings.stages();
        let of = &figures[StageName::Infer as usize];
        assert!(of.waiting_s >= 0.02 && of.busy_s >= 0.01 && of.blocked_s >= 0.03, "{of:?}");
        let sum = of.waiting_s + of.busy_s + of.blocked_s;
        assert!(sum <= all && sum > 0.05, "{sum} of {all}");
        assert_eq!((of.images, of.bytes), (3, 300));
        assert_eq!(limiting(&figures), Some(StageName::Infer));
    }

    #[test]
    fn the_stage_that_waits_least_is_the_one_that_limits() {
        let of = |stage, waiting_s, blocked_s, images| StageFigures {
            stage,
            busy_s: 1.0,
            waiting_s,
            blocked_s,
            images,
            bytes: 0,
        };
        let stages = [
            of(StageName::Fetch, 0.0, 9.0, 5),
            of(StageName::Prepare, 1.0, 1.5, 5),
            of(StageName::Infer, 3.0, 2.0, 5),
            of(StageName::Commit, 0.0, 0.0, 0),
        ];
        assert_eq!(limiting(&stages), Some(StageName::Prepare));
        assert_eq!(limiting(&[]), None);
    }
}
