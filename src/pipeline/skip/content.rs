//! Images with the bytes of one that was scored. In: the listing, what of it earlier runs have scored as
//! it is, and those runs. Out: for each other image the run that scored its bytes in its category, if one
//! did. Every such image is read, so somebody has to ask for it.

use std::collections::HashMap;

use super::find::Found;
use crate::error::Error;
use crate::image::DecodeLimits;
use crate::job::JobSpec;
use crate::pipeline::plan::Plan;
use crate::reference::Digest;
use crate::source::{Entry, Fetcher, FileNames, Label};
use crate::tables::each_digest;

/// Images that may wait to be hashed.
const SPARE: usize = 16;

/// The index of the run that scored the bytes of an entry, for each entry that `decided` has no run for.
/// The newest run counts. Images that cannot be read are nobody's: they fail when they are scored.
///
/// # Errors
/// If the scores of a run cannot be read.
pub(super) fn scored(
    spec: &JobSpec,
    plan: &Plan,
    decided: &[Option<u16>],
    runs: &[Found],
) -> Result<Vec<Option<u16>>, Error> {
    let entries = plan.shards.iter().flat_map(|shard| &shard.entries).zip(decided).enumerate();
    let unknown = entries.filter_map(|(index, (entry, run))| match (entry, run) {
        (Entry::Sample(sample), None) => Some((index, sample)),
        _ => None,
    });
    let unknown = unknown.collect::<Vec<_>>();
    let mut by_content = vec![None; decided.len()];
    if unknown.is_empty() || runs.is_empty() {
        return Ok(by_content);
    }
    let mut known = HashMap::<u128, u16>::new();
    for (index, run) in (0..).zip(runs) {
        each_digest(&run.store, &run.manifest, |category, digest, label| {
            known.entry(key(category, digest, label)).or_insert(index);
        })?;
    }
    tracing::info!(images = unknown.len(), "--by-content: reading what earlier runs do not name");
    let (input, columns) = (plan.input.clone(), spec.columns.clone());
    let max_bytes = DecodeLimits::of_pixels(spec.max_pixels.get()).max_bytes;
    let fetcher = Fetcher::new(input, columns, max_bytes, spec.fetch, SPARE)?;
    // Its mask says nothing of an image.
    let names = |sample| FileNames { masks: &[], ..FileNames::from(sample) };
    let images = unknown.iter().map(|(index, sample)| ((*index, *sample), names(*sample)));
    for ((index, sample), fetched) in fetcher.ahead(images) {
        let Ok(image) = fetched.image else { continue };
        let digest = Digest::of(&image).short_hex();
        let label = sample.label.map(|label| label == Label::Anomalous);
        by_content[index] = known.get(&key(sample.category.as_str(), &digest, label)).copied();
    }
    Ok(by_content)
}

/// Of an image in a category, which decides what it is compared with; with another label it counts
/// otherwise.
fn key(category: &str, digest: &str, label: Option<bool>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    // A digest and a label have one length.
    hasher.update(digest.as_bytes()).update(&[label.map_or(2, u8::from)]);
    hasher.update(category.as_bytes());
    let half = hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default();
    u128::from_le_bytes(half)
}
