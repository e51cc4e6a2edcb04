//! What a label means. A word, a number, a truth value or a JSON value that somebody wrote beside an
//! image goes in; whether the image is normal or anomalous, and the defect type, comes out. Every
//! layout asks here. A value that is not understood is *unknown*, never anomalous: a word of a
//! language that nobody listed would turn good images into defects.

use serde_json::Value;

use super::label_words::{ANOMALOUS, DEFECT_WORDS, DOUBTS, NEGATIONS, NORMAL, UNKNOWN};
use crate::error::one_line;

/// What is known of a whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    Normal,
    Anomalous,
}

impl Label {
    /// The text form: `normal` or `anomalous`.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Normal => "normal",
            Label::Anomalous => "anomalous",
        }
    }
}

/// What a label value means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LabelValue {
    /// `None`: nobody knows.
    pub label: Option<Label>,
    /// The defect type, where the value is one.
    pub kind: Option<String>,
    /// The value as written, where it says something that is not understood.
    pub unclear: Option<String>,
}

/// Truth values that are written out: whether the image is anomalous.
const TRUTH: [&str; 2] = ["false", "true"];

impl LabelValue {
    /// A value that is not understood.
    pub(super) fn unclear(value: &str) -> Self {
        LabelValue { unclear: Some(shortened(value)), ..LabelValue::default() }
    }

    fn of(label: Label) -> Self {
        LabelValue { label: Some(label), ..LabelValue::default() }
    }

    /// What a word or a written number means.
    pub(super) fn of_text(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').trim();
        if let Ok(number) = text.replace(',', ".").parse::<f64>() {
            return LabelValue::of_number(number, text);
        }
        let word = folded(text);
        match () {
            _ if word.is_empty() || is_in(UNKNOWN, &word) => LabelValue::default(),
            _ if TRUTH.contains(&word.as_str()) => LabelValue::of_truth(word == "true"),
            _ if is_in(NORMAL, &word) => LabelValue::named(Label::Normal, text),
            _ if is_in(ANOMALOUS, &word) => LabelValue::named(Label::Anomalous, text),
            _ if names_a_defect(text) => LabelValue::named(Label::Anomalous, text),
            _ => LabelValue::unclear(text),
        }
    }

    /// What one of a set's own class names means, such as a folder's or a name that a header gives a
    /// number: where the set distinguishes types, whatever is not normal is a defect type. A name that
    /// is normal in part, such as `good_1`, is not understood.
    pub(super) fn of_class(name: &str) -> Self {
        let value = LabelValue::of_text(name);
        if value.unclear.is_some() && !is_hedged(name) {
            LabelValue::named(Label::Anomalous, name.trim())
        } else {
            value
        }
    }

    /// Whether the class names of a set tell defects from good images: one of them is normal, or a word
    /// for a defect. Those of products or animals do not.
    pub(super) fn are_classes<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
        names.any(|name| LabelValue::of_text(name).label.is_some())
    }

    /// 0 is normal, 1 is anomalous; -1 is Hugging Face's word for no label. `text` is the number as
    /// written.
    pub(super) fn of_number(number: f64, text: &str) -> Self {
        match number {
            0.0 => LabelValue::of(Label::Normal),
            1.0 => LabelValue::of(Label::Anomalous),
            _ if number == -1.0 || number.is_nan() => LabelValue::default(),
            _ => LabelValue::unclear(text),
        }
    }

    /// Whether the image is anomalous.
    pub(super) fn of_truth(anomalous: bool) -> Self {
        LabelValue::of(if anomalous { Label::Anomalous } else { Label::Normal })
    }

    /// What a value of a JSON sidecar means. A list is what its values say together: defects beat
    /// good, and one that is not understood makes the whole unknown.
    pub(super) fn of_json(value: &Value) -> Self {
        match value {
            Value::Null => LabelValue::default(),
            Value::Bool(anomalous) => LabelValue::of_truth(*anomalous),
            Value::Number(number) => match number.as_f64() {
                Some(value) => LabelValue::of_number(value, &number.to_string()),
                None => LabelValue::unclear(&number.to_string()),
            },
            Value::String(word) => LabelValue::of_text(word),
            Value::Array(values) => LabelValue::all(values.iter().map(LabelValue::of_json)),
            Value::Object(_) => LabelValue::unclear(&value.to_string()),
        }
    }

    /// What several values say together.
    pub(super) fn all(values: impl Iterator<Item = LabelValue>) -> Self {
        let values = values.collect::<Vec<_>>();
        if let Some(unclear) = values.iter().find_map(|value| value.unclear.clone()) {
            return LabelValue { unclear: Some(unclear), ..LabelValue::default() };
        }
        let says = |label| values.iter().any(|value| value.label == Some(label));
        let label = match (says(Label::Anomalous), says(Label::Normal)) {
            (true, _) => Label::Anomalous,
            (false, true) => Label::Normal,
            (false, false) => return LabelValue::default(),
        };
        let kinds = values.into_iter().filter(|value| value.label == Some(label));
        let kinds = kinds.filter_map(|value| value.kind).collect::<Vec<_>>();
        LabelValue { kind: (!kinds.is_empty()).then(|| kinds.join(",")), ..LabelValue::of(label) }
    }

    fn named(label: Label, kind: &str) -> Self {
        LabelValue { kind: Some(kind.to_owned()), ..LabelValue::of(label) }
    }

    /// The defect type, unless the words only say whether the image is normal.
    pub(super) fn defect_type(self) -> Option<String> {
        let says_no_more = |kind: &String| {
            let word = folded(kind);
            is_in(NORMAL, &word) || is_in(ANOMALOUS, &word)
        };
        self.kind.filter(|kind| !says_no_more(kind))
    }
}

/// Whether a list of words has this one.
fn is_in(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|listed| listed == word)
}

/// Lower case, without `-`, `_`, `.` and blanks.
fn folded(text: &str) -> String {
    let text = text.trim_matches(['"', '\'']).to_lowercase();
    text.chars().filter(|c| !c.is_whitespace() && !"-_.".contains(*c)).collect()
}

/// The words of a label, in lower case.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn has_defect_word(words: &[String]) -> bool {
    let begins =
        |word: &String| DEFECT_WORDS.split_whitespace().any(|begin| word.starts_with(begin));
    words.iter().any(begins)
}

/// Whether a word turns a defect into its opposite, or leaves it open.
fn takes_back(word: &str) -> bool {
    let negates = is_in(NEGATIONS, word) || word.ends_with("free") || word.ends_with("less");
    let doubts = is_in(DOUBTS, word) || is_in(UNKNOWN, word) || is_in(NORMAL, word);
    negates || doubts || TRUTH.contains(&word) || word.bytes().all(|byte| byte == b'0')
}

/// Whether one of the words of a label is a word for a defect; if so, whether anything takes that back:
/// `crack: 0` and `scratch?` are no defects.
fn defect_and_doubt(text: &str) -> (bool, bool) {
    let words = words(text);
    let is_open = text.contains(['?', '=', ':', '%', '<', '>']);
    let names_one = has_defect_word(&words);
    (names_one, names_one && (is_open || words.iter().any(|word| takes_back(word))))
}

fn names_a_defect(text: &str) -> bool {
    defect_and_doubt(text) == (true, false)
}

/// Whether a class name is normal in part, or a defect that is taken back.
fn is_hedged(name: &str) -> bool {
    let (_, is_doubted) = defect_and_doubt(name);
    is_doubted || words(name).iter().any(|word| is_in(NORMAL, word) || is_in(UNKNOWN, word))
}

/// The first characters of a value, for a message.
pub(super) fn shortened(text: &str) -> String {
    one_line(text, 40)
}

#[cfg(test)]
mod tests {
    use Label::{Anomalous, Normal};

    use super::*;

    fn text(text: &str) -> (Option<Label>, Option<String>, bool) {
        let LabelValue { label, kind, unclear } = LabelValue::of_text(text);
        (label, kind, unclear.is_some())
    }

    #[test]
    fn words_and_numbers_for_good_images_are_normal_however_they_are_written() {
        for word in [
            "good",
            "GOOD",
            "Ok",
            "normal",
            "Normal\r\n",
            "no_defect",
            "No Defect",
            "defect-free",
            "FALSE",
            "0",
            "0.0",
            "0,0",
            "-0",
            "00",
            " 0 ",
            "\u{feff}0",
            "+0",
            "0e5",
            "\"good\"",
            "i.O.",
            "non-defective",
        ] {
            let (label, kind, unclear) = text(word);
            assert_eq!((label, unclear), (Some(Normal), false), "{word:?}");
            let written =
                word.trim().chars().any(char::is_alphabetic) && !["FALSE", "0e5"].contains(&word);
            assert_eq!(kind.is_some(), written, "{word:?}");
        }
    }

    #[test]
    fn words_and_numbers_for_defective_images_are_anomalous_and_defect_types_are_kept() {
        for word in [
            "bad", "NG", "ko", "Defect", "anomaly", "TRUE", "1", "1.0", "1\n", "n.i.O.", "not_ok",
            "faulty",
        ] {
            let value = LabelValue::of_text(word);
            assert_eq!((value.label, &value.unclear), (Some(Anomalous), &None), "{word:?}");
            assert_eq!(value.defect_type(), None, "{word:?}");
        }
        for word in ["crack", "Broken_Large", "thread side", "metal_contamination", "MT_Blowhole"] {
            assert_eq!(text(word), (Some(Anomalous), Some(word.to_owned()), false), "{word:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_unknown_and_what_says_nothing_is_not_unclear() {
        for word in ["", "  ", "unknown", "N/A", "nan", "NaN", "null", "None", "-1", "-1.0", "?"] {
            assert_eq!(text(word), (None, None, false), "{word:?}");
        }
        for word in [
            "0.7",
            "2",
            "-3",
            "inf",
            "banana",
            "класс 4",
            "no scratch",
            "scratchless",
            "whole",
            "yes",
            "type a",
            "1e9",
            "[]",
            "{}",
            "0 1",
            "defects: 0",
            "0 defects",
            "zero defects",
            "crack_none",
            "scratch false",
            "defect=0",
            "fail_0",
            "broken: n",
            "defect n/a",
            "unknown crack",
            "scratch tbd",
            "scratch?",
            "false alarm scratch",
            "pseudo defect",
            "scratch repaired",
            "screw hole ok",
            "OK (minor scratch)",
            "good - scratch removed",
        ] {
            assert_eq!(text(word), (None, None, true), "{word:?}");
        }
    }

    #[test]
    fn a_class_name_of_a_set_is_a_defect_type_unless_it_is_normal_or_unknown() {
        let class = |name| LabelValue::of_class(name).label;
        assert_eq!(class("banana"), Some(Anomalous));
        assert_eq!((class("ok"), class("unlabeled")), (Some(Normal), None));
        for name in ["no_screw", "cable_swap", "pill_type", "logical_anomalies", "scratch_2"] {
            assert_eq!(class(name), Some(Anomalous), "{name}");
        }
        let in_part = ["ok_front", "good_1", "00_good", "Good Parts", "normal-01"];
        for name in in_part.into_iter().chain(["no_scratch", "scratch?", "crack: 0", "crack_0"]) {
            assert_eq!(class(name), None, "{name}");
            assert!(LabelValue::of_class(name).unclear.is_some(), "{name}");
        }
        assert!(LabelValue::are_classes(["bad", "a"].into_iter()));
        assert!(!LabelValue::are_classes(["bottle", "cable"].into_iter()));
        assert_eq!(LabelValue::of_class(" banana ").kind.as_deref(), Some("banana"));
    }

    #[test]
    fn values_of_json_mean_what_their_text_means_and_lists_what_they_say_together() {
        let json = |text: &str| {
            let LabelValue { label, kind, unclear } =
                LabelValue::of_json(&serde_json::from_str(text).unwrap());
            (label, kind, unclear.is_some())
        };
        assert_eq!(json("0.0"), (Some(Normal), None, false));
        assert_eq!(json("false"), (Some(Normal), None, false));
        assert_eq!(json("1"), (Some(Anomalous), None, false));
        assert_eq!(json("null"), (None, None, false));
        assert_eq!(json("[]"), (None, None, false));
        assert_eq!(json("[\"good\"]"), (Some(Normal), Some("good".into()), false));
        assert_eq!(
            json("[\"crack\", \"hole\"]"),
            (Some(Anomalous), Some("crack,hole".into()), false)
        );
        assert_eq!(json("[0, 0, 1]"), (Some(Anomalous), None, false));
        assert_eq!(json("[0, \"banana\"]"), (None, None, true));
        assert_eq!(json("0.7"), (None, None, true));
        assert_eq!(json("123456789012345678901234567890"), (None, None, true));
        assert_eq!(json("{\"a\": 1}"), (None, None, true));
    }
}
