//! Nothing secret in what a person or a log sees. In: a text, from wherever. Out: the same text
//! without user names and passwords in addresses, without what follows a `?` in them (signatures
//! are there), and without the values that were noted as secrets.

use std::collections::BTreeSet;
use std::sync::{LazyLock, PoisonError, RwLock};

use regex::Regex;

/// Shorter ones are none: `test`, of servers that ask for nothing better, is a word of many paths.
const SHORTEST_SECRET: usize = 8;

/// Secrets of this process: of variables, profiles and programs that give credentials.
static SECRETS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

static USER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\b(https?|wss?|socks5h?|s3|gs|az)://[^\s/"'<>@]*@"#).ok());
static QUERY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\b(https?://[^\s"'<>?]*)\?[^\s"'<>)]+"#).ok());

/// Notes a value that no text may show.
pub(crate) fn keep_secret(value: &str) {
    let value = value.trim();
    if value.len() >= SHORTEST_SECRET {
        SECRETS.write().unwrap_or_else(PoisonError::into_inner).insert(value.to_owned());
    }
}

/// `text`, fit to be shown.
pub fn redacted(text: &str) -> String {
    let mut shown = text.to_owned();
    for secret in SECRETS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if shown.contains(secret.as_str()) {
            shown = shown.replace(secret.as_str(), "***");
        }
    }
    for (pattern, with) in [(&USER, "$1://***@"), (&QUERY, "$1?***")] {
        if let Some(pattern) = pattern.as_ref() {
            shown = pattern.replace_all(&shown, with).into_owned();
        }
    }
    shown
}

/// An error and what caused it, as texts that may be shown: clients put addresses and answers of
/// servers into theirs.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Redacted {
    text: String,
    source: Option<Box<Redacted>>,
}

impl Redacted {
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let text = redacted(error.to_string().lines().next().unwrap_or_default());
        Redacted { text, source: error.source().map(|cause| Box::new(Redacted::of(cause))) }
    }
}

/// A place for log lines that shows no secret, whoever wrote the line.
#[derive(Debug)]
pub struct RedactedWriter<W>(pub W);

impl<W: std::io::Write> std::io::Write for RedactedWriter<W> {
    /// A line comes in one piece.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(redacted(text).as_bytes())?,
            Err(_) => self.0.write_all(redacted(&String::from_utf8_lossy(line)).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn signatures_and_passwords_in_addresses_are_not_repeated() {
        let cases = [
            (
                "GET https://box.example/a?sig=s%2Fcret&x=1 failed? yes",
                "GET https://box.example/a?*** failed? yes",
            ),
            ("(http://user:sesame@127.0.0.1:1/b)", "(http://***@127.0.0.1:1/b)"),
            ("proxy http://token@proxy:8080", "proxy http://***@proxy:8080"),
            ("no address: a@b?c", "no address: a@b?c"),
        ];
        for (text, shown) in cases {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn what_was_noted_is_nowhere_not_even_in_the_causes_of_an_error_or_a_log() {
        keep_secret("wJalr/XUtnFEMI");
        keep_secret("abc");
        assert_eq!(redacted("key wJalr/XUtnFEMI, abc"), "key ***, abc");
        let inner = std::io::Error::other("wJalr/XUtnFEMI\n<Error>");
        let error =
            Redacted::of(&object_store::Error::Generic { store: "S3", source: inner.into() });
        assert!(!format!("{error} {error:?} {:?}", error.source).contains("XUtn"));
        let mut log = RedactedWriter(Vec::new());
        log.write_all(b"{\"message\":\"wJalr/XUtnFEMI\"}\n").unwrap();
        assert_eq!(log.0, b"{\"message\":\"***\"}\n");
    }
}
