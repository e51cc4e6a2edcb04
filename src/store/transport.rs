//! Between a store's client and the network. In: requests. Out: answers that the client can take:
//! pages of listings with all keys in a form that passes, errors of servers as one short line, and
//! of what does not answer, who that is and whose word it was to ask there.
//!
//! A server that never answered is given up soon, one that did is waited for by the client above.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{Method, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use super::answer::{Answer, NO_ROLE};
use super::connect::RETRY_FOR;
use super::keys;

/// How long a server that never answered is tried: long enough for one that is just starting.
pub(crate) const FIRST_CONTACT: Duration = Duration::from_secs(10);
/// The same for the machine's own source of credentials, which most machines have not.
const OF_MACHINE_CONTACT: Duration = Duration::from_secs(3);
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Where a machine in the cloud finds its credentials: asked when nothing else has some.
const OF_MACHINE: [&str; 3] = ["169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal"];

/// Answers of servers above this length are no error pages.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// Servers that answered in this process, whatever they said.
static ANSWERED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whose word counted for a client, for messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    /// What names the endpoint, such as `AWS_ENDPOINT_URL`; none where it follows from the bucket.
    pub endpoint: Option<String>,
    /// What has the credentials.
    pub credentials: String,
}

/// What the requests of one client meet.
#[derive(Debug, Default)]
pub(super) struct Contact {
    pub origins: Origins,
    trouble: Mutex<Option<String>>,
    /// Whether there ever was an answer.
    answered: AtomicBool,
    /// When a line said so.
    pub said: Mutex<Option<Instant>>,
}

impl Contact {
    pub(super) fn of(origins: Origins) -> Arc<Self> {
        Arc::new(Contact { origins, ..Contact::default() })
    }

    /// What is in the way at the moment, in a few words.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long it is tried, for a person.
    pub(super) fn how_long(&self) -> String {
        match self.answered.load(Ordering::Relaxed) {
            true => format!("for {} s in all", RETRY_FOR.as_secs()),
            // Long where it takes connections and says nothing.
            false => "for a minute at most, as it never answered".to_owned(),
        }
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// No answer came, or none that is HTTP.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {source}")]
pub(super) struct NoAnswer {
    /// Scheme, host and port.
    pub peer: String,
    /// What named it, if anything did.
    pub by: Option<String>,
    /// It never answered and was given up: not to be tried again.
    pub given_up: bool,
    /// It is where a machine in the cloud finds its credentials.
    pub of_machine: bool,
    pub source: Box<dyn StdError + Send + Sync>,
}

/// Makes clients that go through here.
#[derive(Debug)]
pub(super) struct Connector<C = ReqwestConnector> {
    pub contact: Arc<Contact>,
    pub below: C,
}

impl<C: HttpConnector> HttpConnector for Connector<C> {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let below = self.below.connect(options)?;
        Ok(HttpClient::new(Transport { contact: self.contact.clone(), below }))
    }
}

#[derive(Debug)]
struct Transport {
    contact: Arc<Contact>,
    below: HttpClient,
}

#[async_trait::async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // The client below takes it for granted that this works.
        let url = reqwest::Url::parse(&request.uri().to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let peer = url.origin().ascii_serialization();
        let of_machine = url.host_str().is_some_and(|host| OF_MACHINE.contains(&host));
        let known = || ANSWERED.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer);
        let patience = if of_machine { OF_MACHINE_CONTACT } else { FIRST_CONTACT };
        let prefix = listed_prefix(request.method(), &url);
        let started = Instant::now();
        loop {
            let error = match self.below.execute(request.clone()).await {
                Ok(response) => {
                    if !known() {
                        let mut answered = ANSWERED.lock().unwrap_or_else(PoisonError::into_inner);
                        answered.insert(peer.clone());
                    }
                    self.contact.answered.store(true, Ordering::Relaxed);
                    let failed = response.status().is_server_error();
                    let what = || format!("{peer} answers {}", response.status());
                    self.contact.note(failed.then(what));
                    return self.cleaned(response, prefix.as_deref(), of_machine).await;
                }
                Err(error) => error,
            };
            let (kind, known) = (error.kind(), known());
            self.contact.answered.fetch_or(known, Ordering::Relaxed);
            self.contact.note(Some(in_few_words(&peer, &error)));
            let of_connection = matches!(
                kind,
                HttpErrorKind::Connect | HttpErrorKind::Timeout | HttpErrorKind::Request
            );
            if !known && of_connection && !is_final(&error) && started.elapsed() < patience {
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            }
            let kind = if known { kind } else { HttpErrorKind::Unknown };
            let by = self.contact.origins.endpoint.clone();
            let source = Box::new(error);
            return Err(HttpError::new(
                kind,
                NoAnswer { peer, by, given_up: !known, of_machine, source },
            ));
        }
    }
}

impl Transport {
    async fn cleaned(
        &self,
        response: HttpResponse,
        prefix: Option<&str>,
        of_machine: bool,
    ) -> Result<HttpResponse, HttpError> {
        let status = response.status();
        if let Some(prefix) = prefix.filter(|_| status.is_success()) {
            let (parts, body) = response.into_parts();
            let xml = body.bytes().await?;
            let passable = match keys::passable(&xml, prefix) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(changed) => Some(Bytes::from(changed)),
            };
            return Ok(HttpResponse::from_parts(parts, passable.unwrap_or(xml).into()));
        }
        let elsewhere = status.is_redirection() && !response.headers().contains_key(LOCATION);
        // What was asked for under a condition, and is not so, has no page.
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let region = parts.headers.get("x-amz-bucket-region");
        let region = region.and_then(|region| region.to_str().ok()).map(str::to_owned);
        let body = body.bytes().await.unwrap_or_default();
        let page = &body[..body.len().min(MAX_ERROR_BYTES)];
        let answer = Answer::read(page, region, &self.contact.origins.credentials);
        if elsewhere {
            // The client drops what a redirection to nowhere says.
            parts.status = StatusCode::BAD_REQUEST;
        }
        parts.headers.remove(CONTENT_LENGTH);
        let answer = match (of_machine, elsewhere) {
            (true, _) => Answer { code: NO_ROLE.to_owned(), ..answer },
            (false, true) => answer.or_code("PermanentRedirect"),
            (false, false) => answer,
        };
        Ok(HttpResponse::from_parts(parts, answer.to_string().into()))
    }
}

/// The prefix that a request for a page of a listing asks for.
fn listed_prefix(method: &Method, url: &reqwest::Url) -> Option<String> {
    let of = |key: &str| {
        url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    };
    let lists = of("list-type").is_some() || of("comp").is_some_and(|comp| comp == "list");
    (lists && method == Method::GET).then(|| of("prefix").unwrap_or_default())
}

/// What is said where the other side hangs up at the first words of TLS.
pub(super) const HANDSHAKE_EOF: &str = "tls handshake eof";

/// Whether trying again cannot help: what answers speaks something else, or nobody can trust it.
pub(crate) fn is_final(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| match cause.downcast_ref::<rustls::Error>() {
        Some(error) => {
            matches!(error, rustls::Error::InvalidMessage(_) | rustls::Error::InvalidCertificate(_))
        }
        None => cause.to_string() == HANDSHAKE_EOF,
    })
}

fn in_few_words(peer: &str, error: &HttpError) -> String {
    let refused = causes(error).any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    match (refused, error.kind()) {
        (true, _) => format!("{peer} refuses connections"),
        (false, HttpErrorKind::Connect) if is_unknown_host(error) => {
            format!("the host of {peer} is unknown")
        }
        (false, HttpErrorKind::Connect) => format!("{peer} cannot be reached"),
        (false, HttpErrorKind::Timeout) => format!("{peer} does not answer"),
        (false, _) => format!("{peer} breaks connections off"),
    }
}

/// Whether the name service knows no such host.
pub(super) fn is_unknown_host(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let text = cause.to_string();
        text.starts_with("dns error") || text.contains("failed to lookup address")
    })
}

/// An error and what is behind it. Errors of the system hide what they wrap.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
