//! Credentials that a program gives (`credential_process` of a profile). In: its command line. Out:
//! keys, asked for again before they expire. Never here: showing what the program printed.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::lock::Mutex;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;

use super::redact::keep_secret;
use super::settings::BadSetting;

/// The longest that a program may take; some wait for a person with a token.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// How long before they expire keys are renewed.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// More than any answer has.
const MAX_ANSWER: u64 = 1 << 20;

/// A program that gives credentials.
pub(super) struct CredentialProcess {
    command: Vec<String>,
    origin: String,
    held: Mutex<Option<Keys>>,
}

#[derive(Clone)]
struct Keys {
    credential: Arc<AwsCredential>,
    expires: Option<DateTime<Utc>>,
}

/// What the program prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<DateTime<Utc>>,
}

/// A command line may hold a secret.
impl std::fmt::Debug for CredentialProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialProcess").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl CredentialProcess {
    /// The program of `line`, split as a shell does. `origin` is whoever says so.
    ///
    /// # Errors
    /// If the line is none.
    pub(super) fn new(line: &str, origin: String) -> Result<Self, BadSetting> {
        let command = shlex::split(line).filter(|words| !words.is_empty());
        match command {
            Some(command) => Ok(CredentialProcess { command, origin, held: Mutex::new(None) }),
            None => Err(BadSetting {
                origin,
                why: "is no command line: close its quotation marks".to_owned(),
            }),
        }
    }

    async fn keys(&self) -> Result<Keys, BadSetting> {
        let (command, origin) = (self.command.clone(), self.origin.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&command, &origin)).await;
        asked.map_err(|_| bad(&self.origin, "broke off"))?
    }
}

#[async_trait::async_trait]
impl CredentialProvider for CredentialProcess {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut held = self.held.lock().await;
        let lasts = |keys: &Keys, ahead| keys.expires.is_none_or(|end| end - ahead > Utc::now());
        if let Some(keys) = held.as_ref().filter(|keys| lasts(keys, AHEAD)) {
            return Ok(keys.credential.clone());
        }
        match self.keys().await {
            Ok(keys) => {
                let credential = keys.credential.clone();
                *held = Some(keys);
                Ok(credential)
            }
            Err(error) => match held.as_ref().filter(|keys| lasts(keys, TimeDelta::zero())) {
                Some(keys) => Ok(keys.credential.clone()),
                None => Err(object_store::Error::Generic { store: "S3", source: error.into() }),
            },
        }
    }
}

fn bad(origin: &str, what: &str) -> BadSetting {
    let why = format!("the program {what}: run it by hand to see why");
    BadSetting { origin: origin.to_owned(), why }
}

fn ask(command: &[String], origin: &str) -> Result<Keys, BadSetting> {
    let program = command.first().map_or("", String::as_str);
    let started = Command::new(program)
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It is not ours, and may say what must not be in a log.
        .stderr(Stdio::null())
        .spawn();
    let mut child =
        started.map_err(|error| bad(origin, &format!("cannot be started ({error})")))?;
    let stdout = child.stdout.take();
    let read = std::thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut answer));
        read.and_then(Result::ok).map(|_| answer)
    });
    match ended(&mut child) {
        Some(0) => {}
        Some(code) => return Err(bad(origin, &format!("ended with code {code}"))),
        None => return Err(bad(origin, &format!("gave nothing for {} s", PATIENCE.as_secs()))),
    }
    let answer = read.join().ok().flatten().unwrap_or_default();
    let not_json = |_| bad(origin, "did not print keys as JSON");
    let answer: Answer = serde_json::from_slice(&answer).map_err(not_json)?;
    if answer.version != 1 {
        return Err(bad(origin, &format!("printed version {}, known is 1", answer.version)));
    }
    let parts = [&answer.access_key_id, &answer.secret_access_key];
    let words = |text: &&String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if !parts.iter().all(words) || !answer.session_token.iter().all(|t| words(&t)) {
        return Err(bad(origin, "printed keys with characters that no key has"));
    }
    keep_secret(&answer.secret_access_key);
    answer.session_token.iter().for_each(|token| keep_secret(token));
    let Answer {
        access_key_id: key_id, secret_access_key: secret_key, session_token: token, ..
    } = answer;
    let credential = Arc::new(AwsCredential { key_id, secret_key, token });
    let expired = answer.expiration.is_some_and(|end| end <= Utc::now());
    match expired {
        true => Err(bad(origin, "printed keys that have expired")),
        false => Ok(Keys { credential, expires: answer.expiration }),
    }
}

/// The exit code, or nothing after too long a time.
fn ended(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.code().unwrap_or(-1)),
            Ok(None) => std::thread::sleep(POLL),
            Err(_) => return Some(-1),
        }
    }
    // It may have ended in this moment.
    let _ = child.kill().and_then(|()| child.wait());
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn credential(line: &str) -> object_store::Result<Arc<AwsCredential>> {
        let process = CredentialProcess::new(line, "profile p".to_owned()).unwrap();
        of(&process)
    }

    fn of(process: &CredentialProcess) -> object_store::Result<Arc<AwsCredential>> {
        super::super::runtime().unwrap().block_on(process.get_credential())
    }

    #[test]
    fn keys_that_last_are_asked_for_once_and_others_each_time() {
        for (expiration, asked) in [("2999-01-01T00:00:00Z", "1"), ("SOON", "2")] {
            let soon = (Utc::now() + TimeDelta::seconds(90)).to_rfc3339();
            let folder = tempfile::tempdir().unwrap();
            let script = folder.path().join("a b.sh");
            let text = format!(
                "echo x >> \"$1\"; n=$(wc -l < \"$1\"); echo '{{\"Version\":1,\"AccessKeyId\":\"'$n'\",\
                 \"SecretAccessKey\":\"s3same\",\"SessionToken\":\"t0ken\",\"Expiration\":\"{}\"}}'",
                expiration.replace("SOON", &soon)
            );
            std::fs::write(&script, text).unwrap();
            let line = format!("sh '{}' '{}'", script.display(), folder.path().join("n").display());
            let process = CredentialProcess::new(&line, "profile p".to_owned()).unwrap();
            let first = of(&process).unwrap();
            assert_eq!((first.key_id.as_str(), first.token.as_deref()), ("1", Some("t0ken")));
            assert_eq!(of(&process).unwrap().key_id, asked);
        }
    }

    #[test]
    fn what_is_wrong_with_the_program_is_said_and_nothing_it_printed() {
        let cases = [
            ("no-such-program-anywhere", "cannot be started"),
            ("sh -c 'echo s3cret; exit 3'", "ended with code 3"),
            ("echo s3cret", "did not print keys as JSON"),
            (
                "echo '{\"Version\":2,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s3cret\"}'",
                "version 2",
            ),
            (
                "echo '{\"Version\":1,\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s3cret\",\
                 \"Expiration\":\"2001-01-01T00:00:00Z\"}'",
                "have expired",
            ),
        ];
        for (line, said) in cases {
            let message = credential(line).unwrap_err().to_string();
            assert!(message.contains(said) && message.contains("profile p"), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
        assert!(CredentialProcess::new("echo 'a", "profile p".to_owned()).is_err());
    }
}
