//! The built-in descriptions are the published facts, and the prompts and captions made of them
//! are the published ones, token for token.

mod support;

use filo::model::clip::tokenizer::{CONTEXT_LENGTH, ClipTokenizer};
use filo::model::filo::descriptions::{DescriptionSource, Descriptions};
use filo::model::filo::position::Position;
use filo::model::grounding::caption::CaptionTokenizer;
use serde_json::Value;
use support::golden::{Golden, golden_dir};

const N_CTX: usize = 12;

fn golden(name: &str) -> Value {
    let path = golden_dir().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_built_in_lists_are_the_published_ones() {
    let facts = golden("descriptions.json");
    let descriptions = Descriptions::built_in().unwrap();
    let mut names = Vec::new();
    for set in ["mvtec", "visa"] {
        for (category, lists) in facts[set].as_object().unwrap() {
            names.push(category.as_str());
            let shown = facts["class_name_in_prompt"][category].as_str().unwrap();
            let in_words = |state: &&str| state.replace("{}", shown);
            // Both are "macaroni", and the later list overwrites the earlier.
            let used = if category == "macaroni1" { "macaroni2" } else { category.as_str() };
            let details = texts(&facts[set][used]["details"]).into_iter().map(|detail| {
                let template = facts["abnormal_state_from_detail"].as_str().unwrap();
                template.replace("{}", shown).replace("DETAIL", detail)
            });
            let generic = texts(&facts["abnormal_states_generic"]);
            let abnormal: Vec<String> = details.chain(generic.iter().map(in_words)).collect();
            let normal: Vec<String> = texts(&facts["normal_states"]).iter().map(in_words).collect();

            let prompts = descriptions.prompts(&category.replace(' ', "_"));
            assert_eq!(prompts.source, DescriptionSource::BuiltIn);
            assert_eq!(prompts.normal, normal, "{category}");
            assert_eq!(prompts.abnormal, abnormal, "{category}");
            let words = descriptions.caption_words(category).words;
            let general = texts(&facts["general_anomaly_words"]);
            let asked = [general, texts(&lists["grounding_details"])].concat();
            assert_eq!(words, asked, "{category}");
        }
    }
    names.sort_unstable();
    assert_eq!(descriptions.categories().collect::<Vec<_>>(), names);
    let positions = Position::ALL.map(Position::as_str);
    assert_eq!(positions, texts(&facts["positions"])[..]);
}

#[test]
fn prompts_have_the_published_tokens() {
    let tokens = Golden::open(&golden_dir().join("tokenizer/prompt_tokens.safetensors"));
    let tokenizer = ClipTokenizer::embedded().unwrap();
    let descriptions = Descriptions::built_in().unwrap();
    let check = |name: &str, texts: Vec<String>| {
        let expected = tokens.get(name);
        assert_eq!(expected.len(), texts.len() * CONTEXT_LENGTH, "{name}");
        for (text, expected) in texts.iter().zip(expected.chunks(CONTEXT_LENGTH)) {
            let ids = tokenizer.encode_padded(text).map(f64::from);
            assert_eq!(ids[..], *expected, "{name}: {text:?}");
        }
    };
    check("tokens.normal.bottle", descriptions.prompts("bottle").normal_texts(N_CTX));
    let abnormal = |category| descriptions.prompts(category).abnormal_texts(N_CTX, &Position::ALL);
    check("tokens.abnormal.bottle", abnormal("bottle"));
    check("tokens.abnormal.metal_nut", abnormal("metal_nut"));
    check("tokens.abnormal.macaroni", abnormal("macaroni1"));
    check("tokens.abnormal.macaroni", abnormal("macaroni2"));
}

#[test]
fn every_category_has_the_published_caption() {
    let captions = golden("tokenizer/grounding_captions_all_categories.json");
    let captions = captions.as_object().unwrap();
    assert_eq!(captions.len(), 27);
    let descriptions = Descriptions::built_in().unwrap();
    let tokenizer = CaptionTokenizer::embedded().unwrap();
    for (category, expected) in captions {
        let caption = descriptions.caption_words(category).caption();
        assert_eq!(caption, expected["caption"].as_str().unwrap(), "{category}");
        let tokens = tokenizer.encode(&caption, 256).len() as u64;
        assert_eq!(Some(tokens), expected["tokens"].as_u64(), "{category}");
    }
}
