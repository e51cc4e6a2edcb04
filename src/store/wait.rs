//! Waiting for a store. In: a request, which may be made again, since files are written whole. Out:
//! its answer. While none comes, the log says who does not answer, for how long, and what happens.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use futures::FutureExt;

use super::settings::BadSetting;
use super::transport::{NoAnswer, causes};
use super::{Store, connect};
use crate::error::panic_text;

/// After this time without an answer, a line in the log says so.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a request is made again whose answer was lost.
const TRIES_AGAIN: usize = 3;

impl Store {
    /// The answer to a request that may be made again. The client below tries again itself, but not
    /// where a lost answer leaves it in doubt.
    pub(super) async fn tried<T, F>(
        &self,
        mut request: impl FnMut() -> F,
    ) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let started = Instant::now();
        let again = |error: &object_store::Error| {
            matches!(error, object_store::Error::Generic { .. })
                && self.runtime.is_some()
                && !is_final(error)
                && started.elapsed() < connect::RETRY_FOR
        };
        let pauses = ExponentialBuilder::new()
            .with_min_delay(connect::FIRST_PAUSE)
            .with_max_delay(connect::LONGEST_PAUSE)
            .with_max_times(TRIES_AGAIN);
        (|| self.patiently(whole(request()))).retry(pauses).when(again).await
    }

    /// Says now and then that nothing comes.
    pub(super) async fn patiently<F: Future>(&self, request: F) -> F::Output {
        if self.runtime.is_none() {
            return request.await;
        }
        let mut request = std::pin::pin!(request);
        let started = Instant::now();
        let mut said = false;
        loop {
            match tokio::time::timeout(PATIENCE, &mut request).await {
                Ok(answer) => {
                    // It may also have been given up.
                    if said && self.contact.trouble().is_none() {
                        tracing::info!("{}: answers again", self.uri);
                    }
                    return answer;
                }
                Err(_) => said |= self.say_nothing_comes(started.elapsed()),
            }
        }
    }

    /// One line for all requests that wait; whether it was this one's.
    fn say_nothing_comes(&self, waited: Duration) -> bool {
        let mut last = self.contact.said.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PATIENCE) {
            return false;
        }
        *last = Some(Instant::now());
        let trouble = self.contact.trouble().map_or(String::new(), |what| format!(" ({what})"));
        tracing::warn!(
            "{}: no answer for {} s{trouble}; still trying, {}; Ctrl-C stops, and the same command goes \
             on later",
            self.uri,
            waited.as_secs(),
            self.contact.how_long()
        );
        true
    }

    /// Waits for an answer; requests of a bucket need the runtime.
    pub(super) fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        match self.runtime {
            Some(runtime) => runtime.block_on(request),
            None => futures::executor::block_on(request),
        }
    }
}

/// A client that breaks down at a setting is an error like any other.
pub(super) async fn whole<T>(
    request: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    AssertUnwindSafe(request).catch_unwind().await.unwrap_or_else(|panic| {
        let why = format!("broke down ({}): check its variables", panic_text(panic.as_ref()));
        let origin = "the client of the store".to_owned();
        let source = BadSetting { origin, why }.into();
        Err(object_store::Error::Generic { store: "client", source })
    })
}

/// Whether trying again cannot help.
fn is_final(error: &object_store::Error) -> bool {
    causes(error).any(|cause| {
        cause.is::<BadSetting>() || cause.downcast_ref::<NoAnswer>().is_some_and(|no| no.given_up)
    })
}
