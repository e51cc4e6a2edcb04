//! CLIP's byte-pair tokenizer. In: text as a person or the prompt tables write it. Out: token ids
//! from the start token to the first end token, as the published vocabulary numbers them.
//! The vocabulary is embedded; no file is read and no text is refused.

use tokenizers::Tokenizer;

use super::clean_text::clean_text;
use crate::error::ModelError;

/// First id of every prompt.
pub const START_ID: u32 = 49_406;
/// Last id of every prompt; the text tower's output is read at its first place.
pub const END_ID: u32 = 49_407;
/// Fills a prompt up to [`CONTEXT_LENGTH`].
pub const PAD_ID: u32 = 0;
/// Longest prompt in tokens, start and end included.
pub const CONTEXT_LENGTH: usize = 77;

/// Byte-pair merges of OpenAI's CLIP. Start and end have the names that published FiLo gives them,
/// `<start_of_text>` and `<end_of_text>`, so those two texts become ids and no others do.
const TOKENIZER_JSON: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tokenizers/clip.json"));

/// Text → token ids.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    pieces: Tokenizer,
}

impl ClipTokenizer {
    /// The published vocabulary. Takes a tenth of a second or two: make one and keep it.
    ///
    /// # Errors
    /// [`ModelError::Embedded`] if the build is damaged.
    pub fn embedded() -> Result<Self, ModelError> {
        let pieces = Tokenizer::from_bytes(TOKENIZER_JSON).map_err(|source| {
            ModelError::Embedded { what: "CLIP tokenizer", reason: source.to_string() }
        })?;
        Ok(ClipTokenizer { pieces })
    }

    /// Ids of `text`: start, words, end; 2 to 77 of them. A text that does not fit is cut, and the
    /// end token put last.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let words = self
            .pieces
            .encode_fast(clean_text(text), false)
            .expect("every byte is a token of the vocabulary, so no text fails");
        let mut ids = vec![START_ID];
        ids.extend(until_first_end(words.get_ids()));
        ids.truncate(CONTEXT_LENGTH - 1);
        ids.push(END_ID);
        ids
    }

    /// Ids of `text`, filled up with [`PAD_ID`] behind the end token.
    pub fn encode_padded(&self, text: &str) -> [u32; CONTEXT_LENGTH] {
        let mut padded = [PAD_ID; CONTEXT_LENGTH];
        let ids = self.encode(text);
        padded[..ids.len()].copy_from_slice(&ids);
        padded
    }
}

/// Published FiLo reads a prompt at its first end token and attention looks back only, so nothing
/// behind an `<end_of_text>` that stands in the text itself has an effect.
fn until_first_end(ids: &[u32]) -> impl Iterator<Item = u32> {
    ids.iter().copied().take_while(|&id| id != END_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_framed_by_start_and_end() {
        let tokenizer = ClipTokenizer::embedded().unwrap();
        assert_eq!(tokenizer.encode("X bottle."), [START_ID, 343, 5392, 269, END_ID]);
        assert_eq!(tokenizer.encode(" "), [START_ID, END_ID]);
    }

    #[test]
    fn a_long_text_is_cut_and_still_ends() {
        let tokenizer = ClipTokenizer::embedded().unwrap();
        let ids = tokenizer.encode_padded(&"word ".repeat(100));
        assert_eq!(ids[CONTEXT_LENGTH - 2..], [2653, END_ID]);
    }

    #[test]
    fn names_of_other_vocabularies_are_ordinary_text() {
        let tokenizer = ClipTokenizer::embedded().unwrap();
        let ids = tokenizer.encode("<|endoftext|> x");
        assert_eq!(ids.iter().filter(|&&id| id == END_ID).count(), 1);
        assert!(ids.len() > 4);
    }
}
