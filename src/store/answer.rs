//! What a store says of a request that it does not do. In: its page of XML or HTML. Out: the few
//! words of it that advice depends on, as one line that travels through the client's errors.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// What servers answer that are asked in plain text where they speak TLS.
const PLAIN_ON_TLS: [&str; 2] =
    ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];

/// A code of ours beside those of stores.
pub(super) const PLAIN_HTTP_ON_TLS: &str = "PlainHttpOnTls";

/// The machine's own source of credentials has none.
pub(super) const NO_ROLE: &str = "NoRoleOfMachine";

/// An answer in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// Such as `AccessDenied`; empty where the page has none.
    pub code: String,
    /// Where the bucket is, if it is elsewhere.
    pub region: String,
    /// What had the credentials that were used.
    pub credentials: String,
}

static TEXT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"status code: (\d{3})[^:]*: (?:filo (\S*) (\S*) (.*))?").ok());

impl Answer {
    pub(super) fn read(page: &[u8], region: Option<String>, credentials: &str) -> Self {
        let page = String::from_utf8_lossy(page);
        let plain = PLAIN_ON_TLS.iter().any(|text| page.contains(text));
        let code = if plain { PLAIN_HTTP_ON_TLS } else { element(&page, "Code") };
        let region = region.unwrap_or_else(|| word(element(&page, "Region")));
        Answer { code: word(code), region: word(&region), credentials: credentials.to_owned() }
    }

    /// With this code where the page had none.
    pub(super) fn or_code(self, code: &str) -> Self {
        let code = if self.code.is_empty() { code.to_owned() } else { self.code };
        Answer { code, ..self }
    }

    /// The status and the answer that a client's error has in its text.
    pub(super) fn in_text(text: &str) -> Option<(u16, Self)> {
        let found = TEXT.as_ref()?.captures(text)?;
        let part = |n| found.get(n).map_or("", |found| found.as_str()).to_owned();
        let status = part(1).parse().ok()?;
        Some((status, Answer { code: part(2), region: part(3), credentials: part(4) }))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filo {} {} {}", self.code, self.region, self.credentials)
    }
}

/// The text of the first element of this name.
fn element<'a>(page: &'a str, name: &str) -> &'a str {
    let text = page.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
    text.split_once('<').map_or("", |(text, _)| text)
}

/// At most one word of a page, since it ends in a message.
fn word(text: &str) -> String {
    let of_words = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.trim().chars().take_while(of_words).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_and_the_region_of_a_page_come_through_a_client() {
        let page = b"<?xml?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>x</Message>\
                     <Region>eu-west-3</Region><StringToSign>secret</StringToSign></Error>";
        let answer = Answer::read(page, None, "profile dev");
        let text = format!("Server returned non-2xx status code: 400 Bad Request: {answer}");
        assert!(!text.contains("secret"));
        let expected = Answer {
            code: "AuthorizationHeaderMalformed".to_owned(),
            region: "eu-west-3".to_owned(),
            credentials: "profile dev".to_owned(),
        };
        assert_eq!(Answer::in_text(&text), Some((400, expected)));
    }

    #[test]
    fn a_page_without_a_code_is_its_status() {
        let html = Answer::read(b"<html>a wall<b>", Some("eu west".to_owned()), "");
        assert_eq!((html.code.as_str(), html.region.as_str()), ("", "eu"));
        let text = format!("non-2xx status code: 502 Bad Gateway: {html}");
        assert_eq!(Answer::in_text(&text).unwrap().0, 502);
        assert_eq!(Answer::in_text("no status"), None);
        let go = Answer::read(b"Client sent an HTTP request to an HTTPS server.\n", None, "");
        assert_eq!(go.code, PLAIN_HTTP_ON_TLS);
    }
}
