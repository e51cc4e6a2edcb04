//! What makes a run this run. In: a job spec, its plan, and what was read besides the input. Out: the
//! identity that its manifest records, and that of its references.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::plan::Plan;
use crate::error::{Error, JobError};
use crate::job::{JobSpec, RunDate};
use crate::model::filo::descriptions::{DescriptionSource, Descriptions};
use crate::reference::MadeBy;
use crate::tables::{KEEP_KEY, RunIdentity};

/// Categories that nobody has described, with one warning for all.
pub(super) fn generic_categories(plan: &Plan, descriptions: &Descriptions) -> Vec<String> {
    let generic = plan.categories.keys().filter(|category| {
        descriptions.prompts(category.as_str()).source == DescriptionSource::Generic
    });
    let generic = generic.map(ToString::to_string).collect::<Vec<_>>();
    if let Some(warning) = warning_of(&generic) {
        tracing::warn!("{warning}");
    }
    generic
}

/// What is said of categories without descriptions: thousands, perhaps, so only the first have names.
fn warning_of(generic: &[String]) -> Option<String> {
    const NAMED: usize = 3;
    let (subject, are) = match generic {
        [] => return None,
        [one] => (format!("category {one}"), "it is"),
        all => {
            let more = all.len().saturating_sub(NAMED);
            let mut names = all[..all.len() - more].join(", ");
            if more > 0 {
                names.push_str(&format!(" and {more} more"));
            }
            (format!("{} categories ({names})", all.len()), "they are")
        }
    };
    Some(format!(
        "no descriptions of {subject}: {are} scored with the generic states only; add descriptions \
         with --descriptions FILE, which `filo describe` can make"
    ))
}

/// What was read besides the input.
pub(super) struct Ids<'a> {
    pub model: &'a str,
    pub descriptions: &'a str,
    /// Categories without descriptions of their own.
    pub generic: &'a [String],
    pub decision: Value,
    /// What makes patch features, where there are references.
    pub features: Option<&'a str>,
}

/// What decides the numbers of references: those of another run can be used if it is equal.
pub(super) fn made_by(spec: &JobSpec, ids: &Ids, size: usize) -> MadeBy {
    MadeBy::new([
        ("features", ids.features.unwrap_or_default().to_string()),
        ("model", ids.model.to_string()),
        ("size", size.to_string()),
        ("descriptions", ids.descriptions.to_string()),
        ("grounding", spec.grounding.to_string()),
        ("preprocess", format!("{:?}", spec.preprocess).to_lowercase()),
    ])
}

/// What runs call the descriptions inside the program.
pub const BUILT_IN: &str = "built-in";

/// Where the manifest names categories that were scored with generic states only.
const GENERIC_KEY: &str = "generic_descriptions";

/// What makes this run this run. Who does the work, and how much at a time, does not.
pub(super) fn identity(spec: &JobSpec, plan: &Plan, file: Option<Bytes>, ids: Ids) -> RunIdentity {
    let mut listed = blake3::Hasher::new();
    plan.shards.iter().for_each(|shard| {
        listed.update(shard.id.as_bytes());
    });
    let mut spec_value = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "input": spec.input,
        "run_date": spec.run_date,
        "listing": listed.finalize().to_hex().as_str(),
        "layout": plan.layout,
        "category": spec.category,
        "shard_size": spec.shard_size,
        "weights": spec.weights_name(),
        "model_id": ids.model,
        "descriptions": ids.descriptions,
        "precision": spec.precision,
        "grounding": spec.grounding,
        "box_threshold": spec.box_threshold,
        "mask_threshold": spec.mask_threshold,
        "decision": ids.decision,
        "reference": spec.reference,
        "maps": spec.maps,
        "preprocess": spec.preprocess,
    });
    // Named only where it is chosen: runs begun before there was a choice go on.
    if let Some(size) = spec.size {
        spec_value["size"] = size.get().into();
    }
    // Which images were left out shows in the listing.
    if let Some(column) = &spec.columns.image {
        spec_value["image_column"] = column.as_str().into();
    }
    if !spec.columns.keep.is_empty() {
        spec_value[KEEP_KEY] = spec.columns.keep.clone().into();
    }
    if let Some(features) = ids.features {
        spec_value["features"] = features.into();
        spec_value["reference_fallback"] = json!(spec.reference_fallback);
    }
    if !ids.generic.is_empty() {
        spec_value[GENERIC_KEY] = ids.generic.into();
    }
    let run_date = spec.run_date.unwrap_or_else(RunDate::today).date();
    let shards = plan.shards.iter().map(|shard| shard.id.clone()).collect();
    RunIdentity { run_id: run_id(&spec_value), run_date, spec: spec_value, shards, plan: file }
}

/// 16 hex digits over everything in the identity but the places of the input and of the weights:
/// the same images and numbers elsewhere are the same run.
fn run_id(spec: &Value) -> String {
    let mut named = spec.clone();
    if let Value::Object(fields) = &mut named {
        fields.remove("input");
        fields.remove("weights");
        // Follows from the rest, and was not always told.
        fields.remove(GENERIC_KEY);
    }
    blake3::hash(named.to_string().as_bytes()).to_hex()[..16].to_string()
}

/// The built-in descriptions with those of `file` laid over, and what a run calls them.
///
/// # Errors
/// If the file cannot be read, or breaks a rule.
pub fn descriptions_of(file: Option<&Path>) -> Result<(Descriptions, String), Error> {
    let built_in = Descriptions::built_in()?;
    let Some(file) = file else { return Ok((built_in, BUILT_IN.to_string())) };
    let text = std::fs::read_to_string(file)
        .map_err(|source| JobError::Unreadable { path: file.into(), source })?;
    let id = blake3::hash(text.as_bytes()).to_hex().to_string();
    Ok((built_in.with_file(file, &text)?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undescribed_categories_are_told_of_once_and_counted() {
        let said = |names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
            warning_of(&names).unwrap_or_default()
        };
        assert_eq!(said(&[]), "");
        let start = "no descriptions of category nut: it is scored with the generic states only; ";
        assert!(said(&["nut"]).starts_with(start), "{}", said(&["nut"]));
        let start = "no descriptions of 3 categories (a, b, c): they are scored ";
        assert!(said(&["a", "b", "c"]).starts_with(start), "{}", said(&["a", "b", "c"]));
        let five = said(&["a", "b", "c", "d", "e"]);
        assert!(
            five.starts_with("no descriptions of 5 categories (a, b, c and 2 more): "),
            "{five}"
        );
    }
}
