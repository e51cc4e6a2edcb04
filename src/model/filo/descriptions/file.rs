//! A file of descriptions, a user's or one of `filo describe`. In: its name and its text, JSON or
//! TOML. Out: category and details, trimmed and checked. Nothing is repaired in silence: what breaks
//! a rule is an error that names file, category and entry.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::spaced;
use crate::error::ModelError;

/// More would make prompts that no one waits for.
const MAX_DETAILS: usize = 200;
/// Longer ones would push the position out of a prompt of 77 tokens.
const MAX_DETAIL_CHARS: usize = 160;
const MAX_CATEGORY_CHARS: usize = 80;

/// Keys of a category that is a table: its list, how prompts call it, and what the list was made
/// from, which is for people.
const DETAILS_KEY: &str = "details";
const NAME_KEY: &str = "display_name";
const ORIGIN_KEYS: [&str; 4] = ["date", "model", "prompt", "seed"];

/// Version of the form, where a file tells it; no category has a number.
const FORMAT_KEY: &str = "format";
pub const FORMAT: u64 = 1;

/// A category of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileCategory {
    /// With spaces.
    pub name: String,
    /// How prompts call it, if not so.
    pub display_name: Option<String>,
    pub details: Vec<String>,
}

/// The categories, in the order of the file.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<FileCategory>, ModelError> {
    let mut entries = read(path, text)?;
    if let Some(at) = entries.iter().position(|(key, value)| key == FORMAT_KEY && value.is_number())
    {
        let (_, format) = entries.remove(at);
        if format != FORMAT {
            let reason = format!("it has form {format}, this program reads {FORMAT}");
            return Err(ModelError::DescriptionsSyntax { path: path.into(), reason });
        }
    }
    if entries.is_empty() {
        let reason = "it has no category".to_string();
        return Err(ModelError::DescriptionsSyntax { path: path.into(), reason });
    }
    let mut seen = BTreeSet::new();
    let mut categories = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let in_category = |what: String| ModelError::DescriptionsCategory {
            path: path.into(),
            category: key.clone(),
            what,
        };
        let name = spaced(key.trim());
        check_text(&name, MAX_CATEGORY_CHARS)
            .map_err(|what| in_category(format!("name {what}")))?;
        if !seen.insert(name.clone()) {
            return Err(in_category("stands twice (underscores count as spaces)".to_string()));
        }
        let (display_name, details) = parts_of(value).map_err(in_category)?;
        let details = details.iter().enumerate().map(|(entry, detail)| {
            check_detail(detail).map_err(|what| ModelError::DescriptionsEntry {
                path: path.into(),
                category: key.clone(),
                entry: entry + 1,
                what,
            })
        });
        let details = details.collect::<Result<_, _>>()?;
        categories.push(FileCategory { name, display_name, details });
    }
    Ok(categories)
}

/// The file's top level, by the ending of its name.
fn read(path: &Path, text: &str) -> Result<Vec<(String, Value)>, ModelError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let entries: Result<Entries, String> = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("json") => serde_json::from_str(text).map_err(|source| source.to_string()),
        Some("toml") => toml::from_str(text).map_err(|source| one_line(&source)),
        _ => return Err(ModelError::DescriptionsExtension { path: path.into() }),
    };
    match entries {
        Ok(Entries(entries)) => Ok(entries),
        Err(reason) => Err(ModelError::DescriptionsSyntax { path: path.into(), reason }),
    }
}

/// TOML errors draw the place over several lines; ours are one line.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Keys and values as they stand, so that a key that stands twice can be refused: a map would
/// keep the last one.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("one key per category")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Display name and details of a list, or of a table with that list under `details`.
fn parts_of(value: Value) -> Result<(Option<String>, Vec<Value>), String> {
    let (name, details) = match value {
        Value::Array(details) => (None, details),
        Value::Object(mut table) => {
            let details = table.remove(DETAILS_KEY);
            let name = match table.remove(NAME_KEY) {
                None => None,
                Some(Value::String(name)) => {
                    let name = name.trim().to_string();
                    check_text(&name, MAX_CATEGORY_CHARS)
                        .map_err(|what| format!("`{NAME_KEY}` {what}"))?;
                    Some(name)
                }
                Some(_) => return Err(format!("`{NAME_KEY}` is no text")),
            };
            if let Some(key) = table.keys().find(|key| !ORIGIN_KEYS.contains(&key.as_str())) {
                return Err(format!(
                    "has the unknown key {key:?}: known are {DETAILS_KEY}, {NAME_KEY}, {}",
                    ORIGIN_KEYS.join(", ")
                ));
            }
            match details {
                Some(Value::Array(details)) => (name, details),
                _ => return Err("has no list under `details`".to_string()),
            }
        }
        _ => return Err("is no list of details".to_string()),
    };
    match details.len() {
        0 => Err("has an empty list: name a detail, or leave the category out".to_string()),
        1..=MAX_DETAILS => Ok((name, details)),
        n => Err(format!("has {n} details: {MAX_DETAILS} at most")),
    }
}

fn check_detail(value: &Value) -> Result<String, String> {
    let detail = value.as_str().ok_or("is no text")?.trim();
    check_text(detail, MAX_DETAIL_CHARS)?;
    Ok(detail.to_string())
}

fn check_text(text: &str, max_chars: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars == 0 {
        Err("is empty".to_string())
    } else if chars > max_chars {
        Err(format!("has {chars} characters: {max_chars} at most"))
    } else if text.chars().any(char::is_control) {
        Err("holds a control character, perhaps a line break".to_string())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, text: &str) -> String {
        parse(Path::new(name), text).unwrap_err().to_string()
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = parse(Path::new("a.json"), r#"{"metal_nut": [" bent ", "worn"]}"#).unwrap();
        let toml = parse(Path::new("a.TOML"), "[metal_nut]\ndetails = ['bent', 'worn']").unwrap();
        let details = vec!["bent".to_string(), "worn".to_string()];
        let name = "metal nut".to_string();
        assert_eq!(json, [FileCategory { name, display_name: None, details }]);
        assert_eq!(json, toml);
    }

    #[test]
    fn a_file_may_tell_its_form_how_prompts_call_a_thing_and_where_a_list_is_from() {
        let text = r#"{"format": 1, "hub_7": {"display_name": "wheel hub", "details": ["bent"],
            "model": "m", "prompt": "00", "seed": 3, "date": "2026-11-26"}}"#;
        let parsed = parse(Path::new("a.json"), text).unwrap();
        assert_eq!(parsed[0].name, "hub 7");
        assert_eq!(parsed[0].display_name.as_deref(), Some("wheel hub"));
        let message = error("a.json", r#"{"format": 2, "hub": ["bent"]}"#);
        assert!(message.contains("form 2, this program reads 1"), "{message}");
        // A category of that name is one.
        assert_eq!(
            parse(Path::new("a.json"), r#"{"format": ["bent"]}"#).unwrap()[0].name,
            "format"
        );
        let message = error("a.json", r#"{"hub": {"display_name": 7, "details": ["bent"]}}"#);
        assert!(message.contains("`display_name` is no text"), "{message}");
    }

    #[test]
    fn an_error_names_file_category_and_entry() {
        let message = error("d.json", r#"{"gear": ["bent", "  "]}"#);
        assert!(message.starts_with("d.json: category \"gear\", detail 2: is empty"), "{message}");
        let message = error("d.json", r#"{"gear": ["bent", 7]}"#);
        assert!(message.contains("detail 2: is no text"), "{message}");
        let message = error("d.toml", "gear = ['a\\nb']\nnut = [\"a\\nb\"]");
        assert!(message.contains("\"nut\", detail 1: holds a control character"), "{message}");
    }

    #[test]
    fn categories_must_be_lists_that_are_not_empty_and_stand_once() {
        let cases = [
            (r#"{"gear": []}"#, "empty list"),
            (r#"{"gear": "bent"}"#, "no list of details"),
            (r#"{"gear": {"detail": ["bent"]}}"#, "unknown key \"detail\""),
            (r#"{"gear": {}}"#, "no list under `details`"),
            (r#"{"a_b": ["x"], "a b": ["y"]}"#, "stands twice"),
            (r#"{"a": ["x"], "a": ["y"]}"#, "stands twice"),
            (r#"{" ": ["x"]}"#, "name is empty"),
            ("{}", "no category"),
            ("[]", "one key per category"),
            ("", "EOF"),
        ];
        for (text, part) in cases {
            let message = error("d.json", text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn lists_and_details_have_limits() {
        let many = serde_json::json!({ "gear": vec!["x"; 201] }).to_string();
        assert!(error("d.json", &many).contains("has 201 details: 200 at most"));
        let long = serde_json::json!({ "gear": ["x".repeat(161)] }).to_string();
        assert!(error("d.json", &long).contains("has 161 characters: 160 at most"));
    }

    #[test]
    fn other_endings_are_refused() {
        assert!(error("d.yaml", "").contains(".json or .toml"));
        assert!(error("d", "").contains(".json or .toml"));
    }
}
