//! Token ids equal those of the published tokenizers, byte for byte: CLIP's prompts and the
//! detector's captions.

use std::sync::LazyLock;

use filo::model::clip::tokenizer::{CONTEXT_LENGTH, ClipTokenizer, END_ID, START_ID};
use filo::model::grounding::caption::{CLS_ID, CaptionTokenizer};
use proptest::prelude::*;
use serde_json::Value;

static CLIP: LazyLock<ClipTokenizer> = LazyLock::new(|| ClipTokenizer::embedded().unwrap());
static CAPTION: LazyLock<CaptionTokenizer> =
    LazyLock::new(|| CaptionTokenizer::embedded().unwrap());

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/tokenizer/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

#[test]
fn clip_ids_equal_the_published_ones_also_where_text_needs_repair() {
    let cases = golden("clip_cases.json");
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 49);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids = CLIP.encode(text);
        assert_eq!(ids, numbers(&case["ids"]), "{text:?}");
        assert_eq!(ids.len(), case["n_before_padding"].as_u64().unwrap() as usize, "{text:?}");
        let end = ids.iter().position(|&id| id == END_ID).unwrap();
        assert_eq!(end, case["eot_index_argmax"].as_u64().unwrap() as usize, "{text:?}");
    }
}

#[test]
fn caption_ids_blocks_and_positions_equal_the_published_ones() {
    let cases = golden("bert_cases.json");
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for case in cases {
        let text = case["caption"].as_str().unwrap();
        let ids = numbers(&case["ids"]);
        let positions = numbers(&case["position_ids"]);
        let ranges = case["visible_range_per_token"].as_array().unwrap();
        // The golden data has the whole caption; the network reads 256 tokens of it.
        for limit in [usize::MAX, 256] {
            let tokens = CAPTION.encode(text, limit);
            assert_eq!(tokens.len(), ids.len().min(limit), "{text:?}");
            for (i, token) in tokens.iter().enumerate() {
                assert_eq!(token.id, ids[i], "{text:?}, token {i}");
                assert_eq!(token.position, positions[i], "{text:?}, token {i}");
                let range = numbers(&ranges[i]);
                let end = (range[1] as usize + 1).min(limit);
                assert_eq!(token.sees, range[0] as usize..end, "{text:?}, token {i}");
            }
        }
    }
}

#[test]
fn captions_of_a_padded_batch_equal_single_ones() {
    let batch = &golden("bert_cases.json")["padded_batch"];
    for (row, caption) in batch["captions"].as_array().unwrap().iter().enumerate() {
        let tokens = CAPTION.encode(caption.as_str().unwrap(), 256);
        let n = tokens.len();
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        assert_eq!(ids, numbers(&batch["ids"][row])[..n]);
        let positions: Vec<u32> = tokens.iter().map(|token| token.position).collect();
        assert_eq!(positions, numbers(&batch["position_ids"][row])[..n]);
        let seen: Vec<u32> = tokens.iter().map(|token| token.sees.len() as u32).collect();
        assert_eq!(seen, numbers(&batch["mask_row_sums"][row])[..n]);
        assert!(numbers(&batch["attention_mask"][row])[n..].iter().all(|&mask| mask == 0));
    }
}

#[test]
fn ids_decode_to_the_published_text() {
    for case in golden("bert_cases.json")["decode_cases"].as_array().unwrap() {
        let ids = numbers(&case["ids"]);
        assert_eq!(CAPTION.decode(&ids), case["text"].as_str().unwrap(), "{ids:?}");
    }
}

proptest! {
    #[test]
    fn any_text_becomes_a_prompt_of_at_most_77_tokens(text: String) {
        let ids = CLIP.encode(&text);
        prop_assert!((2..=CONTEXT_LENGTH).contains(&ids.len()));
        prop_assert_eq!((ids[0], ids[ids.len() - 1]), (START_ID, END_ID));
        prop_assert!(ids[..ids.len() - 1].iter().all(|&id| id != END_ID));
        prop_assert_eq!(&CLIP.encode_padded(&text)[..ids.len()], &ids[..]);
    }

    #[test]
    fn every_token_of_any_caption_sees_itself_and_nothing_beyond_the_end(
        text: String,
        max_tokens in 1usize..40,
    ) {
        let tokens = CAPTION.encode(&text, max_tokens);
        prop_assert!((1..=max_tokens).contains(&tokens.len()));
        prop_assert_eq!(tokens[0].id, CLS_ID);
        for (i, token) in tokens.iter().enumerate() {
            prop_assert!(token.sees.contains(&i) && token.sees.end <= tokens.len());
            prop_assert!((token.position as usize) < token.sees.len());
        }
    }
}
