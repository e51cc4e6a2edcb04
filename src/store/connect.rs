//! Buckets of S3, Google and Azure. In: the name of a bucket, and the standard variables of its
//! store (`AWS_*`, `GOOGLE_*`, `AZURE_*`). Out: a client that waits and tries again.

use std::sync::OnceLock;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;

use super::{Bucket, BucketKind};

/// Longest time for one request with its answer; `AWS_TIMEOUT` and the like say otherwise.
const TIMEOUT: &str = "60 seconds";
const CONNECT_TIMEOUT: &str = "5 seconds";

/// How long a request is tried again: a server that restarts is back within a minute. Pauses are
/// drawn, and two dozen tries may take seconds only: it is the time that ends them.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(180);
const RETRIES: usize = 10_000;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Threads that do the requests of all stores; the work on pixels is elsewhere.
const THREADS: usize = 2;

/// A client of the whole bucket. Nothing is asked yet.
pub(super) fn bucket(bucket: &Bucket) -> object_store::Result<Box<dyn ObjectStore>> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        // Set to nothing is not set.
        let value = value.into_string().ok().filter(|value| !value.trim().is_empty())?;
        Some((name.into_string().ok()?.to_ascii_lowercase(), value))
    });
    let variables = variables.collect::<Vec<_>>();
    let mut defaults = vec![("timeout", TIMEOUT), ("connect_timeout", CONNECT_TIMEOUT)];
    // Whoever names an endpoint without TLS wants it so.
    let plain = |(name, value): &(String, String)| {
        name.starts_with("aws_endpoint") && value.starts_with("http://")
    };
    if variables.iter().any(plain) {
        defaults.push(("allow_http", "true"));
    }
    /// The three builders have the same methods and no trait.
    macro_rules! client {
        ($builder:ident, $prefix:literal, $named:ident) => {{
            let mut builder = $builder::new().$named(&bucket.name).with_retry(retry());
            let ours = variables.iter().filter(|(name, _)| name.starts_with($prefix));
            let ours = ours.map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in defaults.into_iter().chain(ours) {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            builder.build().map(|client| Box::new(client) as Box<dyn ObjectStore>)
        }};
    }
    match bucket.kind {
        BucketKind::S3 => client!(AmazonS3Builder, "aws_", with_bucket_name),
        BucketKind::Google => {
            client!(GoogleCloudStorageBuilder, "google_", with_bucket_name)
        }
        BucketKind::Azure => client!(MicrosoftAzureBuilder, "azure_", with_container_name),
    }
}

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_FOR }
}

/// How long to wait after try number `tries`, from 1.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE)
}

/// What all requests run on, started by the first that needs it; to be called before a client is
/// made.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn runtime() -> std::io::Result<&'static Runtime> {
    // Clients bring no cryptography of their own; the first call decides.
    let _ = rustls::crypto::ring::default_provider().install_default();
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).enable_all().build()?;
    // Another thread may have been faster; then this one's goes.
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Said of credentials that do not do.
pub(super) const REFUSED: &str = "the store refuses these credentials: check their rights, and its \
                                  variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)";

/// Where a machine in the cloud finds its credentials: asked when the variables have none.
const OF_MACHINE: &str = "169.254.169.254";

/// What a failed request said, in one line, with what to do.
pub(super) fn problem(said: &str) -> String {
    if said.contains(OF_MACHINE) || said.contains("metadata.google.internal") {
        return "no credentials: set the variables of the store (AWS_ACCESS_KEY_ID and \
                AWS_SECRET_ACCESS_KEY, GOOGLE_…, AZURE_…)"
            .to_owned();
    }
    if said.contains(": 403 ") || said.contains(": 401 ") {
        return REFUSED.to_owned();
    }
    // A page of XML may follow.
    let line = without_queries(said.lines().next().unwrap_or_default());
    format!("{line}: check the endpoint (AWS_ENDPOINT_URL) and the network")
}

/// `text` without what follows a `?` in its addresses: signatures are there.
pub(super) fn without_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((address, _)) if address.contains("://") => format!("{address}?***"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_an_address_is_not_repeated() {
        let text = "GET https://box.example/a?sig=s%2Fcret&x=1 failed? yes";
        assert_eq!(without_queries(text), "GET https://box.example/a?*** failed? yes");
    }

    #[test]
    fn a_problem_is_one_line_that_says_what_to_do() {
        let refused =
            "Error performing GET http://h/b?x in 1ms - status code: 403 Forbidden: <?xml";
        assert_eq!(problem(refused), REFUSED);
        let alone = "Error performing PUT http://169.254.169.254/latest/api/token in 1 ms";
        assert!(problem(alone).starts_with("no credentials: set"), "{}", problem(alone));
        let slow = problem("Error performing GET http://h/b?x in 1ms - timed out\n<Error>");
        assert!(!slow.contains('\n') && slow.contains("http://h/b?*** in 1ms - timed out: check"));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1), Duration::from_millis(200));
        assert_eq!(pause(3), Duration::from_millis(800));
        assert_eq!(pause(40), LONGEST_PAUSE);
    }
}
