//! Requests of a hub. In: an address of it. Out: the answer of whoever it leads to, or why there is
//! none. The token goes to the hub itself and to nobody that it redirects to.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::runtime::Runtime;

use super::settings::{self, Patience};
use super::tries::{Ending, Tries, Trouble, unless_stopped};
use crate::error::HubError;
use crate::store::{redacted, retry_after, runtime};
use crate::weights::convert::Observer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long somebody who has answered before may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A file is redirected once or twice.
const MOST_REDIRECTS: usize = 10;

/// Bytes of a document; a listing of a thousand files is a quarter of it.
const MAX_DOCUMENT: usize = 2 << 20;

/// A hub that can be asked.
#[derive(Debug)]
pub struct Hub {
    address: Url,
    token: Option<HeaderValue>,
    patience: Patience,
    client: Client,
    runtime: &'static Runtime,
    /// Scheme, host and port of all that answered.
    answered: Mutex<BTreeSet<String>>,
}

/// An answer, and who gave it.
pub(super) struct Answered {
    pub response: Response,
    pub peer: String,
}

impl Hub {
    /// The hub of the environment. Nothing is asked yet.
    ///
    /// # Errors
    /// If a variable cannot be used.
    pub fn from_environment(patience: Patience) -> Result<Self, HubError> {
        let address = settings::address()?;
        let token = settings::authorization()?;
        let broken = |why: String| HubError::NoAnswer { what: shown(&address), why };
        let runtime = runtime().map_err(|error| broken(error.to_string()))?;
        let client = Client::builder()
            .user_agent(concat!("filo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            // Followed here: who gets the token is not left to a library.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| broken(error.without_url().to_string()))?;
        Ok(Hub { address, token, patience, client, runtime, answered: Mutex::default() })
    }

    /// Where it is, without a `/` at the end.
    pub fn address(&self) -> String {
        self.address.as_str().trim_end_matches('/').to_owned()
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    pub(super) fn has_answered(&self, peer: &str) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(peer)
    }

    /// An address below that of the hub. Words are escaped, so that none leads elsewhere.
    pub(super) fn url<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.address.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(words);
        }
        url
    }

    /// The JSON document at `url`, which is called `what`.
    pub(super) fn document(
        &self,
        url: &Url,
        what: &str,
        observer: &dyn Observer,
    ) -> Result<Vec<u8>, Ending> {
        self.runtime.block_on(async {
            let mut tries = Tries::new(self, observer, what.to_owned());
            loop {
                match self.try_document(url, what, &tries, observer).await {
                    Ok(document) => return Ok(document),
                    Err(trouble) => tries.after(trouble).await?,
                }
            }
        })
    }

    async fn try_document(
        &self,
        url: &Url,
        what: &str,
        tries: &Tries<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<u8>, Trouble> {
        let Answered { mut response, peer } = self.get(url, what, 0, tries, observer).await?;
        if response.status() != StatusCode::OK {
            let why = format!("{peer} answers {}", response.status());
            return Err(HubError::Odd { what: what.to_owned(), why }.into());
        }
        let mut document = Vec::new();
        loop {
            let piece = unless_stopped(observer, response.chunk()).await.map_err(Trouble::Ended)?;
            match piece.map_err(|_| broken_off(&peer))? {
                None => return Ok(document),
                Some(piece) if document.len() + piece.len() > MAX_DOCUMENT => {
                    let why = format!("it is larger than {MAX_DOCUMENT} bytes");
                    return Err(HubError::Odd { what: what.to_owned(), why }.into());
                }
                Some(piece) => document.extend_from_slice(&piece),
            }
        }
    }

    /// What is at `url`, or where that leads, from byte `start` on.
    pub(super) async fn get(
        &self,
        url: &Url,
        what: &str,
        start: u64,
        tries: &Tries<'_>,
        observer: &dyn Observer,
    ) -> Result<Answered, Trouble> {
        let odd = |why: String| HubError::Odd { what: what.to_owned(), why };
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let peer = at.origin().ascii_serialization();
            // Compressed, neither sizes nor ranges would be those of the file.
            let mut request = self.client.get(at.clone()).header(ACCEPT_ENCODING, "identity");
            if start > 0 {
                request = request.header(RANGE, format!("bytes={start}-"));
            }
            let own = at.origin() == self.address.origin();
            if let (Some(token), true) = (&self.token, own) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            let limit = match self.has_answered(&peer) {
                true => SILENCE,
                false => tries.left_for_first_contact(),
            };
            let sent = tokio::time::timeout(limit, request.send());
            let response = match unless_stopped(observer, sent).await.map_err(Trouble::Ended)? {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    return Err(Trouble::Silent { peer, error: error.without_url().into() });
                }
                Err(_) => {
                    let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    return Err(Trouble::Silent { peer, error: error.into() });
                }
            };
            self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.clone());
            if !response.status().is_redirection() {
                let whose = if own { Whose::Hub } else { Whose::Storage };
                return self.accepted(Answered { response, peer }, what, whose);
            }
            at = led_to(&at, response.headers().get(LOCATION)).map_err(odd)?;
        }
        Err(odd("it redirects without end".to_owned()).into())
    }

    /// The answer, if it is the one that was asked for.
    fn accepted(&self, answered: Answered, what: &str, whose: Whose) -> Result<Answered, Trouble> {
        let status = answered.response.status();
        let (what, code) = (what.to_owned(), status.as_u16());
        let wait = retry_after(answered.response.headers());
        let passing = |wait| {
            let why = format!("{} answers {status}", answered.peer);
            Err(Trouble::Passing { why, wait })
        };
        match (status, whose) {
            (StatusCode::OK | StatusCode::PARTIAL_CONTENT, _)
            // Means that there is nothing behind what is here already.
            | (StatusCode::RANGE_NOT_SATISFIABLE, _) => Ok(answered),
            (StatusCode::TOO_MANY_REQUESTS, _) => match wait {
                Some(wait) => passing(Some(wait)),
                None => Err(HubError::TooMany { what }.into()),
            },
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Whose::Hub) => {
                let with_token = self.token.is_some();
                Err(HubError::Refused { what, status: code, with_token }.into())
            }
            // Its addresses are signed and expire; the hub makes a new one.
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Whose::Storage) => passing(None),
            (StatusCode::NOT_FOUND | StatusCode::GONE, Whose::Hub) => {
                Err(HubError::Missing { what }.into())
            }
            (StatusCode::REQUEST_TIMEOUT, _) => passing(wait),
            _ if status.is_server_error() => passing(wait),
            _ => {
                let why = format!("{} answers {status}", answered.peer);
                Err(HubError::Odd { what, why }.into())
            }
        }
    }
}

/// Whose answer it is.
#[derive(Clone, Copy)]
enum Whose {
    Hub,
    /// Whoever the hub sends on to.
    Storage,
}

pub(super) fn broken_off(peer: &str) -> Trouble {
    Trouble::Passing { why: format!("{peer} breaks the connection off"), wait: None }
}

/// Where a redirection leads, relative to `from`; or why it is not followed.
fn led_to(from: &Url, location: Option<&HeaderValue>) -> Result<Url, String> {
    let location = location.and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    let to = to.ok_or_else(|| format!("{} redirects to nowhere", shown(from)))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err(format!("{} redirects to one without TLS", shown(from))),
        (_, "http" | "https") if to.has_host() => Ok(to),
        _ => Err(format!("{} redirects to what is no server of HTTP", shown(from))),
    }
}

fn shown(url: &Url) -> String {
    redacted(url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_may_be_relative_and_never_leave_tls() {
        let from = Url::parse("https://hub.example/a/b?token=1").unwrap();
        let to = |location: &'static str| {
            led_to(&from, Some(&HeaderValue::from_static(location))).map(|url| url.to_string())
        };
        assert_eq!(to("/c?d").unwrap(), "https://hub.example/c?d");
        assert_eq!(to("//cdn.example/c").unwrap(), "https://cdn.example/c");
        assert_eq!(to("https://cdn.example:1/c").unwrap(), "https://cdn.example:1/c");
        for bad in ["http://hub.example/c", "ftp://h/c", "file:///etc/passwd", "data:,x"] {
            assert!(!to(bad).unwrap_err().contains("token=1"), "{bad}");
        }
        assert!(led_to(&from, None).is_err());
    }
}
