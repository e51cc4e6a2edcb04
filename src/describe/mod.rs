//! Descriptions of defects for categories that nobody has described yet, from a language model. In:
//! a category, a few words about it, an endpoint. Out: a file for `--descriptions`, with what it
//! was made from. And, from a run, which descriptions were ever the best.
//!
//! - `endpoint` speaks the protocol: one question, one answer, tries and waits.
//! - `rules` tells which answers are descriptions.
//! - `wins` counts over a run.

mod endpoint;
mod rules;
pub mod wins;

use serde::{Deserialize, Serialize};

pub use endpoint::{Endpoint, Key};
pub use rules::{MAX_WORDS, Rules};

use crate::error::DescribeError;
use crate::source::Category;

/// How often a model is asked for what is still missing.
const ROUNDS: u32 = 4;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub category: Category,
    /// A few words about the thing, for the model only.
    pub about: Option<String>,
    /// How many descriptions are wanted.
    pub wanted: usize,
    /// Model as the endpoint names it.
    pub model: String,
    pub seed: u64,
}

/// The descriptions of a category and what they were made from: an entry of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    pub display_name: String,
    pub details: Vec<String>,
    pub model: String,
    /// blake3 of the first prompt, 16 hexadecimal digits: the same question has the same.
    pub prompt: String,
    pub seed: u64,
    /// Day, UTC.
    pub date: String,
}

/// What a model must answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    details: Vec<String>,
}

/// Asks until there are as many descriptions as wanted, or four rounds are over: what breaks a rule
/// goes back to the model with the reason.
///
/// # Errors
/// If the endpoint does not answer, or no answer has a description that keeps the rules.
pub fn describe(
    question: &Question,
    rules: &Rules,
    endpoint: &Endpoint,
    date: String,
) -> Result<Described, DescribeError> {
    let shown = question.category.as_str().replace('_', " ");
    let first = prompt(question, &shown);
    let mut details = Vec::<String>::new();
    let mut refused = Vec::new();
    for round in 0..ROUNDS {
        let missing = question.wanted - details.len();
        let text = match round {
            0 => first.clone(),
            _ => format!("{first}\n\n{}", again(&details, &refused, missing)),
        };
        let seed = question.seed + u64::from(round);
        let answer = endpoint.ask(&question.model, &text, schema(missing), seed)?;
        refused.clear();
        match serde_json::from_str::<Answer>(&answer) {
            Err(error) => refused.push(format!("the answer is not the JSON asked for ({error})")),
            Ok(answer) => {
                for detail in answer.details {
                    let detail = detail.trim().to_string();
                    match rules.broken_by(&shown, &detail, &details) {
                        Some(rule) => refused.push(format!("{detail:?} {rule}")),
                        None => details.push(detail),
                    }
                    if details.len() == question.wanted {
                        break;
                    }
                }
            }
        }
        for why in &refused {
            tracing::warn!(category = question.category.as_str(), round, "not used: {why}");
        }
        if details.len() == question.wanted {
            break;
        }
    }
    if details.is_empty() {
        let why = refused.into_iter().next().unwrap_or_else(|| "it had none".to_string());
        let (category, model) = (question.category.to_string(), question.model.clone());
        return Err(DescribeError::NoDescription { category, model, rounds: ROUNDS, why });
    }
    if details.len() < question.wanted {
        let (got, wanted) = (details.len(), question.wanted);
        tracing::warn!(category = question.category.as_str(), "{got} of {wanted} descriptions");
    }
    let prompt = blake3::hash(first.as_bytes()).to_hex()[..16].to_string();
    let (model, seed) = (question.model.clone(), question.seed);
    Ok(Described { display_name: shown, details, model, prompt, seed, date })
}

fn prompt(question: &Question, shown: &str) -> String {
    let about = match &question.about {
        None => String::new(),
        Some(about) => format!(" About this product: {}.", about.trim().trim_end_matches('.')),
    };
    format!(
        "You know industrial inspection. List {} different defects that a camera can see on the \
         surface or in the shape of a {shown}.{about} Each must be specific to a {shown}, visible \
         in one still image, and complete the sentence \"a {shown} with ...\". At most \
         {MAX_WORDS} words each, lower case, no commas, no full stops, no place in the image, \
         nothing that needs touching, weighing, hearing or smelling. Answer with JSON only: \
         {{\"details\": [\"...\"]}}.",
        question.wanted
    )
}

fn again(details: &[String], refused: &[String], missing: usize) -> String {
    let kept = details.iter().map(|detail| format!("{detail:?}")).collect::<Vec<_>>().join(", ");
    let kept = if kept.is_empty() { "none yet".to_string() } else { kept };
    let refused =
        if refused.is_empty() { "there were too few".to_string() } else { refused.join("; ") };
    format!(
        "These are fine, do not repeat them: {kept}. The rest of your last answer could not be \
         used: {refused}. Give {missing} more."
    )
}

/// The JSON schema of an answer.
fn schema(wanted: usize) -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "details": {
                "type": "array",
                "items": { "type": "string" },
                "minItems": 1,
                "maxItems": wanted,
            }
        },
        "required": ["details"],
        "additionalProperties": false,
    })
}
