//! Buckets of S3, Google and Azure. In: the name of a bucket, and the standard variables of its
//! store (`AWS_*`, `GOOGLE_*`, `AZURE_*`). Out: a client that waits and tries again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;

use super::problem::{BoxError, failed};
use super::settings::{self, BadSetting, Setting, Settings, Variables};
use super::transport::{Connector, Contact, Origins};
use super::{Bucket, BucketKind};
use crate::error::{StoreAction, StoreError};

/// Longest time for one request with its answer; `AWS_TIMEOUT` and the like say otherwise.
const TIMEOUT: &str = "60 seconds";
const CONNECT_TIMEOUT: &str = "5 seconds";

/// How long a request is tried again: a server that restarts is back within a minute. Pauses are
/// drawn, and two dozen tries may take seconds only: it is the time that ends them.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(180);
const RETRIES: usize = 10_000;
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Threads that do the requests of all stores; the work on pixels is elsewhere.
const THREADS: usize = 2;

/// A client of the whole bucket, and what its requests meet. Nothing is asked yet.
///
/// # Errors
/// If a variable or the profile cannot be used.
pub(super) fn bucket(bucket: &Bucket) -> Result<(Box<dyn ObjectStore>, Arc<Contact>), BoxError> {
    client(bucket, &settings::variables(), |contact| Connector {
        contact,
        below: ReqwestConnector::default(),
    })
}

fn client<C: HttpConnector>(
    bucket: &Bucket,
    variables: &Variables,
    connector: impl Fn(Arc<Contact>) -> Connector<C>,
) -> Result<(Box<dyn ObjectStore>, Arc<Contact>), BoxError> {
    let mut settings = Settings::read(bucket.kind, variables)?;
    let endpoint = settings.endpoint().map(|setting| setting.origin.clone());
    let process = settings.process.take().map(Arc::new);
    let mut defaults = vec![("timeout", TIMEOUT), ("connect_timeout", CONNECT_TIMEOUT)];
    // Whoever names an endpoint without TLS wants it so.
    if settings.endpoint().is_some_and(|setting| setting.value.starts_with("http://")) {
        defaults.push(("allow_http", "true"));
    }
    let credentials = std::mem::take(&mut settings.credentials);
    let contact = Contact::of(Origins { endpoint, credentials });
    /// The three builders have the same methods and no trait.
    macro_rules! client {
        ($builder:ident, $named:ident, $with:expr) => {{
            let with = |settings: &[Setting]| {
                let mut builder = $builder::new().$named(&bucket.name).with_retry(retry());
                let ours = settings.iter().map(|setting| (setting.key.as_str(), &*setting.value));
                for (key, value) in defaults.iter().copied().chain(ours) {
                    if let Ok(key) = key.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                let builder = builder.with_http_connector(connector(contact.clone()));
                let built = $with(builder).build();
                built.map(|client| Box::new(client) as Box<dyn ObjectStore>)
            };
            with(&settings.list).map_err(|error| match with(&[]) {
                // The client does not say which of them it is.
                Ok(_) => blamed(&settings.list, error, |alone| with(alone).err()),
                Err(_) => error.into(),
            })
        }};
    }
    let built = match bucket.kind {
        BucketKind::S3 => client!(AmazonS3Builder, with_bucket_name, |builder: AmazonS3Builder| {
            match &process {
                Some(process) => builder.with_credentials(process.clone()),
                None => builder,
            }
        }),
        BucketKind::Google => {
            client!(GoogleCloudStorageBuilder, with_bucket_name, |builder| builder)
        }
        BucketKind::Azure => client!(MicrosoftAzureBuilder, with_container_name, |builder| builder),
    };
    Ok((built?, contact))
}

/// The error of the first setting that the client refuses by itself, or `error`.
fn blamed(
    settings: &[Setting],
    error: object_store::Error,
    refused: impl Fn(&[Setting]) -> Option<object_store::Error>,
) -> BoxError {
    for (index, setting) in settings.iter().enumerate() {
        // Keys are refused without each other.
        if setting.key.ends_with("access_key_id") || setting.key.ends_with("secret_access_key") {
            continue;
        }
        if let Some(error) = refused(&settings[index..=index]) {
            let why = match std::error::Error::source(&error) {
                Some(cause) => cause.to_string(),
                None => error.to_string(),
            };
            let why =
                format!("{}: correct it, or unset it", why.lines().next().unwrap_or_default());
            return BadSetting { origin: setting.origin.clone(), why }.into();
        }
    }
    error.into()
}

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LONGEST_PAUSE, base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_FOR }
}

/// How long to wait after try number `tries`, from 1.
pub(crate) fn pause(tries: u32) -> Duration {
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

/// As [`runtime`], for reading `uri`.
///
/// # Errors
/// As [`runtime`].
pub(crate) fn runtime_for(uri: &str) -> Result<&'static Runtime, StoreError> {
    runtime().map_err(|error| failed(uri, StoreAction::Open, error.into()))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::client::{
        ClientOptions, HttpClient, HttpError, HttpRequest, HttpResponse, HttpService,
    };
    use proptest::prelude::*;

    use super::super::Location;
    use super::*;

    /// A network on which nothing is found, at once.
    #[derive(Debug)]
    struct Nowhere;

    impl HttpConnector for Nowhere {
        fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
            // What the real one refuses is refused.
            ReqwestConnector::default().connect(options)?;
            Ok(HttpClient::new(Nowhere))
        }
    }

    #[async_trait::async_trait]
    impl HttpService for Nowhere {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            // As the real one does.
            let _: reqwest::Url = request.uri().to_string().parse().unwrap();
            let mut response = HttpResponse::new(String::new().into());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            Ok(response)
        }
    }

    fn ask(uri: &str, key: &str, variables: &Variables) -> Result<(), String> {
        let location = uri.parse::<Location>().map_err(|error| error.to_string())?;
        let Some(bucket) = location.bucket() else { return Ok(()) };
        let runtime = runtime().unwrap();
        let connector = |contact| Connector { contact, below: Nowhere };
        let (client, _) = client(bucket, variables, connector).map_err(|error| {
            super::super::problem::failed(uri, crate::error::StoreAction::Open, error).to_string()
        })?;
        let path = object_store::path::Path::parse(key).map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let _ = client.head(&path).await;
            let _ = client.put(&path, "x".into()).await;
            let _ = client.delete(&path).await;
            let mut listed = client.list(Some(&path));
            let _ = futures::TryStreamExt::try_next(&mut listed).await;
        });
        Ok(())
    }

    const NAMES: [&str; 30] = [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_SESSION_TOKEN",
        "AWS_TIMEOUT",
        "AWS_CONNECT_TIMEOUT",
        "AWS_PROXY_URL",
        "AWS_USER_AGENT",
        "AWS_DEFAULT_CONTENT_TYPE",
        "AWS_SKIP_SIGNATURE",
        "AWS_S3_EXPRESS",
        "AWS_CHECKSUM_ALGORITHM",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_SSE_CUSTOMER_KEY_BASE64",
        "AWS_BUCKET",
        "AWS_METADATA_ENDPOINT",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_ALLOW_HTTP",
        "AWS_REQUEST_PAYER",
        "AWS_CONDITIONAL_PUT",
        "AWS_PROXY_EXCLUDES",
        "AZURE_STORAGE_ENDPOINT",
        "GOOGLE_BASE_URL",
        "AWS_PROFILE",
    ];

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,12}",
            "(https?://)?[a-z:@/\\[\\]%?# .0-9\\x00-\\x1F|\"^]{0,14}",
            Just("true".to_owned()),
            Just("AKIAEXAMPLE".to_owned()),
            Just("5 seconds".to_owned()),
            Just("aws:kms".to_owned()),
            Just("http://127.0.0.1:1".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn no_variable_uri_or_key_makes_the_client_panic(
            uri in "(s3|gs|az)://[a-zA-Z0-9 ._$%ü@:-]{0,10}(/\\PC{0,8})?",
            key in "\\PC{0,12}",
            keys in prop::option::of((value(), value())),
            variables in prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..3),
        ) {
            let mut all = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>();
            if let Some((id, secret)) = keys {
                all.push(("AWS_ACCESS_KEY_ID".to_owned(), id));
                all.push(("AWS_SECRET_ACCESS_KEY".to_owned(), secret));
            }
            all.retain(|(_, value)| !value.trim().is_empty());
            // Secrets are those of the whole process: one like `https://` would be in texts of other tests.
            for (name, value) in &mut all {
                if settings::is_secret(&name.to_ascii_lowercase()) {
                    value.insert(0, '~');
                }
            }
            if let Err(message) = ask(&uri, &key, &all) {
                prop_assert!(!message.chars().any(char::is_control), "{:?}", message);
            }
        }
    }

    #[test]
    fn a_value_that_the_client_refuses_is_named() {
        let cases = [
            ("AWS_TIMEOUT", "soon"),
            ("AWS_SKIP_SIGNATURE", "perhaps"),
            ("AWS_PROXY_URL", "http://"),
        ];
        for (name, value) in cases {
            let message =
                ask("s3://b/a", "k", &vec![(name.to_owned(), value.to_owned())]).unwrap_err();
            assert!(
                message.starts_with(&format!("s3://b/a: cannot be opened: {name}: ")),
                "{message}"
            );
            assert!(message.ends_with("correct it, or unset it"), "{message}");
        }
    }

    /// A token service, and a store that has nothing and notes who asks.
    #[derive(Debug, Clone, Default)]
    struct TokenService(Arc<std::sync::Mutex<Vec<String>>>);

    impl HttpConnector for TokenService {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.clone()))
        }
    }

    #[async_trait::async_trait]
    impl HttpService for TokenService {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let uri = request.uri().to_string();
            let signed = request.headers().get("authorization");
            let signed = signed.and_then(|value| value.to_str().ok()).unwrap_or("unsigned");
            self.0.lock().unwrap().push(format!("{uri} {signed}"));
            let page = match uri.starts_with("https://sts.") {
                false => String::new(),
                true => "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                         <AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s3cret</SecretAccessKey>\
                         <SessionToken>t0ken</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
                         </Credentials></AssumeRoleWithWebIdentityResult>\
                         </AssumeRoleWithWebIdentityResponse>"
                    .to_owned(),
            };
            let found = !page.is_empty();
            let mut response = HttpResponse::new(page.into());
            if !found {
                *response.status_mut() = http::StatusCode::NOT_FOUND;
            }
            Ok(response)
        }
    }

    #[test]
    fn a_web_identity_is_exchanged_for_the_keys_of_its_role() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "jwt-of-the-pod").unwrap();
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/scoring"),
            ("AWS_REGION", "eu-north-1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let location = "s3://box/in".parse::<Location>().unwrap();
        let service = TokenService::default();
        let connector = |contact| Connector { contact, below: service.clone() };
        let bucket = location.bucket().unwrap();
        let (client, _) = client(bucket, &variables.to_vec(), connector).unwrap();
        let missing = runtime().unwrap().block_on(client.head(&"in/1.png".into()));
        assert!(matches!(missing, Err(object_store::Error::NotFound { .. })), "{missing:?}");
        let asked = service.0.lock().unwrap();
        let [exchange, object] = asked.as_slice() else { panic!("{asked:?}") };
        assert!(exchange.starts_with("https://sts.eu-north-1.amazonaws.com"), "{exchange}");
        assert!(exchange.contains("WebIdentityToken=jwt-of-the-pod"), "{exchange}");
        assert!(
            exchange.contains("role%2Fscoring") && exchange.ends_with("unsigned"),
            "{exchange}"
        );
        assert!(object.contains("Credential=ROLEKEY/") && object.contains("/eu-north-1/s3/"));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1), Duration::from_millis(200));
        assert_eq!(pause(3), Duration::from_millis(800));
        assert_eq!(pause(40), LONGEST_PAUSE);
    }
}
