//! Captions as the network reads them. In: tokens of one caption or of a batch of captions. Out:
//! tensors of ids, positions and masks, and, after BERT, the text features that are worth keeping:
//! they depend on the caption only.

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};

use super::config::GroundingConfig;
use super::enhancer::TextContext;

/// One token of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionToken {
    /// Row of the token table.
    pub id: u32,
    /// Position inside its sub-sentence.
    pub position: u32,
    /// The tokens of the caption that it sees; it always sees itself.
    pub sees: Range<usize>,
}

/// A caption that the network cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("there is no caption, or an empty one: name at least one anomaly")]
    Empty,
    #[error("a caption has {tokens} tokens, the detector reads {limit}: shorten the descriptions")]
    TooLong { tokens: usize, limit: usize },
    #[error(
        "token id {id} is beyond the {rows} rows of the token table: the tokenizer's vocabulary does not belong to these weights"
    )]
    OutsideVocabulary { id: u32, rows: usize },
    #[error(
        "token position {position} is beyond the {rows} rows of the position table: shorten the descriptions"
    )]
    OutsidePositions { position: u32, rows: usize },
}

/// A batch of captions, the shorter ones filled up with `[PAD]`. One caption for all images is
/// a batch of one.
#[derive(Debug, Clone)]
pub struct TextBatch<B: Backend> {
    /// `[captions, n]`.
    pub ids: Tensor<B, 2, Int>,
    /// `[captions, n]`.
    pub positions: Tensor<B, 2, Int>,
    /// `[captions, n, n]`, true where a token (row) must not see another (column).
    pub hidden: Tensor<B, 3, Bool>,
    /// `[captions, n]`, true for filling.
    pub padding: Tensor<B, 2, Bool>,
}

/// What the detector keeps of captions: text features before image and text have met.
#[derive(Debug, Clone)]
pub struct EncodedCaption<B: Backend> {
    /// `[captions, n, d_model]`.
    pub features: Tensor<B, 3>,
    pub context: TextContext<B>,
}

impl<B: Backend> TextBatch<B> {
    /// # Errors
    /// When there is no caption, or one is empty, longer than `config.max_text_len`, or has an id
    /// or a position beyond the tables of BERT.
    pub fn new(
        captions: &[&[CaptionToken]],
        config: &GroundingConfig,
        device: &B::Device,
    ) -> Result<Self, TextError> {
        captions.iter().try_for_each(|caption| check(caption, config))?;
        let count = captions.len();
        let n = captions.iter().map(|caption| caption.len()).max().ok_or(TextError::Empty)?;
        let table = |value: fn(&CaptionToken) -> u32| {
            let rows = captions.iter().flat_map(|caption| {
                (0..n).map(|i| caption.get(i).map_or(0, |token| i64::from(value(token))))
            });
            let values: Vec<i64> = rows.collect();
            Tensor::<B, 2, Int>::from_data(TensorData::new(values, [count, n]), device)
        };
        let padding: Vec<bool> =
            captions.iter().flat_map(|caption| (0..n).map(|i| i >= caption.len())).collect();
        Ok(TextBatch {
            ids: table(|token| token.id),
            positions: table(|token| token.position),
            hidden: Tensor::from_data(TensorData::new(hidden(captions, n), [count, n, n]), device),
            padding: Tensor::from_data(TensorData::new(padding, [count, n]), device),
        })
    }
}

fn check(caption: &[CaptionToken], config: &GroundingConfig) -> Result<(), TextError> {
    let (tokens, limit) = (caption.len(), config.max_text_len);
    if tokens == 0 {
        return Err(TextError::Empty);
    }
    if tokens > limit {
        return Err(TextError::TooLong { tokens, limit });
    }
    for &CaptionToken { id, position, .. } in caption {
        if id as usize >= config.bert.vocab {
            return Err(TextError::OutsideVocabulary { id, rows: config.bert.vocab });
        }
        if position as usize >= config.bert.max_position {
            return Err(TextError::OutsidePositions { position, rows: config.bert.max_position });
        }
    }
    Ok(())
}

/// `[captions, n, n]`, caption-major: what each token must not see. Filling sees itself, so that
/// no row of a softmax is empty.
fn hidden(captions: &[&[CaptionToken]], n: usize) -> Vec<bool> {
    let mut hidden = vec![true; captions.len() * n * n];
    for (caption, hidden) in captions.iter().zip(hidden.chunks_exact_mut(n * n)) {
        for (i, row) in hidden.chunks_exact_mut(n).enumerate() {
            row[i] = false;
            if let Some(token) = caption.get(i) {
                let end = token.sees.end.min(caption.len());
                row[token.sees.start.min(end)..end].fill(false);
            }
        }
    }
    hidden
}

impl<B: Backend> EncodedCaption<B> {
    /// The same for `images` images: one caption serves all of them, and so does its context as it
    /// stands; several captions must be as many as the images.
    pub fn for_images(&self, images: usize) -> Self {
        let [_, n, width] = self.features.dims();
        EncodedCaption {
            features: self.features.clone().expand([images, n, width]),
            context: self.context.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    fn token(id: u32, sees: Range<usize>) -> CaptionToken {
        CaptionToken { id, position: 0, sees }
    }

    #[test]
    fn filling_sees_itself_and_tokens_see_their_block() {
        let long = [token(101, 0..1), token(7, 1..3), token(1012, 1..3)];
        let short = [token(101, 0..1)];
        let config = GroundingConfig::swin_t_ogc();
        let batch = TextBatch::<B>::new(&[&long, &short], &config, &cpu()).unwrap();
        let (t, f) = (true, false);
        let hidden = batch.hidden.into_data().iter::<bool>().collect::<Vec<_>>();
        assert_eq!(hidden[..9], [f, t, t, t, f, f, t, f, f]);
        assert_eq!(hidden[9..], [f, t, t, t, f, t, t, t, f]);
        let padding = batch.padding.into_data().iter::<bool>().collect::<Vec<_>>();
        assert_eq!(padding, [f, f, f, f, t, t]);
    }

    #[test]
    fn captions_that_do_not_fit_the_tables_are_refused() {
        let config = GroundingConfig::swin_t_ogc();
        let new = |caption: &[CaptionToken]| {
            TextBatch::<B>::new(&[caption], &config, &cpu()).map(|_| ()).unwrap_err()
        };
        assert_eq!(new(&[]), TextError::Empty);
        assert_eq!(new(&vec![token(1, 0..1); 257]), TextError::TooLong { tokens: 257, limit: 256 });
        assert_eq!(
            new(&[token(30_522, 0..1)]),
            TextError::OutsideVocabulary { id: 30_522, rows: 30_522 }
        );
    }
}
