//! What a key of a job file may hold, in words. In: the schema of the file and a key. Out: a text that
//! is read after "must be", so that messages never speak of the types behind a key.

use serde_json::Value;

/// What may stand behind a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// To be read after "must be".
    pub words: String,
    /// Whether it is written in quotes.
    pub quoted: bool,
}

/// What `schema` allows for `key`; `None` where a type has a form of its own, whose answer says more
/// than its schema does.
pub(super) fn allowed(schema: &Value, key: &str) -> Option<Allowed> {
    of(schema, schema.get("properties")?.get(key)?)
}

fn of(schema: &Value, node: &Value) -> Option<Allowed> {
    if let Some(path) = node.get("$ref").and_then(Value::as_str) {
        return of(schema, schema.pointer(path.strip_prefix('#')?)?);
    }
    let is_null = |node: &&Value| node["type"] == "null";
    if let Some(any) = node.get("anyOf").and_then(Value::as_array) {
        // A key may be left out, which TOML has no value for: null is never an answer.
        let mut others = any.iter().filter(|node| !is_null(node));
        return match (others.next(), others.next()) {
            (Some(one), None) => of(schema, one),
            _ => None,
        };
    }
    let choices = choices(node);
    if !choices.is_empty() {
        return Some(Allowed { words: format!("one of {}", choices.join(", ")), quoted: true });
    }
    let own_form = ["pattern", "format"].iter().any(|rule| node.get(rule).is_some());
    let (words, quoted) = match type_of(node)? {
        "integer" => (format!("a whole number{}", range(node)), false),
        "number" => (format!("a number{}", range(node)), false),
        "boolean" => ("true or false".to_string(), false),
        "array" => ("a list of texts, such as [\"a\", \"b\"]".to_string(), true),
        "string" if !own_form => ("a text in quotes".to_string(), true),
        _ => return None,
    };
    Some(Allowed { words, quoted })
}

/// The words of an enum; empty where it is none.
fn choices(node: &Value) -> Vec<&str> {
    let list = |key: &str| node.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut words = list("oneOf").flat_map(choices).collect::<Vec<_>>();
    words.extend(list("enum").filter_map(Value::as_str));
    words.extend(node.get("const").and_then(Value::as_str));
    words
}

fn type_of(node: &Value) -> Option<&str> {
    match &node["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

/// " from 1 to 5", or as much of it as there is.
fn range(node: &Value) -> String {
    let start = match (node.get("minimum"), node.get("exclusiveMinimum")) {
        (Some(least), _) => format!(" from {least}"),
        (None, Some(below)) => format!(" above {below}"),
        (None, None) => String::new(),
    };
    match node.get("maximum") {
        Some(most) if start.starts_with(" from") => format!("{start} to {most}"),
        Some(most) if start.is_empty() => format!(" of at most {most}"),
        Some(most) => format!("{start} and at most {most}"),
        None => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::RawJobSpec;

    #[test]
    fn every_key_is_answered_in_words_or_by_its_own_type() {
        let schema = schemars::schema_for!(RawJobSpec).to_value();
        let words = |key: &str| allowed(&schema, key).map(|of| of.words);
        for (key, expected) in [
            ("include", "a list of texts, such as [\"a\", \"b\"]"),
            ("limit", "a whole number from 1"),
            ("shard_size", "a whole number from 1 to 1000000"),
            ("size", "a whole number from 1"),
            ("threshold", "a number from 0 to 1"),
            ("false_alarm_rate", "a number above 0 and at most 0.5"),
            ("strict", "true or false"),
            ("preprocess", "one of sensible, published"),
            ("input", "a text in quotes"),
            ("category", "a text in quotes"),
        ] {
            assert_eq!(words(key).as_deref(), Some(expected), "{key}");
        }
        for key in ["batch_size", "run_date", "flag_top", "device", "nothing"] {
            assert_eq!(words(key), None, "{key}");
        }
    }
}
