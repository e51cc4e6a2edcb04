//! One image inside an archive, whatever the archive: what its bytes are and what is known of it.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::Label;
use super::label::LabelValue;
use crate::error::Failure;

/// One image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the archive; a number is added to one that was there before.
    pub id: String,
    /// The image's file, or why there is none.
    pub picture: Result<Bytes, Failure>,
    /// The file of its mask.
    pub mask: Option<Bytes>,
    pub known: Known,
}

/// What an archive says about an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub label: Option<Label>,
    /// What is wrong with it, in the archive's words.
    pub kind: Option<String>,
    pub category: Option<String>,
    /// A label, or a sidecar, that is not understood; the image has no label for it.
    pub unclear: Option<String>,
    /// Values of the columns or keys that are kept, as in a [`Sample`](super::Sample).
    pub kept: Option<Box<str>>,
}

/// The values of kept columns as one text; `None` where nothing is kept.
pub(super) fn kept(values: &[Option<String>]) -> Option<Box<str>> {
    if values.is_empty() {
        return None;
    }
    serde_json::to_string(values).ok().map(Into::into)
}

/// A value as a person would write it: the words of a text, other values as JSON. `None` where it is
/// empty.
pub(super) fn text_of_value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}

/// `name`, or with a number if it was given away before.
pub(super) fn unique(name: String, names: &mut HashSet<String>) -> String {
    let mut id = name.clone();
    let mut number = 1;
    while !names.insert(id.clone()) {
        number += 1;
        id = format!("{name} ({number})");
    }
    id
}

impl Known {
    /// What a label value says.
    pub(super) fn of_label(value: LabelValue) -> Self {
        let LabelValue { label, kind, unclear } = value;
        Known { label, kind, unclear, ..Known::default() }
    }

    /// Nothing, since what is there is not understood.
    pub(super) fn unclear(what: &str) -> Self {
        Known { unclear: Some(what.to_owned()), ..Known::default() }
    }

    /// What the file of a class says.
    pub(super) fn of_class_file(bytes: &[u8]) -> Self {
        Known::of_label(LabelValue::of_text(&text_of(bytes)))
    }

    /// What a JSON sidecar says; keys that mean nothing here are allowed, those of `keep` are kept.
    pub(super) fn of_json(bytes: &[u8], keep: &[String]) -> Self {
        let said = match lenient_json(&text_of(bytes)) {
            Ok(Value::Object(said)) => said,
            // Somebody's list of boxes, say.
            Ok(_) => return Known::default(),
            Err(_) => return Known::unclear("a sidecar that is no JSON"),
        };
        let key = |name: &str| value_of(&said, name);
        let word = |value: &Value| match value {
            Value::String(word) => Some(word.trim().to_owned()).filter(|word| !word.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let of_label = key("label").map(LabelValue::of_json).unwrap_or_default();
        let known = Known::of_label(of_label);
        Known {
            kind: key("kind").and_then(word).or(known.kind),
            category: key("category").and_then(word),
            kept: kept(&keep.iter().map(|name| text_of_value(key(name)?)).collect::<Vec<_>>()),
            ..known
        }
    }

    /// This, where it says something, else `other`; labels that contradict each other are none.
    pub(super) fn or(self, other: Known) -> Self {
        let (label, kind, unclear) = match (self.label, other.label) {
            (Some(one), Some(another)) if one != another => {
                (None, None, Some(format!("{} and {} at once", one.as_str(), another.as_str())))
            }
            (one, another) => {
                (one.or(another), self.kind.or(other.kind), self.unclear.or(other.unclear))
            }
        };
        Known {
            label,
            kind,
            unclear,
            category: self.category.or(other.category),
            kept: self.kept.or(other.kept),
        }
    }
}

/// Text in UTF-8, or in UTF-16 with its mark, as Windows' tools write it. Bytes that are no text
/// become replacement characters, which no word has.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let units = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The value of a key, whatever the case that it is written in.
pub(super) fn value_of<'a>(said: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let exact = said.get(name);
    exact.or_else(|| {
        let mut all = said.iter();
        all.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

/// JSON as others write it: with what the standard does not know, NaN and infinity, and numbers beyond
/// all range, as null.
pub(super) fn lenient_json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&without_odd_numbers(text)))
}

/// JSON with `null` for what is no number in it: Python writes NaN and Infinity, others 1e999.
fn without_odd_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_end(rest),
            '-' | '0'..='9' | 'a'..='z' | 'A'..='Z' => rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)))
                .unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_word = first.is_ascii_alphanumeric() || first == '-';
        let is_valid = || serde_json::from_str::<Value>(token).is_ok();
        out.push_str(if is_word && !is_valid() { "null" } else { token });
        rest = after;
    }
    out
}

/// Where the string ends that `text` begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> (Option<&'static str>, Option<String>, Option<String>, bool) {
        let Known { label, kind, category, unclear, .. } = Known::of_json(json.as_bytes(), &[]);
        (label.map(Label::as_str), kind, category, unclear.is_some())
    }

    #[test]
    fn json_that_others_write_says_what_it_says() {
        let normal = (Some("normal"), None, None, false);
        for json in [
            r#"{"label": 0, "mean": NaN, "hi": -Infinity, "note": "NaN, \"0\""}"#,
            "\u{feff}{\"label\": 0.0}",
            r#"{"Label": "0", "boxes": [[1, 2], {"a": null}]}"#,
            r#"{"label": false, "x": 1e999, "y": 123456789012345678901234567890}"#,
            r#"{"label": [0]}"#,
        ] {
            assert_eq!(said(json), normal, "{json}");
        }
        let kind = |kind: &str| Some(kind.to_owned());
        assert_eq!(said(r#"{"label": 1, "kind": 3}"#), (Some("anomalous"), kind("3"), None, false));
        assert_eq!(said(r#"{"category": 7, "label": null}"#), (None, None, kind("7"), false));
        assert_eq!(said(r#"{"label": 0.7}"#), (None, None, None, true));
        assert_eq!(said(r#"{"kind": ["a"], "category": {}}"#), (None, None, None, false));
        for json in ["[1, 2]", "3", "null", "{}"] {
            assert_eq!(said(json), (None, None, None, false), "{json}");
        }
        for json in ["", "{", r#"{"label": 0"#, "label: 0"] {
            assert_eq!(said(json), (None, None, None, true), "{json}");
        }
    }

    #[test]
    fn a_class_file_may_be_utf16_and_one_of_no_text_is_unclear() {
        let utf16 = |text: &str, from: fn(u16) -> [u8; 2]| {
            let units = text.encode_utf16().collect::<Vec<_>>();
            units.into_iter().flat_map(from).collect::<Vec<_>>()
        };
        for bytes in
            [utf16("\u{feff}good\r\n", u16::to_le_bytes), utf16("\u{feff}good", u16::to_be_bytes)]
        {
            assert_eq!(Known::of_class_file(&bytes).label, Some(Label::Normal));
        }
        let odd = Known::of_class_file(&[0xff, 0x00, 0x80]);
        assert!(odd.label.is_none() && odd.unclear.is_some());
    }
}
