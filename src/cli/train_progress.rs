//! How far a training is, for a person: a bar on a terminal, plain log lines elsewhere. Told of
//! every step by the loop; never touches it. Everything goes to stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job;
use crate::train::Report;

const LOG_EVERY: Duration = Duration::from_secs(10);

/// What shows the steps of a training.
pub struct TrainProgress {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Stage and step of the first report of a stage.
    first: (u8, u64),
    logged: Instant,
}

impl TrainProgress {
    /// A bar, if `choice` and the terminal want one.
    pub fn new(choice: job::Progress) -> Self {
        let wanted = match choice {
            job::Progress::Never => false,
            job::Progress::Always => true,
            job::Progress::Auto => std::io::stderr().is_terminal(),
        };
        let bar = wanted.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:16} {pos}/{len} {wide_msg}");
            bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        TrainProgress {
            bar: bar.filter(|bar| !bar.is_hidden()),
            started: now,
            first: (0, 0),
            logged: now,
        }
    }

    /// Takes in a step.
    pub fn step(&mut self, report: &Report) {
        let &Report { stage, step, steps, loss, validation } = report;
        if self.first.0 != stage {
            self.first = (stage, step.saturating_sub(1));
            self.started = Instant::now();
        }
        let done = step.saturating_sub(self.first.1).max(1);
        let ms = 1e3 * self.started.elapsed().as_secs_f64() / done as f64;
        let left = Duration::from_secs_f64(steps.saturating_sub(step) as f64 * ms / 1e3);
        let auroc =
            |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.3}"));
        let (image, pixel) = validation.map_or((None, None), |v| (v.image_auroc, v.pixel_auroc));
        match &self.bar {
            Some(bar) => {
                bar.set_length(steps);
                bar.set_position(step);
                bar.set_message(format!(
                    "stage {stage} · loss {loss:.4} · {ms:.0} ms/step · ETA {} · AUROC {} image, {} pixel",
                    HumanDuration(left),
                    auroc(image),
                    auroc(pixel),
                ));
            }
            None if self.logged.elapsed() >= LOG_EVERY => {
                self.logged = Instant::now();
                tracing::info!(
                    stage,
                    step,
                    steps,
                    loss = format!("{loss:.4}"),
                    ms_per_step = format!("{ms:.1}"),
                    eta_s = left.as_secs(),
                    "training"
                );
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
