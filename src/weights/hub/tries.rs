//! Trying again. In: why a request failed. Out: a pause, or the error where there is no sense in
//! another try. What counts is the time since the last progress: a slow line is no reason to give up.

use std::error::Error as StdError;
use std::future::Future;
use std::time::{Duration, Instant};

use super::client::Hub;
use super::settings::ENDPOINT;
use crate::error::HubError;
use crate::store::{FIRST_PAUSE, is_final, pause, why_no_answer};
use crate::weights::convert::Observer;

/// A hub that wants more time than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Why something was not brought to its end.
#[derive(Debug)]
pub enum Ending {
    /// The observer wanted it so.
    Stopped,
    Failed(HubError),
}

impl From<HubError> for Ending {
    fn from(error: HubError) -> Self {
        Ending::Failed(error)
    }
}

/// Why a try failed.
pub(super) enum Trouble {
    /// No answer, or one that broke off.
    Silent {
        peer: String,
        error: Box<dyn StdError + Send + Sync>,
    },
    /// An answer that may be another one later.
    Passing {
        why: String,
        wait: Option<Duration>,
    },
    Ended(Ending),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Trouble::Ended(Ending::Failed(error))
    }
}

/// The tries of one thing.
pub(super) struct Tries<'a> {
    hub: &'a Hub,
    observer: &'a dyn Observer,
    /// What is tried, for messages.
    what: String,
    /// When it last went on.
    since: Instant,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(hub: &'a Hub, observer: &'a dyn Observer, what: String) -> Self {
        Tries { hub, observer, what, since: Instant::now(), failed: 0 }
    }

    /// To be called when something came that was not there before.
    pub(super) fn progressed(&mut self) {
        (self.since, self.failed) = (Instant::now(), 0);
    }

    /// How long it is waited for what never answered.
    pub(super) fn left_for_first_contact(&self) -> Duration {
        let left = self.hub.patience().first_contact.saturating_sub(self.since.elapsed());
        left.max(Duration::from_secs(1))
    }

    /// Waits until the next try, if it is worth one.
    pub(super) async fn after(&mut self, trouble: Trouble) -> Result<(), Ending> {
        self.failed += 1;
        let patience = self.hub.patience();
        let mut first_contact = false;
        let (why, advice, wait, limit) = match trouble {
            Trouble::Ended(ending) => return Err(ending),
            Trouble::Silent { peer, error } => {
                first_contact = !self.hub.has_answered(&peer);
                let hopeless = is_final(error.as_ref());
                let why = why_no_answer(&peer, ENDPOINT, error);
                let (wait, limit) = match first_contact {
                    true => (FIRST_PAUSE, patience.first_contact),
                    false => (pause(self.failed), patience.retry_for),
                };
                (why, "", wait, if hopeless { Duration::ZERO } else { limit })
            }
            Trouble::Passing { why, wait } => {
                let wait = wait.unwrap_or(pause(self.failed));
                (why, ": wait, and run the same command again", wait, patience.retry_for)
            }
        };
        if wait > LONGEST_PAUSE || self.since.elapsed() >= limit {
            let (what, why) = (self.what.clone(), format!("{why}{advice}"));
            return Err(HubError::NoAnswer { what, why }.into());
        }
        // While it never answered it is given up so soon that one line is enough.
        if !first_contact {
            tracing::warn!("{}: {why}; again in {:.1} s", self.what, wait.as_secs_f64());
        }
        unless_stopped(self.observer, tokio::time::sleep(wait)).await
    }
}

/// Waits for `future`, unless the observer wants to stop.
pub(super) async fn unless_stopped<T>(
    observer: &dyn Observer,
    future: impl Future<Output = T>,
) -> Result<T, Ending> {
    let mut future = std::pin::pin!(future);
    loop {
        if observer.stopped() {
            return Err(Ending::Stopped);
        }
        if let Ok(output) = tokio::time::timeout(LOOK, &mut future).await {
            return Ok(output);
        }
    }
}
