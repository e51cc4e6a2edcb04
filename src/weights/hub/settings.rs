//! What the environment says of the hub: `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`, which the
//! hub's other clients read, too. In: variables. Out: an address, a header; or what is wrong with them.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::error::HubError;
use crate::store::{FIRST_CONTACT, RETRY_FOR, endpoint, keep_secret};

pub(super) const ENDPOINT: &str = "HF_ENDPOINT";
const TOKEN: &str = "HF_TOKEN";
const OFFLINE: &str = "HF_HUB_OFFLINE";

const PUBLIC_HUB: &str = "https://huggingface.co";

/// What counts as yes.
const YES: [&str; 4] = ["1", "on", "yes", "true"];

/// How long a hub is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// While it never answered.
    pub first_contact: Duration,
    /// After what may pass, since the last byte that came.
    pub retry_for: Duration,
}

impl Patience {
    /// For what a person has asked for.
    pub const FULL: Patience = Patience { first_contact: FIRST_CONTACT, retry_for: RETRY_FOR };
    /// For what is said by the way.
    pub const SHORT: Patience =
        Patience { first_contact: Duration::from_secs(3), retry_for: Duration::ZERO };
}

/// Whether `HF_HUB_OFFLINE` forbids to ask a network.
pub fn is_offline() -> bool {
    variable(OFFLINE).is_some_and(|value| YES.contains(&value.to_ascii_lowercase().as_str()))
}

/// The address of the hub.
pub(super) fn address() -> Result<Url, HubError> {
    let named = variable(ENDPOINT);
    let text = named.as_deref().unwrap_or(PUBLIC_HUB);
    endpoint(ENDPOINT, text).map_err(|what| HubError::BadSetting { what })
}

/// The header that shows the token, if there is one. From here on no message and no log has it.
pub(super) fn authorization() -> Result<Option<HeaderValue>, HubError> {
    let Some(token) = variable(TOKEN) else { return Ok(None) };
    keep_secret(&token);
    header_of(&token).map(Some)
}

fn header_of(token: &str) -> Result<HeaderValue, HubError> {
    let graphic = token.chars().all(|c| c.is_ascii_graphic());
    let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| graphic);
    let mut header = header.ok_or_else(|| HubError::BadSetting {
        what: format!(
            "{TOKEN}: has a space, a line break or a letter that no token has: copy it again"
        ),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// What is set to nothing is not set.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().trim().to_owned();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let header = header_of("hf_sesameopen").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer hf_sesameopen");
        assert!(!format!("{header:?}").contains("sesame"));
        for broken in ["hf_sesame open", "hf_sesame\nx", "hf_süsame"] {
            let message = header_of(broken).unwrap_err().to_string();
            assert!(message.starts_with("HF_TOKEN: ") && !message.contains("same"), "{message}");
        }
    }
}
