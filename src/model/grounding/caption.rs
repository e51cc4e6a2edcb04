//! What the detector is asked for. In: words that name anomalies. Out: the caption that lists
//! them, its tokens with the sub-sentences they belong to, and text from tokens. The vocabulary
//! (BERT, uncased) is embedded; no tensor is made here.

use std::ops::Range;

use tokenizers::Tokenizer;

use super::text::CaptionToken;
use crate::error::ModelError;

/// Opens every caption.
pub const CLS_ID: u32 = 101;
/// Closes every caption.
pub const SEP_ID: u32 = 102;
const PERIOD_ID: u32 = 1012;
const QUESTION_MARK_ID: u32 = 1029;

/// WordPiece vocabulary of bert-base-uncased with its text rules.
const TOKENIZER_JSON: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tokenizers/bert_uncased.json"));

/// Whose spelling words have; it decides which phrases match them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// The published lists, to be compared as they are.
    Published,
    /// A user's list, to be compared in the form that phrases have.
    Free,
}

/// The words of a category, in the order of its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionWords {
    pub words: Vec<String>,
    pub spelling: Spelling,
}

impl CaptionWords {
    /// The caption: words between periods, lower case, with a period at the end.
    pub fn caption(&self) -> String {
        prepare_caption(&self.words.join(" . "))
    }
}

/// Lower case, no white space at the ends, a period at the end.
pub fn prepare_caption(text: &str) -> String {
    let lower = text.to_lowercase();
    let trimmed = lower.trim();
    if trimmed.ends_with('.') { trimmed.to_string() } else { format!("{trimmed}.") }
}

/// Caption → tokens, tokens → phrase.
#[derive(Debug, Clone)]
pub struct CaptionTokenizer {
    pieces: Tokenizer,
}

impl CaptionTokenizer {
    /// The published vocabulary. Takes some tens of milliseconds: make one and keep it.
    ///
    /// # Errors
    /// [`ModelError::Embedded`] if the build is damaged.
    pub fn embedded() -> Result<Self, ModelError> {
        let pieces = Tokenizer::from_bytes(TOKENIZER_JSON).map_err(|source| {
            ModelError::Embedded { what: "BERT tokenizer", reason: source.to_string() }
        })?;
        Ok(CaptionTokenizer { pieces })
    }

    /// Tokens of a caption from [`CLS_ID`] to [`SEP_ID`]; `text` is prepared first. Sub-sentences
    /// are found in the whole caption, then all is cut after `max_tokens` (256 as published).
    pub fn encode(&self, text: &str, max_tokens: usize) -> Vec<CaptionToken> {
        let mut ids = vec![CLS_ID];
        ids.extend(self.word_ids(&prepare_caption(text)));
        ids.push(SEP_ID);
        let blocks = sub_sentences(&ids);
        let cut = max_tokens.min(ids.len());
        let tokens = ids.iter().zip(blocks).enumerate().take(cut);
        tokens
            .map(|(column, (&id, block))| CaptionToken {
                id,
                position: (column - block.start) as u32,
                sees: block.start..block.end.min(cut),
            })
            .collect()
    }

    fn word_ids(&self, text: &str) -> Vec<u32> {
        let encoding = self
            .pieces
            .encode_fast(text, false)
            .expect("what has no token becomes [UNK], so no text fails");
        encoding.get_ids().to_vec()
    }

    /// Text of token ids: word pieces joined, no space before punctuation or around an apostrophe.
    /// Special tokens are spelled out (`[SEP]`); unknown ids are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let text = self
            .pieces
            .decode(ids, false)
            .expect("joining word pieces has no step that fails, and unknown ids are left out");
        text.replace(" ' ", "'")
    }

    /// `word` in the form it has in a phrase that holds all its tokens.
    pub fn as_in_phrases(&self, word: &str) -> String {
        self.decode(&self.word_ids(&word.to_lowercase()))
    }
}

/// The block of tokens each token sees. A special token closes the block of what stands before it
/// and belongs to it; at either end it stands alone, and so does a token that no special closes.
/// Blocks follow Grounding DINO's sub-sentence masks (Liu et al. 2023, section 3.4).
fn sub_sentences(ids: &[u32]) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = (0..ids.len()).map(|i| i..i + 1).collect();
    let mut previous = 0;
    for column in (1..ids.len().saturating_sub(1)).filter(|&column| is_special(ids[column])) {
        let block = previous + 1..column + 1;
        blocks[block.clone()].fill(block);
        previous = column;
    }
    blocks
}

fn is_special(id: u32) -> bool {
    matches!(id, CLS_ID | SEP_ID | PERIOD_ID | QUESTION_MARK_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> CaptionWords {
        CaptionWords {
            words: words.iter().map(|word| (*word).to_string()).collect(),
            spelling: Spelling::Free,
        }
    }

    #[test]
    fn a_caption_lists_words_in_lower_case_and_ends_in_one_period() {
        assert_eq!(words(&["Damage", "bent pin "]).caption(), "damage . bent pin.");
        assert_eq!(prepare_caption(" A crack. "), "a crack.");
        assert_eq!(prepare_caption(""), ".");
    }

    #[test]
    fn tokens_see_their_sub_sentence() {
        let ids = [CLS_ID, 7, 8, PERIOD_ID, 9, PERIOD_ID, SEP_ID];
        assert_eq!(sub_sentences(&ids), [0..1, 1..4, 1..4, 1..4, 4..6, 4..6, 6..7]);
    }

    #[test]
    fn words_that_no_period_closes_stand_alone() {
        assert_eq!(sub_sentences(&[CLS_ID, 7, 8, SEP_ID]), [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn a_cut_caption_keeps_its_positions_and_sees_nothing_behind_the_cut() {
        let tokenizer = CaptionTokenizer::embedded().unwrap();
        let tokens = tokenizer.encode("dark hole in wood", 4);
        assert_eq!(tokens.iter().map(|t| t.position).collect::<Vec<_>>(), [0, 0, 1, 2]);
        assert_eq!(tokens[3].sees, 1..4);
    }

    #[test]
    fn a_word_is_spelled_as_phrases_spell_it() {
        let tokenizer = CaptionTokenizer::embedded().unwrap();
        assert_eq!(tokenizer.as_in_phrases("Micro-crack "), "micro - crack");
        assert_eq!(tokenizer.as_in_phrases("worker's mark"), "worker's mark");
    }
}
