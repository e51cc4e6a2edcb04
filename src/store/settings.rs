//! What a client of a store is told. In: the variables of the environment (`AWS_*`, `GOOGLE_*`,
//! `AZURE_*`) and, for S3, the profile. Out: settings that were looked at, each with whoever said
//! so; or what is wrong with one. Never here: a secret in a message, or a value that the client
//! below would panic at.

use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use reqwest::Url;

use super::credential_process::CredentialProcess;
use super::profile::Profile;
use super::redact::keep_secret;
use super::{BucketKind, redact};
use crate::error::one_line;

/// Variables as the environment has them, those that are set to nothing left out.
pub(super) type Variables = Vec<(String, String)>;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", one_line(origin, 200), one_line(why, 1000))]
pub(super) struct BadSetting {
    /// A variable, or a key of a profile.
    pub origin: String,
    /// What is wrong, and what to write.
    pub why: String,
}

/// A setting by the name the client knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The variable in lower case.
    pub key: String,
    pub value: String,
    pub origin: String,
}

/// All settings of a client.
#[derive(Default)]
pub(super) struct Settings {
    pub list: Vec<Setting>,
    pub process: Option<CredentialProcess>,
    /// What has the credentials, for messages.
    pub credentials: String,
}

/// Keys of settings that name a server.
const ENDPOINTS: [&str; 9] = [
    "aws_endpoint_url_s3",
    "aws_endpoint_url",
    "aws_endpoint",
    "aws_endpoint_url_sts",
    "aws_metadata_endpoint",
    "aws_container_credentials_full_uri",
    "google_base_url",
    "azure_storage_endpoint",
    "azure_endpoint",
];

/// Keys that name the bucket, which the URI does.
const OF_BUCKET: [&str; 7] = [
    "aws_bucket",
    "aws_bucket_name",
    "google_bucket",
    "google_bucket_name",
    "azure_container_name",
    "azure_storage_container_name",
    "azure_container",
];

/// Endings of the names of secrets.
const SECRETS: [&str; 10] = [
    "secret_access_key",
    "session_token",
    "aws_token",
    "customer_key_base64",
    "account_key",
    "access_key",
    "client_secret",
    "sas_key",
    "sas_token",
    "bearer_token",
];

/// Keys whose values may have line breaks or letters of any language.
const FREE_TEXT: [&str; 5] =
    ["certificate", "service_account_key", "_file", "_path", "application_credentials"];

impl Settings {
    /// The settings of a kind of store.
    pub(super) fn read(kind: BucketKind, variables: &Variables) -> Result<Self, BadSetting> {
        let prefix = match kind {
            BucketKind::S3 => "AWS_",
            BucketKind::Google => "GOOGLE_",
            BucketKind::Azure => "AZURE_",
        };
        let mut settings = Settings::default();
        for (name, value) in variables {
            let upper = name.to_ascii_uppercase();
            let key = name.to_ascii_lowercase();
            if upper.starts_with(prefix)
                && !OF_BUCKET.contains(&key.as_str())
                && is_known(kind, &key)
            {
                let (origin, value) = (name.clone(), value.trim().to_owned());
                settings.list.push(Setting { key, value, origin });
            }
        }
        settings.list.iter().for_each(Setting::keep_secrets);
        if kind == BucketKind::S3 {
            settings.take_profile(variables)?;
        }
        for setting in &mut settings.list {
            setting.keep_secrets();
            setting.check()?;
        }
        Ok(settings)
    }

    pub(super) fn has(&self, keys: &[&str]) -> bool {
        self.list.iter().any(|setting| keys.contains(&setting.key.as_str()))
    }

    fn take_profile(&mut self, variables: &Variables) -> Result<(), BadSetting> {
        let (id, secret) = (["aws_access_key_id"], ["aws_secret_access_key"]);
        let token = ["aws_session_token", "aws_token"];
        for (there, missing) in [(&id, &secret), (&secret, &id)] {
            if self.has(there) && !self.has(missing) {
                let (there, missing) = (there[0].to_uppercase(), missing[0].to_uppercase());
                let why = format!("is set, and {missing} is not: set both, or none");
                return Err(BadSetting { origin: there, why });
            }
        }
        let keys = self.has(&id);
        let web = self.has(&["aws_web_identity_token_file"]) && self.has(&["aws_role_arn"]);
        self.credentials = match (keys, web) {
            (true, _) => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            (false, true) => "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE",
            (false, false) => "the role of this machine",
        }
        .to_owned();
        if !keys {
            // A token belongs to its keys.
            self.list.retain(|setting| !token.contains(&setting.key.as_str()));
        }
        let Some(profile) = Profile::read(variables, keys || web)? else { return Ok(()) };
        if !self.has(&["aws_region", "aws_default_region"]) {
            self.list.extend(profile.region());
        }
        if !self.has(&ENDPOINTS[..3]) {
            self.list.extend(profile.endpoint());
        }
        if !keys && !web {
            let (found, process) = profile.credentials()?;
            if !found.is_empty() || process.is_some() {
                self.credentials = profile.shown();
            }
            self.list.extend(found);
            self.process = process;
        }
        Ok(())
    }

    /// What names the endpoint that counts.
    pub(super) fn endpoint(&self) -> Option<&Setting> {
        let of = |key: &&str| self.list.iter().find(|setting| setting.key == **key);
        [&ENDPOINTS[..3], &ENDPOINTS[6..]].concat().iter().find_map(of)
    }
}

/// Whether the values of `key`, in small letters, are secrets.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|end| key.ends_with(end))
}

impl Setting {
    fn keep_secrets(&self) {
        if is_secret(&self.key) {
            keep_secret(&self.value);
        }
        // Access keys are names; real ones are long.
        if self.key == "aws_access_key_id" && self.value.len() >= 16 {
            keep_secret(&self.value);
        }
        if let Ok(url) = Url::parse(&self.value)
            && let Some(password) = url.password()
        {
            keep_secret(password);
        }
    }

    /// The value as a message may show it.
    fn shown(&self) -> String {
        let named = match self.key.strip_prefix(&self.origin.to_ascii_lowercase()) {
            Some(_) => "=",
            None => " = ",
        };
        format!("{}{named}{}", self.origin, redact(&self.value).escape_debug())
    }

    fn bad(&self, why: impl Into<String>) -> BadSetting {
        BadSetting { origin: self.shown(), why: why.into() }
    }

    /// Whether the client can use the value; an endpoint is brought into the one form of a URL.
    fn check(&mut self) -> Result<(), BadSetting> {
        let free = FREE_TEXT.iter().any(|part| self.key.contains(part));
        let secret = SECRETS.iter().any(|end| self.key.ends_with(end)) || self.key.ends_with("_id");
        let is_word = |c: char| c.is_ascii_graphic();
        if secret && !free && !self.value.chars().all(is_word) {
            let why = "has a space, a line break or a letter that no key has: copy it again";
            return Err(BadSetting { origin: self.origin.clone(), why: why.to_owned() });
        }
        if !free && !self.value.chars().all(|c| is_word(c) || c == ' ') {
            return Err(self.bad("has characters that no such value has: write it anew"));
        }
        match self.key.as_str() {
            key if ENDPOINTS.contains(&key) => self.value = self.endpoint_url()?,
            "aws_region" | "aws_default_region" => {
                let of_names = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if !self.value.chars().all(of_names) {
                    return Err(self.bad("is no region: write it like eu-central-1"));
                }
            }
            "aws_container_credentials_relative_uri" => {
                let url = format!("http://169.254.170.2{}", self.value);
                if !self.value.starts_with('/') || url.parse::<http::Uri>().is_err() {
                    return Err(self.bad("is no path of a URI: it begins with /"));
                }
            }
            "azure_storage_account_name"
                if !self.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') =>
            {
                return Err(self.bad("is no account name: it has letters and digits"));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn endpoint_url(&self) -> Result<String, BadSetting> {
        let name = &self.origin;
        let shown = redact(&self.value);
        let after = |scheme: &str| {
            self.value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if !after("http://") && !after("https://") {
            let rest = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
            return Err(self.bad(format!(
                "does not begin with http:// or https://: write {name}=http://{rest}, or https:// if \
                 the server speaks TLS"
            )));
        }
        let url = Url::parse(&self.value);
        let mut url = url.map_err(|error| {
            self.bad(format!("is no address ({error}): write it like http://host:9000"))
        })?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.bad("has a part after ? or #: leave it out"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            tracing::warn!(
                "{name}: the user name and password in it are not used, requests are signed by keys"
            );
            let _ = url.set_username("").and(url.set_password(None));
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        let host = url.host_str().unwrap_or_default();
        let plain = !host.is_empty() && http::HeaderValue::from_str(host).is_ok();
        match plain && text.parse::<http::Uri>().is_ok() {
            true => Ok(text),
            false => Err(self.bad("is no address: write it like http://host:9000")),
        }
    }
}

/// Whether the client has a setting of this name.
fn is_known(kind: BucketKind, key: &str) -> bool {
    match kind {
        BucketKind::S3 => key.parse::<AmazonS3ConfigKey>().is_ok(),
        BucketKind::Google => key.parse::<GoogleConfigKey>().is_ok(),
        BucketKind::Azure => key.parse::<AzureConfigKey>().is_ok(),
    }
}

/// The environment's variables; what is set to nothing is not set.
pub(super) fn variables() -> Variables {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let value = value.into_string().ok().filter(|value| !value.trim().is_empty())?;
        Some((name.into_string().ok()?, value))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// The value of a variable.
pub(super) fn value_of<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, BadSetting> {
        let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Settings::read(BucketKind::S3, &owned.collect())
    }

    #[test]
    fn a_malformed_endpoint_is_named_with_what_to_write() {
        let cases = [
            ("AWS_ENDPOINT_URL", "minio:9000", "write AWS_ENDPOINT_URL=http://minio:9000"),
            ("AWS_ENDPOINT_URL_S3", "ftp://minio", "write AWS_ENDPOINT_URL_S3=http://minio"),
            ("AWS_ENDPOINT", "http://host:notaport", "invalid port number"),
            ("AWS_ENDPOINT_URL", "http://", "is no address"),
            ("AWS_ENDPOINT_URL", "https://h/?a=b", "leave it out"),
            ("AWS_ENDPOINT_URL", "user:sesame@minio:9000", "http://***@minio:9000"),
            ("AWS_ENDPOINT_URL_STS", "sts", "AWS_ENDPOINT_URL_STS=sts"),
            ("AWS_REGION", "eu central", "is no region"),
            ("AWS_DEFAULT_REGION", "a\nb", "AWS_DEFAULT_REGION"),
        ];
        for (name, value, said) in cases {
            let message = read(&[(name, value)]).err().map(|bad| bad.to_string()).unwrap();
            assert!(message.starts_with(name) && message.contains(said), "{message}");
            assert!(!message.contains("sesame") && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_password_in_an_endpoint_goes_nowhere() {
        let settings =
            read(&[("AWS_ENDPOINT_URL", "http://user:opensesame@127.0.0.1:1/")]).unwrap();
        assert_eq!(settings.endpoint().unwrap().value, "http://127.0.0.1:1");
        assert_eq!(super::super::redact::redacted("opensesame"), "***");
    }

    #[test]
    fn keys_come_in_pairs_and_are_never_shown() {
        let message = |variables: &[(&str, &str)]| read(variables).err().unwrap().to_string();
        let half = message(&[("AWS_ACCESS_KEY_ID", "AKIA")]);
        assert_eq!(
            half,
            "AWS_ACCESS_KEY_ID: is set, and AWS_SECRET_ACCESS_KEY is not: set both, or none"
        );
        let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "hush hush")];
        let broken = message(&keys);
        assert!(broken.starts_with("AWS_SECRET_ACCESS_KEY: has a space"), "{broken}");
        assert!(!broken.contains("hush"));
    }

    #[test]
    fn the_uri_names_the_bucket_and_not_a_variable() {
        assert!(read(&[("AWS_BUCKET", "other")]).unwrap().list.is_empty());
    }
}
