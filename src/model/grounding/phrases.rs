//! From the detector's numbers to boxes with names. In: a probability per query and caption token,
//! a box per query. Out: the queries worth a look, each with the phrase it answers to, and which
//! phrases name an anomaly of the category. Plain slices: no tensor is made here.

use super::caption::{CaptionTokenizer, CaptionWords, Spelling};
use super::text::CaptionToken;

/// Token columns that can make a phrase, the first of them not counted in. The published code
/// leaves out the last of its 256, whatever stands there.
const PHRASE_COLUMNS: usize = 255;

/// A box in fractions of its image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalizedBox {
    /// Centre.
    pub cx: f32,
    pub cy: f32,
    pub width: f32,
    pub height: f32,
}

impl NormalizedBox {
    /// Share of the image, also where the box sticks out of it.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }
}

impl From<[f32; 4]> for NormalizedBox {
    /// Centre x, centre y, width, height: the order of the detector's output.
    fn from([cx, cy, width, height]: [f32; 4]) -> Self {
        NormalizedBox { cx, cy, width, height }
    }
}

/// When a query is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectionThresholds {
    /// A query's best token must be above this; its phrase is made of the tokens above it.
    pub probability: f32,
    /// Its box must cover less than this share of the image.
    pub area: f32,
}

impl Default for DetectionThresholds {
    /// The published ones.
    fn default() -> Self {
        DetectionThresholds { probability: 0.25, area: 0.7 }
    }
}

/// What the detector says of one image.
#[derive(Debug, Clone, Copy)]
pub struct QueryOutputs<'a> {
    /// `[queries, caption tokens]`, row-major: sigmoid of the logits, 0..=1.
    pub probabilities: &'a [f32],
    /// One per query.
    pub boxes: &'a [NormalizedBox],
}

/// A query that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Index of the query.
    pub query: usize,
    pub bbox: NormalizedBox,
    /// Of its best token, `[CLS]`, `[SEP]` and periods included; 0..=1.
    pub probability: f32,
    /// The caption's tokens it answers to, as text; may be empty.
    pub phrase: String,
}

impl Detection {
    /// The phrase with its score, as the published release writes it: `dent(0.41)`.
    pub fn published_phrase(&self) -> String {
        format!("{}({})", self.phrase, printed_score(self.probability))
    }
}

/// The queries of `outputs` that pass `thresholds`, in their order; if none does, the one with the
/// best probability, whatever its area. Queries without a finite probability are never taken.
/// `caption` must be the one the detector read: its length is the length of a row.
pub fn select_detections(
    outputs: QueryOutputs,
    caption: &[CaptionToken],
    thresholds: DetectionThresholds,
    tokenizer: &CaptionTokenizer,
) -> Vec<Detection> {
    let rows = outputs.probabilities.chunks_exact(caption.len().max(1));
    let candidates: Vec<Candidate> = rows
        .zip(outputs.boxes)
        .enumerate()
        .map(|(query, (row, &bbox))| Candidate { query, bbox, row, best: best_probability(row) })
        .filter(|candidate| candidate.best.is_finite())
        .collect();
    let passing: Vec<&Candidate> = candidates.iter().filter(|c| c.passes(thresholds)).collect();
    let kept = if passing.is_empty() { best_of_all(&candidates) } else { passing };
    let threshold = text_threshold(thresholds);
    kept.into_iter()
        .map(|candidate| Detection {
            query: candidate.query,
            bbox: candidate.bbox,
            probability: candidate.best,
            phrase: tokenizer.decode(&answered_ids(candidate.row, caption, threshold)),
        })
        .collect()
}

struct Candidate<'a> {
    query: usize,
    bbox: NormalizedBox,
    row: &'a [f32],
    best: f32,
}

impl Candidate<'_> {
    fn passes(&self, thresholds: DetectionThresholds) -> bool {
        self.best > thresholds.probability && self.bbox.area() < thresholds.area
    }
}

/// Skips NaN; −∞ for a row without a number.
fn best_probability(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The published fall-back for an image in which no query passes. Its phrase is empty unless the
/// area alone was in the way, so it is rejected later and only its existence is recorded.
fn best_of_all<'a, 'b>(candidates: &'a [Candidate<'b>]) -> Vec<&'a Candidate<'b>> {
    candidates
        .iter()
        .reduce(|best, other| if other.best > best.best { other } else { best })
        .into_iter()
        .collect()
}

/// The published code has a text threshold of its own and overwrites it with the box threshold.
fn text_threshold(thresholds: DetectionThresholds) -> f32 {
    thresholds.probability
}

/// Ids of the tokens above `threshold`. Column 0 (`[CLS]`) and those from [`PHRASE_COLUMNS`] on
/// never count; periods and `[SEP]` do, so phrases may contain them.
fn answered_ids(row: &[f32], caption: &[CaptionToken], threshold: f32) -> Vec<u32> {
    row.iter()
        .zip(caption)
        .take(PHRASE_COLUMNS)
        .skip(1)
        .filter(|(probability, _)| **probability > threshold)
        .map(|(_, token)| token.id)
        .collect()
}

/// A probability as the published release keeps it: cut, not rounded, to the first four characters
/// of its shortest decimal print as a double. Below 1e-4 that print has an exponent, on whose
/// stump the release crashes; here it is zero.
pub fn printed_score(probability: f32) -> String {
    if probability < 1e-4 {
        return "0.00".to_string();
    }
    format!("{:?}", f64::from(probability)).chars().take(4).collect()
}

/// Which phrases name an anomaly of the category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseFilter {
    words: Vec<String>,
}

impl PhraseFilter {
    /// A filter for the words that `caption_words` put into the caption.
    pub fn new(caption_words: &CaptionWords, tokenizer: &CaptionTokenizer) -> Self {
        let words = caption_words.words.iter();
        let words = match caption_words.spelling {
            Spelling::Published => words.map(|word| published_spelling(word)).collect(),
            Spelling::Free => words.map(|word| tokenizer.as_in_phrases(word)).collect(),
        };
        PhraseFilter { words }
    }

    /// Whether one of the words stands in the phrase, be it inside other words.
    pub fn accepts(&self, detection: &Detection) -> bool {
        self.words.iter().any(|word| detection.phrase.contains(word.as_str()))
    }
}

/// The published release compares its lists as they are written, while phrases are lower case and
/// trimmed: "Uneven coating" and four more never match, "uneven shape " only with a word behind.
/// Kept, since the published figures were made so.
fn published_spelling(word: &str) -> String {
    word.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(phrase: &str) -> Detection {
        let bbox = NormalizedBox::from([0.5; 4]);
        Detection { query: 0, bbox, probability: 0.5, phrase: phrase.to_string() }
    }

    fn filter(word: &str, spelling: Spelling) -> PhraseFilter {
        let tokenizer = CaptionTokenizer::embedded().unwrap();
        let words = CaptionWords { words: vec![word.to_string()], spelling };
        PhraseFilter::new(&words, &tokenizer)
    }

    #[test]
    fn scores_are_cut_to_two_decimals() {
        let scores = [0.419_999, 0.42, 1.0, 0.5, 0.25, 3e-5].map(printed_score);
        assert_eq!(scores, ["0.41", "0.41", "1.0", "0.5", "0.25", "0.00"]);
    }

    #[test]
    fn a_published_word_with_a_capital_matches_nothing_and_a_free_one_does() {
        let phrase = detection("uneven coating");
        assert!(!filter("Uneven coating", Spelling::Published).accepts(&phrase));
        assert!(filter("Uneven coating", Spelling::Free).accepts(&phrase));
    }

    #[test]
    fn a_free_word_matches_however_the_tokenizer_spaces_it() {
        assert!(filter("micro-crack", Spelling::Free).accepts(&detection("micro - crack.")));
    }

    #[test]
    fn only_queries_above_the_threshold_with_small_boxes_are_kept() {
        let tokenizer = CaptionTokenizer::embedded().unwrap();
        let caption = tokenizer.encode("dent . scratch", 256);
        let probabilities = [
            [0.9, 0.1, 0.1, 0.1, 0.1, 0.1],
            [0.1, 0.25, 0.25, 0.25, 0.25, 0.25],
            [0.1, 0.9, 0.1, 0.26, 0.1, 0.1],
            [0.1, 0.9, 0.9, 0.9, 0.9, 0.9],
        ]
        .concat();
        let small = NormalizedBox::from([0.5, 0.5, 0.1, 0.1]);
        let boxes = [small, small, small, NormalizedBox::from([0.5, 0.5, 0.9, 0.9])];
        let outputs = QueryOutputs { probabilities: &probabilities, boxes: &boxes };
        let kept = select_detections(outputs, &caption, Default::default(), &tokenizer);
        let phrases: Vec<String> = kept.iter().map(Detection::published_phrase).collect();
        assert_eq!(phrases, ["(0.89)", "dent scratch(0.89)"]);
    }

    #[test]
    fn where_no_query_passes_the_best_is_kept_and_numbers_that_are_none_never() {
        let tokenizer = CaptionTokenizer::embedded().unwrap();
        let caption = tokenizer.encode("dent", 256);
        let probabilities = [[f32::NAN; 4], [0.1, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.1]].concat();
        let boxes = [NormalizedBox::from([0.5; 4]); 3];
        let outputs = QueryOutputs { probabilities: &probabilities, boxes: &boxes };
        let kept = select_detections(outputs, &caption, Default::default(), &tokenizer);
        assert_eq!(kept.iter().map(|d| d.query).collect::<Vec<_>>(), [2]);
        assert_eq!(kept[0].phrase, "");
    }
}
