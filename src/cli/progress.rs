//! How far a run is, for a person: a bar on a terminal, plain log lines elsewhere. Reads the
//! pipeline's counters; never touches the work itself. Everything goes to stderr.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job;
use crate::pipeline::{Progress, timings};

const REDRAW: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows `progress` of `total` images until `work` returns; gives back what it returned.
pub fn show<T: Send>(
    choice: job::Progress,
    total: Option<u64>,
    progress: &Progress,
    work: impl FnOnce() -> T + Send,
) -> T {
    let bar = match choice {
        job::Progress::Never => false,
        job::Progress::Always => true,
        job::Progress::Auto => std::io::stderr().is_terminal(),
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| match bar {
            true => draw(total, progress, &done),
            false => log(total, progress, &done),
        });
        // Also when `work` panics: the scope would wait for the watcher for ever.
        let _end = SetOnDrop { flag: &done, wake: watcher.thread().clone() };
        work()
    })
}

struct SetOnDrop<'a> {
    flag: &'a AtomicBool,
    wake: Thread,
}

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
        self.wake.unpark();
    }
}

fn counts(progress: &Progress) -> (u64, u64) {
    (progress.scored.load(Ordering::Relaxed), progress.failed.load(Ordering::Relaxed))
}

/// Which stage the others wait for, once that is more than chance.
fn limiting(progress: &Progress) -> String {
    let stages = progress.timings.stages();
    let busy = stages.iter().map(|of| of.busy_s).fold(0.0, f64::max);
    match timings::limiting(&stages).filter(|_| busy > 2.0) {
        Some(stage) => format!(" · limited by {}", stage.as_str()),
        None => String::new(),
    }
}

fn draw(total: Option<u64>, progress: &Progress, done: &AtomicBool) {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(total, target);
    // The message is cut to what a narrow terminal leaves: a line that wraps cannot be redrawn.
    let style = match total {
        Some(_) => "{bar:16} {pos}/{len} {wide_msg}",
        None => "{spinner} {pos} {wide_msg}",
    };
    if bar.is_hidden() {
        return log(total, progress, done);
    }
    bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
    while !done.load(Ordering::Relaxed) {
        let (scored, failed) = counts(progress);
        bar.set_position(scored + failed + progress.elsewhere.load(Ordering::Relaxed));
        let rate = bar.per_sec();
        let eta = total.map_or(String::new(), |_| format!("ETA {} · ", HumanDuration(bar.eta())));
        let limited = limiting(progress);
        bar.set_message(format!("{rate:.1} images/s · {eta}{failed} failed{limited}"));
        thread::park_timeout(REDRAW);
    }
    bar.finish_and_clear();
}

fn log(total: Option<u64>, progress: &Progress, done: &AtomicBool) {
    let mut last = Instant::now();
    // A GPU's first batch may take minutes, in which its kernels are made: the speed is that of what
    // comes after.
    let mut first = None;
    let unknown = || "unknown".to_string();
    while !done.load(Ordering::Relaxed) {
        thread::park_timeout(REDRAW);
        let (scored, failed) = counts(progress);
        let finished = scored + failed;
        if first.is_none() && scored > 0 {
            first = Some((Instant::now(), finished));
        }
        if last.elapsed() < LOG_EVERY {
            continue;
        }
        last = Instant::now();
        let speed = first.map(|(since, before)| {
            (finished - before) as f64 / since.elapsed().as_secs_f64().max(1e-3)
        });
        let speed = speed.filter(|speed| *speed > 0.0);
        let done = finished + progress.elsewhere.load(Ordering::Relaxed);
        let left = total.map(|total| total.saturating_sub(done) as f64);
        let eta = left.zip(speed).map(|(left, speed)| left / speed);
        tracing::info!(
            scored,
            failed,
            total,
            images_per_s = speed.map_or_else(unknown, |speed| format!("{speed:.2}")),
            eta_s = eta.map_or_else(unknown, |eta| format!("{eta:.0}")),
            "scoring"
        );
    }
}
