//! A job file in TOML goes in, a [`RawJobSpec`] or another flat struct of keys comes out. Every
//! error names the file, the line and the key; an unknown key is answered with the nearest one.
//! Never here: a message that shows a line as it stands, for it may hold a password.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::allowed::allowed;
use super::raw::RawJobSpec;
use crate::error::{JobError, one_line};
use crate::store::redact;

/// The longest value that a message shows, in characters.
const SHOWN_CHARS: usize = 60;

impl RawJobSpec {
    /// Reads the job file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, has an unknown key, or a value that is not allowed.
    pub fn from_file(path: &Path) -> Result<Self, JobError> {
        from_file(path)
    }

    /// Reads the text of a job file; `path` is its name in messages.
    ///
    /// # Errors
    /// As [`RawJobSpec::from_file`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, JobError> {
        from_toml(text, path)
    }
}

/// Reads the file at `path` as a struct all of whose fields are keys, none of them required.
///
/// # Errors
/// If it cannot be read, is not TOML, has an unknown key, or a value that is not allowed.
pub(crate) fn from_file<T>(path: &Path) -> Result<T, JobError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    let unreadable = |source| JobError::Unreadable { path: path.to_owned(), source };
    from_toml(&std::fs::read_to_string(path).map_err(unreadable)?, path)
}

fn from_toml<T>(text: &str, path: &Path) -> Result<T, JobError>
where
    T: Serialize + DeserializeOwned + Default + JsonSchema,
{
    let table = DeTable::parse(text).map_err(|error| JobError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span()),
        why: error.message().to_owned(),
    })?;
    check_keys(text, path, table.get_ref(), &keys_of::<T>())?;
    toml::from_str(text).map_err(|error| bad_value::<T>(text, path, table.get_ref(), &error))
}

/// The keys that a file for `T` may have.
fn keys_of<T: Serialize + Default>() -> Vec<String> {
    match serde_json::to_value(T::default()) {
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

fn check_keys(text: &str, path: &Path, table: &DeTable, known: &[String]) -> Result<(), JobError> {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !known.iter().any(|known| known == name) {
            return Err(JobError::UnknownKey {
                path: path.to_owned(),
                line: line_of(text, Some(key.span())),
                key: one_line(name, SHOWN_CHARS),
                nearest: nearest(name, known.to_vec()),
            });
        }
    }
    Ok(())
}

/// The known key that is most like `name`; `run-date`, written like the flag, means `run_date`.
fn nearest(name: &str, known: Vec<String>) -> String {
    let name = name.to_lowercase().replace('-', "_");
    let likeness = |key: &String| strsim::jaro_winkler(&name, key);
    let best = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.unwrap_or_default()
}

fn bad_value<T: JsonSchema>(
    text: &str,
    path: &Path,
    table: &DeTable,
    error: &toml::de::Error,
) -> JobError {
    let at = error.span().map_or(0, |span| span.start);
    let entry = table.iter().find(|(_, value)| value.span().contains(&at));
    let (key, value) = match entry {
        Some((key, value)) => (key.get_ref().to_string(), &text[value.span()]),
        None => (String::new(), ""),
    };
    let why = in_words::<T>(&key, value, error.message());
    JobError::BadValue {
        path: path.to_owned(),
        line: line_of(text, error.span()),
        key: one_line(&key, SHOWN_CHARS),
        value: one_line(&redact(value), SHOWN_CHARS),
        why: one_line(&redact(&why), 10 * SHOWN_CHARS),
    }
}

/// What is wrong with a value. Ours is the answer where a type checks its text; serde's speaks of
/// types that no job file has, so it is replaced by what the schema allows.
fn in_words<T: JsonSchema>(key: &str, value: &str, message: &str) -> String {
    const OF_SERDE: [&str; 4] = ["invalid type", "invalid value", "unknown variant", "wanted "];
    if !OF_SERDE.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    match allowed(&schemars::schema_for!(T).to_value(), key) {
        Some(of) if !of.quoted && value.starts_with(['"', '\'']) => {
            format!("must be {}, without quotes", of.words)
        }
        Some(of) => format!("must be {}", of.words),
        None => message.to_owned(),
    }
}

/// The line, from 1, that a span of bytes starts in.
fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    1 + text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count()
}
