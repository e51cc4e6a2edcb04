//! Fine-grained descriptions: what may be wrong with a thing of a category. In: a category, and a
//! user's own lists if there are any. Out: the states of its prompts and the words of its
//! detector caption. Text only: no file is opened and no token is made here.

mod file;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

pub use self::file::FORMAT;
use self::file::FileCategory;
use super::position::Position;
use super::prompt_tree::PromptTree;
use crate::error::ModelError;
use crate::model::clip::tokenizer::{CONTEXT_LENGTH, ClipTokenizer};
use crate::model::grounding::caption::{CaptionWords, Spelling};

/// The published lists for MVTec AD and VisA.
const BUILT_IN_JSON: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/descriptions.json"));

/// Where the details of a category come from. [`DescriptionSource::Generic`] deserves a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptionSource {
    /// The published lists.
    BuiltIn,
    /// The user's file.
    File,
    /// Nowhere: the category is unknown and has the general states only.
    Generic,
}

/// States of a category's prompts. A prompt is the learned context, a state and, if it is
/// abnormal, a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryPrompts {
    pub source: DescriptionSource,
    /// Seven states of a faultless thing.
    pub normal: Vec<String>,
    /// One state per detail, then five generic ones.
    pub abnormal: Vec<String>,
    /// The details themselves, in the order of their states.
    pub details: Vec<String>,
}

impl CategoryPrompts {
    /// The abnormal states, to be shared by the rows of many images.
    pub fn abnormal_states(&self) -> Vec<Arc<str>> {
        self.abnormal.iter().map(|state| Arc::from(state.as_str())).collect()
    }

    /// Texts of the normal prompts, `n_ctx` placeholders in front of each.
    pub fn normal_texts(&self, n_ctx: usize) -> Vec<String> {
        texts_of(&self.normal, n_ctx)
    }

    /// Texts of the abnormal prompts at `positions`: states in the outer loop, so with all nine
    /// positions row 9·state + position.
    pub fn abnormal_texts(&self, n_ctx: usize, positions: &[Position]) -> Vec<String> {
        texts_at(&self.abnormal, n_ctx, positions)
    }

    /// All normal prompts and the abnormal ones at `positions` as trees of tokens: one for every
    /// published category, more where there are so many prompts that the attention between all
    /// nodes of one tree would cost more than repeating the contexts. The first has the normal
    /// prompts.
    pub fn trees(
        &self,
        tokenizer: &ClipTokenizer,
        n_ctx: usize,
        positions: &[Position],
    ) -> Vec<PromptTree> {
        let encode = |texts: Vec<String>| {
            texts.iter().map(|text| tokenizer.encode(text)).collect::<Vec<_>>()
        };
        let normal = encode(self.normal_texts(n_ctx));
        let abnormal = encode(self.abnormal_texts(n_ctx, positions));
        let tree = |(i, part)| PromptTree::new(n_ctx, if i == 0 { &normal } else { &[] }, part);
        abnormal.chunks(MAX_PROMPTS_OF_A_TREE).enumerate().map(tree).collect()
    }

    /// The first text that the tokenizer would have to cut, so that its position would be lost.
    pub fn too_long(&self, tokenizer: &ClipTokenizer, n_ctx: usize) -> Option<String> {
        let mut texts = self.abnormal_texts(n_ctx, &Position::ALL).into_iter();
        let text = texts.find(|text| tokenizer.encode(text).len() >= CONTEXT_LENGTH)?;
        Some(text.trim_start_matches("X ").to_string())
    }
}

/// A text for each state, `n_ctx` placeholders in front.
pub fn texts_of(states: &[String], n_ctx: usize) -> Vec<String> {
    states.iter().map(|state| format!("{}{state}.", placeholders(n_ctx))).collect()
}

/// A text for each state and position, states in the outer loop.
pub fn texts_at(states: &[String], n_ctx: usize, positions: &[Position]) -> Vec<String> {
    let context = placeholders(n_ctx);
    let text = |state, position: &Position| format!("{context}{state} at {}.", position.as_str());
    let of_state = |state| positions.iter().map(move |position| text(state, position));
    states.iter().flat_map(of_state).collect()
}

/// About 1 000 nodes.
const MAX_PROMPTS_OF_A_TREE: usize = 270;

/// One token each, to be replaced by the learned context.
fn placeholders(n_ctx: usize) -> String {
    "X ".repeat(n_ctx)
}

/// All lists, by category. Names are looked up with underscores as spaces.
#[derive(Debug, Clone)]
pub struct Descriptions {
    normal_states: Vec<String>,
    generic_states: Vec<String>,
    general_words: Vec<String>,
    display_names: BTreeMap<String, String>,
    categories: BTreeMap<String, Category>,
}

#[derive(Debug, Clone)]
struct Category {
    details: Vec<String>,
    caption_details: Vec<String>,
    source: DescriptionSource,
}

/// Form of the embedded file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltIn {
    normal_states: Vec<String>,
    abnormal_states_generic: Vec<String>,
    general_anomaly_words: Vec<String>,
    display_names: BTreeMap<String, String>,
    categories: BTreeMap<String, BuiltInCategory>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltInCategory {
    details: Vec<String>,
    /// Where the published detector script spells a detail in another way than the prompts do.
    grounding_details: Option<Vec<String>>,
}

impl Descriptions {
    /// The published lists.
    ///
    /// # Errors
    /// [`ModelError::Embedded`] if the build is damaged.
    pub fn built_in() -> Result<Self, ModelError> {
        let built_in: BuiltIn = serde_json::from_str(BUILT_IN_JSON).map_err(|source| {
            ModelError::Embedded { what: "list of descriptions", reason: source.to_string() }
        })?;
        let categories = built_in.categories.into_iter().map(|(name, lists)| {
            let caption_details = lists.grounding_details.unwrap_or_else(|| lists.details.clone());
            let source = DescriptionSource::BuiltIn;
            (name, Category { details: lists.details, caption_details, source })
        });
        let mut descriptions = Descriptions {
            normal_states: built_in.normal_states,
            generic_states: built_in.abnormal_states_generic,
            general_words: built_in.general_anomaly_words,
            display_names: built_in.display_names,
            categories: categories.collect(),
        };
        descriptions.macaroni1_uses_the_details_of_macaroni2();
        Ok(descriptions)
    }

    /// Both are "macaroni" in prompts, the published tables go by that name, and the later list
    /// overwrites the earlier. The published figures were made so. Captions go by category and
    /// keep their own list. (The four kinds of pcb share a name too, and one list.)
    fn macaroni1_uses_the_details_of_macaroni2(&mut self) {
        let details = self.categories.get("macaroni2").map(|category| category.details.clone());
        if let (Some(details), Some(category)) = (details, self.categories.get_mut("macaroni1")) {
            category.details = details;
        }
    }

    /// These lists with those of a user's file laid over: `text` is its content, `path` its name,
    /// whose ending says JSON or TOML. A category of the file replaces the one of the same name;
    /// all others stay. The file has one key per category, with a list of 1 to 200 details or
    /// a table with that list under `details`, and `display_name` for its prompts; and, if it likes,
    /// `format` with [`FORMAT`].
    ///
    /// # Errors
    /// An error names the file, the category and the entry that break a rule.
    pub fn with_file(mut self, path: &Path, text: &str) -> Result<Self, ModelError> {
        for FileCategory { name, display_name, details } in file::parse(path, text)? {
            if let Some(shown) = display_name {
                self.display_names.insert(name.clone(), shown);
            }
            let caption_details = details.clone();
            let source = DescriptionSource::File;
            self.categories.insert(name, Category { details, caption_details, source });
        }
        Ok(self)
    }

    /// The states of `category`'s prompts. An unknown category has the general states only.
    pub fn prompts(&self, category: &str) -> CategoryPrompts {
        let name = spaced(category);
        let shown = self.display_names.get(&name).unwrap_or(&name);
        let in_words = |state: &String| state.replace("{}", shown);
        let known = self.categories.get(&name);
        let details = known.map_or(&[][..], |category| &category.details);
        let detailed = details.iter().map(|detail| format!("abnormal {shown} with {detail}"));
        CategoryPrompts {
            source: known.map_or(DescriptionSource::Generic, |category| category.source),
            normal: self.normal_states.iter().map(in_words).collect(),
            abnormal: detailed.chain(self.generic_states.iter().map(in_words)).collect(),
            details: details.to_vec(),
        }
    }

    /// The words of `category`'s detector caption: five general ones, then its details. An unknown
    /// category has the general ones only.
    pub fn caption_words(&self, category: &str) -> CaptionWords {
        let known = self.categories.get(&spaced(category));
        let details = known.map_or(&[][..], |category| &category.caption_details);
        let spelling = match known.map(|category| category.source) {
            Some(DescriptionSource::File) => Spelling::Free,
            _ => Spelling::Published,
        };
        CaptionWords {
            words: self.general_words.iter().chain(details).cloned().collect(),
            spelling,
        }
    }

    /// Names of all categories with lists of their own, sorted.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.categories.keys().map(String::as_str)
    }
}

/// A category as prompts name it: data sets write `metal_nut`.
fn spaced(category: &str) -> String {
    category.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_context_state_and_position() {
        let prompts = Descriptions::built_in().unwrap().prompts("metal_nut");
        assert_eq!(prompts.source, DescriptionSource::BuiltIn);
        assert_eq!(prompts.normal_texts(2)[1], "X X flawless metal nut.");
        let texts = prompts.abnormal_texts(2, &Position::ALL);
        assert_eq!(texts[9 * 2 + 1], "X X abnormal metal nut with corrosion at top.");
        assert_eq!(prompts.abnormal_texts(1, &[Position::Left])[8], "X damaged metal nut at left.");
    }

    #[test]
    fn an_unknown_category_has_the_general_states_and_words_only() {
        let descriptions = Descriptions::built_in().unwrap();
        let prompts = descriptions.prompts("gear_wheel");
        assert_eq!(prompts.source, DescriptionSource::Generic);
        assert_eq!(prompts.normal[0], "gear wheel");
        assert_eq!(prompts.abnormal.len(), 5);
        assert_eq!(prompts.abnormal[4], "gear wheel with damage");
        let caption = descriptions.caption_words("gear_wheel").caption();
        assert_eq!(caption, "anomaly . damage . broken . defect . contamination.");
    }

    #[test]
    fn macaroni1_has_the_prompts_of_macaroni2_and_a_caption_of_its_own() {
        let descriptions = Descriptions::built_in().unwrap();
        assert_eq!(descriptions.prompts("macaroni1"), descriptions.prompts("macaroni2"));
        assert!(descriptions.prompts("pcb3").normal.contains(&"perfect pcb".to_string()));
        let words = descriptions.caption_words("macaroni1").words;
        assert_eq!(words[5], "uneven shape ");
    }

    #[test]
    fn a_file_replaces_its_categories_and_leaves_the_others() {
        let text = r#"{"metal_nut": ["Missing thread"], "gear wheel": {"details": ["bent"]}}"#;
        let descriptions = Descriptions::built_in().unwrap();
        let descriptions = descriptions.with_file(Path::new("mine.json"), text).unwrap();
        let prompts = descriptions.prompts("metal nut");
        assert_eq!(prompts.source, DescriptionSource::File);
        assert_eq!(prompts.abnormal[0], "abnormal metal nut with Missing thread");
        assert_eq!(prompts.abnormal.len(), 6);
        assert_eq!(descriptions.prompts("gear_wheel").source, DescriptionSource::File);
        assert_eq!(descriptions.prompts("bottle").source, DescriptionSource::BuiltIn);
        assert_eq!(descriptions.caption_words("gear_wheel").spelling, Spelling::Free);
    }
}
