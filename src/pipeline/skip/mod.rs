//! `--skip-scored`: what earlier runs have scored is not scored again. In: the whole listing of the
//! input, and places with the outputs of earlier runs. Out: the plan of the rest, with what was left out
//! and by which runs. Asked once, when a run begins: later starts and other workers read its plan.
//!
//! The newest earlier run that has an image decides: what it scored and is unchanged is left out.
//! - `find` finds runs below a place, `known` compares images; which numbers are the same is said in
//!   [`identity`](super::identity), what a run scored in [`each_scored`].

mod content;
mod find;
mod known;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::find::{Found, runs_below};
use self::known::{Known, is_elsewhere};
use super::identity::{in_words, other_numbers};
use super::plan::Plan;
use crate::error::{Error, TableError};
use crate::job::{JobSpec, ReferenceChoice, Sameness};
use crate::source::Entry;
use crate::tables::{REFERENCE_FOLDER, Skipped, each_scored, is_finished, reference_path};

/// The plan without what earlier runs below `spec.skip_scored` have scored with the numbers of `now`,
/// the spec of this run's identity.
///
/// # Errors
/// If a place cannot be listed, or what a run in it wrote cannot be read.
pub(super) fn without_scored(spec: &JobSpec, plan: Plan, now: &Value) -> Result<Plan, Error> {
    let mut found = Vec::new();
    for place in &spec.skip_scored {
        found.extend(runs_below(place, &spec.output)?);
    }
    found.sort_by(|a, b| {
        let newest = |of: &Found| (of.manifest.run_date, of.store.uri().to_string());
        newest(b).cmp(&newest(a))
    });
    // Places may lie in each other.
    found.dedup_by(|a, b| a.store.uri() == b.store.uri());
    let mut known = Known::of(&plan);
    let root = plan.input.uri_of("");
    let mut counted =
        counted(found, now, |theirs| known.has_elsewhere() || theirs == Some(root.as_str()))?;
    // As many as an image can tell apart: the newest.
    counted.truncate(usize::from(u16::MAX));
    let mut broken = BTreeMap::new();
    for (index, run) in counted.iter().enumerate() {
        let is_here = run.root() == Some(&root);
        let date = run.manifest.run_date;
        let read = each_scored(&run.store, &run.manifest, |row, scored| {
            if is_here || is_elsewhere(&row) {
                known.decide(&row, scored, index, date);
            }
        });
        match read {
            Ok(()) => {}
            Err(error @ (TableError::BadPart { .. } | TableError::BadJson { .. })) => {
                note(&mut broken, run, format!("unreadable ({error})"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    say(broken, Loudness::Warn);
    let mut decided = known.finish(plan.pictures());
    if spec.by_content == Sameness::ByContent {
        let by_content = content::scored(spec, &plan, &decided, &counted)?;
        decided.iter_mut().zip(by_content).for_each(|(of, run)| *of = of.or(run));
    }
    let mut skipped = Skipped::default();
    let mut per_run = vec![0u64; counted.len()];
    for (entry, run) in plan.shards.iter().flat_map(|shard| &shard.entries).zip(&decided) {
        let Some(run) = run else { continue };
        per_run[usize::from(*run)] += 1;
        match entry {
            Entry::Archive(_) => skipped.archives += 1,
            Entry::Sample(_) | Entry::Rejected(_) => skipped.images += 1,
        }
    }
    let mut akin = Vec::new();
    for (run, n) in counted.iter().zip(per_run) {
        if n > 0 {
            *skipped.runs.entry(run.manifest.run_id.clone()).or_default() += n;
        }
        if n > 0 || run.root() == Some(&root) {
            akin.push(run);
        }
    }
    let done = decided.iter().map(Option::is_some).collect::<Vec<_>>();
    let mut plan = plan.left(&done, spec.filter.limit, spec.shard_size);
    if spec.reference != ReferenceChoice::None {
        skipped.references = references(&plan, &akin)?;
    }
    tracing::info!(left = plan.pictures(), "{skipped}");
    plan.skipped = Some(skipped);
    Ok(plan)
}

/// The runs whose images count, and in the log why others do not.
fn counted(
    found: Vec<Found>,
    now: &Value,
    is_of_input: impl Fn(Option<&str>) -> bool,
) -> Result<Vec<Found>, Error> {
    let (mut counted, mut others) = (Vec::new(), BTreeMap::new());
    let (mut unfinished, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
    for run in found {
        let differences = other_numbers(&run.manifest.spec, now);
        if !is_of_input(run.root()) {
            note(&mut elsewhere, &run, "of another input".to_string());
        } else if !differences.is_empty() {
            let words = in_words(&differences);
            note(&mut others, &run, format!("scored with {words}"));
        } else if !is_finished(&run.store, &run.manifest)? {
            note(&mut unfinished, &run, "not finished".to_string());
        } else {
            counted.push(run);
        }
    }
    say(elsewhere, Loudness::Info);
    say(others, Loudness::Warn);
    say(unfinished, Loudness::Warn);
    Ok(counted)
}

/// Runs that do not count, by why: the place of the first of them, and how many there are.
type Reasons = BTreeMap<String, (String, usize)>;

fn note(reasons: &mut Reasons, run: &Found, why: String) {
    let place = || run.store.uri().to_string();
    reasons.entry(why).or_insert_with(|| (place(), 0)).1 += 1;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loudness {
    Info,
    Warn,
}

/// One line for each reason: a folder may have the runs of years.
fn say(reasons: Reasons, loudness: Loudness) {
    for (why, (place, n)) in reasons {
        let (runs, their) = match n {
            1 => (format!("the run {place} does not count"), "its"),
            n => (format!("{n} runs do not count, {place} for one"), "their"),
        };
        match loudness {
            Loudness::Info => tracing::info!("--skip-scored: {runs}: {why}"),
            Loudness::Warn => {
                tracing::warn!("--skip-scored: {runs}: {why}: {their} images are scored again");
            }
        }
    }
}

/// Where the newest references of the plan's categories are: what is compared with the same images has
/// scores that compare.
fn references(plan: &Plan, runs: &[&Found]) -> Result<Vec<String>, Error> {
    let entries = || plan.shards.iter().flat_map(|shard| &shard.entries);
    // Of which categories its images are shows when an archive is read.
    let all = entries().any(|entry| matches!(entry, Entry::Archive(_)));
    let path = |entry: &Entry| reference_path(entry.category().as_str());
    let mut wanted = entries().map(path).collect::<BTreeSet<_>>();
    let (mut seen, mut places) = (BTreeSet::new(), Vec::new());
    for run in runs {
        if wanted.is_empty() && !all {
            break;
        }
        let mut gives = false;
        for file in run.store.list(REFERENCE_FOLDER)? {
            gives |= wanted.remove(&file.path) | (all && seen.insert(file.path));
        }
        if gives {
            places.push(run.store.uri().to_string());
        }
    }
    Ok(places)
}
