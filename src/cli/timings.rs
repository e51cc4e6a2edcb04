//! Where the time of a run went, as lines for a person. In: times of phases, stages and parts. Out: one
//! table: phases add up to the whole, and the three times of a stage to the phase `score`.

use crate::pipeline::timings::{Phase, StageFigures, Timings, limiting};

/// The table of a run that took `wall_s` seconds.
pub fn table(timings: &Timings, wall_s: f64) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<14}{:>9}{:>9}{:>9}{:>9}{:>10}{:>9}",
        "seconds", "all", "busy", "waiting", "blocked", "images", "MB"
    )];
    let parts = timings.parts();
    for (phase, seconds) in timings.phases() {
        lines.push(format!("{:<14}{seconds:>9.2}", phase.as_str()));
        if phase != Phase::Score {
            continue;
        }
        for of in timings.stages() {
            let StageFigures { stage, busy_s, waiting_s, blocked_s, images, bytes } = of;
            let all = busy_s + waiting_s + blocked_s;
            let mb = match bytes {
                0 => String::new(),
                bytes => format!("{:.1}", bytes as f64 / 1e6),
            };
            lines.push(format!(
                "  {:<12}{all:>9.2}{busy_s:>9.2}{waiting_s:>9.2}{blocked_s:>9.2}{images:>10}{mb:>9}",
                stage.as_str()
            ));
            for of in parts.iter().filter(|of| of.part.stage() == stage) {
                lines.push(format!("    {:<19}{:>9.2} of all cores", of.part.as_str(), of.core_s));
            }
        }
    }
    let known: f64 = timings.phases().iter().map(|(_, seconds)| seconds).sum();
    lines.push(format!("{:<14}{:>9.2}", "other", (wall_s - known).max(0.0)));
    lines.push(format!("{:<14}{wall_s:>9.2}", "all"));
    if let Some(stage) = limiting(&timings.stages()) {
        lines.push(format!("limited by {}", stage.as_str()));
    }
    lines
}
