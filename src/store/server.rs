//! Servers that are no store: those of weights and of language models. In: an address from a variable,
//! a header, or the error of a request. Out: what the same would be called were the server a store.

use std::error::Error as StdError;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use reqwest::Url;

use super::advice::of_no_answer;
use super::redact::redacted;
use super::settings::Setting;
use super::transport::NoAnswer;

/// The address of a server that `variable` has.
///
/// # Errors
/// If it is none: one line with the variable, what is wrong, and what to write.
pub(crate) fn endpoint(variable: &str, value: &str) -> Result<Url, String> {
    if redacted(value) != value {
        return Err(format!(
            "{variable}: has a user name or a query, which are no part of it: leave them out"
        ));
    }
    let setting = Setting {
        key: variable.to_ascii_lowercase(),
        value: value.trim().to_owned(),
        origin: variable.to_owned(),
    };
    let text = setting.endpoint_url().map_err(|bad| bad.to_string())?;
    Url::parse(&text).map_err(|error| format!("{variable}: {error}"))
}

/// Why `peer`, which is asked on the word of `by`, gives no answer, with what to do.
pub(crate) fn why_no_answer(
    peer: &str,
    by: &str,
    source: Box<dyn StdError + Send + Sync>,
) -> String {
    let (peer, by) = (peer.to_owned(), Some(by.to_owned()));
    let no = NoAnswer { peer, by, given_up: true, of_machine: false, source };
    redacted(&of_no_answer(&no))
}

/// How long a server wants to be left alone: seconds, or until a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let wait = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(wait("Wed, 21 Oct 2065 07:28:00 GMT").unwrap() > Duration::from_secs(3600));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn the_address_of_a_mirror_is_held_to_the_rules_of_a_stores() {
        let url = endpoint("HF_ENDPOINT", " https://mirror.example/hub/ ").unwrap();
        assert_eq!(url.as_str(), "https://mirror.example/hub");
        let bad = endpoint("HF_ENDPOINT", "mirror.example").unwrap_err();
        assert!(bad.contains("write HF_ENDPOINT=http://mirror.example"), "{bad}");
        let bad = endpoint("HF_ENDPOINT", "https://user:sesame@mirror.example").unwrap_err();
        assert!(bad.contains("leave them out") && !bad.contains("sesame"), "{bad}");
    }

    #[test]
    fn silence_has_a_cause_and_advice_without_a_region() {
        let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let said = why_no_answer("http://h:1", "HF_ENDPOINT", silent.into());
        assert!(said.starts_with("http://h:1 does not answer: check HF_ENDPOINT"), "{said}");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let said = why_no_answer("http://h:1", "HF_ENDPOINT", refused.into());
        assert!(said.contains("refuses the connection") && !said.contains("region"), "{said}");
    }
}
