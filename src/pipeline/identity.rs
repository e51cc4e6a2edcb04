//! What makes a run this run. In: a job spec, its plan, and what was read besides the input. Out: the
//! identity that its manifest records, that of its references, and what tells its numbers from those of
//! another run.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::plan::Plan;
use crate::error::{Error, JobError, SpecDifference, one_line};
use crate::job::{DEFAULT_MAX_PIXELS, JobSpec, RunDate};
use crate::model::filo::descriptions::{DescriptionSource, Descriptions};
use crate::reference::MadeBy;
use crate::tables::{
    KEEP_KEY, ROOT_KEY, RunIdentity, SKIPPED_KEY, SKIPPED_PLACES_KEY, spec_differences,
};

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
#[derive(Debug, Clone)]
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
        ("tile", spec.tile.map_or_else(|| "off".to_string(), |tile| tile.to_string())),
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
        ROOT_KEY: plan.input.uri_of(""),
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
    if let Some(tile) = spec.tile {
        spec_value["tile"] = tile.to_string().into();
    }
    if spec.max_pixels != DEFAULT_MAX_PIXELS {
        spec_value["max_pixels"] = spec.max_pixels.get().into();
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
    // What a run does not do makes it another run; a run that skips nothing is told from one that was
    // not asked to.
    if !spec.skip_scored.is_empty() {
        spec_value[SKIPPED_KEY] = json!(plan.skipped.clone().unwrap_or_default());
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
        fields.remove(ROOT_KEY);
        fields.remove("weights");
        if let Some(Value::Object(skipped)) = fields.get_mut(SKIPPED_KEY) {
            skipped.remove(SKIPPED_PLACES_KEY);
        }
        // Follows from the rest, and was not always told.
        fields.remove(GENERIC_KEY);
    }
    blake3::hash(named.to_string().as_bytes()).to_hex()[..16].to_string()
}

/// What in an identity decides no number of an image: where it is and when it is scored, how the work is
/// cut, what is kept beside the numbers. What the listing says of an image is compared image by image.
/// Whatever else an identity has counts, also what it does not have yet.
const NO_NUMBERS: [&str; 12] = [
    "input",
    ROOT_KEY,
    "run_date",
    "listing",
    "layout",
    "category",
    "shard_size",
    "weights",
    "maps",
    KEEP_KEY,
    GENERIC_KEY,
    SKIPPED_KEY,
];

/// What makes the numbers of a run with the identity `earlier` others than those of a run with the
/// identity `now`, for images that are the same; empty if nothing does.
pub(super) fn other_numbers(earlier: &Value, now: &Value) -> Vec<SpecDifference> {
    let numbers = |spec: &Value| {
        let mut numbers = spec.clone();
        if let Value::Object(fields) = &mut numbers {
            fields.retain(|key, _| !NO_NUMBERS.contains(&key.as_str()));
        }
        numbers
    };
    spec_differences(&numbers(earlier), &numbers(now))
}

/// What differs, in a few words, and how: "other weights (model_id: …)".
pub(super) fn in_words(differences: &[SpecDifference]) -> String {
    let mut words = Vec::new();
    for difference in differences {
        let key = difference.key.split('.').next().unwrap_or_default();
        let word = match key {
            "program" => "another version of the program".to_string(),
            "model_id" => "other weights".to_string(),
            "descriptions" => "other descriptions".to_string(),
            "reference" | "reference_fallback" | "features" => "other references".to_string(),
            "decision" => "another rule for what is flagged".to_string(),
            key => format!("another {key}"),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let how = differences.iter().map(SpecDifference::to_string).collect::<Vec<_>>().join("; ");
    format!("{} ({})", words.join(", "), one_line(&how, MOST_OF_DIFFERENCES))
}

/// Thresholds of an earlier run are a list of all its categories.
const MOST_OF_DIFFERENCES: usize = 300;

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
    fn numbers_are_the_same_wherever_and_whenever_an_image_is_scored() {
        let of = |changed: &[(&str, Value)]| {
            let mut spec = json!({
                "program": "1", "input": "a", ROOT_KEY: "file:///a/", "run_date": null,
                "listing": "x", "layout": "folder", "category": null, "shard_size": 64,
                "weights": "nano", "model_id": "m", "precision": "f32", "maps": "none",
                "decision": {"false_alarm_rate": 0.01},
            });
            changed.iter().for_each(|(key, value)| spec[*key] = value.clone());
            spec
        };
        let now = of(&[]);
        for key in NO_NUMBERS {
            assert_eq!(other_numbers(&of(&[(key, json!("other"))]), &now), [], "{key}");
        }
        let differ = |key: &str, value: Value| in_words(&other_numbers(&of(&[(key, value)]), &now));
        let weights = r#"other weights (model_id: "n" → "m")"#;
        assert_eq!(differ("model_id", json!("n")), weights);
        assert_eq!(differ("size", json!(336)), "another size (size: 336 → not set)");
        let rule = "another rule for what is flagged (decision.false_alarm_rate: 0.02 → 0.01)";
        assert_eq!(differ("decision", json!({"false_alarm_rate": 0.02})), rule);
        assert!(differ("not thought of yet", json!(1)).starts_with("another not thought of yet"));
    }

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
