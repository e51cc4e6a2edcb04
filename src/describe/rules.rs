//! What makes a text a description of a defect. In: a text. Out: the rule that it breaks.

use crate::error::ModelError;
use crate::model::clip::tokenizer::ClipTokenizer;
use crate::model::config::FiloConfig;
use crate::model::filo::descriptions::Descriptions;
use crate::model::grounding::GroundingConfig;
use crate::model::grounding::caption::CaptionTokenizer;

/// Most words of a description.
pub const MAX_WORDS: usize = 8;

/// Words of what no camera sees.
const INVISIBLE: [&str; 22] = [
    "heavy",
    "light-weight",
    "noise",
    "noisy",
    "odor",
    "odors",
    "odour",
    "odours",
    "smell",
    "smells",
    "sound",
    "sounds",
    "sour",
    "squeak",
    "taste",
    "temperature",
    "vibration",
    "voltage",
    "warm",
    "weight",
    "resistance",
    "performance",
];

/// The rules, and what the last two of them need: tokenizers, and the descriptions there are.
pub struct Rules {
    clip: ClipTokenizer,
    caption: CaptionTokenizer,
    known: Descriptions,
    /// Placeholders before every prompt.
    n_ctx: usize,
    /// Most tokens of the detector's caption, which holds all descriptions of a category.
    caption_tokens: usize,
}

impl Rules {
    /// Those of the published networks.
    ///
    /// # Errors
    /// If the embedded vocabularies or descriptions are damaged.
    pub fn published() -> Result<Self, ModelError> {
        Ok(Rules {
            clip: ClipTokenizer::embedded()?,
            caption: CaptionTokenizer::embedded()?,
            known: Descriptions::built_in()?,
            n_ctx: FiloConfig::published().n_ctx,
            caption_tokens: GroundingConfig::swin_t_ogc().max_text_len,
        })
    }

    /// What is wrong with `detail` as a description of a `category` that has `others` already, to be
    /// read after it.
    pub fn broken_by(&self, category: &str, detail: &str, others: &[String]) -> Option<String> {
        let words = detail.split_whitespace().collect::<Vec<_>>();
        if words.is_empty() {
            return Some("is empty".to_string());
        }
        if words.len() > MAX_WORDS {
            return Some(format!("has {} words, more than {MAX_WORDS}", words.len()));
        }
        if let Some(odd) = detail.chars().find(|c| ",.;:!?\"\n\t".contains(*c) || c.is_control()) {
            return Some(format!("has {odd:?}"));
        }
        if detail.chars().any(char::is_uppercase) {
            return Some("has capital letters".to_string());
        }
        if let Some(word) = words.iter().find(|word| INVISIBLE.contains(word)) {
            return Some(format!("is about what no camera sees ({word})"));
        }
        if others.iter().any(|other| words.iter().eq(&other.split_whitespace().collect::<Vec<_>>()))
        {
            return Some("is there already".to_string());
        }
        self.too_long(category, detail, others)
    }

    /// What the networks would have to cut.
    fn too_long(&self, category: &str, detail: &str, others: &[String]) -> Option<String> {
        let details = others.iter().map(String::as_str).chain([detail]).collect::<Vec<_>>();
        let text = serde_json::json!({ category: details }).to_string();
        let known = self.known.clone().with_file("x.json".as_ref(), &text);
        let known = match known {
            Ok(known) => known,
            Err(error) => return Some(format!("cannot stand in a file of descriptions ({error})")),
        };
        if known.prompts(category).too_long(&self.clip, self.n_ctx).is_some() {
            return Some(
                "does not fit into 77 tokens with its category and a position".to_string(),
            );
        }
        let caption = known.caption_words(category).caption();
        let tokens = self.caption.encode(&caption, usize::MAX).len();
        let most = self.caption_tokens;
        (tokens > most)
            .then(|| format!("makes the detector's caption {tokens} tokens long, more than {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_short_visible_and_new() {
        let rules = Rules::published().unwrap();
        let broken = |detail: &str| rules.broken_by("gear wheel", detail, &["bent tooth".into()]);
        for fine in ["missing tooth", "hairline crack near the hub", "oil-stained rim", "é dents"]
        {
            assert_eq!(broken(fine), None, "{fine}");
        }
        let cases = [
            ("", "is empty"),
            ("  ", "is empty"),
            ("one two three four five six seven eight nine", "has 9 words, more than 8"),
            ("cracked, bent", "has ','"),
            ("a crack.", "has '.'"),
            ("line\nbreak", "has '\\n'"),
            ("Bent rim", "has capital letters"),
            ("unusual odor", "is about what no camera sees (odor)"),
            ("bent  tooth", "is there already"),
        ];
        for (detail, rule) in cases {
            assert_eq!(broken(detail).as_deref(), Some(rule), "{detail:?}");
        }
        // A "word" of many tokens, and a category name that leaves no room.
        assert!(broken(&"q1x7".repeat(39)).unwrap().contains("77 tokens"));
    }

    #[test]
    fn all_descriptions_together_fit_the_detectors_caption() {
        let rules = Rules::published().unwrap();
        let mut details = Vec::new();
        let rule = loop {
            let detail = format!("odd kind of mark number {}", details.len());
            match rules.broken_by("gear", &detail, &details) {
                None => details.push(detail),
                Some(rule) => break rule,
            }
        };
        assert!(rule.contains("caption") && details.len() > 20, "{rule}");
    }
}
